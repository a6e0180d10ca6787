"""A small real run: phantoms, one rare finding, two seeds, trained once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monai_cxraug.experiments.experiment import Experiment, make_experiment


def document(**changes: Any) -> dict[str, Any]:
    """A valid experiment as plain values."""
    images = {"source": "phantom", "size": 32, "count": 240}
    values: dict[str, Any] = {
        "name": "tiny",
        "data": {"train": {**images, "split": "train"}, "validation": {**images, "split": "val"}},
        "findings": ["Cardiomegaly", "Effusion"],
        "arms": ["plain", "duplicate_real", "gan"],
        "seeds": [0, 1],
        "budget": {"replicates": 200, "threads": 1},
        "endpoint": {"arm": "gan", "reference": "duplicate_real"},
    }
    return {**values, **changes}


@pytest.fixture
def experiment() -> Experiment:
    return make_experiment(document(), "tiny.yaml")


def smoke_run(folder: Path, scheduler: str | None = None, **changes: Any) -> tuple[Path, list[str]]:
    """Run the tiny experiment with one seed; its folder and the lines it said."""
    from monai_cxraug.experiments.runner import Runner

    lines: list[str] = []
    experiment = make_experiment(document(seeds=[0], **changes), "x")
    Runner(experiment, folder, smoke=True, say=lines.append, scheduler=scheduler).execute()
    return folder, lines


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, made in this process."""
    return smoke_run(tmp_path_factory.mktemp("run"))[0]


@pytest.fixture(scope="session")
def phantom_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from monai_cxraug.data.prepare import Request, prepare

    return prepare(Request("phantom", size=32, count=240), tmp_path_factory.mktemp("phantom"))
