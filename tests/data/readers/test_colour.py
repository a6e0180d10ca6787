"""Red, green and blue against Pillow and closed forms; what is refused in grey is refused in colour."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageOps

from monai_cxraug.data.readers import read_colour, read_radiograph
from monai_cxraug.data.readers.grey import to_grey, to_rgb
from monai_cxraug.data.readers.policy import DicomPolicy, DroppedImage
from monai_cxraug.errors import InputError
from tests.data.readers.dicoms import KEEP, make_dicom, ramp
from tests.data.readers.dicoms import encode as encode_dicom
from tests.data.readers.pngs import chunk, header, png

RGB = np.random.default_rng(0).integers(0, 256, (24, 17, 3)).astype(np.uint8)
ALPHA = np.random.default_rng(1).integers(0, 256, (24, 17, 1)).astype(np.uint8)
GREY = np.asarray(Image.fromarray(RGB).convert("L"))


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def stored(content: bytes) -> np.ndarray:
    return np.asarray(read_colour(content, "x").stored)


def over_black(samples: np.ndarray, opacity: np.ndarray, most: int = 255) -> np.ndarray:
    """In whole numbers, rounded to nearest."""
    return (samples.astype(np.uint64) * opacity + most // 2) // most


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_pixels_without_loss_are_kept(kind: str) -> None:
    picture = read_colour(encode(Image.fromarray(RGB), kind), "x")
    assert_array_equal(picture.stored, RGB)
    assert_allclose(picture.pixels, RGB / 255, atol=6e-8)
    assert (picture.bits, picture.greyscale, picture.aspect) == (8, "colour", 1.0)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpeg_is_pillows(options: dict[str, Any]) -> None:
    content = encode(Image.fromarray(RGB), "JPEG", quality=90, **options)
    assert_array_equal(stored(content), np.asarray(Image.open(io.BytesIO(content))))


def test_tiff_of_other_colours_is_pillows() -> None:
    for content in (
        encode(Image.fromarray(RGB).quantize(16), "TIFF"),
        encode(Image.fromarray(RGB), "TIFF", compression="jpeg"),
        encode(Image.fromarray(RGB), "TIFF", compression="tiff_lzw"),
    ):
        assert_array_equal(stored(content), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


@pytest.mark.parametrize("interlaced", [False, True])
def test_deep_colour_keeps_its_sixteen_bits(interlaced: bool) -> None:
    samples = RGB.astype(np.uint16) * 256 + 3
    picture = read_colour(png(samples, 16, 2, interlaced), "x")
    assert_array_equal(picture.stored, samples)
    assert picture.bits == 16


def test_transparency_shows_black() -> None:
    both = np.concatenate([RGB, ALPHA], axis=2)
    assert_array_equal(stored(encode(Image.fromarray(both), "PNG")), over_black(RGB, ALPHA))
    shade = np.concatenate([GREY[..., None], ALPHA], axis=2)
    expected = np.repeat(over_black(GREY[..., None], ALPHA), 3, axis=2)
    assert_array_equal(stored(encode(Image.fromarray(shade, "LA"), "PNG")), expected)
    deep = both.astype(np.uint16) * 257
    assert_array_equal(stored(png(deep, 16, 6)), over_black(deep[..., :3], deep[..., 3:], 65535))


def test_a_transparent_colour_is_black() -> None:
    samples = RGB.copy()
    samples[::2, ::3] = (10, 20, 30)
    body = np.array([10, 20, 30], ">u2").tobytes()
    expected = np.where((samples == (10, 20, 30)).all(axis=2)[..., None], 0, samples)
    assert_array_equal(stored(png(samples, 8, 2, before=chunk(b"tRNS", body))), expected)


def test_palettes() -> None:
    indices, colours = np.random.default_rng(2).integers(0, 4, (20, 12, 1)), RGB[0, :4]
    opacity = np.array([255, 128, 0, 255])
    before = chunk(b"PLTE", colours.tobytes()) + chunk(b"tRNS", bytes(opacity.tolist()))
    expected = over_black(colours, opacity[:, None])[indices[..., 0]]
    for depth in (2, 8):
        assert_array_equal(stored(png(indices.astype(np.uint8), depth, 3, before=before)), expected)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("mode", ["L", "1"])
def test_a_grey_file_has_three_equal_channels(kind: str, mode: str) -> None:
    if (kind, mode) == ("JPEG", "1"):
        pytest.skip("no such JPEG")
    content = encode(Image.fromarray(GREY).convert(mode), kind)
    picture, grey = read_colour(content, "x"), read_radiograph(content, "x")
    assert_array_equal(picture.stored, np.repeat(grey.stored[..., None], 3, axis=2))
    assert picture.greyscale == "full range"


def test_shallow_grey_fills_the_range() -> None:
    samples = np.random.default_rng(3).integers(0, 4, (20, 12, 1)).astype(np.uint8)
    assert_array_equal(stored(png(samples, 2)), np.repeat(samples * 85, 3, axis=2))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_pictures_are_turned_as_pillow_turns_them(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(Image.fromarray(RGB), kind, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    assert_array_equal(stored(content), expected)


@given(st.integers(1, 4), st.sampled_from([np.uint8, np.uint16]), st.integers(0, 1000))
def test_the_luma_of_the_colours_is_the_grey(channels: int, dtype: type, seed: int) -> None:
    samples = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (70, 5, channels), dtype, endpoint=True)
    colours = to_rgb(samples)
    assert colours.shape == (70, 5, 3)
    assert colours.dtype == dtype
    # rounded once or twice: opacity comes before or after the luma
    assert np.abs(to_grey(colours).astype(int) - to_grey(samples).astype(int)).max() <= 1


@pytest.mark.parametrize("fit", ["pad", "squash", "crop"])
@pytest.mark.parametrize("size", [7, 16, 40])
def test_each_channel_is_resized_as_grey_is(fit: Any, size: int) -> None:
    found = read_colour(encode(Image.fromarray(RGB), "PNG"), "x").resized(size, fit)
    assert found.shape == (size, size, 3)
    assert found.dtype == np.float32
    for channel in range(3):
        content = encode(Image.fromarray(np.ascontiguousarray(RGB[..., channel])), "PNG")
        assert_array_equal(found[..., channel], read_radiograph(content, "x").resized(size, fit))


def flat_colour() -> bytes:
    return encode(Image.fromarray(np.broadcast_to(np.uint8([200, 20, 90]), (200, 200, 3)).copy()), "PNG")


def bomb(columns: int, rows: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + header(columns, rows, 8, 2) + chunk(b"IDAT", b"x") + chunk(b"IEND")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (flat_colour(), "a flat picture"),
        (encode(Image.fromarray(RGB[:7]), "PNG"), "at least 8 pixels a side"),
        (bomb(10**6, 10**6), "at most 100 million"),
        (bomb(9000, 9000), "200 million bytes"),
        (encode(Image.fromarray(RGB), "GIF"), "a GIF"),
        (encode(Image.fromarray(RGB), "WEBP"), "a WebP"),
        (encode(Image.fromarray(RGB).convert("CMYK"), "JPEG"), "CMYK"),
        (encode(Image.fromarray(RGB), "JPEG")[:-9], "complete"),
        (encode(Image.fromarray(RGB), "PNG")[:-30], "complete"),
        (encode(Image.fromarray(RGB), "TIFF")[:-30], "TIFF"),
    ],
)
def test_what_is_refused_in_grey_is_refused_in_colour(content: bytes, words: str) -> None:
    said = []
    for read in (read_radiograph, read_colour):
        with pytest.raises(InputError, match=words) as caught:
            read(content, "x")
        said.append(str(caught.value).replace("grey value", "colour"))
    assert said[0] == said[1]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_changed_byte_is_refused_in_both_or_in_none(kind: str) -> None:
    content = encode(Image.fromarray(RGB), kind)
    random = np.random.default_rng(3)
    for at in range(0, len(content), 3):
        changed = bytearray(content)
        changed[at] = int(random.integers(0, 256))
        found = []
        for read in (read_radiograph, read_colour):
            try:
                found.append(read(bytes(changed), "x").stored.shape[:2])
            except InputError as error:
                found.append(str(error))
        assert found[0] == found[1]


# --- DICOM


def test_a_grey_dicom_image_has_three_equal_channels() -> None:
    content = encode_dicom(make_dicom(ramp(0, 4095), PhotometricInterpretation="MONOCHROME1"))
    picture, grey = read_colour(content, "x", KEEP), read_radiograph(content, "x", KEEP)
    assert_array_equal(picture.pixels, np.repeat(grey.pixels[..., None], 3, axis=2))
    assert picture.greyscale == grey.greyscale
    assert picture.resized(5).shape == (5, 5, 3)


def test_a_dicom_image_in_colour_is_refused(refuses) -> None:
    content = encode_dicom(make_dicom(RGB, 8, PhotometricInterpretation="RGB"))
    with refuses(InputError, "x.dcm", "must be grey", "in colour", "--colour"):
        read_colour(content, "x.dcm", KEEP)


def test_the_policy_holds_in_colour() -> None:
    content = encode_dicom(make_dicom(ramp(0, 4095), ViewPosition="LL", Modality="DX"))
    with pytest.raises(DroppedImage, match="LL"):
        read_colour(content, "x", DicomPolicy())
