"""Decoders of compressed pixel data: which serve a transfer syntax, in the order in which they are tried.

The fastest comes first. All give the same pixels, so that it does not matter which are installed. The first one that is
installed decides whether a stream is broken: the others, whose patience differs, never see broken ones.
"""

from __future__ import annotations

import io
import os
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.data import kernels
from monai_cxraug.data.readers.streams import Stream
from monai_cxraug.errors import InputError

Words = NDArray[Any]

_ROOT: Final = "1.2.840.10008.1.2"
RLE: Final = f"{_ROOT}.5"
_INSTALL: Final = "pip install 'monai-cxraug[codecs]'"


_TERMINAL: Final = threading.Lock()  # all threads share it


class _UnsuitedError(Exception):
    """The stream is in order, but not for this decoder."""


def decode_jpeg(stream: Stream, is_rgb: bool) -> Words:
    """Decode JPEG of 8 bits.

    Args:
        stream: the frame.
        is_rgb: whether three components are red, green and blue where the stream itself does not say what they are.

    Returns:
        uint8 ``[H, W]``, of colour its luma; the components ``[H, W, 3]`` where ``is_rgb`` decided.
    """
    from PIL import Image

    is_raw = stream.samples == 3 and is_rgb and not stream.explained
    with Image.open(io.BytesIO(stream.data), formats=("JPEG",)) as picture:
        if picture.mode not in ("L", "RGB") or picture.size != (stream.columns, stream.rows):
            raise ValueError("another picture than the header says")
        picture.draft("YCbCr" if is_raw else "L", picture.size)  # "YCbCr" means: as they are
        return np.asarray(picture)


def _pillow_jpeg(stream: Stream, syntax: str, is_rgb: bool) -> Words:
    if stream.precision != 8:
        raise _UnsuitedError
    return decode_jpeg(stream, is_rgb)


def _pillow_jpeg2000(stream: Stream, syntax: str, is_rgb: bool) -> Words:
    """Grey JPEG 2000 up to 15 bits, which Pillow shifts up to 16 and makes unsigned."""
    from PIL import Image

    if stream.samples != 1 or stream.precision == 16:
        raise _UnsuitedError
    itemsize = 2 if stream.precision > 8 else 1
    with Image.open(io.BytesIO(stream.data), formats=("JPEG2000",)) as picture:
        words: Words = np.asarray(picture).astype(f"u{itemsize}")
    words >>= 8 * itemsize - stream.precision
    if stream.signed:
        words ^= 1 << stream.precision - 1
    return words


def _imagecodecs_jpeg(stream: Stream, syntax: str, is_rgb: bool) -> Words:
    import imagecodecs

    return np.asarray(imagecodecs.jpeg8_decode(stream.data))


def _imagecodecs_ls(stream: Stream, syntax: str, is_rgb: bool) -> Words:
    import imagecodecs

    return np.asarray(imagecodecs.jpegls_decode(stream.data))


def _imagecodecs_jpeg2000(stream: Stream, syntax: str, is_rgb: bool) -> Words:
    import imagecodecs

    return np.asarray(imagecodecs.jpeg2k_decode(stream.data))


def _pyjpegls(stream: Stream, syntax: str, is_rgb: bool) -> Words:
    from jpeg_ls import decode_buffer

    data, facts = decode_buffer(stream.data)
    words = np.frombuffer(bytes(data), np.uint16 if stream.precision > 8 else np.uint8)
    planes = facts["interleave_mode"] == 0 and stream.samples > 1
    return _arrange(words, stream, planes)


def _openjpeg(stream: Stream, syntax: str, is_rgb: bool) -> Words:
    from openjpeg.utils import decode

    return np.asarray(decode(stream.data))


