"""Distances of samples to held-out images, against MONAI's metrics called by hand and a closed form."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_cxraug.artifacts import file_hash
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.pack import write_pack
from monai_cxraug.errors import InputError, LeakageError
from monai_cxraug.networks.weights import load_model
from monai_cxraug.synthesis.evaluation import EvaluateGenerator
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
    assert set(values) == {"mmd", "mmd_real", "ssim", "ssim_real"}
    document = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {name: document[name] for name in values} == values
    assert (document["finding"], document["n"], document["seed"]) == ("Edema", 8, 0)
    assert document["generator"] == file_hash(generator / "model.pt")
    pictures = np.load(real.parent / "pack.npy")[[k for k in range(12) if k % 3]] / 255.0
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
