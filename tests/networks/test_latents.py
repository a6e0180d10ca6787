"""Latents: on the hypersphere, repeatable, and those of image k a function of (seed, k) alone."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from monai_cxraug.errors import ConfigError
from monai_cxraug.networks.latents import (
    CENTRE,
    CODES,
    LABELS,
    LATENTS,
    Layout,
    draw_latents,
    draw_uniform,
    layout_of,
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
    assert len({LATENTS, LABELS, CENTRE, CODES}) == 4
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


# --- codes ---

CODED = Layout(6, (3, 5), 2)


def test_without_codes_a_layout_draws_what_noise_is() -> None:
    plain = Layout(8)
    assert torch.equal(plain.draw(3, 7, 5), draw_latents(3, 7, 5, 8))
    assert torch.equal(plain.draw(3, 7, 5, CENTRE), draw_latents(3, 7, 5, 8, CENTRE))
    first, second = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    assert torch.equal(plain.sample(5, first), sample_latent(5, 8, second))
    assert torch.equal(first.get_state(), second.get_state())  # and nothing more is drawn
    assert (plain.size, plain.names) == (8, [])


def test_parts_are_noise_one_hot_codes_and_continuous_codes() -> None:
    for latents in (CODED.draw(0, 0, 300), CODED.sample(300, torch.Generator().manual_seed(0))):
        assert latents.shape == (300, 16)
        assert latents.dtype == torch.float32
        noise, hot, continuous = CODED.parts(latents)
        torch.testing.assert_close(noise.square().mean(dim=1), torch.ones(300))
        for one, choices in zip(hot, (3, 5), strict=True):
            assert set(one.flatten().tolist()) == {0.0, 1.0}
            assert torch.equal(one.sum(dim=1), torch.ones(300))
            assert chisquare(one.sum(dim=0), [300 / choices] * choices).pvalue > 0.01
        for column in continuous.unbind(1):
            assert kstest(column, "uniform", (-1, 2)).pvalue > 0.01
        assert torch.corrcoef(latents.T).fill_diagonal_(0)[:6].abs().max() < 0.3  # noise tells nothing of codes


def test_codes_come_from_a_stream_of_their_own() -> None:
    uniform = draw_uniform(4, 2, 3, 4, CODES)
    _, hot, continuous = CODED.parts(CODED.draw(4, 2, 3))
    assert hot[0].argmax(dim=1).tolist() == [math.ceil(u * 3) - 1 for u in uniform[:, 0]]
    assert hot[1].argmax(dim=1).tolist() == [math.ceil(u * 5) - 1 for u in uniform[:, 1]]
    torch.testing.assert_close(continuous.double(), torch.from_numpy(2 * uniform[:, 2:] - 1), atol=1e-6, rtol=0)
    assert torch.equal(CODED.draw(4, 2, 3)[:, :6], draw_latents(4, 2, 3, 6))
    assert torch.equal(CODED.draw(4, 2, 3, CENTRE)[:, 6:], CODED.draw(4, 2, 3)[:, 6:])


@given(st.integers(0, 2**64 - 1), st.integers(0, 10**9), st.integers(1, 20), st.data())
def test_a_range_holds_the_same_coded_latents_as_any_other(seed: int, start: int, n: int, data) -> None:
    whole = CODED.draw(seed, start, n)
    first = data.draw(st.integers(0, n - 1))
    count = data.draw(st.integers(1, n - first))
    assert torch.equal(CODED.draw(seed, start + first, count), whole[first : first + count])


def test_the_largest_uniform_number_is_the_last_category(monkeypatch: pytest.MonkeyPatch) -> None:
    for word, expected in ((0, 0), (WORD - 1, 2)):
        fixed = type("Fixed", (), {"random_raw": lambda self, n, word=word: [word] * n})()
        monkeypatch.setattr(np.random, "Philox", lambda fixed=fixed, **_: fixed)
        assert CODED.parts(CODED.draw(0, 0, 1))[1][0].argmax().item() == expected


def test_truncation_moves_noise_and_leaves_codes() -> None:
    latents, centre = CODED.draw(0, 0, 9), CODED.draw(1, 0, 1)[0]
    moved = CODED.towards(latents, centre, 0.4)
    assert torch.equal(moved[:, 6:], latents[:, 6:])
    torch.testing.assert_close(moved[:, :6], move_towards(latents[:, :6], centre[:6], 0.4))
    torch.testing.assert_close(CODED.normalise(3 * latents)[:, :6], latents[:, :6])
    assert torch.equal(CODED.normalise(latents)[:, 6:], latents[:, 6:])


def test_codes_are_fixed_by_name_and_nothing_else_changes() -> None:
    latents = CODED.draw(0, 0, 9)
    before = latents.clone()
    fixed = CODED.fix(latents, {"category2": 4, "code1": -0.5})
    assert torch.equal(latents, before)
    assert torch.equal(fixed[:, :9], latents[:, :9])
    assert fixed[:, 9:14].tolist() == [[0, 0, 0, 0, 1]] * 9
    assert fixed[:, 14].tolist() == [-0.5] * 9
    assert torch.equal(fixed[:, 15], latents[:, 15])
    assert CODED.names == ["category1", "category2", "code1", "code2"]
    assert [CODED.choices(name) for name in CODED.names] == [3, 5, 0, 0]


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        ({"category3": 0}, "must be one of category1, category2, code1, code2; found category3"),
        ({"category1": 3}, "'category1': must be a whole number from 0 to 2; found 3"),
        ({"category1": 0.5}, "from 0 to 2; found 0.5"),
        ({"category1": -1}, "from 0 to 2; found -1"),
    ],
)
def test_codes_that_are_not_there_are_refused(codes: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        CODED.fix(CODED.draw(0, 0, 2), codes)
    with pytest.raises(ConfigError, match="none"):
        Layout(4).fix(torch.zeros(1, 4), {"code1": 0})


@pytest.mark.parametrize("arguments", [(0,), (4, (1,)), (4, (2.0,)), (4, (), -1), (True,)])
def test_layouts_that_cannot_be_are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigError, match="latents"):
        Layout(*arguments)


def test_a_network_s_layout_is_its_own_or_noise() -> None:
    assert layout_of(SimpleNamespace(latent_size=7)) == Layout(7)
    assert layout_of(SimpleNamespace(latent_size=16, layout=CODED)) is CODED
