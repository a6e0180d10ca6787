"""The section that sets what others have reported beside the results of the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from monai_cxraug.reporting import words
from monai_cxraug.reporting.language import Language
from monai_cxraug.reporting.markup import Markup, element, join
from monai_cxraug.reporting.parts import note, over, section, table
from monai_cxraug.reporting.records import ArmResult, Plan, Published, Results
from monai_cxraug.reporting.tables import NONE, bracket, finding_title, number, percent, signed


def published_part(results: Results, plan: Plan | None, say: Language) -> Markup:
    """Write one table for each pair of arms that was reported; nothing for a smoke run, whose numbers mean nothing.

    Args:
        results: of the run.
        plan: of the run; what others reported is declared in its experiment.
        say: language.
    """
    if plan is None or plan.smoke:
        return Markup("")
    pairs = list(_pairs(plan.published))
    if not pairs:
        return Markup("")
    text = note(say("published.note"))
    return section("published", say, *(_pair_table(before, after, results, say) for before, after in pairs), text)


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
    where = say("published.where", source=before.source or say("published.source"), fraction=percent(before.fraction))
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
