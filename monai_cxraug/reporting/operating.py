"""The report's section on answers at a threshold: how often they are right, how far to believe probabilities."""

from __future__ import annotations

from monai_cxraug.reporting.markup import Markup, element
from monai_cxraug.reporting.parts import folded, section, table
from monai_cxraug.reporting.records import Interval, Operating, Results
from monai_cxraug.reporting.tables import NONE, bracket, finding_title, number, percent

_HEAD = ["Arm", "Finding", "Data", "Ratio", "Accuracy", "Sensitivity", "Specificity", "Brier", "Calibration error"]


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
    chosen = "at 0.5, as no images were left to choose one on" if rules == ["threshold=0.5"] else _chosen(rules)
    note = (
        f"Thresholds: {chosen}. Brackets are 95 % intervals over patients and seeds. Calibration error is the expected "
        "one over 15 bins; an arrow leads from the network's own probabilities to those at the fitted temperature."
    )
    return section(
        "Answers at the threshold",
        table(_HEAD, [_cells(row) for row in overall], left={0, 1}),
        element("p", note, class_="note"),
        _seed_by_seed(results),
    )


def _chosen(rules: list[str]) -> str:
    return f"chosen on validation images by the rule {', '.join(rules)}, each cell its own, then applied to these"


def _cells(row: Operating) -> list[object]:
    before, after = number(row.calibration_error_before), number(row.calibration_error)
    return [
        row.arm,
        finding_title(row.finding),
        percent(row.fraction),
        f"{row.ratio:g}" if row.ratio else "–",
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


def _seed_by_seed(results: Results) -> Markup:
    head = ["Arm", "Finding", "Data", "Ratio", "Seed", "Threshold", "Temperature", "Accuracy", "Sens.", "Spec."]
    rows = [
        [
            row.arm,
            finding_title(row.finding),
            percent(row.fraction),
            f"{row.ratio:g}" if row.ratio else "–",
            row.seed,
            number(row.threshold),
            number(row.temperature, 2),
            number(row.accuracy),
            number(row.sensitivity),
            number(row.specificity),
        ]
        for row in results.operating
        if row.seed != "all"
    ]
    return folded(f"All {len(rows)} thresholds, seed by seed", table(head, rows, left={0, 1}))
