"""The compiled loops: which library is taken, what is refused before memory is touched, PNG filters by the book."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from monai_cxraug.data import kernels
from monai_cxraug.data.readers import png
from monai_cxraug.errors import InputError

needs_kernels = pytest.mark.skipif(
    bool(kernels.KERNELS.absence), reason=f"no compiled kernels: {kernels.KERNELS.absence}"
)
WAYS = [pytest.param(kernels.unfilter, marks=needs_kernels, id="kernels"), pytest.param(png.unfilter, id="numpy")]


def filtered(pixels: np.ndarray, kinds: list[int], pixel_bytes: int) -> bytes:
    """Rows of bytes as an encoder filters them: ISO/IEC 15948, clause 9.2, byte by byte."""
    result = bytearray()
    before = [0] * pixels.shape[1]
    for row, kind in zip(pixels.tolist(), kinds, strict=True):
        result.append(kind)
        for k, x in enumerate(row):
            a = row[k - pixel_bytes] if k >= pixel_bytes else 0
            b = before[k]
            c = before[k - pixel_bytes] if k >= pixel_bytes else 0
            p = a + b - c
            near = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            result.append((x - (0, a, b, (a + b) // 2, near)[kind]) % 256)
        before = row
    return bytes(result)


@pytest.mark.parametrize("unfilter", WAYS)
@given(
    pixel_bytes=st.sampled_from([1, 2, 3, 4, 6, 8]),
    columns=st.integers(1, 12),
    kinds=st.lists(st.sampled_from([0, 1, 2, 3, 4, 4, 4]), min_size=1, max_size=14),
    flat=st.booleans(),
)
def test_filters_by_the_book(unfilter, pixel_bytes: int, columns: int, kinds: list[int], flat: bool) -> None:
    """Also pictures of few values, where many of Paeth's distances tie."""
    shape = len(kinds), columns * pixel_bytes
    pixels = np.random.default_rng(columns).integers(0, 3 if flat else 256, shape).astype(np.uint8)
    data = filtered(pixels, kinds, pixel_bytes)
    assert_array_equal(unfilter(data, *shape, pixel_bytes), pixels)


@pytest.mark.parametrize("unfilter", WAYS)
def test_every_neighbourhood_of_paeth(unfilter) -> None:
    """All a, b, c on a coarse grid with both ends and odd distances, and every order of ties."""
    values = [*range(0, 256, 15), 1, 2, 3, 127, 128, 254]
    triples = np.array([(c, b, a) for a in values for b in values for c in values], dtype=np.uint8)
    picture = np.zeros((2 * len(triples), 2), dtype=np.uint8)
    picture[0::2], picture[1::2, 0] = triples[:, :2], triples[:, 2]
    picture[1::2, 1] = 77
    kinds = [0, 4] * len(triples)
    assert_array_equal(unfilter(filtered(picture, kinds, 1), *picture.shape, 1), picture)


@pytest.mark.parametrize("unfilter", WAYS)
@pytest.mark.parametrize(
    ("data", "rows", "stride", "pixel_bytes", "words"),
    [
        (b"\0aa\5bb", 2, 2, 1, "row 1: must have a filter from 0 to 4; found 5"),
        (b"\0aaaaaa\xff" + b"b" * 6, 2, 6, 6, "row 1: must have a filter from 0 to 4; found 255"),
        (b"\0aa\0b", 2, 2, 1, "must be 6 bytes; found 5"),
        (b"\0aa\0bbb", 2, 2, 1, "must be 6 bytes; found 7"),
        (b"", 0, 2, 1, "whole pixels"),
        (b"\0aaa", 1, 3, 2, "whole pixels"),
        (b"\0aaaaa", 1, 5, 5, "whole pixels"),
    ],
)
def test_rows_that_are_refused(unfilter, data: bytes, rows: int, stride: int, pixel_bytes: int, words: str) -> None:
    with pytest.raises(InputError) as caught:
        unfilter(data, rows, stride, pixel_bytes)
    assert words in str(caught.value)


# --- memory safety


STEPS = np.zeros(4, dtype=np.int32)


@needs_kernels
@pytest.mark.parametrize(
    ("stored", "steps", "size"),
    [
        (np.full((3, 3), 4, np.uint8), STEPS, (2, 2)),
        (np.full((3, 3), 300, np.uint16), STEPS, (2, 2)),
        (np.zeros((3, 3), np.int16), STEPS, (2, 2)),
        (np.zeros((3, 3), ">u2"), STEPS, (2, 2)),
        (np.zeros((3, 3), np.uint8), STEPS.astype(np.int64), (2, 2)),
        (np.zeros((3, 3), np.uint8), STEPS[None], (2, 2)),
        (np.zeros((3, 3, 3), np.uint8), STEPS, (2, 2)),
        (np.zeros((3, 3), np.uint8), STEPS, (0, 2)),
        (np.zeros((3, 3), np.uint8), STEPS, (2, -1)),
    ],
)
def test_bounds_are_checked(stored: np.ndarray, steps: np.ndarray, size: tuple[int, int]) -> None:
    with pytest.raises(InputError):
        kernels.average_table(stored, steps, *size, 1.0)


@needs_kernels
@pytest.mark.parametrize("image", [np.zeros((3, 3)), np.zeros((3, 3), ">f4"), np.zeros((3, 0), np.float32)])
def test_bounds_of_float_pictures_are_checked(image: np.ndarray) -> None:
    with pytest.raises(InputError):
        kernels.average_float(image, 2, 2, 1.0)
