"""The PNG reader (ISO/IEC 15948): every colour type, depth and filter, interlaced or not, and nothing believed unread.

Sizes are known before memory is asked for, checksums are checked, and data that is short, long or out of order is
refused: a damaged file never gives a picture.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.data import kernels
from monai_cxraug.data.readers.grey import Reduce, to_grey
from monai_cxraug.data.readers.limits import MAX_PIXELS, require_pixels
from monai_cxraug.errors import InputError

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

#: Channels of each colour type, and the depths it may have (table 11.1).
_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS: Final = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PALETTE: Final = 3
#: First column and row, and the steps between columns and rows, of the seven passes of Adam7 (clause 8.2).
_ADAM7: Final = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip
#: Deflate makes at most 1032 bytes of one.
_MOST_INFLATED: Final = 1032
#: Texts in which programs keep the camera's notes.
_NOTES: Final = (b"Raw profile type exif\0", b"Raw profile type APP1\0", b"XML:com.adobe.xmp\0")
_MEND: Final = "fetch the file again"


@dataclass(frozen=True)
class _Header:
    """The chunk IHDR."""

    columns: int
    rows: int
    depth: int
    colour: int
    interlaced: bool

    @property
    def channels(self) -> int:
        return _CHANNELS[self.colour]

    @property
    def pixel_bytes(self) -> int:
        return max(1, self.channels * self.depth // 8)

    def stride(self, columns: int) -> int:
        return (columns * self.channels * self.depth + 7) // 8

    def passes(self) -> list[tuple[int, int, int, int]]:
        """First column and row and steps of the pictures that the data holds one after the other; none is empty."""
        passes = _ADAM7 if self.interlaced else ((0, 0, 1, 1),)
        return [one for one in passes if one[0] < self.columns and one[1] < self.rows]


@dataclass
class _File:
    """What the chunks of a file hold."""

    header: _Header
    palette: bytes = b""
    transparent: bytes = b""
    data: list[memoryview] = field(default_factory=list)
    has_notes: bool = False


def read_png(content: bytes, name: object, reduce: Reduce = to_grey) -> tuple[NDArray[Any], bool]:
    """Decode a PNG.

    Args:
        content: the file.
        name: what to call the file in errors.
        reduce: what becomes of its channels: :func:`~monai_cxraug.data.readers.grey.to_grey` or
            :func:`~monai_cxraug.data.readers.grey.to_rgb`.

    Returns:
        uint8 or (where the file has 16 bits a sample) uint16 ``[H, W]``, in colour ``[H, W, 3]``, and whether the file
        has notes in which the camera may say how to turn it.

    Raises:
        InputError: the file is damaged, animated, or of a size that no radiograph has.
    """
    file = _parse(content, name)
    header = file.header
    sizes = [(len(range(x, header.columns, dx)), len(range(y, header.rows, dy))) for x, y, dx, dy in header.passes()]
    lengths = [rows * (1 + header.stride(columns)) for columns, rows in sizes]
    filtered = _inflate(b"".join(file.data), sum(lengths), name)
    samples = np.empty((header.rows, header.columns, header.channels), np.uint16 if header.depth == 16 else np.uint8)
    start = 0
    for (x, y, dx, dy), (columns, rows), length in zip(header.passes(), sizes, lengths, strict=True):
        part = _samples(filtered[start : start + length], header, columns, rows)
        start += length
        if not header.interlaced:
            samples = part
            break
        samples[y::dy, x::dx] = part
    return _shades(samples, file, name, reduce), file.has_notes


# --- chunks


def _parse(content: bytes, name: object) -> _File:
    chunks = _chunks(content, name)
    kind, body = next(chunks)
    if kind != b"IHDR":
        raise InputError(name, "a PNG must begin with its header", repr(kind), _MEND)
    file = _File(_header(body, name))
    closed = False  # IDAT chunks follow each other (clause 5.6)
    for kind, body in chunks:
        closed = closed or bool(file.data and kind != b"IDAT")
        if kind == b"IDAT" and not closed:
            file.data.append(body)
        elif kind == b"PLTE" and not (file.palette or file.data or len(body) % 3 or not 3 <= len(body) <= 768):
            file.palette = bytes(body)
        elif kind == b"IEND":
            break
        elif kind[0] < ord("a"):  # clause 5.4: capital letters begin what must be understood
            raise InputError(name, "a PNG must have known chunks in their order", repr(kind), _MEND)
        else:
            _note(file, kind, body, name)
    return file


def _chunks(content: bytes, name: object) -> Iterator[tuple[bytes, memoryview]]:
    """Type and body of each chunk; checksums are checked, but for texts, which may be damaged without harm."""
    view, start, crc32 = memoryview(content), len(SIGNATURE), _zlib().crc32
    while True:
        length, kind = struct.unpack_from(">I4s", content, start) if start + 12 <= len(content) else (2**31, b"")
        end = start + 8 + length
        if end + 4 > len(content):
            raise InputError(name, "a PNG must be complete", f"its end after {len(content)} bytes", _MEND)
        used = kind[0] < ord("a") or kind in (b"tRNS", b"acTL", b"eXIf")
        if used and crc32(view[start + 4 : end]) != struct.unpack_from(">I", content, end)[0]:
            raise InputError(name, "a PNG's checksums must fit", f"another in {kind!r}", _MEND)
        yield kind, view[start + 8 : end]
        start = end + 4


def _header(body: memoryview, name: object) -> _Header:
    if len(body) != 13:
        raise InputError(name, "a PNG's header must have 13 bytes", len(body), _MEND)
    columns, rows, depth, colour, deflate, filters, interlaced = struct.unpack(">IIBBBBB", body)
    if depth not in _DEPTHS.get(colour, ()) or (deflate, filters) != (0, 0) or interlaced > 1:
        raise InputError(name, "a PNG's header must be of a known kind", bytes(body[8:]).hex(" "), _MEND)
    require_pixels(rows, columns, name)
    header = _Header(columns, rows, depth, colour, bool(interlaced))
    if rows * header.stride(columns) > 2 * MAX_PIXELS:
        found = f"{rows * header.stride(columns) // 10**6}"
        raise InputError(
            name, f"must have at most {2 * MAX_PIXELS // 10**6} million bytes of pixels", found, "shrink it"
        )
    return header


def _note(file: _File, kind: bytes, body: memoryview, name: object) -> None:
    """Take what matters from a chunk that a reader may also ignore."""
    if kind == b"tRNS" and not file.data:
        file.transparent = bytes(body)
    elif kind == b"acTL" and bytes(body[:4]) not in (b"\0\0\0\0", b"\0\0\0\1"):
        raise InputError(name, "must be one picture", "an animation", "save one picture")
    elif kind == b"eXIf" or (kind in (b"tEXt", b"zTXt", b"iTXt") and bytes(body[:32]).startswith(_NOTES)):
        file.has_notes = True


# --- pixels


@lru_cache(maxsize=1)
def _zlib() -> Any:
    """The faster of the two libraries that inflate; the bytes are the same."""
    try:
        return import_module("isal.isal_zlib")
    except ImportError:
        return import_module("zlib")


def _inflate(data: bytes, size: int, name: object) -> bytes:
    """Exactly ``size`` bytes, with the checksum at their end; never more memory than that."""
    if len(data) * _MOST_INFLATED < size:
        raise InputError(name, "a PNG must hold all its pixels", f"{len(data)} bytes of data", _MEND)
    stream = _zlib().decompressobj()
    try:
        inflated = stream.decompress(data, size)
        beyond = b"" if stream.eof else stream.decompress(stream.unconsumed_tail, 1)
    except Exception as error:  # each library has its own
        raise InputError(name, "a PNG's data must be whole", error, _MEND) from None
    if len(inflated) != size or beyond or stream.unused_data or not stream.eof:
        found = "more" if beyond or stream.unused_data else "less"
        raise InputError(name, "a PNG must hold just its pixels", found, _MEND)
    return bytes(inflated)


def _samples(filtered: bytes, header: _Header, columns: int, rows: int) -> NDArray[Any]:
    """Samples ``[rows, columns, channels]`` as stored."""
    undo = kernels.unfilter if kernels.KERNELS.loaded else unfilter
    flat = undo(filtered, rows, header.stride(columns), header.pixel_bytes)
    if header.depth == 16:
        return flat.view(">u2").astype(np.uint16).reshape(rows, columns, -1)
    if header.depth == 8:
        return flat.reshape(rows, columns, -1)
    bits = np.unpackbits(flat, axis=1).reshape(rows, -1, header.depth)[:, :columns]
    return np.packbits(bits, axis=2) >> np.uint8(8 - header.depth)


def _shades(samples: NDArray[Any], file: _File, name: object, reduce: Reduce) -> NDArray[Any]:
    header = file.header
    if header.colour == _PALETTE:
        return _palette_shades(samples[:, :, 0], file, name, reduce)
    highest = 2**header.depth - 1
    shades = reduce(samples)
    if header.depth < 8:
        shades = shades * np.uint8(255 // highest)
    if file.transparent and header.channels in (1, 3):
        if len(file.transparent) != 2 * header.channels:
            raise InputError(name, "a PNG's transparent colour must be one", f"{len(file.transparent)} bytes", _MEND)
        colour = np.frombuffer(file.transparent, ">u2") & highest
        hidden = (samples == colour).all(axis=2).reshape(*shades.shape[:2], *[1] * (shades.ndim - 2))
        shades = np.where(hidden, samples.dtype.type(0), shades)
    return shades


def _palette_shades(indices: NDArray[np.uint8], file: _File, name: object, reduce: Reduce) -> NDArray[np.uint8]:
    colours = np.frombuffer(file.palette, np.uint8).reshape(-1, 3)
    if not len(colours) or int(indices.max()) >= len(colours) or len(file.transparent) > len(colours):
        raise InputError(name, "a PNG's palette must have all its colours", len(colours), _MEND)
    opacity = np.full((len(colours), 1), 255, np.uint8)
    opacity[: len(file.transparent), 0] = np.frombuffer(file.transparent, np.uint8)
    return np.asarray(reduce(np.hstack([colours, opacity])[None])[0][indices])


# --- filters, where no compiled loop is


def unfilter(filtered: bytes, rows: int, stride: int, pixel_bytes: int) -> NDArray[np.uint8]:
    """Do what :func:`monai_cxraug.data.kernels.unfilter` does, without compiled loops.

    Pillow's decoder knows pixels of 1 to 4 bytes, whatever they mean; it cuts larger ones, which numpy works on.

    Args:
        filtered: ``rows`` times one byte that names the filter and ``stride`` bytes of pixels.
        rows: number of rows, at least 1.
        stride: bytes of pixels in a row, a multiple of ``pixel_bytes``.
        pixel_bytes: 1, 2, 3, 4, 6 or 8 bytes in a pixel.

    Returns:
        uint8 ``[rows, stride]``.

    Raises:
        InputError: a row names no known filter, or the sizes disagree.
    """
    kernels.require_rows(filtered, rows, stride, pixel_bytes)
    kinds = np.frombuffer(filtered, np.uint8)[:: stride + 1]
    if kinds.max() > 4:
        row = int(np.argmax(kinds > 4))
        raise kernels.unknown_filter(row, int(kinds[row]))
    if pixel_bytes > 4:
        return _unfilter_diagonals(filtered, rows, stride, pixel_bytes)
    import zlib

    from PIL import Image

    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[pixel_bytes]
    picture = Image.frombytes(mode, (stride // pixel_bytes, rows), zlib.compress(filtered, 0), "zip", mode)
    return np.asarray(picture).reshape(rows, stride)


def _unfilter_diagonals(filtered: bytes, rows: int, stride: int, pixel_bytes: int) -> NDArray[np.uint8]:
    """Pixels of a diagonal wait for the two diagonals before only, so that each is one operation over arrays."""
    table = np.frombuffer(filtered, np.uint8).reshape(rows, stride + 1)
    kinds, columns = table[:, :1].astype(np.int16), stride // pixel_bytes
    differences = table[:, 1:].reshape(rows, columns, pixel_bytes).astype(np.int16)
    pixels = np.zeros((rows + 1, columns + 1, pixel_bytes), np.int16)  # black above and to the left
    for diagonal in range(rows + columns - 1):
        row = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        column = diagonal - row
        left, up, corner = pixels[row + 1, column], pixels[row, column + 1], pixels[row, column]
        guess = _predict(kinds[row], left, up, corner)
        pixels[row + 1, column + 1] = (differences[row, column] + guess) & 255
    return pixels[1:, 1:].astype(np.uint8).reshape(rows, stride)


def _predict(
    kind: NDArray[np.int16], left: NDArray[np.int16], up: NDArray[np.int16], corner: NDArray[np.int16]
) -> NDArray[np.int16]:
    far_left, far_up, far_corner = np.abs(up - corner), np.abs(left - corner), np.abs(left + up - 2 * corner)
    paeth = np.where(far_up <= far_corner, up, corner)
    paeth = np.where((far_left <= far_up) & (far_left <= far_corner), left, paeth)
    return np.choose(kind, [np.zeros_like(left), left, up, (left + up) // 2, paeth])
