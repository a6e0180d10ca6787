"""PNG, JPEG and TIFF as radiographs against Pillow's own functions, and what is no picture of a chest."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import Image, ImageFile, ImageOps

from monai_cxraug.data.readers.grey import to_grey, upright
from monai_cxraug.data.readers.pictures import full_range, read_picture
from monai_cxraug.errors import InputError
from tests.data.readers.pngs import chunk, png

RGB = np.random.default_rng(0).integers(0, 256, (24, 17, 3)).astype(np.uint8)
GREY = np.asarray(Image.fromarray(RGB).convert("L"))
JFIF_END = b"\xff\xd9"


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def refusal(content: bytes) -> str:
    with pytest.raises(InputError) as caught:
        read_picture(content, "x.png")
    assert caught.value.where == "x.png"
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- grey


def test_luma_is_pillows() -> None:
    every = np.random.default_rng(1).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    assert_array_equal(to_grey(every), np.asarray(Image.fromarray(every).convert("L")))


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_deep_luma_agrees_with_luma(red: int, green: int, blue: int) -> None:
    """257 * 8 bits is 16 bits; rounding differs by less than one step of 8 bits."""
    shallow = to_grey(np.array([[[red, green, blue]]], np.uint8)).item()
    deep = to_grey(np.array([[[red, green, blue]]], np.uint16) * np.uint16(257)).item()
    assert abs(deep / 257 - shallow) <= 0.502


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_extremes_do_not_overflow(dtype: type) -> None:
    most = np.iinfo(dtype).max
    for channels in (1, 2, 3, 4):
        assert (to_grey(np.full((70, 8, channels), most, dtype)) == most).all()
        assert (to_grey(np.zeros((70, 8, channels), dtype)) == 0).all()
    clear = np.full((8, 8, 4), most, dtype)
    clear[..., 3] = 0
    assert (to_grey(clear) == 0).all()
    colour = np.full((8, 8, 3), most, dtype)
    colour[0, 0, 0] = 0
    assert (to_grey(colour)[1:] == most).all()


def test_blocks_do_not_show() -> None:
    samples = np.random.default_rng(2).integers(0, 65536, (200, 9, 4)).astype(np.uint16)
    rows = [to_grey(samples[k : k + 1]) for k in range(200)]
    assert_array_equal(to_grey(samples), np.vstack(rows))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_pictures_are_turned_as_pillow_turns_them(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(Image.fromarray(GREY), kind, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    assert_array_equal(read_picture(content, "x").stored, expected)


def test_unknown_orientations_change_nothing() -> None:
    for orientation in (0, 9, -1, 700):
        assert_array_equal(upright(GREY, orientation), GREY)


def test_deep_colour_png_is_turned_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    samples = RGB.astype(np.uint16) * 256 + 3
    content = png(samples, 16, 2, before=chunk(b"eXIf", exif.tobytes()[6:]))
    assert_array_equal(read_picture(content, "x").stored, np.rot90(to_grey(samples), -1))


# --- radiographs


def test_eight_and_sixteen_bits() -> None:
    shallow = read_picture(encode(Image.fromarray(GREY), "PNG"), "x")
    assert (shallow.bits, shallow.stored.dtype, shallow.greyscale, shallow.aspect) == (8, np.uint8, "full range", 1.0)
    np.testing.assert_allclose(shallow.pixels, GREY / 255, atol=6e-8)
    deep = read_picture(encode(Image.fromarray(GREY.astype(np.uint16) * 200), "PNG"), "x")
    assert (deep.bits, deep.stored.dtype, len(deep.table)) == (16, np.uint16, 65536)
    np.testing.assert_allclose(deep.pixels, GREY * 200.0 / 65535, atol=6e-8)
    assert full_range(8)[[0, -1]].tolist() == [0, 1]
    assert not full_range(8).flags.writeable


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_is_pillows(mode: str, options: dict[str, Any]) -> None:
    content = encode(Image.fromarray(RGB).convert(mode), "JPEG", quality=90, **options)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    assert_array_equal(read_picture(content, "x.jpg").stored, expected)
    assert_array_equal(read_picture(content + b"trailing \xff\xd9", "x.jpg").stored, expected)


@pytest.mark.parametrize("tolerant", [False, True])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_cut_jpeg_is_refused(tolerant: bool, progressive: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where others told Pillow to fill up, and where a small picture inside has an end of its own."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)
    thumbnail = b"Exif\0\0" + b"II*\0\x08\0\0\0\0\0" + b"\xff\xd8\xff\xd9"
    plain = encode(Image.fromarray(RGB), "JPEG", progressive=progressive)
    content = plain[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + plain[2:]
    read_picture(content, "x.jpg")
    for length in range(3, len(content)):
        refusal(content[:length])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (encode(Image.fromarray(RGB).convert("CMYK"), "JPEG"), "grey or RGB; found CMYK"),
        (encode(Image.fromarray(RGB[:7]), "JPEG"), "at least 8 pixels a side"),
        (encode(Image.fromarray(RGB), "GIF"), "found a GIF"),
        (encode(Image.fromarray(RGB), "BMP"), "found a BMP"),
        (encode(Image.fromarray(RGB), "WEBP"), "found a WebP"),
        (b"<!DOCTYPE html><html></html>", "found a web page or SVG"),
        (b"\xef\xbb\xbf \n<svg/>", "found a web page or SVG"),
        (b"%PDF-1.4", "found a PDF"),
        (b"hello", "found another kind of file"),
        (b"\xff\xd8\xff", "must be complete"),
        (b"\xff\xd8" + JFIF_END, "decoded"),
        (b"\x89PNG\r\n\x1a\n", "must be complete"),
    ],
)
def test_what_is_no_radiograph(content: bytes, words: str) -> None:
    assert words in refusal(content)


def test_pillows_own_limit_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind, limit in (("PNG", 10), ("JPEG", 10), ("TIFF", 300)):  # of a TIFF of twice the limit it reads nothing
            content = encode(Image.fromarray(GREY), kind)
            monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
            read_picture(content, "x")
        exif = Image.Exif()
        exif[0x0112] = 3
        read_picture(encode(Image.fromarray(GREY), "PNG", exif=exif), "x")


def test_broken_notes_are_refused_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refusal(png(GREY[..., None], before=chunk(b"eXIf", b"nonsense")))
        cut = b"Exif\0\0II*\0\x08\0\0\0\x09\0"
        plain = encode(Image.fromarray(GREY), "JPEG")
        content = plain[:2] + b"\xff\xe1" + (len(cut) + 2).to_bytes(2, "big") + cut + plain[2:]
        assert read_picture(content, "x").stored.shape == GREY.shape
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_any_changed_byte_is_a_picture_of_its_size_or_refused(kind: str) -> None:
    content = encode(Image.fromarray(GREY), kind)
    random = np.random.default_rng(3)
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] = int(random.integers(0, 256))
        try:
            picture = read_picture(bytes(changed), "x")
        except InputError:
            continue
        assert min(picture.stored.shape) >= 8
        assert picture.stored.dtype == np.uint8
