"""The page of a study, section after section; one document that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from monai_cxraug.artifacts import read_json, write_text
from monai_cxraug.reporting.forest import STYLE as PLOT_STYLE
from monai_cxraug.reporting.language import Language
from monai_cxraug.reporting.markup import Markup, element, join
from monai_cxraug.reporting.parts import facts, section
from monai_cxraug.reporting.style import STYLE
from monai_cxraug.study.report.answer import answer_part, title_part
from monai_cxraug.study.report.disagreements import disagreements_part
from monai_cxraug.study.report.language import find_language
from monai_cxraug.study.report.people import readers_part, turing_part
from monai_cxraug.study.report.sections import choice_part, comparisons_part, jnd_part, thresholds_part

SCHEMA: Final = "cxraug.study_results/1"
RESULTS, PAGE = "results.json", "index.html"
_OWN_STYLE: Final = Markup("""
.simulated{border:3px solid var(--open);background:var(--open-bg);color:var(--open);border-radius:10px;
padding:.9em 1.1em;margin:1em 0;font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",Helvetica,Arial,
sans-serif}
.simulated strong{font-size:1.12rem}.simulated p{margin:.35em 0 0;max-width:none;font-size:.9rem}
.triplets{grid-template-columns:repeat(auto-fill,minmax(min(100%,270px),1fr));gap:18px}
dl.methods{margin:.6em 0;font-size:.92rem}dl.methods dt{font-weight:600;margin-top:.9em}dl.methods dd{margin:.15em 0 0;
max-width:75ch}
#readers th,#readers td{white-space:normal}
""")


def write_page(folder: Path, study: Path, language: str = "en") -> Path:
    """Write ``index.html`` from ``results.json`` and the images of the study.

    Args:
        folder: with ``results.json``.
        study: folder of the study.
        language: code of the language of the page.

    Returns:
        The page.

    Raises:
        ConfigError: the page is not written in that language.
        InputError: a file is missing or unreadable.
        StateError: ``results.json`` carries another schema.
    """
    say = find_language(language)
    results = read_json(folder / RESULTS, SCHEMA)
    write_text(folder / PAGE, page(results, study, say))
    return folder / PAGE


def page(results: Mapping[str, Any], study: Path, say: Language) -> str:
    """Write the whole page.

    Args:
        results: of the study.
        study: folder of the study, for its images.
        say: language.

    Returns:
        One HTML document: no script, no network, no file beside it.
    """
    parts = {
        "choice": choice_part(results, say),
        "comparisons": comparisons_part(results, say),
        "jnd": jnd_part(results, say),
        "thresholds": thresholds_part(results, say),
        "turing": turing_part(results, say),
        "readers": readers_part(results, say),
        "disagreements": disagreements_part(results, study, say),
        "methods": methods_part(results, say),
        "limits": limits_part(results, say),
        "provenance": provenance_part(results, say),
    }
    body = element(
        "main",
        title_part(results, say),
        answer_part(results, say),
        _contents([name for name, part in parts.items() if part], say),
        *parts.values(),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", results["title"] or say("kicker")),
        element("style", STYLE, PLOT_STYLE, _OWN_STYLE),
    )
    return f"<!doctype html>\n{element('html', head, element('body', body), lang=say.code)}\n"


def _contents(names: Sequence[str], say: Language) -> Markup:
    links = [element("li", element("a", say(f"section.{name}"), href=f"#{name}")) for name in names]
    return element("nav", element("ul", *links), class_="contents", aria_label=say("contents"))


def methods_part(results: Mapping[str, Any], say: Language) -> Markup:
    """Define every figure, with its source."""
    learnt = next((one["about"] for one in results["distances"] if one["kind"] in ("linear", "tuned")), None)
    shown = {
        "score": bool(results["forced_choice"]),
        "ceiling": bool(results["forced_choice"]),
        "interval": True,
        "jnd": results["jnd"] is not None,
        "distances": True,
        "learning": learnt is not None,
        "kappa": True,
        "turing": results["turing"] is not None,
        "threshold": bool(results["thresholds"]),
    }
    values = {**results["interval"], "folds": learnt and learnt.get("folds")}
    terms = [
        join(
            element("dt", say(f"method.{name}")),
            element("dd", say(f"method.{name}.text", **values), _more(name, results, say)),
        )
        for name, wanted in shown.items()
        if wanted
    ]
    return section("methods", say, element("dl", *terms, class_="methods"))


def _more(name: str, results: Mapping[str, Any], say: Language) -> str:
    """What holds for the images of this study only."""
    scales = next((one["about"].get("scales") for one in results["distances"] if one["name"] == "MS-SSIM"), None)
    return f" {say('method.scales', scales=scales)}" if name == "distances" and scales and scales < 5 else ""


def limits_part(results: Mapping[str, Any], say: Language) -> Markup:
    """Write what should be held against the result."""
    lines = [_warning(one, say) for one in results["warnings"]]
    listed = element("ul", *(element("li", line) for line in lines)) if lines else element("p", say("limits.none"))
    return section("limits", say, listed)


def _warning(one: Mapping[str, Any], say: Language) -> str:
    values = dict(one["values"])
    if reason := values.get("reason"):
        values["reason"] = say(f"reason.{reason}", **values)
    return say(f"limit.{one['what']}", **values)


def provenance_part(results: Mapping[str, Any], say: Language) -> Markup:
    """Write what the page was made from."""
    pairs: list[tuple[str, object]] = [
        (say("provenance.study"), results["study"]),
        (say("provenance.version"), results["version"]),
        *((say("provenance.table", name=name), digest) for name, digest in results["answers"].items()),
        *(
            (say("provenance.distance", name=one["name"]), one["about"].get("model") or one["about"]["weights"])
            for one in results["distances"]
            if "model" in one["about"] or "weights" in one["about"]
        ),
    ]
    return section("provenance", say, facts(pairs), element("p", say("provenance.files"), class_="note"))
