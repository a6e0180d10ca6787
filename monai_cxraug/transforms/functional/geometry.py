"""Affine changes of place, many images at once, each by a matrix of its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the customary name)

from monai_cxraug.errors import InputError
from monai_cxraug.transforms.functional.filters import in_float


def affine(images: Tensor, matrices: Tensor) -> Tensor:
    """Resample images bilinearly; beyond their borders is black.

    Args:
        images: floating point in [0, 1] or uint8, ``[N, C, H, W]``.
        matrices: ``[N, 2, 3]``: from a pixel of the result to the place in the image it is taken from, as (x, y) in
            pixels from the image's centre, x to the right and y downwards.

    Returns:
        The same shape, type and device.

    Raises:
        InputError: another type or shape, or another number of matrices.
    """
    if images.ndim != 4 or matrices.shape != (len(images), 2, 3):
        found = f"{list(images.shape)} and {list(matrices.shape)}"
        raise InputError("images", "must be [N, C, H, W] with a matrix [2, 3] each", found)
    return in_float(images, 0, lambda unit: _affine(unit, matrices))


def _affine(images: Tensor, matrices: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    half = torch.tensor([width / 2, height / 2], dtype=images.dtype)
    # grid_sample counts from -1 to 1 between the outer edges of the outermost pixels
    scale = torch.cat([half, torch.ones(1, dtype=half.dtype)])
    relative = matrices.to("cpu", images.dtype) * scale / half[:, None]
    grid = F.affine_grid(relative.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
