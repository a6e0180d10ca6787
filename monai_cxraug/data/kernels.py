"""Compiled inner loops of reading (``kernels.c``); whoever calls them has a way in numpy that gives the same bits."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.compiled import Compiled
from monai_cxraug.errors import InputError

_BYTES, _SIZE, _POINTER = ctypes.c_char_p, ctypes.c_int64, ctypes.c_void_p


def _declare(functions: Any) -> None:
    functions.cxraug_average.restype = ctypes.c_int
    functions.cxraug_average.argtypes = [
        _POINTER, _SIZE, _SIZE, _SIZE, _POINTER, ctypes.c_double, _SIZE, _SIZE, _POINTER,
    ]  # fmt: skip
    functions.cxraug_unfilter.restype = _SIZE
    functions.cxraug_unfilter.argtypes = [_BYTES, _SIZE, _SIZE, _SIZE, _POINTER]
    functions.cxraug_unpack_bits.restype = ctypes.c_int
    functions.cxraug_unpack_bits.argtypes = [_BYTES, _SIZE, _POINTER, _SIZE]
    functions.cxraug_join_bytes.restype = None
    functions.cxraug_join_bytes.argtypes = [_POINTER, _POINTER, _POINTER, _SIZE]


#: the loops; ask ``KERNELS.loaded`` before any function here is called.
KERNELS = Compiled(Path(__file__).with_suffix(".c"), _declare)


def require_below(stored: NDArray[Any], length: int) -> None:
    """Refuse stored values that a table of this length does not have.

    Args:
        stored: uint8 or uint16, any shape, not empty.
        length: entries of the table.

    Raises:
        InputError: a value is too large.
    """
    if length <= np.iinfo(stored.dtype).max and (most := int(stored.max())) >= length:
        raise InputError("stored", f"must be below the table's length {length}", most)


def average_table(
    stored: NDArray[Any], steps: NDArray[np.int32], height: int, width: int, scale: float
) -> NDArray[np.float32]:
    """Average ``steps[stored] / scale`` by area.

    Args:
        stored: uint8 or uint16 ``[H, W]``, not empty.
        steps: int32 ``[T]``, brightness in whole steps, at most 2^26 in size.
        height: output rows, at least 1.
        width: output columns, at least 1.
        scale: steps in one unit of brightness.

    Returns:
        float32 ``[height, width]``.

    Raises:
        InputError: a stored value is not below ``T``, or an array is not as described.
    """
    if stored.dtype not in (np.uint8, np.uint16) or steps.dtype != np.int32 or steps.ndim != 1:
        raise InputError("stored", "must be uint8 or uint16 with int32 steps", (stored.dtype, steps.dtype))
    require_below(stored, len(steps))
    return _average(stored, np.ascontiguousarray(steps), height, width, scale)


def average_float(image: NDArray[np.float32], height: int, width: int, scale: float) -> NDArray[np.float32]:
    """Average a picture by area, its values rounded to steps of 1 / ``scale``.

    Args:
        image: float32 ``[H, W]``, not empty, finite, at most 2^26 / ``scale`` in size.
        height: output rows, at least 1.
        width: output columns, at least 1.
        scale: steps in one unit of brightness.

    Returns:
        float32 ``[height, width]``.

    Raises:
        InputError: the picture is not as described.
    """
    if image.dtype != np.float32:
        raise InputError("image", "must be float32", image.dtype)
    return _average(image, None, height, width, scale)


def _average(
    image: NDArray[Any], steps: NDArray[np.int32] | None, height: int, width: int, scale: float
) -> NDArray[np.float32]:
    if image.ndim != 2 or not image.size or min(height, width) < 1:
        raise InputError("picture", "must be [H, W] and not empty", (image.shape, height, width))
    image = np.ascontiguousarray(image)
    averaged = np.empty((height, width), dtype=np.float32)
    table = None if steps is None else steps.ctypes.data
    if KERNELS.functions.cxraug_average(
        image.ctypes.data, image.itemsize, *image.shape, table, scale, height, width, averaged.ctypes.data
    ):
        raise MemoryError
    return averaged


def unfilter(filtered: bytes, rows: int, stride: int, pixel_bytes: int) -> NDArray[np.uint8]:
    """Undo the filters of a PNG's rows (ISO/IEC 15948, clause 9).

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
    require_rows(filtered, rows, stride, pixel_bytes)
    pixels = np.empty((rows, stride), dtype=np.uint8)
    done = KERNELS.functions.cxraug_unfilter(filtered, rows, stride, pixel_bytes, pixels.ctypes.data)
    if done < 0:
        raise MemoryError
    if done < rows:
        raise unknown_filter(done, filtered[done * (stride + 1)])
    return pixels


def unpack_bits(segment: bytes, size: int) -> NDArray[np.uint8] | None:
    """Expand a segment of DICOM's RLE (PS3.5 G.3.2).

    Args:
        segment: the compressed bytes.
        size: bytes that must come out, at least 1; one more may, for padding.

    Returns:
        uint8 ``[size]``; None where a run is cut off, or the size is another.
    """
    octets = np.empty(size, dtype=np.uint8)
    broken = KERNELS.functions.cxraug_unpack_bits(segment, len(segment), octets.ctypes.data, size)
    return None if broken else octets


def join_bytes(high: NDArray[np.uint8], low: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Join the high and the low bytes of words.

    Args:
        high: uint8 ``[N]``.
        low: uint8 ``[N]``.

    Returns:
        uint16 ``[N]``.

    Raises:
        InputError: the arrays are not as described.
    """
    for octets in (high, low):
        if octets.dtype != np.uint8 or octets.shape != (len(high),) or not octets.flags.c_contiguous:
            raise InputError("bytes", "must be two rows of as many uint8", (octets.dtype, octets.shape))
    words = np.empty(len(high), dtype=np.uint16)
    KERNELS.functions.cxraug_join_bytes(high.ctypes.data, low.ctypes.data, words.ctypes.data, len(words))
    return words


def require_rows(filtered: bytes, rows: int, stride: int, pixel_bytes: int) -> None:
    """Refuse filtered rows whose sizes disagree (arguments as those of :func:`unfilter`).

    Raises:
        InputError: the sizes disagree.
    """
    if pixel_bytes not in (1, 2, 3, 4, 6, 8) or min(rows, stride) < 1 or stride % pixel_bytes:
        raise InputError("rows", "must be of whole pixels of 1, 2, 3, 4, 6 or 8 bytes", (rows, stride, pixel_bytes))
    if not isinstance(filtered, bytes) or len(filtered) != rows * (stride + 1):
        raise InputError("pixel data", f"must be {rows * (stride + 1)} bytes", len(filtered))


def unknown_filter(row: int, kind: int) -> InputError:
    """The error of a row that names no known filter."""
    return InputError(f"row {row}", "must have a filter from 0 to 4", kind, "fetch the file again")
