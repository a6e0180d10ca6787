"""Class activation maps: which images are shown, and where the light falls."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from numpy.testing import assert_array_equal
from PIL import Image
from torch import Tensor, nn

from monai_cxraug.handlers.activation_maps import ActivationMaps, beside, choose_telling
from monai_cxraug.predictions import Predictions


class Corners(nn.Module):
    """Passes its first channel at the top left and its second at the bottom right."""

    def forward(self, features: Tensor) -> Tensor:
        kept = torch.zeros_like(features)
        kept[:, 0, :1, :1] = features[:, 0, :1, :1]
        kept[:, 1, -1:, -1:] = features[:, 1, -1:, -1:]
        return kept


class Corner(nn.Module):
    """Its evidence for the first finding is what is bright at the top left, for the second, at the bottom right."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 1, bias=False)
        nn.init.ones_(self.first.weight)
        self.corners = nn.Sequential(nn.AvgPool2d(8), Corners())

    def activation_layer(self, size: int) -> tuple[str, int]:
        return "corners", size // 8

    def forward(self, images: Tensor) -> Tensor:
        return self.corners(self.first(images)).sum(dim=(2, 3))


def answers(labels: np.ndarray) -> Predictions:
    probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6], [0.1, 0.9], [0.6, 0.4]])
    names = [f"{k}.png" for k in range(6)]
    return Predictions(names, names, ("Edema", "Mass / Nodule"), labels, probs)


LABELS = np.array([[1, 0], [1, 1], [0, 1], [0, 0], [0, np.nan], [1, 1]])


def test_the_telling_ones_are_chosen_surest_first() -> None:
    table = answers(LABELS)
    assert choose_telling(table, 0, 2) == {
        "present, thought likely": [0, 5],
        "present, thought unlikely": [1, 5],
        "absent, thought likely": [2, 3],
    }
    assert choose_telling(table, 1, 5) == {
        "present, thought likely": [1, 5, 2],
        "present, thought unlikely": [2, 5, 1],
        "absent, thought likely": [3, 0],
    }
    assert choose_telling(answers(np.full((6, 2), np.nan)), 1, 2) == {"thought likeliest": [4, 1]}


def write(folder: Path, labels: np.ndarray, count: int = 1) -> dict:
    table = answers(labels)
    table.write(folder / "predictions.csv")
    dataset = [{"image": torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(k))} for k in range(6)]
    engine = Engine(lambda engine, batch: None)
    ActivationMaps(folder / "maps", Corner().eval(), dataset, folder / "predictions.csv", count).attach(engine)
    with torch.no_grad():
        engine.run([0])
    return json.loads((folder / "maps" / "maps.json").read_text())


def test_the_light_falls_where_the_evidence_is(tmp_path: Path) -> None:
    document = write(tmp_path, LABELS)
    assert (document["layer"], document["places"], len(document["maps"])) == ("corners", 4, 6)
    for entry in document["maps"]:
        picture = np.asarray(Image.open(tmp_path / "maps" / entry["file"])).astype(int)
        side = (picture.shape[1] - picture.shape[1] % 32) // 2
        tint = np.abs(picture[:, -side:, 0] - picture[:, -side:, 2])  # grey has none
        quarter = side // 4
        top, bottom = tint[:quarter, :quarter].mean(), tint[-quarter:, -quarter:].mean()
        assert (top > 5 * bottom) == (entry["finding"] == "Edema")
        assert (picture[:, :side, 0] == picture[:, :side, 2]).all()


def test_what_was_chosen_is_written_down_and_what_was_there_is_gone(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "old.png").touch()
    document = write(tmp_path, np.full((6, 2), np.nan), 2)
    assert [(entry["finding"], entry["image"], entry["label"]) for entry in document["maps"]] == [
        ("Edema", "0.png", None),
        ("Edema", "2.png", None),
        ("Mass / Nodule", "4.png", None),
        ("Mass / Nodule", "1.png", None),
    ]
    files = sorted(path.relative_to(tmp_path / "maps").as_posix() for path in (tmp_path / "maps").rglob("*.png"))
    assert files == sorted(entry["file"] for entry in document["maps"])
    assert files[-1] == "Mass_Nodule/thought_likeliest_2.png"


@pytest.mark.parametrize("channels", [1, 3])
def test_the_picture_keeps_every_pixel_and_tints_by_the_map(channels: int) -> None:
    image = np.random.default_rng(0).random((channels, 100, 100), dtype=np.float32)
    heat = np.zeros((100, 100), dtype=np.float32)
    heat[50:] = 1
    drawn = np.asarray(beside(image, heat))
    assert drawn.shape == (200, 402, 3)
    expected = np.rint(np.broadcast_to(image.transpose(1, 2, 0), (100, 100, 3)) * 255)
    assert_array_equal(drawn[::2, :200:2], expected)
    assert_array_equal(drawn[:100:2, 202::2], expected[:50])
    full = np.rint(0.4 * image.transpose(1, 2, 0) * 255 + 0.6 * np.array([255, 122, 0]))
    assert np.abs(drawn[100::2, 202::2] - full[50:]).max() <= 1


def test_images_drawn_together_look_as_they_do_alone(tmp_path: Path) -> None:
    labels = np.array([[1, 0], [1, 0], [1, 1], [0, 1], [0, 0], [0, 1]], dtype=float)
    (tmp_path / "one").mkdir()
    (tmp_path / "three").mkdir()
    alone, together = write(tmp_path / "one", labels, 1), write(tmp_path / "three", labels, 3)
    assert len(together["maps"]) > len(alone["maps"])
    for entry in alone["maps"]:
        assert entry in together["maps"]
        one, three = ((tmp_path / name / "maps" / entry["file"]).read_bytes() for name in ("one", "three"))
        assert one == three
