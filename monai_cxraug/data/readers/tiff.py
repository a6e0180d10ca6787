"""The TIFF reader (TIFF 6.0): one page of 8 or 16 bit grey, or 8 bit colour.

The directory is read and checked here; Pillow decodes the pixels, and is told neither to invert nor to turn them, which
it does for some kinds of file and not for others.
"""

from __future__ import annotations

import io
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.data.readers.grey import Reduce, to_grey
from monai_cxraug.data.readers.limits import MAX_PIXELS, require_pixels
from monai_cxraug.errors import InputError

SIGNATURES: Final = (b"II*\0", b"MM\0*")

_COLUMNS, _ROWS, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_ORIENTATION, _SAMPLES, _FORMAT = 274, 277, 339
_STRIPS, _TILES = (273, 279), (324, 325)  # where they are, and their bytes
_TILE_SIDES = (322, 323)
_DECIDING: Final = frozenset({*range(256, 260), 262, 273, 274, 277, 279, 322, 323, 324, 325, 339})
_PACKED: Final = {1: "B", 3: "H", 4: "I"}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_PLAIN, _LZW, _JPEG, _DEFLATE, _PACKBITS = 1, 5, 7, (8, 32946), 32773
_MEND: Final = "save it as PNG"
_STDERR: Final = threading.Lock()


@dataclass(frozen=True)
class _Directory:
    """Whole numbers of a page by tag, and the form and place of each in the file."""

    order: str
    values: dict[int, tuple[int, ...]] = field(default_factory=dict)
    places: dict[int, tuple[str, int]] = field(default_factory=dict)

    def first(self, tag: int, default: int = 0) -> int:
        return self.values.get(tag, (default,))[0]


