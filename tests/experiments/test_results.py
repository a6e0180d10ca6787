from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from monai_cxraug.artifacts import load_json
from monai_cxraug.errors import StateError
from monai_cxraug.experiments import results
from monai_cxraug.experiments.arms import CONTROLS, PLACEBO, missing_controls
from monai_cxraug.experiments.experiment import make_experiment
from monai_cxraug.experiments.plan import CellPlan, Plan
from monai_cxraug.experiments.results import SummarisePredictions, compute_results, verdict
from monai_cxraug.metrics.comparison import compare, estimate
from monai_cxraug.metrics.measures import NAMES, measure_seeds
from monai_cxraug.predictions import Predictions
from tests.experiments.conftest import document

CLASSES = ("Cardiomegaly", "Effusion", "Mass")


def _plan(**changes: Any) -> Plan:
    experiment = make_experiment(document(**changes), "x")
    cells = [
        CellPlan(f"{arm}-{seed}", arm, 1.0, None if arm == "plain" else 1.0, seed, {}, [])
        for arm in experiment.arms
        for seed in experiment.seeds
    ]
    return Plan(experiment, {}, CLASSES, [], [], cells)


def _predictions(plan: Plan, gain: dict[str, float], n: int = 240) -> dict[str, Predictions]:
    """Scores that separate the classes by ``gain`` of the arm, the same patients and labels for every cell."""
    rng = np.random.default_rng(5)
    labels = (rng.random((n, len(CLASSES))) < 0.3).astype(float)
    labels[rng.random(labels.shape) < 0.05] = np.nan
    patients = [f"P{index // 2}" for index in range(n)]
    noise = rng.normal(size=labels.shape)
    tables = {}
    for cell in plan.cells:
        scores = gain.get(cell.arm, 1.0) * np.nan_to_num(labels) + noise + 0.05 * rng.normal(size=labels.shape)
        names = [f"I{index}" for index in range(n)]
        tables[cell.id] = Predictions(names, patients, CLASSES, labels, 1 / (1 + np.exp(-scores)))
    return tables


def test_auroc_equals_sklearn_per_seed_and_the_mean_over_seeds() -> None:
    plan = _plan()
    tables = _predictions(plan, {"gan": 2.0})
    found = compute_results(plan, tables, "validation")
    rows = {(row["arm"], row["seed"], row["finding"]): row for row in found["arms"]}
    for column, finding in enumerate(CLASSES):
        each = []
        for seed in (0, 1):
            table = tables[f"gan-{seed}"]
            known = ~np.isnan(table.labels[:, column])
            each.append(roc_auc_score(table.labels[known, column], table.probs[known, column]))
            assert rows["gan", seed, finding]["auroc"] == pytest.approx(each[-1], abs=1e-12)
        assert rows["gan", "all", finding]["auroc"] == pytest.approx(np.mean(each), abs=1e-12)
        assert rows["gan", "all", finding]["n"] == int(known.sum())
    studied = [rows["gan", "all", name]["auroc"] for name in ("Cardiomegaly", "Effusion")]
    assert rows["gan", "all", "macro"]["auroc"] == pytest.approx(np.mean(studied), abs=1e-12)


def test_comparisons_are_differences_of_the_arms_and_the_primary_is_the_declared_one() -> None:
    plan = _plan()
    found = compute_results(plan, _predictions(plan, {"gan": 2.0}), "validation")
    area = {(row["arm"], row["finding"]): row["auroc"] for row in found["arms"] if row["seed"] == "all"}
    assert {(row["arm"], row["reference"]) for row in found["comparisons"]} == {
        ("duplicate_real", "plain"), ("gan", "plain"), ("gan", "duplicate_real"),
    }  # fmt: skip
    for row in found["comparisons"]:
        expected = area[row["arm"], row["finding"]] - area[row["reference"], row["finding"]]
        assert row["difference"] == pytest.approx(expected, abs=1e-12)
        low, high = row["interval"]
        assert low <= row["difference"] <= high
    primary = found["primary"]
    assert (primary["endpoint"], primary["arm"], primary["reference"]) == ("auroc", "gan", "duplicate_real")
    assert (primary["finding"], primary["fraction"], primary["ratio"]) == ("macro", 1.0, 1.0)


