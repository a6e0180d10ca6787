"""Compressed pixels: what was encoded comes back, whichever decoder is installed; a broken stream is refused."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from monai_cxraug.data import kernels
from monai_cxraug.data.readers import codecs
from monai_cxraug.data.readers.codecs import CODECS, RLE, decode_rle, decode_stream, unpack_bits
from monai_cxraug.data.readers.frames import first_frame
from monai_cxraug.data.readers.streams import Stream, read_stream
from monai_cxraug.errors import InputError
from tests.data.readers.dicoms import compress, make_dicom, read

imagecodecs = pytest.importorskip("imagecodecs")

ROOT = "1.2.840.10008.1.2"
SHAPE = (45, 38)


def picture(bits: int, signed: bool = False, samples: int = 1, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """A smooth picture with noise that uses all of its range."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    noise = np.random.default_rng(bits).integers(0, 1 << max(bits - 4, 1), (*shape, samples))
    values = (rows * 3 + columns * 5)[..., None] * (1 << bits) // 350 + noise
    values = np.clip(values, 0, (1 << bits) - 1)
    values[0, 0], values[-1, -1] = 0, (1 << bits) - 1
    values = values.squeeze(-1) if samples == 1 else values
    if signed:
        return (values - (1 << bits - 1)).astype(np.int8 if bits == 8 else np.int16)
    return values.astype(np.uint8 if bits == 8 else np.uint16)


def words_of(stored: np.ndarray, bits: int) -> np.ndarray:
    """Two's complement in the stored bits, as encoders without a sign take it."""
    unsigned = stored.astype(np.int64) & (1 << bits) - 1
    return unsigned.astype(np.uint8 if bits == 8 else np.uint16)


def lossless_jpeg(predictor: int) -> Callable[[np.ndarray, int], bytes]:
    def encode(stored: np.ndarray, bits: int) -> bytes:
        return imagecodecs.jpeg8_encode(words_of(stored, bits), lossless=True, predictor=predictor, bitspersample=bits)

    return encode


def jpeg_ls(stored: np.ndarray, bits: int) -> bytes:
    """The stream's depth is that of the largest value, which the picture has."""
    return bytes(imagecodecs.jpegls_encode(words_of(stored, bits)))


def jpeg_2000(stored: np.ndarray, bits: int) -> bytes:
    return imagecodecs.jpeg2k_encode(
        stored, level=0, reversible=True, bitspersample=bits, codecformat="J2K", resolutions=3
    )


LOSSLESS = {
    "lossless SV1": (f"{ROOT}.4.70", lossless_jpeg(1)),
    "lossless 14, predictor 6": (f"{ROOT}.4.57", lossless_jpeg(6)),
    "JPEG-LS": (f"{ROOT}.4.80", jpeg_ls),
    "JPEG 2000": (f"{ROOT}.4.90", jpeg_2000),
}


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_lossless_pixels_come_back_exactly(name: str, bits: int, signed: bool, photometric: str) -> None:
    syntax, encode = LOSSLESS[name]
    stored = picture(bits, signed)
    native = make_dicom(stored, bits, PhotometricInterpretation=photometric)
    expected = read(native)
    result = read(
        compress(make_dicom(stored, bits, PhotometricInterpretation=photometric), encode(stored, bits), syntax=syntax)
    )
    assert_array_equal(result.pixels, expected.pixels)
    assert (result.bits, result.greyscale) == (expected.bits, expected.greyscale)


@pytest.mark.parametrize("name", LOSSLESS)
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_every_decoder_gives_the_same_words(name: str, bits: int, signed: bool) -> None:
    syntax, encode = LOSSLESS[name]
    stored = picture(bits, signed)
    stream = read_stream(encode(stored, bits))
    assert stream is not None
    assert (stream.rows, stream.columns, stream.samples) == (*SHAPE, 1)
    assert stream.precision == (16 if name == "JPEG-LS" and bits > 8 else bits)  # as this encoder writes it
    used = 0
    for decoder in CODECS[syntax].decoders:
        words = run(decoder, stream, syntax)
        if words is not None:
            used += 1
            assert_array_equal(words.view(f"u{words.itemsize}") & (1 << bits) - 1, words_of(stored, bits))
    assert used >= 1


