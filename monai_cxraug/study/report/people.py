"""The sections of the page about readers: the visual Turing test, and what each of them did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from monai_cxraug.reporting.language import Language
from monai_cxraug.reporting.markup import Markup, element
from monai_cxraug.reporting.parts import note, over, section, table
from monai_cxraug.reporting.tables import bracket, number, p_value, percent, signed
from monai_cxraug.reporting.words import minus

Results = Mapping[str, Any]
#: measures of detection, and whether each has a sign.
_MEASURES: Final = (("accuracy", False), ("d_prime", True), ("criterion", True), ("area", False))


def turing_part(results: Results, say: Language) -> Markup:
    """Write what each reader made of real and synthetic images, and the mean."""
    found = results["turing"]
    if found is None:
        return Markup("")
    head = [say("head.reader"), say("head.answers"), *(say(f"head.{name}") for name, _ in _MEASURES)]
    rows: list[list[object]] = [
        [row["reader"], row["answers"], *(_value(row[name], sign) for name, sign in _MEASURES)]
        for row in found["readers"]
    ]
    rows.append([say("turing.mean"), "", *(_mean(found["mean"][name], sign) for name, sign in _MEASURES)])
    unsure = [] if found["confidence"] else [note(say("turing.unsure"))]
    return section(
        "turing",
        say,
        element("p", say("turing.lead", real=found["real"], synthetic=found["synthetic"])),
        table(head, rows, {0}, say("turing.table"), total=True),
        note(say("turing.note")),
        *unsure,
    )


def _value(value: float | None, sign: bool) -> str:
    return minus(signed(value, 2)) if sign else number(value, 2)


def _mean(entry: Mapping[str, Any], sign: bool) -> Markup:
    write = (lambda end: minus(signed(end, 2))) if sign else (lambda end: number(end, 2))
    return over(_value(entry["value"], sign), bracket(entry["interval"], write))


def readers_part(results: Results, say: Language) -> Markup:
    """Write what each reader did, and who is left out."""
    readers = results["readers"]
    excluded = sum(bool(one["excluded"]) for one in readers)
    rule = say("readers.rule", least=percent(results["least_sentinels"]), excluded=excluded, all=len(readers))
    names = ("reader", "role", "used", "answers", "sentinels", "repeats", "repeats_kappa", "left", "time")
    head = [say(f"head.{name}") for name in names]
    rows = [_reader(one, say) for one in readers]
    found = results["forced_choice"]
    agreed = (
        [element("p", say("readers.kappa", fleiss=_kappa(found[0]["fleiss"]), cohen=_kappa(found[0]["cohen"])))]
        if found
        else []
    )
    return section(
        "readers",
        say,
        element("p", rule),
        table(head, rows, {0, 1, 2}, say("readers.table")),
        note(say("readers.side")),
        *agreed,
    )


def _reader(one: Mapping[str, Any], say: Language) -> list[object]:
    return [
        one["reader"],
        _role(one, say),
        _used(one, say),
        one["answers"],
        _part(one["sentinels_right"], one["sentinels"]),
        _part(one["repeats_same"], one["repeats"]),
        _kappa(one["repeats_kappa"]),
        over(percent(one["left"] / one["sides"]), p_value(one["left_p"])) if one["sides"] else "–",
        "–" if one["reaction_ms"] is None else say("thousand", value=f"{one['reaction_ms'] / 1000:.1f}"),
    ]


def _role(one: Mapping[str, Any], say: Language) -> str:
    key = f"role.{one['role']}"
    role = say(key) if say.has(key) else one["role"]
    return say("role.years", role=role, years=one["years"]) if one["years"] >= 0 else role


def _used(one: Mapping[str, Any], say: Language) -> Markup | str:
    if not one["excluded"]:
        return say("readers.counts")
    key = f"readers.{one['excluded']}"
    reason = say(key) if say.has(key) else say.known(one["excluded"])
    return element("span", say("readers.out", reason=reason), class_="few")


def _part(some: int, every: int) -> str:
    return f"{some} / {every}" if every else "–"


def _kappa(value: float | None) -> str:
    return "–" if value is None else minus(number(value, 2))
