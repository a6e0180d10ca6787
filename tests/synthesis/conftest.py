"""A small untrained generator, and an untrained classifier, in model files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.pggan import ProgressiveGenerator
from monai_cxraug.networks.weights import save_model

FINDINGS = ["Mass", "Edema", "Fibrosis"]


@pytest.fixture
def make_generator(tmp_path: Path) -> Callable[..., Path]:
    """Write a generator of Edema that declares the patients it saw; returns its folder."""

    def make(seen: list[str], name: str = "generator", seed: int = 0, resolution: int = 16, channels: int = 1) -> Path:
        torch.manual_seed(seed)
        network = ProgressiveGenerator(
            resolution=resolution, latent_size=8, channels=channels, fmap_base=32, fmap_max=8
        )
        about = {
            "finding": "Edema",
            "findings": FINDINGS,
            "patients_seen": seen,
            "manifest": "0" * 64,
            "images_seen": 640,
        }
        save_model(tmp_path / name / "model.pt", "pggan", network, about)
        return tmp_path / name

    return make


@pytest.fixture(scope="session")
def _classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier(2)


@pytest.fixture
def make_classifier(tmp_path: Path, _classifier: Classifier) -> Callable[..., Path]:
    """Write a classifier of 32 px that declares the patients it saw; returns its folder."""

    def make(seen: list[str], name: str = "classifier", **about: object) -> Path:
        about = {"findings": FINDINGS[:2], "size": 32, "patients_seen": seen, **about}
        save_model(tmp_path / name / "model.pt", "classifier", _classifier, about)
        return tmp_path / name

    return make
