"""What an experiment will cost and find, told before it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_cxraug.artifacts import load_json
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.errors import ConfigError
from monai_cxraug.experiments.commands import PlanExperiment
from monai_cxraug.experiments.experiment import make_experiment
from monai_cxraug.experiments.forecast import forecast
from monai_cxraug.experiments.planning import make_plan
from monai_cxraug.experiments.stages import Hand
from monai_cxraug.metrics.power import planned_effect
from monai_cxraug.reporting.forecast import describe
from tests.experiments.conftest import document

pytestmark = pytest.mark.e2e
Told = tuple[dict[str, Any], list[str]]


@pytest.fixture(scope="module")
def told(phantom_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Told:
    budget = {
        "replicates": 200,
        "threads": 1,
        "generator": {"total_images": 400, "fade_images": 50, "stable_images": 50},
        "classifier": {"steps": 24, "epoch_length": 6, "batch_size": 16},
    }
    experiment = make_experiment(document(budget=budget), "x")
    plan = make_plan(experiment, {"train": phantom_manifest, "validation": phantom_manifest})
    folder = tmp_path_factory.mktemp("run")
    forecast(Hand(plan, folder)).write(folder / "forecast.json")
    assert [path.name for path in folder.iterdir()] == ["forecast.json"]  # rehearsals leave nothing behind
    found = load_json(folder / "forecast.json")
    return found, list(describe(found))


def test_every_stage_is_counted_and_timed(told: Told) -> None:
    shares = {share["kind"]: share for share in told[0]["shares"]}
    assert {kind: one["pieces"] for kind, one in shares.items()} == {"generators": 4, "synthetic sets": 4, "cells": 6}
    assert shares["generators"]["images"] == 4 * 400
    assert shares["cells"]["images"] == 6 * 24 * 16
    assert shares["cells"]["seconds"] > 0.5
    assert shares["generators"]["seconds"] > 0.5
    assert told[0]["seconds"] == pytest.approx(shares["cells"]["seconds"] + shares["generators"]["seconds"])
    assert any("expected time" in line for line in told[1])


def test_prospects_are_those_of_the_judged_images(told: Told, phantom_manifest: Path) -> None:
    manifest = read_manifest(phantom_manifest)
    rows = np.flatnonzero(manifest["split"] == "val")
    patients = [str(name) for name in manifest["patient_id"][rows]]
    for row in told[0]["prospects"][:2]:
        labels = manifest.label(row["finding"])[rows]
        for key, comparisons in (("alone", 1), ("family", 2)):
            expected = planned_effect(labels, patients, 2, comparisons)
            assert (row[key]["effect"], row[key]["reason"]) == (expected.effect, expected.reason)
    assert [row["finding"] for row in told[0]["prospects"]] == ["Cardiomegaly", "Effusion", "macro"]


def test_too_few_positives_are_called_not_estimable(told: Told) -> None:
    few = [row for row in told[0]["prospects"] if row["alone"]["effect"] is None]
    assert few  # 48 validation images hold less than ten patients with Cardiomegaly
    for row in few:
        name = "Mean over findings" if row["finding"] == "macro" else row["finding"]
        assert any(line.startswith(f"{name}: not estimable, ") for line in told[1])
    assert "a verdict still needs: weighted_loss, oversampled, label_shuffled" in told[1]


def test_assumptions_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'correlation'"):
        PlanExperiment("x.yaml", tmp_path, assume={"corelation": 0.5}).run()
