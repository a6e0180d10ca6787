"""Sums, extremes and ranks of each pixel's neighbourhood: what filters are made of, on the last two axes of a tensor.

Borders are mirrored without repeating the outermost pixel, ``d c b | a b c d | c b a``: OpenCV's ``BORDER_DEFAULT``
(``BORDER_REFLECT_101``), SciPy's ``mode="mirror"``, torch's ``"reflect"``. SciPy's own ``"reflect"`` repeats it.

Two ways give the same bits (:func:`bilateral` within 1e-6): sums, minima and maxima of shifted views with torch, on any
device and differentiable; and compiled loops (``neighbourhood.c``) for float32 on the CPU where no gradient is wanted,
on as many threads as torch has. Neither is a ``conv2d``, which on one channel is slower, and which autocast, TF32 or a
choice of algorithm changes.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor

from monai_cxraug.compiled import Compiled
from monai_cxraug.transforms.functional.threads import in_threads

_SIZE, _POINTER, _INT = ctypes.c_int64, ctypes.c_void_p, ctypes.c_int
_IMAGES = [_POINTER, _POINTER, _SIZE, _SIZE, _SIZE]
_AXES: Final = (-2, -1)
_NO_MEMORY: Final = -1


def _declare(functions: Any) -> None:
    functions.cxraug_smooth.argtypes = [*_IMAGES, _POINTER, _SIZE, _INT]
    functions.cxraug_extreme.argtypes = [*_IMAGES, _SIZE, _INT]
    functions.cxraug_median.argtypes = _IMAGES
    functions.cxraug_rank.argtypes = [*_IMAGES, _SIZE, _POINTER, _SIZE, _SIZE]
    functions.cxraug_bilateral.argtypes = [*_IMAGES, _SIZE, _POINTER, _POINTER, _SIZE, ctypes.c_float]


#: the compiled loops.
LOOPS = Compiled(Path(__file__).with_suffix(".c"), _declare)


# --- weighted sums ---


def smooth(images: Tensor, weights: Sequence[float]) -> Tensor:
    """Sum each neighbourhood, weighted by the product of a row's and a column's weight.

    Args:
        images: float32 or float64 ``[..., H, W]``, more than ``len(weights) - 1`` pixels high and wide.
        weights: of a row, and of a column, which are symmetric: the centre's first.

    Returns:
        The same shape and type.
    """
    if is_compiled(images):
        return _smooth_compiled(images, weights, sharpen=False)
    for axis in _AXES:
        images = _smooth_along(images, weights, axis)
    return images


def sharpen(images: Tensor, weights: Sequence[float]) -> Tensor:
    """``2 * images - smooth(images, weights)``, cut to [0, 1]; arguments as those of :func:`smooth`."""
    if is_compiled(images):
        return _smooth_compiled(images, weights, sharpen=True)
    return (2 * images - smooth(images, weights)).clamp(0, 1)


def _smooth_compiled(images: Tensor, weights: Sequence[float], sharpen: bool) -> Tensor:
    values = torch.tensor(weights, dtype=torch.float32)
    rest = values.data_ptr(), len(weights) - 1, int(sharpen)
    done = _each(images, lambda *place: LOOPS.functions.cxraug_smooth(*place, *rest))
    return cast(Tensor, done)


def _smooth_along(images: Tensor, weights: Sequence[float], axis: int) -> Tensor:
    reach = len(weights) - 1
    shifted = shifts(images, reach, axis)
    total = images * weights[0]
    for step, weight in enumerate(weights[1:], start=1):  # twins are added first: a flip changes no bit
        # two operations: one would be a fused multiply-add, of other bits than the compiled loop's
        total = total + (shifted[reach - step] + shifted[reach + step]) * weight
    return total


# --- smallest and largest ---


def extreme(images: Tensor, reach: int, largest: bool) -> Tensor:
    """Smallest or largest value of the square around each pixel.

    Args:
        images: float32 or float64 ``[..., H, W]``, more than ``reach`` pixels high and wide.
        reach: pixels on each side of the centre.
        largest: the largest instead.

    Returns:
        The same shape and type.
    """
    if is_compiled(images):
        done = _each(images, lambda *place: LOOPS.functions.cxraug_extreme(*place, reach, int(largest)))
        if done is not None:
            return done
    choose = torch.maximum if largest else torch.minimum
    for axis in _AXES:
        shifted = shifts(images, reach, axis)
        images = shifted[reach]
        for step in range(1, reach + 1):
            images = choose(images, choose(shifted[reach - step], shifted[reach + step]))
    return images


# --- any rank ---


def rank(images: Tensor, reach: int, wanted: int) -> Tensor:
    """The value of a rank in the square around each pixel.

    Args:
        images: float32 or float64 ``[..., H, W]``, more than ``reach`` pixels high and wide.
        reach: pixels on each side of the centre.
        wanted: 0 for the smallest of the ``(2 * reach + 1)^2`` values, and so on.

    Returns:
        The same shape and type.
    """
    side = 2 * reach + 1
    swaps = selection_network(side * side, wanted)
    if is_compiled(images):
        done = _each(images, _rank_loop(reach, wanted, swaps))
        if done is not None:
            return done
    pixels = [row for rows in shifts(images, reach, -2) for row in shifts(rows, reach, -1)]
    for low, high in swaps:
        pixels[low], pixels[high] = torch.minimum(pixels[low], pixels[high]), torch.maximum(pixels[low], pixels[high])
    return pixels[wanted]


def _rank_loop(reach: int, wanted: int, swaps: Sequence[tuple[int, int]]) -> Callable[..., int]:
    functions = LOOPS.functions
    if (reach, wanted) == (1, 4):
        return cast(Callable[..., int], functions.cxraug_median)
    pairs = torch.tensor(swaps, dtype=torch.int32)
    return lambda *place: functions.cxraug_rank(*place, reach, pairs.data_ptr(), len(swaps), wanted)


@lru_cache(maxsize=64)
def selection_network(n: int, wanted: int) -> tuple[tuple[int, int], ...]:
    """Comparisons that bring the value of one rank to its place: Batcher's network, less what that place never sees.

    Merge exchange of Batcher 1968, "Sorting networks and their applications", as algorithm M of Knuth, The Art of
    Computer Programming, volume 3, section 5.2.2.

    Args:
        n: number of values.
        wanted: the rank, from 0.

    Returns:
        Pairs ``(low, high)`` in order: the smaller value goes to ``low``.
    """
    pairs = []
    top = 1 << max(0, (n - 1).bit_length() - 1)
    step = top
    while step and n > 1:
        other, offset, distance = top, 0, step
        while True:
            pairs += [(k, k + distance) for k in range(n - distance) if k & step == offset]
            if other == step:
                break
            distance, other, offset = other - step, other // 2, step
        step //= 2
    needed, kept = {wanted}, []
    for low, high in reversed(pairs):
        if low in needed or high in needed:
            needed |= {low, high}
            kept.append((low, high))
    return tuple(reversed(kept))


# --- weights by distance in place and value ---


def bilateral(images: Tensor, reach: int, sigma_value: float, sigma_space: float) -> Tensor:
    """Mean of the disc around each pixel, weighted by Gaussians of distance and of difference in value.

    Args:
        images: float32 or float64 ``[..., H, W]``, more than ``reach`` pixels high and wide.
        reach: radius of the disc in pixels.
        sigma_value: standard deviation of the differences in value.
        sigma_space: standard deviation of the distances, in pixels.

    Returns:
        The same shape and type.
    """
    steps = range(-reach, reach + 1)
    disc = [(y, x) for y in steps for x in steps if x * x + y * y <= reach * reach]
    closeness = [math.exp(-0.5 * (y * y + x * x) / sigma_space**2) for y, x in disc]
    steepness = 0.5 / sigma_value**2
    if is_compiled(images):
        stride = images.shape[-1] + 2 * reach
        offsets = torch.tensor([y * stride + x for y, x in disc], dtype=torch.int64)
        values = torch.tensor(closeness, dtype=torch.float32)
        rest = reach, offsets.data_ptr(), values.data_ptr(), len(disc), steepness
        return cast(Tensor, _each(images, lambda *place: LOOPS.functions.cxraug_bilateral(*place, *rest)))
    rows = [shifts(shifted, reach, -1) for shifted in shifts(images, reach, -2)]
    sums, weights = torch.zeros_like(images), torch.zeros_like(images)
    for (y, x), close in zip(disc, closeness, strict=True):
        other = rows[y + reach][x + reach]
        weight = close * torch.exp(-steepness * (other - images).square())
        sums, weights = sums + weight * other, weights + weight
    return sums / weights


# --- shifted views ---


def shifts(images: Tensor, reach: int, axis: int) -> list[Tensor]:
    """Views of the mirrored images, shifted by ``-reach`` to ``reach`` pixels.

    Put together from flips, because ``torch.nn.functional.pad`` mirrors only certain numbers of axes, and its gradient
    on CUDA repeats no bits.
    """
    side = images.shape[axis]
    before = images.narrow(axis, 1, reach).flip(axis)
    after = images.narrow(axis, side - 1 - reach, reach).flip(axis)
    mirrored = torch.cat((before, images, after), axis)
    return [mirrored.narrow(axis, start, side) for start in range(2 * reach + 1)]


# --- compiled loops ---


def is_compiled(images: Tensor) -> bool:
    """Whether the compiled loops can do it."""
    wanted = images.requires_grad and torch.is_grad_enabled()
    plain = type(images) is Tensor and images.dtype == torch.float32 and images.device.type == "cpu"
    return plain and not wanted and images.numel() > 0 and LOOPS.loaded


def _each(images: Tensor, loop: Callable[..., int]) -> Tensor | None:
    """Run a compiled loop over all images, some in each thread; None where it leaves them to torch."""
    images = images.contiguous()
    result = torch.empty_like(images)
    height, width = images.shape[-2:]
    size = height * width
    count = images.numel() // size

    def run(first: int, last: int) -> int:
        places = (images.data_ptr() + 4 * first * size, result.data_ptr() + 4 * first * size)
        return loop(*places, last - first, height, width)

    statuses = in_threads(run, count, images.numel())
    if _NO_MEMORY in statuses:
        raise MemoryError
    return None if any(statuses) else result