def test_without_controls_a_generator_gets_no_verdict_but_a_control_does() -> None:
    plan = _plan()
    found = compute_results(plan, _predictions(plan, {"gan": 3.0, "duplicate_real": 3.0}), "validation")
    assert found["missing"] == ["weighted_loss", "oversampled", "label_shuffled"]
    said = {(row["arm"], row["reference"], row["finding"]): row["verdict"] for row in found["comparisons"]}
    assert {said["gan", base, "macro"] for base in ("plain", "duplicate_real")} == {"comparison incomplete"}
    assert said["duplicate_real", "plain", "macro"] == "helps"


@pytest.mark.parametrize(
    ("interval", "p", "expected"),
    [
        ([0.01, 0.2], 0.01, "helps"),
        ([-0.2, -0.01], 0.01, "harms"),
        ([-0.1, 0.2], 0.5, "no evidence"),
        ([0.01, 0.2], 0.2, "no evidence"),  # Holm over the findings has the last word
        (None, None, "no evidence"),
    ],
)
def test_verdicts_with_every_control(interval: list[float] | None, p: float | None, expected: str) -> None:
    row = {"arm": "gan", "reference": "plain", "difference": 0.1, "interval": interval, "p_holm": p}
    assert verdict(row, [*CONTROLS, PLACEBO, "gan"]) == expected
    assert verdict(row, ["plain", "gan"]) == "comparison incomplete"


def test_each_control_is_needed() -> None:
    every = [*CONTROLS, PLACEBO]
    for control in every:
        assert missing_controls(["gan", *(name for name in every if name != control)]) == [control]
    assert missing_controls([]) == missing_controls(["plain", "focal_loss"]) == []


def test_holm_runs_over_the_findings_of_a_pair() -> None:
    plan = _plan()
    found = compute_results(plan, _predictions(plan, {"gan": 1.3}), "validation")
    rows = [row for row in found["comparisons"] if (row["arm"], row["reference"]) == ("gan", "plain")]
    single = sorted((row for row in rows if row["finding"] != "macro"), key=lambda row: row["p"])
    assert single[0]["p_holm"] == pytest.approx(min(1.0, 2 * single[0]["p"]))
    assert single[1]["p_holm"] == pytest.approx(max(single[0]["p_holm"], single[1]["p"]))


def test_the_endpoint_may_look_from_the_other_side() -> None:
    forth = _plan(endpoint={"arm": "duplicate_real", "reference": "plain", "finding": "Effusion"})
    back = _plan(endpoint={"arm": "plain", "reference": "duplicate_real", "finding": "Effusion"})
    tables = _predictions(forth, {"duplicate_real": 3.0})
    found = [compute_results(plan, tables, "validation") for plan in (forth, back)]
    pairs = [
        [row for row in one["comparisons"] if {row["arm"], row["reference"]} == {"duplicate_real", "plain"}]
        for one in found
    ]
    assert {(row["arm"], row["reference"]) for row in pairs[1]} == {("plain", "duplicate_real")}
    assert [row["difference"] for row in pairs[1]] == [-row["difference"] for row in pairs[0]]
    one, other = (each["primary"] for each in found)
    assert other["difference"] == -one["difference"]
    assert other["interval"] == [-one["interval"][1], -one["interval"][0]]
    assert (one["verdict"], other["verdict"]) == ("helps", "harms")


def test_the_order_of_findings_and_images_changes_nothing() -> None:
    plan = _plan()
    tables = _predictions(plan, {"gan": 2.0})
    order, columns = np.random.default_rng(0).permutation(240), [2, 0, 1]
    turned = {
        name: Predictions(
            [table.images[k] for k in order],
            [table.patients[k] for k in order],
            tuple(CLASSES[k] for k in columns),
            table.labels[np.ix_(order, columns)],
            table.probs[np.ix_(order, columns)],
        )
        for name, table in tables.items()
    }
    one, other = (compute_results(plan, each, "validation") for each in (tables, turned))
    for left, right in zip(one["arms"], other["arms"], strict=True):
        assert left["finding"] == right["finding"]
        assert left["auroc"] == pytest.approx(right["auroc"], abs=1e-12)


