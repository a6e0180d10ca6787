"""Membership and identifiability as sections of the audit of a set, and a re-identifier from its configuration."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_cxraug.bundle_config import run_stage
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.pack import quantise, write_pack
from monai_cxraug.networks.pggan import ProgressiveGenerator
from monai_cxraug.networks.weights import load_model, save_model
from monai_cxraug.resources import resource_root
from monai_cxraug.synthesis.samples import Samples
from monai_cxraug.synthesis.synthetic_set import SyntheticSet

CONFIGS = resource_root() / "configs"
SIDE, TRAIN, VAL = 16, 40, 6
SEEN = [f"P{k}" for k in range(30)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Real images, two of each patient, and a set of an untrained generator that declares thirty patients."""
    root = tmp_path_factory.mktemp("privacy")
    rows = [
        {
            "image": f"{k}.png",
            "patient_id": f"P{k // 2}",
            "split": "train" if k < 2 * TRAIN else "val",
            "source": "real",
        }
        for k in range(2 * (TRAIN + VAL))
    ]
    waves = np.random.default_rng(0).normal(size=(len(rows), 4, 4)).repeat(4, 1).repeat(4, 2)
    write_pack(root / "real", quantise((0.5 + 0.15 * waves).astype(np.float32), 8), [row["image"] for row in rows])
    manifest = Manifest(make_columns(rows), ("Edema",), np.ones((len(rows), 1), np.float32)).write(root / "real")
    torch.manual_seed(0)
    network = ProgressiveGenerator(resolution=SIDE, latent_size=8, fmap_base=32, fmap_max=8)
    about = {"finding": "Edema", "findings": ["Edema"], "patients_seen": SEEN, "manifest": "0" * 64, "images_seen": 64}
    save_model(root / "model.pt", "pggan", network, {**about, "privacy": {"epsilon": 3.0}})
    SyntheticSet(Samples(root / "model.pt", "Edema", 24, 3), root / "set").run()
    return manifest, root / "set"


def train(manifest: Path, out: Path, **given: object) -> Path:
    settings = {"steps": 8, "epoch_length": 4, "batch_size": 8, "size": SIDE, "width": 8, "features": 8, **given}
    settings |= {"manifest": str(manifest), "output_dir": str(out)}
    run_stage(CONFIGS / "reidentifier.json", settings)
    return out / "model.pt"


def test_an_audit_asks_both(made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest, synthetic = made
    model = train(manifest, tmp_path / "reidentifier")
    settings = {"synthetic": str(synthetic), "manifest": str(manifest), "out": str(tmp_path / "audit")}
    run_stage(CONFIGS / "audit.json", {**settings, "membership": True, "reidentifier": str(model)})
    document = json.loads((tmp_path / "audit" / "audit.json").read_text())
    membership, identifiability = document["membership"], document["identifiability"]
    assert membership["members"] == {"images": 60, "patients": 30}
    assert membership["strangers"] == {"images": 32, "patients": 16}
    assert membership["synthetic_images"] == identifiability["images"] == 24
    assert set(membership["attacks"]) == {"distance", "calibrated"}
    assert identifiability["training_patients"] == 30
    assert identifiability["rates"][0]["strangers"]["images"] == 2 * VAL
    said = capsys.readouterr().err
    assert "membership: " in said
    assert "identifiability: " in said
    assert json.loads((synthetic / "provenance.json").read_text())["privacy"] == {"epsilon": 3.0}
    run_stage(CONFIGS / "audit.json", settings)
    assert not {"membership", "identifiability"} & set(json.loads((tmp_path / "audit" / "audit.json").read_text()))


def test_a_reidentifier_resumes_to_the_last_bit(made: tuple[Path, Path], tmp_path: Path) -> None:
    whole = train(made[0], tmp_path / "whole")
    parts = tmp_path / "parts"
    train(made[0], parts, **{"train#trainer#max_epochs": 1, "fingerprint": "same"})
    (parts / "model.pt").unlink()
    again = train(made[0], parts, fingerprint="same")
    left, right = (load_model(path, "reidentifier") for path in (whole, again))
    for one, two in zip(left.network.state_dict().values(), right.network.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    assert left.about["verification"] == right.about["verification"]
    assert left.about["verification"]["patients"] == TRAIN - len(left.about["patients_seen"]) == 8
    assert not set(left.about["patients_seen"]) & {f"P{k}" for k in range(TRAIN, TRAIN + VAL)}