def run(decoder: codecs.Decoder, stream: Stream, syntax: str) -> np.ndarray | None:
    """What a decoder gives; None where it is not installed, or not made for the stream."""
    try:
        return decoder(stream, syntax, False)
    except (ImportError, codecs._UnsuitedError):
        return None


def encode_extended(bits: int) -> bytes:
    return imagecodecs.jpeg8_encode(picture(bits), level=92, bitspersample=bits)


LOSSY = {
    "baseline": (f"{ROOT}.4.50", encode_extended(8), 8),
    "extended 8": (f"{ROOT}.4.51", encode_extended(8), 8),
    "extended 12": (f"{ROOT}.4.51", encode_extended(12), 12),
    "near-lossless": (f"{ROOT}.4.81", bytes(imagecodecs.jpegls_encode(picture(12), level=3)), 12),
    "JPEG 2000": (
        f"{ROOT}.4.91",
        imagecodecs.jpeg2k_encode(picture(12), level=45, reversible=False, bitspersample=12, codecformat="J2K"),
        12,
    ),
}


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_pixels_are_near_and_the_same_by_every_decoder(name: str) -> None:
    syntax, frame, bits = LOSSY[name]
    stored = picture(bits)
    result = read(compress(make_dicom(stored, bits), frame, syntax=syntax))
    assert np.abs(result.stored.astype(int) - stored.astype(int)).mean() < (1 << bits) / 100
    stream = read_stream(frame)
    assert stream is not None
    found = [words for one in CODECS[syntax].decoders if (words := run(one, stream, syntax)) is not None]
    assert found
    for words in found:
        assert_array_equal(words, result.stored)


def test_what_a_lossy_stream_has_beyond_the_stored_bits_stays_bright() -> None:
    """12-bit JPEG of a 10-bit image may overshoot 1023: as 10 bits it would come round to black."""
    stored = picture(12)
    dataset = compress(
        make_dicom(stored, 10, WindowCenter=512, WindowWidth=1024), encode_extended(12), syntax=f"{ROOT}.4.51"
    )
    result = read(dataset)
    assert result.stored.max() > 3000
    assert (result.pixels[result.stored >= 1023] == 1).all()
    assert result.bits == 10


def test_a_jpeg_2000_stream_without_the_sign_of_the_header() -> None:
    """The header decides how the bits are meant (as pydicom does for its own sample)."""
    stored = picture(12, signed=True)
    result = read(compress(make_dicom(stored, 12), jpeg_2000(words_of(stored, 12), 12), syntax=f"{ROOT}.4.90"))
    assert_array_equal(result.pixels, read(make_dicom(stored, 12)).pixels)


# --- colour


COLOUR = {
    "baseline": (f"{ROOT}.4.50", "YBR_FULL_422", lambda rgb: imagecodecs.jpeg8_encode(rgb, level=95), 4),
    "baseline RGB": (f"{ROOT}.4.50", "RGB", lambda rgb: imagecodecs.jpeg8_encode(rgb, level=95), 4),
    "lossless": (f"{ROOT}.4.70", "RGB", lambda rgb: imagecodecs.jpeg8_encode(rgb, lossless=True, predictor=1), 0),
    "JPEG-LS": (f"{ROOT}.4.80", "RGB", lambda rgb: bytes(imagecodecs.jpegls_encode(rgb)), 0),
    "JPEG 2000 RCT": (
        f"{ROOT}.4.90",
        "YBR_RCT",
        lambda rgb: imagecodecs.jpeg2k_encode(rgb, level=0, reversible=True, codecformat="J2K", mct=True),
        0,
    ),
    "JPEG 2000 RCT, called YBR": (
        f"{ROOT}.4.90",
        "YBR_FULL",
        lambda rgb: imagecodecs.jpeg2k_encode(rgb, level=0, reversible=True, codecformat="J2K", mct=True),
        0,
    ),
    "JPEG 2000 RGB": (
        f"{ROOT}.4.90",
        "RGB",
        lambda rgb: imagecodecs.jpeg2k_encode(rgb, level=0, reversible=True, codecformat="J2K", mct=False),
        0,
    ),
}


