"""Samples of pictures, such as red, green, blue and opacity, as shades of grey or as colours, the right way up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

#: what becomes of the channels of a picture: :func:`to_grey` or :func:`to_rgb`.
Reduce = Callable[[NDArray[Any]], NDArray[Any]]

#: ITU-R BT.601 luma in parts of 2^16; they sum to 2^16, so that equal channels keep their value.
_LUMA: Final = (19595, 38470, 7471)
_BLOCK_ROWS: Final = 64


def to_grey(samples: NDArray[Any]) -> NDArray[Any]:
    """Reduce the channels of a picture to one: luma, in front of black where the picture is transparent.

    Args:
        samples: uint8 or uint16 ``[H, W, C]``: 1 grey, 2 grey and opacity, 3 RGB, 4 RGB and opacity.

    Returns:
        Same type, ``[H, W]``; ITU-R BT.601 luma, rounded to nearest.
    """
    channels = samples.shape[2]
    if channels == 1:
        return samples[:, :, 0]
    if channels == 3 and is_grey(samples):
        return samples[:, :, 0].copy()
    grey, most = np.empty(samples.shape[:2], dtype=samples.dtype), int(np.iinfo(samples.dtype).max)
    for first in range(0, len(samples), _BLOCK_ROWS):  # whole pictures in 32 bits would fill the memory
        block = samples[first : first + _BLOCK_ROWS].astype(np.uint32)
        shade = block[:, :, 0] if channels == 2 else _luma(block)
        grey[first : first + _BLOCK_ROWS] = shade if channels == 3 else _over_black(shade, block[:, :, -1], most)
    return grey


def to_rgb(samples: NDArray[Any]) -> NDArray[Any]:
    """Bring the channels of a picture to red, green and blue, in front of black where the picture is transparent.

    Args:
        samples: uint8 or uint16 ``[H, W, C]``: 1 grey, 2 grey and opacity, 3 RGB, 4 RGB and opacity.

    Returns:
        Same type, ``[H, W, 3]``; of grey, three equal channels.
    """
    channels = samples.shape[2]
    if channels == 3:
        return samples
    if channels == 1:
        return np.repeat(samples, 3, axis=2)
    colours, most = np.empty((*samples.shape[:2], 3), dtype=samples.dtype), int(np.iinfo(samples.dtype).max)
    for first in range(0, len(samples), _BLOCK_ROWS):
        block = samples[first : first + _BLOCK_ROWS].astype(np.uint32)
        colours[first : first + _BLOCK_ROWS] = _over_black(block[:, :, :-1], block[:, :, -1:], most)
    return colours


def is_grey(samples: NDArray[Any]) -> bool:
    """Whether red, green and blue ``[H, W, 3]`` are equal everywhere."""
    red, green, blue = np.moveaxis(samples, 2, 0)
    return bool(np.array_equal(red, green) and np.array_equal(green, blue))


def _luma(samples: NDArray[np.uint32]) -> NDArray[np.uint32]:
    red, green, blue = (samples[:, :, k] * np.uint32(weight) for k, weight in enumerate(_LUMA))
    return np.asarray((red + green + blue + np.uint32(2**15)) >> np.uint32(16))  # at most 65535 * 2^16 + 2^15


def _over_black(shade: NDArray[np.uint32], opacity: NDArray[np.uint32], most: int) -> NDArray[np.uint32]:
    return np.asarray((shade * opacity + np.uint32(most // 2)) // np.uint32(most))  # at most 65535^2 + 2^15


def upright(picture: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn a picture as its camera noted.

    Args:
        picture: ``[H, W]`` or ``[H, W, C]``.
        orientation: Exif tag 0x0112 (also TIFF 6.0, tag 274), 1 to 8; any other number changes nothing.

    Returns:
        The picture, row 0 at the top.
    """
    if orientation in (5, 6, 7, 8):  # stored by columns
        picture = picture.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    return np.ascontiguousarray(picture)
