"""Bars of the score of each distance, family under family, with intervals and the band of what can be reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from monai_cxraug.reporting.axis import Axis
from monai_cxraug.reporting.forest import NARROW, STYLE, WIDE, Layout, clip, write
from monai_cxraug.reporting.language import Language
from monai_cxraug.reporting.markup import Markup, element, join
from monai_cxraug.reporting.tables import bracket, number

#: colour of each kind of distance; rows are named too, so that colour is not needed.
COLOURS: Final[Mapping[str, int]] = {"pixels": 0, "structure": 1, "plain": 2, "linear": 3, "tuned": 4, "lpips": 5}
CHANCE: Final = 0.5
_TOP, _HEAD, _GAP, _BOTTOM, _EDGE, _BAR = 30, 26, 14, 44, 14, 11


def bars(
    families: Sequence[Mapping[str, Any]], kinds: Mapping[str, str], primary: str | None, say: Language, layout: Layout
) -> Markup:
    """Draw the chart.

    Args:
        families: of ``results.json``: ``family``, ``oracle``, ``majority_of_others`` and ``scores``.
        kinds: of each distance by name.
        primary: distance to set in bold.
        say: language.
        layout: room for it.

    Returns:
        An SVG element with its own style.
    """
    axis = Axis(*_domain(families), layout.left, layout.right)
    body, y = [], float(_TOP)
    for family in families:
        body.append(_family(family, kinds, primary, axis, y, say, layout))
        y += _HEAD + layout.row * len(family["scores"]) + _GAP
    name = f"choice{layout.suffix}"
    return element(
        "svg",
        element("title", say("choice.title"), id=f"{name}-title"),
        element("desc", say("choice.about"), id=f"{name}-desc"),
        element("style", STYLE),
        _scale(axis, _TOP - 6, y - _GAP + 4, say("choice.axis")),
        *body,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {layout.width} {y + _BOTTOM - _GAP:g}",
        class_="cx",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
    )


def both(
    families: Sequence[Mapping[str, Any]], kinds: Mapping[str, str], primary: str | None, say: Language
) -> tuple[Markup, Markup]:
    """Draw the chart for wide and for narrow pages."""
    return bars(families, kinds, primary, say, WIDE), bars(families, kinds, primary, say, NARROW)


def _domain(families: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """From a little below chance, or the lowest end there is, to one."""
    ends = [end for family in families for row in family["scores"] for end in (row["interval"] or [row["score"]])]
    return max(0.0, min([CHANCE - 0.02, *(end - 0.02 for end in ends)])), 1.0


def _scale(axis: Axis, top: float, bottom: float, unit: str) -> Markup:
    lines = [_line(axis(tick), top, bottom, "grid") for tick in axis.ticks()]
    marks = [
        write(axis(tick), bottom + 16, number(tick, max(1, axis.decimals)), "soft small num", "middle")
        for tick in axis.ticks()
    ]
    middle = (axis.left + axis.right) / 2
    return join(
        *lines,
        _line(axis(CHANCE), top, bottom, "zero"),
        *marks,
        write(middle, bottom + 34, unit, "soft small", "middle"),
    )


def _family(
    family: Mapping[str, Any],
    kinds: Mapping[str, str],
    primary: str | None,
    axis: Axis,
    top: float,
    say: Language,
    layout: Layout,
) -> Markup:
    first = top + _HEAD
    bottom = first + layout.row * len(family["scores"])
    rows = [
        _row(row, COLOURS.get(kinds.get(row["distance"], ""), 0), row["distance"] == primary, axis, first, k, layout)
        for k, row in enumerate(family["scores"])
    ]
    return join(
        *(_reachable(family, axis, *ends) for ends in _spans(first, bottom, layout)),
        write(_EDGE, top + 14, say.known(family["family"]), "strong"),
        write(layout.width - _EDGE, top + 14, say("choice.count", count=family["trials"]), "soft small num", "end"),
        *rows,
    )


def _spans(first: float, bottom: float, layout: Layout) -> list[tuple[float, float]]:
    """Where the band stands: behind all rows, or behind each bar where numbers stand above it."""
    if not layout.stacked:
        return [(first - 4, bottom)]
    return [(y - 21, y - 3) for y in np.arange(first + layout.row, bottom + 1, layout.row)]


def _reachable(family: Mapping[str, Any], axis: Axis, top: float, bottom: float) -> Markup:
    """Band from the majority of the other readers to the ceiling, which is dashed."""
    low, high = family["majority_of_others"], family["oracle"]
    if high is None:
        return Markup("")
    ceiling = element(
        "line",
        x1=f"{axis(high):.1f}",
        x2=f"{axis(high):.1f}",
        y1=f"{top:g}",
        y2=f"{bottom:g}",
        stroke="var(--ink)",
        stroke_width=1.4,
        stroke_dasharray="5 3",
    )
    if low is None:
        return ceiling
    left = axis(max(low, axis.low))
    band = element(
        "rect",
        x=f"{left:.1f}",
        y=f"{top:g}",
        width=f"{max(0.0, axis(high) - left):.1f}",
        height=f"{bottom - top:g}",
        fill="var(--zero)",
        fill_opacity=0.28,
    )
    return join(band, ceiling)


def _row(
    row: Mapping[str, Any], colour: int, primary: bool, axis: Axis, first: float, place: int, layout: Layout
) -> Markup:
    top = first + layout.row * place
    y = top + (layout.row - 12 if layout.stacked else layout.row / 2 - 1)
    words = top + 13 if layout.stacked else y + 4.5
    kind = ("strong" if primary else "") + (" small" if layout.stacked else "")
    text = f"{number(row['score'])}  {bracket(row['interval'], number)}"
    return join(
        write(_EDGE if layout.stacked else 26, words, clip(row["distance"], layout.longest), kind.strip() or None),
        _bar(row, f"var(--c{colour})", axis, y),
        write(layout.width - _EDGE, words, text, f"num {kind}".strip(), "end"),
    )


def _bar(row: Mapping[str, Any], colour: str, axis: Axis, y: float) -> Markup:
    left, right = sorted((axis(CHANCE), axis(row["score"])))
    drawn = [
        element("rect", x=f"{left:.1f}", y=f"{y - _BAR / 2:g}", width=f"{right - left:.1f}", height=_BAR, fill=colour)
    ]
    if row["interval"]:
        low, high = (f"{axis(end):.1f}" for end in row["interval"])
        drawn.append(_whisker(low, high, y, "var(--paper)", 4))
        drawn.append(_whisker(low, high, y, "var(--ink)", 1.6))
    return join(*drawn)


def _whisker(low: str, high: str, y: float, colour: str, width: float) -> Markup:
    return element("line", x1=low, x2=high, y1=f"{y:g}", y2=f"{y:g}", stroke=colour, stroke_width=width)


def _line(x: float, top: float, bottom: float, kind: str) -> Markup:
    return element("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=f"{top:g}", y2=f"{bottom:g}", class_=kind)
