"""Distortions of brightness and colour: every pixel by itself, or in relation to its own image.

Photometric distortions of Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric",
section 2.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from monai_cxraug.transforms.functional import contrast as changes_of_contrast
from monai_cxraug.transforms.functional.distortions.draws import make_generator, require_colour, require_within
from monai_cxraug.transforms.functional.filters import in_float

#: luma of red, green and blue (Recommendation ITU-R BT.709-6, item 3.2).
_LUMA: Final = (0.2126, 0.7152, 0.0722)


def lightness(images: Tensor, offset: float = 0.1) -> Tensor:
    """Make lighter or darker: ``image + offset``, cut to [0, 1].

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``.
        offset: in [-1, 1], in units of [0, 1]; 0 changes nothing.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        ConfigError: the offset is out of range.
        InputError: another type.
    """
    require_within("lightness(offset)", offset, -1, 1)
    return in_float(images, 0, lambda unit: (unit + offset).clamp(0, 1))


def contrast(images: Tensor, factor: float = 1.5) -> Tensor:
    """Spread grey levels about the image's mean, or draw them together: ``mean + factor * (image - mean)``, cut.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``; each channel has a mean of its own.
        factor: from 0, which leaves the mean alone; 1 changes nothing.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        ConfigError: the factor is negative.
        InputError: another type.
    """
    require_within("contrast(factor)", factor, 0)
    return in_float(images, 0, lambda unit: _spread(unit, unit.mean(dim=(-2, -1), keepdim=True), factor))


def _spread(unit: Tensor, centre: Tensor, factor: float) -> Tensor:
    """Away from a centre; this order of terms leaves the image to the bit when the factor is 1."""
    return (unit + (factor - 1) * (unit - centre)).clamp(0, 1)


def gamma(images: Tensor, exponent: float = 1.5) -> Tensor:
    """Raise to a power: :func:`~monai_cxraug.transforms.functional.contrast.gamma`, in float64.

    In single precision the last bit of a power depends on where in memory a pixel stands, hence on the batch.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``.
        exponent: above 0; above 1 is darker, 1 changes nothing.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        ConfigError: the exponent is not above 0.
        InputError: another type.
    """
    return in_float(images, 0, lambda unit: changes_of_contrast.gamma(unit.double(), exponent).to(unit.dtype))


# --- RGB ---


def colour_shift(images: Tensor, distance: float = 0.1, seed: int = 0) -> Tensor:
    """Add one colour to all of an RGB image, cut to [0, 1].

    The colour is drawn at random among those whose parts of red, green and blue sum to 0, so that the mean of the three
    stays.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., 3, H, W]``.
        distance: length of the added vector (red, green, blue), from 0 to 1; 0 changes nothing.
        seed: of the colour.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        ConfigError: a setting is out of range.
        InputError: another type or number of channels.
    """
    angle = make_generator("colour_shift", seed).uniform(0, 2 * math.pi)
    require_within("colour_shift(distance)", distance, 0, 1)
    require_colour(images)
    across, along = math.cos(angle) / math.sqrt(2), math.sin(angle) / math.sqrt(6)
    colour = distance * torch.tensor([across + along, along - across, -2 * along], dtype=torch.float64)
    return in_float(images, 0, lambda unit: (unit + colour.to(unit)[:, None, None]).clamp(0, 1))


def saturation(images: Tensor, factor: float = 0.5) -> Tensor:
    """Move the colours of an RGB image away from the grey of the same luma, or towards it; cut to [0, 1].

    ``grey + factor * (image - grey)``, grey the luma of Recommendation ITU-R BT.709.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., 3, H, W]``.
        factor: from 0, which is grey; 1 changes nothing.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        ConfigError: the factor is negative.
        InputError: another type or number of channels.
    """
    require_within("saturation(factor)", factor, 0)
    require_colour(images)
    return in_float(images, 0, lambda unit: _spread(unit, _luma(unit), factor))


def _luma(unit: Tensor) -> Tensor:
    red, green, blue = unit.unbind(-3)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue).unsqueeze(-3)
