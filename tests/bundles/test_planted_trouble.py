"""Too little memory on a device and numbers that are none, planted in whole trainings of the bundles."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from monai_cxraug.artifacts import read_json
from monai_cxraug.bundle_config import bundle_file, run_stage
from monai_cxraug.engines.gan_batch import GanBatch
from monai_cxraug.engines.gan_updates import GanUpdates
from monai_cxraug.errors import ConfigError, StateError
from monai_cxraug.handlers.recovery import SCHEMA
from monai_cxraug.handlers.resume import read_checkpoint
from monai_cxraug.losses.adversarial import NonSaturatingLoss
from monai_cxraug.losses.imbalance import MaskedBCE
from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.weights import load_model

SETTINGS: dict[str, dict[str, Any]] = {
    "chest_xray_pggan": {
        "finding": "Edema", "resolution": 8, "latent_size": 8, "fmap_base": 64, "fmap_max": 8, "fade_images": 16,
        "stable_images": 16, "total_images": 160, "batch_size": 8, "epoch_length": 3, "grid_images": 10**6,
        "check_every": 3, "check_grace": 10**6,
    },
    "chest_xray_classification": {
        "architecture": "small_cnn", "size": 16, "steps": 12, "epoch_length": 3, "batch_size": 4,
    },
}  # fmt: skip
GENERATOR, CLASSIFIER = SETTINGS


def train(bundle: str, out: Path, manifest: Path, **changes: Any) -> None:
    config = bundle_file(bundle, "train")
    place = {"bundle_root": str(config.parents[1]), "manifest": str(manifest), "output_dir": str(out)}
    run_stage(config, {**place, **SETTINGS[bundle], "threads": 1, "device": "cpu", **changes})


def weights(folder: Path) -> dict[str, Tensor]:
    return load_model(folder).network.state_dict()


def assert_equal_weights(first: Path, second: Path) -> None:
    one, other = weights(first), weights(second)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def replace_call(patch: pytest.MonkeyPatch, owner: type, name: str, at: int, act: Callable[..., Any]) -> None:
    """Do something else at the N-th call of a method."""
    original, calls = getattr(owner, name), itertools.count(1)

    def replaced(*given: Any, **more: Any) -> Any:
        return (act if next(calls) == at else original)(*given, **more)

    patch.setattr(owner, name, replaced)


def run_out(*_: Any, **__: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of ...")


# --- memory ---


def limit_memory(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """A device that holds so many images in one pass."""
    original = GanUpdates._collect

    def collect(self: GanUpdates, batch: GanBatch, size: int, losses: Any) -> Any:
        return original(self, batch, size, losses) if size <= most else run_out()

    monkeypatch.setattr(GanUpdates, "_collect", collect)


def test_a_generator_takes_smaller_parts_when_memory_runs_out(
    tmp_path: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(GENERATOR, tmp_path / "parts", manifest, part=4)
    limit_memory(monkeypatch, 4)
    train(GENERATOR, tmp_path / "short", manifest)
    assert_equal_weights(tmp_path / "parts", tmp_path / "short")
    # interrupted, it finds the limit anew and ends with the same bytes
    with monkeypatch.context() as patch:
        replace_call(patch, GanUpdates, "critic", 9, interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(GENERATOR, tmp_path / "again", manifest)
    train(GENERATOR, tmp_path / "again", manifest)
    assert (tmp_path / "again" / "model.pt").read_bytes() == (tmp_path / "short" / "model.pt").read_bytes()


def interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_a_generator_that_fits_nowhere_says_so(tmp_path: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_memory(monkeypatch, 1)
    with pytest.raises(ConfigError, match=r"memory.*must fit; found out of memory at \d images; use a smaller network"):
        train(GENERATOR, tmp_path, manifest)


def test_a_classifier_that_runs_out_of_memory_goes_on_where_it_was(
    tmp_path: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(CLASSIFIER, tmp_path / "whole", manifest)
    with monkeypatch.context() as patch:
        replace_call(patch, Classifier, "forward", 8, run_out)
        with pytest.raises(ConfigError, match=r"memory of the device.*CUDA out of memory;"):
            train(CLASSIFIER, tmp_path / "short", manifest)
    assert read_checkpoint(tmp_path / "short" / "checkpoint.pt")["resume"]["iteration"] == 6
    train(CLASSIFIER, tmp_path / "short", manifest)
    assert (tmp_path / "short" / "model.pt").read_bytes() == (tmp_path / "whole" / "model.pt").read_bytes()


# --- numbers that are none ---


def plant_nan(patch: pytest.MonkeyPatch, record: Path, at: int) -> None:
    """Let a generator's loss be NaN from the N-th one on, until a rollback is on record."""
    original, calls = NonSaturatingLoss.generator, itertools.count(1)

    def generator(loss: NonSaturatingLoss, fake_scores: Tensor) -> Tensor:
        value = original(loss, fake_scores)
        return value * math.nan if next(calls) >= at and not record.exists() else value

    patch.setattr(NonSaturatingLoss, "generator", generator)


def test_a_generator_returns_to_its_last_good_state(
    tmp_path: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plant_nan(monkeypatch, tmp_path / "recovery.json", at=11)
    train(GENERATOR, tmp_path, manifest)
    (event,) = read_json(tmp_path / "recovery.json", SCHEMA)["events"]
    assert event["action"] == "rolled back"
    assert "not finite" in event["reason"]
    assert 0 < event["to"] < event["images_seen"]
    assert any("rolled back from" in record.getMessage() for record in caplog.records)
    assert all(bool(one.isfinite().all()) for one in weights(tmp_path).values())


def test_a_classifier_ends_before_it_keeps_what_is_no_number(
    tmp_path: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(CLASSIFIER, tmp_path / "whole", manifest)
    original = MaskedBCE.forward
    with monkeypatch.context() as patch:
        replace_call(patch, MaskedBCE, "forward", 8, lambda *given: original(*given) * math.nan)
        with pytest.raises(StateError, match="at step 9: weights must stay finite"):
            train(CLASSIFIER, tmp_path / "ill", manifest)
    assert not (tmp_path / "ill" / "model.pt").exists()
    kept = read_checkpoint(tmp_path / "ill" / "checkpoint.pt")
    assert kept["resume"]["iteration"] == 6
    assert all(bool(one.isfinite().all()) for one in kept["network"].values())
    train(CLASSIFIER, tmp_path / "ill", manifest)
    assert (tmp_path / "ill" / "model.pt").read_bytes() == (tmp_path / "whole" / "model.pt").read_bytes()
