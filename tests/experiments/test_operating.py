"""Rates at thresholds that other images chose, seed by seed and over all seeds."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, recall_score

from monai_cxraug.calibration import Calibration, fit_calibration
from monai_cxraug.experiments.operating import Answers
from monai_cxraug.experiments.plan import CellPlan
from monai_cxraug.metrics.calibration import brier_score, calibration_error
from monai_cxraug.metrics.resampling import Draws
from monai_cxraug.predictions import Predictions

FINDINGS = ("Edema", "Mass")


def table(seed: int, n: int = 120) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = (np.random.default_rng(9).random((n, 2)) < 0.4).astype(float)
    labels[::7, 1] = np.nan
    odds = 2 * np.nan_to_num(labels) - 1 + rng.normal(size=(n, 2))
    names = [str(k) for k in range(n)]
    return Predictions(names, [str(k // 2) for k in range(n)], FINDINGS, labels, 1 / (1 + np.exp(-2 * odds)))


CELLS = [CellPlan(f"plain-{seed}", "plain", 1.0, None, seed, {}, []) for seed in (3, 5)]
TABLES = {cell.id: table(cell.seed) for cell in CELLS}


def drawn(answers: Predictions) -> dict[str, Draws]:
    known = ~np.isnan(answers.labels)
    return {finding: Draws(answers.owners[known[:, k]], 100) for k, finding in enumerate(FINDINGS)}


@pytest.fixture(scope="module")
def fitted() -> dict[str, Calibration]:
    return {cell.id: fit_calibration(table(cell.seed + 100), "sensitivity=0.8", "0" * 64) for cell in CELLS}


def test_each_cell_is_judged_at_its_own_threshold_and_temperature(fitted: dict[str, Calibration]) -> None:
    rows = Answers.of(CELLS, TABLES, fitted).rows(drawn(TABLES[CELLS[0].id]))
    assert [(row["finding"], row["seed"]) for row in rows] == [(name, s) for name in FINDINGS for s in (3, 5, "all")]
    for column, finding in enumerate(FINDINGS):
        three, five, every = rows[3 * column : 3 * column + 3]
        for row, cell in ((three, CELLS[0]), (five, CELLS[1])):
            one, answers = fitted[cell.id].findings[finding], TABLES[cell.id]
            known = ~np.isnan(answers.labels[:, column])
            truth, before = answers.labels[known, column], answers.probs[known, column]
            after = 1 / (1 + np.exp(-np.log(before / (1 - before)) / one.temperature))
            calls = after >= one.threshold
            assert (row["rule"], row["threshold"]) == ("sensitivity=0.8", one.threshold)
            assert (row["temperature"], row["n"]) == (one.temperature, known.sum())
            assert row["accuracy"] == pytest.approx(accuracy_score(truth, calls))
            assert row["sensitivity"] == pytest.approx(recall_score(truth, calls))
            assert row["specificity"] == pytest.approx(recall_score(1 - truth, ~calls))
            assert row["brier"] == pytest.approx(brier_score(after, truth))
            assert row["ece"] == pytest.approx(calibration_error(after, truth))
            assert row["ece_before"] == pytest.approx(calibration_error(before, truth))
        for name in ("accuracy", "sensitivity", "specificity", "brier", "ece"):
            assert every[name] == pytest.approx((three[name] + five[name]) / 2)
        assert (every["threshold"], every["temperature"]) == (None, None)
        assert every["accuracy_interval"][0] < every["accuracy"] < every["accuracy_interval"][1]


def test_without_images_to_choose_on_the_threshold_is_one_half() -> None:
    row = Answers.of(CELLS[:1], TABLES, {}).rows(drawn(TABLES[CELLS[0].id]))[0]
    answers = TABLES[CELLS[0].id]
    assert (row["rule"], row["threshold"], row["temperature"]) == ("threshold=0.5", 0.5, None)
    assert row["accuracy"] == pytest.approx(accuracy_score(answers.labels[:, 0], answers.probs[:, 0] >= 0.5))
    assert row["ece"] == pytest.approx(row["ece_before"])


def test_what_a_missing_class_forbids_is_none() -> None:
    answers = TABLES[CELLS[0].id]
    healthy = Predictions(answers.images, answers.patients, FINDINGS, np.zeros_like(answers.labels), answers.probs)
    row = Answers.of(CELLS[:1], {CELLS[0].id: healthy}, {}).rows(drawn(healthy))[0]
    assert (row["sensitivity"], row["sensitivity_interval"]) == (None, None)
    assert row["specificity"] == row["accuracy"]
