"""Pictures of what each code of a generator does: the same noise, one code going through its values."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from monai_cxraug.errors import ConfigError
from monai_cxraug.handlers.sample_grid import SampleGrid, to_bytes, write_png
from monai_cxraug.networks.latents import Layout, layout_of

#: pixels between images, and height of a line of text above them.
_GAP, _LINE = 2, 14

Bytes = npt.NDArray[np.uint8]
#: images ``[N, C, H, W]`` in [0, 1] of latents ``[N, size]``.
Make = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Traversal:
    """Images in which one code goes through its values, and everything else stays along a row.

    Args:
        name: of the code.
        values: of the code, one a column.
        images: ``[rows, columns, C, H, W]`` in [0, 1].
    """

    name: str
    values: list[float]
    images: Tensor

    @property
    def whole(self) -> bool:
        """Whether the values are numbers of categories."""
        return all(isinstance(value, int) for value in self.values)

    def draw(self) -> Bytes:
        """The picture ``[H, W]``, or ``[H, W, 3]`` in colour: the code's name, its values, and a row for each noise."""
        from PIL import Image, ImageDraw

        rows, columns, channels, height, width = self.images.shape
        shape = (2 * _LINE + rows * (height + _GAP), columns * (width + _GAP), channels)
        picture = np.full(shape[:2] if channels == 1 else shape, 255, dtype=np.uint8)
        for row in range(rows):
            for column in range(columns):
                top, left = 2 * _LINE + row * (height + _GAP), column * (width + _GAP)
                picture[top : top + height, left : left + width] = to_bytes(self.images[row, column])
        page = Image.fromarray(picture)
        pen, ink = ImageDraw.Draw(page), 0 if channels == 1 else (0, 0, 0)
        pen.text((2, 1), f"{self.name}; a row is one noise", fill=ink)
        for column, value in enumerate(self.values):
            text = str(value) if self.whole else f"{value:+.2f}"
            pen.text((column * (width + _GAP) + 2, _LINE + 1), text, fill=ink)
        return np.asarray(page)


def traverse(layout: Layout, make: Make, name: str, rows: int = 6, columns: int = 7, seed: int = 0) -> Traversal:
    """Make the images of one code's traversal.

    Args:
        layout: of the latents.
        make: images of latents.
        name: of the code. A category goes through all of its choices, a continuous code from -1 to 1.
        rows: noise vectors, each with other codes of its own.
        columns: values of a continuous code.
        seed: of the latents.

    Raises:
        ConfigError: no such code.
    """
    choices = layout.choices(name)
    values: list[float] = list(range(choices)) if choices else np.linspace(-1.0, 1.0, columns).tolist()
    latents = layout.draw(seed, 0, rows)
    images = torch.stack([make(layout.fix(latents, {name: value})) for value in values], dim=1)
    return Traversal(name, values, images.float().clamp(0.0, 1.0).cpu())


class Traversals(SampleGrid):
    """Writes ``<code>_<images seen>.png`` for each code every so many images and at the end, and to TensorBoard.

    The averaged generator draws. A generator without codes has nothing to show.

    Args:
        folder: where the PNG files go.
        every: images seen between pictures.
        rows: noise vectors.
        columns: values of a continuous code, at least 2.
        writer: TensorBoard ``SummaryWriter``, if wanted.
        seed: of the latents.

    Raises:
        ConfigError: a number is out of range.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every: int = 50_000,
        rows: int = 6,
        columns: int = 7,
        writer: Any = None,
        seed: int = 0,
    ) -> None:
        super().__init__(folder, every, rows, _at_least_two(columns), writer, seed)

    @torch.no_grad()
    def draw(self, engine: Any) -> None:
        """Write the pictures now."""
        generator, growth, device = engine.ema.module, engine.state.phase.growth, engine.state.device
        layout, seen = layout_of(generator), engine.state.images_seen

        def make(latents: Tensor) -> Tensor:
            images: Tensor = generator(latents.to(device), **growth)
            return images

        for name in layout.names:
            picture = traverse(layout, make, name, self.count, self.columns, self.seed).draw()
            if self.writer is not None:
                form = "HW" if picture.ndim == 2 else "HWC"
                self.writer.add_image(f"traversals/{name}", picture, seen, dataformats=form)
            write_png(self.folder / f"{name}_{seen:09d}.png", picture)


@dataclass(frozen=True)
class WriteTraversals:
    """Writes the traversals of a finished generator: ``traversal_<code>.png`` for each code.

    Args:
        network: the generator; in evaluation.
        output_dir: folder to write.
        rows: noise vectors.
        columns: values of a continuous code, at least 2.
        seed: of the latents.
        device: where the images are made.
    """

    network: nn.Module
    output_dir: str | Path
    rows: int = 6
    columns: int = 7
    seed: int = 0
    device: str = "cpu"

    @torch.no_grad()
    def run(self) -> list[Path]:
        """Write the pictures and return their paths.

        Raises:
            ConfigError: the generator has no codes, or a number is out of range.
        """
        if self.rows < 1:
            raise ConfigError("rows", "must be at least 1", self.rows, "give noise vectors to show")
        layout, network = layout_of(self.network), self.network.to(self.device).eval()
        if not layout.names:
            raise ConfigError("traversal", "needs a generator with codes", "one of noise alone", "give an InfoGAN")
        paths = []
        for name in layout.names:
            made = traverse(
                layout, lambda z: network(z.to(self.device)), name, self.rows, _at_least_two(self.columns), self.seed
            )
            paths.append(Path(self.output_dir) / f"traversal_{name}.png")
            write_png(paths[-1], made.draw())
        return paths


def _at_least_two(columns: int) -> int:
    if columns < 2:
        raise ConfigError("columns", "must be at least 2: a code has two ends", columns, "7 shows the steps between")
    return columns
