"""Contrast of radiographs: stretching, gamma, histogram equalisation, CLAHE, histogram matching.

Images are ``[..., H, W]``, floating point in [0, 1] or uint8, each stretched or equalised by itself. Histograms have
the 256 levels of an 8-bit image: floating-point values are counted at the nearest level. Nothing here changes where
something is, so labels and boxes stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import torch
from torch import Tensor

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.transforms.functional.filters import in_float, require_images
from monai_cxraug.transforms.functional.levels import (
    LEVELS,
    TOP,
    blend_tables,
    clip_tables,
    count_levels,
    equalise_tiles,
    equalise_whole,
    look_up,
    runs_whole,
    to_levels,
)


def stretch(images: Tensor, low: float = 0.5, high: float = 99.5) -> Tensor:
    """Stretch linearly so that two percentiles become black and white; what lies beyond is cut.

    ``(image - p_low) / (p_high - p_low)``, percentiles interpolated linearly as NumPy's; an image of one value stays.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``.
        low: percentile that becomes 0.
        high: percentile that becomes 1.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        ConfigError: the percentiles are not in order within [0, 100].
        InputError: another type.
    """
    if not 0 <= low < high <= 100:
        raise ConfigError("stretch", "percentiles must be in order within [0, 100]", f"{low}, {high}")
    return in_float(images, 0, lambda unit: _stretch(unit, low, high))


def _stretch(images: Tensor, low: float, high: float) -> Tensor:
    dark, bright = (end[..., None, None] for end in _percentiles(images.flatten(-2), low, high))
    stretched = ((images - dark) / (bright - dark)).clamp(0, 1)
    return torch.where(bright > dark, stretched, images)


def _percentiles(values: Tensor, *percentiles: float) -> list[Tensor]:
    """Percentiles of ``[..., N]``; ``torch.quantile`` sorts all, and refuses more than 2^24."""
    last = values.shape[-1] - 1
    at = [percentile / 100 * last for percentile in percentiles]
    ranks = [(min(int(place), last), min(int(place) + 1, last)) for place in at]
    if values.device.type == "cpu" and not values.requires_grad:  # a partition takes a tenth of a sort's time
        wanted = sorted({rank for pair in ranks for rank in pair})
        ordered = torch.from_numpy(np.partition(values.numpy(), wanted, axis=-1))
    else:
        ordered = values.sort(dim=-1).values
    return [
        torch.lerp(ordered[..., first], ordered[..., second], place - first)
        for place, (first, second) in zip(at, ranks, strict=True)
    ]


def gamma(images: Tensor, exponent: float = 1.0) -> Tensor:
    """Raise to a power: below 1 the dark parts, such as the mediastinum, gain contrast; above 1 the bright ones.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``.
        exponent: above 0; 1 changes nothing.

    Returns:
        The same shape, type and device.

    Raises:
        ConfigError: the exponent is not above 0.
        InputError: another type.
    """
    if not 0 < exponent < float("inf"):
        raise ConfigError("gamma(exponent)", "must be above 0", exponent, "1 changes nothing")
    return in_float(images, 0, lambda unit: unit.clamp(0, 1) ** exponent)


# --- histograms ---


def histogram(images: Tensor) -> Tensor:
    """Count levels.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``.

    Returns:
        int64 ``[..., 256]``.

    Raises:
        InputError: another type.
    """
    levels = _levels(images)
    counts = count_levels(levels.reshape(-1, *levels.shape[-2:])).long()
    return counts.reshape(*levels.shape[:-2], LEVELS)


def _levels(images: Tensor) -> Tensor:
    require_images(images)
    return images if images.dtype == torch.uint8 else to_levels(images)


def equalise(images: Tensor) -> Tensor:
    """Equalise the histogram: each level becomes the share of the pixels that are darker, or as dark.

    ``(C(v) - C_first) / (N - C_first)`` with C the cumulative histogram and C_first the count of the darkest level that
    occurs: OpenCV's ``equalizeHist``, whose rounding 8-bit images get. Floating-point images are given the unrounded
    value of their nearest level. An image of one value stays.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        InputError: another type.
    """
    if runs_whole(images):
        require_images(images)
        return equalise_whole(images.reshape(-1, *images.shape[-2:])).reshape(images.shape)
    levels, counts = _levels(images), histogram(images).double()
    total = counts.sum(dim=-1, keepdim=True)
    first = (counts > 0).long().argmax(dim=-1, keepdim=True)  # the darkest level that occurs
    darkest = counts.gather(-1, first)
    share = (counts.cumsum(dim=-1) - darkest).clamp(min=0) / (total - darkest).clamp(min=1)
    plain = darkest == total
    return _look_up(images, levels, torch.where(plain, _identity(counts), share))


def match(images: Tensor, reference: Tensor) -> Tensor:
    """Give images the histogram of a reference: each level becomes the reference's value at the same share of pixels.

    Values between the reference's levels are interpolated linearly, as in scikit-image's ``match_histograms``.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``.
        reference: one image ``[H', W']`` or ``[1, H', W']``, of any type that is allowed here.

    Returns:
        The shape, type and device of ``images``.

    Raises:
        InputError: another type, or a reference of several images.
    """
    if reference.numel() != reference.shape[-1] * reference.shape[-2]:
        raise InputError("reference", "must be one image", list(reference.shape))
    counts = histogram(images).double()
    shares = counts.cumsum(dim=-1) / counts.sum(dim=-1, keepdim=True)
    wanted = histogram(reference).double().flatten().to(images.device)
    known = wanted.nonzero()[:, 0]
    heights = (wanted.cumsum(dim=0) / wanted.sum())[known]
    table = _interpolate(shares.flatten(), heights, known.double() / TOP).reshape(counts.shape)
    return _look_up(images, _levels(images), table)


def _interpolate(at: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    """Piecewise linear through rising ``xs``; the outermost values beyond them."""
    right = torch.searchsorted(xs, at).clamp(1, max(1, len(xs) - 1))
    left = right - 1
    if len(xs) == 1:
        return ys.expand_as(at)
    share = ((at - xs[left]) / (xs[right] - xs[left])).clamp(0, 1)
    return torch.lerp(ys[left], ys[right], share)


def _identity(like: Tensor) -> Tensor:
    return torch.arange(LEVELS, dtype=torch.float64, device=like.device) / TOP


def _look_up(images: Tensor, levels: Tensor, table: Tensor) -> Tensor:
    """Replace levels ``[..., H, W]`` by a table ``[..., 256]`` in [0, 1], in the images' type."""
    flat = levels.reshape(-1, *levels.shape[-2:])
    tables = table.expand(*levels.shape[:-2], LEVELS).reshape(len(flat), LEVELS)
    if images.dtype == torch.float64:
        found = tables.gather(1, flat.flatten(1).long())
    else:
        whole = images.dtype == torch.uint8
        found = look_up(flat, ((tables * TOP).round().clamp(0, TOP) if whole else tables).float())
    return found.to(images.dtype).reshape(images.shape)


