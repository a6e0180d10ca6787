"""The model card of a run, and a checklist of what a paper on it must say.

The card follows Mitchell et al., Model Cards for Model Reporting (2019); the checklist asks what CLAIM asks (Mongan,
Moy and Kahn, Radiology: Artificial Intelligence 2(2), 2020), in our words. What the run does not know is left to its
authors.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from monai_cxraug.reporting.language import Language
from monai_cxraug.reporting.markup import Markup, element
from monai_cxraug.reporting.methods import DataRole
from monai_cxraug.reporting.parts import facts, flatten, folded, note, section, table
from monai_cxraug.reporting.records import Plan, Results
from monai_cxraug.reporting.tables import finding_title

#: items of the checklist, and the section that answers each; ``authors`` where no run can.
CLAIM: Final[Mapping[str, Sequence[tuple[str, str]]]] = {
    "title": (("title", "authors"), ("abstract", "authors")),
    "introduction": (("background", "authors"), ("aims", "answer")),
    "methods": (
        ("design", "authors"),
        ("goal", "answer"),
        ("sources", "methods"),
        ("eligibility", "authors"),
        ("preparation", "methods"),
        ("subsets", "methods"),
        ("elements", "authors"),
        ("deidentified", "authors"),
        ("unknown", "measures"),
        ("truth", "authors"),
        ("truth_reason", "authors"),
        ("annotators", "authors"),
        ("annotation_tools", "authors"),
        ("variability", "authors"),
        ("sample_size", "answer"),
        ("partitions", "methods"),
        ("disjoint", "methods"),
        ("model", "card"),
        ("software", "provenance"),
        ("start", "authors"),
        ("training", "methods"),
        ("selection", "methods"),
        ("ensembles", "authors"),
        ("metrics", "measures"),
        ("statistics", "methods"),
        ("robustness", "subgroups"),
        ("explained", "maps"),
        ("external", "shift"),
    ),
    "results": (
        ("flow", "limits"),
        ("demographics", "subgroups"),
        ("performance", "results"),
        ("precision", "results"),
        ("failures", "maps"),
    ),
    "discussion": (("limitations", "limits"), ("practice", "authors")),
    "other": (("registration", "answer"), ("protocol", "methods"), ("funding", "authors")),
}


def card_part(
    results: Results, plan: Plan | None, roles: Sequence[DataRole], shown: Collection[str], say: Language
) -> Markup:
    """Write the card; ``shown`` are the sections of the page that it may point to."""
    groups: dict[str, list[tuple[str, object]]] = {
        "details": _details(results, plan, say),
        "use": [("purpose", say("card.purpose.text")), ("outside", say("card.outside.text"))],
        "factors": [("groups", _groups(results, say)), ("instruments", None)],
        "metrics": [
            ("measured", say("card.measured.text")),
            ("decided", _rule(results)),
            ("varied", say("card.varied.text")),
        ],
        "data": _data(results, plan, roles, say),
        "analyses": [("whole", _point("results", shown, say)), ("parts", _point("subgroups", shown, say))],
        "ethics": [("people", say("card.people.text")), ("copies", _point("synthetic", shown, say)), ("consent", None)],
        "caveats": [("warnings", _point("limits", shown, say)), ("before", say("card.before.text"))],
    }
    blocks = [
        block
        for name, rows in groups.items()
        for block in (element("h3", say(f"card.{name}")), facts(_filled(rows, say)))
    ]
    return section("card", say, folded(say("card.open"), element("div", *blocks, note(say("card.note")))))


def _filled(rows: Sequence[tuple[str, object]], say: Language) -> list[tuple[str, object]]:
    empty = element("span", say("card.unrecorded"), class_="soft")
    return [(say(f"card.{name}"), empty if value in (None, "") else value) for name, value in rows]


def _details(results: Results, plan: Plan | None, say: Language) -> list[tuple[str, object]]:
    versions = results.provenance.get("versions")
    software = ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, Mapping) else None
    experiment: Mapping[str, Any] = plan.experiment if plan else {}
    budget = experiment.get("budget")
    settings = ", ".join(f"{k} {v}" for k, v in flatten(budget)) if isinstance(budget, Mapping) else None
    findings = ", ".join(finding_title(name, say) for name in plan.findings) if plan else None
    return [
        ("name", results.name),
        ("version", software),
        ("date", results.provenance.get("created")),
        ("kind", say("card.kind.text")),
        ("findings", findings),
        ("budget", settings),
        ("licence", None),
        ("contact", None),
    ]


def _groups(results: Results, say: Language) -> str | None:
    return ", ".join(dict.fromkeys(say.known(row.column) for row in results.subgroups)) or None


def _rule(results: Results) -> str | None:
    return ", ".join(dict.fromkeys(row.rule for row in results.operating)) or None


def _data(results: Results, plan: Plan | None, roles: Sequence[DataRole], say: Language) -> list[tuple[str, object]]:
    counted = {one.role: say("card.counted", images=one.images, patients=one.patients) for one in roles}
    specs: Mapping[str, Any] = (plan.experiment.get("data") or {}) if plan else {}
    rows: list[tuple[str, object]] = []
    for name in ("train", "validation", "test"):
        source = (specs.get(name) or {}).get("source") or (specs.get(name) or {}).get("manifest")
        rows.append((f"data.{name}", ", ".join(part for part in (source, counted.get(name)) if part)))
    return rows


def checklist_part(results: Results, shown: Collection[str], say: Language) -> Markup:
    """Write the checklist; ``shown`` are the sections of the page that it may point to."""
    rows = [
        [number, say(f"claim.{part}"), say(f"claim.{part}.{item}"), _answer(item, where, results, shown, say)]
        for number, (part, item, where) in enumerate(_items(), start=1)
    ]
    left = sum(where == "authors" for _, _, where in _items())
    head = [say(f"head.{name}") for name in ("number", "part", "item", "answered")]
    title = say("claim.open", count=len(rows))
    body = element("div", table(head, rows, {1, 2, 3}, title), note(say("claim.note", left=left)), class_="prose")
    return section("claim", say, folded(title, body))


def _items() -> list[tuple[str, str, str]]:
    return [(part, item, where) for part, items in CLAIM.items() for item, where in items]


def _answer(item: str, where: str, results: Results, shown: Collection[str], say: Language) -> Markup | str:
    if item == "registration" and results.declared:
        return say("claim.declared" if results.declared.before else "claim.undeclared")
    return say("claim.authors") if where == "authors" else _point(where, shown, say)


def _point(name: str, shown: Collection[str], say: Language) -> Markup | str:
    """A link to a section, where the page has it."""
    if name not in shown:
        return say("claim.absent")
    return element("a", say(f"section.{name}"), href=f"#{name}")
