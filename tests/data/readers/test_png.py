"""The PNG reader against an encoder written from the standard, against Pillow, and against damaged files."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from monai_cxraug.data import kernels
from monai_cxraug.data.readers import png as module
from monai_cxraug.data.readers.png import read_png
from monai_cxraug.errors import InputError
from tests.data.readers.pngs import CHANNELS, SIGNATURE, chunk, header, pixel_data, png

KINDS = (4, 0, 1, 2, 3, 4, 4, 4, 2, 4, 4, 3)
DEPTHS = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (4, 8), (4, 16), (6, 8), (6, 16)]


@pytest.fixture(params=["kernels", "numpy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "numpy":
        monkeypatch.setenv("CXRAUG_KERNELS", "off")
    elif kernels.KERNELS.absence:
        pytest.skip(f"no compiled kernels: {kernels.KERNELS.absence}")
    return str(request.param)


@pytest.fixture(params=["zlib", "isal.isal_zlib"])
def inflater(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param != "zlib":
        pytest.importorskip("isal")
    library = import_module(request.param)
    monkeypatch.setattr(module, "_zlib", lambda: library)
    return library


def samples_of(colour: int, depth: int, shape: tuple[int, int] = (21, 13), seed: int = 0) -> np.ndarray:
    dtype = np.uint16 if depth == 16 else np.uint8
    random = np.random.default_rng(seed)
    smooth = np.add.outer(np.arange(shape[0]), np.arange(shape[1]))[..., None] * 2**depth // 40
    noise = random.integers(0, 2**depth, (*shape, CHANNELS[colour]))
    return np.where(random.random(noise.shape) < 0.5, smooth, noise).clip(0, 2**depth - 1).astype(dtype)


def shades(samples: np.ndarray, depth: int, colour: int) -> np.ndarray:
    """Luma in front of black in exact fractions, rounded to nearest, halves up."""
    most = 2**depth - 1
    wide = samples.astype(object)
    value = wide[..., 0]
    if colour in (2, 6):
        value = (19595 * wide[..., 0] + 38470 * wide[..., 1] + 7471 * wide[..., 2] + 2**15) // 2**16
    if colour in (4, 6):
        value = (2 * value * wide[..., -1] + most) // (2 * most)
    return value.astype(np.int64) * (255 // most if depth < 8 else 1)


@pytest.mark.parametrize(("colour", "depth"), DEPTHS)
@pytest.mark.parametrize("interlaced", [False, True])
def test_every_colour_type_depth_and_filter(way: str, colour: int, depth: int, interlaced: bool) -> None:
    for shape in ((21, 13), (8, 8), (9, 30)):
        samples = samples_of(colour, depth, shape)
        grey, has_notes = read_png(png(samples, depth, colour, interlaced, KINDS, pieces=3), "x.png")
        assert grey.dtype == (np.uint16 if depth == 16 else np.uint8)
        assert_array_equal(grey, shades(samples, depth, colour))
        assert has_notes is False


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("interlaced", [False, True])
def test_palettes(way: str, depth: int, interlaced: bool) -> None:
    size = 2**depth if depth < 8 else 200
    random = np.random.default_rng(depth)
    colours = random.integers(0, 256, (size, 3)).astype(np.uint8)
    indices = random.integers(0, size, (17, 11, 1)).astype(np.uint8)
    plte = chunk(b"PLTE", colours.tobytes())
    opaque, _ = read_png(png(indices, depth, 3, interlaced, KINDS, plte), "x.png")
    assert_array_equal(opaque, shades(colours[indices[..., 0]], 8, 2))
    opacity = np.full((size, 1), 255, np.uint8)
    opacity[: size // 2] = random.integers(0, 256, (size // 2, 1))
    trns = chunk(b"tRNS", opacity[: size // 2].tobytes())
    clear, _ = read_png(png(indices, depth, 3, interlaced, KINDS, plte + trns), "x.png")
    assert_array_equal(clear, shades(np.hstack([colours, opacity])[indices[..., 0]], 8, 6))


@pytest.mark.parametrize(("colour", "depth"), [(0, 1), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16)])
def test_a_transparent_colour_is_black(way: str, colour: int, depth: int) -> None:
    samples = samples_of(colour, depth)
    key = samples[5, 5].copy()
    samples[3:5, 2:7] = key
    unused = 0xFFFF - (2**depth - 1)  # bits above the depth mean nothing
    trns = chunk(b"tRNS", (key.astype(">u2") | unused).astype(">u2").tobytes())
    grey, _ = read_png(png(samples, depth, colour, before=trns), "x.png")
    expected = shades(samples, depth, colour)
    expected[(samples == key).all(axis=2)] = 0
    assert (grey == 0).sum() >= 10
    assert_array_equal(grey, expected)


def test_what_pillow_writes_is_what_it_reads(way: str) -> None:
    grey = Image.fromarray(samples_of(0, 8, (64, 48))[..., 0])
    for picture in (grey, grey.convert("RGB"), grey.convert("P"), grey.convert("1"), grey.quantize(5)):
        for level in (0, 9):
            file = io.BytesIO()
            picture.save(file, "PNG", compress_level=level)
            assert_array_equal(read_png(file.getvalue(), "x.png")[0], np.asarray(picture.convert("L")))
    deep = samples_of(0, 16, (64, 48))[..., 0]
    file = io.BytesIO()
    Image.fromarray(deep).save(file, "PNG")
    assert_array_equal(read_png(file.getvalue(), "x.png")[0], deep)


def test_real_files_are_those_of_pillow(way: str, data_root: Path, tmp_path: Path) -> None:
    for path in sorted((data_root / "nih_originals").glob("*.png"))[:2]:
        with Image.open(path) as picture:
            grey = picture.convert("L")
            grey.save(tmp_path / "mixed.png")
        for file in (path, tmp_path / "mixed.png"):
            assert_array_equal(read_png(file.read_bytes(), file)[0], np.asarray(grey))


def test_notes_are_seen() -> None:
    samples = samples_of(0, 8)
    for body in (chunk(b"eXIf", b"II*\0"), chunk(b"zTXt", b"Raw profile type exif\0\0x")):
        assert read_png(png(samples, before=body), "x.png")[1] is True
    assert read_png(png(samples, before=chunk(b"tEXt", b"Comment\0eXIf")), "x.png")[1] is False


# --- damage


SMALL = samples_of(0, 8, (9, 8))
FILE = png(SMALL, kinds=KINDS)


def refusal(content: bytes) -> str:
    with pytest.raises(InputError) as caught:
        read_png(content, "x.png")
    assert caught.value.where == "x.png"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_cut_file_is_refused(way: str, inflater: Any) -> None:
    for length in range(8, len(FILE)):
        refusal(FILE[:length])


def test_any_flipped_bit_is_seen(inflater: Any) -> None:
    for at in range(8, len(FILE)):
        for bit in range(8):
            changed = bytearray(FILE)
            changed[at] ^= 1 << bit
            refusal(bytes(changed))


def rebuilt(data: bytes) -> bytes:
    return SIGNATURE + header(8, 9) + chunk(b"IDAT", data) + chunk(b"IEND")


def test_any_flipped_bit_of_the_data_is_seen_though_the_checksum_fits(inflater: Any) -> None:
    """The data has a checksum of its own, but for the bits that fill its last byte."""
    data, harmless = zlib.compress(pixel_data(SMALL, 8, kinds=KINDS)), 0
    for at in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            try:
                assert_array_equal(read_png(rebuilt(bytes(changed)), "x.png")[0], SMALL[..., 0])
                harmless += 1
            except InputError:
                pass
    assert harmless < 8


def test_data_of_another_length_is_refused(inflater: Any) -> None:
    right = pixel_data(SMALL, 8)
    assert "less" in refusal(rebuilt(zlib.compress(right[:-1])))
    assert "more" in refusal(rebuilt(zlib.compress(right + b"\0")))
    assert "more" in refusal(rebuilt(zlib.compress(right) + b"\0"))
    assert "less" in refusal(rebuilt(zlib.compress(right)[:-1]))
    assert "less" in refusal(rebuilt(zlib.compress(right)[:-4]))
    assert "0 bytes of data" in refusal(rebuilt(b""))
    assert "whole" in refusal(rebuilt(b"not deflated at all"))


def test_a_bomb_takes_no_memory(inflater: Any) -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)
    tracemalloc.start()
    try:
        assert "more" in refusal(rebuilt(bomb))
        huge = SIGNATURE + header(10_000, 10_000) + chunk(b"IDAT", bomb[:9000]) + chunk(b"IEND")
        assert "all its pixels" in refusal(huge)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((65535, 65535), "at most 100 million"),
        ((2**31 - 1, 2**31 - 1), "at most 100 million"),
        ((7, 4000), "at least 8 pixels a side"),
        ((4000, 1), "at least 8 pixels a side"),
        ((0, 0), "at least 8 pixels a side"),
    ],
)
def test_sizes_no_radiograph_has(size: tuple[int, int], words: str) -> None:
    assert words in refusal(SIGNATURE + header(*size) + chunk(b"IDAT", b"") + chunk(b"IEND"))


def test_many_bytes_a_pixel_are_bounded_too() -> None:
    wide = SIGNATURE + header(10_000, 10_000, 16, 6) + chunk(b"IDAT", bytes(10**6)) + chunk(b"IEND")
    assert "200 million bytes" in refusal(wide)


GOOD = chunk(b"IDAT", zlib.compress(pixel_data(SMALL, 8)))
END = chunk(b"IEND")


@pytest.mark.parametrize(
    ("chunks", "words"),
    [
        (chunk(b"gAMA", bytes(4)) + header(8, 9) + GOOD + END, "begin with its header"),
        (header(8, 9) + header(8, 9) + GOOD + END, "b'IHDR'"),
        (header(8, 9) + GOOD + chunk(b"tIME", bytes(7)) + GOOD + END, "b'IDAT'"),
        (header(8, 9) + chunk(b"ABCD") + GOOD + END, "b'ABCD'"),
        (header(8, 9) + GOOD, "must be complete"),
        (header(8, 9) + chunk(b"acTL", struct.pack(">II", 2, 0)) + GOOD + END, "an animation"),
        (header(8, 9, 3) + GOOD + END, "known kind"),
        (header(8, 9, 16, 3) + GOOD + END, "known kind"),
        (header(8, 9, 8, 5) + GOOD + END, "known kind"),
        (header(8, 9, 8, 0, 2) + GOOD + END, "known kind"),
        (chunk(b"IHDR", bytes(12)) + GOOD + END, "13 bytes"),
        (header(8, 9, 8, 3) + GOOD + END, "all its colours"),
        (header(8, 9, 8, 3) + chunk(b"PLTE", bytes(6)) + GOOD + END, "all its colours"),
        (header(8, 9, 8, 3) + chunk(b"PLTE", bytes(7)) + GOOD + END, "b'PLTE'"),
        (header(8, 9) + chunk(b"tRNS", bytes(3)) + GOOD + END, "transparent colour"),
        (header(8, 9) + b"\xff\xff\xff\xffIDAT" + bytes(20), "must be complete"),
    ],
)
def test_chunks_out_of_order(chunks: bytes, words: str) -> None:
    assert words in refusal(SIGNATURE + chunks)


def test_one_frame_and_a_damaged_text_do_no_harm() -> None:
    text = bytearray(chunk(b"tEXt", b"Comment\0abc"))
    text[-1] ^= 1
    before = chunk(b"acTL", struct.pack(">II", 1, 0)) + bytes(text)
    assert_array_equal(read_png(png(SMALL, before=before) + b"trailing", "x.png")[0], SMALL[..., 0])


def test_an_unknown_filter_is_refused(way: str) -> None:
    data = bytearray(pixel_data(SMALL, 8))
    data[9] = 5
    with pytest.raises(InputError, match="row 1: must have a filter from 0 to 4; found 5"):
        read_png(rebuilt(zlib.compress(data)), "x.png")