# --- CLAHE ---


def clahe(images: Tensor, clip: float = 2.0, tiles: int = 8) -> Tensor:
    """Contrast-limited adaptive histogram equalisation (Zuiderveld 1994, Graphics Gems IV, chapter VIII.5).

    Each tile's histogram is cut at a height, what is cut off is spread over all levels, and the tile is equalised with
    it; between the middles of tiles, the results of the four nearest are blended. The details are those of OpenCV's
    ``createCLAHE``: sides that are no multiple of the tiles are mirrored at the right and lower border first. 8-bit
    images come out as there, but for a level where the blend lies half-way; floating-point images are counted at the
    nearest of 256 levels and not rounded.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``, more than ``tiles`` pixels high and wide.
        clip: height at which histograms are cut, over that of an even one; 1 and below leaves hardly any contrast.
        tiles: along each side.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        ConfigError: a setting is out of range.
        InputError: another type, or an image too small.
    """
    if not clip > 0 or tiles < 1:
        raise ConfigError("clahe", "clip must be above 0 and tiles at least 1", f"{clip}, {tiles}")
    if images.dtype != torch.uint8:
        return in_float(images, tiles, lambda unit: _clahe(unit, clip, tiles).to(unit.dtype))
    require_images(images, tiles)
    return to_levels(_clahe(images, clip, tiles))


def _clahe(images: Tensor, clip: float, tiles: int) -> Tensor:
    """Of floating point in [0, 1] or uint8 ``[..., H, W]``: float32 in [0, 1]."""
    flat = images.reshape(-1, *images.shape[-2:])
    height, width = flat.shape[-2:]
    if height % tiles == width % tiles == 0 and runs_whole(flat):
        return equalise_tiles(flat, tiles, _limit(clip, height // tiles * (width // tiles))).reshape(images.shape)
    flat = flat if flat.dtype == torch.uint8 else to_levels(flat)
    padded = _mirror_to_multiple(flat, tiles)
    sides = padded.shape[-2] // tiles, padded.shape[-1] // tiles
    pixels = sides[0] * sides[1]
    tables = clip_tables(count_levels(padded, tiles), _limit(clip, pixels), pixels)
    return blend_tables(flat, tables, sides).reshape(images.shape)


def _limit(clip: float, pixels: int) -> int:
    """The count at which the histogram of a tile is cut."""
    return max(int(clip * pixels / LEVELS), 1)


def _mirror_to_multiple(levels: Tensor, tiles: int) -> Tensor:
    """Mirror the right and lower border until both sides are multiples, as OpenCV does: if one side needs it, a side
    that is a multiple already gets a whole tile's row more."""
    sides = levels.shape[-2:]
    if all(side % tiles == 0 for side in sides):
        return levels
    for axis, side in zip((-2, -1), sides, strict=True):
        more = tiles - side % tiles
        levels = torch.cat([levels, levels.narrow(axis, side - 1 - more, more).flip(axis)], axis)
    return levels


#: changes of contrast with settings that need no choice, by name.
CONTRASTS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {"stretch": stretch, "equalise": equalise, "clahe": clahe}

#: ITU-R BT.601 luma of red, green and blue.
_LUMA: Final = (0.299, 0.587, 0.114)


def luma(images: Tensor) -> Tensor:
    """ITU-R BT.601 luma, ``0.299 R + 0.587 G + 0.114 B``.

    Args:
        images: floating point, ``[..., 3, H, W]``.

    Returns:
        ``[..., 1, H, W]``.
    """
    weights = torch.tensor(_LUMA, dtype=images.dtype, device=images.device)
    return (images * weights[:, None, None]).sum(dim=-3, keepdim=True)


def change_contrast(images: Tensor, name: str) -> Tensor:
    """Change the contrast of grey or colour pictures.

    In colour the luma is changed, and each channel moves by what the luma moved: equalising the channels one by one
    would give a picture other hues. A grey picture in three channels stays grey, and gets the values it gets in one.

    Args:
        images: floating point in [0, 1], ``[..., C, H, W]`` of 1 or 3 channels.
        name: a key of :data:`CONTRASTS`.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        InputError: the images are too small for the change, or of another type.
    """
    change = CONTRASTS[name]
    if images.shape[-3] != 3:
        return change(images)
    before = luma(images).clamp(0, 1)
    return (images + (change(before) - before)).clamp(0, 1)
