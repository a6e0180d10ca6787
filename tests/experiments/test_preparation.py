"""Prepared images of an experiment: options reach the source, and a smoke run imitates each source."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.request import SOURCES, list_source
from monai_cxraug.data.sources.options import options_of
from monai_cxraug.experiments import preparation
from monai_cxraug.experiments.experiment import make_experiment
from monai_cxraug.experiments.preparation import Preparation, smoke_experiment
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


def test_roles_of_one_request_are_prepared_once(tmp_path: Path) -> None:
    spec = {"source": "phantom", "count": 40, "size": 16, "folds": 2}
    data = {"train": {**spec, "split": "train"}, "validation": {**spec, "split": "val"}}
    manifests = Preparation(tmp_path).manifests(make_experiment(document(data=data), "x").data)
    assert manifests["train"] == manifests["validation"]
    assert set(read_manifest(manifests["train"])["fold"]) == {"", "0", "1"}
