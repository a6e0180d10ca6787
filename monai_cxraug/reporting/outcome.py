"""The results: the endpoint's comparison for every finding, every arm beside it, and forest plots."""

from __future__ import annotations

from monai_cxraug.reporting import words
from monai_cxraug.reporting.language import Language
from monai_cxraug.reporting.markup import Markup, element, join
from monai_cxraug.reporting.parts import absent, badge, folded, note, over, ratio_text, responsive, section, table
from monai_cxraug.reporting.records import FEW_POSITIVES, MACRO, ArmResult, Comparison, Primary, Results
from monai_cxraug.reporting.tables import (
    NONE,
    SummaryRow,
    amount,
    at_primary,
    bracket,
    finding_title,
    number,
    p_value,
    signed,
    summarise,
)

#: a figure in its wide and its narrow layout.
Pair = tuple[Markup, Markup]


def results_part(results: Results, say: Language) -> Markup:
    """Write the tables."""
    summary = summarise(results)
    if not summary.rows:
        return absent("results", say, say("results.none"))
    head = [say(f"head.{name}") for name in ("finding", "arms", "difference", "verdict")]
    rows = [_summary_cells(row, results, say) for row in summary.rows]
    notes = [say("results.arms")]
    if results.primary:
        notes.append(say("results.difference", arm=results.primary.arm, reference=results.primary.reference))
    if any(row.few for row in summary.rows):
        notes.append(say("results.few", least=FEW_POSITIVES))
    return section(
        "results",
        say,
        table(head, rows, {0, 3}, say("section.results"), total=summary.rows[-1].finding == MACRO),
        note(" ".join(notes)),
        _every_arm(results, say),
        _all_comparisons(results, say),
        _all_arms(results, say),
    )


def _summary_cells(row: SummaryRow, results: Results, say: Language) -> list[object]:
    outcome = row.outcome
    mark = element("span", " †", class_="few", title=say("results.mark")) if row.few else ""
    counted = f"{row.positives} / {row.n}"
    pair = (results.primary.reference, results.primary.arm) if results.primary else ()
    found = dict(zip(summarise(results).arms, row.aurocs, strict=True))
    return [
        over(join(finding_title(row.finding, say), mark), counted),
        element("span", " → ".join(number(found.get(arm)) for arm in pair) or NONE, class_="short"),
        *(_outcome_cells(outcome, say) if outcome else (NONE, NONE)),
    ]


def _outcome_cells(outcome: Comparison | Primary, say: Language) -> tuple[Markup, Markup]:
    difference = over(words.minus(signed(outcome.difference)), words.minus(bracket(outcome.interval)))
    if outcome.p_holm is None:
        return difference, badge(outcome.verdict, say)
    return difference, over(
        badge(outcome.verdict, say),
        say("results.p" if outcome.finding == MACRO else "results.p_holm", p=p_value(outcome.p_holm)),
    )


def _every_arm(results: Results, say: Language) -> Markup:
    """AUROC of every arm at the endpoint's fraction and ratio, findings side by side."""
    findings = results.studied()
    arms = list(dict.fromkeys(row.arm for row in results.arms))
    chosen = {
        (arm, name): at_primary(
            [row for row in results.overall() if (row.arm, row.finding) == (arm, name)], results.primary
        )
        for arm in arms
        for name in findings
    }
    rows = [
        [arm, *(_area(chosen[arm, name]) for name in findings)]
        for arm in arms
        if any(chosen[arm, name] for name in findings)
    ]
    head = [say("head.arm"), *(finding_title(name, say) for name in findings)]
    title = element("h3", say("results.every"))
    return join(title, table(head, rows, {0}, say("results.every"))) if rows else Markup("")


def _area(row: ArmResult | None) -> Markup | str:
    return over(number(row.auroc), bracket(row.interval, number)) if row else NONE


def _all_comparisons(results: Results, say: Language) -> Markup:
    names = ("comparison", "finding", "data", "ratio", "difference", "interval", "p", "p_holm", "p_bh", "detectable")
    head = [say(f"head.{name}") for name in (*names, "bootstrap", "verdict")]
    rows = [
        [
            f"{row.arm} − {row.reference}",
            finding_title(row.finding, say),
            amount(row.fraction, results.scale, say),
            ratio_text(row.ratio),
            words.minus(signed(row.difference)),
            words.minus(bracket(row.interval)),
            p_value(row.p),
            p_value(row.p_holm),
            p_value(row.p_bh),
            number(row.detectable),
            words.minus(bracket(row.bootstrap_interval)),
            badge(row.verdict, say),
        ]
        for row in results.comparisons
    ]
    title = say("results.comparisons", count=len(rows))
    return (
        folded(title, join(table(head, rows, {0, 1, 11}, title), note(say("results.adjusted")))) if rows else Markup("")
    )


def _all_arms(results: Results, say: Language) -> Markup:
    names = ("arm", "finding", "data", "ratio", "seed", "auroc", "interval", "positives", "skipped")
    head = [say(f"head.{name}") for name in names]
    rows = [
        [
            row.arm,
            finding_title(row.finding, say),
            amount(row.fraction, results.scale, say),
            ratio_text(row.ratio),
            say.known(str(row.seed)),
            number(row.auroc),
            bracket(row.interval, number),
            f"{row.positives} / {row.n}",
            NONE if row.skipped is None else row.skipped,
        ]
        for row in results.arms
    ]
    title = say("results.areas", count=len(rows))
    return folded(title, table(head, rows, {0, 1}, title)) if rows else Markup("")


def forest_part(name: str, main: Pair | None, others: Pair | None, say: Language) -> Markup:
    """Write the forest plots of differences or of areas, those that say little about the endpoint folded."""
    if main is None and others is None:
        return absent(name, say, say(f"{name}.none"))
    caption = say(f"{name}.caption")
    first = responsive(*main, caption) if main else ""
    rest = folded(say(f"{name}.others"), responsive(*others, caption)) if others else ""
    return section(name, say, first, rest)
