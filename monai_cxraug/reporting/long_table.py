"""``results.csv``: every value of a run in one flat table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from monai_cxraug.artifacts import write_csv
from monai_cxraug.reporting.composition import ORIGINS
from monai_cxraug.reporting.operating import MEASURES
from monai_cxraug.reporting.records import Results

COLUMNS: Final = (
    "arm",
    "reference",
    "fraction",
    "ratio",
    "seed",
    "finding",
    "measure",
    "value",
    "low",
    "high",
    "n",
    "positives",
)
#: what a comparison tells beside its difference.
_BESIDE: Final = ("p", "p_holm", "p_bh", "detectable", "standard_error", "dof")


def write_long_table(results: Results, path: Path) -> Path:
    """Write one row a value.

    Args:
        results: of a run.
        path: CSV file to write.

    Returns:
        The path. What is unknown is an empty cell; a value that is missing altogether has no row.
    """
    rows = [*_arms(results), *_comparisons(results), *_measures(results), *_harm(results), *_others(results)]
    rows += _exchange(results)
    cells = [["" if row.get(name) is None else row[name] for name in COLUMNS] for row in rows]
    write_csv(path, COLUMNS, cells)
    return path


def _named(row: Any) -> dict[str, Any]:
    """The columns that a row shares with its values."""
    return {name: getattr(row, name) for name in COLUMNS if hasattr(row, name)}


def _value(row: Any, measure: str, value: float | None, interval: Any = None) -> Iterator[dict[str, Any]]:
    if value is not None:
        low, high = interval or (None, None)
        yield {**_named(row), "measure": measure, "value": value, "low": low, "high": high}


def _arms(results: Results) -> Iterator[dict[str, Any]]:
    for row in results.arms:
        yield from _value(row, "auroc", row.auroc, row.interval)
        if row.bootstrap_interval:
            yield from _value(row, "auroc_bootstrap", row.auroc, row.bootstrap_interval)


def _comparisons(results: Results) -> Iterator[dict[str, Any]]:
    for row in results.comparisons:
        yield from _value(row, "auroc_difference", row.difference, row.interval)
        if row.bootstrap_interval:
            yield from _value(row, "auroc_difference_bootstrap", row.difference, row.bootstrap_interval)
        for name in _BESIDE:
            yield from _value(row, f"auroc_difference_{name}", getattr(row, name))


def _measures(results: Results) -> Iterator[dict[str, Any]]:
    for row in results.operating:
        for name in MEASURES:
            yield from _value(row, name, getattr(row, name), getattr(row, f"{name}_interval", None))
        for name in ("threshold", "temperature", "ece_before"):
            yield from _value(row, name, getattr(row, name))


def _harm(results: Results) -> Iterator[dict[str, Any]]:
    if results.primary is None:
        return
    pair = {name: getattr(results.primary, name) for name in ("arm", "reference", "fraction", "ratio")}
    for row in results.harm:
        for value in _value(row, f"{row.measure}_difference", row.difference, row.interval):
            yield {**value, **pair, "seed": "all"}


def _exchange(results: Results) -> Iterator[dict[str, Any]]:
    """Equivalent real images and gains; a number beyond what was tried says so in its measure, an end is left open."""
    for row in results.exchange:
        beyond = f"_{row.censored}" if row.censored else ""
        ends = (None if row.low_censored else row.low, None if row.high_censored else row.high)
        yield from _value(row, f"equivalent_images{beyond}", row.equivalent, ends)
        drawn = (
            None if row.bootstrap_low_censored else row.bootstrap_low,
            None if row.bootstrap_high_censored else row.bootstrap_high,
        )
        if row.bootstrap_low is not None:
            yield from _value(row, f"equivalent_images{beyond}_bootstrap", row.equivalent, drawn)
        yield from _value(row, f"exchange_gain{beyond}", row.gain)


def _others(results: Results) -> Iterator[dict[str, Any]]:
    for group in results.subgroups:
        yield from _value(group, f"auroc[{group.column}={group.group}]", group.auroc, group.interval)
    for row in results.composition:
        for origin in ORIGINS:
            yield from _value(row, f"training_{origin}", getattr(row, origin))
        yield from _value(row, "training_share", row.share)
