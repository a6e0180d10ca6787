"""Changes of images ``[N, C, H, W]`` that differ from image to image: pure, differentiable twice, no device waits."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the customary name)

#: the sampler's numbers for its modes.
_BILINEAR: Final = 0
_REFLECTION: Final = 2


class Frame(NamedTuple):
    """Size of an image in pixels."""

    height: int
    width: int


def warp(images: Tensor, frame: Frame, matrix: Tensor, shift: Tensor) -> Tensor:
    """Move images bilinearly; beyond the edge the image is mirrored (the edge pixel twice).

    The pixel at x of the result is the image at ``matrix @ (x - shift)``, with x (right, down) from the image's centre.

    Args:
        images: ``[N, C, H, W]``.
        frame: their size.
        matrix: ``[N, 2, 2]``, result to image.
        shift: ``[N, 2]`` in pixels.

    Returns:
        Images of the same shape.
    """
    # multiplied out: a matrix product would run in TF32 or bfloat16 where those are allowed, and misplace pixels
    across, down = _centred(frame.width, images), _centred(frame.height, images)
    right = across - shift[:, 0].to(images.dtype)[:, None, None]  # [N, 1, W]
    below = down[:, None] - shift[:, 1].to(images.dtype)[:, None, None]  # [N, H, 1]
    m = matrix.to(images.dtype)[..., None, None]  # [N, 2, 2, 1, 1]
    x = m[:, 0, 0] * right + m[:, 0, 1] * below  # [N, H, W]
    y = m[:, 1, 0] * right + m[:, 1, 1] * below
    grid = torch.stack([x * (2 / frame.width), y * (2 / frame.height)], dim=-1)  # edges at -1 and 1
    warped: Tensor = _Sample.apply(images, grid)  # type: ignore[no-untyped-call]
    return warped


class _Sample(torch.autograd.Function):
    """Bilinear sampling at a fixed grid: linear in the image, so that its derivatives are itself and its transpose.

    PyTorch's own has a second derivative in 2.13 but none in 2.11; this goes when 2.11 is no longer supported.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.shape = images.shape
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        return _Spread.apply(slope, *ctx.saved_tensors, ctx.shape), None  # type: ignore[no-untyped-call]


class _Spread(torch.autograd.Function):
    """The transpose of :class:`_Sample`: each value goes back to the pixels that it was mixed from."""

    @staticmethod
    def forward(ctx: Any, slope: Tensor, grid: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(grid)
        like = slope.new_zeros(1).expand(shape)  # its values matter to the grid's derivative only
        spread = torch.ops.aten.grid_sampler_2d_backward
        images: Tensor = spread(slope, like, grid, _BILINEAR, _REFLECTION, False, [True, False])[0]
        return images

    @staticmethod
    def backward(ctx: Any, images: Tensor) -> tuple[Tensor, None, None]:
        return _Sample.apply(images, *ctx.saved_tensors), None, None  # type: ignore[no-untyped-call]


def _centred(size: int, like: Tensor) -> Tensor:
    """Pixel centres, from the middle of the side: ``[size]``."""
    return torch.arange(size, device=like.device, dtype=like.dtype) - (size - 1) / 2


def cut_out(images: Tensor, frame: Frame, side: Tensor, centre_x: Tensor, centre_y: Tensor) -> Tensor:
    """Fill a rectangle with mid-grey.

    Args:
        images: ``[N, C, H, W]``.
        frame: their size.
        side: ``[N]``, the rectangle's sides over the image's; 0 is no rectangle.
        centre_x: ``[N]``, the centre over the width.
        centre_y: ``[N]``, the centre over the height.

    Returns:
        Images of the same shape.
    """
    inside_x = (_parts(frame.width, side) - centre_x[:, None]).abs() < side[:, None] / 2  # [N, W]
    inside_y = (_parts(frame.height, side) - centre_y[:, None]).abs() < side[:, None] / 2  # [N, H]
    return images.masked_fill((inside_y[:, :, None] & inside_x[:, None, :])[:, None], 0.5)


def _parts(size: int, like: Tensor) -> Tensor:
    """Pixel centres as parts of the side: ``[size]`` in (0, 1)."""
    return (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size


#: Weyl increment and multipliers of SplitMix64 (Steele, Lea and Flood 2014), as signed numbers.
_INCREMENT: Final = 0x9E3779B97F4A7C15 - 2**64
_FIRST: Final = 0xBF58476D1CE4E5B9 - 2**64
_SECOND: Final = 0x94D049BB133111EB - 2**64
_BITS: Final = 24


def gaussian_field(key_high: Tensor, key_low: Tensor, like: Tensor) -> Tensor:
    """White noise of unit variance that depends on key and pixel alone, hence the same on every device.

    Drawn on the CPU it would have to be moved, image by image; a device's own generator gives other numbers.

    Args:
        key_high: ``[N]``, whole numbers in [0, 2^24) of any type.
        key_low: ``[N]``, likewise.
        like: ``[N, C, H, W]``, gives shape, type and device.

    Returns:
        ``[N, C, H, W]``, standard normal by Box and Muller's formula from two 24-bit halves of a SplitMix64 output.
    """
    key = (key_high.long() << _BITS) | key_low.long()  # [N]
    index = torch.arange(1, math.prod(like.shape[1:]) + 1, device=like.device)
    bits = _scramble(key[:, None] + index * _INCREMENT)  # [N, C * H * W]
    mask = (1 << _BITS) - 1
    first, second = ((bits >> 40) & mask).to(like.dtype), (bits & mask).to(like.dtype)
    radius = (-2 * torch.log((first + 0.5) / 2**_BITS)).sqrt()
    return (radius * torch.cos(second * (2 * math.pi / 2**_BITS))).reshape(like.shape)


def _scramble(state: Tensor) -> Tensor:
    """SplitMix64's output function on 64-bit numbers; products wrap around."""
    state = (state ^ _shifted(state, 30)) * _FIRST
    state = (state ^ _shifted(state, 27)) * _SECOND
    return state ^ _shifted(state, 31)


def _shifted(state: Tensor, by: int) -> Tensor:
    """Shift right and fill with zeros, as for unsigned numbers."""
    return (state >> by) & ((1 << (64 - by)) - 1)
