"""Results: every number of an experiment, computed from the predictions of its cells and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.artifacts import write_json
from monai_cxraug.calibration import Calibration
from monai_cxraug.errors import StateError
from monai_cxraug.experiments.arms import missing_controls
from monai_cxraug.experiments.exchange import exchange_rows
from monai_cxraug.experiments.experiment import Experiment
from monai_cxraug.experiments.operating import Answers
from monai_cxraug.experiments.plan import CellPlan, Plan
from monai_cxraug.experiments.subgroups import subgroup_rows
from monai_cxraug.metrics.comparison import Difference, Estimate, compare, estimate
from monai_cxraug.metrics.multiplicity import benjamini_hochberg, holm
from monai_cxraug.predictions import Predictions, read_predictions

SCHEMA = "cxraug.results/2"
METRICS_SCHEMA = "cxraug.metrics/1"
MACRO = "macro"
_LEVEL = 0.05


@dataclass(frozen=True)
class Group:
    """The cells that differ by seed alone: an arm at a fraction and a ratio."""

    arm: str
    fraction: float
    ratio: float | None
    cells: Sequence[CellPlan]

    @property
    def key(self) -> dict[str, Any]:
        """The columns that name the group in the results."""
        return {"arm": self.arm, "fraction": self.fraction, "ratio": self.ratio}


def compute_results(
    plan: Plan,
    predictions: Mapping[str, Predictions],
    split: str,
    calibrations: Mapping[str, Calibration] | None = None,
    subgroups: Mapping[str, NDArray[np.str_]] | None = None,
) -> dict[str, Any]:
    """Estimate every arm and compare those the experiment asks about.

    Args:
        plan: what was declared.
        predictions: cell id to its answers; all cells answered on the same images in the same order.
        split: role of those images, for the record.
        calibrations: cell id to what was fitted for it on other images, for every cell; default for none.
        subgroups: column to the subgroup of each image.

    Returns:
        ``primary`` with its ``harm``, ``missing``, ``scale``, ``arms``, ``comparisons``, ``operating``, ``subgroups``,
        ``curves``, ``exchange`` and ``exchange_curves``, ready for ``results.json``.

    Raises:
        StateError: cells answered on different images.
    """
    _require_same_images(predictions)
    experiment = plan.experiment
    groups = _groups(plan.cells)
    arms = [row for group in groups for row in _arm_rows(group, predictions, plan)]
    comparisons = _comparisons(groups, predictions, experiment)
    answers = {id(group): Answers.of(group.cells, predictions, calibrations or {}) for group in groups}
    primary = _primary(experiment, comparisons)
    return {
        "name": experiment.name,
        "title": experiment.title or experiment.name,
        "split": split,
        "primary": {**primary, "harm": _harm(primary, groups, answers, experiment)},
        "missing": missing_controls(experiment.arms),
        "scale": plan.scale and plan.scale.document(),
        "arms": arms,
        "comparisons": comparisons,
        "operating": [
            {**group.key, **row}
            for group in groups
            for row in answers[id(group)].rows(experiment.findings, experiment.budget.replicates)
        ],
        "subgroups": [
            {**group.key, **row}
            for group in groups
            for row in subgroup_rows(
                [predictions[cell.id] for cell in group.cells], experiment.findings, subgroups or {}
            )
        ],
        "curves": [
            {**group.key, **row}
            for group in groups
            if group.fraction == primary["fraction"] and group.ratio in (None, primary["ratio"])
            for finding in experiment.findings
            for row in answers[id(group)].curves(finding)
        ],
        **exchange_rows(plan, predictions),
    }


def _harm(
    primary: Mapping[str, Any], groups: Sequence[Group], answers: Mapping[int, Answers], experiment: Experiment
) -> list[dict[str, Any]]:
    """What the endpoint's arm changes beside AUROC, on each studied finding."""
    ours, theirs = (
        answers[id(group)]
        for name in (primary["arm"], primary["reference"])
        for group in groups
        if (group.arm, group.fraction) == (name, primary["fraction"]) and group.ratio in (None, primary["ratio"])
    )
    return [
        row for finding in experiment.findings for row in ours.change(theirs, finding, experiment.budget.replicates)
    ]


