"""What MONAI's tools ask of a bundle: the properties of training and inference workflows, present and buildable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigWorkflow

from monai_cxraug.bundle_config import run_stage

ROOT = Path(__file__).resolve().parents[2] / "bundles"
BUNDLES = (
    "chest_xray_classification",
    "chest_xray_pggan",
    "chest_xray_distortion",
    "image_superresolution",
    "image_infogan",
)
EACH = pytest.mark.parametrize("bundle", BUNDLES)
OWN: dict[str, dict[str, Any]] = {
    "chest_xray_classification": {"size": 32, "architecture": "small_cnn"},
    "chest_xray_pggan": {"finding": "Edema"},
    "chest_xray_distortion": {},
    "image_superresolution": {},
    "image_infogan": {"finding": "Edema"},
}
ASKED: dict[str, dict[str, Any]] = {
    "chest_xray_classification": {},
    "chest_xray_pggan": {"finding": "Edema", "n": 2},
    "chest_xray_distortion": {},
    "image_superresolution": {"images": "nowhere"},
    "image_infogan": {"finding": "Edema", "n": 2},
}


@pytest.fixture(scope="module")
def trained(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folder of a throw-away model of each bundle."""
    folders = {}
    for bundle in BUNDLES:
        configs, out = ROOT / bundle / "configs", tmp_path_factory.mktemp(bundle)
        place = {"bundle_root": str(ROOT / bundle), "output_dir": str(out), "device": "cpu", "threads": 1}
        given = {"dataset_dir": str(manifest.parent), **OWN[bundle], **place}
        run_stage([configs / "train.json", configs / "smoke.json"], given)
        folders[bundle] = out
    return folders


def check(bundle: str, files: list[str], kind: str, **settings: Any) -> list[str] | None:
    configs = [str(ROOT / bundle / "configs" / f"{name}.json") for name in files]
    workflow = ConfigWorkflow(
        configs, logging_file=False, workflow_type=kind, bundle_root=str(ROOT / bundle), device="cpu", **settings
    )
    workflow.initialize()
    missing: list[str] | None = workflow.check_properties()
    return missing


@EACH
def test_training_has_every_property(bundle: str, manifest: Path, tmp_path: Path) -> None:
    place = {"output_dir": str(tmp_path), "dataset_dir": str(manifest.parent)}
    assert check(bundle, ["train", "smoke"], "train", **place, **OWN[bundle]) == []


@EACH
def test_inference_has_every_property(bundle: str, trained: dict[str, Path], manifest: Path, tmp_path: Path) -> None:
    place = {"output_dir": str(tmp_path), "dataset_dir": str(manifest.parent), "checkpoint": str(trained[bundle])}
    assert check(bundle, ["inference"], "infer", **place, **ASKED[bundle]) == []


def test_evaluation_has_every_property(trained: dict[str, Path], manifest: Path, tmp_path: Path) -> None:
    bundle = BUNDLES[0]
    place = {"output_dir": str(tmp_path), "dataset_dir": str(manifest.parent), "checkpoint": str(trained[bundle])}
    assert check(bundle, ["evaluate"], "infer", **place) == []
