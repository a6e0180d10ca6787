"""The section with the exchange rate: how many real images each arm is worth, drawn and in a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from monai_cxraug.reporting import words
from monai_cxraug.reporting.figures import order_arms
from monai_cxraug.reporting.language import Language
from monai_cxraug.reporting.markup import Markup, element, join
from monai_cxraug.reporting.parts import folded, note, over, ratio_text, section, table
from monai_cxraug.reporting.plots import Line, Panel, Ticks, panels
from monai_cxraug.reporting.records import ExchangeCurve, Exchanged, Results, Scale
from monai_cxraug.reporting.tables import NONE, bracket, finding_title, number, signed

#: room on each side of the axes for what lies beyond the numbers that were tried, in logarithms.
_MARGIN: Final = 0.28

#: a number of real images, and whether it lies beyond those tried.
End = tuple[float | None, str | None]


def exchange_part(results: Results, say: Language) -> Markup:
    """Write the section; nothing where no exchange rate was asked for.

    Args:
        results: of the run.
        say: language.

    Returns:
        For each finding one panel an arm, real images across and the real images that they are worth upwards, and the
        same numbers as tables.
    """
    rows = results.exchange
    if not rows:
        return Markup("")
    reference = rows[0].reference
    findings = list(dict.fromkeys(row.finding for row in rows))
    return section(
        "exchange",
        say,
        element("p", say("exchange.read", reference=reference)),
        element("p", say("exchange.limits", reference=reference)),
        *(_of_finding(name, len(findings) > 1, results, say) for name in findings),
        note(say("exchange.note", reference=reference)),
        _every(rows, results.scale, say),
    )


def _of_finding(finding: str, named: bool, results: Results, say: Language) -> Markup:
    rows = [row for row in results.exchange if row.finding == finding]
    curve = next((one for one in results.exchange_curves if one.finding == finding), None)
    heading = element("h3", finding_title(finding, say)) if named else ""
    told = _told(curve, say) if curve else ""
    if all(row.equivalent is None for row in rows):
        return join(heading, told)
    return join(heading, told, panels(_panels(rows, curve, results, say)), _table(rows, results, say))


def _told(curve: ExchangeCurve, say: Language) -> Markup:
    """Say how far the reference rises, and warn where it is not shown to."""
    values = {"reference": curve.reference, "least": curve.real[0], "most": curve.real[-1]}
    numbers = words.minus(f"{signed(curve.rise)} {bracket(curve.interval)}")
    if curve.rise is None or curve.rising[0] is None:
        return element("p", say("exchange.none"), class_="warning")
    if curve.rising[-1] == curve.rising[0]:
        return element("p", say("exchange.flat", rise=numbers, **values), class_="warning")
    if not rise_is_shown(curve):
        return element("p", say("exchange.weak", rise=numbers, **values), class_="warning")
    return element("p", say("exchange.rise", rise=numbers, **values))


def rise_is_shown(curve: ExchangeCurve) -> bool:
    """Whether more real images are shown to help the reference."""
    return curve.interval is not None and curve.interval[0] > 0


# --- the figure ---


def _panels(rows: Sequence[Exchanged], curve: ExchangeCurve | None, results: Results, say: Language) -> list[Panel]:
    counts = sorted({*(curve.real if curve else ()), *(row.real for row in rows)})
    low, high = math.log(counts[0]) - _MARGIN, math.log(counts[-1]) + _MARGIN
    marks = [(math.log(count), written(count, None, results.scale, say)) for count in counts]
    x, y = (Ticks(low, high, say(f"exchange.{name}"), marks) for name in ("x", "y"))
    order = order_arms(results)
    lines = dict.fromkeys((row.arm, row.ratio) for row in rows)
    return [
        Panel(
            title=f"{arm} ×{ratio:g}" if ratio else arm,
            note="",
            x=x,
            y=y,
            lines=[
                _line([row for row in rows if (row.arm, row.ratio) == (arm, ratio)], order.index(arm), results, say)
            ],
            rising=True,
        )
        for arm, ratio in lines
    ]


def _line(rows: Sequence[Exchanged], colour: int, results: Results, say: Language) -> Line:
    known = sorted((row for row in rows if row.equivalent is not None), key=lambda row: row.real)
    return Line(
        rows[0].arm,
        [math.log(row.real) for row in known],
        [_place(row.equivalent, row.censored) for row in known],
        colour,
        [
            None if row.low is None or row.high is None
            else (_place(row.low, row.low_censored), _place(row.high, row.high_censored))
            for row in known
        ],
        dots=True,
        told="; ".join(f"{row.real}: {written(row.equivalent, row.censored, results.scale, say)}" for row in known),
    )  # fmt: skip


def _place(images: float | None, censored: str | None) -> float:
    """Logarithm; beyond every axis for what lies beyond what was tried."""
    return math.log(images or 1) + {"below": -9.0, "above": 9.0}.get(censored or "", 0.0)


# --- the tables ---


def _table(rows: Sequence[Exchanged], results: Results, say: Language) -> Markup:
    """Equivalent real images with intervals: arms by numbers of real images."""
    counts = sorted({row.real for row in rows})
    lines = dict.fromkeys((row.arm, row.ratio) for row in rows)
    found = {(row.arm, row.ratio, row.real): row for row in rows}
    cells = [
        [
            f"{arm} ×{ratio:g}" if ratio else arm,
            *(_cell(found.get((arm, ratio, count)), results.scale, say) for count in counts),
        ]
        for arm, ratio in lines
    ]
    finding = finding_title(results.scale.finding if results.scale else rows[0].finding, say)
    head = [say("head.arm"), *map(str, counts)]
    title = say("exchange.table")
    body = table(head, cells, {0}, title, span=say("grid.columns", finding=finding))
    return join(element("h3", title), element("div", body, class_="grid"))


def _cell(row: Exchanged | None, scale: Scale | None, say: Language) -> Markup | str:
    if row is None:
        return ""
    if row.equivalent is None:
        return NONE
    return over(written(row.equivalent, row.censored, scale, say), written_interval(row, scale, say))


def written_interval(row: Exchanged, scale: Scale | None, say: Language) -> str:
    """Write the interval of a rate; an end beyond the numbers that were tried leaves it open on that side."""
    return _between((row.low, row.low_censored), (row.high, row.high_censored), scale, say)


def written(images: float | None, censored: str | None, scale: Scale | None, say: Language) -> str:
    """Write a number of real images: whole, ``<`` or ``>`` a bound, all of them by name."""
    if images is None:
        return NONE
    every = scale is not None and scale.count(1.0) is not None and scale.count(1.0) == images
    text = say("exchange.all") if every else f"{images:.0f}"
    return {"below": f"< {text}", "above": f"> {text}"}.get(censored or "", text)


def _every(rows: Sequence[Exchanged], scale: Scale | None, say: Language) -> Markup:
    names = ("arm", "finding", "real", "ratio", "auroc", "equivalent", "interval", "bootstrap", "gain", "more")
    cells = [
        [
            row.arm,
            finding_title(row.finding, say),
            row.real,
            ratio_text(row.ratio),
            number(row.auroc),
            written(row.equivalent, row.censored, scale, say),
            written_interval(row, scale, say) or NONE,
            _bootstrap(row, scale, say),
            _compared(row.gain, row.censored, "×{:.2f}"),
            _compared(row.more, row.censored, "{:+.0f}"),
        ]
        for row in rows
    ]
    title = say("exchange.every", count=len(rows))
    return folded(title, table([say(f"head.{name}") for name in names], cells, {0, 1}, title))


def _bootstrap(row: Exchanged, scale: Scale | None, say: Language) -> str:
    low = row.bootstrap_low, row.bootstrap_low_censored
    high = row.bootstrap_high, row.bootstrap_high_censored
    return _between(low, high, scale, say) or NONE


def _between(low: End, high: End, scale: Scale | None, say: Language) -> str:
    if low[0] is None or high[0] is None:
        return ""
    open_low, open_high = low[1] == "below", high[1] == "above"
    if open_low and open_high:
        return say("exchange.any")
    if open_high and low[1] is None:
        return f"≥ {written(*low, scale, say)}"
    if open_low and high[1] is None:
        return f"≤ {written(*high, scale, say)}"
    ends = dict.fromkeys((written(*low, scale, say), written(*high, scale, say)))
    return "–".join(ends)


def _compared(value: float | None, censored: str | None, form: str) -> str:
    if value is None:
        return NONE
    return words.minus({"below": "< ", "above": "> "}.get(censored or "", "") + form.format(value))
