"""The generator bundle's overlays: conditional on findings, for few images, as published."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_cxraug.bundle_config import run_stage
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.errors import ConfigError
from monai_cxraug.networks.weights import load_model
from monai_cxraug.synthesis.generators import load_generator

pytestmark = pytest.mark.e2e

CONFIGS = Path(__file__).resolve().parents[2] / "bundles" / "chest_xray_pggan" / "configs"
SHORT = {"device": "cpu", "threads": 1, "resolution": 16, "fade_images": 16, "stable_images": 16, "batch_size": 4}


def train(manifest: Path, out: Path, *overlays: str, **settings: Any) -> Path:
    files = [CONFIGS / f"{name}.json" for name in ("train", "smoke", *overlays)]
    place = {"bundle_root": str(CONFIGS.parent), "output_dir": str(out), "manifest": str(manifest)}
    run_stage(files, {**place, **SHORT, **settings})
    return out


@pytest.mark.parametrize("conditioning", ["auxiliary", "projection"])
def test_a_conditional_generator_trains_and_samples(manifest: Path, tmp_path: Path, conditioning: str) -> None:
    out = train(manifest, tmp_path, condition=["Edema", "Fibrosis"], conditioning=conditioning, auxiliary_on="both")
    model = load_model(out)
    assert model.settings["findings"] == 2
    assert sum(model.about["label_rows"].values()) == 32  # all training images, whatever they show
    generator = load_generator(out, device="cpu")
    images = generator.sample(4, "Fibrosis", 0)
    assert images.shape == (4, 16, 16)
    labels = generator.labels(4, "Fibrosis", 0)
    assert (labels[:, 1] == 1).all()
    other = generator.model.network(torch.ones(1, 16), labels=torch.tensor([[0.0, 1.0]]))
    assert not torch.equal(other, generator.model.network(torch.ones(1, 16), labels=torch.tensor([[1.0, 0.0]])))


def test_few_images_train_with_augmentation(manifest: Path, tmp_path: Path) -> None:
    out = train(manifest, tmp_path, "few_images", finding="Edema")
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    assert state["augment"]["p"] >= 0
    assert np.isfinite(load_generator(out, device="cpu").sample(2, "Edema", 0)).all()


def test_a_limit_cuts_what_is_learnt_and_who_is_seen(manifest: Path, tmp_path: Path) -> None:
    cut = {"limit": {"Edema": 3}, "fraction_seed": 1}
    about = load_model(train(manifest, tmp_path, finding="Edema", batch_size=2, **cut)).about
    rows = PackRows(manifest, "train", having="Edema", **cut)
    assert (about["images"], about["patients_seen"]) == (3, sorted(rows.patients()))


def test_fidelity_is_measured_while_training(manifest: Path, tmp_path: Path) -> None:
    """Figures of a conditional generator beside their floor, and its health, without a change to what it learns."""
    for name, images in (("with", 64), ("without", 0)):
        train(manifest, tmp_path / name, condition=["Edema", "Fibrosis"], fidelity_images=images, resolution=32)
    with (tmp_path / "with" / "fidelity.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert int(rows[-1]["images_seen"]) == 128
    assert all(float(value) >= 0 for name, value in rows[-1].items() if name.startswith(("sliced", "ms_ssim")))
    assert (tmp_path / "with" / "model.pt").read_bytes() == (tmp_path / "without" / "model.pt").read_bytes()


def test_neither_finding_nor_condition_is_refused(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'finding' or 'condition'.*--finding VALUE or --condition VALUE"):
        train(manifest, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_published_settings_are_the_papers() -> None:
    config = json.loads((CONFIGS / "published.json").read_text())
    assert [config[key] for key in ("fmap_base", "fmap_max", "latent_size", "ema_decay", "learning_rate")] == [
        *(8192, 512, 512, 0.999, 0.001)
    ]
    assert set(json.loads((CONFIGS / "conditional.json").read_text())["condition"]) >= {"Edema", "Hernia"}
