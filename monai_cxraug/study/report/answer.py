"""The top of the page: who answered, and the answer to the question decided beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from monai_cxraug.reporting.language import Language
from monai_cxraug.reporting.markup import Markup, element
from monai_cxraug.reporting.tables import bracket, signed
from monai_cxraug.reporting.words import minus

#: class and sign of the badge of each verdict.
_BADGES: Final[Mapping[str, tuple[str, str]]] = {
    "closer": ("helps", "▲"),
    "farther": ("harms", "▼"),
    "no evidence": ("none", "="),
}


def title_part(results: Mapping[str, Any], say: Language) -> Markup:
    """Write the title, and in large letters whether programs answered."""
    return element(
        "header",
        element("p", say("kicker"), class_="kicker"),
        element("h1", results["title"] or say("kicker")),
        _simulated(results, say),
    )


def _simulated(results: Mapping[str, Any], say: Language) -> Markup:
    made, everyone = results["simulated"], len(results["readers"])
    if not made:
        return Markup("")
    key = "simulated.all" if len(made) == everyone else "simulated.some"
    text = say(key, count=len(made), all=everyone, names=", ".join(made))
    return element("div", element("strong", say("simulated")), element("p", text), class_="simulated", role="note")


def answer_part(results: Mapping[str, Any], say: Language) -> Markup:
    """Write the answer, what it means, and how it was decided."""
    primary = results["primary"]
    if primary is None:
        parts = [element("p", say("answer.none"), class_="lead")]
    else:
        parts = [
            _badge(primary["verdict"], say),
            element("p", say(f"answer.{primary['verdict']}", **_named(primary)), class_="lead"),
            _facts(results, primary, say),
            element("p", _meaning(primary, say)),
            element("p", _ceiling(results, say)),
            element("p", say("declared"), class_="note"),
        ]
    return element("section", *parts, id="answer", class_="answer", aria_label=say("answer"))


def _badge(verdict: str, say: Language) -> Markup:
    kind, sign = _BADGES[verdict]
    return element("span", element("span", f"{sign} ", aria_hidden="true"), say.known(verdict), class_=f"badge {kind}")


def _named(primary: Mapping[str, Any]) -> dict[str, object]:
    return {"distance": primary["distance"], "reference": primary["reference"]}


def _facts(results: Mapping[str, Any], primary: Mapping[str, Any], say: Language) -> Markup:
    counts = results["counts"]
    facts = [
        ("fact.difference", minus(signed(primary["difference"]))),
        ("fact.interval", minus(bracket(primary["interval"]))),
        ("fact.readers", counts["readers"]),
        ("fact.trials", counts["answered"]["2afc"]),
        ("fact.patients", results["forced_choice"][0]["patients"]),
    ]
    return element(
        "dl", *(element("div", element("dt", say(key)), element("dd", value)) for key, value in facts), class_="figures"
    )


def _meaning(primary: Mapping[str, Any], say: Language) -> str:
    first, second = (hundredths(score) for score in primary["scores"])
    if primary["interval"] is None:
        return say("meaning.point", first=first, second=second, **_named(primary))
    low, high = (minus(signed(100 * end, 1)) for end in primary["interval"])
    return say("meaning", first=first, second=second, low=low, high=high, **_named(primary))


def _ceiling(results: Mapping[str, Any], say: Language) -> str:
    family = results["forced_choice"][0]
    if family["one_of_others"] is None:
        return ""
    others, majority, oracle = (hundredths(family[key]) for key in ("one_of_others", "majority_of_others", "oracle"))
    return say("ceiling", others=others, majority=majority, oracle=oracle)


def hundredths(share: float | None) -> str:
    """Write a share as a number out of a hundred."""
    return "–" if share is None else f"{100 * share:.1f}"
