"""Other images, other people: how prevalence and calibration move from a run's own judged images to new ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

#: measures of belief that are set side by side.
MEASURES: Final = ("auroc", "sensitivity", "specificity", "ece", "slope", "intercept", "brier")


def shift_rows(
    here: Sequence[Mapping[str, Any]], there: Sequence[Mapping[str, Any]], studied: Sequence[str]
) -> list[dict[str, Any]]:
    """Set the measures of every arm on new images beside those on the images that it was judged on.

    Args:
        here: rows ``operating`` of the evaluation.
        there: those of the run; rows of older runs may lack measures.
        studied: findings to show.

    Returns:
        Rows ``arm``, ``fraction``, ``ratio``, ``finding``, ``measure``, ``before``, ``here``; prevalence is one of the
        measures.
    """
    keys = ("arm", "fraction", "ratio", "finding")
    before = {tuple(row[key] for key in keys): row for row in there if row["seed"] == "all"}
    rows = []
    for row in here:
        own = before.get(tuple(row[key] for key in keys))
        if row["seed"] != "all" or row["finding"] not in studied or own is None:
            continue
        named = {key: row[key] for key in keys}
        pairs = [("prevalence", _prevalence(own), _prevalence(row))]
        pairs += [(name, own.get(name), row.get(name)) for name in MEASURES]
        rows += [{**named, "measure": name, "before": old, "here": new} for name, old, new in pairs]
    return rows


def _prevalence(row: Mapping[str, Any]) -> float | None:
    return row["positives"] / row["n"] if row["n"] else None
