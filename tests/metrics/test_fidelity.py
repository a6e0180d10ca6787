"""Distances of image sets against closed forms, naive loops, SciPy and MONAI; what may not change them; bad input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import FIDMetric, MultiScaleSSIMMetric
from scipy.linalg import sqrtm
from scipy.stats import ortho_group, wasserstein_distance

from monai_cxraug.errors import ConfigError, CxrAugError, InputError
from monai_cxraug.metrics import covariances
from monai_cxraug.metrics.fidelity import (
    _halve,
    _pairs,
    count_scales,
    frechet_distance,
    kernel_distance,
    laplacian_pyramid,
    ms_ssim,
    ms_ssim_diversity,
    projected_distance,
    sliced_wasserstein,
)

RNG = np.random.default_rng


def with_moments(n: int, mean: np.ndarray, covariance: np.ndarray, seed: int = 0) -> np.ndarray:
    """Points with exactly this sample mean and sample covariance, n > D."""
    points = RNG(seed).standard_normal((n, len(mean)))
    points -= points.mean(axis=0)
    white = points @ np.linalg.inv(np.linalg.cholesky(np.cov(points.T))).T
    return mean + white @ np.linalg.cholesky(covariance).T


def textbook_frechet(a: np.ndarray, b: np.ndarray) -> float:
    root = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    return float(
        np.square(a.mean(0) - b.mean(0)).sum() + np.trace(np.cov(a.T)) + np.trace(np.cov(b.T)) - 2 * np.trace(root)
    )


# --- Fréchet ---


def test_frechet_of_gaussians_that_commute() -> None:
    spread_a, spread_b = np.array([4.0, 1.0, 0.25]), np.array([1.0, 9.0, 0.25])
    a = with_moments(40, np.array([1.0, 0.0, 2.0]), np.diag(spread_a))
    b = with_moments(60, np.array([0.0, 2.0, 2.0]), np.diag(spread_b), seed=1)
    expected = 5 + np.square(np.sqrt(spread_a) - np.sqrt(spread_b)).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)


def test_frechet_is_the_textbooks_where_that_is_defined() -> None:
    a, b = RNG(0).normal(size=(50, 6)), RNG(1).normal(size=(70, 6)) @ RNG(2).normal(size=(6, 6)) + 0.3
    assert frechet_distance(a, b) == pytest.approx(textbook_frechet(a, b), rel=1e-9)


def test_frechet_of_sets_without_a_common_direction() -> None:
    """Nothing shared: the distance is that of the means and both traces; both covariances have rank 2 of 40."""
    a, b = np.zeros((2, 5, 40))
    a[:, :2], b[:, 20:22] = RNG(0).normal(size=(5, 2)), RNG(1).normal(size=(5, 2))
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(np.cov(a.T)) + np.trace(np.cov(b.T))
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("n", "size"), [(3, 50), (30, 30), (31, 30), (200, 30)])
def test_frechet_with_fewer_images_than_features(n: int, size: int) -> None:
    """Zero columns and a rotation leave it unchanged, whichever of n and D is larger."""
    a, b = RNG(0).normal(size=(n, 8)), 2 * RNG(1).normal(size=(n, 8)) + 1
    wide = [np.pad(x, ((0, 0), (0, size - 8))) @ ortho_group.rvs(size, random_state=0) for x in (a, b)]
    assert frechet_distance(*wide) == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_frechet_of_equal_sets_is_zero_whatever_the_rank() -> None:
    for n, size in ((4, 100), (100, 4)):
        a = 1e3 + RNG(0).normal(size=(n, size))
        assert frechet_distance(a, a[::-1]) == pytest.approx(0, abs=1e-8)
    repeated = np.repeat(RNG(0).normal(size=(1, 5)), 4, axis=0)
    assert frechet_distance(repeated, repeated) == 0


@pytest.mark.parametrize("decay", [0.3, 1e-2, 1e-5, 0.0])
@pytest.mark.parametrize("n", [60, 300])
def test_frechet_fast_and_slow_ways_agree(n: int, decay: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """From well-conditioned features to columns of zeros: whichever way is chosen, singular values say the same."""
    spread = np.geomspace(1, decay, 40) if decay else np.r_[np.ones(30), np.zeros(10)]
    a, b = RNG(0).normal(size=(n, 40)) * spread + 3, RNG(1).normal(size=(n + 5, 40)) * spread[::-1] * 1.2
    turn = ortho_group.rvs(40, random_state=0)
    found = frechet_distance(a @ turn, b @ turn)
    monkeypatch.setattr(covariances, "_by_eigenvalues", lambda *_: None)
    assert found == pytest.approx(frechet_distance(a @ turn, b @ turn), rel=1e-8)


def by_eigenvalues(a: np.ndarray, b: np.ndarray, allowed: float) -> float | None:
    return covariances._by_eigenvalues(covariances._covariance(a), covariances._covariance(b), allowed)


def test_frechet_takes_the_fast_way_only_where_it_is_exact() -> None:
    a, b = RNG(0).normal(size=(2, 700, 600)) + 3  # several blocks
    roots = covariances._root(a), covariances._root(b)
    expected = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    assert by_eigenvalues(a, b, 1e-7) == pytest.approx(expected, rel=1e-12)
    flat = a * np.r_[np.ones(500), np.full(100, 1e-9)]
    assert by_eigenvalues(a, flat, 1e-7) is None
    assert by_eigenvalues(np.where(np.arange(600) < 500, a, 0), b, 1e9) is None  # not definite


@pytest.mark.parametrize("rows", [3, 64, 1000])
def test_a_covariance_in_blocks_is_numpys(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covariances, "_CENTRED", 300 * 37)  # 37 rows at once
    monkeypatch.setattr(covariances, "_BLOCK", 128)
    x = RNG(1).normal(size=(rows, 300)) * np.geomspace(1, 1e-3, 300) + 100
    np.testing.assert_allclose(covariances._covariance(x), np.cov(x, rowvar=False), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize(("n", "size", "share"), [(400, 30, 1e-10), (1000, 120, 1e-10), (40, 60, 1e-4)])
def test_frechet_is_monais(n: int, size: int, share: float) -> None:
    """Below D images its root of a singular product is good to four digits only."""
    mix = RNG(2).normal(size=(size, size))
    a, b = RNG(0).normal(size=(n, size)) @ mix, 1.3 * RNG(1).normal(size=(n, size)) @ mix + 0.2
    expected = float(FIDMetric()(torch.from_numpy(a), torch.from_numpy(b)))
    assert frechet_distance(a, b) == pytest.approx(expected, rel=share)


def test_frechet_is_too_large_for_few_images() -> None:
    """What the floor is for: the same two populations are further apart at small n."""
    values = [frechet_distance(RNG(n).normal(size=(n, 20)), RNG(n + 1).normal(size=(n, 20))) for n in (25, 100, 400)]
    assert values[0] > 2 * values[1] > 4 * values[2]


# --- kernel ---


def naive_mmd(a: np.ndarray, b: np.ndarray) -> float:
    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((sum(p * q for p, q in zip(x, y, strict=True)) / len(x) + 1) ** 3)

    n, m = len(a), len(b)
    within_a = sum(kernel(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_b = sum(kernel(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_a + within_b - 2 * sum(kernel(x, y) for x in a for y in b) / (n * m)


def test_kernel_distance_is_the_mean_of_the_naive_one_over_the_subsets() -> None:
    a, b = RNG(0).normal(size=(9, 4)), RNG(1).normal(size=(13, 4)) + 0.5
    rng, values = RNG(7), []
    for _ in range(5):
        values.append(naive_mmd(a[rng.choice(9, 4, replace=False)], b[rng.choice(13, 4, replace=False)]))
    value, error = kernel_distance(a, b, 4, subsets=5, seed=7)
    assert value == pytest.approx(np.mean(values), rel=1e-12)
    assert error == pytest.approx(np.std(values, ddof=1) * np.sqrt(4 / 5), rel=1e-12)


def test_kernel_distance_is_unbiased_and_its_error_is_one() -> None:
    """Over 200 draws of both sets: the mean is the population's value, the errors are the spread of the values."""
    drawn = []
    for seed in range(200):
        rng = RNG(seed)
        drawn.append(kernel_distance(rng.normal(size=(60, 3)), rng.normal(size=(60, 3)) + 0.5, 15, 60, seed))
    values, errors = np.array(drawn).T
    a, b = RNG(1000).normal(size=(3000, 3)), RNG(1001).normal(size=(3000, 3)) + 0.5
    population = kernel_distance(a, b, 1500, 4)
    assert values.mean() == pytest.approx(population.value, abs=3 * values.std() / np.sqrt(200) + 3 * population.error)
    assert 0.8 < np.sqrt((errors**2).mean()) / values.std() < 1.3


