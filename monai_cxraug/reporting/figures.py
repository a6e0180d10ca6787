"""The forest plots of a report: differences of arms, and the AUROC of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from monai_cxraug.reporting.axis import span
from monai_cxraug.reporting.forest import STYLE, WIDE, Group, Layout, Names, Row, forest
from monai_cxraug.reporting.language import ENGLISH, Language
from monai_cxraug.reporting.markup import Markup
from monai_cxraug.reporting.records import FEW_POSITIVES, MACRO, ArmResult, Comparison, Results
from monai_cxraug.reporting.tables import amount, bracket, finding_title, number, signed

__all__ = ["STYLE", "areas", "differences", "order_arms"]
AnyRow = TypeVar("AnyRow", ArmResult, Comparison)


def differences(
    results: Results, say: Language = ENGLISH, layout: Layout = WIDE, others: bool = False
) -> Markup | None:
    """Draw comparisons as points with intervals about a zero line, grouped by finding.

    Args:
        results: of a run.
        say: language.
        layout: room for it.
        others: draw those that say little about the endpoint, instead of the endpoint's pair at every fraction and
            ratio and its arm against every other at the endpoint's own.

    Returns:
        An SVG element; None when there is nothing to draw.
    """
    chosen = [row for row in results.comparisons if is_beside_endpoint(results, row) != others]
    where = _distinguish(results.comparisons if others else chosen, results, say)
    order = order_arms(results)
    groups = [
        Group(
            finding_title(name, say),
            _counted(results, name, say),
            tuple(
                _difference_row(results, row, where, order)
                for row in _endpoint_first(results, chosen)
                if row.finding == name
            ),
        )
        for name in results.studied()
    ]
    groups = [group for group in groups if group.rows]
    if not groups:
        return None
    low, high = span([0, *(value for group in groups for row in group.rows for value in row.extent())], least=0.05)
    names = Names(
        "other-differences" if others else "differences",
        *(say(f"difference.{part}") for part in ("title", "about", "worse", "better", "column", "unit")),
    )
    return forest(groups, (max(-1.0, low), min(1.0, high)), 0, names, layout)


def is_beside_endpoint(results: Results, row: Comparison) -> bool:
    """Whether a comparison is of the endpoint's pair, or of its arm at its own fraction and ratio."""
    declared = results.primary
    if declared is None:
        return True
    pair = {row.arm, row.reference}
    here = row.fraction == declared.fraction and row.ratio in (None, declared.ratio)
    return pair == {declared.arm, declared.reference} or (here and declared.arm in pair)


def _endpoint_first(results: Results, rows: Sequence[Comparison]) -> list[Comparison]:
    declared = results.primary
    if declared is None:
        return list(rows)
    pair = {declared.arm, declared.reference}

    def rank(row: Comparison) -> tuple[bool, bool]:
        here = row.fraction == declared.fraction and row.ratio in (None, declared.ratio)
        return {row.arm, row.reference} != pair, not here

    return sorted(rows, key=rank)


def _difference_row(results: Results, row: Comparison, where: Callable[[Comparison], str], order: Sequence[str]) -> Row:
    primary = is_primary(results, row)
    return Row(
        label=f"{row.arm} − {row.reference}",
        where=where(row),
        value=row.difference,
        interval=row.interval,
        text=_written(signed(row.difference), bracket(row.interval)),
        colour=order.index(row.arm if primary else row.reference) % 6,
        primary=primary,
    )


def is_primary(results: Results, row: Comparison) -> bool:
    """Whether a comparison is the endpoint itself."""
    declared = results.primary
    keys = ("arm", "reference", "finding", "fraction", "ratio")
    return declared is not None and all(getattr(row, key) == getattr(declared, key) for key in keys)


def order_arms(results: Results) -> list[str]:
    """Arms as the experiment lists them; their places choose their colours."""
    return list(results.listed_arms)


def areas(results: Results, say: Language = ENGLISH, layout: Layout = WIDE, others: bool = False) -> Markup | None:
    """Draw the AUROC of arms with their intervals, single seeds as small dots, grouped by finding.

    Args:
        results: of a run.
        say: language.
        layout: room for it.
        others: draw the fractions and ratios that are not the endpoint's, instead of those.

    Returns:
        An SVG element; None when there is nothing to draw.
    """
    chosen = [row for row in results.overall() if _is_at_endpoint(results, row) != others]
    where = _distinguish(results.overall() if others else chosen, results, say)
    order = order_arms(results)
    seeds = _seed_areas(results)
    groups = [
        Group(
            finding_title(name, say),
            _counted(results, name, say),
            tuple(
                Row(
                    label=row.arm,
                    where=where(row),
                    value=row.auroc,
                    interval=row.interval,
                    text=_written(number(row.auroc), bracket(row.interval, number)),
                    colour=order.index(row.arm) % 6,
                    dots=tuple(seeds.get((row.arm, row.finding, row.fraction, row.ratio), ())),
                )
                for row in sorted(chosen, key=lambda row: order.index(row.arm))
                if row.finding == name
            ),
        )
        for name in results.studied()
    ]
    groups = [group for group in groups if group.rows]
    values = [value for group in groups for row in group.rows for value in row.extent()]
    if not values:
        return None
    low, high = span(values, least=0.1)
    title, about, better, column, unit = (
        say(f"area.{part}") for part in ("title", "about", "better", "column", "unit")
    )
    names = Names("other-auroc" if others else "auroc", title, about, "", better, column, unit)
    return forest(groups, (max(0.0, low), min(1.0, high)), 0.5, names, layout)


def _is_at_endpoint(results: Results, row: ArmResult) -> bool:
    declared = results.primary
    return declared is None or (row.fraction == declared.fraction and row.ratio in (None, declared.ratio))


def _seed_areas(results: Results) -> dict[tuple[str, str, float | None, float | None], list[float]]:
    found: dict[tuple[str, str, float | None, float | None], list[float]] = {}
    for row in results.arms:
        if row.seed != "all" and row.auroc is not None:
            found.setdefault((row.arm, row.finding, row.fraction, row.ratio), []).append(row.auroc)
    return found


def _distinguish(rows: Sequence[AnyRow], results: Results, say: Language) -> Callable[[AnyRow], str]:
    """Make a function that names the fraction and the ratio of a row, each only when rows differ in it."""
    fractions = len({row.fraction for row in rows}) > 1
    ratios = len({row.ratio for row in rows if row.ratio}) > 1

    def name(row: AnyRow) -> str:
        fraction = f", {amount(row.fraction, results.scale, say)}" if fractions else ""
        return fraction + (f", ×{row.ratio:g}" if ratios and row.ratio else "")

    return name


def _counted(results: Results, finding: str, say: Language) -> str:
    row = next((row for row in results.overall() if row.finding == finding), None)
    if row is None:
        return ""
    few = row.positives < FEW_POSITIVES and finding != MACRO
    return say("counted.few" if few else "counted", positives=row.positives, n=row.n)


def _written(value: str, interval: str) -> str:
    return f"{value}  {interval}".replace("-", "−")
