"""The sections with curves: ROC, precision-recall and calibration, and AUROC against the amount of data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from monai_cxraug.reporting.axis import span
from monai_cxraug.reporting.figures import order_arms
from monai_cxraug.reporting.language import Language
from monai_cxraug.reporting.markup import Markup, element, join
from monai_cxraug.reporting.parts import folded, note, responsive, section
from monai_cxraug.reporting.plots import LARGE, Line, Panel, Ticks, draw_panel, legend, panels
from monai_cxraug.reporting.records import MACRO, ArmResult, Curve, Results
from monai_cxraug.reporting.tables import amount, finding_title

#: more points of a curve cannot be told apart in a panel.
_POINTS: Final = 60
#: from this ratio of the largest to the smallest fraction on, the axis is logarithmic.
_WIDE: Final = 5
_PLAIN: Final = "plain"


def curves_part(results: Results, say: Language) -> Markup:
    """Write the curves of the endpoint's arm, its reference and plain training; nothing where there are none."""
    arms = compared_arms(results)
    rows = [row for row in results.curves if row.arm in arms and row.x]
    if not rows:
        return Markup("")
    blocks = {kind: _curve_panels([row for row in rows if row.kind == kind], results, kind, say) for kind in _AXES}
    shown = [join(element("h3", say(f"curve.{kind}")), blocks[kind]) for kind in ("roc", "reliability") if blocks[kind]]
    more = folded(say("curve.precision_recall"), blocks["precision_recall"]) if blocks["precision_recall"] else ""
    order = order_arms(results)
    names = [(arm, order.index(arm)) for arm in arms if any(row.arm == arm for row in rows)]
    return section("curves", say, legend(names), *shown, more, note(say("curves.note")))


#: kind of a curve to whether its panels have a rising line.
_AXES: Final = {"roc": True, "reliability": True, "precision_recall": False}


def compared_arms(results: Results) -> list[str]:
    """The endpoint's arm, its reference and plain training, those that there are."""
    there = order_arms(results)
    wanted = [results.primary.arm, results.primary.reference, _PLAIN] if results.primary else there
    return [arm for arm in dict.fromkeys(wanted) if arm in there]


def _curve_panels(rows: Sequence[Curve], results: Results, kind: str, say: Language) -> Markup | str:
    if not rows:
        return ""
    order = order_arms(results)
    drawn = []
    for finding in dict.fromkeys(row.finding for row in rows):
        own = sorted((row for row in rows if row.finding == finding), key=lambda row: -order.index(row.arm))
        counted = next((row for row in results.overall() if row.finding == finding), None)
        lines = [_thin(row, order.index(row.arm), dots=kind == "reliability") for row in own]
        most = _most(own) if kind == "reliability" else 1.0
        drawn.append(
            Panel(
                title=finding_title(finding, say),
                note=f"n+ {counted.positives} / {counted.n}" if counted else "",
                x=Ticks(0, most, say(f"curve.{kind}.x")),
                y=Ticks(0, most, say(f"curve.{kind}.y")),
                lines=lines,
                rising=_AXES[kind],
                level=counted.positives / counted.n if counted and counted.n and not _AXES[kind] else None,
            )
        )
    return panels(drawn)


def _most(rows: Sequence[Curve]) -> float:
    """End of the axes of calibration, which rare findings would leave empty."""
    return min(1.0, max(0.05, 1.1 * max(value for row in rows for value in (*row.x, *row.y))))


def _thin(row: Curve, colour: int, dots: bool) -> Line:
    """A line of few points, its ends among them."""
    last = len(row.x) - 1
    kept = sorted({round(k * last / (_POINTS - 1)) for k in range(_POINTS)}) if last >= _POINTS else range(last + 1)
    x, y = [row.x[k] for k in kept], [row.y[k] for k in kept]
    return Line(f"{row.arm} {row.seed}", x, y, colour, dots=dots, width=1.3)


# --- AUROC against fractions and ratios ---


