"""Area-averaged resizing: every output pixel is the mean of the input area it covers, fractions included.

The means are exact. Brightness is held in whole steps of 2^-26 and coverage in whole parts of a pixel, so that every
partial sum is an integer below 2^53 and no order of summation, width of vector or compiler can change a bit: the
compiled kernel and numpy agree because both are right.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.data import kernels
from monai_cxraug.errors import InputError

Image = NDArray[np.float32]
Fit = Literal["pad", "squash", "crop"]

#: Steps of brightness between black and white; 2^27 pixels of 2^26 steps still sum below 2^53.
STEPS = 2**26
_MOST_PIXELS = 2**27
_MOST_CHANNELS = 4


@lru_cache(maxsize=64)
def area_weights(old: int, new: int) -> Image:
    """Coverage of ``old`` input cells by ``new`` output cells of equal extent.

    Args:
        old: number of input pixels along the axis.
        new: number of output pixels along the axis.

    Returns:
        float32 ``[new, old]``; every row sums to 1.
    """
    edges = np.arange(new + 1, dtype=np.int64) * old
    cells = np.arange(old, dtype=np.int64) * new
    overlap = np.minimum(edges[1:, None], cells + new) - np.maximum(edges[:-1, None], cells)
    return np.asarray(np.clip(overlap, 0, None) / old, dtype=np.float32)


def fit_table(stored: NDArray[Any], table: Image, size: int, fit: Fit = "pad", aspect: float = 1.0) -> Image:
    """Look every stored value up in a table, and resize the picture to a square by area.

    Args:
        stored: uint8 or uint16 ``[H, W]`` or ``[H, W, C]``; each channel is resized by itself.
        table: float32 ``[T]`` in [0, 1]; ``stored`` is below ``T`` everywhere.
        size: side of the square in pixels.
        fit: ``"pad"`` keeps the proportions of the body on a black square, ``"squash"`` fills the square, ``"crop"``
            keeps the proportions and the largest square in the middle.
        aspect: height of a pixel over its width.

    Returns:
        float32 ``[size, size]`` or ``[size, size, C]`` in [0, 1].

    Raises:
        InputError: an argument is out of its range.
    """
    height, width = inner_size(stored.shape, size, fit, aspect)
    stored = _middle(stored, aspect) if fit == "crop" else stored
    return _centred(average_table(stored, table, height, width), size)


def fit_square(image: Image, size: int, fit: Fit = "pad", aspect: float = 1.0) -> Image:
    """Resize by area, by default keeping the aspect ratio and centring on a black ``[size, size]`` square.

    Args:
        image: float32 ``[H, W]`` or ``[H, W, C]`` in [0, 1]; each channel is resized by itself.
        size: side of the square in pixels.
        fit: ``"pad"`` keeps the proportions of the body on a black square, ``"squash"`` fills the square, ``"crop"``
            keeps the proportions and the largest square in the middle.
        aspect: height of a pixel over its width.

    Returns:
        float32 ``[size, size]`` or ``[size, size, C]``.

    Raises:
        InputError: an argument is out of its range.
    """
    height, width = inner_size(image.shape, size, fit, aspect)
    image = _middle(image, aspect) if fit == "crop" else image
    return _centred(resize_area(image, height, width), size)


def inner_size(shape: tuple[int, ...], size: int, fit: Fit, aspect: float) -> tuple[int, int]:
    """Rows and columns that a picture takes up inside a square.

    Args:
        shape: rows and columns of the picture.
        size: side of the square in pixels.
        fit: ``"pad"``, ``"squash"`` or ``"crop"``.
        aspect: height of a pixel over its width.

    Returns:
        Rows and columns, each from 1 to ``size``.

    Raises:
        InputError: the size, fit or aspect is out of its range.
    """
    if size < 1:
        raise InputError("size", "must be at least 1", size)
    if fit not in get_args(Fit):
        raise InputError("fit", "must be pad, squash or crop", repr(fit))
    if not (math.isfinite(aspect) and aspect > 0):
        raise InputError("aspect", "must be a positive number", aspect)
    if fit != "pad":
        return size, size
    rows, columns = shape[0] * aspect, float(shape[1])
    scale = size / max(rows, columns)
    return max(1, round(rows * scale)), max(1, round(columns * scale))


def _middle(picture: NDArray[Any], aspect: float) -> NDArray[Any]:
    """The largest square of the body in the middle of a picture, to whole pixels."""
    rows, columns = picture.shape[:2]
    side = min(rows * aspect, float(columns))
    height, width = min(rows, max(1, round(side / aspect))), min(columns, max(1, round(side)))
    top, left = (rows - height) // 2, (columns - width) // 2
    return np.ascontiguousarray(picture[top : top + height, left : left + width])


def _centred(picture: Image, size: int) -> Image:
    height, width = picture.shape[:2]
    if height == width == size:
        return picture
    square = np.zeros((size, size, *picture.shape[2:]), dtype=np.float32)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = picture
    return square


def average_table(stored: NDArray[Any], table: Image, height: int, width: int) -> Image:
    """Resize ``table[stored]`` to ``[height, width]`` by area averaging.

    Args:
        stored: uint8 or uint16 ``[H, W]``; of ``[H, W, C]`` each channel is resized by itself.
        table: float32 ``[T]`` in [0, 1]; ``stored`` is below ``T`` everywhere.
        height: output rows.
        width: output columns.

    Returns:
        float32 ``[height, width]`` or ``[height, width, C]`` in [0, 1].

    Raises:
        InputError: the picture or the table is not as described.
    """
    if _coloured(stored):
        channels = [average_table(channel, table, height, width) for channel in np.moveaxis(stored, 2, 0)]
        return np.stack(channels, axis=2)
    if stored.dtype not in (np.uint8, np.uint16):
        raise InputError("stored", "must be uint8 or uint16", stored.dtype)
    _require_picture(stored, height, width)
    if not (table.ndim == 1 and table.size and table.min() >= 0 and table.max() <= 1):
        raise InputError("table", "must be a row of values in [0, 1]")
    steps = np.rint(table.astype(np.float64) * STEPS)
    if kernels.KERNELS.loaded:
        return kernels.average_table(stored, steps.astype(np.int32), height, width, STEPS)
    kernels.require_below(stored, len(table))
    return _average(lambda first, last: steps[stored[first:last]], stored.shape, height, width, STEPS)


def resize_area(image: Image, height: int, width: int) -> Image:
    """Resize ``[H, W]`` to ``[height, width]`` by area averaging.

    Args:
        image: float32 ``[H, W]``, finite; values beyond [-1, 1] are held in coarser steps. Of ``[H, W, C]`` each
            channel is resized by itself.
        height: output rows.
        width: output columns.

    Returns:
        float32 ``[height, width]`` or ``[height, width, C]``.

    Raises:
        InputError: the picture is not as described.
    """
    if _coloured(image):
        return np.stack([resize_area(channel, height, width) for channel in np.moveaxis(image, 2, 0)], axis=2)
    _require_picture(image, height, width)
    extent = float(max(image.max(), -image.min()))
    if not math.isfinite(extent):
        raise InputError("image", "must be finite numbers", extent)
    scale = STEPS / 2.0 ** max(0, math.ceil(math.log2(extent or 1.0)))
    if kernels.KERNELS.loaded:
        return kernels.average_float(image, height, width, scale)
    return _average(lambda first, last: np.rint(image[first:last] * scale), image.shape, height, width, scale)


def _coloured(picture: NDArray[Any]) -> bool:
    """Whether a picture has channels; a stack of pictures ``[N, H, W]`` is not taken for one."""
    return picture.ndim == 3 and 1 <= picture.shape[2] <= _MOST_CHANNELS


def _require_picture(picture: NDArray[Any], height: int, width: int) -> None:
    if picture.ndim != 2 or not 0 < picture.size <= _MOST_PIXELS:
        rule = f"must be [H, W] or [H, W, C] with 1 to {_MOST_PIXELS} pixels and at most {_MOST_CHANNELS} channels"
        raise InputError("picture", rule, picture.shape)
    if height < 1 or width < 1:
        raise InputError("size", "must be at least 1", (height, width))


def _average(
    steps: Callable[[int, int], NDArray[np.float64]], shape: tuple[int, ...], height: int, width: int, scale: float
) -> Image:
    """Mean by area of whole numbers that ``steps(first, last)`` gives for some rows, divided by ``scale``."""
    rows, columns = shape
    columned = np.ascontiguousarray(_sums(steps, rows, height).T)  # [columns, height]
    sums = _sums(lambda first, last: columned[first:last], columns, width).T
    return np.ascontiguousarray((sums / (scale * rows * columns)).astype(np.float32))


def _sums(cells: Callable[[int, int], NDArray[np.float64]], old: int, new: int) -> NDArray[np.float64]:
    """Sums ``[new, N]`` of ``old`` rows of ``N``, each weighted by its coverage in parts of 1 / ``new`` of a row."""
    sums = []
    for start in range(0, new * old, old):
        first, last = start // new, -(-(start + old) // new)
        edges = np.clip(np.arange(first, last + 1) * new, start, start + old)
        sums.append(np.diff(edges).astype(np.float64) @ cells(first, last))
    return np.stack(sums)
