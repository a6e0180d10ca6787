"""Exchange rates of a run's cells, as rows of ``results.json``."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from monai_cxraug.experiments.axis import Scale
from monai_cxraug.experiments.exchange import exchange_rows
from monai_cxraug.experiments.experiment import make_experiment
from monai_cxraug.experiments.plan import CellPlan, Plan
from monai_cxraug.experiments.results import compute_results
from monai_cxraug.metrics import exchange
from monai_cxraug.predictions import Predictions
from tests.experiments.conftest import document

IMAGES = {10 / 300: 10, 50 / 300: 50, 1.0: 300}
SCALE = Scale("Effusion", list(IMAGES.items()), 300)
CLASSES = ("Cardiomegaly", "Effusion", "Mass")
#: where the classes' means lie apart, by arm and number of real images; nothing is made where nothing is to be added.
APART = {
    ("plain", 10): 0.3, ("plain", 50): 0.9, ("plain", 300): 1.6,
    ("weighted_loss", 10): 0.3, ("weighted_loss", 50): 0.8, ("weighted_loss", 300): 1.7,
    ("gan", 10): 0.9, ("gan", 50): 1.6,
}  # fmt: skip


def plan(**changes: Any) -> Plan:
    arms = list(dict.fromkeys(arm for arm, _ in APART))
    endpoint = {"arm": "gan", "reference": "plain", "fraction": 50 / 300}
    values = document(arms=arms, findings=["Effusion"], fractions=list(IMAGES), endpoint=endpoint, **changes)
    experiment = make_experiment(values, "x")
    cells = [
        CellPlan(f"{arm}-{count}-{seed}", arm, fraction, None, seed, {}, [])
        for seed in (1, 0)
        for fraction, count in IMAGES.items()
        for arm, some in APART
        if some == count
    ]
    return Plan(experiment, {}, CLASSES, [], [], cells, scale=SCALE)


def answers(made: Plan) -> dict[str, Predictions]:
    rng = np.random.default_rng(3)
    labels = (rng.random((300, len(CLASSES))) < 0.4).astype(float)
    labels[rng.random(labels.shape) < 0.05] = np.nan
    noise = rng.normal(size=labels.shape)
    tables = {}
    for cell in made.cells:
        apart = APART[cell.arm, IMAGES[cell.fraction]]
        scores = apart * np.nan_to_num(labels) + 0.8 * noise + 0.6 * rng.normal(size=labels.shape)
        names = [f"I{k}" for k in range(300)]
        tables[cell.id] = Predictions(
            names, [f"P{k // 2}" for k in range(300)], CLASSES, labels, 1 / (1 + np.exp(-scores))
        )
    return tables


PLAN = plan()
ANSWERS = answers(PLAN)


def test_rows_are_those_of_the_metric() -> None:
    found = exchange_rows(PLAN, ANSWERS)
    assert [(row["arm"], row["real"], row["fraction"]) for row in found["exchange"]] == [
        ("weighted_loss", 10, 10 / 300),
        ("weighted_loss", 50, 50 / 300),
        ("gan", 10, 10 / 300),
        ("gan", 50, 50 / 300),
    ]
    first = ANSWERS["gan-10-0"]

    def scores(arm: str) -> dict[int, Any]:
        return {
            count: np.stack([ANSWERS[f"{arm}-{count}-{seed}"].probs[:, 1] for seed in (0, 1)])
            for name, count in APART
            if name == arm
        }

    expected = exchange(scores("plain"), {"gan": scores("gan")}, first.labels[:, 1], first.patients, 200)
    rows = [row for row in found["exchange"] if row["arm"] == "gan"]
    for row, rate in zip(rows, expected.rates["gan"], strict=True):
        assert rate.equivalent is not None
        assert rate.interval is not None
        assert rate.bootstrap_interval is not None
        assert (row["reference"], row["finding"], row["ratio"]) == ("plain", "Effusion", None)
        assert (row["equivalent"], row["censored"]) == (rate.equivalent.images, rate.equivalent.beyond)
        assert (row["gain"], row["more"]) == (rate.gain, rate.more)
        for ends, prefix in ((rate.interval, ""), (rate.bootstrap_interval, "bootstrap_")):
            for name, end in zip(("low", "high"), ends, strict=True):
                assert (row[f"{prefix}{name}"], row[f"{prefix}{name}_censored"]) == (end.images, end.beyond)
        known = ~np.isnan(first.labels[:, 1])
        areas = [roc_auc_score(first.labels[known, 1], one[known]) for one in scores("gan")[row["real"]]]
        assert row["auroc"] == pytest.approx(np.mean(areas), abs=1e-12)
    (curve,) = found["exchange_curves"]
    assert (curve["real"], curve["auroc"]) == ([10, 50, 300], list(expected.aurocs))
    assert curve["rising"] == list(expected.curve)
    assert curve["interval"] == list(expected.rise.interval or ())
    json.dumps(found, allow_nan=False)


def test_a_generator_that_planted_scores_make_worth_more() -> None:
    """Its scores lie apart as plain's do with 50 instead of 10 images, and with 300 instead of 50."""
    rows = {row["real"]: row for row in exchange_rows(PLAN, ANSWERS)["exchange"] if row["arm"] == "gan"}
    assert 30 < rows[10]["equivalent"] < 80
    assert rows[10]["low"] < rows[10]["equivalent"] < rows[10]["high"]
    assert rows[10]["gain"] == rows[10]["equivalent"] / 10
    assert rows[50]["equivalent"] > 200
    assert rows[50]["high_censored"] == "above"
    assert rows[50]["high"] == 300


