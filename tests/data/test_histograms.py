"""Histograms of classes against counting by hand, and their figure."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.histograms import Histograms
from monai_cxraug.errors import ConfigError
from monai_cxraug.experiments.commands import CountLevels
from monai_cxraug.reporting.histograms import DrawHistograms
from monai_cxraug.transforms.functional.contrast import equalise


@pytest.mark.parametrize("contrast", [None, "equalise"])
def test_counts_are_those_of_the_images(tmp_path: Path, make_set, contrast: str | None) -> None:
    path = make_set(tmp_path)
    rows, done = PackRows(path, "train"), []
    found = Histograms(path, contrast, progress=lambda *step: done.append(step)).count()
    assert done[-1] == (len(rows), len(rows))
    labels = rows.label_matrix()
    for k, name in enumerate(rows.findings):
        mine = np.flatnonzero(labels[:, k] == 1)
        if not len(mine):
            assert name not in found
            continue
        assert found[name]["images"] == len(mine)
        stored = np.stack([rows.pack.array[rows.rows[row]] for row in mine])
        assert found[name]["before"] == np.bincount(stored.ravel(), minlength=256).tolist()
        if contrast:
            after = torch.cat([equalise(torch.from_numpy(one.copy()))[None] for one in stored])
            assert found[name]["after"] == np.bincount(after.numpy().ravel(), minlength=256).tolist()
        else:
            assert "after" not in found[name]


@pytest.mark.parametrize("contrast", [None, "equalise"])
def test_of_a_picture_in_colour_the_luma_is_counted(tmp_path: Path, make_colour_set, contrast: str | None) -> None:
    path = make_colour_set(tmp_path, side=16)
    rows, found = PackRows(path, "train"), Histograms(path, contrast).count()
    mine = np.flatnonzero(rows.label_matrix()[:, 0] == 1)
    before, after = np.zeros((2, 256), dtype=np.int64)
    for row in mine:
        luma = np.rint(rows.pack.array[rows.rows[row]] @ [0.299, 0.587, 0.114]).astype(np.uint8)
        before += np.bincount(luma.ravel(), minlength=256)
        changed = PackRows(path, "train", contrast=contrast).sample(int(row))["image"].numpy()
        levels = np.rint(255 * np.tensordot([0.299, 0.587, 0.114], changed, 1)).astype(np.uint8)
        after += np.bincount(levels.ravel(), minlength=256)
    assert found["Edema"]["before"] == before.tolist()
    if contrast:
        assert np.abs(np.cumsum(np.array(found["Edema"]["after"]) - after)).max() <= 2  # half-way values


def test_the_figure_and_its_counts(tmp_path: Path, make_set, capsys: pytest.CaptureFixture[str]) -> None:
    path, figure = make_set(tmp_path), tmp_path / "h.svg"
    CountLevels(path, tmp_path / "h.json", "equalise").run()
    DrawHistograms(tmp_path / "h.json", figure).run()
    root = ET.fromstring(figure.read_text())
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    document = json.loads(figure.with_suffix(".json").read_text())
    assert {"before", "equalise", *document["classes"]} <= set(texts)
    lines = [element for element in root.iter() if element.tag.endswith("polyline")]
    assert len(lines) == 2 * len(document["classes"])
    assert capsys.readouterr().out.strip() == str(figure)


def test_an_unknown_change_is_refused(tmp_path: Path, make_set) -> None:
    with pytest.raises(ConfigError, match="did you mean 'equalise'"):
        CountLevels(make_set(tmp_path), tmp_path / "h.json", "equalize").run()
    assert not (tmp_path / "h.json").exists()