def read_tiff(content: bytes, name: object, reduce: Reduce = to_grey) -> tuple[NDArray[Any], int]:
    """Decode a TIFF.

    Args:
        content: the file.
        name: what to call the file in errors.
        reduce: what becomes of its channels: :func:`~monai_cxraug.data.readers.grey.to_grey` or
            :func:`~monai_cxraug.data.readers.grey.to_rgb`.

    Returns:
        uint8 or uint16 ``[H, W]``, in colour ``[H, W, 3]``, dark is 0, and its orientation (tag 274) from 1 to 8.

    Raises:
        InputError: the file is damaged, has several pages, or is of another kind than the above.
    """
    from PIL.TiffImagePlugin import TiffImageFile

    page = _directory(content, name)
    require_pixels(page.first(_ROWS), page.first(_COLUMNS), name)
    _require_kind(page, name)
    _require_data(page, len(content), name)
    with _silent(), TiffImageFile(io.BytesIO(_neutral(content, page))) as picture:
        if picture.mode in ("P", "YCbCr"):
            samples = np.asarray(picture.convert("RGB"))
        else:
            samples = np.asarray(picture.convert("L") if picture.mode == "1" else picture)
    channels = _channels(samples, name)
    if page.first(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        channels = np.concatenate([~channels[:, :, :1], channels[:, :, 1:]], axis=2)  # opacity means what it meant
    return reduce(channels), page.first(_ORIENTATION, 1)


def _directory(content: bytes, name: object) -> _Directory:
    """Read the first and only page's directory (TIFF 6.0, section 2)."""
    page = _Directory("<" if content[:1] == b"I" else ">")
    try:
        (start,) = struct.unpack_from(page.order + "I", content, 4)
        (count,) = struct.unpack_from(page.order + "H", content, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, number = struct.unpack_from(page.order + "HHI", content, at)
            if tag not in _DECIDING:
                continue
            if kind not in _PACKED or not 0 < number <= len(content):
                raise InputError(name, f"tag {tag} of a TIFF must be whole numbers", f"type {kind}", _MEND)
            form = f"{page.order}{number}{_PACKED[kind]}"
            inside = struct.calcsize(form) <= 4
            place = at + 8 if inside else struct.unpack_from(page.order + "I", content, at + 8)[0]
            page.values[tag] = struct.unpack_from(form, content, place)
            page.places[tag] = f"{page.order}{_PACKED[kind]}", place
        (following,) = struct.unpack_from(page.order + "I", content, start + 2 + 12 * count)
    except struct.error:
        raise InputError(name, "a TIFF must have a whole directory", "its end", "fetch the file again") from None
    if following:
        raise InputError(name, "must be one picture", "a TIFF of several pages", "save one page")
    return page


def _require_kind(page: _Directory, name: object) -> None:
    bits = set(page.values.get(_BITS, (1,)))
    photometric, compression = page.first(_PHOTOMETRIC, -1), page.first(_COMPRESSION, _PLAIN)
    grey = photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO)
    if set(page.values.get(_FORMAT, (1,))) != {1}:
        raise InputError(name, "a TIFF's samples must be whole numbers without sign", "others", _MEND)
    if not grey and photometric not in (_RGB, _PALETTE, _YCBCR):
        raise InputError(name, "a TIFF must be grey, RGB, YCbCr or palette", f"photometric {photometric}", _MEND)
    if bits not in ({1}, {8}, {16}) or (bits != {8} and (not grey or page.first(_SAMPLES, 1) > 1)):
        found = f"{page.first(_SAMPLES, 1)} of {sorted(bits)} bits"
        raise InputError(name, "a TIFF must have 1, 8 or 16 bits of grey, or 8 bits a colour", found, _MEND)
    if (tile := page.first(_TILE_SIDES[0]) * page.first(_TILE_SIDES[1])) > MAX_PIXELS:
        raise InputError(name, f"a tile must have at most {MAX_PIXELS // 10**6} million pixels", tile, _MEND)
    if compression not in (_PLAIN, _LZW, _JPEG, *_DEFLATE, _PACKBITS):
        raise InputError(name, "a TIFF must be plain, LZW, JPEG, Deflate or PackBits", compression, _MEND)


def _require_data(page: _Directory, length: int, name: object) -> None:
    """Refuse data that ends beyond the file or, where it is plain, before the picture does."""
    places, sizes = next((pair for pair in (_STRIPS, _TILES) if pair[0] in page.values), _STRIPS)
    parts = list(zip(page.values.get(places, ()), page.values.get(sizes, ()), strict=False))
    whole = len(page.values.get(places, ())) == len(page.values.get(sizes, ())) > 0
    if not whole or any(place + size > length for place, size in parts):
        raise InputError(name, "a TIFF must be complete", f"its end after {length} bytes", "fetch the file again")
    row = -(-page.first(_COLUMNS) * page.first(_SAMPLES, 1) * page.first(_BITS, 1) // 8)
    held = sum(size for _, size in parts)
    if page.first(_COMPRESSION, _PLAIN) == _PLAIN and held < row * page.first(_ROWS):
        raise InputError(name, f"a TIFF must hold {row * page.first(_ROWS)} bytes of pixels", held, "fetch it again")


def _neutral(content: bytes, page: _Directory) -> bytes:
    """The file with the directory saying that dark is 0 and the picture upright."""
    changed = bytearray(content)
    for tag, usual in ((_PHOTOMETRIC, _WHITE_IS_ZERO), (_ORIENTATION, page.first(_ORIENTATION))):
        if tag in page.values and page.first(tag) == usual:
            form, place = page.places[tag]
            struct.pack_into(form, changed, place, 1)
    return bytes(changed)


def _channels(samples: NDArray[Any], name: object) -> NDArray[Any]:
    if samples.dtype.kind != "u" or samples.itemsize > 2:
        raise InputError(name, "a TIFF must decode to 8 or 16 bits", samples.dtype, _MEND)
    native = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    return native[:, :, None] if native.ndim == 2 else native


@contextmanager
def _silent() -> Iterator[None]:
    """Keep libtiff, which Pillow lets speak for itself, from writing to the standard error."""
    with _STDERR:
        try:
            kept = os.dup(2)
        except OSError:  # closed: nobody hears it
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)
