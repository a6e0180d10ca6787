"""The gallery shows every distortion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from monai_cxraug.transforms.functional.distortions.catalogue import CATALOGUE, GROUPS
from scripts import draw_distortions as gallery


def test_a_picture_for_each_group(tmp_path: Path) -> None:
    assert gallery.main([str(tmp_path)]) == 0
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == sorted(f"distortions_{group}.png" for group in GROUPS)
    for file in files:
        members = [one for one in CATALOGUE.values() if file.name == f"distortions_{one.group}.png"]
        assert file.stat().st_size < 300_000
        with Image.open(file) as picture:
            assert picture.height // 150 == len(members)
            assert (picture.mode == "RGB") == any(one.colour_only for one in members)


def test_originals_have_room_for_every_strength() -> None:
    for original, channels in ((gallery.make_radiograph(), 1), (gallery.make_colours(), 3)):
        assert original.shape == (channels, 64, 64)
        assert original.dtype == torch.uint8
        assert np.percentile(original.numpy(), 95) - np.percentile(original.numpy(), 5) > 60


def test_how_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    assert gallery.main([]) == 2
    assert "draw_distortions.py FOLDER" in capsys.readouterr().err
