from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from monai_cxraug.engines.distortion import DistortionTrainer
from monai_cxraug.errors import ConfigError
from monai_cxraug.handlers.distortion_grid import DistortionGrid
from monai_cxraug.networks.encoder_decoder import EncoderDecoder

PICTURES = [np.full((8, 8), grey, dtype=np.float32) for grey in (0.2, 0.6)]


def run(handler: Any) -> DistortionTrainer:
    network = EncoderDecoder(layers=2, width=2, dropout_layers=1)  # evaluation differs from training
    optimizer = torch.optim.SGD(network.parameters(), 0.0)
    engine = DistortionTrainer(
        "cpu",
        [{"image": torch.rand(2, 1, 8, 8)}],
        network,
        optimizer,
        corrupt=lambda images, seeds: images / 2,
        distort=lambda images, seeds: images + torch.tensor([float(seed) for seed in seeds])[:, None, None, None] / 10,
        steps=5,
        batch_size=2,
        epoch_length=1,
        train_handlers=[handler],
    )
    engine.run()
    return engine


def test_rows_are_originals_given_made_and_wanted(tmp_path: Path) -> None:
    engine = run(DistortionGrid(tmp_path, PICTURES, every=4))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"samples_{n:09d}.png" for n in (4, 8, 10)]
    grid = np.asarray(Image.open(tmp_path / "samples_000000010.png")) / 255
    assert grid.shape == (32, 16)
    cells = grid.reshape(4, 8, 2, 8)
    for column, grey in enumerate((0.2, 0.6)):
        np.testing.assert_allclose(cells[0, :, column], grey, atol=0.002)
        np.testing.assert_allclose(cells[1, :, column], grey / 2, atol=0.002)
        np.testing.assert_allclose(cells[3, :, column], grey + column / 10, atol=0.002)
        with torch.no_grad():
            made: Tensor = engine.network.eval()(torch.full((1, 1, 8, 8), grey / 2))
        np.testing.assert_allclose(cells[2, :, column], made[0, 0].numpy(), atol=0.003)


def test_looking_changes_nothing(tmp_path: Path) -> None:
    handler = DistortionGrid(tmp_path, PICTURES, every=1)
    engine = run(handler)
    engine.network.train()
    state = {name: value.clone() for name, value in engine.network.state_dict().items()}
    draws = engine.draws.get_state()
    handler.draw(engine)
    assert engine.network.training
    assert all(torch.equal(state[name], value) for name, value in engine.network.state_dict().items())
    assert torch.equal(draws, engine.draws.get_state())


def test_tensorboard_is_told(tmp_path: Path) -> None:
    written: list[Any] = []
    writer = SimpleNamespace(add_image=lambda *given: written.append(given))
    run(DistortionGrid(tmp_path, PICTURES, every=100, writer=writer))
    assert [(name, images.shape, seen) for name, images, seen in written] == [("samples", (1, 32, 16), 10)]


def test_no_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"DistortionGrid\(pictures\): must be at least one"):
        DistortionGrid(tmp_path, [])
