"""Rows behind the report: CSV tables of everything, and the one summary that answers the question."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from monai_cxraug.artifacts import write_csv
from monai_cxraug.reporting.fields import Interval
from monai_cxraug.reporting.language import ENGLISH, Language
from monai_cxraug.reporting.records import (
    FEW_POSITIVES,
    MACRO,
    ArmResult,
    Comparison,
    Composition,
    Exchanged,
    Operating,
    Primary,
    Results,
    Scale,
    Subgroup,
)

NONE: Final = "n/a"
Row = TypeVar("Row", ArmResult, Comparison, Operating)


@dataclass(frozen=True)
class SummaryRow:
    """One finding of the summary.

    Attributes:
        finding: its name, or ``macro``.
        aurocs: AUROC over all seeds of each arm of ``Summary.arms``; None where there is none.
        outcome: the comparison of the primary arm with its reference, if it was made.
        n: images with a known label.
        positives: those with the finding.
    """

    finding: str
    aurocs: tuple[float | None, ...]
    outcome: Comparison | Primary | None
    n: int
    positives: int

    @property
    def few(self) -> bool:
        """Whether there are too few positives to say much."""
        return self.positives < FEW_POSITIVES


@dataclass(frozen=True)
class Summary:
    """Each finding at the primary endpoint's data fraction and ratio."""

    arms: tuple[str, ...]
    rows: list[SummaryRow]


def summarise(results: Results) -> Summary:
    """Choose what the summary shows: plain, duplicate-real, the primary reference and the primary arm, per finding."""
    primary = results.primary
    present = dict.fromkeys(row.arm for row in results.arms)
    wanted = ["plain", "duplicate_real"] + ([primary.reference, primary.arm] if primary else list(present))
    arms = tuple(arm for arm in dict.fromkeys(wanted) if arm in present)
    return Summary(arms, [_summary_row(results, arms, finding) for finding in results.studied()])


def _summary_row(results: Results, arms: Sequence[str], finding: str) -> SummaryRow:
    rows = [row for row in results.overall() if row.finding == finding]
    chosen = [at_primary([row for row in rows if row.arm == arm], results.primary) for arm in arms]
    counted = next((row for row in reversed(chosen) if row), None) or next(iter(rows), None)
    return SummaryRow(
        finding=finding,
        aurocs=tuple(row.auroc if row else None for row in chosen),
        outcome=_outcome(results, finding),
        n=counted.n if counted else 0,
        positives=counted.positives if counted else 0,
    )


def _outcome(results: Results, finding: str) -> Comparison | Primary | None:
    primary = results.primary
    if primary is None:
        return None
    if primary.finding == finding:
        return primary
    same = (primary.arm, primary.reference, finding)
    return at_primary([row for row in results.comparisons if (row.arm, row.reference, row.finding) == same], primary)


def at_primary(rows: Sequence[Row], primary: Primary | None) -> Row | None:
    """Choose the row at the primary endpoint's fraction and ratio; an arm without ratios matches by fraction alone."""
    if primary is None:
        return next(iter(rows), None)
    same = [row for row in rows if row.fraction == primary.fraction]
    return next((row for row in same if row.ratio == primary.ratio), None) or next(
        (row for row in same if not row.ratio), None
    )


def summary_table(results: Results) -> str:
    """Write the summary for a terminal.

    Args:
        results: of a run.

    Returns:
        Aligned lines: finding; AUROC of the arms; difference (primary arm less its reference); 95 % interval;
        the difference that could have been found; verdict. The macro mean comes last, and lines below say what was
        compared and what got worse.
    """
    summary = summarise(results)
    header = ["finding", "n+/n", *summary.arms, "difference", "95 % interval", "detectable", "verdict"]
    body = [
        [
            row.finding + " *" * row.few,
            f"{row.positives}/{row.n}",
            *(number(area) for area in row.aurocs),
            signed(row.outcome.difference if row.outcome else None),
            bracket(row.outcome.interval if row.outcome else None),
            number(row.outcome.detectable if row.outcome else None),
            row.outcome.verdict if row.outcome else NONE,
        ]
        for row in summary.rows
    ]
    return "\n".join([*text_table(header, body, left={0, len(header) - 1}), *_footnotes(results, summary)])


def text_table(header: Sequence[str], body: Sequence[Sequence[str]], left: set[int]) -> list[str]:
    """Align columns for a terminal, with a line under the header; columns in ``left`` hold text."""
    lines = _align([[_printable(cell) for cell in cells] for cells in [header, *body]], left)
    lines.insert(1, "-" * max(map(len, lines)))
    return lines


