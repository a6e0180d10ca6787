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
from monai_cxraug.metrics.comparison import Difference, Estimate, compare_arms, estimate, estimate_arm
from monai_cxraug.metrics.multiplicity import benjamini_hochberg, holm
from monai_cxraug.metrics.panel import Judged, Panel
from monai_cxraug.metrics.resampling import Draws
from monai_cxraug.predictions import Predictions, read_predictions

SCHEMA = "cxraug.results/2"
METRICS_SCHEMA = "cxraug.metrics/1"
MACRO = "macro"
_LEVEL = 0.05
#: arm, fraction and ratio of a group.
Name = tuple[str, float, float | None]


@dataclass(frozen=True)
class Group:
    """The cells that differ by seed alone: an arm at a fraction and a ratio."""

    arm: str
    fraction: float
    ratio: float | None
    cells: Sequence[CellPlan]

    @property
    def name(self) -> Name:
        """What tells it from the others."""
        return self.arm, self.fraction, self.ratio

    @property
    def key(self) -> dict[str, Any]:
        """The columns that name the group in the results."""
        return {"arm": self.arm, "fraction": self.fraction, "ratio": self.ratio}


#: a group, and one that it is compared with.
Pair = tuple[Group, Group]


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
    pairs = _pairs(groups, experiment.arms)
    ranked = {name: _rank(name, groups, pairs, predictions, experiment) for name in (*plan.classes, MACRO)}
    arms = [row for group in groups for ranking in ranked.values() for row in ranking.rows[group.name]]
    comparisons = _comparisons(pairs, ranked, experiment)
    draws = {finding: ranked[finding].draws for finding in experiment.findings}
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
        "operating": [{**group.key, **row} for group in groups for row in answers[id(group)].rows(draws)],
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


def _pairs(groups: Sequence[Group], arms: Sequence[str]) -> list[Pair]:
    """Every group with each that it is compared with: of an arm listed before its own, where all else is alike."""
    places: dict[tuple[str, float], list[Group]] = {}
    for group in groups:
        places.setdefault((group.arm, group.fraction), []).append(group)
    return [
        (group, base)
        for later, arm in enumerate(arms)
        for reference in arms[:later]
        for group in groups
        if group.arm == arm
        for base in places.get((reference, group.fraction), ())
        if base.ratio in (None, group.ratio)
    ]


@dataclass(frozen=True)
class _Ranking:
    """How well all groups rank one finding.

    Args:
        rows: group to its rows, one a seed and one for all.
        differences: of every pair of groups, where the finding is studied.
        draws: what the bootstrap draws of the images whose label is known.
    """

    rows: Mapping[Name, list[dict[str, Any]]]
    differences: Mapping[tuple[Name, Name], Difference]
    draws: Draws


def _rank(
    finding: str,
    groups: Sequence[Group],
    pairs: Sequence[Pair],
    predictions: Mapping[str, Predictions],
    experiment: Experiment,
) -> _Ranking:
    """Estimate all groups on one finding, and compare them if it is studied, each judged once and drawn for once."""
    first, studied = next(iter(predictions.values())), finding in (*experiment.findings, MACRO)
    columns = [first.findings.index(name) for name in (experiment.findings if finding == MACRO else [finding])]
    panel = Panel.build(first.labels[:, columns], first.owners, experiment.budget.replicates)
    arms = {
        group.name: panel.judge(np.stack([predictions[cell.id].probs[:, columns] for cell in group.cells]))
        for group in groups
    }
    drawn, declared = studied and panel.draws.replicates > 0, {experiment.endpoint.arm, experiment.endpoint.reference}
    return _Ranking(
        {group.name: _arm_rows(group, finding, arms[group.name], drawn) for group in groups},
        {
            (group.name, base.name): compare_arms(
                arms[group.name], arms[base.name], drawn and {group.arm, base.arm} == declared
            )
            for group, base in pairs
            if studied
        },
        panel.draws,
    )


def _arm_rows(group: Group, finding: str, arm: Judged, drawn: bool) -> list[dict[str, Any]]:
    seeds = zip(group.cells, arm.each(), strict=True)
    found = [(cell.seed, estimate_arm(one, bootstrap=False)) for cell, one in seeds]
    return [
        {**group.key, "seed": seed, "finding": finding, **_estimate_values(one)}
        for seed, one in [*found, ("all", estimate_arm(arm, drawn))]
    ]


def _comparisons(pairs: Sequence[Pair], ranked: Mapping[str, _Ranking], experiment: Experiment) -> list[dict[str, Any]]:
    """Compare every arm with every arm listed before it; adjust by Holm over findings x fractions (evidence rule 4).

    The two arms of the endpoint are compared in the direction that was declared.
    """
    families: dict[tuple[str, str, float | None], list[dict[str, Any]]] = {}
    for group, base in pairs:
        named = {"arm": group.arm, "reference": base.arm, "fraction": group.fraction, "ratio": group.ratio}
        families.setdefault((group.arm, base.arm, group.ratio), []).extend(
            {**named, "finding": finding, **_difference_values(ranked[finding].differences[group.name, base.name])}
            for finding in (*experiment.findings, MACRO)
        )
    rows, declared = [], (experiment.endpoint.arm, experiment.endpoint.reference)
    for (arm, reference, _), family in families.items():
        judged = _judge(family, experiment)
        rows += [_turn(row, experiment) for row in judged] if (reference, arm) == declared else judged
    return rows


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