@pytest.mark.parametrize("name", COLOUR)
def test_colour_becomes_grey(name: str) -> None:
    syntax, photometric, encode, tolerance = COLOUR[name]
    rgb = picture(8, samples=3)
    grey = read(make_dicom(rgb, 8, PhotometricInterpretation="RGB")).stored.astype(int)
    frame = encode(rgb)
    dataset = compress(make_dicom(rgb, 8, PhotometricInterpretation=photometric), frame, syntax=syntax)
    assert np.abs(read(dataset).stored - grey).mean() <= tolerance
    stream = read_stream(frame)
    assert stream is not None
    if not tolerance:
        for decoder in CODECS[syntax].decoders:
            words = run(decoder, stream, syntax)
            assert words is None or (words == rgb).all(), decoder.__name__


def test_a_jpeg_without_markers_is_what_the_header_says() -> None:
    """Red, green and blue that were compressed as they are, without a note in the stream."""
    rgb = picture(8, samples=3)
    frame = strip_segments(imagecodecs.jpeg8_encode(rgb, level=98, colorspace="RGB", outcolorspace="RGB"))
    grey = read(make_dicom(rgb, 8, PhotometricInterpretation="RGB")).stored.astype(int)
    for photometric, is_near in (("RGB", True), ("YBR_FULL", False)):
        dataset = compress(make_dicom(rgb, 8, PhotometricInterpretation=photometric), frame, syntax=f"{ROOT}.4.50")
        assert (np.abs(read(dataset).stored - grey).mean() < 2) == is_near


def strip_segments(frame: bytes) -> bytes:
    """Without APP0 and APP14, and with components named 1, 2, 3 as for YCbCr."""
    parts, position = [frame[:2]], 2
    while frame[position + 1] not in (0xDA,):
        end = position + 2 + int.from_bytes(frame[position + 2 : position + 4], "big")
        segment = bytearray(frame[position:end])
        if segment[1] in (0xC0, 0xC1):
            segment[10], segment[13], segment[16] = 1, 2, 3
        if segment[1] not in (0xE0, 0xEE):
            parts.append(bytes(segment))
        position = end
    scan = bytearray(frame[position:])
    scan[5], scan[7], scan[9] = 1, 2, 3
    return b"".join([*parts, bytes(scan)])


def test_a_jpeg_2000_stream_of_ybr_shows_its_y() -> None:
    ybr = picture(8, samples=3)
    frame = imagecodecs.jpeg2k_encode(ybr, level=0, reversible=True, codecformat="J2K", mct=False)
    dataset = make_dicom(ybr, 8, PhotometricInterpretation="YBR_FULL")
    assert_array_equal(read(compress(dataset, frame, syntax=f"{ROOT}.4.90")).stored, ybr[..., 0])


# --- RLE

needs_kernels = pytest.mark.skipif(
    bool(kernels.KERNELS.absence), reason=f"no compiled kernels: {kernels.KERNELS.absence}"
)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("compiled", ["on", "off"])
def test_rle_comes_back_exactly(bits: int, signed: bool, compiled: str, monkeypatch) -> None:
    monkeypatch.setenv("CXRAUG_KERNELS", compiled)
    stored = picture(bits, signed)
    dataset = make_dicom(stored, bits)
    expected = read(dataset)
    dataset.compress(RLELossless, stored, encoding_plugin="pydicom", generate_instance_uid=False)
    assert_array_equal(read(dataset).pixels, expected.pixels)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("compiled", ["on", "off"])
def test_rle_in_colour(photometric: str, compiled: str, monkeypatch) -> None:
    monkeypatch.setenv("CXRAUG_KERNELS", compiled)
    rgb = picture(8, samples=3)
    dataset = make_dicom(rgb, 8, PhotometricInterpretation=photometric)
    expected = read(dataset)
    dataset.compress(RLELossless, rgb, encoding_plugin="pydicom", generate_instance_uid=False)
    assert_array_equal(read(dataset).stored, expected.stored)


@given(st.binary(max_size=60), st.integers(0, 60))
def test_runs_expand_as_imagecodecs_expands_them(segment: bytes, limit: int) -> None:
    try:
        expected: Any = bytes(imagecodecs.packbits_decode(segment, out=bytearray(limit)))
    except RuntimeError:
        expected = None
    assert unpack_bits(segment, limit) == expected


