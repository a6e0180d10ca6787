"""Traversals: what each cell shows, what a picture looks like, and when they are written."""

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

from monai_cxraug.engines.schedule import FixedSchedule
from monai_cxraug.errors import ConfigError
from monai_cxraug.handlers.traversals import Traversals, WriteTraversals, traverse
from monai_cxraug.networks.latents import Layout

LAYOUT = Layout(4, (3,), 1)


class Shows(nn.Module):
    """An image that shows its latent: the numbers of it as pixels of one row, moved to [0, 1]."""

    def __init__(self, channels: int = 1, layout: Layout | None = LAYOUT) -> None:
        super().__init__()
        self.channels, self.latent_size = channels, 8
        if layout is not None:
            self.layout = layout

    def forward(self, z: Tensor, labels: None = None) -> Tensor:
        shown = (z / 8 + 0.5)[:, None, None, :]  # [N, 1, 1, 8]
        return shown.expand(-1, self.channels, 8, -1)


def latents_in(images: Tensor) -> Tensor:
    return (images[..., 0, 0, :] - 0.5) * 8


@pytest.mark.parametrize(("name", "values"), [("category1", [0, 1, 2]), ("code1", [-1.0, -0.5, 0.0, 0.5, 1.0])])
def test_a_row_is_one_noise_and_a_column_one_value(name: str, values: list[float]) -> None:
    made = traverse(LAYOUT, Shows(), name, rows=3, columns=5, seed=2)
    assert made.values == values
    assert made.images.shape == (3, len(values), 1, 8, 8)
    found, drawn = latents_in(made.images), LAYOUT.draw(2, 0, 3)
    for row in range(3):
        for column, value in enumerate(values):
            expected = drawn[row].clone()
            if name == "code1":
                expected[7] = value
            else:
                expected[4:7] = torch.eye(3)[int(value)]
            torch.testing.assert_close(found[row, column], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_has_its_cells_in_place_below_two_lines_of_text(channels: int) -> None:
    made = traverse(LAYOUT, Shows(channels), "category1", rows=2)
    picture = made.draw()
    assert picture.shape == (28 + 2 * 10, 30) if channels == 1 else (48, 30, 3)
    expected = np.round(made.images[1, 2].numpy() * 255)
    cell = picture[28 + 10 : 28 + 18, 20:28]
    np.testing.assert_array_equal(cell if channels == 1 else np.moveaxis(cell, -1, 0), expected.squeeze())
    assert (picture[:28] < 128).any()  # something is written
    assert (picture[-1] == 255).all()


def run(handler: Traversals, network: nn.Module, images: int) -> None:
    def step(engine: Any, _: Any) -> dict[str, float]:
        engine.state.images_seen += 10
        return {}

    engine: Any = Engine(step)
    engine.ema = SimpleNamespace(module=network)
    engine.state.phase = FixedSchedule(8, 100, 2).at(0)
    engine.state.images_seen, engine.state.device = 0, torch.device("cpu")
    handler.attach(engine)
    engine.run([0] * (images // 10), max_epochs=1)


def test_they_are_written_now_and_then_and_at_the_end(tmp_path: Path) -> None:
    shown: list[tuple[str, tuple[int, ...], int]] = []
    writer = SimpleNamespace(
        add_image=lambda tag, image, step, dataformats: shown.append((tag, image.shape, step, dataformats))
    )
    run(Traversals(tmp_path, every=40, rows=2, writer=writer), Shows(), 90)
    names = [f"{name}_{seen:09d}.png" for name in ("category1", "code1") for seen in (40, 80, 90)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert [entry[0] for entry in shown] == ["traversals/category1", "traversals/code1"] * 3
    assert shown[0][1:] == ((48, 30), 40, "HW")
    assert np.asarray(Image.open(tmp_path / names[0])).shape == (48, 30)


def test_a_generator_without_codes_has_none(tmp_path: Path) -> None:
    run(Traversals(tmp_path / "none", every=40), Shows(layout=None), 90)
    assert not (tmp_path / "none").exists()
    with pytest.raises(ConfigError, match="needs a generator with codes"):
        WriteTraversals(Shows(layout=None), tmp_path / "none").run()


def test_a_finished_generator_is_shown_in_evaluation(tmp_path: Path) -> None:
    network = Shows(3)
    paths = WriteTraversals(network.train(), tmp_path / "deep", rows=1, columns=2).run()
    assert [path.name for path in paths] == ["traversal_category1.png", "traversal_code1.png"]
    assert not network.training
    assert np.asarray(Image.open(paths[1])).shape == (38, 20, 3)


def test_bad_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="columns"):
        Traversals(tmp_path, columns=1)
    with pytest.raises(ConfigError, match="every"):
        Traversals(tmp_path, every=0)
    with pytest.raises(ConfigError, match="columns"):
        WriteTraversals(Shows(), tmp_path, columns=1).run()
    with pytest.raises(ConfigError, match="rows"):
        WriteTraversals(Shows(), tmp_path, rows=0).run()
    with pytest.raises(ConfigError, match="must be one of category1, code1; found code2"):
        traverse(LAYOUT, Shows(), "code2")
