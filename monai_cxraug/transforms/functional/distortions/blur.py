"""Blur: Gaussian, bilateral, and that of motion.

Borders are mirrored without repeating the outermost pixel, as in
:mod:`~monai_cxraug.transforms.functional.neighbourhood`.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from torch import Tensor

from monai_cxraug.transforms.functional import filters
from monai_cxraug.transforms.functional.distortions.draws import (
    Field,
    choose_direction,
    leave,
    make_generator,
    require_within,
)

#: points of the path of a moving pixel that are summed, in each pixel of its length.
_POINTS: Final = 16


def gaussian_blur(images: Tensor, sigma: float = 1.5) -> Tensor:
    """Blur with a Gaussian that reaches 4 sigma: :func:`~monai_cxraug.transforms.functional.filters.gaussian_blur`.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``, more than ``4 * sigma`` pixels high and wide.
        sigma: standard deviation in pixels; 0 changes nothing.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        ConfigError: sigma is negative.
        InputError: another type, or an image too small.
    """
    require_within("gaussian_blur(sigma)", sigma, 0)
    if not sigma:
        return leave(images)
    return filters.in_float(images, 0, lambda unit: filters.gaussian_blur(unit, sigma, None).clamp(0, 1))


def bilateral_blur(images: Tensor, sigma_value: float = 0.1, sigma_space: float = 2.0, size: int = 9) -> Tensor:
    """Smooth what differs little: :func:`~monai_cxraug.transforms.functional.filters.bilateral_filter`.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``, more than half of ``size`` pixels high and wide.
        sigma_value: standard deviation of differences in brightness, in units of [0, 1]; 0 changes nothing.
        sigma_space: standard deviation of distances, in pixels.
        size: odd diameter of the disc in pixels.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        ConfigError: a setting is out of range.
        InputError: another type, or an image too small.
    """
    require_within("bilateral_blur(sigma_value)", sigma_value, 0)
    if not sigma_value:
        return leave(images)

    def smooth(unit: Tensor) -> Tensor:
        return filters.bilateral_filter(unit, size, sigma_value, sigma_space).clamp(0, 1)

    return filters.in_float(images, 0, smooth)


def motion_blur(images: Tensor, length: float = 5.0, angle: float | None = None, seed: int = 0) -> Tensor:
    """Blur by a straight and even motion during the exposure: the mean along a line about each pixel.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``, larger than half of ``length``.
        length: of the line in pixels; 0 changes nothing.
        angle: of the line in degrees from the right, anticlockwise as a viewer sees it; None draws it.
        seed: of the angle.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        ConfigError: a setting is out of range.
        InputError: another type, or an image too small.
    """
    direction = choose_direction(angle, make_generator("motion_blur", seed))
    require_within("motion_blur(length)", length, 0)
    kernel = make_motion_kernel(length, direction)
    return filters.in_float(images, len(kernel) // 2, lambda unit: _weigh(unit, kernel).clamp(0, 1))


def make_motion_kernel(length: float, direction: tuple[float, float]) -> Field:
    """Weights of a line that is centred on a pixel: bilinear shares of evenly spaced points.

    Args:
        length: in pixels, from 0.
        direction: unit vector (x, y).

    Returns:
        ``[n, n]`` with n odd; they sum to 1.
    """
    reach, points = math.ceil(length / 2), max(1, math.ceil(_POINTS * length))
    places = length * ((np.arange(points) + 0.5) / points - 0.5)
    grid = np.arange(-reach, reach + 1)
    x, y = (np.maximum(0, 1 - np.abs(places[:, None] * part - grid)) for part in direction)
    return np.asarray(y.T @ x / points, np.float64)


def _weigh(unit: Tensor, kernel: Field) -> Tensor:
    """Correlate with a kernel of few weights by shifted views, which no autocast and no choice of algorithm changes."""
    height, width = unit.shape[-2:]
    reach = len(kernel) // 2
    rows, columns = (_mirror(side, reach).to(unit.device) for side in (height, width))
    padded = unit.index_select(-2, rows).index_select(-1, columns)
    total = torch.zeros_like(unit)
    for row, column in np.argwhere(kernel > 0).tolist():
        total = total + float(kernel[row, column]) * padded[..., row : row + height, column : column + width]
    return total


def _mirror(side: int, reach: int) -> Tensor:
    """Which pixel stands at each place from ``-reach`` to ``side + reach``."""
    return side - 1 - (side - 1 - torch.arange(-reach, side + reach).abs()).abs()
