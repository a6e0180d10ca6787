"""The section on all that is measured beside AUROC: rates at a threshold, and how far to believe probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from monai_cxraug.metrics.measures import NAMES
from monai_cxraug.reporting import words
from monai_cxraug.reporting.curves import compared_arms
from monai_cxraug.reporting.figures import order_arms
from monai_cxraug.reporting.language import Language
from monai_cxraug.reporting.markup import Markup, element, join
from monai_cxraug.reporting.parts import folded, note, over, ratio_text, section, table
from monai_cxraug.reporting.records import Operating, Results
from monai_cxraug.reporting.tables import NONE, amount, at_primary, bracket, finding_title, number

#: measures in the order of the table: all but AUROC, which has sections of its own.
MEASURES: Final = tuple(name for name in NAMES if name != "auroc")

#: arms whose measures stand side by side without unfolding.
_ARMS: Final = 4


def operating_part(results: Results, say: Language) -> Markup:
    """Write the section; nothing where nothing was measured.

    Args:
        results: of a run.
        say: language.

    Returns:
        For every studied finding a table of measures by arms at the endpoint's fraction and ratio; folded, the other
        fractions and ratios, and the thresholds seed by seed.
    """
    overall = [row for row in results.operating if row.seed == "all" and row.finding in results.studied()]
    if not overall:
        return Markup("")
    single = [row for row in results.operating if row.seed != "all"]
    return section(
        "measures",
        say,
        *(_measures(overall, results, finding, say) for finding in dict.fromkeys(row.finding for row in overall)),
        note(say("measures.note", rule=_rule(overall, say))),
        _everywhere(overall, results, say),
        _seed_by_seed(single, results, say),
    )


def _rule(rows: Sequence[Operating], say: Language) -> str:
    rules = sorted({row.rule for row in rows})
    return say("measures.unchosen") if rules == ["threshold=0.5"] else say("measures.chosen", rules=", ".join(rules))


def _measures(overall: Sequence[Operating], results: Results, finding: str, say: Language) -> Markup:
    arms = dict.fromkeys([*compared_arms(results), *order_arms(results)])
    of_arm = {arm: [row for row in overall if (row.arm, row.finding) == (arm, finding)] for arm in arms}
    found = {arm: at_primary(rows, results.primary) for arm, rows in of_arm.items()}
    chosen = [row for row in found.values() if row]
    if not chosen:
        return Markup("")
    first = chosen[0]
    skipped = NONE if first.skipped is None else first.skipped
    title = finding_title(finding, say)
    counted = say("measures.counted", positives=first.positives, n=first.n, skipped=skipped)
    heading = element("h3", f"{title} ", element("span", counted, class_="soft"))
    others = folded(say("measures.arms"), _by_arm(chosen[_ARMS:], title, say)) if chosen[_ARMS:] else ""
    return join(heading, _by_arm(chosen[:_ARMS], title, say), others)


def _by_arm(chosen: Sequence[Operating], title: str, say: Language) -> Markup:
    rows = [
        [say(f"measure.{name}"), *(_cell(row, name) for row in chosen)]
        for name in MEASURES
        if any(getattr(row, name) is not None for row in chosen)
    ]
    head = [say("head.measure"), *(row.arm for row in chosen)]
    return table(head, rows, {0}, f"{say('section.measures')}: {title}")


def _cell(row: Operating, name: str) -> Markup | str:
    value = getattr(row, name)
    if value is None:
        return NONE
    interval = getattr(row, f"{name}_interval")
    text = words.minus(number(value))
    if name == "ece" and row.ece_before is not None and number(row.ece_before) != number(value):
        text = f"{number(row.ece_before)} → {text}"
    return over(text, words.minus(bracket(interval, number))) if interval else text


def _everywhere(rows: Sequence[Operating], results: Results, say: Language) -> Markup:
    if len({(row.fraction, row.ratio) for row in rows}) < 2:
        return Markup("")
    some = ("auprc", "accuracy", "all_negative", "sensitivity", "specificity", "ece", "brier", "slope")
    names = ("arm", "finding", "data", "ratio", "positives", "skipped")
    head = [*(say(f"head.{name}") for name in names), *(say(f"measure.{name}.short") for name in some)]
    cells = [
        [
            row.arm,
            finding_title(row.finding, say),
            amount(row.fraction, results.scale, say),
            ratio_text(row.ratio),
            f"{row.positives} / {row.n}",
            NONE if row.skipped is None else row.skipped,
            *(words.minus(number(getattr(row, name))) for name in some),
        ]
        for row in rows
    ]
    title = say("measures.everywhere", count=len(rows))
    return folded(title, table(head, cells, {0, 1}, title))


def _seed_by_seed(given: Sequence[Operating], results: Results, say: Language) -> Markup:
    names = ("arm", "finding", "data", "ratio", "seed", "threshold", "temperature")
    some = ("accuracy", "sensitivity", "specificity")
    head = [*(say(f"head.{name}") for name in names), *(say(f"measure.{name}.short") for name in some)]
    rows = [
        [
            row.arm,
            finding_title(row.finding, say),
            amount(row.fraction, results.scale, say),
            ratio_text(row.ratio),
            row.seed,
            number(row.threshold),
            number(row.temperature, 2),
            *(number(getattr(row, name)) for name in some),
        ]
        for row in given
    ]
    title = say("measures.thresholds", count=len(rows))
    return folded(title, table(head, rows, {0, 1}, title)) if rows else Markup("")
