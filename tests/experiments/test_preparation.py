"""Prepared images of an experiment: options reach the source, and a smoke run imitates each source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.manifest import Manifest, make_columns, read_manifest
from monai_cxraug.data.pack import write_pack
from monai_cxraug.data.request import SOURCES, list_source
from monai_cxraug.data.sources.options import options_of
from monai_cxraug.experiments import preparation
from monai_cxraug.experiments.axis import place_counts
from monai_cxraug.experiments.experiment import make_experiment
from monai_cxraug.experiments.preparation import Preparation, fit_smoke_counts, smoke_experiment
from tests.experiments.conftest import document


@pytest.mark.parametrize(
    ("source", "options", "imitation", "finding"),
    [
        ("nih", {}, "nih", "Edema"),
        ("chexpert", {"uncertainty": "ones", "blank": "zeros"}, "chexpert", "Pleural Other"),
        ("folder", {"negative": "benign"}, "folder", "malignant"),
        ("kermany", {}, "kermany", "Pneumonia"),
    ],
)
def test_smoke_runs_imitate_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, options: dict[str, str], imitation: str, finding: str
) -> None:
    monkeypatch.setattr(preparation, "SMOKE_IMAGES", 130)
    spec = {"source": source, "images": "${CXRAUG_DATA}/x.zip", "options": options, "size": 256}
    elsewhere = {"labels": "/tables"} if "labels" in options_of(SOURCES[source]) else {}
    data = {"train": {**spec, **elsewhere, "split": "train"}, "validation": {**spec, **elsewhere, "split": "val"}}
    studied = {"findings": [finding]} if source == "folder" else {}
    experiment = make_experiment(document(data=data, **studied), "x")
    small = smoke_experiment(experiment, tmp_path)
    assert small.data.train.source == imitation
    assert small.data.train.options == (options if imitation == source else {})
    assert (small.data.train.split, small.data.validation.split) == ("train", "val")  # type: ignore[union-attr]
    listing = list_source(small.data.train.request(), tmp_path)
    assert finding in listing.findings
    assert {row["split"] for row in listing.rows} == {"train", "val", "test"}
    assert smoke_experiment(experiment, tmp_path).data == small.data  # written once


def test_classes_are_named_though_the_run_was_killed_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "SMOKE_IMAGES", 130)
    spec = {"source": "folder", "images": "x", "options": {"negative": "healthy"}}
    data = {"train": {**spec, "split": "train"}, "validation": {**spec, "split": "val"}}
    experiment = make_experiment(document(data=data, findings=["melanoma"]), "x")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(preparation, "_name_classes", stop)
        with pytest.raises(KeyboardInterrupt):
            smoke_experiment(experiment, tmp_path)
    listing = list_source(smoke_experiment(experiment, tmp_path).data.train.request(), tmp_path)
    assert listing.findings == ("melanoma",)


@pytest.mark.parametrize(("images", "counts"), [(12, [8, "all"]), (9, [8, "all"]), (8, [7, "all"]), (2, [1, "all"])])
def test_a_smoke_grid_keeps_fewer_than_all(tmp_path: Path, images: int, counts: list[object]) -> None:
    rows = [{"image": f"{k}", "patient_id": f"p{k}", "split": "train", "source": "real"} for k in range(20)]
    labels = (np.arange(20) < images).astype(np.float32)[:, None]
    write_pack(tmp_path, np.zeros((20, 4, 4), dtype=np.uint8), [row["image"] for row in rows])
    manifest = Manifest(make_columns(rows), ("Effusion",), labels, {"name": "x"}).write(tmp_path)
    studied = {"findings": ["Effusion"], "classes": ["Effusion"], "arms": ["plain", "duplicate_real"]}
    endpoint = {"arm": "duplicate_real", "reference": "plain"}
    top_up = {"finding": "Effusion", "real": [8, "all"]}
    experiment = make_experiment(document(**studied, endpoint=endpoint, top_up=top_up), "x")
    small = fit_smoke_counts(experiment, manifest)
    assert small.top_up is not None
    assert list(small.top_up.real) == counts
    _, scale = place_counts(small, PackRows(manifest, split="train"))
    assert scale is not None
    assert [count for _, count in scale.images] == [counts[0], images]


def test_other_experiments_are_left_alone(tmp_path: Path) -> None:
    experiment = make_experiment(document(), "x")
    assert fit_smoke_counts(experiment, tmp_path / "none") is experiment


def test_roles_of_one_request_are_prepared_once(tmp_path: Path) -> None:
    spec = {"source": "phantom", "count": 40, "size": 16, "folds": 2}
    data = {"train": {**spec, "split": "train"}, "validation": {**spec, "split": "val"}}
    manifests = Preparation(tmp_path).manifests(make_experiment(document(data=data), "x").data)
    assert manifests["train"] == manifests["validation"]
    assert set(read_manifest(manifests["train"])["fold"]) == {"", "0", "1"}
