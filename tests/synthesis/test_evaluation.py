"""Distances of samples to held-out images, against the metrics called by hand and a closed form."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_cxraug.artifacts import file_hash
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.pack import write_pack
from monai_cxraug.errors import ConfigError, InputError, LeakageError
from monai_cxraug.metrics.fidelity import frechet_distance, ms_ssim_diversity, sliced_wasserstein
from monai_cxraug.networks.weights import load_model
from monai_cxraug.synthesis.evaluation import EvaluateGenerator
from monai_cxraug.synthesis.features import ClassifierFeatures
from monai_cxraug.synthesis.fidelity import split_by_patient
from monai_cxraug.synthesis.synthetic_set import sample_images


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """Twelve val images of twelve patients, eight of them Edema; three more in train."""
    splits = ["val"] * 12 + ["train"] * 3
    rows = [
        {"image": f"{k}.png", "patient_id": f"P{k}", "split": split, "source": "real"} for k, split in enumerate(splits)
    ]
    labels = np.array([[k % 3 != 0] for k in range(15)], dtype=np.float32)
    pictures = np.random.default_rng(0).integers(0, 256, (15, 16, 16), dtype=np.uint8)
    write_pack(tmp_path / "real", pictures, [row["image"] for row in rows])
    return Manifest(make_columns(rows), ("Edema",), labels).write(tmp_path / "real")


def evaluate(generator: Path, real: Path, out: Path, split: str = "val", seed: int = 0) -> dict[str, float]:
    return EvaluateGenerator(generator, real, split, {}, seed, out).run()


def linear_mmd(left: np.ndarray, right: np.ndarray) -> float:
    """Gretton et al. 2012: without pairs of an image with itself within a set, by MONAI's normalisation."""
    x, y = (images.reshape(len(images), -1).astype(np.float64) for images in (left, right))
    n, m = len(x), len(y)
    within = sum((z @ z.T).sum() - np.trace(z @ z.T) for z in (x,)) / (n * (n - 1))
    other = ((y @ y.T).sum() - np.trace(y @ y.T)) / (m * (m - 1))
    return float(within + other - 2 * (x @ y.T).mean())


def test_values_and_file(make_generator, real: Path, tmp_path: Path) -> None:
    generator = make_generator(["P12", "P13"])
    values = evaluate(generator, real, tmp_path / "out")
    stored, edema = np.load(real.parent / "pack.npy"), [k for k in range(12) if k % 3]
    plain = {"mmd", "ssim", "sliced_16", "ms_ssim"}
    near = {"nearest_pixels", "nearest_pixels_real", "nearest_pixels_close"}
    assert set(values) == plain | {f"{name}_real" for name in plain} | near
    document = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {name: document[name] for name in values} == values
    assert (document["finding"], document["n"], document["seed"]) == ("Edema", 8, 0)
    assert document["generator"] == file_hash(generator / "model.pt")
    assert (document["features"], document["ms_ssim_scales"], document["n_halves"]) == (None, 1, 4)
    assert document["training_images"] == 1  # P12 has no Edema
    assert values["ms_ssim_real"] == pytest.approx(ms_ssim_diversity(stored[edema]).value)
    pictures = stored[edema] / 255.0
    fake = sample_images(load_model(generator), 8, 0)
    assert values["mmd"] == pytest.approx(linear_mmd(pictures, fake), rel=1e-3)
    assert values == evaluate(generator, real, tmp_path / "again")
    assert values != evaluate(generator, real, tmp_path / "again", seed=1)


def test_a_generator_that_lost_variety_is_seen(make_generator, real: Path, tmp_path: Path) -> None:
    generator = make_generator([])
    network = load_model(generator).network
    document = torch.load(generator / "model.pt", weights_only=True)
    document["weights"] = {name: torch.zeros_like(weight) for name, weight in network.state_dict().items()}
    torch.save(document, generator / "model.pt")
    values = evaluate(generator, real, tmp_path / "out")
    assert values["ssim"] == pytest.approx(1, abs=1e-4)
    assert values["ssim_real"] < 0.2


