"""A grid of distorted images while the network that distorts them trains: how the same images change."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_cxraug.errors import ConfigError
from monai_cxraug.handlers.sample_grid import SampleGrid


class DistortionGrid(SampleGrid):
    """Writes what a ``DistortionTrainer`` makes of fixed images, every so many images seen and at the end.

    Rows are: the originals, what the network sees, what it makes of it, and what is wanted.

    Args:
        folder: where the PNG files go.
        pictures: the originals, ``[H, W]`` or ``[C, H, W]`` each, in [0, 1].
        every: images seen between grids.
        writer: TensorBoard ``SummaryWriter``, if wanted.
        seed: of corruptions and distortions.

    Raises:
        ConfigError: there is no picture, or ``every`` is below 1.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        pictures: Sequence[NDArray[np.float32]],
        every: int = 10_000,
        writer: Any = None,
        seed: int = 0,
    ) -> None:
        if not len(pictures):
            raise ConfigError("DistortionGrid(pictures)", "must be at least one", "none", "give some originals")
        super().__init__(folder, every, 4 * len(pictures), len(pictures), writer, seed)
        images = torch.from_numpy(np.stack(pictures))
        self.images = images[:, None] if images.ndim == 3 else images  # [N, C, H, W]

    @torch.no_grad()
    def sample(self, engine: Any) -> Tensor:
        """The four rows, ``[4 * N, C, H, W]``, by the network in evaluation mode."""
        seeds = [self.seed + number for number in range(len(self.images))]
        views, training = engine.views(self.images.to(engine.state.device), seeds), engine.network.training
        engine.network.eval()
        made = engine.make(views.given)
        engine.network.train(training)
        return torch.cat([views.original, views.given, made, views.wanted]).cpu()