def test_cells_that_answered_on_other_images_are_refused() -> None:
    plan = _plan()
    tables = _predictions(plan, {})
    first = next(iter(tables))
    names = [*tables[first].images[:-1], "another"]
    tables[first] = Predictions(names, *list(vars(tables[first]).values())[1:])
    with pytest.raises(StateError, match="same images"):
        compute_results(plan, tables, "validation")


def test_a_finding_without_positives_is_null_and_stays_out_of_the_mean() -> None:
    plan = _plan()
    tables = _predictions(plan, {})
    for name, table in tables.items():
        labels = table.labels.copy()
        labels[:, CLASSES.index("Effusion")] = 0
        tables[name] = Predictions(table.images, table.patients, table.findings, labels, table.probs)
    found = compute_results(plan, tables, "validation")
    area = {row["finding"]: row["auroc"] for row in found["arms"] if (row["arm"], row["seed"]) == ("gan", "all")}
    assert area["Effusion"] is None
    assert area["macro"] == pytest.approx(area["Cardiomegaly"])
    row = next(row for row in found["comparisons"] if row["finding"] == "Effusion")
    assert (row["difference"], row["p_holm"]) == (None, None)


def test_summary_of_one_table(tmp_path: Path) -> None:
    plan = _plan()
    table = next(iter(_predictions(plan, {}).values()))
    table.write(tmp_path / "predictions.csv")
    SummarisePredictions(tmp_path / "predictions.csv", tmp_path / "metrics.json", replicates=200).run()
    found = load_json(tmp_path / "metrics.json")
    assert found["schema"] == results.METRICS_SCHEMA
    assert set(found["findings"]) == set(CLASSES)
    low, high = found["findings"]["Mass"]["interval"]
    assert low < found["findings"]["Mass"]["auroc"] < high


def test_what_is_worked_out_at_once_is_what_each_gives_alone() -> None:
    """Groups share what is drawn, seeds their arm's influence, comparisons both: equal to the last bit."""
    plan = _plan()
    tables = _predictions(plan, {"gan": 2.0}, 120)
    found, first, count = (
        compute_results(plan, tables, "validation"),
        tables["gan-0"],
        plan.experiment.budget.replicates,
    )
    studied = ["Cardiomegaly", "Effusion"]

    def scores(arm: str, seeds: Sequence[int], finding: str) -> tuple[Any, Any]:
        columns = [CLASSES.index(name) for name in studied] if finding == "macro" else CLASSES.index(finding)
        return np.stack([tables[f"{arm}-{seed}"].probs[:, columns] for seed in seeds]), first.labels[:, columns]

    for row in found["arms"]:
        alone = row["seed"] != "all"
        drawn = 0 if alone or row["finding"] not in (*studied, "macro") else count
        table, labels = scores(row["arm"], [row["seed"]] if alone else [0, 1], row["finding"])
        wanted = results._estimate_values(estimate(table, labels, first.patients, drawn))
        assert {key: row[key] for key in wanted} == wanted
    for row in found["comparisons"]:
        table, labels = scores(row["arm"], [0, 1], row["finding"])
        drawn = count if {row["arm"], row["reference"]} == {"gan", "duplicate_real"} else 0
        if (row["arm"], row["reference"]) == ("duplicate_real", "gan"):
            continue  # turned
        other, _ = scores(row["reference"], [0, 1], row["finding"])
        wanted = results._difference_values(compare(table, other, labels, first.patients, drawn))
        assert {key: row[key] for key in wanted} == wanted
    for row in found["operating"]:
        if row["seed"] == "all" and row["finding"] in studied:
            table, labels = scores(row["arm"], [0, 1], row["finding"])
            one = measure_seeds(table, labels, [0.5, 0.5], first.patients, count)
            assert {name: row[name] for name in NAMES} == {name: getattr(one, name) for name in NAMES}
            assert {name: row[f"{name}_interval"] and tuple(row[f"{name}_interval"]) for name in NAMES} == one.intervals
