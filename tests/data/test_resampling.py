"""Area averaging against torch's pooling and against an integral computed cell by cell in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from monai_cxraug.data import kernels
from monai_cxraug.data.resampling import area_weights, average_table, fit_square, fit_table, inner_size, resize_area
from monai_cxraug.errors import InputError

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


# --- stored values through a table, exact sums, compiled or not


@pytest.fixture(params=["kernels", "numpy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "numpy":
        monkeypatch.setenv("CXRAUG_KERNELS", "off")
    elif kernels.KERNELS.absence:
        pytest.skip(f"no compiled kernels: {kernels.KERNELS.absence}")
    return str(request.param)


def stored_picture(rows: int, columns: int, dtype: str, length: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.integers(0, length, (rows, columns)).astype(dtype), random.random(length, dtype=np.float32)


def both_ways(function: Callable[[], np.ndarray]) -> list[np.ndarray]:
    if kernels.KERNELS.absence:
        pytest.skip(f"no compiled kernels: {kernels.KERNELS.absence}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXRAUG_KERNELS", "off")
        slow = function()
    return [function(), slow]


WIDE = st.integers(1, 60)


@given(WIDE, WIDE, WIDE, WIDE, st.sampled_from([("uint8", 256), ("uint8", 7), ("uint16", 65536), ("uint16", 4095)]))
def test_kernels_give_the_bits_of_numpy(rows: int, columns: int, height: int, width: int, kind) -> None:
    stored, table = stored_picture(rows, columns, *kind, seed=rows)
    fast, slow = both_ways(lambda: average_table(stored, table, height, width))
    assert fast.shape == (height, width)
    assert_array_equal(fast.view(np.uint32), slow.view(np.uint32))
    image = np.exp(-20 * table[stored]) * np.float32(-1) ** stored  # many lie between two steps
    fast, slow = both_ways(lambda: resize_area(image, height, width))
    assert_array_equal(fast.view(np.uint32), slow.view(np.uint32))


@pytest.mark.parametrize(
    ("shape", "size"), [((1201, 701), 128), ((1024, 1024), 256), ((300, 420), 420), ((26, 2000), 9)]
)
def test_kernels_give_the_bits_of_numpy_on_large_pictures(shape, size) -> None:
    for kind in (("uint8", 256), ("uint16", 65536)):
        stored, table = stored_picture(*shape, *kind)
        fast, slow = both_ways(lambda stored=stored, table=table: fit_table(stored, table, size, "pad", 1.1))
        assert_array_equal(fast.view(np.uint32), slow.view(np.uint32))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(
    "sizes", [(11, 13, 4, 5), (12, 8, 4, 4), (5, 3, 9, 10), (9, 7, 9, 7), (1, 1, 3, 3), (31, 50, 1, 2)]
)
def test_a_table_is_the_integral_of_its_values(way: str, dtype: str, sizes: tuple[int, int, int, int]) -> None:
    stored, table = stored_picture(*sizes[:2], dtype, 200)
    result = average_table(stored, table, *sizes[2:])
    assert result.dtype == np.float32
    assert_allclose(result, integrate(table[stored], *sizes[2:]), rtol=6e-8, atol=8e-9)


def test_any_length_of_cells(way: str) -> None:
    """Factors from less than 1 to more than are unrolled."""
    stored, table = stored_picture(3, 97, "uint16", 5000)
    for width in (*range(1, 12), 19, 32, 48, 49, 96, 97, 98, 119):
        expected = integrate(table[stored], 1, width)
        assert_allclose(average_table(stored, table, 1, width), expected, rtol=6e-8, atol=8e-9)


def test_black_and_white_stay_what_they_are(way: str) -> None:
    stored = np.array([[0, 1, 2]] * 7, dtype=np.uint16)
    table = np.array([0, 1, 0.5], dtype=np.float32)
    for size in (3, 7, 10):
        for value, shade in enumerate(table):
            assert (fit_table(np.full_like(stored, value), table, size, "squash") == shade).all()


def test_a_table_and_its_picture_give_the_same(way: str) -> None:
    stored, table = stored_picture(50, 37, "uint16", 65536)
    for fit in ("pad", "squash"):
        assert_array_equal(fit_table(stored, table, 16, fit, 0.7), fit_square(table[stored], 16, fit, 0.7))


def test_strided_pictures(way: str) -> None:
    stored, table = stored_picture(40, 60, "uint16", 4096)
    assert_array_equal(
        average_table(stored[::2, ::-3], table, 7, 7), average_table(stored[::2, ::-3].copy(), table, 7, 7)
    )
    image = table[stored]
    assert_array_equal(resize_area(image.T, 7, 7), resize_area(image.T.copy(), 7, 7))


@pytest.mark.parametrize(
    ("shape", "fit", "aspect", "inner"),
    [
        ((40, 20), "pad", 1.0, (16, 8)), ((40, 20), "pad", 0.5, (16, 16)), ((40, 20), "pad", 0.25, (8, 16)),
        ((40, 20), "pad", 2.0, (16, 4)), ((40, 20), "squash", 2.0, (16, 16)), ((1, 1000), "pad", 1.0, (1, 16)),
    ],
)  # fmt: skip
def test_proportions_are_those_of_the_body(shape, fit, aspect, inner) -> None:
    assert inner_size(shape, 16, fit, aspect) == inner
    stored, table = np.zeros(shape, np.uint8), np.ones(1, np.float32)
    square = fit_table(stored, table, 16, fit, aspect)
    top, left = (16 - inner[0]) // 2, (16 - inner[1]) // 2
    expected = np.zeros((16, 16))
    expected[top : top + inner[0], left : left + inner[1]] = 1
    assert_array_equal(square, expected)


def test_large_values_are_held_in_coarser_steps(way: str) -> None:
    image = picture(9, 9) * np.float32(1e6) - np.float32(5e5)
    assert_allclose(resize_area(image, 4, 4), integrate(image, 4, 4), atol=0.02)
    assert_allclose(resize_area(np.full((9, 9), 3e38, np.float32), 4, 4), 3e38, rtol=1e-6)
    assert_array_equal(resize_area(np.zeros((9, 9), np.float32), 4, 4), 0)


ONE = np.ones(4, np.float32)
EIGHT = np.zeros((8, 8), np.uint8)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((EIGHT + 4, ONE, 8), "below the table's length 4; found 4"),
        ((EIGHT.astype(np.int16), ONE, 8), "must be uint8 or uint16; found int16"),
        ((EIGHT[None], ONE, 8), "must be [H, W]"),
        ((EIGHT[:0], ONE, 8), "must be [H, W]"),
        ((np.broadcast_to(np.uint8(0), (2**14, 2**14)), ONE, 8), "must be [H, W]"),
        ((EIGHT, ONE + 1, 8), "in [0, 1]"),
        ((EIGHT, -ONE, 8), "in [0, 1]"),
        ((EIGHT, ONE * np.float32("nan"), 8), "in [0, 1]"),
        ((EIGHT, ONE[:0], 8), "in [0, 1]"),
        ((EIGHT, ONE, 0), "size: must be at least 1; found 0"),
        ((EIGHT, ONE, 8, "stretch"), "fit: must be pad, squash or crop; found 'stretch'"),
        ((EIGHT, ONE, 8, "pad", 0.0), "aspect: must be a positive number"),
        ((EIGHT, ONE, 8, "pad", float("nan")), "aspect: must be a positive number"),
    ],
)
def test_arguments_that_are_refused(way: str, arguments, words: str) -> None:
    with pytest.raises(InputError) as caught:
        fit_table(*arguments)
    assert words in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(way: str, value: float) -> None:
    image = picture(8, 8)
    image[3, 3] = value
    with pytest.raises(InputError, match="finite"):
        resize_area(image, 4, 4)


@pytest.mark.parametrize(
    ("shape", "aspect"), [((12, 8), 1.0), ((8, 12), 1.0), ((9, 6), 0.5), ((7, 7), 1.0), ((6, 9), 2.0)]
)
def test_crop_keeps_the_middle_square_of_the_body(shape: tuple[int, int], aspect: float) -> None:
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    side = min(shape[0] * aspect, shape[1])
    height, width = round(side / aspect), round(side)
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    expected = resize_area(image[top : top + height, left : left + width].copy(), 3, 3)
    assert_array_equal(fit_square(image, 3, "crop", aspect), expected)
    stored = (image * 255).astype(np.uint8)
    table = np.linspace(0, 1, 256, dtype=np.float32)
    assert_array_equal(
        fit_table(stored, table, 3, "crop", aspect), fit_square(table[stored], 3, "crop", aspect), strict=True
    )