RUNS = st.one_of(
    st.binary(min_size=1, max_size=128).map(lambda literals: bytes([len(literals) - 1]) + literals),
    st.tuples(st.integers(129, 255), st.integers(0, 255)).map(bytes),
    st.just(b"\x80"),
)


@needs_kernels
@given(st.one_of(st.binary(max_size=60), st.lists(RUNS, max_size=12).map(b"".join)), st.integers(-3, 3))
def test_compiled_runs_expand_as_the_others_do(segment: bytes, more: int) -> None:
    whole = unpack_bits(segment, 10**6) or b""
    for size in (max(1, len(whole) + more), 40):
        expected = unpack_bits(segment, size + 1)
        found = kernels.unpack_bits(segment, size)
        if expected is None or len(expected) < size:
            assert found is None
        else:
            assert found is not None
            assert found.tobytes() == expected[:size]


@needs_kernels
def test_compiled_words_have_their_high_bytes_first() -> None:
    words = np.random.default_rng(0).integers(0, 2**16, 1001).astype(np.uint16)
    high, low = (words >> 8).astype(np.uint8), (words & 255).astype(np.uint8)
    assert_array_equal(kernels.join_bytes(high, low), words)
    for wrong in (low[:-1], low.astype(np.int8), np.repeat(low, 2)[::2]):
        with pytest.raises(InputError, match="two rows"):
            kernels.join_bytes(high, wrong)


@pytest.mark.parametrize("compiled", ["on", "off"])
@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\1\0\0\0\x40\0\0\0" + bytes(56),
        b"\2\0\0\0\x40\0\0\0" + bytes(58),
        b"\1\0\0\0\x41\0\0\0" + bytes(56) + b"\x81\7" * 9,
        b"\1\0\0\0\x40\0\0\0" + bytes(56) + b"\x81\7" * 100_000,
        b"\1\0\0\0\x40\0\0\0" + bytes(56) + b"\xfe\7\xff",
        b"\1\0\0\0\x40\0\0\0" + bytes(56) + b"\xfe\7" * 33,
        b"\1\0\0\0\x0a\0\0\0" + bytes(56) + b"\xb8\7",  # starts within its own header
        b"\xff" * 80,
    ],
)
def test_broken_rle_is_refused(frame: bytes, compiled: str, monkeypatch, refuses) -> None:
    monkeypatch.setenv("CXRAUG_KERNELS", compiled)
    with refuses(InputError, "x.dcm", "RLE"):
        decode_rle(frame, (10, 10, 1), 1, "x.dcm")


# --- streams that are not what the header says


def jpeg(shape: tuple[int, int] = SHAPE, samples: int = 1) -> bytes:
    return imagecodecs.jpeg8_encode(picture(8, samples=samples, shape=shape), level=90)


