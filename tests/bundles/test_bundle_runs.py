"""All bundles as a user runs them: ``python -m monai.bundle run`` in processes of their own, killed and resumed."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_cxraug.artifacts import write_json
from monai_cxraug.bundle_config import run_stage
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.pack import write_pack
from monai_cxraug.errors import ConfigError, StateError

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = "tests/bundles/schema/meta_schema_20240725.json"

Start = Callable[[Sequence[str]], "subprocess.Popen[str]"]


@dataclass(frozen=True)
class Bundle:
    """A bundle with settings that train it in a few seconds, with a checkpoint early on."""

    name: str
    settings: Mapping[str, Any]
    steps: int
    scalars: tuple[str, ...]
    given: Mapping[str, Any] = field(default_factory=dict)

    def config(self, stage: str) -> str:
        return f"bundles/{self.name}/configs/{stage}.json"


CLASSIFIER = Bundle(
    "chest_xray_classification",
    {"size": 32, "steps": 24, "epoch_length": 2, "batch_size": 4, "threads": 1, "device": "cpu"},
    steps=24,
    scalars=("loss",),
)
GENERATOR = Bundle(
    "chest_xray_pggan",
    {
        "resolution": 16,
        "latent_size": 16,
        "fmap_max": 16,
        "fade_images": 32,
        "stable_images": 64,
        "total_images": 512,
        "batch_size": 4,
        "epoch_length": 4,
        "grid_images": 256,
        "threads": 1,
        "device": "cpu",
    },
    steps=128,
    scalars=("critic_loss", "generator_loss", "resolution", "alpha"),
    given={"finding": "Edema"},
)
DISTORTER = Bundle(
    "chest_xray_distortion",
    {
        "size": 32,
        "layers": 3,
        "width": 4,
        "dropout_layers": 1,
        "adversarial_weight": 0.05,
        "discriminator_layers": 2,
        "discriminator_width": 4,
        "steps": 96,
        "epoch_length": 4,
        "batch_size": 4,
        "grid_images": 192,
        "threads": 1,
        "device": "cpu",
    },
    steps=96,
    scalars=("loss", "pixel", "adversarial", "critic_loss"),
)
RESOLVER = Bundle(
    "image_superresolution",
    {
        "features": 4,
        "blocks": 1,
        "growth": 2,
        "crop": 16,
        "pixel_steps": 48,
        "gan_steps": 48,
        "discriminator_levels": 2,
        "discriminator_width": 4,
        "epoch_length": 4,
        "batch_size": 4,
        "grid_images": 192,
        "threads": 1,
        "device": "cpu",
    },
    steps=96,
    scalars=("loss", "pixel"),
)
INFOGAN = Bundle(
    "image_infogan",
    {
        "resolution": 28,
        "latent_size": 8,
        "width": 4,
        "most": 8,
        "total_images": 512,
        "batch_size": 4,
        "epoch_length": 4,
        "grid_images": 256,
        "traversal_images": 256,
        "threads": 1,
        "device": "cpu",
    },
    steps=128,
    scalars=("critic_loss", "generator_loss", "information"),
    given={"finding": "Edema"},
)
EACH = pytest.mark.parametrize(
    "bundle", [CLASSIFIER, GENERATOR, DISTORTER, RESOLVER, INFOGAN], ids=lambda bundle: bundle.name
)
#: what takes half a minute a bundle: two bundles at every change, the others with the slow tests.
EACH_TWO_FAST = pytest.mark.parametrize(
    "bundle",
    [CLASSIFIER, GENERATOR, *(pytest.param(one, marks=pytest.mark.slow) for one in (DISTORTER, RESOLVER, INFOGAN))],
    ids=lambda bundle: bundle.name,
)


def train(bundle: Bundle, out: Path, manifest: Path, **changes: Any) -> None:
    """Train in this process."""
    settings = {**bundle.settings, **bundle.given, "manifest": str(manifest), "output_dir": str(out), **changes}
    run_stage(ROOT / bundle.config("train"), {"bundle_root": str(ROOT / "bundles" / bundle.name), **settings})


def command(bundle: Bundle, stage: str | list[str], out: Path, **settings: Any) -> list[str]:
    """The arguments of ``python -m`` that run a stage by MONAI."""
    files = bundle.config(stage) if isinstance(stage, str) else str([bundle.config(name) for name in stage])
    options = {"config_file": files, "bundle_root": f"bundles/{bundle.name}", "output_dir": str(out), **settings}
    return ["monai.bundle", "run", *(text for key, value in options.items() for text in (f"--{key}", str(value)))]


def finish(process: subprocess.Popen[str], status: int = 0) -> str:
    """Wait for a process, check its status and that it left no traceback; returns what it wrote, errors last."""
    written = "".join(process.communicate(timeout=300))
    assert process.returncode == status, written
    assert "Traceback" not in written
    return written


@EACH_TWO_FAST
def test_every_stage_runs_by_monai(bundle: Bundle, start: Start, manifest: Path, tmp_path: Path) -> None:
    out, samples = tmp_path / "out", tmp_path / "inference"
    size = {"size": 32} if bundle is CLASSIFIER else {}
    finish(start(command(bundle, ["train", "smoke"], out, manifest=manifest, **size, **bundle.given)))
    evaluating = start(command(bundle, "evaluate", out, manifest=manifest))
    if bundle is CLASSIFIER:
        images = write_pngs(tmp_path / "pngs", manifest)
        inferring = start(command(bundle, "inference", samples, checkpoint=out, images=images))
    elif bundle in (GENERATOR, INFOGAN):
        inferring = start(command(bundle, "inference", samples, checkpoint=out, finding="Edema", n=5, seed=1))
    elif bundle is RESOLVER:
        made = write_synthetic(tmp_path / "set", manifest)
        inferring = start(command(bundle, "inference", samples, checkpoint=out, synthetic_set=made, manifest=manifest))
    else:
        inferring = start(command(bundle, "inference", samples, checkpoint=out, manifest=manifest, seed=1))
    finish(evaluating)
    finish(inferring)
    checks = {CLASSIFIER.name: check_classifier, GENERATOR.name: check_generator, DISTORTER.name: check_distorter}
    checks |= {RESOLVER.name: check_resolver, INFOGAN.name: check_generator}
    checks[bundle.name](out, samples)


def write_pngs(folder: Path, manifest: Path) -> Path:
    from PIL import Image

    folder.mkdir()
    for number, image in enumerate(np.load(manifest.parent / "pack.npy")[:3]):
        Image.fromarray(image).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def write_synthetic(folder: Path, manifest: Path) -> Path:
    """A synthetic set as another tool could have made it."""
    pictures = np.load(manifest.parent / "pack.npy")[:5, ::2, ::2]
    rows = [{"image": f"made-{k}", "split": "train", "source": "synthetic"} for k in range(5)]
    write_pack(folder, pictures, [row["image"] for row in rows])
    write_json(folder / "provenance.json", "cxraug.synthetic/1", {"patients_seen": ["p0"], "seed": 1})
    Manifest(make_columns(rows), ("Edema",), np.ones((5, 1), dtype=np.float32), {"name": "made"}).write(folder)
    return folder


def check_resolver(out: Path, inference: Path) -> None:
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics["methods"]) == {"nearest", "bilinear", "bicubic", "sharp_bicubic", "lanczos", "model"}
    assert (metrics["n"], metrics["patients"]) == (16, 8)
    assert (out / "comparison.png").is_file()
    assert np.load(inference / "pack.npy").shape == (5, 32, 32)
    assert (inference / "manifest.csv").is_file()
    provenance = json.loads((inference / "provenance.json").read_text())
    assert provenance["seed"] == 1
    assert len(provenance["patients_seen"]) == 16
    assert len(provenance["resolver"]["patients_seen"]) == 16


def check_classifier(out: Path, inference: Path) -> None:
    metrics = json.loads((out / "metrics.json").read_text())
    assert "Edema" in json.dumps(metrics)
    with (inference / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["image"] for row in rows] == ["0.png", "1.png", "2.png"]
    assert all(0 < float(row["prob:Edema"]) < 1 and row["label:Edema"] == "" for row in rows)
    assert "broken.png" in (inference / "quarantine.csv").read_text()


def check_generator(out: Path, inference: Path) -> None:
    assert {"mmd", "mmd_real", "ssim", "ssim_real"} <= set(json.loads((out / "metrics.json").read_text()))
    assert np.load(inference / "pack.npy").shape == (5, 32, 32)
    assert json.loads((inference / "provenance.json").read_text())["seed"] == 1
    assert (inference / "manifest.csv").exists()


def check_distorter(out: Path, inference: Path) -> None:
    metrics = json.loads((out / "metrics.json").read_text())
    assert {"mae", "psnr", "ssim", "mae_given", "psnr_given", "ssim_given"} <= set(metrics)
    assert metrics["n"] == 16
    assert np.load(inference / "pack.npy").shape == (16, 32, 32)
    provenance = json.loads((inference / "provenance.json").read_text())
    assert provenance["seed"] == 1
    assert len(provenance["patients_seen"]) == 16
    with (inference / "distorted.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["split"] for row in rows} == {"val"}
    assert {row["original"] + "+" + row["distortion"] for row in rows} == {row["image"] for row in rows}


@pytest.mark.slow  # processes by the dozen; what is quicker stands in tests/scripts/test_kill_jobs.py
@EACH
def test_killed_stopped_and_interrupted_training_ends_as_if_nothing_happened(
    bundle: Bundle, start: Start, manifest: Path, tmp_path: Path
) -> None:
    train(bundle, tmp_path / "whole", manifest)
    out = tmp_path / "broken"
    settings = {**bundle.settings, **bundle.given, "manifest": manifest}
    for number, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)):
        process = start(command(bundle, "train", out, **settings))
        wait_for_new(out / "checkpoint.pt", process)
        process.send_signal(number)
        written = finish(process, status)
        assert not (out / "model.pt").exists()
    assert written.splitlines()[-1] == "interrupted; the same command continues"
    train(bundle, out, manifest)
    assert (out / "model.pt").read_bytes() == (tmp_path / "whole" / "model.pt").read_bytes()


def wait_for_new(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a running process has written the file anew."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    limit = time.monotonic() + 120
    while not path.exists() or path.stat().st_mtime_ns == before:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < limit
        time.sleep(0.005)


@EACH_TWO_FAST
def test_training_is_watched_repeated_and_guarded(bundle: Bundle, manifest: Path, tmp_path: Path) -> None:
    train(bundle, tmp_path, manifest)
    check_events(bundle, tmp_path / "tensorboard")
    stamps = {path: path.stat().st_mtime_ns for path in [tmp_path / "checkpoint.pt", *tmp_path.glob("samples/*")]}
    model = (tmp_path / "model.pt").read_bytes()
    train(bundle, tmp_path, manifest)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps, "a finished training did steps again"
    assert (tmp_path / "model.pt").read_bytes() == model
    with pytest.raises(StateError, match="checkpoint was made with other settings"):
        train(bundle, tmp_path, manifest, learning_rate=0.5)
    with pytest.raises(ConfigError, match="batch_size: must be between 1 and the number of training images"):
        train(bundle, tmp_path / "new", manifest, batch_size=1000)
    assert not (tmp_path / "new").exists()


def check_events(bundle: Bundle, folder: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    for name in bundle.scalars:
        points = events.Scalars(name)
        assert len(points) == bundle.steps // 10
        assert all(np.isfinite(point.value) for point in points)
    if bundle is INFOGAN:
        assert [point.step for point in events.Images("samples")] == [256, 512]
        for name in ("category1", "code1", "code2"):
            assert [point.step for point in events.Images(f"traversals/{name}")] == [256, 512]
        assert events.Scalars("critic_loss")[-1].step == 480, "scalars are drawn over images seen"
    if bundle is GENERATOR:
        assert [point.step for point in events.Images("samples")] == [256, 512]
        assert events.Scalars("resolution")[-1].value == 16
        assert events.Scalars("alpha")[-1].step == 480, "scalars are drawn over images seen"
    if bundle in (DISTORTER, RESOLVER):
        assert [point.step for point in events.Images("samples")] == [192, 384]
        assert events.Scalars("loss")[-1].step == 360, "scalars are drawn over images seen"


@EACH
def test_metadata_and_network_are_verified(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By the functions behind ``python -m monai.bundle verify_metadata`` and ``verify_net_in_out``."""
    from monai.bundle import verify_metadata, verify_net_in_out

    monkeypatch.chdir(ROOT)
    caplog.set_level("INFO")
    meta = f"bundles/{bundle.name}/configs/metadata.json"
    schema = ROOT / SCHEMA
    before = schema.read_bytes()
    # what a training learns of its data
    asked = {} if bundle is DISTORTER else {"channels": 1}
    asked |= {"outputs": 14} if bundle is CLASSIFIER else {}
    outputs = {f"network_def#{key}": value for key, value in asked.items()}
    verify_metadata(meta_file=meta, filepath=SCHEMA)
    for stage, settings in (("inference", {}), ("train", outputs)):
        verify_net_in_out("network_def", meta_file=meta, config_file=bundle.config(stage), **settings)
    said = [record.getMessage() for record in caplog.records]
    assert said.count("metadata is verified with no error.") == 1
    assert sum("network is verified with no error" in line for line in said) == 2
    assert schema.read_bytes() == before


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"train#trainer#max_epoch": 3},
            "error: train.json key 'train#trainer#max_epoch': SupervisedTrainer has no such argument; "
            "found 'max_epoch'; did you mean 'max_epochs'?",
        ),
        (
            {"manifest": "nowhere/manifest.csv"},
            "error: nowhere/manifest.csv: ",
        ),
    ],
)
def test_refusal_by_monai_is_one_line_status_two_and_writes_nothing(
    start: Start, manifest: Path, tmp_path: Path, settings: dict[str, Any], line: str
) -> None:
    written = finish(start(command(CLASSIFIER, "train", tmp_path / "out", **{"manifest": manifest, **settings})), 2)
    assert written.splitlines()[-1].startswith(line)
    assert sum("error:" in text for text in written.splitlines()) == 1
    assert not (tmp_path / "out").exists()
