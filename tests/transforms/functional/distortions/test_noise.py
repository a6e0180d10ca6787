"""Noise beside theory: variances, spectral slopes, Poisson's distribution, the overlap of a transposed convolution."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy import stats
from torch.nn import functional as F  # noqa: N812  (the customary name)

from monai_cxraug.errors import ConfigError
from monai_cxraug.transforms.functional.distortions import noise
from monai_cxraug.transforms.functional.distortions.noise import (
    blue_noise,
    checkerboard,
    coloured_noise,
    draw_coloured_field,
    gaussian_noise,
    pink_noise,
    poisson_noise,
    poisson_quantile,
    uniform_noise,
)

GREY = torch.full((128, 128), 0.5, dtype=torch.float64)


def added(change: torch.Tensor) -> NDArray[np.float64]:
    return (change - GREY).numpy()


# --- white ---


def test_uniform_noise_is_uniform() -> None:
    field = added(uniform_noise(GREY, 0.3, 5)).ravel()
    assert stats.kstest(field, stats.uniform(-0.3, 0.6).cdf).pvalue > 0.01
    assert field.var() == pytest.approx(0.3**2 / 3, rel=0.03)


def test_gaussian_noise_is_gaussian() -> None:
    field = added(gaussian_noise(GREY, 0.05, 5)).ravel()
    assert stats.kstest(field, stats.norm(0, 0.05).cdf).pvalue > 0.01
    assert field.std() == pytest.approx(0.05, rel=0.03)


@pytest.mark.parametrize("apply", [uniform_noise, gaussian_noise])
def test_white_noise_has_a_flat_spectrum(apply: object) -> None:
    fields = [added(apply(GREY, 0.05, seed)) for seed in range(8)]  # type: ignore[operator]
    assert fitted_slope(fields) == pytest.approx(0, abs=0.1)


# --- a spectral slope ---


def fitted_slope(fields: list[NDArray[np.float64]]) -> float:
    """Of the logarithm of the power, averaged over circles, against that of the frequency."""
    power = np.mean([np.abs(np.fft.fft2(field)) ** 2 for field in fields], axis=0)
    rows, columns = (np.minimum(np.arange(side), side - np.arange(side)) / side for side in power.shape)
    radius = np.sqrt(rows[:, None] ** 2 + columns**2)
    edges = np.geomspace(0.03, 0.5, 13)
    rings = [(radius >= low) & (radius < high) for low, high in pairwise(edges)]
    means = [(np.log(radius[ring]).mean(), np.log(power[ring].mean())) for ring in rings]
    return float(np.polyfit(*np.transpose(means), 1)[0])


@pytest.mark.parametrize("slope", [-2.0, -1.0, -0.5, 0.0, 1.0, 1.6, 2.0])
@pytest.mark.parametrize("size", [(128, 128), (96, 160), (65, 127)])
def test_the_power_follows_the_slope(slope: float, size: tuple[int, int]) -> None:
    fields = [draw_coloured_field(size, slope, np.random.default_rng(seed)) for seed in range(12)]
    assert fitted_slope(fields) == pytest.approx(slope, abs=0.1)


@pytest.mark.parametrize(("apply", "slope"), [(pink_noise, -1.0), (blue_noise, 1.0)])
def test_named_colours_have_their_slope(apply: object, slope: float) -> None:
    fields = [added(apply(GREY, 0.05, seed)) for seed in range(12)]  # type: ignore[operator]
    assert fitted_slope(fields) == pytest.approx(slope, abs=0.1)
    assert torch.equal(apply(GREY, 0.05, 3), coloured_noise(GREY, 0.05, slope, 3))  # type: ignore[operator]


@given(slope=st.floats(-2, 2), std=st.floats(0.001, 0.05), seed=st.integers(0, 2**40))
def test_a_coloured_field_has_exactly_its_deviation_and_no_mean(slope: float, std: float, seed: int) -> None:
    grey = torch.full((21, 34), 0.5, dtype=torch.float64)
    field = (coloured_noise(grey, std, slope, seed) - grey).numpy()
    assert field.mean() == pytest.approx(0, abs=1e-14)
    assert field.std() == pytest.approx(std, rel=1e-10)


def test_slopes_are_drawn_between_brown_and_violet() -> None:
    slopes = [fitted_slope([added(coloured_noise(GREY, 0.02, None, seed))]) for seed in range(60)]
    assert -2.4 < min(slopes) < -1.4
    assert 1.4 < max(slopes) < 2.4
    assert stats.kstest(slopes, stats.uniform(-2, 4).cdf).pvalue > 0.01


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (1, 9), (2, 2), (3, 2)])
def test_the_smallest_images(size: tuple[int, int]) -> None:
    field = draw_coloured_field(size, -2.0, np.random.default_rng(0))
    assert field.shape == size
    assert field.std() == pytest.approx(float(size != (1, 1)))


# --- photons ---


@given(
    share=st.floats(1e-12, 1 - 1e-12),
    mean=st.one_of(st.just(0.0), st.floats(1e-9, 50), st.floats(50, 1e6)),
)
def test_quantiles_as_scipys(share: float, mean: float) -> None:
    found = poisson_quantile(np.array(share), np.array(mean))
    assert float(found) == stats.poisson.ppf(share, mean)


@pytest.mark.parametrize(("value", "photons"), [(0.1, 20.0), (0.25, 20.0), (0.5, 400.0), (0.02, 30.0)])
def test_counts_follow_poisson(value: float, photons: float) -> None:
    image = torch.full((200, 200), value, dtype=torch.float64)
    counts = poisson_noise(image, photons, 7).numpy() * photons
    mean = value * photons
    assert_allclose(counts, np.rint(counts), rtol=0, atol=1e-9)
    assert counts.mean() == pytest.approx(mean, abs=4 * np.sqrt(mean / counts.size))
    # the variance of a sample variance is (mu4 - sigma^4) / n, for Poisson (mean + 2 mean²) / n
    assert counts.var() == pytest.approx(mean, abs=4 * np.sqrt((mean + 2 * mean**2) / counts.size))
    observed = np.bincount(np.rint(counts).astype(int).ravel())
    expected = stats.poisson.pmf(np.arange(len(observed)), mean) * counts.size
    enough = expected > 10
    assert ((observed - expected)[enough] ** 2 / expected[enough]).sum() < stats.chi2.ppf(0.999, enough.sum())


def test_photons_without_end_and_black() -> None:
    image = torch.rand(9, 9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(poisson_noise(image, float("inf")), image)
    assert_allclose(poisson_noise(image.double(), 1e6), image, rtol=0, atol=5e-3)
    assert torch.equal(poisson_noise(torch.zeros(9, 9), 5.0), torch.zeros(9, 9))


def test_neighbouring_pixels_are_counted_independently() -> None:
    field = poisson_noise(torch.full((128, 128), 0.3, dtype=torch.float64), 40, 1).numpy()
    assert abs(np.corrcoef(field[:, 1:].ravel(), field[:, :-1].ravel())[0, 1]) < 0.03
    assert fitted_slope([field - field.mean()]) == pytest.approx(0, abs=0.15)


# --- the mark of a network ---


@pytest.mark.parametrize("weight", [0.5, 0.7, 1.0])
def test_checkerboard_as_a_transposed_convolution(weight: float) -> None:
    line = torch.tensor([weight, 1.0, weight], dtype=torch.float64)
    overlap = F.conv_transpose2d(torch.ones(1, 1, 12, 12, dtype=torch.float64), line.outer(line)[None, None], stride=2)
    inner = overlap[0, 0, 1:21, 1:21]  # without the border, where fewer weights meet, beginning with an inner column
    image = torch.full((20, 20), 0.4, dtype=torch.float64)
    expected = image * inner / inner.mean()
    assert_allclose(checkerboard(image, (2 * weight - 1) / (2 * weight + 1)), expected, rtol=0, atol=1e-14)


def test_checkerboard_leaves_black_and_has_a_period_of_two() -> None:
    assert torch.equal(checkerboard(torch.zeros(6, 6), 0.3), torch.zeros(6, 6))
    assert_array_equal(np.unique(added(checkerboard(GREY, 0.25))), 0.5 * (np.array([0.5625, 0.9375, 1.5625]) - 1))


@pytest.mark.parametrize(
    ("name", "settings", "found"),
    [
        ("uniform_noise", {"amplitude": 1.1}, "amplitude"),
        ("gaussian_noise", {"std": -0.1}, "std"),
        ("gaussian_noise", {"std": float("nan")}, "std"),
        ("pink_noise", {"std": 2.0}, "std"),
        ("coloured_noise", {"slope": 2.1}, "slope"),
        ("coloured_noise", {"slope": float("nan")}, "slope"),
        ("poisson_noise", {"photons": 0.5}, "photons"),
        ("poisson_noise", {"photons": float("-inf")}, "photons"),
        ("checkerboard", {"unevenness": 1.5}, "unevenness"),
        ("blue_noise", {"seed": -1}, "seed"),
        ("poisson_noise", {"seed": 1.5}, "seed"),
        ("uniform_noise", {"seed": True}, "seed"),
    ],
)
def test_bad_settings_are_one_line(name: str, settings: dict[str, float], found: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}\({found}\)") as caught:
        getattr(noise, name)(torch.zeros(8, 8), **settings)
    assert "\n" not in str(caught.value)
