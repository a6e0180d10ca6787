"""The section with a top-up experiment's grid: arms by numbers of real images, what was reported beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from monai_cxraug.reporting.fields import Interval
from monai_cxraug.reporting.figures import order_arms
from monai_cxraug.reporting.language import Language
from monai_cxraug.reporting.markup import Markup, element, join
from monai_cxraug.reporting.parts import folded, note, over, section, table
from monai_cxraug.reporting.records import MACRO, ArmResult, Comparison, Operating, Plan, Published, Results, Scale
from monai_cxraug.reporting.tables import finding_title, number, percent

#: measures of the tables below that of AUROC.
_MEASURES: Final = ("accuracy", "balanced_accuracy")
#: significance of a comparison, adjusted.
_LEVEL: Final = 0.05

#: an arm and its ratio of added to real images; None where it has none.
Line = tuple[str, float | None]
#: value and interval of an arm at a number of real images.
Cells = Mapping[tuple[Line, int], tuple[float, Interval | None]]


def grid_part(results: Results, plan: Plan | None, say: Language) -> Markup:
    """Write, for each finding, AUROC, accuracy and balanced accuracy of every arm at every number of real images.

    Args:
        results: of the run.
        plan: of the run; what others reported is declared in its experiment.
        say: language.

    Returns:
        The section; nothing where the experiment has no scale of real images.
    """
    findings = [name for name in results.studied() if name != MACRO]
    if results.scale is None or not findings:
        return Markup("")
    reported = [] if plan is None or plan.smoke else plan.published
    blocks = [_Grid(results, results.scale, name, reported, say).write(len(findings) > 1) for name in findings]
    text = " ".join(_explain(results, results.scale, plan, reported, say))
    return section("grid", say, *blocks, note(text))


@dataclass(frozen=True)
class _Grid:
    """The tables of one finding."""

    results: Results
    scale: Scale
    finding: str
    reported: Sequence[Published]
    say: Language

    def write(self, named: bool) -> Markup:
        """AUROC in the open, the rates at the threshold foldable."""
        heading = element("h3", f"AUROC, {finding_title(self.finding, self.say)}" if named else "AUROC")
        more = []
        for measure in _MEASURES:
            title = self.say(f"measure.{measure}")
            cells = self._read([row for row in self.results.operating if row.seed == "all"], measure)
            more.append(folded(title, self._table(measure, title, cells), unfolded=True) if cells else "")
        return join(heading, self._table("auroc", "AUROC", self._read(self.results.overall(), "auroc")), *more)

    def _read(self, rows: Sequence[ArmResult] | Sequence[Operating], measure: str) -> Cells:
        ends = "interval" if measure == "auroc" else f"{measure}_interval"
        found = {}
        for row in rows:
            count, value = self.scale.count(row.fraction), getattr(row, measure)
            if row.finding == self.finding and count is not None and value is not None:
                found[(row.arm, row.ratio), count] = value, getattr(row, ends)
        return found

    def _table(self, measure: str, title: str, cells: Cells) -> Markup:
        counts = sorted(count for _, count in self.scale.images)
        best = {count: self._winner(measure, count, cells) for count in counts}
        theirs = self._theirs(measure)
        rows: list[list[object]] = []
        for line in self._lines(cells):
            rows.append([_name(line), *(self._cell(cells.get((line, n)), best[n] == line) for n in counts)])
            if line[0] in theirs:
                rows.append(self._their_row(theirs.pop(line[0]), counts))
        for arm, values in theirs.items():  # what others did and the run did not
            rows += [[arm, *[""] * len(counts)], self._their_row(values, counts)]
        every = self.scale.count(1.0)
        head = [self.say("head.arm"), *(self.say("grid.all", count=n) if n == every else n for n in counts)]
        span = self.say("grid.columns", finding=finding_title(self.scale.finding, self.say))
        label = f"{title}: {finding_title(self.finding, self.say)}"
        return element("div", table(head, rows, {0}, label, span=span), class_="grid")

    def _lines(self, cells: Cells) -> list[Line]:
        order = order_arms(self.results)
        arms = {
            arm: place for place, arm in enumerate([*order, *(line[0] for line, _ in cells if line[0] not in order)])
        }
        return sorted({line for line, _ in cells}, key=lambda line: (arms[line[0]], line[1] or 0))

    def _cell(self, found: tuple[float, Interval | None] | None, best: bool) -> Markup | str:
        if found is None:
            return ""
        value, interval = found
        ends = f"{number(interval[0])}–{number(interval[1])}" if interval else ""
        text = element("strong", f"▲ {number(value)}", title=self.say("grid.best")) if best else number(value)
        return over(text, ends)

    def _winner(self, measure: str, count: int, cells: Cells) -> Line | None:
        """The line of a column that is shown to be better than every other; mostly there is none."""
        lines = [line for line, where in cells if where == count]

        def beats(one: Line, other: Line) -> bool:
            if measure != "auroc":  # no comparison was made: intervals must lie apart
                return _lies_above(cells[one, count][1], cells[other, count][1])
            return any(_is_better(row, one, other) for row in self._comparisons(count))

        found = (one for one in lines if all(beats(one, other) for other in lines if other != one))
        return next(found, None) if len(lines) > 1 else None

    def _comparisons(self, count: int) -> Iterator[Comparison]:
        for row in self.results.comparisons:
            if row.finding == self.finding and self.scale.count(row.fraction) == count:
                yield row

    def _theirs(self, measure: str) -> dict[str, dict[int, float]]:
        """Reported values by arm and number of real images; of balanced accuracy there are none."""
        found: dict[str, dict[int, float]] = {}
        for entry in self.reported:
            values = {"auroc": entry.auroc, "accuracy": entry.accuracy}.get(measure, {})
            count = self.scale.count(entry.place(self.scale))
            if self.finding in values and count is not None:
                found.setdefault(entry.arm, {})[count] = values[self.finding]
        return found

    def _their_row(self, values: Mapping[int, float], counts: Sequence[int]) -> list[object]:
        name = element("span", self.say("grid.reported"), class_="soft reported")
        shown = (number(values[count]) if count in values else "" for count in counts)
        return [name, *(element("span", text, class_="soft") for text in shown)]


def _name(line: Line) -> str:
    arm, ratio = line
    return f"{arm} ×{ratio:g}" if ratio else arm


def _lies_above(interval: Interval | None, other: Interval | None) -> bool:
    return interval is not None and other is not None and interval[0] > other[1]


def _is_better(row: Comparison, one: Line, other: Line) -> bool:
    """Whether a comparison shows, adjusted, that one line is better than another; it may name them either way."""
    turned = (row.reference, row.arm) == (one[0], other[0])
    if not (turned or (row.arm, row.reference) == (one[0], other[0])) or row.ratio not in (one[1], other[1]):
        return False
    adjusted = row.p if row.p_holm is None else row.p_holm
    if row.interval is None or adjusted is None or adjusted > _LEVEL:
        return False
    return row.interval[1] < 0 if turned else row.interval[0] > 0


def _explain(
    results: Results, scale: Scale, plan: Plan | None, reported: Sequence[Published], say: Language
) -> Iterator[str]:
    """What columns, signs and grey lines mean."""
    seeds = len({row.seed for row in results.arms if row.seed != "all"})
    yield say("grid.note", finding=finding_title(scale.finding, say), seeds=seeds)
    declared = plan.experiment.get("top_up") if plan else None
    if total := (declared or {}).get("total") or scale.total:
        yield say("grid.total", total=total)
    yield say("grid.winner")
    studied = [row for row in results.operating if row.finding in results.studied()]
    if (always := next((row.all_negative for row in studied if row.all_negative is not None), None)) is not None:
        yield say("grid.always", share=percent(always))
    if sources := dict.fromkeys(entry.source for entry in reported if entry.source):
        yield say("grid.sources", sources="; ".join(sources))