def test_images_that_the_generator_saw_are_refused(make_generator, real: Path, tmp_path: Path) -> None:
    with pytest.raises(LeakageError, match=r"model\.pt: .*'P4'"):
        evaluate(make_generator(["P12", "P4"]), real, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_few_images_are_refused(make_generator, real: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.csv: needs at least 4 held-out images; found 2 of 'Edema'"):
        evaluate(make_generator([]), real, tmp_path / "out", split="train")
    assert not (tmp_path / "out").exists()


# --- with a classifier ---


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """32 px: ten val images of ten patients, and five train images, all Edema."""
    splits = ["val"] * 10 + ["train"] * 5
    rows = [
        {"image": f"{k}.png", "patient_id": f"P{k}", "split": split, "source": "real"} for k, split in enumerate(splits)
    ]
    pictures = np.random.default_rng(0).integers(0, 256, (15, 32, 32), dtype=np.uint8)
    write_pack(tmp_path / "large", pictures, [row["image"] for row in rows])
    return Manifest(make_columns(rows), ("Edema",), np.ones((15, 1), dtype=np.float32)).write(tmp_path / "large")


def test_figures_in_features_and_their_floor(make_generator, make_classifier, large: Path, tmp_path: Path) -> None:
    generator, classifier = make_generator(["P10", "P11"], resolution=32), make_classifier(["P12", "P13"])
    values = EvaluateGenerator(generator, large, "val", {}, 3, tmp_path / "out", classifier).run()
    real = np.load(large.parent / "pack.npy")[:10] / np.float32(255)
    fake = sample_images(load_model(generator), 10, 3)
    one, two = split_by_patient([f"P{k}" for k in range(10)], 3)
    features = ClassifierFeatures(classifier)
    pairs = [(fake[:5], real[one]), (fake[5:], real[two])]
    expected = np.mean([frechet_distance(features(a), features(b)) for a, b in pairs])
    assert values["frechet"] == pytest.approx(expected, rel=1e-4)
    assert values["frechet_real"] == pytest.approx(frechet_distance(features(real[one]), features(real[two])), rel=1e-4)
    sliced = [sliced_wasserstein(a, b, 3, directions=128)[32] for a, b in pairs]
    assert values["sliced_32"] == pytest.approx(np.mean(sliced), rel=1e-6)
    assert values["kernel"] > 4 * values["kernel_error"]
    assert {"kernel_real", "kernel_real_error", "nearest_features", "nearest_features_close"} <= set(values)
    document = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert document["features"] == f"densenet121 at 32 px, model {file_hash(classifier / 'model.pt')[:12]}"
    assert document["training_images"] == 2
    assert (tmp_path / "out" / "nearest.png").exists()


def test_a_classifier_that_saw_these_patients_is_refused(
    make_generator, make_classifier, large: Path, tmp_path: Path
) -> None:
    generator = make_generator(["P10"], resolution=32)
    rule = r"model\.pt: a classifier whose features judge images may not have seen.*'P4'"
    with pytest.raises(LeakageError, match=rule):
        EvaluateGenerator(generator, large, "val", {}, 0, tmp_path / "out", make_classifier(["P12", "P4"])).run()
    assert not (tmp_path / "out").exists()


def test_a_classifier_of_larger_images_is_refused(make_generator, make_classifier, real: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"images must have at least its 32 px; found 16 px"):
        EvaluateGenerator(make_generator([]), real, "val", {}, 0, tmp_path / "out", make_classifier([])).run()


def test_synthetic_images_cannot_judge(make_generator, real: Path, tmp_path: Path) -> None:
    table = real.read_text().replace("P4,,,,,val,real", "P4,,,,,val,synthetic")
    real.write_text(table)
    with pytest.raises(LeakageError, match="only real images"):
        evaluate(make_generator([]), real, tmp_path / "out")


def test_without_training_images_there_is_no_picture(make_generator, real: Path, tmp_path: Path) -> None:
    values = evaluate(make_generator(["elsewhere"]), real, tmp_path / "out")
    assert not {name for name in values if name.startswith("nearest")}
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["training_images"] is None
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["metrics.json"]