def sweep_part(results: Results, say: Language) -> Markup:
    """Write AUROC against the fraction of the data and against the ratio, where there are several."""
    rows = [row for row in results.overall() if row.finding in results.studied() and row.auroc is not None]
    blocks = [block for name in ("fraction", "ratio") if (block := _sweep(rows, results, name, say))]
    return section("sweep", say, *blocks) if blocks else Markup("")


def _sweep(given: Sequence[ArmResult], results: Results, name: str, say: Language) -> Markup | None:
    rows = [row for row in given if getattr(row, name) is not None and _holds_still(row, results, name)]
    places = sorted({getattr(row, name) for row in rows})
    if len(places) < 2:
        return None
    order = order_arms(results)
    x = _sweep_axis(places, name, results, say)
    values = [end for row in rows for end in (row.interval or (row.auroc or 0,))]
    low, high = span(values, least=0.1)
    drawn = []
    for finding in results.studied():
        own = [row for row in rows if row.finding == finding]
        arms = [arm for arm in order if any(row.arm == arm for row in own)]
        lines = [_sweep_line([row for row in own if row.arm == arm], order, name, places) for arm in arms]
        counted = f"n+ {own[0].positives} / {own[0].n}" if own and finding != MACRO else ""
        title = finding_title(finding, say)
        drawn.append(Panel(title, counted, x, Ticks(max(0, low), min(1, high), "AUROC"), lines, level=0.5))
    names = [(arm, order.index(arm)) for arm in order if any(row.arm == arm for row in rows)]
    heading = say("sweep.real" if _counted(results, name) else f"sweep.{name}")
    shown = join(panels(drawn), note(say("sweep.note")))
    if len(drawn) == 1:  # room enough for every interval
        shown = responsive(draw_panel(drawn[0], LARGE), draw_panel(drawn[0]), say("sweep.note"))
    return join(element("h3", heading), legend(names), shown)


def _counted(results: Results, name: str) -> bool:
    """Whether the axis counts real images."""
    return name == "fraction" and results.scale is not None


def _holds_still(row: ArmResult, results: Results, name: str) -> bool:
    """Whether all but the one thing is as the endpoint has it."""
    primary = results.primary
    if primary is None:
        return True
    if name == "fraction":
        return not row.ratio or row.ratio == primary.ratio or primary.ratio is None
    return row.fraction == primary.fraction and bool(row.ratio)


def _place(value: float, places: Sequence[float]) -> float:
    return math.log(value) if places[0] > 0 and places[-1] / places[0] >= _WIDE else value


def _sweep_axis(places: Sequence[float], name: str, results: Results, say: Language) -> Ticks:
    marks = [(_place(value, places), _sweep_mark(value, name, results, say)) for value in places]
    low, high = span([place for place, _ in marks], least=0.1, margin=0.1)
    if results.scale and _counted(results, name):
        return Ticks(low, high, say("sweep.real.x", finding=finding_title(results.scale.finding, say)), marks)
    return Ticks(low, high, say(f"sweep.{name}.x"), marks)


def _sweep_mark(value: float, name: str, results: Results, say: Language) -> str:
    if name == "ratio":
        return f"×{value:g}"
    count = results.scale.count(value) if results.scale else None
    return amount(value, None, say) if count is None else say("exchange.all") if value == 1 else str(count)


def _sweep_line(rows: Sequence[ArmResult], order: Sequence[str], name: str, places: Sequence[float]) -> Line:
    """The line of an arm, set a little aside so that intervals do not hide one another."""
    own = sorted(rows, key=lambda row: getattr(row, name))
    colour = order.index(own[0].arm)
    where = [_place(value, places) for value in places]
    room = min(0.07 * (where[-1] - where[0]), 0.8 * min(b - a for a, b in pairwise(where)))
    aside = room * ((colour + 0.5) / len(order) - 0.5)
    x = [_place(getattr(row, name), places) + aside for row in own]
    y = [row.auroc or 0 for row in own]
    return Line(own[0].arm, x, y, colour, [row.interval for row in own], dots=True)
