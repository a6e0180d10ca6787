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


def small_experiment(manifest: Path, **changes: Any) -> Experiment:
    """Seconds of real training: two arms and two seeds at 16 px on the phantoms, judged on their test patients."""
    splits = {"train": "train", "validation": "val", "test": "test"}
    generator = {"total_images": 64, "fade_images": 8, "stable_images": 8, "latent_size": 8, "fmap_max": 8}
    values = {
        "name": "small",
        "data": {role: {"manifest": str(manifest), "split": split, "size": 16} for role, split in splits.items()},
        "findings": ["Effusion"],
        "arms": ["plain", "gan"],
        "budget": {
            "replicates": 100,
            "threads": 1,
            "classifier": {"architecture": "small_cnn", "steps": 3, "epoch_length": 3, "batch_size": 8},
            "generator": {**generator, "fmap_base": 32, "batch_size": 4, "epoch_length": 8, "grid_images": 64},
        },
        "endpoint": {"arm": "gan", "reference": "plain"},
    }
    return make_experiment(document(**{**values, **changes}), "small.yaml")


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory, phantom_manifest: Path) -> Path:
    """A finished run of the small experiment."""
    from monai_cxraug.experiments.runner import Runner

    folder = tmp_path_factory.mktemp("small")
    Runner(small_experiment(phantom_manifest), folder, say=lambda line: None).execute()
    return folder


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory, small_run: Path) -> Path:
    """Folder of bundles that ship the models of the small run."""
    from monai_cxraug.experiments.shipping import Shipping

    folder = tmp_path_factory.mktemp("shipped") / "bundles"
    Shipping(small_run, folder, names_are_public=True).ship()
    return folder
