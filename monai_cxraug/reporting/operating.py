"""The report's section on answers at a threshold: how often they are right, how far to believe probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monai_cxraug.reporting.markup import Markup, element
from monai_cxraug.reporting.parts import folded, section, table
from monai_cxraug.reporting.records import Interval, Operating, Results
from monai_cxraug.reporting.tables import NONE, bracket, finding_title, number, percent


def operating_section(results: Results) -> Markup:
    """Write the section; nothing where no thresholds were applied.

    Args:
        results: of a run.

    Returns:
        A table of every arm and studied finding over all seeds, and, folded, one seed by seed with the thresholds.
    """
    overall = [row for row in results.operating if row.seed == "all" and row.finding in results.studied()]
    if not overall:
        return Markup("")
    rules = sorted({row.rule for row in overall})
    where = _Where.of(overall)
    head = ["Arm", "Finding", *where.head, "Accuracy", "Sensitivity", "Specificity", "Brier", "ECE"]
    chosen = "at 0.5, as no images were left to choose one on" if rules == ["threshold=0.5"] else _chosen(rules)
    note = (
        f"Thresholds: {chosen}. Brackets are 95 % intervals over patients and seeds. ECE is the expected calibration "
        "error over 15 bins; an arrow leads from the network's own probabilities to those at the temperature."
    )
    return section(
        "Answers at the threshold",
        table(head, [_cells(row, where) for row in overall], left={0, 1}),
        element("p", note, class_="note"),
        _seed_by_seed([row for row in results.operating if row.seed != "all"], where),
    )


def _chosen(rules: list[str]) -> str:
    return f"chosen on validation images by the rule {', '.join(rules)}, each cell its own, then applied to these"


@dataclass(frozen=True)
class _Where:
    """Which of data fraction and ratio tell rows apart; columns that do not are left out."""

    fraction: bool
    ratio: bool

    @classmethod
    def of(cls, rows: Sequence[Operating]) -> _Where:
        return cls(len({row.fraction for row in rows}) > 1, len({row.ratio for row in rows if row.ratio}) > 1)

    @property
    def head(self) -> list[str]:
        return ["Data"] * self.fraction + ["Ratio"] * self.ratio

    def cells(self, row: Operating) -> list[object]:
        ratio = f"{row.ratio:g}" if row.ratio else "–"
        return [*[percent(row.fraction)] * self.fraction, *[ratio] * self.ratio]


def _cells(row: Operating, where: _Where) -> list[object]:
    before, after = number(row.ece_before), number(row.ece)
    return [
        row.arm,
        finding_title(row.finding),
        *where.cells(row),
        _rate(row.accuracy, row.accuracy_interval),
        _rate(row.sensitivity, row.sensitivity_interval),
        _rate(row.specificity, row.specificity_interval),
        _rate(row.brier, row.brier_interval),
        after if before == after else f"{before} → {after}",
    ]


def _rate(value: float | None, interval: Interval | None) -> Markup | str:
    if value is None:
        return NONE
    return element("span", number(value), element("br"), element("span", bracket(interval, number), class_="soft"))


def _seed_by_seed(given: Sequence[Operating], where: _Where) -> Markup:
    head = ["Arm", "Finding", *where.head, "Seed", "Threshold", "Temperature", "Accuracy", "Sensitivity", "Specificity"]
    rows = [
        [
            row.arm,
            finding_title(row.finding),
            *where.cells(row),
            row.seed,
            number(row.threshold),
            number(row.temperature, 2),
            number(row.accuracy),
            number(row.sensitivity),
            number(row.specificity),
        ]
        for row in given
    ]
    return folded(f"All {len(rows)} thresholds, seed by seed", table(head, rows, left={0, 1}))
