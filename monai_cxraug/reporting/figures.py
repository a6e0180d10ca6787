"""The two charts of a report, written as SVG that follows the reader's light or dark scheme."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from monai_cxraug.reporting.axis import Axis, span
from monai_cxraug.reporting.markup import Markup, element, join
from monai_cxraug.reporting.records import FEW_POSITIVES, ArmResult, Comparison, Interval, Results
from monai_cxraug.reporting.tables import bracket, finding_title, number, percent, signed

_WIDTH: Final = 780
_LEFT: Final = 214
_RIGHT: Final = 566
_HEADER: Final = 26
_ROW: Final = 23
_GAP: Final = 12
_TOP: Final = 44
_BOTTOM: Final = 50
_LONGEST: Final = 30

STYLE: Final = Markup("""
.cx{--paper:#fff;--ink:#1c2429;--soft:#5d6972;--line:#dfe3e6;--zero:#98a3ab;--band:#f0f5f9;
--c0:#66727b;--c1:#b26a00;--c2:#1668a8;--c3:#00806a;--c4:#a8447f;--c5:#6a54b5;
font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",Helvetica,Arial,sans-serif;font-size:13px}
@media (prefers-color-scheme:dark){.cx{--paper:#171b1f;--ink:#e3e7ea;--soft:#9aa6ae;--line:#2d353b;--zero:#6b7780;
--band:#1f272e;--c0:#a3aeb6;--c1:#e0a04a;--c2:#6fb4ea;--c3:#4cc3a7;--c4:#e08abb;--c5:#a999ee}}
@media print{.cx{--paper:#fff;--ink:#000;--soft:#444;--line:#ccc;--zero:#777;--band:#f0f5f9;
--c0:#66727b;--c1:#b26a00;--c2:#1668a8;--c3:#00806a;--c4:#a8447f;--c5:#6a54b5}}
.cx text{fill:var(--ink)}.cx .soft{fill:var(--soft)}.cx .small{font-size:11.5px}.cx .strong{font-weight:600}
.cx .num{font-variant-numeric:tabular-nums}.cx .grid{stroke:var(--line)}
.cx .zero{stroke:var(--zero);stroke-dasharray:3 3}.cx .paper{fill:var(--paper)}.cx .band{fill:var(--band)}
""")


@dataclass(frozen=True)
class _Row:
    """One mark: a value with its interval, small dots for single seeds, and the numbers written out."""

    label: str
    value: float | None
    interval: Interval | None
    text: str
    colour: int
    dots: tuple[float, ...] = ()
    primary: bool = False

    def extent(self) -> Iterable[float]:
        return (*(() if self.value is None else (self.value,)), *(self.interval or ()), *self.dots)


@dataclass(frozen=True)
class _Group:
    """Rows of one finding."""

    title: str
    note: str
    rows: tuple[_Row, ...]


def differences(results: Results) -> Markup | None:
    """Draw every comparison as a point with its interval about a zero line, grouped by finding.

    Args:
        results: of a run.

    Returns:
        An SVG element; None when nothing was compared.
    """
    groups = [
        _Group(finding_title(name), _counted(results, name), _difference_rows(results, name))
        for name in results.studied()
    ]
    groups = [group for group in groups if group.rows]
    if not groups:
        return None
    low, high = span([0, *(value for group in groups for row in group.rows for value in row.extent())], least=0.05)
    return _chart(
        groups,
        Axis(low, high, _LEFT, _RIGHT),
        rule=0,
        names=("differences", "Differences in AUROC", "Arm less reference; lines are 95 % intervals."),
        heads=("← reference better", "arm better →", "difference [95 % interval]"),
        unit="difference in AUROC",
    )


def _difference_rows(results: Results, finding: str) -> tuple[_Row, ...]:
    rows = [row for row in results.comparisons if row.finding == finding]
    order = list(dict.fromkeys([row.arm for row in results.arms] + [row.reference for row in results.comparisons]))
    where = _distinguish(results.comparisons)
    return tuple(
        _Row(
            label=f"{row.arm} − {row.reference}{where(row)}",
            value=row.difference,
            interval=row.interval,
            text=_written(signed(row.difference), bracket(row.interval)),
            colour=order.index(row.arm if _is_primary(results, row) else row.reference) % 6,
            primary=_is_primary(results, row),
        )
        for row in rows
    )


def _is_primary(results: Results, row: Comparison) -> bool:
    declared = results.primary
    keys = ("arm", "reference", "finding", "fraction", "ratio")
    return declared is not None and all(getattr(row, key) == getattr(declared, key) for key in keys)


def areas(results: Results) -> Markup | None:
    """Draw the AUROC of every arm with its interval, single seeds as small dots, grouped by finding.

    Args:
        results: of a run.

    Returns:
        An SVG element; None when no arm has an AUROC yet.
    """
    order = list(dict.fromkeys(row.arm for row in results.arms))
    groups = [
        _Group(finding_title(name), _counted(results, name), _area_rows(results, name, order))
        for name in results.studied()
    ]
    groups = [group for group in groups if group.rows]
    values = [value for group in groups for row in group.rows for value in row.extent()]
    if not values:
        return None
    low, high = span(values, least=0.1)
    return _chart(
        groups,
        Axis(max(0.0, low), min(1.0, high), _LEFT, _RIGHT),
        rule=0.5,
        names=("auroc", "AUROC of each arm", "Large marks are means over seeds with 95 % intervals, small dots seeds."),
        heads=("", "better →", "AUROC [95 % interval]"),
        unit="AUROC (0.5 is guessing)",
    )


def _area_rows(results: Results, finding: str, order: Sequence[str]) -> tuple[_Row, ...]:
    where = _distinguish(results.overall())
    rows = sorted((row for row in results.overall() if row.finding == finding), key=lambda row: order.index(row.arm))
    return tuple(
        _Row(
            label=f"{row.arm}{where(row)}",
            value=row.auroc,
            interval=row.interval,
            text=_written(number(row.auroc), bracket(row.interval, number)),
            colour=order.index(row.arm) % 6,
            dots=_seed_areas(results, row),
        )
        for row in rows
    )


def _seed_areas(results: Results, overall: ArmResult) -> tuple[float, ...]:
    cell = replace(overall, seed=0, auroc=None, interval=None, n=0, positives=0)
    same = (row for row in results.arms if row.seed != "all")
    return tuple(
        row.auroc
        for row in same
        if row.auroc is not None and replace(row, seed=0, auroc=None, interval=None, n=0, positives=0) == cell
    )


def _distinguish(rows: Sequence[ArmResult] | Sequence[Comparison]) -> Callable[[ArmResult | Comparison], str]:
    """Make a function that names the fraction and the ratio of a row, each only when rows differ in it."""
    fractions = len({row.fraction for row in rows}) > 1
    ratios = len({row.ratio for row in rows if row.ratio}) > 1

    def name(row: ArmResult | Comparison) -> str:
        fraction = f", {percent(row.fraction)} data" if fractions else ""
        return fraction + (f", ×{row.ratio:g}" if ratios and row.ratio else "")

    return name


def _counted(results: Results, finding: str) -> str:
    row = next((row for row in results.overall() if row.finding == finding), None)
    if row is None:
        return ""
    few = "few: " if row.positives < FEW_POSITIVES else ""
    return f"{few}{row.positives} positive of {row.n}"


def _written(value: str, interval: str) -> str:
    return f"{value}  {interval}".replace("-", "−")


def _chart(
    groups: Sequence[_Group],
    axis: Axis,
    rule: float,
    names: tuple[str, str, str],
    heads: tuple[str, str, str],
    unit: str,
) -> Markup:
    """Lay the groups out from top to bottom between a head line and the axis."""
    identifier, title, description = names
    body: list[Markup] = []
    y = float(_TOP)
    for group in groups:
        body.append(_group(group, axis, y))
        y += _HEADER + _ROW * len(group.rows) + _GAP
    height = y + _BOTTOM - _GAP
    return element(
        "svg",
        element("title", title, id=f"{identifier}-title"),
        element("desc", description, id=f"{identifier}-desc"),
        element("style", STYLE),
        element("rect", width=_WIDTH, height=f"{height:g}", class_="paper"),
        _scale(axis, _TOP - 8, y - _GAP + 4, rule, unit),
        _heads(axis, rule, heads),
        *body,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_WIDTH} {height:g}",
        class_="cx",
        role="img",
        aria_labelledby=f"{identifier}-title {identifier}-desc",
    )


def _scale(axis: Axis, top: float, bottom: float, rule: float, unit: str) -> Markup:
    lines = [_line(axis(tick), top, bottom, "grid") for tick in axis.ticks()]
    if axis.low <= rule <= axis.high:
        lines.append(_line(axis(rule), top, bottom, "zero"))
    labels = [
        _text(axis(tick), bottom + 17, _tick(tick, axis.decimals, rule), "soft small num", "middle")
        for tick in axis.ticks()
    ]
    return join(*lines, *labels, _text((axis.left + axis.right) / 2, bottom + 36, unit, "soft small", "middle"))


def _tick(tick: float, decimals: int, rule: float) -> str:
    return (signed(tick, decimals) if rule == 0 else number(tick, decimals)).replace("-", "−")


def _heads(axis: Axis, rule: float, heads: tuple[str, str, str]) -> Markup:
    middle = axis(rule) if axis.low < rule < axis.high else axis.right
    worse, better, column = heads
    sides = [_text(_WIDTH - 14, 20, column, "soft small", "end")]
    if worse:
        sides += [_text(middle - 8, 20, worse, "soft small", "end"), _text(middle + 8, 20, better, "soft small")]
    else:
        sides.append(_text(axis.right, 20, better, "soft small", "end"))
    return join(*sides)


def _group(group: _Group, axis: Axis, top: float) -> Markup:
    head = [
        _text(14, top + 14, _clip(group.title), "strong"),
        _text(_WIDTH - 14, top + 14, group.note, "soft small num", "end"),
    ]
    rows = [_row(row, axis, top + _HEADER + _ROW * k) for k, row in enumerate(group.rows)]
    return element("g", *head, *rows)


def _row(row: _Row, axis: Axis, top: float) -> Markup:
    y = top + _ROW / 2 - 2
    weight = " strong" if row.primary else ""
    band = element("rect", x=6, y=f"{top - 2:g}", width=_WIDTH - 12, height=_ROW, rx=4, class_="band")
    return join(
        band if row.primary else "",
        _text(26, y + 4.5, _clip(row.label), weight.strip() or None),
        _mark(row, axis, y),
        _text(_WIDTH - 14, y + 4.5, row.text, "num" + weight, "end"),
    )


def _mark(row: _Row, axis: Axis, y: float) -> Markup:
    colour = f"var(--c{row.colour})"
    parts: list[Markup] = []
    if row.interval:
        ends = {"x1": f"{axis(row.interval[0]):.1f}", "x2": f"{axis(row.interval[1]):.1f}"}
        parts.append(element("line", **ends, y1=y, y2=y, stroke=colour, stroke_width=2.4, stroke_linecap="round"))
    parts += [
        element("circle", cx=f"{axis(dot):.1f}", cy=y + 6, r=2.2, fill=colour, fill_opacity=0.55) for dot in row.dots
    ]
    if row.value is not None:
        parts.append(_point(axis(row.value), y, colour, row.primary))
    return join(*parts)


def _point(x: float, y: float, colour: str, primary: bool) -> Markup:
    if primary:
        corners = f"{x - 7:.1f},{y:g} {x:.1f},{y - 7:g} {x + 7:.1f},{y:g} {x:.1f},{y + 7:g}"
        return element("polygon", points=corners, fill=colour)
    return element("circle", cx=f"{x:.1f}", cy=f"{y:g}", r=4.6, fill=colour)


def _line(x: float, top: float, bottom: float, kind: str) -> Markup:
    return element("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=f"{top:g}", y2=f"{bottom:g}", class_=kind)


def _text(x: float, y: float, text: str, kind: str | None = None, anchor: str | None = None) -> Markup:
    return element("text", text, x=f"{x:.1f}", y=f"{y:g}", class_=kind, text_anchor=anchor)


def _clip(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
