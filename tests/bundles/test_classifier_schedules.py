"""Overlays of the classifier bundle that change something while it trains: they run, and a kill changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from monai_cxraug.errors import ConfigError, CxrAugError, InputError
from monai_cxraug.handlers.resume import Resume
from tests.bundles.test_classifier_remedies import CONFIGS, train
from tests.bundles.test_classifier_training_sets import synthetic_set

pytestmark = pytest.mark.e2e
#: 1 step an epoch, so that there is a checkpoint after each.
SMALL: dict[str, Any] = {"architecture": "small_cnn", "epoch_length": 1, "batch_size": 6}
#: overlays, and the steps after which they are killed.
OVERLAYS = {
    "schedule_crt": range(1, 5),
    "schedule_synthetic_first": range(1, 5),
    "batch_mixup": (2,),
    "augment_classic": (2,),
    "schedule_synthetic_only": (2,),
}


class KilledError(CxrAugError):
    """What ends a training here; one of our errors, so that it comes out as it went in."""


def kill_after(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    save = Resume._epoch_completed

    def saved_and_killed(self: Resume, engine: Any) -> None:
        save(self, engine)
        if engine.state.epoch == epoch:
            raise KilledError("here", "killed")

    monkeypatch.setattr(Resume, "_epoch_completed", saved_and_killed)


@pytest.mark.parametrize(
    "overlay", [pytest.param(one, marks=[pytest.mark.slow] * (one != "schedule_crt")) for one in OVERLAYS]
)
def test_a_kill_at_any_step_changes_nothing(manifest: Path, tmp_path: Path, monkeypatch, overlay: str) -> None:
    settings = {**SMALL, "steps": 5, "synthetic": [str(synthetic_set(tmp_path / "set"))]}
    whole = train(manifest, tmp_path / "whole", overlay, **settings) / "model.pt"
    plain = train(manifest, tmp_path / "plain", **settings) / "model.pt"
    assert plain.read_bytes() != whole.read_bytes()
    for epoch in OVERLAYS[overlay]:
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


def test_mixed_batches_need_a_loss_that_takes_them(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must take labels between 0 and 1; found AUCMarginLoss"):
        train(manifest, tmp_path / "out", "loss_auc_margin", "batch_mixup", **SMALL, steps=2)
    assert train(manifest, tmp_path / "focal", "loss_focal", "batch_mixup", **SMALL, steps=2).exists()


def test_schedules_join_other_remedies(manifest: Path, tmp_path: Path) -> None:
    overlays = ("loss_ldam", "sampling_over", "augment_classic", "batch_mixup", "schedule_crt")
    assert (train(manifest, tmp_path / "out", *overlays, **SMALL, steps=5) / "model.pt").exists()


def test_mirroring_is_off_until_it_is_asked_for(manifest: Path, tmp_path: Path) -> None:
    flips = {"train#preprocessing#transforms#0#prob": 1.0}
    models = [
        (train(manifest, tmp_path / f"out{k}", "augment_classic", **SMALL, steps=2, **changes) / "model.pt")
        for k, changes in enumerate(({}, {"train#preprocessing#transforms#0#prob": 0.0}, flips))
    ]
    found = [torch.load(path, weights_only=True)["weights"] for path in models]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert any(not torch.equal(found[0][name], found[2][name]) for name in found[0])


def test_augmented_images_stay_in_range() -> None:
    overlay = json.loads((CONFIGS / "augment_classic.json").read_text())
    parser = ConfigParser({"transform": overlay["train#preprocessing"], "size": 32})
    transform = parser.get_parsed_content("transform")
    transform.set_random_state(0)
    original, moved = torch.rand(1, 32, 32), 0
    for _ in range(50):
        changed = transform({"image": original.clone()})["image"]
        assert changed.shape == original.shape
        assert changed.dtype == original.dtype
        assert 0 <= changed.min() <= changed.max() <= 1
        moved += not torch.equal(changed, original)
    assert moved > 40
