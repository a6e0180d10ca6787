"""Filters of radiographs on the last two axes of a tensor: blur, unsharp masking, extremes, ranks, bilateral.

Images are floating point in [0, 1], or uint8, whose filtered values are rounded to the nearest level. Borders are
mirrored without repeating the outermost pixel (see :mod:`~monai_cxraug.transforms.functional.neighbourhood`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.transforms.functional import neighbourhood

_COMPUTED: Final = frozenset({torch.float32, torch.float64})
#: OpenCV's and SciPy's usual reach in standard deviations.
_REACH: Final = 4.0
#: largest side of a square whose pixels are ranked.
_LARGEST: Final = 15


def gaussian_blur(images: Tensor, sigma: float = 1.1, size: int | None = 5) -> Tensor:
    """Blur with a Gaussian.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``, more than half of ``size`` pixels high and wide.
        sigma: standard deviation in pixels. 1.1 is what OpenCV's formula 0.3 * ((size - 1) / 2 - 1) + 0.8 gives for 5.
        size: odd side of the kernel in pixels; None reaches 4 sigma to each side.

    Returns:
        The same shape, type and device, in [0, 1] but for rounding.

    Raises:
        ConfigError: sigma or size is out of range.
        InputError: another type, or an image too small to be mirrored.
    """
    weights = _gaussian("gaussian_blur", sigma, size)
    return in_float(images, len(weights) - 1, lambda unit: neighbourhood.smooth(unit, weights))


def unsharp_mask(images: Tensor, sigma: float = 2.0) -> Tensor:
    """Sharpen: ``2 * image - blurred``, clipped to [0, 1].

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``, more than ``4 * sigma`` pixels high and wide.
        sigma: of the blur, in pixels; its kernel reaches 4 sigma to each side (17 × 17 for 2), OpenCV's automatic
            size for floating-point images and SciPy's ``truncate=4``.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        ConfigError: sigma is not above 0.
        InputError: another type, or an image too small to be mirrored.
    """
    weights = _gaussian("unsharp_mask", sigma, None)
    return in_float(images, len(weights) - 1, lambda unit: neighbourhood.sharpen(unit, weights))


def minimum_filter(images: Tensor, size: int = 3) -> Tensor:
    """Replace each pixel by the darkest of the square around it: a greyscale erosion.

    Mirrored or left out, pixels beyond the border never decide: each has its own twin in the neighbourhood.

    Args:
        images: floating point or uint8, ``[..., H, W]``, more than half of ``size`` pixels high and wide.
        size: odd side of the square in pixels.

    Returns:
        The same shape, type and device.

    Raises:
        ConfigError: the size is not odd.
        InputError: another type, or an image too small to be mirrored.
    """
    reach = _reach("minimum_filter", size)
    return in_float(images, reach, lambda unit: neighbourhood.extreme(unit, reach, largest=False))


def maximum_filter(images: Tensor, size: int = 3) -> Tensor:
    """Replace each pixel by the brightest of the square around it: a greyscale dilation.

    Arguments, result and errors are those of :func:`minimum_filter`.
    """
    reach = _reach("maximum_filter", size)
    return in_float(images, reach, lambda unit: neighbourhood.extreme(unit, reach, largest=True))


def median_filter(images: Tensor, size: int = 3) -> Tensor:
    """Replace each pixel by the median of the square around it.

    Arguments, result and errors are those of :func:`minimum_filter`; the size is at most 15.
    """
    return percentile_filter(images, 50.0, size)


def percentile_filter(images: Tensor, percentile: float, size: int = 3) -> Tensor:
    """Replace each pixel by a percentile of the square around it.

    The value is one of the square's: that of rank ``int(size^2 * percentile / 100)`` from 0, SciPy's definition.

    Args:
        images: floating point or uint8, ``[..., H, W]``, more than half of ``size`` pixels high and wide.
        percentile: in [0, 100]; 50 is the median.
        size: odd side of the square in pixels, at most 15.

    Returns:
        The same shape, type and device.

    Raises:
        ConfigError: the percentile or the size is out of range.
        InputError: another type, or an image too small to be mirrored.
    """
    reach = _reach("percentile_filter", size)
    if size > _LARGEST or not 0 <= percentile <= 100:
        rule = f"size must be at most {_LARGEST}, percentile in [0, 100]"
        raise ConfigError("percentile_filter", rule, f"{size}, {percentile}")
    wanted = min(int(size * size * percentile / 100), size * size - 1)
    return in_float(images, reach, lambda unit: neighbourhood.rank(unit, reach, wanted))


def bilateral_filter(images: Tensor, size: int = 5, sigma_value: float = 0.1, sigma_space: float = 2.0) -> Tensor:
    """Smooth what differs little and keep edges (Tomasi and Manduchi 1998, "Bilateral filtering", equation 7).

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``, more than half of ``size`` pixels high and wide.
        size: odd diameter of the disc in pixels, as OpenCV's ``d``.
        sigma_value: standard deviation of differences in brightness, in units of [0, 1].
        sigma_space: standard deviation of distances, in pixels.

    Returns:
        The same shape, type and device.

    Raises:
        ConfigError: a setting is out of range.
        InputError: another type, or an image too small to be mirrored.
    """
    reach = _reach("bilateral_filter", size)
    if not (sigma_value > 0 and sigma_space > 0):
        raise ConfigError("bilateral_filter", "both sigmas must be above 0", f"{sigma_value}, {sigma_space}")
    return in_float(images, reach, lambda unit: neighbourhood.bilateral(unit, reach, sigma_value, sigma_space))


#: every filter with settings that need no choice, by its name in tables, options and file names.
FILTERS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "gaussian": gaussian_blur,
    "unsharp": unsharp_mask,
    "minimum": minimum_filter,
    "maximum": maximum_filter,
    "median": median_filter,
    "bilateral": bilateral_filter,
}
#: the three that multiply the generator's training set in system B.
SYSTEM_B: Final = ("gaussian", "unsharp", "minimum")


def in_float(images: Tensor, reach: int, apply: Callable[[Tensor], Tensor]) -> Tensor:
    """Check images and work on them in float32 at least: half precision would lose grey levels in the sums.

    Args:
        images: floating point in [0, 1], or uint8, ``[..., H, W]``.
        reach: pixels that are mirrored at a border; the image must be larger.
        apply: the work, on float32 or float64 in [0, 1].

    Returns:
        What ``apply`` gives, in the images' type; for uint8 cut to [0, 1] and rounded.

    Raises:
        InputError: another type, or an image too small.
    """
    require_images(images, reach)
    if images.dtype == torch.uint8:
        return (apply(images.float() / 255) * 255).round_().clamp_(0, 255).to(torch.uint8)
    computed = images if images.dtype in _COMPUTED else images.float()
    return apply(computed).to(images.dtype)


def require_images(images: Tensor, reach: int = 0) -> None:
    """Refuse what is no image.

    Args:
        images: floating point in [0, 1], or uint8, ``[..., H, W]``.
        reach: pixels that are mirrored at a border; the image must be larger.

    Raises:
        InputError: another type, or an image too small.
    """
    if not images.is_floating_point() and images.dtype != torch.uint8:
        found = str(images.dtype).removeprefix("torch.")
        rule = "must be floating point in [0, 1], or uint8"
        raise InputError("image", rule, found, "divide by the type's maximum")
    if images.ndim < 2 or min(images.shape[-2:]) <= reach:
        rule = f"must be at least {reach + 1} × {reach + 1} pixels for the filter"
        raise InputError("image", rule, " × ".join(map(str, images.shape)) or "a number", "use larger images")


def gaussian_weights(sigma: float, reach: int) -> tuple[float, ...]:
    """One half of a sampled Gaussian whose ``2 * reach + 1`` weights sum to 1.

    Args:
        sigma: standard deviation in pixels.
        reach: pixels on each side of the centre.

    Returns:
        ``reach + 1`` weights, the centre's first.
    """
    half = [math.exp(-0.5 * (step / sigma) ** 2) for step in range(reach + 1)]
    total = half[0] + 2 * sum(half[1:])
    return tuple(weight / total for weight in half)


def _gaussian(name: str, sigma: float, size: int | None) -> tuple[float, ...]:
    if not 0 < sigma < math.inf:
        raise ConfigError(f"{name}(sigma)", "must be above 0", sigma)
    return gaussian_weights(sigma, round(_REACH * sigma) if size is None else _reach(name, size))


def _reach(name: str, size: int) -> int:
    if size < 1 or size % 2 == 0:
        raise ConfigError(f"{name}(size)", "must be odd", size, f"use {max(1, size) // 2 * 2 + 1}")
    return size // 2
