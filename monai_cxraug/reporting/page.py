"""The report's page, section after section in the order a sceptical reviewer reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monai_cxraug.reporting.answer import answer_part, harm_part, missing_part, title_part
from monai_cxraug.reporting.card import card_part, checklist_part
from monai_cxraug.reporting.composition import composition_part
from monai_cxraug.reporting.curves import curves_part, sweep_part
from monai_cxraug.reporting.exchange import exchange_part
from monai_cxraug.reporting.forest import STYLE as PLOT_STYLE
from monai_cxraug.reporting.grid import grid_part
from monai_cxraug.reporting.language import Language
from monai_cxraug.reporting.maps import CellMaps, maps_section
from monai_cxraug.reporting.markup import Markup, element
from monai_cxraug.reporting.methods import (
    DataRole,
    Refusal,
    cost_part,
    limits_part,
    methods_part,
    provenance_part,
)
from monai_cxraug.reporting.operating import operating_part
from monai_cxraug.reporting.outcome import Pair, forest_part, results_part
from monai_cxraug.reporting.pictures import Picture
from monai_cxraug.reporting.published import published_part
from monai_cxraug.reporting.records import Plan, Results
from monai_cxraug.reporting.style import STYLE
from monai_cxraug.reporting.subgroups import shift_part, subgroups_part
from monai_cxraug.reporting.synthetic import Nearest, synthetic_part
from monai_cxraug.reporting.training import Trace, training_part


@dataclass(frozen=True)
class Figures:
    """What there is to show, None where the run has not come that far; ``shown`` are the findings of the mosaic."""

    differences: Pair | None
    areas: Pair | None
    other_differences: Pair | None = None
    other_areas: Pair | None = None
    mosaic: Picture | None = None
    shown: tuple[str, ...] = ()
    nearest: Sequence[Nearest] = ()
    maps: Sequence[CellMaps] = ()
    training: Sequence[Trace] = ()


def page(
    results: Results,
    plan: Plan | None,
    roles: Sequence[DataRole],
    refusals: Sequence[Refusal],
    figures: Figures,
    say: Language,
) -> str:
    """Write the whole page.

    Args:
        results: of the run.
        plan: of the run; None for an evaluation.
        roles: the data behind it, in the order to show.
        refusals: images that were left out.
        figures: charts and pictures.
        say: language.

    Returns:
        One HTML document that needs nothing else: no script, no network, no file beside it.
    """
    judged = next((role.patients for role in roles if role.role == results.split), None)
    parts = {
        "harm": harm_part(results, say),
        "missing": missing_part(results, say),
        "results": results_part(results, say),
        "grid": grid_part(results, plan, say),
        "exchange": exchange_part(results, say),
        "published": published_part(results, plan, say),
        "shift": shift_part(results, say),
        "differences": forest_part("differences", figures.differences, figures.other_differences, say),
        "areas": forest_part("areas", figures.areas, figures.other_areas, say),
        "curves": curves_part(results, say),
        "sweep": sweep_part(results, say),
        "measures": operating_part(results, say),
        "subgroups": subgroups_part(results, say),
        "classes": composition_part(results, say),
        "synthetic": synthetic_part(results, plan, figures.mosaic, figures.shown, figures.nearest, say),
        "training": training_part(figures.training, results.scale, say),
        "maps": maps_section(figures.maps, say),
        "methods": methods_part(results, plan, roles, say),
        "limits": limits_part(results, plan, refusals, say),
        "provenance": provenance_part(results, say),
        "cost": cost_part(results.cost, say),
    }
    shown = ["answer", *(name for name, part in parts.items() if part)]
    parts["card"] = card_part(results, plan, roles, shown, say)
    parts["claim"] = checklist_part(results, [*shown, "card"], say)
    body = element(
        "main",
        title_part(results, plan, say),
        answer_part(results, plan, judged, say),
        _contents([name for name, part in parts.items() if part], say),
        *parts.values(),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", results.title),
        element("style", STYLE, PLOT_STYLE),
    )
    return f"<!doctype html>\n{element('html', head, element('body', body), lang=say.code)}\n"


def _contents(names: Sequence[str], say: Language) -> Markup:
    links = [element("li", element("a", say(f"section.{name}"), href=f"#{name}")) for name in names]
    return element("nav", element("ul", *links), class_="contents", aria_label=say("contents"))