@dataclass(frozen=True)
class SummarisePredictions:
    """Writes AUROC with 95 % intervals of one table of predictions.

    Args:
        predictions: table to read.
        path: JSON file to write.
        replicates: bootstrap replicates over patients.
        writer: TensorBoard ``SummaryWriter`` that is given each AUROC, if wanted.
        step: of the training that made the model, where TensorBoard puts them.
    """

    predictions: str | Path
    path: str | Path
    replicates: int = 2000
    writer: Any = None
    step: int = 0

    def run(self) -> dict[str, Any]:
        """Compute and write, per finding: ``auroc``, ``interval``, ``n``, ``positives``."""
        table = read_predictions(Path(self.predictions))
        rows = {}
        for column, finding in enumerate(table.findings):
            found = estimate(table.probs[None, :, column], table.labels[:, column], table.owners, self.replicates)
            rows[finding] = _estimate_values(found)
        write_json(self.path, METRICS_SCHEMA, {"findings": rows, "patients": len(set(table.patients))})
        for finding, row in rows.items():
            if self.writer is not None and row["auroc"] is not None:
                self.writer.add_scalar(f"AUROC/{finding}", row["auroc"], self.step)
        return rows


def _groups(cells: Sequence[CellPlan]) -> list[Group]:
    found: dict[tuple[str, float, float | None], list[CellPlan]] = {}
    for cell in cells:
        found.setdefault((cell.arm, cell.fraction, cell.ratio), []).append(cell)
    return [Group(*key, sorted(members, key=lambda cell: cell.seed)) for key, members in found.items()]


def _arm_rows(group: Group, predictions: Mapping[str, Predictions], plan: Plan) -> list[dict[str, Any]]:
    rows = []
    replicates = plan.experiment.budget.replicates
    for finding in (*plan.classes, MACRO):
        for seed, cells in [*((cell.seed, [cell]) for cell in group.cells), ("all", group.cells)]:
            scores, labels, patients = _arrays(cells, predictions, finding, plan.experiment.findings)
            drawn = replicates if seed == "all" and finding in (*plan.experiment.findings, MACRO) else 0
            found = estimate(scores, labels, patients, drawn)
            rows.append({**group.key, "seed": seed, "finding": finding, **_estimate_values(found)})
    return rows


def _comparisons(
    groups: Sequence[Group], predictions: Mapping[str, Predictions], experiment: Experiment
) -> list[dict[str, Any]]:
    """Compare every arm with every arm listed before it; adjust by Holm over findings x fractions (evidence rule 4).

    The two arms of the endpoint are compared in the direction that was declared.
    """
    rows = []
    declared = (experiment.endpoint.arm, experiment.endpoint.reference)
    for later, arm in enumerate(experiment.arms):
        for reference in experiment.arms[:later]:
            families: dict[float | None, list[dict[str, Any]]] = {}
            for group in (group for group in groups if group.arm == arm):
                for base in (base for base in groups if _is_reference(base, group, reference)):
                    for finding in (*experiment.findings, MACRO):
                        row = _compare(group, base, finding, predictions, experiment)
                        families.setdefault(group.ratio, []).append(row)
            for family in families.values():
                judged = _judge(family, experiment)
                rows += [_turn(row, experiment) for row in judged] if (reference, arm) == declared else judged
    return rows


def _is_reference(base: Group, group: Group, reference: str) -> bool:
    return base.arm == reference and base.fraction == group.fraction and base.ratio in (None, group.ratio)


def _compare(
    group: Group, base: Group, finding: str, predictions: Mapping[str, Predictions], experiment: Experiment
) -> dict[str, Any]:
    ours, labels, patients = _arrays(group.cells, predictions, finding, experiment.findings)
    theirs, _, _ = _arrays(base.cells, predictions, finding, experiment.findings)
    endpoint = experiment.endpoint
    declared = {group.arm, base.arm} == {endpoint.arm, endpoint.reference}
    found = compare(ours, theirs, labels, patients, experiment.budget.replicates if declared else 0)
    return {
        "arm": group.arm,
        "reference": base.arm,
        "fraction": group.fraction,
        "ratio": group.ratio,
        "finding": finding,
        **_difference_values(found),
    }


