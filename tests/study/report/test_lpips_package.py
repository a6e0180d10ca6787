"""Our definitions beside the package lpips, in an environment of its own: scores, and distances of the same weights."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_cxraug.metrics.forced_choice import sides, vote_credits
from monai_cxraug.metrics.just_noticeable import same_precision
from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.perceptual import PerceptualDistance

ROOT = Path(__file__).resolve().parents[3]
#: the layers of VGG-16 that LPIPS looks at: the last activation before each pooling, and the last of all.
VGG_LAYERS = tuple(f"features.{k}" for k in (3, 8, 15, 22, 29))
#: what LPIPS takes from images in [-1, 1] and divides them by.
SHIFT, SCALE = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def given() -> dict[str, np.ndarray]:
    """Judgements without ties in distance, and pairs of colour images."""
    rng = np.random.default_rng(5)
    first = rng.random(60)
    second = np.where(rng.random(60) < 0.2, first, rng.random(60))  # a forced choice may tie
    one = rng.random((3, 3, 64, 64)).astype(np.float32)
    two = np.clip(one + rng.normal(scale=0.1, size=one.shape), 0, 1).astype(np.float32)
    return {
        "first": first,
        "second": second,
        "share": rng.integers(0, 6, 60) / 5,
        "pair": rng.permutation(80) / 80.0,
        "same": rng.integers(0, 4, 80) / 3,
        "one": one,
        "two": two,
    }


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, given: dict[str, np.ndarray]) -> dict[str, Any]:
    """What the package says, and the folder with the weights; without its environment, the test is skipped."""
    python = Path(os.environ.get("CXRAUG_LPIPS_VENV") or ROOT / ".venv-lpips") / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no lpips at {python}: run 'make .venv-lpips', or set CXRAUG_LPIPS_VENV")
    folder = tmp_path_factory.mktemp("lpips")
    np.savez(folder / "given.npz", **given)  # type: ignore[arg-type]
    command = [python, Path(__file__).with_name("ask_lpips.py"), folder]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {**json.loads((folder / "answers.json").read_text()), "folder": folder}


def test_scores_are_those_of_the_package(given: dict[str, np.ndarray], package: dict[str, Any]) -> None:
    score = vote_credits(sides(given["first"], given["second"]), given["share"]).mean()
    precision = same_precision(given["pair"], given["same"])
    print(f"\n2AFC {score:.12f} and {package['scores']['2afc']:.12f}")
    print(f"JND {precision:.12f} and {package['scores']['jnd']:.12f}")
    assert score == pytest.approx(package["scores"]["2afc"], abs=1e-12)
    assert precision == pytest.approx(package["scores"]["jnd"], abs=1e-12)


@pytest.mark.parametrize("kind", ["plain", "weighted"])
def test_distances_of_the_same_weights_are_equal(
    kind: str, given: dict[str, np.ndarray], package: dict[str, Any]
) -> None:
    classifier = Classifier(1, "vgg16", channels=3, mean=0.0, std=1.0)
    weights = torch.load(package["folder"] / "vgg.pth", weights_only=True)
    missing = classifier.body.load_state_dict(weights, strict=False)
    assert not missing.unexpected_keys
    assert not [name for name in missing.missing_keys if name.startswith("features")]
    distance = PerceptualDistance(classifier, VGG_LAYERS)
    found = package["distances"]["vgg"]
    if kind == "weighted":
        distance.set_weights(torch.tensor(found["weights"]).clamp_min(0))
    one, two = (
        (2 * torch.from_numpy(given[name]) - 1 - SHIFT[:, None, None]) / SCALE[:, None, None] for name in ("one", "two")
    )
    with torch.no_grad():
        ours = distance(one, two).numpy()
    print(f"\n{kind}: ours {ours}, theirs {found[kind]}, apart {np.abs(ours - found[kind]).max():.1e}")
    np.testing.assert_allclose(ours, found[kind], atol=1e-5)


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_the_adapter_fills_the_package_from_a_file(net: str, package: dict[str, Any]) -> None:
    found = package["distances"][net]
    np.testing.assert_allclose(found["adapter"], found["grey"], atol=1e-7)
