"""A grid of samples from fixed latents while a GAN trains: how the same images grow."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from monai_cxraug.artifacts import atomic_path
from monai_cxraug.errors import ConfigError
from monai_cxraug.networks.latents import layout_of


def tile(images: Tensor, columns: int) -> Tensor:
    """Lay images out row by row; cells without an image are 0.

    Args:
        images: ``[N, C, H, W]``.
        columns: images in a row.

    Returns:
        ``[C, rows * H, columns * W]``.
    """
    n, channels, height, width = images.shape
    rows = math.ceil(n / columns)
    cells = images.new_zeros(rows * columns, channels, height, width)
    cells[:n] = images
    laid = cells.reshape(rows, columns, channels, height, width).permute(2, 0, 3, 1, 4)  # [C, rows, H, columns, W]
    return laid.reshape(channels, rows * height, columns * width)


def to_bytes(image: Tensor) -> npt.NDArray[np.uint8]:
    """Round an image ``[C, H, W]`` in [0, 1] to uint8 ``[H, W]``, or ``[H, W, C]`` for several channels."""
    scaled = (image.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).cpu().numpy()
    return scaled[0] if len(scaled) == 1 else np.moveaxis(scaled, 0, -1)


class SampleGrid:
    """Writes ``samples_<images seen>.png`` and a TensorBoard image every so many images and at the end.

    The averaged generator of a ``ProgressiveGanTrainer`` draws at the current phase, each finding in turn if it is
    conditional; each pixel is repeated up to the full resolution, so that all grids have one size.

    Args:
        folder: where the PNG files go.
        every: images seen between grids.
        count: samples in a grid.
        columns: samples in a row.
        writer: TensorBoard ``SummaryWriter``, if wanted.
        seed: of the latents.

    Raises:
        ConfigError: a number is below 1.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every: int = 10_000,
        count: int = 32,
        columns: int = 8,
        writer: Any = None,
        seed: int = 0,
    ) -> None:
        if min(every, count, columns) < 1:
            found = f"{every}, {count}, {columns}"
            raise ConfigError("SampleGrid", "every, count and columns must be at least 1", found)
        self.folder, self.every, self.count, self.columns = Path(folder), every, count, columns
        self.writer, self.seed = writer, seed
        self._last = 0

    def attach(self, engine: Engine) -> None:
        """Register on the engine."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._note_start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._draw_when_due)
        engine.add_event_handler(Events.COMPLETED, self._draw_at_end)

    def _note_start(self, engine: Any) -> None:
        self._last = engine.state.images_seen

    def _draw_when_due(self, engine: Any) -> None:
        if engine.state.images_seen // self.every > self._last // self.every:
            self.draw(engine)
        self._last = engine.state.images_seen

    def _draw_at_end(self, engine: Any) -> None:
        if engine.state.images_seen % self.every and engine.state.output is not None:
            self.draw(engine)

    def draw(self, engine: Any) -> None:
        """Write a grid now."""
        images = tile(self.sample(engine), self.columns)
        seen = engine.state.images_seen
        if self.writer is not None:
            self.writer.add_image("samples", images.clamp(0.0, 1.0), seen)
        write_png(self.folder / f"samples_{seen:09d}.png", to_bytes(images))

    @torch.no_grad()
    def sample(self, engine: Any) -> Tensor:
        """The averaged generator's images ``[count, C, R, R]`` at the current phase, R the full resolution."""
        generator, phase = engine.ema.module, engine.state.phase
        latents = layout_of(generator).sample(self.count, torch.Generator().manual_seed(self.seed))
        labels = engine.example_labels(self.count)
        images: Tensor = generator(latents.to(engine.state.device), **phase.growth, labels=labels)
        factor = generator.resolution // phase.resolution
        return images.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3).cpu()


def write_png(path: Path, picture: npt.NDArray[np.uint8]) -> None:
    """Write a picture ``[H, W]``, or ``[H, W, 3]`` in colour, atomically; its folder is made."""
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
