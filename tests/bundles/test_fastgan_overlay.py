"""The overlay that makes the bundle train a FastGAN: trained, stopped and taken up again, sampled, audited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_cxraug.bundle_config import run_stage
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.pack import write_pack
from monai_cxraug.handlers.resume import read_checkpoint
from monai_cxraug.handlers.sample_grid import SampleGrid
from monai_cxraug.networks.weights import load_model
from monai_cxraug.synthesis.generators import load_generator

pytestmark = pytest.mark.e2e

CONFIGS = Path(__file__).resolve().parents[2] / "bundles" / "image_infogan" / "configs"
SHORT = {"device": "cpu", "threads": 1, "resolution": 16, "width": 2, "total_images": 64, "epoch_length": 4}


def train(manifest: Path, out: Path, **settings: Any) -> Path:
    files = [CONFIGS / f"{name}.json" for name in ("train", "fastgan", "smoke")]
    place = {"bundle_root": str(CONFIGS.parent), "output_dir": str(out), "manifest": str(manifest)}
    run_stage(files, {**place, "finding": "Edema", **SHORT, **settings})
    return out


class PulledPlugError(Exception):
    pass


def test_a_training_that_was_interrupted_ends_as_if_nothing_had_happened(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(manifest, tmp_path / "whole")

    def stop(*_: Any) -> None:
        raise PulledPlugError

    with monkeypatch.context() as context:
        context.setattr(SampleGrid, "draw", stop)  # at 48 of 64 images
        with pytest.raises(RuntimeError) as caught:
            train(manifest, tmp_path / "broken")
    assert isinstance(caught.value.__cause__, PulledPlugError)
    assert read_checkpoint(tmp_path / "broken" / "checkpoint.pt")["resume"]["images_seen"] == 32
    assert not (tmp_path / "broken" / "model.pt").exists()
    broken = train(manifest, tmp_path / "broken")
    assert (whole / "model.pt").read_bytes() == (broken / "model.pt").read_bytes()


@pytest.mark.parametrize("channels", [1, 3])
def test_it_learns_from_few_images_and_samples(tmp_path: Path, channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 28, 28, 3), dtype=np.uint8)
    rows = [{"image": f"{k}.png", "patient_id": f"p{k}", "split": "train", "source": "real"} for k in range(10)]
    write_pack(tmp_path, images if channels == 3 else images[..., 0], [row["image"] for row in rows])
    labels = np.ones((10, 1), dtype=np.float32)
    manifest = Manifest(make_columns(rows), ("Edema",), labels, {"name": "few"}).write(tmp_path, {})
    out = train(manifest, tmp_path / "out", resolution=28, limit={"Edema": 6})
    model = load_model(out, "fastgan")
    assert model.settings == {"resolution": 28, "latent_size": 16, "channels": channels, "width": 2}
    assert len(model.about["patients_seen"]) == model.about["images"] == 6
    generator = load_generator(out, device="cpu")
    samples = generator.sample(40, "Edema", seed=3)
    assert samples.shape == (40, 28, 28) + ((3,) if channels == 3 else ())
    assert samples.std(axis=0).max() > 0
    assert np.array_equal(generator.sample(5, "Edema", seed=3, start=20), samples[20:25])


def test_the_discriminator_sees_augmented_images_and_draws_them(manifest: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = train(manifest, tmp_path)
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    assert [point.value > 0 for point in events.Scalars("reconstruction")] == [True]
    weights = torch.load(out / "checkpoint.pt", weights_only=True)["discriminator"]
    assert any(name.startswith("whole") for name in weights)
    config = json.loads((CONFIGS / "fastgan.json").read_text())
    assert config["augment"]["_target_"].endswith("DiffAugment")
    assert (config["learning_rate"], config["discriminator_rate"], config["batch_size"]) == (2e-4, 2e-4, 8)
