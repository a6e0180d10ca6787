"""Area-averaged resizing: every output pixel is the mean of the input area it covers, fractions included."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


@lru_cache(maxsize=64)
def area_weights(old: int, new: int) -> Image:
    """Coverage of ``old`` input cells by ``new`` output cells of equal extent.

    Args:
        old: number of input pixels along the axis.
        new: number of output pixels along the axis.

    Returns:
        float32 ``[new, old]``; every row sums to 1.
    """
    edges = np.arange(new + 1, dtype=np.float64) * old / new
    cells = np.arange(old, dtype=np.float64)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    weights: Image = (np.clip(overlap, 0, None) * new / old).astype(np.float32)
    return weights


def resize_area(image: Image, height: int, width: int) -> Image:
    """Resize ``[H, W]`` to ``[height, width]`` by area averaging.

    Args:
        image: float32 ``[H, W]``.
        height: output rows.
        width: output columns.

    Returns:
        float32 ``[height, width]``.
    """
    rows, columns = image.shape
    if rows % height == 0 and columns % width == 0:
        blocks = image.reshape(height, rows // height, width, columns // width)
        return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))
    return np.asarray(area_weights(rows, height) @ image @ area_weights(columns, width).T, dtype=np.float32)


def fit_square(image: Image, size: int) -> Image:
    """Resize by area keeping the aspect ratio, then centre on a black ``[size, size]`` square.

    Args:
        image: float32 ``[H, W]`` in [0, 1].
        size: side of the square in pixels.

    Returns:
        float32 ``[size, size]``.
    """
    rows, columns = image.shape
    scale = size / max(rows, columns)
    height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
    square = np.zeros((size, size), dtype=np.float32)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = resize_area(image, height, width)
    return square
