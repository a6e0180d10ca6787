"""The bundle of GANs of one size: its overlays, lengths by number of images, colour, augmentation and traversals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from monai_cxraug.bundle_config import run_stage
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.pack import write_pack
from monai_cxraug.errors import ConfigError
from monai_cxraug.networks.weights import load_model
from monai_cxraug.synthesis.generators import load_generator

pytestmark = pytest.mark.e2e

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "image_infogan"
SHORT = {"device": "cpu", "threads": 1, "resolution": 28}


def run(out: Path, *stages: str, **settings: Any) -> Path:
    files = [BUNDLE / "configs" / f"{name}.json" for name in stages]
    run_stage(files, {"bundle_root": str(BUNDLE), "output_dir": str(out), **settings})
    return out


def train(manifest: Path, out: Path, *overlays: str, **settings: Any) -> Path:
    given = {"manifest": str(manifest), "finding": "Edema", **SHORT, **settings}
    return run(out, "train", "smoke", *overlays, **given)


@pytest.mark.parametrize(
    ("kind", "seen"), [("infogan", 128), ("dcgan", 128), pytest.param("fastgan", 64, marks=pytest.mark.slow)]
)
def test_each_kind_trains_and_samples(kind: str, seen: int, manifest: Path, tmp_path: Path) -> None:
    overlays = [] if kind == "infogan" else [kind]
    out = train(manifest, tmp_path, *overlays, total_images=seen, batch_size=4)
    model = load_model(out)
    assert (model.kind, model.about["images_seen"], model.about["images"]) == (kind, seen, 16)
    assert set(model.about) >= {"finding", "findings", "label_rows", "patients_seen", "manifest", "seed"}
    generator = load_generator(out, device="cpu")
    assert generator.sample(3, "Edema", 0).shape == (3, 28, 28)
    assert (out / "traversals").exists() == (kind == "infogan")
    run(out / "set", "inference", checkpoint=str(out), finding="Edema", n=3, device="cpu")
    provenance = json.loads((out / "set" / "provenance.json").read_text())
    assert provenance["generator"]["kind"] == kind


def test_colour_is_learnt_and_made(tmp_path: Path) -> None:
    rows = [{"image": f"{k}", "patient_id": f"p{k}", "split": "train", "source": "real"} for k in range(12)]
    pictures = np.random.default_rng(0).integers(0, 256, (12, 28, 28, 3), dtype=np.uint8)
    write_pack(tmp_path / "colour", pictures, [row["image"] for row in rows])
    labels = np.ones((12, 1), dtype=np.float32)
    manifest = Manifest(make_columns(rows), ("Edema",), labels, {"name": "colour"}).write(tmp_path / "colour", {})
    out = train(manifest, tmp_path / "out")
    assert load_model(out).settings["channels"] == 3
    assert load_generator(out, device="cpu").sample(2, "Edema", 0).shape == (2, 28, 28, 3)
    picture = np.asarray(Image.open(next((out / "traversals").glob("code1_*.png"))))
    assert picture.ndim == 3


def test_the_number_of_images_decides_the_length(manifest: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "ask.json"
    overlay.write_text(json.dumps({"run": ["$@schedule"]}))
    place = {"bundle_root": str(BUNDLE), "output_dir": str(tmp_path / "out"), **SHORT}
    for limit, images, epochs in ((10, 10, 1000), (None, 16, 1126)):
        given = {"manifest": str(manifest), "finding": "Edema", "limit": {"Edema": limit} if limit else {}}
        (schedule,) = run_stage([BUNDLE / "configs" / "train.json", overlay], {**place, **given})
        assert schedule.total_images == pytest.approx(images * epochs, rel=0.01)
        assert schedule.batch_size == 8
        assert schedule.resolution == 28
    (schedule,) = run_stage([BUNDLE / "configs" / "train.json", overlay], {**place, **given, "scale": 0.01})
    assert schedule.total_images == pytest.approx(16 * 11.26, abs=2)


@pytest.mark.parametrize("name", ["DiffAugment", "AdaptiveAugmentation"])
def test_what_the_discriminator_sees_may_be_augmented(name: str, manifest: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "augment.json"
    overlay.write_text(json.dumps({"augment": {"_target_": f"monai_cxraug.networks.augmentation.{name}"}}))
    files = [BUNDLE / "configs" / "train.json", BUNDLE / "configs" / "smoke.json", overlay]
    given = {"manifest": str(manifest), "finding": "Edema", **SHORT, "bundle_root": str(BUNDLE)}
    run_stage(files, {**given, "output_dir": str(tmp_path / "out")})
    state = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
    assert "augment" in state


def test_traversals_of_a_finished_model(manifest: Path, tmp_path: Path) -> None:
    out = train(manifest, tmp_path / "out", categories=[3], continuous=1)
    run(tmp_path / "shown", "inference", "traverse", checkpoint=str(out), rows=2, columns=4, device="cpu")
    names = sorted(path.name for path in (tmp_path / "shown").iterdir())
    assert names == ["traversal_category1.png", "traversal_code1.png"]
    assert np.asarray(Image.open(tmp_path / "shown" / names[0])).shape == (28 + 2 * 30, 3 * 30)
    assert np.asarray(Image.open(tmp_path / "shown" / names[1])).shape == (28 + 2 * 30, 4 * 30)
    dcgan = train(manifest, tmp_path / "dcgan", "dcgan")
    with pytest.raises(ConfigError, match="needs a generator with codes"):
        run(tmp_path / "none", "inference", "traverse", checkpoint=str(dcgan), device="cpu")


def test_codes_of_a_set_can_be_fixed(manifest: Path, tmp_path: Path) -> None:
    out = train(manifest, tmp_path / "out")
    codes = {"category1": 2, "code1": 0.5}
    run(tmp_path / "set", "inference", checkpoint=str(out), finding="Edema", n=3, codes=codes, device="cpu")
    provenance = json.loads((tmp_path / "set" / "provenance.json").read_text())
    assert provenance["codes"] == codes


@pytest.mark.slow  # that of the progressive GAN runs at every change
def test_fidelity_is_measured_while_training(manifest: Path, tmp_path: Path) -> None:
    for name, images in (("with", 64), ("without", 0)):
        train(manifest, tmp_path / name, fidelity_images=images, resolution=32)
    table = (tmp_path / "with" / "fidelity.csv").read_text().splitlines()
    assert table[-1].startswith("128,32,1")
    assert (tmp_path / "with" / "model.pt").read_bytes() == (tmp_path / "without" / "model.pt").read_bytes()


def test_overlays_change_known_keys_only(manifest: Path) -> None:
    for overlay in ("dcgan", "fastgan"):
        run_stage(
            [BUNDLE / "configs" / "train.json", BUNDLE / "configs" / f"{overlay}.json"],
            {"manifest": str(manifest), "finding": "Edema", "run": []},
        )
    published = json.loads((BUNDLE / "configs" / "dcgan.json").read_text())
    assert (published["learning_rate"], published["latent_size"]) == (0.0002, 100)
    base = json.loads((BUNDLE / "configs" / "train.json").read_text())
    assert (base["learning_rate"], base["discriminator_rate"], base["code_weight"]) == (0.001, 0.0002, 1.0)
    for optimizer in ("g_optimizer", "d_optimizer"):
        assert base["train"]["trainer"][optimizer]["betas"] == [0.5, 0.999]
    assert base["loss"]["r1"] == 0.0


def test_a_finding_is_required(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'finding'.*--finding VALUE"):
        train(manifest, tmp_path / "out", finding=None)
    assert not (tmp_path / "out").exists()
