"""Overlays of the classifier bundle that change something while it trains: they run, and a kill changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from monai_cxraug.errors import ConfigError, CxrAugError, InputError
from monai_cxraug.handlers.resume import Resume
from tests.bundles.test_classifier_remedies import train
from tests.bundles.test_classifier_training_sets import synthetic_set

pytestmark = pytest.mark.e2e
#: 1 step an epoch, so that there is a checkpoint after each.
SMALL: dict[str, Any] = {"architecture": "small_cnn", "epoch_length": 1, "batch_size": 6}
OVERLAYS = ("schedule_crt", "schedule_synthetic_first")


class KilledError(CxrAugError):
    """What ends a training here; one of our errors, so that it comes out as it went in."""


def kill_after(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    save = Resume._epoch_completed

    def saved_and_killed(self: Resume, engine: Any) -> None:
        save(self, engine)
        if engine.state.epoch == epoch:
            raise KilledError("here", "killed")

    monkeypatch.setattr(Resume, "_epoch_completed", saved_and_killed)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_kill_at_any_step_changes_nothing(manifest: Path, tmp_path: Path, monkeypatch, overlay: str) -> None:
    settings = {**SMALL, "steps": 5, "synthetic": [str(synthetic_set(tmp_path / "set"))]}
    whole = train(manifest, tmp_path / "whole", overlay, **settings) / "model.pt"
    plain = train(manifest, tmp_path / "plain", **settings) / "model.pt"
    assert plain.read_bytes() != whole.read_bytes()
    for epoch in range(1, 5):
        out = tmp_path / f"killed{epoch}"
        with monkeypatch.context() as patch:
            kill_after(patch, epoch)
            with pytest.raises(KilledError):
                train(manifest, out, overlay, **settings)
        assert not (out / "model.pt").exists()
        assert (train(manifest, out, overlay, **settings) / "model.pt").read_bytes() == whole.read_bytes(), epoch


def test_the_first_stage_of_re_training_is_a_plain_training(manifest: Path, tmp_path: Path) -> None:
    both, first = (
        torch.load(train(manifest, tmp_path / name, *overlays, **SMALL, **changes) / "model.pt", weights_only=True)
        for name, overlays, changes in (
            ("both", ("schedule_crt",), {"steps": 8}),
            ("first", (), {"steps": 6}),
        )
    )
    differ = {name for name in both["weights"] if not torch.equal(both["weights"][name], first["weights"][name])}
    assert differ == {"body.out.weight", "body.out.bias"}


def test_synthetic_first_needs_synthetic_images(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs synthetic images"):
        train(manifest, tmp_path / "out", "schedule_synthetic_first", **SMALL, steps=4)


def test_parts_of_a_training_need_steps(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="every part of the training needs a step"):
        train(manifest, tmp_path / "out", "schedule_crt", **SMALL, steps=4, switch_after=4)
    with pytest.raises(ConfigError, match="go together"):
        train(manifest, tmp_path / "out", **SMALL, steps=4, switch_after=3)
