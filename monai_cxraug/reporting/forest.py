"""Forest plots as SVG that follows the reader's light or dark scheme: values with intervals, line under line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from monai_cxraug.reporting.axis import Axis
from monai_cxraug.reporting.markup import Markup, element, join
from monai_cxraug.reporting.tables import number, signed

_HEADER: Final = 26
_GAP: Final = 12
_TOP: Final = 44
_BOTTOM: Final = 50
_EDGE: Final = 14
#: letters of label and numbers that fit on one line of the narrow layout.
_LETTERS: Final = 46

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
class Layout:
    """Room for a plot.

    Args:
        suffix: of identifiers, so that two layouts may stand on one page.
        width: of the picture.
        left: left end of the axis.
        right: right end of the axis.
        row: height of a row.
        stacked: whether label and numbers stand above the mark, not beside it.
        longest: letters of a label that fit.
    """

    suffix: str
    width: int
    left: int
    right: int
    row: int
    stacked: bool
    longest: int


WIDE: Final = Layout("", 780, 244, 580, 23, False, 35)
NARROW: Final = Layout("-narrow", 360, 14, 346, 41, True, 29)


@dataclass(frozen=True)
class Row:
    """One mark: a value with its interval, small dots for single seeds, and the numbers written out.

    ``where`` follows the label, and stays whole where a long label is cut.
    """

    label: str
    value: float | None
    interval: tuple[float, float] | None
    text: str
    colour: int
    dots: tuple[float, ...] = ()
    primary: bool = False
    where: str = ""

    def extent(self) -> Iterable[float]:
        """Values that the axis must hold."""
        return (*(() if self.value is None else (self.value,)), *(self.interval or ()), *self.dots)


@dataclass(frozen=True)
class Group:
    """Rows of one finding under its name."""

    title: str
    note: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Names:
    """What a plot is called.

    Args:
        identifier: of the picture.
        title: for those who do not see it.
        description: likewise.
        worse: beside the rule, on its left.
        better: on its right.
        column: above the numbers.
        unit: under the axis.
    """

    identifier: str
    title: str
    description: str
    worse: str
    better: str
    column: str
    unit: str


def forest(groups: Sequence[Group], domain: tuple[float, float], rule: float, names: Names, layout: Layout) -> Markup:
    """Lay groups out from top to bottom between a head line and the axis.

    Args:
        groups: with at least one row.
        domain: of the axis.
        rule: value of the dashed line.
        names: what is written around it.
        layout: the room.

    Returns:
        An SVG element with its own style.
    """
    layout = _fit(layout, groups)
    axis = Axis(*domain, layout.left, layout.right)
    body: list[Markup] = []
    y = float(_TOP)
    for group in groups:
        body.append(_group(group, axis, y, layout))
        y += _HEADER + layout.row * len(group.rows) + _GAP
    height = y + _BOTTOM - _GAP
    identifier = names.identifier + layout.suffix
    return element(
        "svg",
        element("title", names.title, id=f"{identifier}-title"),
        element("desc", names.description, id=f"{identifier}-desc"),
        element("style", STYLE),
        element("rect", width=layout.width, height=f"{height:g}", class_="paper"),
        _scale(axis, _TOP - 8, y - _GAP + 4, rule, names.unit),
        _heads(axis, rule, names, layout),
        *body,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {layout.width} {height:g}",
        class_="cx",
        role="img",
        aria_labelledby=f"{identifier}-title {identifier}-desc",
    )


def _fit(layout: Layout, groups: Sequence[Group]) -> Layout:
    """Give the numbers a line of their own where they would run into a label."""
    crowded = any(len(row.label) + len(row.where) + len(row.text) > _LETTERS for group in groups for row in group.rows)
    return replace(layout, row=layout.row + 15, longest=_LETTERS) if layout.stacked and crowded else layout


def _scale(axis: Axis, top: float, bottom: float, rule: float, unit: str) -> Markup:
    lines = [_line(axis(tick), top, bottom, "grid") for tick in axis.ticks()]
    if axis.low <= rule <= axis.high:
        lines.append(_line(axis(rule), top, bottom, "zero"))
    labels = [
        write(axis(tick), bottom + 17, _tick(tick, axis.decimals, rule), "soft small num", "middle")
        for tick in axis.ticks()
    ]
    return join(*lines, *labels, write((axis.left + axis.right) / 2, bottom + 36, unit, "soft small", "middle"))


def _tick(tick: float, decimals: int, rule: float) -> str:
    return (signed(tick, decimals) if rule == 0 else number(tick, decimals)).replace("-", "−")


def _heads(axis: Axis, rule: float, names: Names, layout: Layout) -> Markup:
    middle = axis(rule) if axis.low < rule < axis.high else axis.right
    sides = [] if layout.stacked else [write(layout.width - _EDGE, 20, names.column, "soft small", "end")]
    if names.worse and layout.stacked:
        sides += [
            write(axis.left, 20, names.worse, "soft small"),
            write(axis.right, 20, names.better, "soft small", "end"),
        ]
    elif names.worse:
        sides += [
            write(middle - 8, 20, names.worse, "soft small", "end"),
            write(middle + 8, 20, names.better, "soft small"),
        ]
    else:
        sides.append(write(axis.right, 20, names.better, "soft small", "end"))
    return join(*sides)


def _group(group: Group, axis: Axis, top: float, layout: Layout) -> Markup:
    head = [
        write(_EDGE, top + 14, clip(group.title, layout.longest), "strong"),
        write(layout.width - _EDGE, top + 14, group.note, "soft small num", "end"),
    ]
    rows = [_row(row, axis, top + _HEADER + layout.row * k, layout) for k, row in enumerate(group.rows)]
    return element("g", *head, *rows)


def _row(row: Row, axis: Axis, top: float, layout: Layout) -> Markup:
    y = top + (layout.row - 13 if layout.stacked else layout.row / 2 - 2)
    words = top + 12 if layout.stacked else y + 4.5
    numbers = words + 15 * (layout.stacked and layout.longest == _LETTERS)
    weight = " strong" if row.primary else ""
    band = element("rect", x=6, y=f"{top - 2:g}", width=layout.width - 12, height=layout.row, rx=4, class_="band")
    size = " small" if layout.stacked else ""
    return join(
        band if row.primary else "",
        write(
            _EDGE if layout.stacked else 26,
            words,
            clip(row.label, layout.longest - len(row.where)) + row.where,
            f"{weight}{size}".strip() or None,
        ),
        _mark(row, axis, y),
        write(layout.width - _EDGE, numbers, row.text, "num" + weight + size, "end"),
    )


def _mark(row: Row, axis: Axis, y: float) -> Markup:
    colour = f"var(--c{row.colour})"
    parts: list[Markup] = []
    if row.interval:
        low, high = (min(max(end, axis.low), axis.high) for end in row.interval)
        ends = {"x1": f"{axis(low):.1f}", "x2": f"{axis(high):.1f}"}
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


def write(x: float, y: float, text: str, kind: str | None = None, anchor: str | None = None) -> Markup:
    """Write text at a place of a picture."""
    return element("text", text, x=f"{x:.1f}", y=f"{y:g}", class_=kind, text_anchor=anchor)


def clip(text: str, longest: int) -> str:
    """Shorten a label to the letters that fit."""
    return text if len(text) <= longest else text[: longest - 1] + "…"
