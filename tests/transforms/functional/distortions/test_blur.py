"""Blur beside SciPy, OpenCV and the moments of a line."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import ndimage

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.transforms.functional.distortions.blur import (
    bilateral_blur,
    gaussian_blur,
    make_motion_kernel,
    motion_blur,
)


def picture(*size: int) -> np.ndarray:
    return np.random.default_rng(0).random(size)


@pytest.mark.parametrize("sigma", [0.5, 1.5, 4.0])
def test_gaussian_as_scipy(sigma: float) -> None:
    image = picture(40, 33)
    expected = ndimage.gaussian_filter(image, sigma, mode="mirror", radius=round(4 * sigma))
    assert_allclose(gaussian_blur(torch.from_numpy(image), sigma), expected, rtol=0, atol=1e-13)


def test_bilateral_as_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    image = ndimage.gaussian_filter(picture(40, 33), 1).astype(np.float32)
    expected = cv2.bilateralFilter(image, 9, 0.1, 2.0)
    assert_allclose(bilateral_blur(torch.from_numpy(image), 0.1), expected, rtol=0, atol=1e-4)


def test_a_bilateral_blur_of_any_value_is_a_blur_and_of_none_is_nothing() -> None:
    image = torch.from_numpy(picture(30, 30))
    disc = (np.indices((9, 9)) - 4.0) ** 2
    weights = np.exp(-disc.sum(axis=0) / (2 * 2.0**2)) * (disc.sum(axis=0) <= 16)
    expected = ndimage.correlate(image.numpy(), weights / weights.sum(), mode="mirror")
    assert_allclose(bilateral_blur(image, 1e6), expected, rtol=0, atol=1e-9)
    assert_allclose(bilateral_blur(image, 1e-6), image, rtol=0, atol=1e-9)


# --- motion ---

LENGTHS = st.floats(0, 20)
ANGLES = st.floats(0, 2 * math.pi)


@given(length=LENGTHS, angle=ANGLES)
def test_a_motion_keeps_the_energy_and_the_place(length: float, angle: float) -> None:
    kernel = make_motion_kernel(length, (math.cos(angle), -math.sin(angle)))
    reach = len(kernel) // 2
    y, x = np.indices(kernel.shape) - reach
    assert kernel.min() >= 0
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    assert_allclose(kernel, kernel[::-1, ::-1], rtol=0, atol=1e-12)
    assert (kernel * x).sum() == pytest.approx(0, abs=1e-12)
    assert (kernel * y).sum() == pytest.approx(0, abs=1e-12)


@given(length=st.floats(1, 20), angle=ANGLES)
def test_a_motion_has_the_moments_of_a_line(length: float, angle: float) -> None:
    """A line of length L has a variance of L² / 12 along itself; bilinear shares add up to 1/4 along each axis."""
    kernel = make_motion_kernel(length, (math.cos(angle), -math.sin(angle)))
    y, x = np.indices(kernel.shape) - len(kernel) // 2
    spread = np.array([[(kernel * x * x).sum(), (kernel * x * y).sum()], [0, (kernel * y * y).sum()]])
    along = np.array([math.cos(angle), -math.sin(angle)])
    line = length**2 / 12 * np.outer(along, along)
    assert -0.01 * length <= spread[0, 0] - line[0, 0] <= 0.25 + 0.01 * length
    assert -0.01 * length <= spread[1, 1] - line[1, 1] <= 0.25 + 0.01 * length
    assert spread[0, 1] == pytest.approx(line[0, 1], abs=0.25 + 0.01 * length)


def test_a_level_motion_over_an_odd_number_of_pixels_is_nearly_their_mean() -> None:
    kernel = make_motion_kernel(5.0, (1.0, 0.0))
    # a bilinear share of the line from -2.5 to 2.5: the integral of the hat function at each pixel
    expected = np.array([0.125, 0.875, 1, 1, 1, 0.875, 0.125]) / 5
    assert_allclose(kernel[3], expected, rtol=0, atol=1e-3)
    assert_allclose(np.delete(kernel, 3, axis=0), 0, atol=1e-15)


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 135.0, 200.0])
@pytest.mark.parametrize("length", [1.5, 7.0])
def test_motion_as_opencv_and_scipy_with_the_same_kernel(angle: float, length: float) -> None:
    cv2 = pytest.importorskip("cv2")
    image = picture(24, 31)
    direction = math.cos(math.radians(angle)), -math.sin(math.radians(angle))
    kernel = make_motion_kernel(length, direction)
    blurred = motion_blur(torch.from_numpy(image), length, angle).numpy()
    assert_allclose(blurred, ndimage.correlate(image, kernel, mode="mirror"), rtol=0, atol=1e-14)
    assert_allclose(blurred, cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101), rtol=0, atol=1e-14)


def test_angles_are_anticlockwise_as_seen() -> None:
    point = torch.zeros(15, 15, dtype=torch.float64)
    point[7, 7] = 1
    rising = motion_blur(point, 8.0, 45.0)
    assert rising[9, 5] > 0.05  # below and to the left
    assert rising[5, 9] > 0.05
    assert rising[5, 5] == 0
    assert motion_blur(point, 8.0, 0.0)[7].count_nonzero() == 9


def test_angles_are_drawn_by_the_seed() -> None:
    image = torch.from_numpy(picture(20, 20))
    blurred = [motion_blur(image, 6.0, None, seed) for seed in range(5)]
    assert torch.equal(blurred[3], motion_blur(image, 6.0, seed=3))
    assert not any(torch.equal(blurred[0], other) for other in blurred[1:])


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"gaussian_blur\(sigma\)"):
        gaussian_blur(torch.zeros(9, 9), -1.0)
    with pytest.raises(ConfigError, match=r"bilateral_blur\(sigma_value\)"):
        bilateral_blur(torch.zeros(9, 9), float("nan"))
    with pytest.raises(ConfigError, match=r"motion_blur\(length\)"):
        motion_blur(torch.zeros(9, 9), float("inf"))
    with pytest.raises(InputError, match="at least 11 × 11 pixels"):
        motion_blur(torch.zeros(10, 12), 19.0)
    with pytest.raises(InputError, match="at least 17 × 17 pixels"):
        gaussian_blur(torch.zeros(16, 16), 4.0)
