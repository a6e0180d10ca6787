"""A grid of enlarged images while the network that enlarges them trains: how the same images change."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the customary name)

from monai_cxraug.engines.super_resolution import shrink
from monai_cxraug.errors import ConfigError
from monai_cxraug.handlers.sample_grid import SampleGrid


class ResolutionGrid(SampleGrid):
    """Writes what a ``SuperResolutionTrainer`` makes of fixed images, every so many images seen and at the end.

    Rows are: what the network is given, each pixel repeated; bicubic interpolation of it; what the averaged network
    makes of it; and the originals.

    Args:
        folder: where the PNG files go.
        pictures: the originals, ``[C, H, W]`` each, in [0, 1], all of one size.
        every: images seen between grids.
        writer: TensorBoard ``SummaryWriter``, if wanted.

    Raises:
        ConfigError: there is no picture, or ``every`` is below 1.
    """

    def __init__(
        self, folder: str | os.PathLike[str], pictures: Sequence[Tensor], every: int = 10_000, writer: Any = None
    ) -> None:
        if not len(pictures):
            raise ConfigError("ResolutionGrid(pictures)", "must be at least one", "none", "give some originals")
        super().__init__(folder, every, 4 * len(pictures), len(pictures), writer)
        self.images = torch.stack(list(pictures))  # [N, C, H, W]

    @torch.no_grad()
    def sample(self, engine: Any) -> Tensor:
        """The four rows, ``[4 * N, C, H, W]``."""
        scale = engine.scale
        height, width = (side // scale * scale for side in self.images.shape[2:])
        originals = self.images[:, :, :height, :width]
        given = shrink(originals, scale)
        repeated = F.interpolate(given, scale_factor=scale, mode="nearest")
        smooth = F.interpolate(given, scale_factor=scale, mode="bicubic", align_corners=False)
        made = [engine.ema.module(one.to(engine.state.device)).cpu() for one in given.split(1)]
        return torch.cat([repeated, smooth, *made, originals])