def test_the_order_of_cells_changes_nothing() -> None:
    turned = replace(PLAN, cells=PLAN.cells[::-1])
    rows, others = (exchange_rows(one, ANSWERS)["exchange"] for one in (PLAN, turned))
    assert sorted(map(str, rows)) == sorted(map(str, others))


def test_results_have_them() -> None:
    found = compute_results(PLAN, ANSWERS, "test")
    assert {key: found[key] for key in ("exchange", "exchange_curves")} == exchange_rows(PLAN, ANSWERS)
    assert found["scale"] == SCALE.document()


def test_each_ratio_is_an_arm_of_its_own() -> None:
    cells = [
        CellPlan(f"{cell.id}-r{ratio}", cell.arm, cell.fraction, ratio, cell.seed, {}, [])
        for cell in PLAN.cells
        for ratio in ((1.0, 2.0) if cell.arm == "gan" else (None,))
    ]
    tables = {f"{cell.id}-r{ratio}": ANSWERS[cell.id] for cell in PLAN.cells for ratio in (None, 1.0, 2.0)}
    rows = exchange_rows(replace(PLAN, cells=cells), tables)["exchange"]
    made = [(row["real"], row["ratio"], row["equivalent"]) for row in rows if row["arm"] == "gan"]
    assert [ratio for _, ratio, _ in made] == [1.0, 1.0, 2.0, 2.0]
    assert made[0][2] == made[2][2]


@pytest.mark.parametrize("scale", [None, Scale("Effusion", [], 300), Scale("Effusion", [(1.0, 300)], 300)])
def test_nothing_without_two_counts(scale: Scale | None) -> None:
    assert exchange_rows(replace(PLAN, scale=scale), ANSWERS) == {"exchange": [], "exchange_curves": []}


def test_nothing_without_plain() -> None:
    cells = [cell for cell in PLAN.cells if cell.arm != "plain"]
    assert exchange_rows(replace(PLAN, cells=cells), ANSWERS)["exchange"] == []


def test_a_curve_that_does_not_rise_is_called_flat() -> None:
    flat = {
        **ANSWERS,
        **{f"plain-{count}-{seed}": ANSWERS[f"plain-50-{seed}"] for count in (10, 300) for seed in (0, 1)},
    }
    found = exchange_rows(PLAN, flat)
    assert {(row["censored"], row["equivalent"], row["low"]) for row in found["exchange"]} == {("flat", None, None)}
    assert found["exchange_curves"][0]["rise"] == 0


def test_a_missing_class_is_not_called_flat() -> None:
    empty = {
        name: Predictions(one.images, one.patients, one.findings, np.zeros_like(one.labels), one.probs)
        for name, one in ANSWERS.items()
    }
    found = exchange_rows(PLAN, empty)
    assert {(row["auroc"], row["censored"], row["gain"]) for row in found["exchange"]} == {(None, None, None)}
    assert found["exchange_curves"][0]["auroc"] == [None] * 3
