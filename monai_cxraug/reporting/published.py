"""The section that sets what others have reported beside the results of the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import TypeVar

from monai_cxraug.reporting import words
from monai_cxraug.reporting.language import Language
from monai_cxraug.reporting.markup import Markup, element, join
from monai_cxraug.reporting.parts import note, over, section, table
from monai_cxraug.reporting.records import ArmResult, Operating, Plan, Published, Results, Scale
from monai_cxraug.reporting.tables import NONE, amount_of, bracket, finding_title, number, signed

AnyRow = TypeVar("AnyRow", ArmResult, Operating)


def published_part(results: Results, plan: Plan | None, say: Language) -> Markup:
    """Write one table for each pair of arms that was reported; nothing for a smoke run, whose numbers mean nothing.

    Args:
        results: of the run.
        plan: of the run; what others reported is declared in its experiment.
        say: language.
    """
    if plan is None or plan.smoke:
        return Markup("")
    if not plan.published:
        return Markup("")
    if results.scale is not None:
        tables = _count_tables(plan.published, results, results.scale, say)
    else:
        tables = [_pair_table(before, after, results, say) for before, after in _pairs(plan.published)]
    return section("published", say, *tables, note(say("published.note")))


def _pairs(entries: Sequence[Published]) -> Iterable[tuple[Published, Published | None]]:
    """The first entry of a source and fraction beside each later one; alone where there is none."""
    groups: dict[tuple[str, float], list[Published]] = {}
    for entry in entries:
        groups.setdefault((entry.source, entry.fraction), []).append(entry)
    for first, *others in groups.values():
        yield from ((first, other) for other in others)
        if not others:
            yield first, None


def _pair_table(before: Published, after: Published | None, results: Results, say: Language) -> Markup:
    both = [before, *([after] if after else [])]
    findings = [name for name in before.auroc if all(name in entry.auroc for entry in both)]
    theirs = {name: [entry.auroc[name] for entry in both] for name in findings}
    ours = {name: _areas(both, name, results) for name in findings}
    title = " → ".join(entry.arm for entry in both)
    cells = [
        [
            over(finding_title(name, say), _counted(ours[name])),
            _arrow(theirs[name]),
            _arrow([row.auroc if row else None for row in ours[name]], _interval(ours[name], results)),
        ]
        for name in findings
    ]
    shared = [name for name in findings if all(row and row.auroc is not None for row in ours[name])]
    if len(shared) > 1:
        here = {name: [row.auroc for row in ours[name] if row] for name in shared}
        cells.append([say("published.mean", count=len(shared)), *(_arrow(_means(x, shared)) for x in (theirs, here))])
    where = say(
        "published.where", source=before.source or say("published.source"), amount=amount_of(before.fraction, None, say)
    )
    head = [say("head.finding"), say("published.theirs"), say("published.ours")]
    return join(element("h3", title), note(where), table(head, cells, {0}, f"{title}, {where}", total=len(shared) > 1))


def _areas(entries: Sequence[Published], finding: str, results: Results) -> list[ArmResult | None]:
    """The run's rows at the reported fraction; of several ratios the first."""
    wanted = ((entry.arm, entry.fraction, finding) for entry in entries)
    rows = results.overall()
    return [next((row for row in rows if (row.arm, row.fraction, row.finding) == key), None) for key in wanted]


def _interval(rows: Sequence[ArmResult | None], results: Results) -> str:
    """Interval of the paired difference, where these two arms were compared on this finding."""
    before, after = rows[0], rows[-1]
    if before is None or after is None:
        return ""
    for row in results.comparisons:
        same = (row.fraction, row.finding) == (after.fraction, after.finding)
        same = same and row.ratio in (before.ratio, after.ratio)
        if same and (row.arm, row.reference) == (after.arm, before.arm):
            return bracket(row.interval)
        if same and row.interval and (row.arm, row.reference) == (before.arm, after.arm):
            return bracket((-row.interval[1], -row.interval[0]))
    return ""


