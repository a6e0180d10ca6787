"""The TIFF reader against files written here from TIFF 6.0, against Pillow's, and against damaged ones."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image, ImageFile

from monai_cxraug.data.readers import tiff as module
from monai_cxraug.data.readers.grey import to_rgb
from monai_cxraug.data.readers.pictures import read_picture
from monai_cxraug.data.readers.tiff import read_tiff
from monai_cxraug.errors import InputError

GREY8 = (np.arange(12 * 9).reshape(12, 9) * 2 + 7).astype(np.uint8)
GREY16 = (np.arange(12 * 9).reshape(12, 9) * 601 + 5).astype(np.uint16)
RGB = np.random.default_rng(0).integers(0, 256, (12, 9, 3)).astype(np.uint8)


def tiff(
    samples: np.ndarray, order: str = "<", data: bytes | None = None, rows_per_strip: int = 99, **tags: Any
) -> bytes:
    """One page in strips; tags by number, such as ``t262=0``, replace the usual ones."""
    rows, columns = samples.shape[:2]
    channels = samples.shape[2] if samples.ndim == 3 else 1
    strips = [
        samples[k : k + rows_per_strip].astype(samples.dtype.newbyteorder(order)).tobytes()
        for k in range(0, rows, rows_per_strip)
    ]
    strips = strips if data is None else [data]
    places = [8 + sum(map(len, strips[:k])) for k in range(len(strips))]
    values = {
        256: (3, columns), 257: (3, rows), 258: (3, *[8 * samples.itemsize] * channels), 259: (3, 1),
        262: (3, 1 if channels == 1 else 2), 273: (4, *places), 277: (3, channels), 278: (3, rows_per_strip),
        279: (4, *map(len, strips)),
    }  # fmt: skip
    for key, value in tags.items():
        values[int(key[1:])] = (3, *value) if isinstance(value, tuple) else (3, value)
    body = b"".join(strips)
    beyond = b""
    start = 8 + len(body)
    fields = b""
    for tag, (kind, *numbers) in sorted(values.items()):
        packed = struct.pack(f"{order}{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(packed) > 4:
            place = start + 2 + 12 * len(values) + 4 + len(beyond)
            beyond += packed
            packed = struct.pack(f"{order}I", place)
        fields += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + packed.ljust(4, b"\0")
    magic = b"II*\0" if order == "<" else b"MM\0*"
    count = struct.pack(f"{order}H", len(values))
    return magic + struct.pack(f"{order}I", start) + body + count + fields + bytes(4) + beyond


def read(content: bytes) -> np.ndarray:
    return read_tiff(content, "x.tif")[0]


def refusal(content: bytes) -> str:
    with pytest.raises(InputError) as caught:
        read_picture(content, "x.tif")
    assert caught.value.where == "x.tif"
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("samples", [GREY8, GREY16], ids=["8", "16"])
@pytest.mark.parametrize("rows_per_strip", [99, 5])
def test_grey_of_either_order_and_sense(order: str, samples: np.ndarray, rows_per_strip: int) -> None:
    most = np.iinfo(samples.dtype).max
    for deflate in (False, True):
        extra: dict[str, Any] = {"data": zlib.compress(samples.astype(samples.dtype.newbyteorder(order)).tobytes())}
        extra = extra | {"t259": 8} if deflate else {"rows_per_strip": rows_per_strip}
        assert_array_equal(read(tiff(samples, order, **extra)), samples)
        assert_array_equal(read(tiff(samples, order, t262=0, **extra)), most - samples)


def test_colour_is_luma() -> None:
    expected = np.asarray(Image.fromarray(RGB).convert("L"))
    assert_array_equal(read(tiff(RGB)), expected)
    assert_array_equal(read(tiff(RGB, ">")), expected)


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_a_fourth_channel(kind: int) -> None:
    """Of no meaning, opacity multiplied in already, or opacity."""
    opacity = np.full((12, 9, 1), 255, np.uint8)
    opacity[:6] = 102
    colour = np.minimum(RGB, opacity) if kind == 1 else RGB
    luma = np.asarray(Image.fromarray(colour).convert("L")).astype(int)
    expected = (luma * opacity[..., 0] + 127) // 255 if kind == 2 else luma
    result = read(tiff(np.dstack([colour, opacity]), t338=kind)).astype(int)
    assert abs(result - expected).max() <= (2 if kind == 1 else 0)  # Pillow divides and we multiply


@pytest.mark.parametrize("kind", [0, 2])
@pytest.mark.parametrize("white", [0, 255])
def test_opacity_is_not_turned_over_with_the_shades(kind: int, white: int) -> None:
    """Nothing shows black, whichever end of the shades is white; a second channel of no meaning changes nothing."""
    opacity = np.linspace(0, 255, GREY8.size).round().astype(np.uint8).reshape(GREY8.shape)
    shown = (GREY8 if white else 255 - GREY8).astype(int)
    expected = (shown * opacity + 127) // 255 if kind else shown
    content = tiff(np.dstack([GREY8, opacity]), t262=int(white > 0), t338=kind)
    assert_array_equal(read(content), expected)
    assert_array_equal(read_tiff(content, "x", to_rgb)[0], np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_what_pillow_writes(mode: str, compression: str) -> None:
    picture = Image.fromarray(GREY16) if mode == "I;16" else Image.fromarray(RGB).convert(mode)
    file = io.BytesIO()
    picture.save(file, "TIFF", compression=compression)
    expected = np.asarray(picture if mode == "I;16" else picture.convert("L"))
    assert_array_equal(read(file.getvalue()), expected)


def test_jpeg_inside() -> None:
    file = io.BytesIO()
    Image.fromarray(GREY8).save(file, "TIFF", compression="jpeg", quality=95)
    assert abs(read(file.getvalue()).astype(int) - GREY8).max() < 12


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_once(orientation: int, compression: str) -> None:
    file = io.BytesIO()
    Image.fromarray(GREY8).save(file, "TIFF", compression=compression, tiffinfo={274: orientation})
    expected = {
        1: GREY8, 2: np.fliplr(GREY8), 3: np.rot90(GREY8, 2), 4: np.flipud(GREY8), 5: GREY8.T,
        6: np.rot90(GREY8, -1), 7: np.rot90(GREY8, 2).T, 8: np.rot90(GREY8),
    }[orientation]  # fmt: skip
    assert_array_equal(read_picture(file.getvalue(), "x.tif").stored, expected)


WHOLE = tiff(GREY8)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (tiff(GREY16, t339=2), "without sign"),
        (tiff(GREY8.astype(np.float32), t339=3), "without sign"),
        (tiff(GREY8.astype(np.uint32)), "1, 8 or 16 bits"),
        (tiff(RGB.astype(np.uint16)), "1, 8 or 16 bits"),
        (tiff(np.dstack([GREY16, GREY16]), t262=1), "1, 8 or 16 bits"),
        (tiff(GREY8, t258=(8, 16)), "1, 8 or 16 bits"),
        (tiff(np.dstack([RGB, GREY8]), t262=5), "photometric 5"),
        (tiff(RGB, t262=8), "photometric 8"),
        (tiff(GREY8, t259=4), "must be plain, LZW"),
        (tiff(GREY8, t259=50000), "must be plain, LZW"),
        (tiff(GREY8, t256=7), "at least 8 pixels"),
        (tiff(GREY8, t256=65535, t257=65535), "at most 100 million"),
        (tiff(GREY8, t322=60000, t323=60000), "a tile must have at most"),
        (tiff(GREY8, t257=13), "must hold 117 bytes"),
        (tiff(GREY8, data=GREY8.tobytes()[:-1]), "must hold 108 bytes"),
        (tiff(GREY8, t279=9999), "must be complete"),
        (tiff(GREY8, t279=(5, 5)), "must be complete"),
        (
            WHOLE.replace(struct.pack("<HHI", 259, 3, 1), struct.pack("<HHI", 259, 2, 1)),
            "tag 259 of a TIFF must be whole",
        ),
        (b"II*\0", "whole directory"),
        (b"II*\0\xff\xff\xff\xff", "whole directory"),
        (b"II*\0\x04\0\0\0", "whole directory"),
    ],
)
def test_kinds_that_are_refused(content: bytes, words: str) -> None:
    assert words in refusal(content)


def test_a_thousand_wrong_values_fit_into_a_line() -> None:
    assert len(refusal(tiff(GREY8, t258=tuple(range(2, 2000))))) < 700


def test_several_pages_are_refused() -> None:
    file = io.BytesIO()
    Image.fromarray(GREY8).save(file, "TIFF", save_all=True, append_images=[Image.fromarray(GREY8)])
    assert "several pages" in refusal(file.getvalue())


@pytest.mark.parametrize("tolerant", [False, True])
def test_damage_is_refused_without_a_word(
    tolerant: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever others told Pillow about truncated files, and though libtiff writes to the standard error."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)
    for content in (WHOLE[:60], WHOLE[:-30]):
        refusal(content)
    data = zlib.compress(GREY8.tobytes())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refusal(tiff(GREY8, data=data[:-20], t259=8))
        refusal(tiff(GREY8, data=data[:20] + b"\xff\xff\xff" + data[23:], t259=8))
        for compression in ("tiff_lzw", "jpeg"):
            file = io.BytesIO()
            Image.fromarray(GREY8).save(file, "TIFF", compression=compression)
            content = bytearray(file.getvalue())
            content[12:30] = b"\xff" * 18
            refusal(bytes(content))
    os.write(2, b"still there")
    assert capfd.readouterr() == ("", "still there")


def test_a_closed_standard_error_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(descriptor: int) -> int:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(module.os, "dup", closed)
    assert_array_equal(read(tiff(GREY8, data=zlib.compress(GREY8.tobytes()), t259=8)), GREY8)


def test_any_changed_byte_is_a_picture_of_its_size_or_refused(capfd: pytest.CaptureFixture[str]) -> None:
    for at in range(len(WHOLE)):
        for value in (0, 1, 255):
            content = bytearray(WHOLE)
            content[at] = value
            try:
                picture = read_picture(bytes(content), "x.tif")
            except InputError:
                continue
            assert picture.stored.ndim == 2
            assert min(picture.stored.shape) >= 8
    assert capfd.readouterr() == ("", "")