def _footnotes(results: Results, summary: Summary) -> list[str]:
    notes = []
    if primary := results.primary:
        notes.append(f"difference: AUROC of {primary.arm} less that of {primary.reference}, {results.split} images")
        if primary.detectable is not None:
            notes.append("detectable: smallest true difference that 80 of 100 such runs would find")
        notes += [f"worse at the fixed threshold: {row.measure} of {row.finding}" for row in results.harm if row.worse]
    if any(row.few for row in summary.rows):
        notes.append(f"* fewer than {FEW_POSITIVES} positive images")
    if results.missing:
        notes.append(f"a verdict still needs: {', '.join(results.missing)}")
    notes += [f"warning: {line}" for line in results.warnings]
    return [_printable(note) for note in notes]


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _align(table: list[list[str]], left: set[int]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    rows = [
        [
            cell.ljust(width) if k in left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        for cells in table
    ]
    return ["  ".join(cells).rstrip() for cells in rows]


def write_tables(results: Results, folder: Path) -> list[Path]:
    """Write every row of the results as tables: arms, comparisons, composition, operating, subgroups and exchange.

    Args:
        results: of a run.
        folder: where to write ``arms.csv`` and so on; made when missing.

    Returns:
        The files. Intervals become two columns, what is unknown an empty cell.
    """
    tables: dict[str, tuple[type[Any], Sequence[Any]]] = {
        "arms": (ArmResult, results.arms),
        "comparisons": (Comparison, results.comparisons),
        "composition": (Composition, results.composition),
        "operating": (Operating, results.operating),
        "subgroups": (Subgroup, results.subgroups),
        "exchange": (Exchanged, results.exchange),
    }
    for name, (record, rows) in tables.items():
        keys = [spec.name for spec in dataclasses.fields(record)]
        columns = [part for key in keys for part in (_ends(key) if key.endswith("interval") else (key,))]
        write_csv(folder / f"{name}.csv", columns, [_cells(row, keys) for row in rows])
    return [folder / f"{name}.csv" for name in tables]


def _ends(key: str) -> tuple[str, str]:
    """Columns of an interval: ``low`` and ``high``, after the name of what it is about if it has one."""
    what = key.removesuffix("interval")
    return f"{what}low", f"{what}high"


def _cells(row: Any, keys: Sequence[str]) -> list[object]:
    cells: list[object] = []
    for key in keys:
        value = getattr(row, key)
        if key.endswith("interval"):
            cells += value or ("", "")
        else:
            cells.append("" if value is None else value)
    return cells


def number(value: float | None, digits: int = 3) -> str:
    """Write a number with fixed decimals, ``n/a`` for None."""
    return NONE if value is None else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """Write a difference with its sign; what rounds to zero has none."""
    if value is None:
        return NONE
    return f"{value:+.{digits}f}" if round(value, digits) else f"{0:.{digits}f}"


def bracket(interval: Interval | None, write: Callable[[float], str] = signed) -> str:
    """Write an interval in brackets, ``n/a`` for None."""
    return NONE if interval is None else f"[{write(interval[0])}, {write(interval[1])}]"


def p_value(value: float | None) -> str:
    """Write a p-value to three decimals, smaller ones as ``< 0.001``."""
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def percent(value: float | None) -> str:
    """Write a share in [0, 1] as a percentage without needless decimals."""
    return NONE if value is None else f"{100 * value:.3g} %"


def amount(fraction: float | None, scale: Scale | None, say: Language = ENGLISH) -> str:
    """Write how much training data there was: on a scale the number of real images, else a percentage."""
    count = scale and scale.count(fraction)
    if count is None:
        return percent(fraction)
    return say("amount.all" if fraction == 1 else "amount.images", count=count)


def amount_of(fraction: float | None, scale: Scale | None, say: Language = ENGLISH) -> str:
    """The same inside a sentence: of what it is."""
    if scale and scale.count(fraction) is not None:
        return say("amount.real", amount=amount(fraction, scale, say), finding=finding_title(scale.finding, say))
    return say("amount.share", share=percent(fraction))


def finding_title(finding: str, say: Language = ENGLISH) -> str:
    """Name a finding for readers: underscores become spaces, the macro mean says what it is."""
    return say("finding.macro") if finding == MACRO else say.known(finding).replace("_", " ")
