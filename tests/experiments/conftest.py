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


@pytest.fixture(scope="session")
def phantom_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from monai_cxraug.data.prepare import Request, prepare

    return prepare(Request("phantom", size=32, count=240), tmp_path_factory.mktemp("phantom"))
