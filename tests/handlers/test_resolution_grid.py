from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from monai_cxraug.engines.super_resolution import SuperResolutionTrainer, shrink
from monai_cxraug.errors import ConfigError
from monai_cxraug.handlers.resolution_grid import ResolutionGrid
from monai_cxraug.networks.esrgan import EnlargingNetwork


def pictures(channels: int, side: int = 9) -> list[torch.Tensor]:
    return list(torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(0)))


def run(handler: Any, channels: int = 1) -> SuperResolutionTrainer:
    torch.manual_seed(0)
    network = EnlargingNetwork(channels, features=4, blocks=1, growth=2, residual=True)
    engine = SuperResolutionTrainer(
        "cpu",
        [{"image": torch.rand(2, channels, 8, 8)}],
        network,
        torch.optim.Adam(network.parameters(), 1e-2),
        pixel_steps=5,
        batch_size=2,
        epoch_length=1,
        train_handlers=[handler],
    )
    engine.run()
    return engine


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_are_given_bicubic_made_and_original(channels: int, tmp_path: Path) -> None:
    shown = pictures(channels)
    engine = run(ResolutionGrid(tmp_path, shown, every=4), channels)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"samples_{n:09d}.png" for n in (4, 8, 10)]
    grid = np.asarray(Image.open(tmp_path / "samples_000000010.png")) / 255
    assert grid.shape[:2] == (32, 16)
    cells = torch.from_numpy(grid.reshape(4, 8, 2, 8, channels)).permute(0, 2, 4, 1, 3).float()  # [row, image, C, H, W]
    originals = torch.stack(shown)[:, :, :8, :8]
    given = shrink(originals, 2)
    torch.testing.assert_close(cells[0], given.repeat_interleave(2, 2).repeat_interleave(2, 3), atol=0.003, rtol=0)
    torch.testing.assert_close(cells[2], engine.ema.module(given), atol=0.003, rtol=0)
    torch.testing.assert_close(cells[3], originals, atol=0.003, rtol=0)
    smooth = torch.nn.functional.interpolate(given, scale_factor=2, mode="bicubic").clamp(0, 1)
    torch.testing.assert_close(cells[1], smooth, atol=0.003, rtol=0)


def test_looking_changes_nothing(tmp_path: Path) -> None:
    handler = ResolutionGrid(tmp_path, pictures(1), every=1)
    engine = run(handler)
    engine.network.train()
    before = {name: value.clone() for name, value in engine.network.state_dict().items()}
    draws = engine.draws.get_state()
    handler.draw(engine)
    assert engine.network.training
    assert torch.equal(engine.draws.get_state(), draws)
    assert all(torch.equal(before[name], value) for name, value in engine.network.state_dict().items())


def test_there_must_be_something_to_show(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be at least one; found none"):
        ResolutionGrid(tmp_path, [])
