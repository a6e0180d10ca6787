from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.weights import save_model
from monai_cxraug.study.files import Study
from monai_cxraug.study.observers import Observer
from tests.study.report.studies import answer, known_distance, make_study


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Three tasks, eight patients."""
    return make_study(tmp_path_factory.mktemp("study") / "study")


@pytest.fixture(scope="session")
def observers(study: Study) -> list[Observer]:
    """Three readers who see SSIM with noise, and one who does not look."""
    known = known_distance(study, "SSIM")
    seeing = [Observer(f"sim-{k}", known, noise=0.4, seed=k, d_prime=1.5) for k in range(3)]
    return [*seeing, Observer("careless", known, lapses=1.0, left=0.9, seed=8)]


@pytest.fixture(scope="session")
def answers(study: Study, observers: list[Observer], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with their answers."""
    return answer(tmp_path_factory.mktemp("answers"), study, observers)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small classifier with random weights, of 16 px images; it saw one patient of the study."""
    path = tmp_path_factory.mktemp("model") / "model.pt"
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = Classifier(2, "small_cnn")
    save_model(path, "classifier", network, {"findings": ["A", "B"], "size": 16, "patients_seen": ["p1", "q"]})
    return path
