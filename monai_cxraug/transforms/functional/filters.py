"""Gaussian blur, unsharp masking and the minimum filter: neighbourhood filters on the last two axes of a tensor.

Borders are mirrored without repeating the outermost pixel, ``d c b | a b c d | c b a``: OpenCV's ``BORDER_DEFAULT``
(``BORDER_REFLECT_101``), SciPy's ``mode="mirror"``, torch's ``"reflect"``. SciPy's own ``"reflect"`` repeats it.

Each filter is separable and is a sum, or minimum, of shifted views. On one channel that is many times faster than
``conv2d``, and it stays float32 where autocast, TF32 or a choice of convolution algorithm would change a convolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor

from monai_cxraug.errors import InputError

_AXES: Final = (-2, -1)
_COMPUTED: Final = frozenset({torch.float32, torch.float64})


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


#: 5 × 5; sigma 1.1 is what OpenCV's formula 0.3 * ((size - 1) / 2 - 1) + 0.8 gives for a size of 5.
_BLUR: Final = gaussian_weights(1.1, 2)
#: 17 × 17: OpenCV's automatic size for floating-point images, 2 * 4 * sigma + 1, and SciPy's ``truncate=4``.
_UNSHARP: Final = gaussian_weights(2.0, 8)


def gaussian_blur(images: Tensor) -> Tensor:
    """Blur with a 5 × 5 Gaussian of sigma 1.1 pixels.

    Args:
        images: floating point ``[..., H, W]`` in [0, 1], at least 3 × 3 pixels.

    Returns:
        The same shape, type and device, in [0, 1] but for rounding.

    Raises:
        InputError: another type, or an image too small to be mirrored.
    """
    return _in_float(images, len(_BLUR) - 1, lambda unit: _smooth(unit, _BLUR))


def unsharp_mask(images: Tensor) -> Tensor:
    """Sharpen: ``2 * image - blurred``, clipped to [0, 1]; the blur is a 17 × 17 Gaussian of sigma 2 pixels.

    Args:
        images: floating point ``[..., H, W]`` in [0, 1], at least 9 × 9 pixels.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        InputError: another type, or an image too small to be mirrored.
    """
    return _in_float(images, len(_UNSHARP) - 1, lambda unit: (2 * unit - _smooth(unit, _UNSHARP)).clamp(0, 1))


def minimum_filter(images: Tensor) -> Tensor:
    """Replace each pixel by the darkest of its 3 × 3 neighbourhood: a greyscale erosion.

    Mirrored or left out, pixels beyond the border never decide: each has its own twin in the neighbourhood.

    Args:
        images: floating point ``[..., H, W]``, at least 2 × 2 pixels.

    Returns:
        The same shape, type and device.

    Raises:
        InputError: another type, or an image too small to be mirrored.
    """
    return _in_float(images, 1, _minimum)


#: every filter by its name in tables, options and file names.
FILTERS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "gaussian": gaussian_blur,
    "unsharp": unsharp_mask,
    "minimum": minimum_filter,
}


def _in_float(images: Tensor, reach: int, apply: Callable[[Tensor], Tensor]) -> Tensor:
    """Check the images and apply a filter in float32 at least: half precision would lose grey levels in the sums."""
    if not images.is_floating_point():
        found = str(images.dtype).removeprefix("torch.")
        raise InputError("image", "must be floating point in [0, 1]", found, "divide by the type's maximum")
    if images.ndim < len(_AXES) or min(images.shape[-2:]) <= reach:
        rule = f"must be at least {reach + 1} × {reach + 1} pixels for the filter"
        raise InputError("image", rule, " × ".join(map(str, images.shape)) or "a number", "use larger images")
    computed = images if images.dtype in _COMPUTED else images.float()
    return apply(computed).to(images.dtype)


def _smooth(images: Tensor, weights: tuple[float, ...]) -> Tensor:
    for axis in _AXES:
        images = _smooth_along(images, weights, axis)
    return images


def _smooth_along(images: Tensor, weights: tuple[float, ...], axis: int) -> Tensor:
    reach = len(weights) - 1
    shifted = _shifts(images, reach, axis)
    total = images * weights[0]
    for step, weight in enumerate(weights[1:], start=1):  # twins are added first: a flip changes no bit
        total.add_(shifted[reach - step] + shifted[reach + step], alpha=weight)
    return total


def _minimum(images: Tensor) -> Tensor:
    for axis in _AXES:
        left, centre, right = _shifts(images, 1, axis)
        images = torch.minimum(torch.minimum(left, right), centre)
    return images


def _shifts(images: Tensor, reach: int, axis: int) -> list[Tensor]:
    """Views of the mirrored images, shifted by ``-reach`` to ``reach`` pixels.

    Put together from flips, because ``torch.nn.functional.pad`` mirrors only certain numbers of axes, and its gradient
    on CUDA repeats no bits.
    """
    side = images.shape[axis]
    before = images.narrow(axis, 1, reach).flip(axis)
    after = images.narrow(axis, side - 1 - reach, reach).flip(axis)
    mirrored = torch.cat((before, images, after), axis)
    return [mirrored.narrow(axis, start, side) for start in range(2 * reach + 1)]