def _arrow(values: Sequence[float | None], interval: str = "") -> Markup | str:
    """Values with an arrow between, and under them the change."""
    text = " → ".join(map(number, values))
    if len(values) < 2 or None in values:
        return text if any(value is not None for value in values) else NONE
    change = signed(round(values[-1] or 0, 6) - round(values[0] or 0, 6))
    return over(text, words.minus(f"{change} {interval}".strip()))


def _counted(rows: Sequence[ArmResult | None]) -> str:
    row = next((row for row in rows if row), None)
    return f"{row.positives} / {row.n}" if row else NONE


def _means(values: Mapping[str, Sequence[float | None]], names: Sequence[str]) -> list[float]:
    columns = zip(*(values[name] for name in names), strict=True)
    return [fmean(value for value in column if value is not None) for column in columns]


# --- by numbers of real images ---

#: an arm at a number of real images.
_Entries = Mapping[tuple[str, "int | str"], Published]


def _count_tables(given: Sequence[Published], results: Results, scale: Scale, say: Language) -> list[Markup]:
    """One table for each source, finding and pair of arms: numbers of real images by AUROC and accuracy."""
    tables = []
    for source in dict.fromkeys(entry.source for entry in given):
        own = [entry for entry in given if entry.source == source]
        entries = {(entry.arm, _count(entry, scale)): entry for entry in own}
        first, *others = dict.fromkeys(entry.arm for entry in own)
        for name in dict.fromkeys(name for entry in own for name in (*entry.auroc, *entry.accuracy)):
            for arms in [[first, other] for other in others] or [[first]]:
                tables.append(_count_table(arms, name, entries, results, scale, say))
    return tables


def _count(entry: Published, scale: Scale) -> int | str:
    """Its number of real images; what it says itself where the run has no such number."""
    found = scale.count(entry.place(scale))
    if found is not None:
        return found
    return entry.real if entry.real is not None else amount_of(entry.fraction, None)


def _count_table(
    arms: Sequence[str], finding: str, entries: _Entries, results: Results, scale: Scale, say: Language
) -> Markup:
    counts = sorted({count for arm, count in entries if arm in arms}, key=lambda count: (isinstance(count, str), count))
    cells: list[list[object]] = []
    for count in counts:
        both = [entries.get((arm, count)) for arm in arms]
        fraction = scale.fraction(count) if isinstance(count, int) else None
        ours = [_row_of(results.overall(), arm, fraction, finding) for arm in arms]
        rates = [
            _row_of([row for row in results.operating if row.seed == "all"], arm, fraction, finding) for arm in arms
        ]
        cells.append(
            [
                say("grid.all", count=count) if fraction == 1 else str(count),
                _arrow([entry.auroc.get(finding) if entry else None for entry in both]),
                _arrow([row.auroc if row else None for row in ours], _interval(ours, results)),
                _arrow([entry.accuracy.get(finding) if entry else None for entry in both]),
                _arrow([row.accuracy if row else None for row in rates]),
            ]
        )
    title = f"{' → '.join(arms)}, {finding_title(finding, say)}"
    source = next(entry.source for (arm, _), entry in entries.items() if arm in arms) or say("published.source")
    head = [
        say("head.real"),
        say("published.theirs_of", measure="AUROC"),
        say("published.ours_of", measure="AUROC"),
        say("published.theirs_of", measure=say("measure.accuracy.short")),
        say("published.ours_of", measure=say("measure.accuracy.short")),
    ]
    where = say("published.by", source=source)
    body = table(head, cells, {0}, f"{title}, {where}")
    return join(element("h3", title), note(where), element("div", body, class_="grid"))


def _row_of(rows: Sequence[AnyRow], arm: str, fraction: float | None, finding: str) -> AnyRow | None:
    key = (arm, fraction, finding)
    return (
        None if fraction is None else next((row for row in rows if (row.arm, row.fraction, row.finding) == key), None)
    )
