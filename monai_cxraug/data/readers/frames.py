"""The first frame of a DICOM image as words of 8 or 16 bits, however it was stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.data.readers.codecs import CODECS, RLE, decode_rle, decode_stream
from monai_cxraug.data.readers.grey import to_grey
from monai_cxraug.data.readers.parsing import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    Parsed,
    PixelElement,
    read_fragments,
)
from monai_cxraug.data.readers.streams import Stream, read_stream
from monai_cxraug.errors import InputError
from monai_cxraug.transforms.functional.attributes import Attributes, read_depth, whole
from monai_cxraug.transforms.functional.greyscale import Depth

Words = NDArray[Any]

_NATIVE: Final = (IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN)
_GREY: Final = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_LUMA_FIRST: Final = ("YBR_FULL", "YBR_FULL_422")
_COLOUR: Final = (*_LUMA_FIRST, "RGB", "YBR_ICT", "YBR_RCT")
#: What :func:`read_format` looks at.
KEYWORDS: Final = ("SamplesPerPixel", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns")


@dataclass(frozen=True)
class Format:
    """How the header describes the pixels.

    Args:
        rows: height in pixels.
        columns: width in pixels.
        samples: components a pixel, 1 or 3.
        by_plane: whether the components of a native image come one after the other (Planar Configuration 1).
        frames: number of frames.
        photometric: Photometric Interpretation.
        depth: how values lie in a word.
        itemsize: bytes of a word.
    """

    rows: int
    columns: int
    samples: int
    by_plane: bool
    frames: int
    photometric: str
    depth: Depth
    itemsize: int


def read_format(attributes: Attributes, photometric: str, frames: int) -> Format:
    """Read the Image Pixel module (PS3.3 C.7.6.3).

    Args:
        attributes: DICOM attributes by keyword.
        photometric: Photometric Interpretation, empty where it is none of the standard's.
        frames: number of frames.

    Raises:
        InputError: the image is of a kind that is not read.
    """
    samples = whole(attributes, "SamplesPerPixel") or 1
    if photometric not in _GREY + _COLOUR or samples != (1 if photometric in _GREY else 3):
        found = f"{photometric or 'another one'} with {samples} samples a pixel"
        raise InputError("PhotometricInterpretation", "must be grey, palette, RGB or YBR", found, "leave the file out")
    depth, itemsize = read_depth(attributes), whole(attributes, "BitsAllocated") // 8
    if photometric in _COLOUR and depth.bits != 8 * itemsize:
        raise InputError("BitsStored", "must be all of a colour's bits", depth.bits, "leave the file out")
    return Format(
        rows=whole(attributes, "Rows"),
        columns=whole(attributes, "Columns"),
        samples=samples,
        by_plane=whole(attributes, "PlanarConfiguration") == 1,
        frames=frames,
        photometric=photometric,
        depth=depth,
        itemsize=itemsize,
    )


def read_words(parsed: Parsed, form: Format, name: object) -> tuple[Words, Depth]:
    """Read the first frame.

    Args:
        parsed: the file.
        form: what its header says of the pixels.
        name: what to call the file in errors.

    Returns:
        uint8 or uint16 ``[H, W]``, grey where it was colour; and how values lie in these words.

    Raises:
        InputError: the pixel data are cut off, broken, or not what the header says.
    """
    pixels = parsed.pixels
    if pixels is None or pixels.is_float:
        found = "floating point" if pixels else "none"
        raise InputError(name, "a DICOM image needs pixel data of whole numbers", found, "leave the file out")
    if parsed.syntax in _NATIVE:
        return _read_native(parsed, pixels, form, name), form.depth
    if parsed.syntax not in CODECS and parsed.syntax != RLE:
        rule = "pixel data must be in a transfer syntax for single images"
        raise InputError(name, rule, "another one" if parsed.syntax else "none", "convert the file")
    if pixels.length is not None:
        raise InputError(name, "compressed pixel data must lie in fragments", "one value", "mend or convert the file")
    frame = first_frame(*read_fragments(parsed, name), form.frames)
    if parsed.syntax == RLE:
        words = decode_rle(frame, (form.rows, form.columns, form.samples), form.itemsize, name)
        return _to_grey(words, form.photometric in _LUMA_FIRST), form.depth
    return _read_compressed(frame, parsed.syntax, form, name)


def _read_native(parsed: Parsed, pixels: PixelElement, form: Format, name: object) -> Words:
    """Native pixel data (PS3.5 8.2 and annex D), of which no byte is copied where that can be avoided."""
    halved = form.photometric == "YBR_FULL_422"  # every two pixels share their colour: Y Y Cb Cr
    words = form.rows * form.columns * (2 if halved else form.samples)
    expected, length = words * form.itemsize * form.frames, pixels.length
    if halved and form.columns % 2:
        raise InputError(name, "YBR_FULL_422 needs an even number of columns", form.columns, "mend the header")
    if length not in (expected, expected + expected % 2) or pixels.start + expected > len(parsed.content):
        there = len(parsed.content) - pixels.start
        found = f"{there if length is None else min(length, there)}"
        raise InputError(name, f"pixel data must have {expected} bytes", found, "fetch the file again")
    flat: Words = np.frombuffer(parsed.content, f"u{form.itemsize}", words, pixels.start)
    if not parsed.little_endian:
        flat = _swap(parsed, pixels, words) if form.itemsize == 1 and pixels.in_words else flat.byteswap()
    flat = np.require(flat, requirements="A")
    if halved:
        return flat.reshape(form.rows, form.columns // 2, 4)[..., :2].reshape(form.rows, form.columns)
    if form.samples == 1:
        return flat.reshape(form.rows, form.columns)
    colour = flat.reshape((3, form.rows, form.columns) if form.by_plane else (form.rows, form.columns, 3))
    return _to_grey(np.moveaxis(colour, 0, -1) if form.by_plane else colour, form.photometric in _LUMA_FIRST)


def _swap(parsed: Parsed, pixels: PixelElement, count: int) -> Words:
    """Bytes that were written as big-endian words (VR OW): the second of each pair comes first (PS3.5 D.2)."""
    even = count + count % 2
    padded = parsed.content[pixels.start : pixels.start + even].ljust(even, b"\0")
    return np.frombuffer(padded, np.uint16).byteswap().view(np.uint8)[:count]


def _read_compressed(frame: bytes, syntax: str, form: Format, name: object) -> tuple[Words, Depth]:
    codec, stream = CODECS[syntax], read_stream(frame)
    if stream is None or stream.kind not in codec.kinds:
        found = stream.kind if stream else "another kind, or cut off"
        raise InputError(name, f"pixel data must be a whole stream of {codec.title}", found, "fetch the file again")
    _refuse_mismatch(stream, form, name)
    words = decode_stream(stream, syntax, form.photometric == "RGB", name)
    words = _to_grey(words, form.photometric in _LUMA_FIRST and not stream.explained)
    # a lossy stream may overshoot the stored bits: then it is the stream that says how values lie in a word
    return words, form.depth if codec.lossless else Depth(stream.precision, stream.precision - 1, form.depth.signed)


def _refuse_mismatch(stream: Stream, form: Format, name: object) -> None:
    if (stream.rows, stream.columns, stream.samples) != (form.rows, form.columns, form.samples):
        expected = f"{form.columns} x {form.rows} x {form.samples}"
        found = f"{stream.columns} x {stream.rows} x {stream.samples}"
        raise InputError(name, f"the stream must have the header's size {expected}", found, "fetch the file again")
    if not form.depth.bits <= stream.precision <= 8 * form.itemsize:
        rule = f"the stream must have {form.depth.bits} to {8 * form.itemsize} bits as the header says"
        raise InputError(name, rule, stream.precision, "mend the header")


def _to_grey(words: Words, luma_first: bool) -> Words:
    """Grey of ``[H, W, 3]``: the first component of YBR, whose range is full, or the luma of RGB."""
    if words.ndim == 2:
        return words
    return np.ascontiguousarray(words[..., 0]) if luma_first else to_grey(words)


def first_frame(offsets: list[int], fragments: list[memoryview], frames: int) -> bytes:
    """Join the fragments of the first frame (PS3.5 A.4).

    Args:
        offsets: where each frame begins, as far as the file tells.
        fragments: the compressed bytes.
        frames: number of frames.
    """
    if frames == 1:
        chosen = fragments
    elif len(fragments) == frames:
        chosen = fragments[:1]
    elif len(offsets) > 1:
        starts = np.cumsum([0, *(len(fragment) + 8 for fragment in fragments)])
        chosen = fragments[: max(int(np.searchsorted(starts, offsets[1])), 1)]
    else:  # a frame ends with the end of its stream
        ends = [bytes(fragment[-3:]).rstrip(b"\0").endswith(b"\xff\xd9") for fragment in fragments]
        chosen = fragments[: ends.index(True) + 1 if True in ends else None]
    return bytes(chosen[0]) if len(chosen) == 1 else b"".join(chosen)
