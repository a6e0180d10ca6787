"""Balls around images: against the definitions as loops, closed expectations, and what may not matter."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import ortho_group

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.metrics.manifold import Manifold, expected_coverage, manifold, squared_distances

RNG = np.random.default_rng


def naive(real: np.ndarray, generated: np.ndarray, k: int, dense: int) -> Manifold:
    """The definitions, one image after another; distances by subtraction."""

    def radius(points: np.ndarray, i: int, nearest: int) -> float:
        return sorted(float(np.linalg.norm(points[i] - points[j])) for j in range(len(points)) if j != i)[nearest - 1]

    def lies_in(point: np.ndarray, points: np.ndarray, nearest: int) -> list[bool]:
        return [bool(np.linalg.norm(point - p) <= radius(points, i, nearest)) for i, p in enumerate(points)]

    balls = np.array([lies_in(g, real, dense) for g in generated])
    return Manifold(
        float(np.mean([any(lies_in(g, real, k)) for g in generated])),
        float(np.mean([any(lies_in(r, generated, k)) for r in real])),
        float(balls.sum() / (dense * len(generated))),
        float(balls.any(axis=0).mean()),
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(7, 14), st.integers(7, 14), st.integers(1, 6), st.integers(1, 6))
def test_equals_the_definitions(seed: int, n: int, m: int, k: int, dense: int) -> None:
    rng = RNG(seed)
    real, generated = rng.normal(size=(n, 3)), rng.normal(size=(m, 3)) * rng.uniform(0.5, 2) + rng.uniform(0, 2)
    assert manifold(real, generated, k, dense) == pytest.approx(naive(real, generated, k, dense), abs=1e-12)


def test_real_images_among_themselves() -> None:
    """Means over 60 draws lie where theory puts them, in few dimensions and in many."""
    for size in (2, 40):
        rng = RNG(size)
        drawn = np.array([manifold(rng.normal(size=(80, size)), rng.normal(size=(60, size))) for _ in range(60)])
        mean, error = drawn.mean(axis=0), drawn.std(axis=0) / np.sqrt(60)
        assert mean[2] == pytest.approx(1, abs=4 * error[2])
        assert mean[3] == pytest.approx(expected_coverage(80, 60), abs=4 * error[3])
    assert expected_coverage(10_000, 10_000) == pytest.approx(1 - 2.0**-5, abs=1e-4)
    assert expected_coverage(3, 1, 1) == pytest.approx(1 / 3)  # the nearest of two fellows and a sample is the sample


def test_a_set_against_itself() -> None:
    points = RNG(0).normal(size=(50, 8))
    found = manifold(points, points)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    assert found.density == pytest.approx((5 + 1) / 5)  # every ball holds its k neighbours and its own centre


def test_far_samples_and_collapsed_ones() -> None:
    real = RNG(0).normal(size=(200, 4))
    assert manifold(real, real + 1000) == (0, 0, 0, 0)
    collapsed = np.repeat(real[:1], 200, axis=0)  # one perfect image, again and again
    found = manifold(real, collapsed)
    assert found.precision == 1
    assert found.recall == 1 / 200
    assert found.coverage < 0.1
    half = manifold(real, np.where(RNG(1).normal(size=(200, 4)) > 0, 1, -1) * np.abs(RNG(2).normal(size=(200, 4))))
    some = manifold(real, np.abs(RNG(2).normal(size=(200, 4))))  # one sixteenth of the space
    assert some.recall < 0.5 * half.recall
    assert some.coverage < 0.6 * half.coverage


def test_precision_and_recall_change_places_with_the_sets() -> None:
    a, b = RNG(0).normal(size=(70, 3)), 1.5 * RNG(1).normal(size=(50, 3))
    assert manifold(a, b)[:2] == manifold(b, a)[1::-1]


def test_rotation_shift_scale_and_order_change_nothing() -> None:
    a, b = RNG(0).normal(size=(60, 6)), RNG(1).normal(size=(50, 6)) + 0.5
    turn, expected = ortho_group.rvs(6, random_state=0), manifold(a, b)
    assert manifold(7 * a @ turn + 1e4, 7 * b @ turn + 1e4) == expected
    assert manifold(a[RNG(2).permutation(60)], b[::-1]) == expected
    assert manifold(np.pad(a, ((0, 0), (0, 3))), np.pad(b, ((0, 0), (0, 3)))) == expected


def test_copies_have_balls_without_a_radius() -> None:
    """Features far from 0: rounding must not push a copy out of a ball of radius 0."""
    rows = 1e3 + RNG(0).normal(size=(6, 300))
    real = np.repeat(rows, 8, axis=0)
    assert manifold(real, real[::-1]) == (1, 1, 8 / 5, 1)
    assert manifold(real, real + RNG(1).normal(size=real.shape)) == (0, 1, 0, 0)


def test_distances_are_scipys_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = RNG(0).normal(size=(40, 30)), RNG(1).normal(size=(33, 30))
    np.testing.assert_allclose(squared_distances(a, b), cdist(a, b, "sqeuclidean"), rtol=1e-12)
    whole = manifold(a, b)
    for block in (150, 40, 1):
        monkeypatch.setattr(importlib.import_module("monai_cxraug.metrics.manifold"), "_BLOCK", block)
        assert manifold(a, b) == whole


@pytest.mark.parametrize(("k", "dense"), [(1, 1), (1, 5), (6, 2)])
def test_few_images_equal_the_definitions(k: int, dense: int) -> None:
    real, generated = RNG(0).normal(size=(8, 2)), RNG(1).normal(size=(7, 2)) + 0.5
    assert manifold(real, generated, k, dense) == pytest.approx(naive(real, generated, k, dense), abs=1e-12)
    assert manifold(real, generated) == manifold(real, generated, 3, 5)
    with pytest.raises(ConfigError, match="found 7"):
        manifold(real, generated, 7)


def test_bad_input_is_refused() -> None:
    points = np.zeros((6, 2))
    with pytest.raises(ConfigError, match=r"manifold\(neighbours\): must be .* \(3\); found 3"):
        manifold(points, points[:3])
    with pytest.raises(ConfigError, match="dense_neighbours"):
        manifold(points[:5], points)
    with pytest.raises(ConfigError, match="found 0"):
        manifold(points, points, 0)
    with pytest.raises(InputError, match="features_b: must be finite"):
        manifold(points, np.full((6, 2), np.nan))