def test_kernel_distance_does_not_grow_for_few_images() -> None:
    values = [kernel_distance(*RNG(seed).normal(size=(2, 12, 30)), 6, seed=seed).value for seed in range(100)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 10
    assert min(values) < 0


def test_subsets_narrower_and_wider_than_their_features() -> None:
    for size, columns in ((3, 5), (5, 2)):
        a, b = RNG(0).normal(size=(11, columns)), RNG(1).normal(size=(12, columns)) + 0.5
        rng = RNG(3)
        values = [
            naive_mmd(a[rng.choice(11, size, replace=False)], b[rng.choice(12, size, replace=False)]) for _ in range(3)
        ]
        value, error = kernel_distance(a, b, size, subsets=3, seed=3)
        assert value == pytest.approx(np.mean(values), rel=1e-12)
        assert error == pytest.approx(np.std(values, ddof=1) * np.sqrt(size / (11 - size)), rel=1e-12)
    assert kernel_distance(a, b, 5) == kernel_distance(a, b, 5, 100, 0)


def test_two_rows_of_one_column_are_enough() -> None:
    assert frechet_distance([[0.0], [1.0]], [[0.0], [2.0]]) == pytest.approx(0.25 + 0.5)
    assert kernel_distance(np.arange(4.0)[:, None], np.arange(4.0)[:, None], 2, 2).error >= 0


def test_features_of_any_kind() -> None:
    a, b = RNG(0).integers(0, 9, (12, 3)), RNG(1).integers(0, 9, (13, 3))
    for kind in (object, np.uint8, np.float32):
        assert frechet_distance(a.astype(kind), b.astype(kind)) == frechet_distance(a.astype(float), b.astype(float))
        assert kernel_distance(a.astype(kind), b.astype(kind), 5) == kernel_distance(
            a.astype(float), b.astype(float), 5
        )


# --- what may not matter ---


@settings(max_examples=15)
@given(st.integers(0, 1000), st.floats(0.1, 3))
def test_features_may_be_rotated_and_images_permuted(seed: int, scale: float) -> None:
    rng = RNG(seed)
    a, b = rng.normal(size=(12, 5)), scale * rng.normal(size=(14, 5))
    turn = ortho_group.rvs(5, random_state=seed)
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(frechet_distance(a, b), rel=1e-8, abs=1e-10)
    assert frechet_distance(a[rng.permutation(12)], b) == pytest.approx(frechet_distance(a, b), rel=1e-8, abs=1e-10)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-8, abs=1e-10)
    assert kernel_distance(a @ turn, b @ turn, 6)[:] == pytest.approx(kernel_distance(a, b, 6)[:], rel=1e-9, abs=1e-12)


