"""Area averaging against torch's pooling and against an integral computed cell by cell in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from monai_cxraug.data.resampling import area_weights, fit_square, resize_area

SIDES = st.integers(1, 13)


def picture(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((rows, columns), dtype=np.float32)


def integrate(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Mean over each output cell of the piecewise constant picture, cell by cell, in float64."""
    rows, columns = image.shape
    result = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            top, bottom, left, right = (
                i * rows / height, (i + 1) * rows / height, j * columns / width, (j + 1) * columns / width,
            )  # fmt: skip
            for r in range(rows):
                for c in range(columns):
                    high = max(0.0, min(bottom, r + 1) - max(top, r))
                    wide = max(0.0, min(right, c + 1) - max(left, c))
                    result[i, j] += high * wide * float(image[r, c])
            result[i, j] /= (bottom - top) * (right - left)
    return result


@pytest.mark.parametrize(("shape", "size"), [((32, 32), (8, 8)), ((24, 40), (8, 8)), ((16, 16), (16, 16))])
def test_whole_factors_are_torch_average_pooling(shape, size) -> None:
    image = picture(*shape)
    pooled = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(image)[None, None], size)[0, 0]
    result = resize_area(image, *size)
    assert result.dtype == np.float32
    assert_allclose(result, pooled.numpy(), atol=1e-6)


@given(SIDES, SIDES, SIDES, SIDES)
def test_fractions_are_the_integral(rows: int, columns: int, height: int, width: int) -> None:
    image = picture(rows, columns, rows)
    result = resize_area(image, height, width)
    assert result.shape == (height, width)
    assert result.dtype == np.float32
    assert_allclose(result, integrate(image, height, width), atol=2e-6)
    assert_allclose(result.mean(dtype=np.float64), image.mean(dtype=np.float64), atol=2e-6)
    assert image.min() - 1e-6 <= result.min() <= result.max() <= image.max() + 1e-6


@given(st.integers(1, 400), st.integers(1, 400))
def test_weights_sum_to_one(old: int, new: int) -> None:
    weights = area_weights(old, new)
    assert weights.shape == (new, old)
    assert_allclose(weights.sum(axis=1, dtype=np.float64), 1, atol=1e-5)
    assert_allclose(weights.sum(axis=0, dtype=np.float64), new / old, rtol=1e-4)


@pytest.mark.parametrize(("shape", "inner"), [((40, 20), (16, 8)), ((20, 40), (8, 16)), ((30, 20), (16, 11))])
def test_the_aspect_is_kept_on_a_black_square(shape, inner) -> None:
    image = picture(*shape) * 0.5 + 0.5
    square = fit_square(image, 16)
    top, left = (16 - inner[0]) // 2, (16 - inner[1]) // 2
    inside = square[top : top + inner[0], left : left + inner[1]]
    assert_allclose(inside, integrate(image, *inner), atol=1e-6)
    outside = square.copy()
    outside[top : top + inner[0], left : left + inner[1]] = 0
    assert_array_equal(outside, 0)


def test_a_line_keeps_a_pixel() -> None:
    square = fit_square(np.ones((1, 100), dtype=np.float32), 8)
    assert_allclose(square.sum(), 8, atol=1e-5)


def test_neither_turned_nor_mirrored() -> None:
    image = np.arange(64, dtype=np.float32).reshape(8, 8)
    result = fit_square(image, 4)
    assert (np.diff(result, axis=0) > np.diff(result, axis=1).max()).all()  # rows grow faster than columns
    assert (np.diff(result, axis=1) > 0).all()
