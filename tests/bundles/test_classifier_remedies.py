"""Each remedy for imbalance as an overlay of the classifier bundle: it trains, resumes and exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_cxraug.bundle_config import run_stage
from monai_cxraug.errors import ConfigError, LeakageError, StateError

pytestmark = pytest.mark.e2e

CONFIGS = Path(__file__).resolve().parents[2] / "bundles" / "chest_xray_classification" / "configs"
REMEDIES = sorted(path.stem for kind in ("loss", "sampling") for path in CONFIGS.glob(f"{kind}_*.json"))
SHORT = {"device": "cpu", "threads": 1, "size": 32, "steps": 4, "epoch_length": 2, "batch_size": 4}


def train(manifest: Path, out: Path, *overlays: str, **settings: Any) -> Path:
    files = [CONFIGS / f"{name}.json" for name in ("train", *overlays)]
    place = {"bundle_root": str(CONFIGS.parent), "output_dir": str(out), "manifest": str(manifest)}
    run_stage(files, {**place, **SHORT, **settings})
    return out


@pytest.mark.parametrize(
    "remedy",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name not in ("loss_alpha", "loss_ldam", "sampling_over")))
        for name in REMEDIES
        if name != "loss_logit_adjusted"
    ],
)
def test_a_remedy_trains_another_network_than_none(manifest: Path, tmp_path: Path, remedy: str) -> None:
    weights = []
    for overlays in ((), (remedy,)):
        out = train(manifest, tmp_path / "-".join(("out", *overlays)), *overlays)
        weights.append(torch.load(out / "model.pt", weights_only=True)["weights"])
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_auc_losss_own_parameters_are_trained_and_resumed(manifest: Path, tmp_path: Path) -> None:
    out = train(manifest, tmp_path / "whole", "loss_auc_margin")
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    assert any(value.abs() > 0 for name, value in state["loss"].items() if name.endswith((".a", ".b")))
    assert set(state["loss"]) == {f"findings.{k}.{name}" for k in range(2) for name in ("a", "b", "alpha")}


def test_deferred_weights_begin_in_the_last_fifth(manifest: Path, tmp_path: Path) -> None:
    deferred = train(manifest, tmp_path / "deferred", "loss_ldam", steps=4)
    never = train(manifest, tmp_path / "never", "loss_ldam", steps=4, reweight_after=4)
    found = [torch.load(out / "model.pt", weights_only=True)["weights"] for out in (deferred, never)]
    assert any(not torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_a_loss_for_single_labels_refuses_others(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="exactly one class"):
        train(manifest, tmp_path / "out", "loss_logit_adjusted")


def test_resampling_outside_training_is_refused(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises(LeakageError, match="only training images may be resampled"):
        train(manifest, tmp_path / "out", "sampling_over", split="val")


def test_overlays_change_the_loss_or_the_sampling_and_nothing_else() -> None:
    assert len(REMEDIES) == 11
    for name in REMEDIES:
        config = json.loads((CONFIGS / f"{name}.json").read_text())
        assert set(config) - {"_desc_", "reweight_after", "repeat_transform"} == {name.split("_")[0]}


def test_a_model_is_used_with_the_contrast_it_was_trained_with(manifest: Path, tmp_path: Path) -> None:
    answers = []
    for overlays in ((), ("contrast_equalise",)):
        out = train(manifest, tmp_path / "-".join(("out", *overlays)), *overlays)
        settings = {"bundle_root": str(CONFIGS.parent), "output_dir": str(out), "manifest": str(manifest), "threads": 1}
        run_stage(CONFIGS / "evaluate.json", {**settings, "checkpoint": str(out / "model.pt"), "device": "cpu"})
        answers.append((out / "predictions.csv").read_text())
    assert torch.load(out / "model.pt", weights_only=True)["about"]["contrast"] == "equalise"
    plain = torch.load(tmp_path / "out" / "model.pt", weights_only=True)
    plain["about"]["contrast"] = "equalise"
    torch.save(plain, tmp_path / "out" / "model.pt")
    settings = {"bundle_root": str(CONFIGS.parent), "output_dir": str(tmp_path / "again"), "manifest": str(manifest)}
    run_stage(
        CONFIGS / "evaluate.json",
        {**settings, "threads": 1, "checkpoint": str(tmp_path / "out" / "model.pt"), "device": "cpu"},
    )
    assert (tmp_path / "again" / "predictions.csv").read_text() != answers[0]  # the file decides, not the stage


def test_small_networks_dropout_freezing_and_slow_bodies(manifest: Path, tmp_path: Path) -> None:
    settings = {"architecture": "small_cnn", "dropout": 0.5, "frozen_steps": 4, "body_rate": 0.1}
    frozen = train(manifest, tmp_path / "frozen", **settings)
    moved = train(manifest, tmp_path / "moved", **{**settings, "frozen_steps": 2})
    found = [torch.load(out / "model.pt", weights_only=True) for out in (frozen, moved)]
    assert found[0]["settings"]["dropout"] == 0.5
    assert torch.equal(found[0]["weights"]["body.features.1.running_mean"], torch.zeros(32))
    assert not torch.equal(found[1]["weights"]["body.features.1.running_mean"], torch.zeros(32))


def evaluate(manifest: Path, model: Path, out: Path, *overlays: str, **settings: Any) -> str:
    files = [CONFIGS / f"{name}.json" for name in ("evaluate", *overlays)]
    place = {"bundle_root": str(CONFIGS.parent), "output_dir": str(out), "manifest": str(manifest), "threads": 1}
    run_stage(files, {**place, "checkpoint": str(model), "device": "cpu", **settings})
    table = out / "predictions.csv"
    return table.read_text() if table.exists() else ""


def test_flips_are_averaged_wherever_the_model_is_used(manifest: Path, tmp_path: Path) -> None:
    model = train(manifest, tmp_path / "out", architecture="small_cnn", flip_averaging=True) / "model.pt"
    answers = evaluate(manifest, model, tmp_path / "flipped")
    assert evaluate(manifest, model, tmp_path / "plain", flip_averaging=False) != answers
    evaluate(manifest, model, tmp_path / "fitted", "calibrate")
    assert json.loads(model.with_name("calibration.json").read_text())["flips"] is True
    with pytest.raises(StateError, match="fitted with flip_averaging false, as it is used"):
        evaluate(manifest, model, tmp_path / "other", flip_averaging=False)
    assert not (tmp_path / "other").exists()


def test_a_calibrated_model_says_more_and_the_rest_stays(manifest: Path, tmp_path: Path) -> None:
    model = train(manifest, tmp_path / "out", architecture="small_cnn") / "model.pt"
    before = evaluate(manifest, model, tmp_path / "before").splitlines()
    with pytest.raises(LeakageError, match="not trained on"):
        evaluate(manifest, model, tmp_path / "seen", "calibrate", split="train")
    evaluate(manifest, model, tmp_path / "fitted", "calibrate", **{"summary#rule": "specificity=0.5"})
    assert not (tmp_path / "fitted").exists()  # all it writes lies beside the model
    assert model.with_name("calibration.csv").exists()
    after = evaluate(manifest, model, tmp_path / "after", maps=1).splitlines()
    assert [line[: len(old)] for line, old in zip(after, before, strict=True)] == before
    assert after[0].removeprefix(before[0]) == ",calibrated:Edema,calibrated:Fibrosis,call:Edema,call:Fibrosis"
    assert len(list((tmp_path / "after" / "maps").glob("*/*.png"))) == 6