def _gdcm(stream: Stream, syntax: str, is_rgb: bool) -> Words:
    import gdcm

    for silence in (gdcm.Trace.DebugOff, gdcm.Trace.WarningOff, gdcm.Trace.ErrorOff):
        silence()
    fragments = gdcm.SequenceOfFragments.New()
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(stream.data)
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((stream.columns, stream.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.RGB if stream.samples == 3 else gdcm.PhotometricInterpretation.MONOCHROME2
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    allocated = 16 if stream.precision > 8 else 8
    # the stream's own depth: with that of the header, GDCM would wrap what a lossy stream has beyond it
    depth = (stream.samples, allocated, stream.precision, stream.precision - 1, int(stream.signed))
    image.SetPixelFormat(gdcm.PixelFormat(*depth))
    with _muted():
        data = image.GetBuffer().encode("utf-8", "surrogateescape")
    return _arrange(np.frombuffer(data, f"<u{allocated // 8}"), stream)


def _itk(stream: Stream, syntax: str, is_rgb: bool) -> Words:
    import itk

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "frame.dcm")
        with open(path, "wb") as file:
            file.write(wrap(stream, syntax))
        itk.ProcessObject.SetGlobalWarningDisplay(False)
        grey = itk.SS if stream.signed else itk.US
        kind = grey if stream.samples == 1 else itk.RGBPixel[itk.UC]
        with _muted():
            picture = itk.imread(path, pixel_type=kind, imageio=itk.GDCMImageIO.New())
        words = np.asarray(itk.array_from_image(picture))
    return words.reshape(_shape(stream)).astype(f"u{1 if stream.precision <= 8 else 2}")


@contextmanager
def _muted() -> Iterator[None]:
    """Keep back what GDCM's own JPEG library writes to the terminal, on streams that it then decodes well."""
    with _TERMINAL, open(os.devnull, "w") as nowhere:
        terminal = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def _shape(stream: Stream) -> tuple[int, ...]:
    return (stream.rows, stream.columns, stream.samples)[: 3 if stream.samples > 1 else 2]


def _arrange(words: Words, stream: Stream, planes: bool = False) -> Words:
    if planes:
        return np.moveaxis(words.reshape(stream.samples, stream.rows, stream.columns), 0, -1)
    return words.reshape(_shape(stream))


def wrap(stream: Stream, syntax: str) -> bytes:
    """Make the smallest DICOM file around a stream, for a decoder that reads files only (PS3.10 7.1)."""

    def element(tag: int, kind: bytes, value: bytes) -> bytes:
        value += (b"\0" if kind in (b"UI", b"OB") else b" ") * (len(value) % 2)
        size = struct.pack("<2xI" if kind == b"OB" else "<H", len(value))
        return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + kind + size + value

    def short(tag: int, value: int) -> bytes:
        return element(tag, b"US", struct.pack("<H", value))

    capture, own = b"1.2.840.10008.5.1.4.1.1.7", b"1.2.3.4"
    allocated = 16 if stream.precision > 8 else 8
    photometric = b"RGB" if stream.samples == 3 else b"MONOCHROME2"
    meta = [(0x00020002, capture), (0x00020003, own), (0x00020010, syntax.encode()), (0x00020012, own)]
    start = element(0x00020001, b"OB", b"\0\1") + b"".join(element(tag, b"UI", value) for tag, value in meta)
    size = element(0x00020000, b"UL", struct.pack("<I", len(start)))
    body = [
        *(element(tag, b"UI", value) for tag, value in ((0x00080016, capture), (0x00080018, own))),
        short(0x00280002, stream.samples),
        element(0x00280004, b"CS", photometric),
        *([short(0x00280006, 0)] if stream.samples > 1 else []),
        *(short(tag, value) for tag, value in ((0x00280010, stream.rows), (0x00280011, stream.columns))),
        *(short(0x00280100, allocated), short(0x00280101, stream.precision), short(0x00280102, stream.precision - 1)),
        short(0x00280103, int(stream.signed)),
    ]
    frame = stream.data + b"\0" * (len(stream.data) % 2)
    items = [(0xE000, b""), (0xE000, frame), (0xE0DD, b"")]
    pixels = b"".join(struct.pack("<HHI", 0xFFFE, tag, len(value)) + value for tag, value in items)
    head = struct.pack("<HH2s2xI", 0x7FE0, 0x0010, b"OB", 0xFFFFFFFF)
    return b"\0" * 128 + b"DICM" + size + start + b"".join(body) + head + pixels


Decoder = Callable[[Stream, str, bool], Words]


@dataclass(frozen=True)
class Codec:
    """A transfer syntax.

    Args:
        title: what to call it in errors.
        kinds: kinds of streams that it may hold.
        lossless: whether the stored words come back as they were.
        decoders: in the order in which they are tried.
    """

    title: str
    kinds: frozenset[str]
    lossless: bool
    decoders: tuple[Decoder, ...]


_JPEG = (_imagecodecs_jpeg, _gdcm, _itk)
_LS = (_imagecodecs_ls, _pyjpegls, _gdcm, _itk)
#: transfer syntax to its decoders; GDCM's OpenJPEG is the fastest for lossless, that of imagecodecs for lossy streams.
CODECS: Final = {
    f"{_ROOT}.4.50": Codec("JPEG baseline", frozenset({"baseline"}), False, (_pillow_jpeg,)),
    f"{_ROOT}.4.51": Codec("JPEG extended", frozenset({"baseline", "extended"}), False, (_pillow_jpeg, *_JPEG)),
    f"{_ROOT}.4.57": Codec("JPEG lossless", frozenset({"lossless"}), True, _JPEG),
    f"{_ROOT}.4.70": Codec("JPEG lossless", frozenset({"lossless"}), True, _JPEG),
    f"{_ROOT}.4.80": Codec("JPEG-LS", frozenset({"jpeg-ls"}), True, _LS),
    f"{_ROOT}.4.81": Codec("JPEG-LS near-lossless", frozenset({"jpeg-ls"}), False, _LS),
    f"{_ROOT}.4.90": Codec(
        "JPEG 2000 lossless",
        frozenset({"jpeg2000"}),
        True,
        (_gdcm, _imagecodecs_jpeg2000, _openjpeg, _pillow_jpeg2000, _itk),
    ),
    f"{_ROOT}.4.91": Codec(
        "JPEG 2000",
        frozenset({"jpeg2000"}),
        False,
        (_imagecodecs_jpeg2000, _openjpeg, _gdcm, _pillow_jpeg2000, _itk),
    ),
}


def decode_stream(stream: Stream, syntax: str, is_rgb: bool, name: object) -> Words:
    """Decode one compressed frame.

    Args:
        stream: the frame, whose header fits that of the file.
        syntax: a transfer syntax in :data:`CODECS`.
        is_rgb: whether the file calls its components red, green and blue.
        name: what to call the file in errors.

    Returns:
        uint8 or uint16 ``[H, W]``, or ``[H, W, 3]`` in the order of the stream; the colour of JPEG of 8 bits is grey
        already. Signed values are in two's complement.

    Raises:
        InputError: the stream is broken, or no decoder is installed.
    """
    codec = CODECS[syntax]
    for decoder in codec.decoders:
        try:
            words = decoder(stream, syntax, is_rgb)
        except (ImportError, _UnsuitedError):
            continue
        except Exception as error:  # decoders raise nearly anything on broken streams
            found = f"{codec.title}, {type(error).__name__} in {decoder.__name__.strip('_')}"
            raise InputError(name, "pixel data must be whole", found, "fetch the file again") from None
        grey = (stream.rows, stream.columns)
        if words.shape not in (grey, _shape(stream)) or words.dtype.kind not in "iu" or words.itemsize > 2:
            found = f"{codec.title}, {words.dtype} {words.shape}"
            raise InputError(name, "pixel data must be as the header says", found, "fetch the file again")
        return words.view(f"u{words.itemsize}")
    raise InputError(name, f"{codec.title} needs a decoder", "none installed", _INSTALL)


def decode_rle(frame: bytes, shape: tuple[int, int, int], itemsize: int, name: object) -> Words:
    """Decode one frame of RLE (PS3.5 annex G).

    Args:
        frame: the header of 64 bytes and the segments.
        shape: rows, columns, samples a pixel.
        itemsize: bytes of a sample.
        name: what to call the file in errors.

    Returns:
        uint8 or uint16 ``[H, W]`` or ``[H, W, samples]``.

    Raises:
        InputError: a segment is broken or too short.
    """
    rows, columns, samples = shape
    numbers = np.frombuffer(frame[:64].ljust(64, b"\0"), "<u4").astype(np.int64)
    count, starts = int(numbers[0]), numbers[1 : 1 + samples * itemsize].tolist()
    ends = [*starts[1:], len(frame)]
    if count != samples * itemsize or starts != sorted(starts) or starts[0] < 64 or starts[-1] >= len(frame):
        raise InputError(name, "RLE must have one segment a byte", f"{count} segments", "fetch the file again")
    pixels, planes = rows * columns, []
    for start, end in zip(starts, ends, strict=True):
        plane = _expand(frame[start:end], pixels)
        if plane is None:
            raise InputError(name, "pixel data must be whole", "a broken RLE segment", "fetch the file again")
        planes.append(plane)
    if itemsize == 2:  # of each sample the most significant byte comes first
        planes = [_join(high, low) for high, low in zip(planes[::2], planes[1::2], strict=True)]
    return (
        np.stack(planes, axis=-1).reshape(rows, columns, samples) if samples > 1 else planes[0].reshape(rows, columns)
    )


def _expand(segment: bytes, size: int) -> Words | None:
    """Bytes of a segment; None where it is broken or has another length."""
    if kernels.KERNELS.loaded:
        return kernels.unpack_bits(segment, size)
    data = unpack_bits(segment, size + 1)
    return None if data is None or len(data) < size else np.frombuffer(data, np.uint8, size)


def _join(high: Words, low: Words) -> Words:
    return kernels.join_bytes(high, low) if kernels.KERNELS.loaded else high.astype(np.uint16) << 8 | low


def unpack_bits(segment: bytes, limit: int) -> bytes | None:
    """Expand a segment of RLE (PS3.5 G.3.2).

    A byte of 0 to 127 announces as many literals and one more; of 129 to 255, that the next is repeated 257 - n times.

    Args:
        segment: the compressed bytes.
        limit: most bytes that may come out.

    Returns:
        The bytes; None where the segment ends within a run, or has more of them.
    """
    parts, position, total = [], 0, 0
    while position < len(segment):
        head = segment[position]
        if head == 0 and position == len(segment) - 1:
            break  # a segment is padded to an even length
        used = 1 if head == 128 else 2 + head if head < 128 else 2
        part = segment[position + 1 : position + used] * (257 - head if head > 128 else 1)
        total += len(part)
        if position + used > len(segment) or total > limit:
            return None
        parts.append(part)
        position += used
    return b"".join(parts)