# --- sliced Wasserstein ---


def test_projected_distance_is_scipys() -> None:
    a, b, axes = RNG(0).normal(size=(50, 6)), RNG(1).normal(size=(50, 6)) * 2, RNG(2).normal(size=(6, 9))
    expected = np.mean([wasserstein_distance(a @ axis, b @ axis) for axis in axes.T])
    assert projected_distance(a, b, axes) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shape", [(2, 64, 64, 1), (1, 128, 64, 3), (2, 47, 33, 1)])
def test_the_pyramid_can_be_put_together_again(shape: tuple[int, ...]) -> None:
    images = RNG(0).random(shape)
    levels = laplacian_pyramid(images)
    assert min(levels[-1].shape[1:3]) >= 16
    assert min(levels[-1].shape[1:3]) < 32
    rest = levels[-1]
    for level in reversed(levels[:-1]):
        assert rest.shape[1:3] == tuple((side + 1) // 2 for side in level.shape[1:3])
        spread = np.zeros_like(level)
        spread[:, ::2, ::2] = rest
        rest = level + 4 * smooth(spread)
    np.testing.assert_allclose(rest, images, atol=1e-12)


def smooth(images: np.ndarray) -> np.ndarray:
    """The 5 x 5 binomial filter as one sum over shifted copies."""
    weights = np.array([1, 4, 6, 4, 1]) / 16
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")  # numpy's name for a mirror
    height, width = images.shape[1:3]
    shifted = [weights[i] * weights[j] * padded[:, i : i + height, j : j + width] for i in range(5) for j in range(5)]
    return np.sum(shifted, axis=0)


def test_a_ramp_has_no_detail() -> None:
    """Up-scaling a smooth image gives it back: away from the border, a plane's details are 0."""
    ramp = np.broadcast_to(np.linspace(0, 1, 64)[None, :, None, None], (1, 64, 64, 1))
    detail = laplacian_pyramid(ramp)[0]
    assert np.abs(detail[:, 6:-6]).max() < 1e-12


def test_sliced_wasserstein_of_equal_sets_is_zero_and_sees_the_level_that_differs() -> None:
    images = smooth(smooth(RNG(0).random((24, 64, 64, 1))))[..., 0]
    assert set(sliced_wasserstein(images, images, directions=8).items()) == {(16, 0.0), (32, 0.0), (64, 0.0)}
    checks = np.indices((64, 64)).sum(axis=0) % 2 * 0.2  # the finest pattern there is
    values = sliced_wasserstein(images, np.clip(images + checks, 0, 1), directions=64)
    assert list(values) == [16, 32, 64]
    assert values[64] > 5 * values[32]
    assert values[64] > 5 * values[16]


def test_sliced_wasserstein_forgets_contrast_and_brightness_of_a_channel() -> None:
    a, b = RNG(0).random((2, 8, 32, 32, 3))
    changed = b * np.array([0.5, 0.25, 1.0]) + np.array([0.1, 0.3, 0.0])
    expected = sliced_wasserstein(a, b, 3, directions=16)
    assert sliced_wasserstein(a, changed, 3, directions=16) == pytest.approx(expected, rel=1e-9)
    assert sliced_wasserstein(a, b[..., ::-1].copy(), 3, directions=16) != expected


def test_sliced_wasserstein_by_hand_on_one_level() -> None:
    """16 px images with one 7 x 7 place each, known because it is drawn first: the whole path once more."""
    a, b = RNG(0).random((2, 40, 16, 16))
    rng = RNG(5)
    corners = rng.integers(0, 10, (40, 3, 2))
    axes = rng.standard_normal((49, 11))
    axes /= np.linalg.norm(axes, axis=0)
    points = []
    for images in (a, b):
        patches = [images[k, y : y + 7, x : x + 7].ravel() for k in range(40) for y, x in corners[k]]
        points.append((np.array(patches) - np.mean(patches)) / np.std(patches))
    expected = 1e3 * np.mean([wasserstein_distance(points[0] @ axis, points[1] @ axis) for axis in axes.T])
    assert sliced_wasserstein(a, b, 5, descriptors=3, directions=11) == {16: pytest.approx(expected, rel=1e-10)}


@pytest.mark.parametrize("shape", [(33, 40), (40, 33), (64, 34), (34, 64), (20, 70)])
@pytest.mark.parametrize("channels", [1, 2])
def test_sliced_wasserstein_by_hand_on_every_level(shape: tuple[int, int], channels: int) -> None:
    a, b = RNG(0).random((2, 5, *shape, channels))
    levels = [laplacian_pyramid(images) for images in (a, b)]
    rng, sides = RNG(5), [level.shape[1:3] for level in levels[0]]
    corners = [rng.integers(0, [height - 6, width - 6], (5, 3, 2)) for height, width in sides]
    axes = rng.standard_normal((channels * 49, 4))
    axes /= np.linalg.norm(axes, axis=0)
    expected = {}
    for level, side in enumerate(sides):
        points = []
        for images in levels:
            found = [
                [images[level][k, y : y + 7, x : x + 7, c] for c in range(channels)]
                for k in range(5)
                for y, x in corners[level][k]
            ]
            scaled = np.array(found)
            for c in range(channels):
                scaled[:, c] = (scaled[:, c] - scaled[:, c].mean()) / scaled[:, c].std()
            points.append(scaled.reshape(15, -1))
        gaps = [wasserstein_distance(points[0] @ axis, points[1] @ axis) for axis in axes.T]
        expected[min(side)] = 1e3 * np.mean(gaps)
    found_ = sliced_wasserstein(a, b, 5, descriptors=3, directions=4)
    assert list(found_) == sorted(expected)
    assert found_ == pytest.approx(expected, rel=1e-9)
    if channels == 1:
        assert sliced_wasserstein(a[..., 0], b[..., 0], 5, descriptors=3, directions=4) == found_


def test_images_are_worked_on_in_chunks_and_defaults_are_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = RNG(0).random((2, 7, 16, 16))
    whole = sliced_wasserstein(a, b), ms_ssim_diversity(a)
    assert whole[0] == sliced_wasserstein(a, b, 0, 128, 512)
    assert whole[1] == ms_ssim_diversity(a, 1000, 0)
    monkeypatch.setattr("monai_cxraug.metrics.fidelity._CHUNK", 3)
    assert sliced_wasserstein(a, b) == pytest.approx(whole[0], rel=1e-12)
    assert ms_ssim_diversity(a) == pytest.approx(whole[1], rel=1e-12)


def test_one_descriptor_and_one_direction_are_enough() -> None:
    a, b = RNG(0).random((2, 3, 16, 16))
    assert sliced_wasserstein(a, b, descriptors=1, directions=1)[16] > 0


def test_a_collapsed_generator_is_far_away() -> None:
    real = RNG(0).random((16, 32, 32))
    grey = np.full_like(real, 0.5)
    values = sliced_wasserstein(grey, real, directions=16)
    assert all(np.isfinite(value) and value > 100 for value in values.values())


# --- diversity ---


@pytest.mark.parametrize(("size", "channels", "scales"), [(16, 1, 1), (32, 3, 2), (64, 1, 3), (176, 1, 5)])
def test_ms_ssim_is_monais(size: int, channels: int, scales: int) -> None:
    a = smooth(RNG(0).random((3, size, size, channels)))
    b = np.clip(a + RNG(1).normal(0, 0.05, a.shape), 0, 1)
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    metric = MultiScaleSSIMMetric(spatial_dims=2, weights=tuple(weights / weights.sum()), reduction="none")
    planes = [torch.from_numpy(np.moveaxis(x, -1, 1).reshape(-1, 1, size, size)).float() for x in (a, b)]
    expected = metric(*planes).numpy().reshape(3, channels).mean(axis=1)
    assert count_scales(size, size) == scales
    np.testing.assert_allclose(ms_ssim(a, b), expected, atol=2e-5)
    assert 0.2 < expected.mean() < 0.99


def test_ms_ssim_of_an_image_with_itself_is_one_and_with_its_negative_zero() -> None:
    images = RNG(0).random((2, 32, 32))
    np.testing.assert_allclose(ms_ssim(images, images), 1, atol=1e-12)
    np.testing.assert_array_equal(ms_ssim(images, 1 - images), 0)


def test_diversity_falls_from_one_as_images_differ() -> None:
    base = smooth(RNG(0).random((1, 32, 32, 1)))[..., 0]
    values = []
    for noise in (0.0, 0.02, 0.1):
        images = np.clip(base + RNG(1).normal(0, noise, (12, 32, 32)), 0, 1)
        values.append(ms_ssim_diversity(images).value)
    assert values[0] == pytest.approx(1)
    assert values[0] > values[1] + 0.02 > values[2] + 0.04


def test_few_images_give_all_pairs_and_many_give_random_ones() -> None:
    images = RNG(0).random((5, 16, 16))
    every = [ms_ssim(images[i : i + 1], images[j : j + 1])[0] for i in range(5) for j in range(i)]
    assert ms_ssim_diversity(images) == (pytest.approx(np.mean(every)), 1, 10)
    some = ms_ssim_diversity(RNG(0).random((30, 16, 16)), pairs=100, seed=4)
    assert some.pairs == 100
    assert some == ms_ssim_diversity(RNG(0).random((30, 16, 16)), pairs=100, seed=4)
    apart = images[:3]  # an image is never its own partner: two pairs of three images, drawn fifty times
    assert max(ms_ssim_diversity(apart, pairs=2, seed=seed).value for seed in range(50)) < 0.2


def test_pairs_are_all_of_them_or_random_ones_of_every_distance() -> None:
    images = smooth(RNG(0).random((5, 16, 16, 1)))[..., 0]
    assert ms_ssim_diversity(images, 10) == ms_ssim_diversity(images, 1000)
    assert ms_ssim_diversity(images, 9).pairs == 9
    assert ms_ssim_diversity(images, 1).pairs == 1
    many = RNG(1).random((46, 11, 11))  # 1,035 pairs
    assert ms_ssim_diversity(many) == ms_ssim_diversity(many, 1000, 0)
    assert ms_ssim_diversity(many).pairs == 1000
    first, second = _pairs(12, 65, RNG(0))
    assert {int(apart) for apart in (second - first) % 12} == {*range(1, 12)}
    assert {*first.tolist()} == {*second.tolist()} == {*range(12)}
    left, right = _pairs(6, 15, RNG(0))
    assert len({*zip(left.tolist(), right.tolist(), strict=True)}) == 15
    assert (left < right).all()


@pytest.mark.parametrize("shape", [(23, 45), (45, 23), (47, 51)])
def test_ms_ssim_of_odd_sides_leaves_the_last_row_and_column_out_of_the_coarser_scale(shape: tuple[int, int]) -> None:
    a = smooth(RNG(0).random((2, *shape, 1)))
    b = np.clip(a + RNG(1).normal(0, 0.05, a.shape), 0, 1)
    height, width = (side // 2 for side in shape)
    weights = np.array([0.0448, 0.2856, 0.3001])[: count_scales(*shape)]
    metric = MultiScaleSSIMMetric(spatial_dims=2, weights=tuple(weights / weights.sum()), reduction="none")
    planes = [torch.from_numpy(np.moveaxis(x, -1, 1)).float() for x in (a, b)]
    np.testing.assert_allclose(ms_ssim(a, b), metric(*planes).numpy().ravel(), atol=2e-5)
    halved = _halve(a)
    assert halved.shape == (2, height, width, 1)
    np.testing.assert_allclose(halved[:, 0, 0, 0], a[:, :2, :2, 0].mean(axis=(1, 2)))
    np.testing.assert_allclose(
        halved[:, -1, -1, 0], a[:, 2 * height - 2 : 2 * height, 2 * width - 2 : 2 * width, 0].mean(axis=(1, 2))
    )


# --- kinds of images, and bad input ---


def test_integers_are_the_same_images() -> None:
    bytes_ = RNG(0).integers(0, 256, (6, 32, 32), dtype=np.uint8)
    others = RNG(1).integers(0, 256, (6, 32, 32), dtype=np.uint8)
    words = others.astype(np.uint16) * 257
    assert sliced_wasserstein(bytes_, others, directions=8) == pytest.approx(
        sliced_wasserstein(bytes_ / 255.0, words, directions=8), rel=1e-9
    )
    assert ms_ssim_diversity(words).value == pytest.approx(ms_ssim_diversity(others).value)
    assert ms_ssim_diversity(bytes_).value == pytest.approx(ms_ssim_diversity((bytes_ / 255).astype(np.float64)).value)
    assert frechet_distance(bytes_[:, 0], others[:, 0]) == pytest.approx(
        frechet_distance(bytes_[:, 0].astype(float), others[:, 0].astype(float))
    )


BAD: dict[str, tuple[Callable[[], Any], type[CxrAugError], str]] = {
    "one row": (
        lambda: frechet_distance(np.zeros((1, 3)), np.zeros((4, 3))),
        InputError,
        "features_a.*at least 2 rows",
    ),
    "flat": (lambda: frechet_distance(np.zeros(4), np.zeros((4, 3))), InputError, r"must be \[n, D\]"),
    "columns": (lambda: frechet_distance(np.zeros((4, 2)), np.zeros((4, 3))), InputError, "as many columns"),
    "NaN": (lambda: frechet_distance(np.zeros((4, 2)), np.full((4, 2), np.nan)), InputError, "features_b: must be fin"),
    "subset": (lambda: kernel_distance(np.zeros((9, 2)), np.zeros((8, 2)), 5), ConfigError, r"half.*\(4\); found 5"),
    "tiny subset": (lambda: kernel_distance(np.zeros((9, 2)), np.zeros((8, 2)), 1), ConfigError, "found 1"),
    "one subset": (lambda: kernel_distance(np.zeros((9, 2)), np.zeros((8, 2)), 2, 1), ConfigError, "at least 2"),
    "counts": (lambda: sliced_wasserstein(np.zeros((3, 16, 16)), np.zeros((2, 16, 16))), InputError, "as many"),
    "small": (lambda: sliced_wasserstein(np.zeros((2, 16, 15)), np.zeros((2, 16, 15))), InputError, "at least 16 px"),
    "range": (lambda: sliced_wasserstein(np.zeros((2, 16, 16)), np.full((2, 16, 16), 1.1)), InputError, "to 1.1"),
    "NaN pixel": (lambda: ms_ssim_diversity(np.full((2, 16, 16), np.nan)), InputError, r"\[0, 1\]; found .*nan"),
    "integers": (lambda: ms_ssim_diversity(np.zeros((2, 16, 16), dtype=int)), InputError, "unsigned"),
    "no directions": (
        lambda: sliced_wasserstein(np.zeros((2, 16, 16)), np.zeros((2, 16, 16)), directions=0),
        ConfigError,
        "directions",
    ),
    "no descriptors": (
        lambda: sliced_wasserstein(np.zeros((2, 16, 16)), np.zeros((2, 16, 16)), descriptors=0),
        ConfigError,
        "descriptors",
    ),
    "low": (lambda: sliced_wasserstein(np.zeros((2, 15, 16)), np.zeros((2, 15, 16))), InputError, "at least 16 px"),
    "no columns": (lambda: frechet_distance(np.zeros((4, 0)), np.zeros((4, 0))), InputError, r"must be \[n, D\]"),
    "a NaN": (
        lambda: frechet_distance(np.where(np.arange(8).reshape(4, 2) == 3, np.nan, 1.0), np.zeros((4, 2))),
        InputError,
        "features_a: must be finite",
    ),
    "below 0": (lambda: ms_ssim_diversity(np.full((2, 16, 16), -0.1)), InputError, r"\[0, 1\]"),
    "one below 0": (
        lambda: ms_ssim_diversity(np.eye(16)[None] - np.array([[[0.1]], [[0]]])),
        InputError,
        "from -0.1 to 1",
    ),
    "one above 1": (
        lambda: ms_ssim_diversity(np.eye(16)[None] * np.array([[[1.1]], [[0]]])),
        InputError,
        "from 0.0 to 1.1",
    ),
    "words": (lambda: ms_ssim_diversity(np.full((2, 16, 16), "a")), InputError, "unsigned.*found <U1"),
    "four sides": (lambda: ms_ssim_diversity(np.zeros((2, 16, 16, 1, 1))), InputError, r"\[N, H, W\]"),
    "no width": (lambda: ms_ssim_diversity(np.zeros((2, 16, 0))), InputError, r"\[N, H, W\]"),
    "narrow": (lambda: ms_ssim_diversity(np.zeros((2, 64, 10))), InputError, "11 px; found 64 x 10"),
    "no window": (lambda: ms_ssim_diversity(np.zeros((2, 10, 64))), InputError, "11 px; found 10 x 64"),
    "one image": (lambda: ms_ssim_diversity(np.zeros((1, 16, 16))), InputError, "two images; found 1"),
    "no image": (lambda: ms_ssim_diversity(np.zeros((0, 16, 16))), InputError, r"\[N, H, W\]"),
    "no pairs": (lambda: ms_ssim_diversity(np.zeros((2, 16, 16)), 0), ConfigError, "pairs"),
    "shapes": (lambda: ms_ssim(np.zeros((2, 16, 16)), np.zeros((2, 16, 17))), InputError, "shape of images_a"),
}


@pytest.mark.parametrize(("call", "kind", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line(call: Callable[[], Any], kind: type[CxrAugError], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
