"""Rows of the exchange rate: how many real images each arm is worth at each count of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.experiments.plan import CellPlan, Plan
from monai_cxraug.metrics.exchange import Exchange, Rate, Worth, exchange
from monai_cxraug.predictions import Predictions

#: the arm whose curve tells how many real images an AUROC is worth.
REFERENCE: Final = "plain"
#: an arm and a ratio; one without ratios has None.
Column = tuple[str, float | None]


def exchange_rows(plan: Plan, predictions: Mapping[str, Predictions]) -> dict[str, list[dict[str, Any]]]:
    """Estimate how many real images every arm is worth, for each studied finding.

    Args:
        plan: what was declared, with the scale that says how many real images a fraction is.
        predictions: cell id to its answers; all cells answered on the same images in the same order.

    Returns:
        ``exchange``: a row for each arm but the reference, finding and fraction below 1. ``equivalent``, ``low`` and
        ``high`` are numbers of real images; where ``censored``, ``low_censored`` or ``high_censored`` is ``below`` or
        ``above``, that number is fewer than the fewest or more than the most that were tried, and it is this bound that
        stands there. ``censored`` is ``flat`` where there is no exchange rate because the reference does not rise.
        ``exchange_curves``: for each finding the reference's AUROC by the number of images, and how far it rises.
        Both are empty where there is no scale, no reference, or only one count of it.
    """
    counts = dict(plan.scale.images) if plan.scale else {}
    table = _cells_by_count(plan.cells, counts)
    reference = table.pop((REFERENCE, None), {})
    if len(reference) < 2:
        return {"exchange": [], "exchange_curves": []}
    rows, curves = [], []
    for finding in plan.experiment.findings:
        found = _estimate(finding, reference, table, predictions, plan.experiment.budget.replicates)
        curves.append(_curve(finding, found))
        for (arm, ratio), rates in zip(table, found.rates.values(), strict=True):
            named = {"arm": arm, "reference": REFERENCE, "ratio": ratio, "finding": finding}
            fractions = {counts[cells[0].fraction]: cells[0].fraction for cells in table[arm, ratio].values()}
            rows += [{**named, "fraction": fractions[rate.real], **_values(rate, found.rises)} for rate in rates]
    return {"exchange": [row for row in rows if row["fraction"] < 1], "exchange_curves": curves}


def _cells_by_count(
    cells: Sequence[CellPlan], counts: Mapping[float, int]
) -> dict[Column, dict[int, Sequence[CellPlan]]]:
    """Cells of each arm by the number of real images, those of a number in the order of their seeds."""
    table: dict[Column, dict[int, list[CellPlan]]] = {}
    for cell in sorted(cells, key=lambda cell: cell.seed):
        if cell.fraction in counts:
            table.setdefault((cell.arm, cell.ratio), {}).setdefault(counts[cell.fraction], []).append(cell)
    order = list(dict.fromkeys((cell.arm, cell.ratio) for cell in cells))
    return {column: dict(table[column]) for column in order if column in table}


def _estimate(
    finding: str,
    reference: Mapping[int, Sequence[CellPlan]],
    arms: Mapping[Column, Mapping[int, Sequence[CellPlan]]],
    predictions: Mapping[str, Predictions],
    replicates: int,
) -> Exchange:
    first = next(iter(predictions.values()))
    column = first.findings.index(finding)

    def scores(some: Mapping[int, Sequence[CellPlan]]) -> dict[int, NDArray[np.float64]]:
        return {
            count: np.stack([predictions[cell.id].probs[:, column] for cell in cells]) for count, cells in some.items()
        }

    named = {f"{arm} {ratio}": scores(some) for (arm, ratio), some in arms.items()}
    return exchange(scores(reference), named, first.labels[:, column], first.patients, replicates)


def _values(rate: Rate, rises: bool) -> dict[str, Any]:
    level = not rises and not math.isnan(rate.auroc)
    low, high = rate.interval or (None, None)
    bootstrap = rate.bootstrap_interval or (None, None)
    return {
        "real": rate.real,
        "auroc": _number(rate.auroc),
        "equivalent": rate.equivalent and rate.equivalent.images,
        "censored": rate.equivalent.beyond if rate.equivalent else "flat" if level else None,
        **_end("low", low),
        **_end("high", high),
        "gain": _number(rate.gain),
        "more": _number(rate.more),
        **_end("bootstrap_low", bootstrap[0]),
        **_end("bootstrap_high", bootstrap[1]),
    }


def _end(name: str, end: Worth | None) -> dict[str, Any]:
    return {name: end and end.images, f"{name}_censored": end and end.beyond}


def _curve(finding: str, found: Exchange) -> dict[str, Any]:
    return {
        "reference": REFERENCE,
        "finding": finding,
        "real": list(found.counts),
        "auroc": [_number(value) for value in found.aurocs],
        "rising": [_number(value) for value in found.curve],
        "rise": _number(found.rise.difference),
        "interval": found.rise.interval and list(found.rise.interval),
        "p": _number(found.rise.p),
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
