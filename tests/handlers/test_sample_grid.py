from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from PIL import Image
from torch import Tensor, nn

from monai_cxraug.engines.schedule import ProgressiveSchedule
from monai_cxraug.errors import ConfigError
from monai_cxraug.handlers.sample_grid import SampleGrid, tile, to_bytes


class Stripes(nn.Module):
    """A generator whose image k is flat, so that its place in the grid can be read."""

    latent_size, resolution = 3, 16

    def forward(self, z: Tensor, resolution: int, alpha: float, labels: None) -> Tensor:
        return torch.arange(len(z), dtype=torch.float32)[:, None, None, None].expand(-1, 1, resolution, resolution) / 10


def run(handler: SampleGrid, images: int, batch: int = 10, already: int = 0) -> Any:
    """An engine that only counts images."""
    schedule = ProgressiveSchedule(16, 20, 20, 1000)

    def step(engine: Any, _: Any) -> dict[str, float]:
        engine.state.images_seen += batch
        engine.state.phase = schedule.at(engine.state.images_seen)
        return {}

    engine: Any = Engine(step)
    engine.ema = SimpleNamespace(module=Stripes())
    engine.example_labels = lambda n: None
    engine.state.images_seen, engine.state.device = already, torch.device("cpu")
    handler.attach(engine)
    engine.run([0] * ((images - already) // batch), max_epochs=1)
    return engine


def test_grids_come_when_due_and_at_the_end(tmp_path: Path) -> None:
    run(SampleGrid(tmp_path, every=25, count=6, columns=4), 110)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        f"samples_{n:09d}.png" for n in (30, 50, 80, 100, 110)
    ]


def test_a_resumed_run_draws_only_what_is_new(tmp_path: Path) -> None:
    run(SampleGrid(tmp_path, every=50, count=1), 150, already=90)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["samples_000000100.png", "samples_000000150.png"]


def test_the_grid_shows_the_current_phase_at_full_size(tmp_path: Path) -> None:
    written: list[tuple[str, Tensor, int]] = []
    writer = SimpleNamespace(add_image=lambda *arguments: written.append(arguments))
    run(SampleGrid(tmp_path, every=30, count=6, columns=4, writer=writer), 30)
    picture = np.asarray(Image.open(tmp_path / "samples_000000030.png"))
    expected = np.kron(np.array([[0, 1, 2, 3], [4, 5, 0, 0]]), np.ones((16, 16))) * 25.5
    np.testing.assert_array_equal(picture, np.round(expected))
    tag, image, step = written[0]
    assert (tag, tuple(image.shape), step) == ("samples", (1, 32, 64), 30)


def test_tile_keeps_each_image_whole() -> None:
    images = torch.rand(5, 3, 4, 6)
    grid = tile(images, 2)
    assert grid.shape == (3, 12, 12)
    assert torch.equal(grid[:, 4:8, 6:12], images[3])
    assert torch.equal(grid[:, 8:12, 0:6], images[4])
    assert grid[:, 8:12, 6:12].abs().sum() == 0


def test_bytes_are_rounded_and_clamped() -> None:
    grey = to_bytes(torch.tensor([[[-0.2, 0.0, 0.499, 1.0, 1.7]]]))
    assert grey.tolist() == [[0, 0, 127, 255, 255]]
    assert to_bytes(torch.rand(3, 4, 6)).shape == (4, 6, 3)


@pytest.mark.parametrize("arguments", [{"every": 0}, {"count": 0}, {"columns": 0}])
def test_bad_settings_are_refused(tmp_path: Path, arguments: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        SampleGrid(tmp_path, **arguments)