def _judge(family: list[dict[str, Any]], experiment: Experiment) -> list[dict[str, Any]]:
    """Add adjusted p-values and verdicts. The macro mean is one summary of the findings, not one more of them."""
    single = [row for row in family if row["finding"] != MACRO]
    for name, adjust in (("p_holm", holm), ("p_bh", benjamini_hochberg)):
        for row, adjusted in zip(single, adjust([row["p"] for row in single]), strict=True):
            row[name] = _number(adjusted)
        for row in family:
            row.setdefault(name, row["p"])
    for row in family:
        row["verdict"] = verdict(row, experiment.arms)
    return family


def verdict(row: Mapping[str, Any], arms: Sequence[str]) -> str:
    """Say what a comparison shows.

    Args:
        row: ``arm``, ``reference``, ``difference``, ``interval`` and ``p_holm`` of a comparison.
        arms: arms of the experiment.

    Returns:
        ``helps``, ``no evidence``, ``harms``; or ``comparison incomplete`` when a generator is judged and a control is
        missing (evidence rule 3).
    """
    if missing_controls(arms, [row["arm"], row["reference"]]):
        return "comparison incomplete"
    if row["interval"] is None or row["p_holm"] is None:
        return "no evidence"
    low, high = row["interval"]
    if row["p_holm"] > _LEVEL or low <= 0 <= high:
        return "no evidence"
    return "helps" if low > 0 else "harms"


def _primary(experiment: Experiment, comparisons: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    endpoint = experiment.endpoint
    fraction = max(experiment.fractions) if endpoint.fraction is None else endpoint.fraction
    ratio = experiment.ratios[0] if endpoint.ratio is None else endpoint.ratio
    named = {"arm": endpoint.arm, "reference": endpoint.reference, "finding": endpoint.finding}
    wanted = {**named, "fraction": fraction}
    for row in comparisons:
        if all(row[key] == value for key, value in wanted.items()) and row["ratio"] in (None, ratio):
            return {"endpoint": endpoint.metric, **row}
    raise StateError(
        "experiment key 'endpoint'", "must name a comparison of the grid", str(wanted), "mend the endpoint"
    )


def _turn(row: Mapping[str, Any], experiment: Experiment) -> dict[str, Any]:
    """The same comparison from the reference's side."""
    ends = {key: row[key] and [-row[key][1], -row[key][0]] for key in ("interval", "bootstrap_interval")}
    difference = None if row["difference"] is None else -row["difference"]
    turned = {**row, **ends, "arm": row["reference"], "reference": row["arm"], "difference": difference}
    return {**turned, "verdict": verdict(turned, experiment.arms)}


def _arrays(
    cells: Sequence[CellPlan], predictions: Mapping[str, Predictions], finding: str, studied: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """Scores ``[S, n]`` (``[S, n, K]`` for the macro mean), labels and patients."""
    first = predictions[cells[0].id]
    columns = [first.findings.index(name) for name in (studied if finding == MACRO else [finding])]
    scores = np.stack([predictions[cell.id].probs[:, columns] for cell in cells])
    labels = first.labels[:, columns]
    return (scores, labels, first.owners) if finding == MACRO else (scores[..., 0], labels[:, 0], first.owners)


def _require_same_images(predictions: Mapping[str, Predictions]) -> None:
    tables = iter(predictions.items())
    name, first = next(tables)
    for other, table in tables:
        same = table.images == first.images and table.findings == first.findings
        if not (same and np.array_equal(table.labels, first.labels, equal_nan=True)):
            rule = "all cells must answer on the same images"
            raise StateError(f"cells {name} and {other}", rule, "other images or labels", "run the experiment again")


def _estimate_values(found: Estimate) -> dict[str, Any]:
    return {
        "auroc": _number(found.auroc),
        "interval": found.interval and list(found.interval),
        "bootstrap_interval": found.bootstrap_interval and list(found.bootstrap_interval),
        "n": found.n,
        "positives": found.positives,
        "skipped": found.skipped,
    }


def _difference_values(found: Difference) -> dict[str, Any]:
    return {
        "difference": _number(found.difference),
        "interval": found.interval and list(found.interval),
        "bootstrap_interval": found.bootstrap_interval and list(found.bootstrap_interval),
        "standard_error": _number(found.standard_error),
        "dof": _number(found.dof),
        "detectable": _number(found.detectable) if found.detectable <= 1 else None,
        "p": _number(found.p),
        "n": found.n,
        "positives": found.positives,
        "skipped": found.skipped,
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