BROKEN = {
    "another size": (jpeg((64, 38)), f"{ROOT}.4.50", "size"),
    "colour": (jpeg(samples=3), f"{ROOT}.4.50", "size"),
    "too deep": (encode_extended(12), f"{ROOT}.4.51", "12"),
    "cut off": (jpeg()[:-40], f"{ROOT}.4.50", "cut off"),
    "an inner end only": (jpeg()[:-40] + b"\xff\xd9" + bytes(40), f"{ROOT}.4.50", "cut off"),
    "another kind": (lossless_jpeg(1)(picture(8), 8), f"{ROOT}.4.50", "lossless"),
    "not a stream": (b"rubbish!", f"{ROOT}.4.90", "JPEG 2000"),
    "nothing": (b"\0\0", f"{ROOT}.4.70", "cut off"),
    "huge": (
        jpeg_2000(picture(8), 8).replace(b"\0\0\0\x26\0\0\0\x2d", b"\0\0\xff\xff\0\0\xff\xff"),
        f"{ROOT}.4.90",
        "size",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_stream_that_is_not_what_the_header_says_is_refused(name: str, refuses) -> None:
    frame, syntax, word = BROKEN[name]
    with refuses(InputError, "x.dcm", word):
        read(compress(make_dicom(picture(8), 8), frame, syntax=syntax))


def test_a_stream_with_fewer_bits_than_the_header_says_is_refused(refuses) -> None:
    with refuses(InputError, "x.dcm", "14 to 16 bits", "12"):
        read(compress(make_dicom(picture(14), 14), lossless_jpeg(1)(picture(12), 12), syntax=f"{ROOT}.4.70"))


def hide(monkeypatch: pytest.MonkeyPatch, modules: list[str]) -> None:
    """Make modules look as if they were not installed."""
    for name in modules:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("syntax", CODECS)
def test_without_a_decoder_the_wheel_is_named(syntax: str, monkeypatch, refuses) -> None:
    hide(monkeypatch, ["imagecodecs", "gdcm", "jpeg_ls", "openjpeg", "openjpeg.utils", "itk", "PIL"])
    kind = sorted(CODECS[syntax].kinds)[-1]
    with refuses(InputError, "x.dcm", "needs a decoder", "pip install 'monai-cxraug[codecs]'"):
        decode_stream(Stream(b"", kind, 9, 9, 1, 12), syntax, False, "x.dcm")


def test_an_unknown_syntax_is_refused(refuses) -> None:
    with refuses(InputError, "x.dcm", "transfer syntax"):
        read(compress(make_dicom(picture(8), 8), jpeg(), syntax=f"{ROOT}.4.100"))


# --- fragments


def test_fragments_of_one_frame_are_joined() -> None:
    stored = picture(12)
    frame = jpeg_2000(stored, 12)
    frame += b"\0" * (len(frame) % 2)
    for pieces in (1, 2, 5):
        dataset = compress(make_dicom(stored, 12), frame, syntax=f"{ROOT}.4.90")
        dataset.PixelData = encapsulate([frame], fragments_per_frame=pieces)
        assert_array_equal(read(dataset).stored, stored)


@pytest.mark.parametrize("has_table", [True, False])
@pytest.mark.parametrize("pieces", [1, 3])
def test_the_first_of_several_frames_is_kept(has_table: bool, pieces: int) -> None:
    frames = [jpeg(), imagecodecs.jpeg8_encode(255 - picture(8), level=90)]
    one = read(compress(make_dicom(picture(8), 8), frames[0], syntax=f"{ROOT}.4.50"))
    dataset = compress(make_dicom(picture(8), 8, NumberOfFrames=2), *frames, syntax=f"{ROOT}.4.50")
    dataset.PixelData = encapsulate(frames, fragments_per_frame=pieces, has_bot=has_table)
    assert_array_equal(read(dataset).stored, one.stored)


def test_frames_by_offset_by_number_and_by_their_end() -> None:
    a, b, c = (memoryview(data) for data in (b"12", b"34\xff\xd9", b"56\xff\xd9"))
    assert first_frame([], [a, b, c], 1) == b"1234\xff\xd956\xff\xd9"
    assert first_frame([], [b, c], 2) == b"34\xff\xd9"
    assert first_frame([0, 22], [a, b, c], 2) == b"1234\xff\xd9"
    assert first_frame([0], [a, b, c], 2) == b"1234\xff\xd9"


@pytest.mark.parametrize("name", list(LOSSLESS) + list(LOSSY))
def test_no_decoder_says_a_word(name: str, capfd, recwarn) -> None:
    syntax, *rest = LOSSLESS.get(name) or LOSSY[name]
    frame = rest[0](picture(12), 12) if callable(rest[0]) else rest[0]
    stream = read_stream(frame)
    assert stream is not None
    recwarn.clear()
    for decoder in CODECS[syntax].decoders:
        if decoder.__name__ != "_itk":
            run(decoder, stream, syntax)
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")


def test_threads_leave_the_terminal_as_it_was(capfd) -> None:
    stored = picture(12)
    stream = read_stream(jpeg_2000(stored, 12))
    assert stream is not None
    if run(codecs._gdcm, stream, f"{ROOT}.4.90") is None:
        pytest.skip("GDCM is not installed")
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: run(codecs._gdcm, stream, f"{ROOT}.4.90"), range(60)))
    assert all((words == stored).all() for words in found)
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_rle_is_known() -> None:
    assert str(RLELossless) == RLE
