"""Pictures in colour all the way: phantom skin, prepared, classified, imitated, and added to training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monai_cxraug.bundle_config import run_stage
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.pack import Pack
from monai_cxraug.data.prepare import prepare
from monai_cxraug.data.request import Request
from monai_cxraug.data.sources.phantom.layouts import write_layout
from monai_cxraug.errors import ConfigError
from monai_cxraug.networks.weights import load_model
from monai_cxraug.predictions import read_predictions

pytestmark = pytest.mark.e2e

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
SIZE, COUNT = 32, 40
PREDICTED = "predictions.csv"
FIXED = {"device": "cpu", "threads": 1}


def run(bundle: str, stage: list[str], out: Path, **settings: Any) -> Path:
    folder = BUNDLES / bundle
    files = [folder / "configs" / f"{name}.json" for name in stage]
    run_stage(files, {"bundle_root": str(folder), "output_dir": str(out), **FIXED, **settings})
    return out


@pytest.fixture(scope="module")
def skin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty phantom lesions of 40 px, as files."""
    return write_layout("skin", tmp_path_factory.mktemp("skin") / "files", COUNT, 40)


@pytest.fixture(scope="module")
def manifest(skin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lesions in colour."""
    options = {"negative": "benign", "colour": True}
    asked = Request("folder", str(skin), size=SIZE, validation=0.25, options=options)
    return prepare(asked, tmp_path_factory.mktemp("colour") / "data")


@pytest.fixture(scope="module")
def grey(skin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lesions in grey."""
    asked = Request("folder", str(skin), size=SIZE, validation=0.25, options={"negative": "benign"})
    return prepare(asked, tmp_path_factory.mktemp("grey") / "data")


@pytest.fixture(scope="module")
def classifier(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network, trained for some steps with the strong classic augmentation."""
    settings = {"manifest": str(manifest), "size": SIZE, "architecture": "small_cnn"}
    stage = ["train", "smoke", "augment_classic"]
    return run("chest_xray_classification", stage, tmp_path_factory.mktemp("classifier"), **settings)


def test_a_classifier_of_colour_is_trained_and_judged(manifest: Path, classifier: Path, tmp_path: Path) -> None:
    assert load_model(classifier).settings["channels"] == 3
    settings = {"manifest": str(manifest), "checkpoint": str(classifier), "split": "test", "maps": 1}
    out = run("chest_xray_classification", ["evaluate"], tmp_path, **settings)
    table = read_predictions(out / "predictions.csv")
    assert len(table.images) == 8
    (entry, *_) = json.loads((out / "maps" / "maps.json").read_text())["maps"]
    picture = np.asarray(Image.open(out / "maps" / entry["file"]), dtype=float)
    rows = PackRows(manifest)
    place = rows.manifest["image"].tolist().index(entry["image"])
    factor = picture.shape[0] // SIZE
    plain = picture[::factor, : SIZE * factor : factor]
    assert np.abs(plain - rows.picture(place) * 255).max() <= 0.51  # the left half is the lesion, in its colours


def test_files_are_asked_about_in_colour(skin: Path, manifest: Path, classifier: Path, tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    lesions = sorted((skin / "test" / "benign").iterdir())[:3]
    for file in lesions:
        (files / file.name).write_bytes(file.read_bytes())
    with Image.open(lesions[0]) as picture:
        picture.convert("L").save(files / "grey.png")
    settings = {"images": str(files), "checkpoint": str(classifier)}
    found = read_predictions(run("chest_xray_classification", ["inference"], tmp_path / "out", **settings) / PREDICTED)
    assert len(found.images) == 4
    judged = {"manifest": str(manifest), "checkpoint": str(classifier), "split": "test"}
    known = read_predictions(run("chest_xray_classification", ["evaluate"], tmp_path / "known", **judged) / PREDICTED)
    by_name = {Path(name).name: prob for name, prob in zip(known.images, known.probs, strict=True)}
    for name, prob in zip(found.images, found.probs, strict=True):
        if name in by_name:
            np.testing.assert_allclose(prob, by_name[name], atol=1e-6)
    assert sum(name in by_name for name in found.images) == 3


def test_grey_and_colour_are_not_mistaken(manifest: Path, grey: Path, classifier: Path, tmp_path: Path) -> None:
    settings = {"checkpoint": str(classifier), "split": "test"}
    with pytest.raises(ConfigError, match=r"must have 3 channels .*--colour"):
        run("chest_xray_classification", ["evaluate"], tmp_path / "a", manifest=str(grey), **settings)
    small = {"manifest": str(grey), "size": SIZE, "architecture": "small_cnn"}
    other = run("chest_xray_classification", ["train", "smoke"], tmp_path / "grey", **small)
    assert load_model(other).settings["channels"] == 1
    settings["checkpoint"] = str(other)
    with pytest.raises(ConfigError, match=r"must have 1 channel .*without --colour"):
        run("chest_xray_classification", ["evaluate"], tmp_path / "b", manifest=str(manifest), **settings)


@pytest.fixture(scope="module")
def generator(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A progressive GAN of malignant lesions, for few images and so with augmentation, trained for some steps."""
    short = {"resolution": 16, "fade_images": 16, "stable_images": 16, "total_images": 96, "batch_size": 4}
    settings = {"manifest": str(manifest), "finding": "malignant", **short}
    stage = ["train", "smoke", "few_images"]
    return run("chest_xray_pggan", stage, tmp_path_factory.mktemp("generator"), **settings)


@pytest.fixture(scope="module")
def synthetic(manifest: Path, generator: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve lesions that it made."""
    settings = {"checkpoint": str(generator), "manifest": str(manifest), "finding": "malignant", "n": 12, "png": True}
    return run("chest_xray_pggan", ["inference"], tmp_path_factory.mktemp("synthetic"), **settings)


def test_a_generator_of_colour_is_trained_sampled_and_audited(generator: Path, synthetic: Path) -> None:
    assert load_model(generator).settings["channels"] == 3
    with Image.open(next((generator / "samples").glob("*.png"))) as grid:
        assert grid.mode == "RGB"
    packed = Pack(synthetic, read_manifest(synthetic))
    assert (packed.channels, packed.array.shape) == (3, (12, 16, 16, 3))
    assert np.asarray(Image.open(next((synthetic / "png").iterdir()))).shape == (16, 16, 3)
    audit = json.loads((synthetic / "provenance.json").read_text())["memorisation_audit"]
    assert audit["images"] == 12
    assert audit["training_images"] == len(load_model(generator).about["patients_seen"])
    with Image.open(synthetic / "nearest.png") as picture:
        assert picture.mode == "RGB"


def test_real_and_synthetic_lesions_train_together(manifest: Path, grey: Path, synthetic: Path, tmp_path: Path) -> None:
    added = {"synthetic": [str(synthetic)], "size": 16, "architecture": "small_cnn", "contrast": "equalise"}
    more = {"filtered": {"malignant": 4}, "filters": ["minimum"], "duplicates": {"malignant": 3}}
    out = run("chest_xray_classification", ["train", "smoke"], tmp_path, manifest=str(manifest), **added, **more)
    model = load_model(out)
    assert model.settings["channels"] == 3
    counts = model.about["composition"]["malignant"]
    assert (counts["synthetic"], counts["filtered"], counts["duplicate"]) == (12, 4, 3)
    with pytest.raises(ConfigError, match="must have 1 channel"):
        run("chest_xray_classification", ["train", "smoke"], tmp_path / "grey", manifest=str(grey), **added)
