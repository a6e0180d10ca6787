"""The sections on other people: AUROC by sex, age band and view, and the shift from one data set to another."""

from __future__ import annotations

from collections.abc import Sequence

from monai_cxraug.reporting import words
from monai_cxraug.reporting.curves import compared_arms
from monai_cxraug.reporting.figures import order_arms
from monai_cxraug.reporting.language import Language
from monai_cxraug.reporting.markup import Markup, element
from monai_cxraug.reporting.parts import note, over, ratio_text, section, table
from monai_cxraug.reporting.records import FEW_POSITIVES, Results, Shift, Subgroup
from monai_cxraug.reporting.tables import NONE, amount, bracket, finding_title, number


def subgroups_part(results: Results, say: Language) -> Markup:
    """Write a table for every finding: subgroups against the endpoint's arm and its reference."""
    primary = results.primary
    rows = [
        row
        for row in results.subgroups
        if row.arm in compared_arms(results)
        and (primary is None or (row.fraction == primary.fraction and row.ratio in (None, primary.ratio)))
    ]
    if not rows:
        return Markup("")
    tables = [
        element("div", element("h3", finding_title(name, say)), _subgroup_table(rows, name, results, say))
        for name in dict.fromkeys(row.finding for row in rows)
    ]
    text = note(say("subgroups.note", least=FEW_POSITIVES))
    return section("subgroups", say, text, element("div", *tables, class_="pairs"))


def _subgroup_table(given: Sequence[Subgroup], finding: str, results: Results, say: Language) -> Markup:
    rows = [row for row in given if row.finding == finding]
    arms = [arm for arm in compared_arms(results) if any(row.arm == arm for row in rows)][:2]
    found = {(row.column, row.group, row.arm): row for row in rows}
    groups = dict.fromkeys((row.column, row.group) for row in rows)
    cells = []
    for column, group in groups:
        own = [found.get((column, group, arm)) for arm in arms]
        counted = next(row for row in own if row)
        mark = element("span", " †", class_="few") if counted.positives < FEW_POSITIVES else ""
        name = element("span", f"{say.known(column)}: {say.known(group)}", mark)
        cells.append([over(name, f"{counted.positives} / {counted.n}"), *(_area(row) for row in own)])
    return table([say("head.group"), *arms], cells, {0}, f"{say('section.subgroups')}: {finding_title(finding, say)}")


def _area(row: Subgroup | None) -> Markup | str:
    if row is None or row.auroc is None:
        return NONE
    return over(number(row.auroc), bracket(row.interval, number))


def shift_part(results: Results, say: Language) -> Markup:
    """Write the measures of an evaluation beside those of its run: first the compared arms, at the endpoint's data."""
    primary, order = results.primary, [*compared_arms(results), *order_arms(results)]
    rows = [
        row
        for row in results.shift
        if primary is None or (row.fraction == primary.fraction and row.ratio in (None, primary.ratio))
    ]
    rows = [row for arm in dict.fromkeys(order) for row in rows if row.arm == arm]
    if not rows:
        return Markup("")
    measures = list(dict.fromkeys(row.measure for row in rows))
    head = [say("head.arm"), say("head.finding"), *(_measure_name(name, say) for name in measures)]
    found = {(row.arm, row.finding, row.measure): row for row in rows}
    pairs = dict.fromkeys((row.arm, row.finding) for row in rows)
    cells = [
        [arm, finding_title(finding, say), *(_moved(found.get((arm, finding, name))) for name in measures)]
        for arm, finding in pairs
    ]
    where = f"{amount(primary.fraction, results.scale, say)}, ×{ratio_text(primary.ratio)}" if primary else ""
    return section("shift", say, table(head, cells, {0, 1}, say("section.shift")), note(say("shift.note", where=where)))


def _measure_name(name: str, say: Language) -> str:
    return say("measure.prevalence") if name == "prevalence" else say(f"measure.{name}.short")


def _moved(row: Shift | None) -> str:
    if row is None:
        return NONE
    return f"{words.minus(number(row.before))} → {words.minus(number(row.here))}"
