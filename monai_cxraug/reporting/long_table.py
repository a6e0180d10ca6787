"""``results.csv``: every value of a run in one flat table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from monai_cxraug.artifacts import write_csv
from monai_cxraug.reporting.composition import ORIGINS
from monai_cxraug.reporting.operating import MEASURES
from monai_cxraug.reporting.records import ArmResult, Comparison, Results

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

#: name of a measure, its value and its interval.
Value = tuple[str, float | None, Any]


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


def _values(row: Any, values: Iterable[Value]) -> Iterator[dict[str, Any]]:
    """A row for each value that is there, with the columns that it shares with the others."""
    named = {name: getattr(row, name) for name in COLUMNS if hasattr(row, name)}
    for measure, value, interval in values:
        if value is not None:
            low, high = interval or (None, None)
            yield {**named, "measure": measure, "value": value, "low": low, "high": high}


def _arms(results: Results) -> Iterator[dict[str, Any]]:
    for row in results.arms:
        yield from _values(row, _with_bootstrap("auroc", row.auroc, row))


def _comparisons(results: Results) -> Iterator[dict[str, Any]]:
    for row in results.comparisons:
        beside = ((f"auroc_difference_{name}", getattr(row, name), None) for name in _BESIDE)
        yield from _values(row, [*_with_bootstrap("auroc_difference", row.difference, row), *beside])


def _with_bootstrap(measure: str, value: float | None, row: ArmResult | Comparison) -> list[Value]:
    drawn = [(f"{measure}_bootstrap", value, row.bootstrap_interval)] if row.bootstrap_interval else []
    return [(measure, value, row.interval), *drawn]


def _measures(results: Results) -> Iterator[dict[str, Any]]:
    for row in results.operating:
        measures = ((name, getattr(row, name), getattr(row, f"{name}_interval", None)) for name in MEASURES)
        settings = ((name, getattr(row, name), None) for name in ("threshold", "temperature", "ece_before"))
        yield from _values(row, (*measures, *settings))


def _harm(results: Results) -> Iterator[dict[str, Any]]:
    if results.primary is None:
        return
    pair = {name: getattr(results.primary, name) for name in ("arm", "reference", "fraction", "ratio")}
    for row in results.harm:
        for value in _values(row, [(f"{row.measure}_difference", row.difference, row.interval)]):
            yield {**value, **pair, "seed": "all"}


def _exchange(results: Results) -> Iterator[dict[str, Any]]:
    """Equivalent real images and gains; a number beyond what was tried says so in its measure, an end is left open."""
    for row in results.exchange:
        beyond = f"_{row.censored}" if row.censored else ""
        ends = (None if row.low_censored else row.low, None if row.high_censored else row.high)
        drawn = (
            None if row.bootstrap_low_censored else row.bootstrap_low,
            None if row.bootstrap_high_censored else row.bootstrap_high,
        )
        name = f"equivalent_images{beyond}"
        bootstrap = [(f"{name}_bootstrap", row.equivalent, drawn)] if row.bootstrap_low is not None else []
        gain = (f"exchange_gain{beyond}", row.gain, None)
        yield from _values(row, [(name, row.equivalent, ends), *bootstrap, gain])


def _others(results: Results) -> Iterator[dict[str, Any]]:
    for group in results.subgroups:
        yield from _values(group, [(f"auroc[{group.column}={group.group}]", group.auroc, group.interval)])
    for row in results.composition:
        origins = ((f"training_{origin}", getattr(row, origin), None) for origin in ORIGINS)
        yield from _values(row, (*origins, ("training_share", row.share, None)))
