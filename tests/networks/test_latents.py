"""Latents: on the hypersphere, repeatable, and those of image k a function of (seed, k) alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from monai_cxraug.networks.latents import (
    CENTRE,
    LABELS,
    LATENTS,
    draw_latents,
    draw_uniform,
    move_towards,
    normalise_latent,
    sample_latent,
)

#: multipliers and key increments of Philox4x64 (Salmon et al. 2011, table 2).
MULTIPLIERS, INCREMENTS = (0xD2E7470EE14C6C93, 0xCA5A826395121157), (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
WORD = 2**64


def philox(counter: int, key: tuple[int, int]) -> list[int]:
    """Ten rounds on one value of the counter, in whole numbers, from the paper."""
    c = [counter // WORD**place % WORD for place in range(4)]
    for round_ in range(10):
        k = [(one + round_ * step) % WORD for one, step in zip(key, INCREMENTS, strict=True)]
        (h0, l0), (h1, l1) = divmod(MULTIPLIERS[0] * c[0], WORD), divmod(MULTIPLIERS[1] * c[2], WORD)
        c = [h1 ^ c[1] ^ k[0], l1, h0 ^ c[3] ^ k[1], l0]
    return c


def test_same_seed_same_latents_and_unit_mean_square() -> None:
    first, second = (sample_latent(5, 16, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, sample_latent(5, 16, torch.Generator().manual_seed(4)))
    torch.testing.assert_close(first.norm(dim=1), torch.full((5,), 4.0))


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    sample_latent(4, 8, torch.Generator().manual_seed(0))
    assert torch.equal(before, torch.get_rng_state())


def test_normalising_twice_changes_nothing_and_keeps_the_direction() -> None:
    z = torch.randn(6, 32, generator=torch.Generator().manual_seed(0)) * 7
    once = normalise_latent(z)
    torch.testing.assert_close(normalise_latent(once), once)
    torch.testing.assert_close(torch.cosine_similarity(z, once), torch.ones(6))


def test_the_reference_has_the_published_answer() -> None:
    """First known-answer vector of the authors' Random123 library for philox4x64-10."""
    answer = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert philox(0, (0, 0)) == answer


@pytest.mark.parametrize(("size", "blocks"), [(1, 1), (4, 1), (5, 2), (8, 2)])
def test_numbers_of_an_image_are_blocks_of_their_own(size: int, blocks: int) -> None:
    found = draw_uniform(7, 3, 2, size, LABELS)
    for row, image in enumerate((3, 4)):
        # numpy counts up before each block
        words = [word for block in range(blocks) for word in philox(image * blocks + block + 1, (7, LABELS))]
        assert found[row].tolist() == [((word >> 11) + 1) / 2**53 for word in words[:size]]


def test_no_uniform_number_is_zero_and_none_above_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for word, expected in ((0, 2.0**-53), (WORD - 1, 1.0)):
        monkeypatch.setattr(
            np.random, "Philox", lambda word=word, **_: type("Fixed", (), {"random_raw": lambda self, n: [word] * n})()
        )
        assert draw_uniform(0, 0, 1, 3, LATENTS).tolist() == [[expected] * 3]


@given(st.integers(0, 2**64 - 1), st.integers(0, 10**9), st.integers(1, 40), st.integers(1, 70), st.data())
def test_a_range_holds_the_same_latents_as_any_other(seed: int, start: int, n: int, size: int, data) -> None:
    whole = draw_latents(seed, start, n, size)
    first = data.draw(st.integers(0, n - 1))
    count = data.draw(st.integers(1, n - first))
    assert whole.dtype == torch.float32
    assert torch.equal(draw_latents(seed, start + first, count, size), whole[first : first + count])


def test_latents_are_normal_numbers_on_the_sphere() -> None:
    uniform = draw_uniform(5, 0, 3, 4, LATENTS)
    expected = [
        [
            math.sqrt(-2 * math.log(a)) * turn(2 * math.pi * b)
            for a, b in ((u[0], u[1]), (u[2], u[3]))
            for turn in (math.cos, math.sin)
        ]
        for u in uniform
    ]
    expected = [[x / math.sqrt(sum(y * y for y in row) / 4) for x in row] for row in expected]
    torch.testing.assert_close(draw_latents(5, 0, 3, 4), torch.tensor(expected))


def test_directions_are_uniform() -> None:
    circle, sphere = draw_latents(0, 0, 20_000, 2).double(), draw_latents(0, 0, 20_000, 3).double()
    assert kstest(torch.atan2(circle[:, 1], circle[:, 0]) / math.pi, "uniform", (-1, 2)).pvalue > 0.01
    for axis in range(3):  # Archimedes: each coordinate of a point on the sphere is uniform
        assert kstest(sphere[:, axis] / math.sqrt(3), "uniform", (-1, 2)).pvalue > 0.01
    wide = draw_latents(0, 0, 4000, 64)
    torch.testing.assert_close(wide.T @ wide / 4000, torch.eye(64), atol=0.1, rtol=0)
    torch.testing.assert_close(wide.square().mean(dim=1), torch.ones(4000))


def test_seeds_streams_and_images_are_unlike_each_other() -> None:
    drawn = [draw_latents(*key, 1, 512, stream)[0] for key, stream in (((0, 0), LATENTS), ((1, 0), LATENTS))]
    drawn += [
        draw_latents(0, 1, 1, 512)[0],
        draw_latents(0, 0, 1, 512, LABELS)[0],
        draw_latents(0, 0, 1, 512, CENTRE)[0],
    ]
    likeness = torch.corrcoef(torch.stack(drawn)) - torch.eye(5)
    assert likeness.abs().max() < 0.2


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_latents_move_along_great_circles(share: float) -> None:
    latents, centre = draw_latents(0, 0, 20, 16).double(), draw_latents(1, 0, 1, 16)[0].double()
    angle = torch.acos(latents @ centre / 16)[:, None]
    expected = (torch.sin((1 - share) * angle) * centre + torch.sin(share * angle) * latents) / torch.sin(angle)
    moved = move_towards(latents, centre, share)
    torch.testing.assert_close(moved, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(moved.square().mean(dim=1), torch.ones(20).double())


def test_what_is_on_the_centre_stays() -> None:
    latents = draw_latents(0, 0, 3, 16)
    moved = move_towards(latents, latents[1], 0.5)
    torch.testing.assert_close(moved[1], latents[1], atol=1e-3, rtol=0)
    assert moved.isfinite().all()
