"""NIfTI pictures: values, floats, orientation by the affine, and what is refused."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from monai_cxraug.data.readers import read_radiograph
from monai_cxraug.errors import InputError

SHAPE = (14, 9)  # columns, rows
LPS = np.diag([-1.0, -1, 1, 1])


def values(dtype: str = "int16", low: int = -500, high: int = 3000) -> np.ndarray:
    """``[columns, rows]`` as NIfTI indexes, every pixel different."""
    return np.linspace(low, high, SHAPE[0] * SHAPE[1]).reshape(SHAPE).astype(dtype)


def encode(array: np.ndarray, affine: np.ndarray = LPS, kind: Any = nib.Nifti1Image, **header: Any) -> bytes:
    image = kind(array, affine)
    for name, value in header.items():
        image.header[name] = value
    return bytes(image.to_bytes())


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", ">i2"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("compressed", [False, True])
def test_whole_numbers_by_percentiles(dtype: str, kind: Any, compressed: bool) -> None:
    info = np.iinfo(dtype)
    array = values(dtype, info.min, info.max)
    content = encode(array, kind=kind)
    if dtype.startswith(">"):
        header = kind.header_class(endianness=">")
        header.set_data_dtype(dtype)
        content = bytes(kind(array, LPS, header).to_bytes())
    result = read_radiograph(gzip.compress(content) if compressed else content)
    low, high = np.percentile(array.astype(float), [0.5, 99.5])
    assert_allclose(result.pixels, np.clip((array.T.astype(float) - low) / (high - low), 0, 1), atol=1e-6)
    assert result.bits == 8 * array.itemsize
    assert result.greyscale == f"percentiles {low:g}..{high:g}"
    assert result.tags == {}


def test_slope_and_display_range() -> None:
    array = values("uint16", 0, 4000)
    content = encode(array, scl_slope=0.5, scl_inter=-100.0, cal_min=0.0, cal_max=1000.0)
    content = bytearray(content)
    struct.pack_into("<ff", content, 112, 0.5, -100.0)  # nibabel clears the slope of what it writes
    result = read_radiograph(bytes(content))
    assert_allclose(result.pixels, np.clip((array.T * 0.5 - 100) / 1000, 0, 1), atol=1e-6)
    assert result.greyscale == "window 500/1000 LINEAR_EXACT"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_within_0_and_1_are_brightness(dtype: str) -> None:
    array = np.random.default_rng(1).random(SHAPE).astype(dtype)
    result = read_radiograph(encode(array))
    assert_allclose(result.pixels, array.T, atol=0.51 / 65535)
    assert (result.bits, result.greyscale) == (16, "full range")


def test_other_floats_by_percentiles() -> None:
    array = np.random.default_rng(1).normal(40, 300, SHAPE).astype(np.float32)
    result = read_radiograph(encode(array))
    low, high = np.percentile(array, [0.5, 99.5])
    assert_allclose(result.pixels, np.clip((array.T - low) / (high - low), 0, 1), atol=0.6 / 65535)
    assert result.greyscale.startswith("percentiles ")


def corners(pixels: np.ndarray) -> list[list[str]]:
    """Which corner of the body each corner of the picture shows."""
    names = {0: "a", 1: "b", 2: "c", 3: "d"}
    ranks = np.argsort(np.argsort([pixels[0, 0], pixels[0, -1], pixels[-1, 0], pixels[-1, -1]]))
    return [[names[ranks[0]], names[ranks[1]]], [names[ranks[2]], names[ranks[3]]]]


#: columns of the affine for the first and second index; corners of ``values`` from low to high are a b c d, where b is
#: one further along the second index and c along the first.
ORIENTATIONS = {
    "left, posterior, as ITK writes pictures": ((-1, 0, 0), (0, -1, 0), [["a", "c"], ["b", "d"]]),
    "right, anterior": ((1, 0, 0), (0, 1, 0), [["d", "b"], ["c", "a"]]),
    "left, inferior": ((-1, 0, 0), (0, 0, -1), [["a", "c"], ["b", "d"]]),
    "right, superior": ((1, 0, 0), (0, 0, 1), [["d", "b"], ["c", "a"]]),
    "superior, left": ((0, 0, 1), (-1, 0, 0), [["c", "d"], ["a", "b"]]),
    "posterior, inferior, from the side": ((0, -1, 0), (0, 0, -1), [["a", "c"], ["b", "d"]]),
}


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_the_affine_turns_the_picture_upright(name: str) -> None:
    first, second, expected = ORIENTATIONS[name]
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = np.multiply(first, 0.2), np.multiply(second, 0.4)
    affine[:3, 2] = np.cross(first, second)
    result = read_radiograph(encode(values(), affine))
    assert corners(result.pixels) == expected
    down = 0.4 if result.pixels.shape == SHAPE[::-1] else 0.2
    assert result.aspect == pytest.approx(down / (0.6 - down))


def test_without_an_orientation_it_stays_as_stored() -> None:
    array = values()
    image = nib.Nifti1Image(array, None)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    pixels = read_radiograph(bytes(image.to_bytes())).pixels
    assert pixels.shape == SHAPE[::-1]
    assert pixels[0, 0] == 0
    assert (np.diff(pixels, axis=1) >= 0).all()


def test_a_slice_of_depth_one_is_a_picture() -> None:
    array = values()
    assert_array_equal(read_radiograph(encode(array[..., None])).pixels, read_radiograph(encode(array)).pixels)


def claim(rows: int) -> bytes:
    """A header that says to be larger than the file."""
    content = bytearray(encode(values()))
    struct.pack_into("<h", content, 42, rows)
    return bytes(content)


HOSTILE = {
    "volume": (encode(np.zeros((9, 9, 5), np.int16)), "one picture"),
    "line": (encode(np.zeros(20, np.int16)), "one picture"),
    "deep": (encode(values("int32")), "16 bits"),
    "complex": (encode(values("complex64")), "16 bits"),
    "NaN": (encode(np.full(SHAPE, np.nan, np.float32)), "finite"),
    "cut": (encode(values())[:-30], "NIfTI"),
    "cut gzip": (gzip.compress(encode(values()))[:-30], "cut off"),
    "claims": (claim(32767), "NIfTI"),
    "small": (encode(np.zeros((3, 3), np.int16)), "3 x 3"),
    "bomb": (gzip.compress(encode(values()) + bytes(300_000_000), 1), "256 MiB"),
    "pair": (encode(values()).replace(b"n+1\0", b"ni1\0"), "of two files"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_picture_is_refused(name: str, tmp_path: Path, refuses, recwarn) -> None:
    content, word = HOSTILE[name]
    path = tmp_path / f"{name}.nii"
    path.write_bytes(content)
    with refuses(InputError, path, word):
        read_radiograph(path)
    assert not recwarn.list
