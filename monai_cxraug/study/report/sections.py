"""The sections of the page that hold scores, differences and pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from monai_cxraug.metrics.psychometric import Threshold
from monai_cxraug.reporting.language import Language
from monai_cxraug.reporting.markup import Markup, element
from monai_cxraug.reporting.parts import note, over, responsive, section, table
from monai_cxraug.reporting.plots import Line, Panel, Ticks, panels
from monai_cxraug.reporting.tables import bracket, number, percent, signed
from monai_cxraug.reporting.words import minus
from monai_cxraug.study.report.bars import both
from monai_cxraug.study.visibility import RATIO

Results = Mapping[str, Any]
#: points of a fitted curve.
_POINTS = 60


def choice_part(results: Results, say: Language) -> Markup:
    """Write the scores of each distance by family, as bars and as a table with what is reachable."""
    families = results["forced_choice"]
    if not families:
        return section("choice", say, element("p", say("choice.none"), class_="soft"))
    kinds = {one["name"]: one["kind"] for one in results["distances"]}
    primary = results["primary"] and results["primary"]["distance"]
    drawn = both(families, kinds, primary, say)
    return section(
        "choice",
        say,
        element("p", say("choice.lead")),
        responsive(*drawn, say("choice.caption")),
        _choice_table(families, say),
        note(say("choice.note")),
    )


def _choice_table(families: Sequence[Mapping[str, Any]], say: Language) -> Markup:
    head = [say("head.distance"), *(say.known(family["family"]) for family in families)]
    names = [row["distance"] for row in families[0]["scores"]]
    scores = [{row["distance"]: row for row in family["scores"]} for family in families]
    rows: list[list[object]] = [[name, *(_scored(one[name]) for one in scores)] for name in names]
    reachable = {"others": "one_of_others", "majority": "majority_of_others", "oracle": "oracle"}
    rows += [
        [say(f"choice.{key}"), *(_or_none(family[name], say) for family in families)] for key, name in reachable.items()
    ]
    rows.append([say("choice.trials"), *(f"{family['trials']} / {family['patients']}" for family in families)])
    return table(head, rows, {0}, say("choice.table"))


def _scored(row: Mapping[str, Any]) -> Markup:
    return over(number(row["score"]), bracket(row["interval"], number))


def _or_none(value: float | None, say: Language) -> str:
    return say("none") if value is None else number(value)


def comparisons_part(results: Results, say: Language) -> Markup:
    """Write every distance's difference from SSIM over all families."""
    rows = [row for row in results["comparisons"] if row["family"] == "all"]
    if not rows:
        return Markup("")
    primary = results["primary"] and results["primary"]["distance"]
    head = [say(f"head.{name}") for name in ("distance", "difference", "interval")]
    cells = [
        [
            _marked(row["distance"], row["distance"] == primary, say),
            minus(signed(row["difference"])),
            minus(bracket(row["interval"])),
        ]
        for row in rows
    ]
    return section("comparisons", say, table(head, cells, {0}, say("comparison.table")), note(say("comparison.note")))


def _marked(name: str, primary: bool, say: Language) -> object:
    return over(name, say("comparison.primary")) if primary else name


def jnd_part(results: Results, say: Language) -> Markup:
    """Write the average precision of each distance."""
    found = results["jnd"]
    if found is None:
        return Markup("")
    head = [say(f"head.{name}") for name in ("distance", "precision", "interval")]
    rows = [[row["distance"], _or_none(row["score"], say), bracket(row["interval"], number)] for row in found["scores"]]
    same = percent(found["same"])
    return section(
        "jnd",
        say,
        element("p", say("jnd.lead", pairs=found["pairs"], same=same)),
        table(head, rows, {0}, say("jnd.table")),
        note(say("jnd.note", same=number(found["same"], 2))),
    )


def thresholds_part(results: Results, say: Language) -> Markup:
    """Draw the share of "different" by strength for each distortion."""
    found = results["thresholds"]
    if not found:
        return Markup("")
    return section("thresholds", say, element("p", say("thresholds.lead")), panels(_panel(one, say) for one in found))


def _panel(entry: Mapping[str, Any], say: Language) -> Panel:
    points = [(place, different / total) for place, different, total in entry["points"] if total]
    low, high = min(0.0, points[0][0]), max(1.0, points[-1][0])
    fitted = entry["threshold"] is not None
    x, y = zip(*points, strict=True)
    lines = [Line(say("thresholds.answers"), x, y, 2, dots=True, width=0 if fitted else 1.2)]
    if fitted:
        curve = np.linspace(low, high, _POINTS)
        fit = Threshold(RATIO ** entry["threshold"], entry["slope"], entry["guesses"] or 0.0)
        lines.append(Line(say("thresholds.fit"), curve.tolist(), fit.share(RATIO**curve).tolist(), 2))
    return Panel(
        say.known(entry["name"]).replace("_", " "),
        _threshold(entry, say),
        Ticks(low, high, _unit(entry, say), _ends(entry)),
        Ticks(0, 1, say("thresholds.y")),
        lines,
        level=0.5,
    )


def _threshold(entry: Mapping[str, Any], say: Language) -> str:
    if entry["threshold"] is None:
        return say("thresholds.none")
    value = f"{entry['strength']:g}" if entry["single"] else f"{entry['threshold']:.2f}"
    return say("thresholds.threshold", value=value)


def _unit(entry: Mapping[str, Any], say: Language) -> str:
    return say("thresholds.x", unit=entry["unit"]) if entry["single"] else say("thresholds.range")


def _ends(entry: Mapping[str, Any]) -> list[tuple[float, str]]:
    """What stands under the ends of the range."""
    mildest, strongest = entry["ends"] or (0, 1)
    return [(0, f"{mildest:g}"), (1, f"{strongest:g}")]
