"""How far an image's edges are from those that were wanted."""

from __future__ import annotations

import torch
from torch import Tensor


def edge_distance(images: Tensor, wanted: Tensor) -> Tensor:
    """Difference of edges, without regard to their direction (Mathieu et al. 2016, arXiv 1511.05440, equation 6).

    An edge is the absolute difference of two pixels that are neighbours in a row or in a column. Alpha is 1; the
    paper's sums are means here, so that the distance does not grow with the image.

    Args:
        images: ``[N, C, H, W]``, sides of at least 2.
        wanted: the same shape.

    Returns:
        Mean absolute difference over neighbours in rows plus that over neighbours in columns, a scalar of at least
        float32; in [0, 2] for images in [0, 1].
    """
    distances = [
        (_edges(images, axis) - _edges(wanted, axis)).abs().mean()
        for axis in (2, 3)  # down the columns, along the rows
    ]
    return torch.stack(distances).sum()


def _edges(images: Tensor, axis: int) -> Tensor:
    return images.to(torch.promote_types(images.dtype, torch.float32)).diff(dim=axis).abs()
