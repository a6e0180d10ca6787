"""Brightness and colour beside NumPy in double precision, and what must stay as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.transforms.functional.distortions.photometric import colour_shift, contrast, lightness, saturation


def picture(*size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(size)


@given(offset=st.floats(-1, 1))
def test_lightness_is_a_cut_sum(offset: float) -> None:
    image = picture(8, 7)
    assert_allclose(lightness(torch.from_numpy(image), offset), np.clip(image + offset, 0, 1), rtol=0, atol=1e-15)


@given(factor=st.floats(0, 10))
def test_contrast_spreads_each_image_about_its_own_mean(factor: float) -> None:
    images = picture(2, 3, 9, 8) ** np.array([1.0, 3.0])[:, None, None, None]
    changed = contrast(torch.from_numpy(images), factor).numpy()
    for image, result in zip(images.reshape(6, 9, 8), changed.reshape(6, 9, 8), strict=True):
        assert_allclose(result, np.clip(image.mean() + factor * (image - image.mean()), 0, 1), rtol=0, atol=1e-13)


def test_contrast_multiplies_the_standard_deviation_and_leaves_the_mean() -> None:
    image = torch.from_numpy(0.4 + 0.2 * picture(16, 16))
    changed = contrast(image, 1.7)
    assert float(changed.mean()) == pytest.approx(float(image.mean()), abs=1e-14)
    assert float(changed.std()) == pytest.approx(1.7 * float(image.std()), rel=1e-12)
    assert float(contrast(image, 0).std()) == pytest.approx(0, abs=1e-15)


@given(seed=st.integers(0, 2**32))
def test_a_shift_of_colour_has_its_length_and_leaves_the_mean_of_the_channels(seed: int) -> None:
    image = torch.from_numpy(0.4 + 0.2 * picture(3, 6, 5))
    added = colour_shift(image, 0.2, seed) - image
    assert_allclose(added.numpy(), np.broadcast_to(added.numpy()[:, :1, :1], (3, 6, 5)), rtol=0, atol=1e-15)
    assert float(added[:, 0, 0].norm()) == pytest.approx(0.2, rel=1e-12)
    assert float(added[:, 0, 0].sum()) == pytest.approx(0, abs=1e-14)


def test_colours_are_drawn_all_around() -> None:
    grey = torch.full((3, 1, 1), 0.5, dtype=torch.float64)
    colours = np.stack([(colour_shift(grey, 0.1, seed) - grey).flatten().numpy() for seed in range(400)])
    assert_allclose(colours.mean(axis=0), 0, atol=0.01)
    # of a circle of radius 0.1 in that plane: a variance of 0.1² / 3 along each of the three axes
    assert_allclose(colours.var(axis=0), 0.01 / 3, rtol=0.1)


def test_saturation_moves_along_the_line_to_grey_and_leaves_luma() -> None:
    image = 0.4 + 0.2 * picture(3, 10, 9)
    luma = np.tensordot([0.2126, 0.7152, 0.0722], image, 1)
    assert_allclose(saturation(torch.from_numpy(image), 0)[1], luma, rtol=0, atol=1e-15)
    for factor in (0.3, 1.8):
        changed = saturation(torch.from_numpy(image), factor).numpy()
        assert_allclose(changed, luma + factor * (image - luma), rtol=0, atol=1e-14)
        assert_allclose(np.tensordot([0.2126, 0.7152, 0.0722], changed, 1), luma, rtol=0, atol=1e-14)


def test_grey_has_no_saturation() -> None:
    grey = torch.from_numpy(picture(1, 8, 8)).expand(3, 8, 8)
    assert_allclose(saturation(grey, 4.0), grey, rtol=0, atol=1e-15)


@pytest.mark.parametrize("value", [1.01, -1.01, float("nan"), float("inf")])
def test_offsets_out_of_range(value: float) -> None:
    with pytest.raises(ConfigError, match=r"lightness\(offset\): must be in \[-1, 1\]; found"):
        lightness(torch.zeros(8, 8), value)


@pytest.mark.parametrize("value", [-0.01, float("nan"), float("inf")])
def test_factors_out_of_range(value: float) -> None:
    with pytest.raises(ConfigError, match=r"contrast\(factor\): must be finite, from 0; found"):
        contrast(torch.zeros(8, 8), value)
    with pytest.raises(ConfigError, match=r"saturation\(factor\)"):
        saturation(torch.zeros(3, 8, 8), value)


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (4, 8, 8), (3, 2, 8, 8)])
def test_colours_need_three_channels(shape: tuple[int, ...]) -> None:
    for change in (colour_shift, saturation):
        with pytest.raises(InputError, match="must have three channels, RGB, before height and width; found"):
            change(torch.zeros(shape))
