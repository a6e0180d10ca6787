"""The top of the page: the verdict with its harm side, how sure it is, and what is missing for one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from monai_cxraug.reporting import words
from monai_cxraug.reporting.exchange import rise_is_shown, written, written_interval
from monai_cxraug.reporting.language import Language
from monai_cxraug.reporting.markup import Markup, element, join
from monai_cxraug.reporting.parts import badge, folded, note, over, section, table
from monai_cxraug.reporting.records import MACRO, Exchanged, Harm, Plan, Primary, Results
from monai_cxraug.reporting.tables import amount_of, bracket, finding_title, number, p_value, signed, summarise

#: rows of the table of harm that are shown without unfolding it.
_SHOWN: Final = 8


def title_part(results: Results, plan: Plan | None, say: Language) -> Markup:
    """Write the head of the page."""
    kind = say("title.run" if plan else "title.evaluation")
    judged = say("title.note", kind=kind, name=results.name, split=say.known(results.split) or say("title.given"))
    smoke = element("p", say("title.smoke"), class_="warning") if plan and plan.smoke else ""
    return element("header", element("p", judged, class_="kicker"), element("h1", results.title), smoke)


def answer_part(results: Results, plan: Plan | None, patients: int | None, say: Language) -> Markup:
    """Write the verdict.

    Args:
        results: of the run.
        plan: None for an evaluation.
        patients: behind the judged images, where known.
        say: language.
    """
    primary = results.primary
    lead = element("p", words.answer(results, say), class_="lead")
    if primary is None:
        return element("section", lead, id="answer", class_="answer", aria_label=say("answer"))
    return element(
        "section",
        badge(primary.verdict, say),
        lead,
        _numbers(results, primary, patients, say),
        element("p", words.meaning(primary, say)),
        element("p", words.detectable(primary, say)),
        _worth(results, primary, say),
        element(
            "p",
            element("strong", say("endpoint")),
            " ",
            _endpoint(results, primary, say),
            ". ",
            _declared(results, plan, say),
        ),
        *(element("p", say.known(line), class_="warning") for line in results.warnings),
        id="answer",
        class_="answer",
        aria_label=say("answer"),
    )


def _numbers(results: Results, primary: Primary, patients: int | None, say: Language) -> Markup:
    counted = next((row for row in summarise(results).rows if row.finding == primary.finding), None)
    facts = [
        (say("head.difference_auroc"), words.minus(signed(primary.difference))),
        (say("head.interval"), words.minus(bracket(primary.interval))),
        (say("head.p"), p_value(primary.p)),
    ]
    if primary.bootstrap_interval:
        facts.insert(2, (say("head.bootstrap"), words.minus(bracket(primary.bootstrap_interval))))
    if primary.p_holm not in (None, primary.p):  # the verdict goes by it
        facts.append((say("head.p_holm"), p_value(primary.p_holm)))
    if primary.detectable is not None:
        facts.append((say("head.detectable"), number(primary.detectable)))
    if counted:
        kind = "head.labels" if primary.finding == MACRO else "head.positives"
        facts.append((say(kind), f"{counted.positives} / {counted.n}"))
    if primary.skipped:
        facts.append((say("head.skipped"), str(primary.skipped)))
    if patients is not None:
        facts.append((say("head.patients"), str(patients)))
    return element("dl", *(element("div", element("dt", k), element("dd", v)) for k, v in facts), class_="figures")


def _worth(results: Results, primary: Primary, say: Language) -> Markup | str:
    """Say how many real images the endpoint's arm is worth, where the reference is shown to gain from more of them."""
    if not any(rise_is_shown(curve) for curve in results.exchange_curves if curve.finding == primary.finding):
        return ""
    place = (primary.arm, primary.finding, primary.fraction, primary.ratio)
    for row in results.exchange:
        if (row.arm, row.finding, row.fraction, row.ratio) == place and row.equivalent is not None:
            worth = written(row.equivalent, row.censored, results.scale, say)
            named = {"arm": row.arm, "reference": row.reference, "real": row.real, "worth": worth}
            return element("p", say("answer.worth", **named), _sure(row, results, say), ".")
    return ""


def _sure(row: Exchanged, results: Results, say: Language) -> str:
    """The interval of a rate, and whether it leaves the arm's own number of real images open."""
    ends = written_interval(row, results.scale, say)
    if not ends:
        return ""
    return say("answer.worth_open" if row.is_open else "answer.worth_ends", ends=ends, real=row.real)


def _endpoint(results: Results, primary: Primary, say: Language) -> str:
    named = {"metric": primary.endpoint.upper(), "arm": primary.arm, "reference": primary.reference}
    parts = [say("endpoint.pair", subject=words.subject(primary.finding, say), **named)]
    if primary.fraction is not None:
        parts.append(amount_of(primary.fraction, results.scale, say))
    if primary.ratio is not None:
        parts.append(say("endpoint.ratio", ratio=f"{primary.ratio:g}"))
    return ", ".join(parts)


def _declared(results: Results, plan: Plan | None, say: Language) -> Markup | str:
    found = results.declared
    if found is None:
        return say("declared.unknown") if plan else ""
    if found.before and not found.earlier:
        return say("declared.before")
    key = "declared.changed_before" if found.before else "declared.after"
    return element("strong", say(key, earlier=found.earlier, cells=found.cells_done), class_="few")


def harm_part(results: Results, say: Language) -> Markup:
    """Write what the endpoint's arm changes beside AUROC."""
    if not results.harm or results.primary is None:
        return Markup("")
    rows = sorted(results.harm, key=lambda row: not row.worse)
    worse = sum(row.worse for row in rows)
    shown = max(worse, _SHOWN)
    parts = [_harm_table(rows[:shown], say)]
    if rows[shown:]:
        parts.append(folded(say("harm.more", count=len(rows) - shown), _harm_table(rows[shown:], say)))
    text = say("harm.note", arm=results.primary.arm, reference=results.primary.reference, count=len(rows))
    return section("harm", say, *parts, note(text))


def _harm_table(rows: Sequence[Harm], say: Language) -> Markup:
    head = [say(f"head.{name}") for name in ("measure", "difference", "worse")]
    cells = [
        [
            over(say(f"measure.{row.measure}.short"), finding_title(row.finding, say)),
            over(*words.harm_numbers(row)),
            _side(row, say),
        ]
        for row in rows
    ]
    return table(head, cells, {0, 2}, say("section.harm"))


def _side(row: Harm, say: Language) -> Markup:
    if row.worse:
        return element("span", element("span", "▼ ", aria_hidden="true"), say("harm.yes"), class_="badge harms")
    return element("span", say("harm.no" if row.interval else "harm.open"), class_="soft")


def missing_part(results: Results, say: Language) -> Markup:
    """Name the controls that a verdict still needs."""
    if not results.missing:
        return Markup("")
    items = [element("li", element("strong", name), *_control(name, say)) for name in results.missing]
    return section("missing", say, element("p", say("missing.lead")), element("ul", *items))


def _control(name: str, say: Language) -> list[Markup | str]:
    """What it would show; a placebo of a combination shows what every placebo does."""
    key = f"control.{name.split('+')[-1]}"
    return [join(say("control.joint"), say(key))] if say.has(key) else []
