"""The contact sheet shows every split and finding, the right way up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_cxraug.data.contact_sheet import choose_rows, write_contact_sheet
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.pack import write_pack

TILE, ROW = 96, 110


def manifest(splits: list[str], labels: np.ndarray, findings: tuple[str, ...] = ("Edema", "부종")) -> Manifest:
    rows = [{"image": f"{row}.png", "source": "real", "split": split} for row, split in enumerate(splits)]
    return Manifest(make_columns(rows), findings, labels.astype(np.float32))


def test_every_split_and_finding_is_shown() -> None:
    labels = np.zeros((1000, 2))
    labels[[700, 998]] = 1  # the same image is the only one of two findings in train
    labels[701, 1] = labels[500, 0] = 1
    splits = ["train"] * 990 + ["test"] * 10
    rows = choose_rows(manifest(splits, labels))
    assert len(rows) == 60
    assert list(rows.items())[:3] == [(500, "train Edema"), (700, "train 부종"), (998, "test Edema")]
    assert max(np.diff(sorted(rows))) < 40
    few = choose_rows(manifest(["train"] * 3, np.zeros((3, 2))))
    assert few == {0: "train", 1: "train", 2: "train"}
    many = tuple(f"f{k}" for k in range(70))
    assert len(choose_rows(manifest(["train"] * 80, np.eye(80, 70), many))) == 70


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pictures_are_upright(tmp_path: Path, dtype: type) -> None:
    slope = np.add.outer(np.arange(12) * 13, np.arange(12) * 3)
    pictures = np.stack([slope + row for row in range(12)]).astype(dtype) * (257 if dtype is np.uint16 else 1)
    labels = np.zeros((12, 2))
    labels[5, 1] = 1
    write_pack(tmp_path, pictures.astype(dtype), [f"{row}.png" for row in range(12)])
    table = manifest(["train"] * 12, labels)
    write_contact_sheet(tmp_path, table)
    sheet = np.asarray(Image.open(tmp_path / "contact_sheet.png"), dtype=float)
    assert sheet.shape == (2 * ROW, 10 * TILE)
    for place, row in enumerate(choose_rows(table)):
        top, left = place // 10 * ROW, place % 10 * TILE
        tile = sheet[top : top + TILE, left : left + TILE].reshape(12, 8, 12, 8).mean((1, 3))
        assert np.abs(tile - (slope + row)).max() < 8
        caption = sheet[top + TILE : top + ROW, left : left + TILE]
        assert caption.max() > 100
    assert (sheet[ROW:, 2 * TILE :] == 0).all()


def test_pictures_in_colour(tmp_path: Path) -> None:
    slope = np.add.outer(np.arange(12) * 13, np.arange(12) * 3)
    pictures = np.stack([np.stack([slope, 200 - slope // 2, np.full_like(slope, 30 * row)], 2) for row in range(3)])
    write_pack(tmp_path, pictures.astype(np.uint8), [f"{row}.png" for row in range(3)])
    write_contact_sheet(tmp_path, manifest(["train"] * 3, np.zeros((3, 2))))
    with Image.open(tmp_path / "contact_sheet.png") as picture:
        assert picture.mode == "RGB"
        sheet = np.asarray(picture, dtype=float)
    for row in range(3):
        tile = sheet[:TILE, row * TILE : (row + 1) * TILE].reshape(12, 8, 12, 8, 3).mean((1, 3))
        assert np.abs(tile - pictures[row]).max() < 8
    caption = sheet[TILE:ROW, :TILE]
    assert (caption[..., 0] == caption[..., 2]).all()
    assert caption.max() > 100
