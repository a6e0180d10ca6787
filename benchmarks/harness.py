"""What every benchmark shares: interleaved timing of us and a peer, rows with a bound, a table and a results file."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
_HEADER = ("case", "ours", "peer", "peer and version", "ratio", "bound", "")


@dataclass(frozen=True)
class Row:
    """One comparison.

    Args:
        case: what was done, with its unit.
        ours: our figure; of speeds, units per second.
        peer: the peer's figure, same unit; None where there is no peer.
        peer_version: name and version of the peer.
        ratio: how many times better we are; above 1 is better, whatever the unit.
        bound: the ratio wanted; None where none was set.
    """

    case: str
    ours: float
    peer: float | None
    peer_version: str
    ratio: float
    bound: float | None

    @property
    def verdict(self) -> str:
        """``met``, ``missed`` or nothing."""
        return "" if self.bound is None else ("met" if self.ratio >= self.bound else "missed")


def race(ours: Callable[[], object], peer: Callable[[], object], rounds: int = 9) -> tuple[float, float]:
    """Time two calls in turn, one warm-up each, the order changing every round.

    Args:
        ours: our way.
        peer: the peer's way.
        rounds: timed runs of each.

    Returns:
        Median seconds of ours and of the peer's.
    """
    ours(), peer()
    seconds: dict[Callable[[], object], list[float]] = {ours: [], peer: []}
    for number in range(rounds):
        for call in (ours, peer) if number % 2 else (peer, ours):
            start = time.perf_counter()
            call()
            seconds[call].append(time.perf_counter() - start)
    return statistics.median(seconds[ours]), statistics.median(seconds[peer])


def faster(case: str, units: float, seconds: tuple[float, float], peer_version: str, bound: float | None) -> Row:
    """Make the row of a race: units (images, bytes) per second, and how many times faster we are."""
    ours, peer = seconds
    return Row(case, units / ours, units / peer, peer_version, peer / ours, bound)


def finish(topic: str, rows: Sequence[Row]) -> None:
    """Print the table and write ``results/<topic>.json``."""
    lines = [_HEADER, *(_cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    RESULTS.mkdir(exist_ok=True)
    document = json.dumps([asdict(row) for row in rows], indent=1)
    (RESULTS / f"{topic}.json").write_text(document + "\n", encoding="utf-8")


def _cells(row: Row) -> tuple[str, ...]:
    bound = "" if row.bound is None else f"{row.bound:g}"
    peer = "" if row.peer is None else f"{row.peer:.4g}"
    return (row.case, f"{row.ours:.4g}", peer, row.peer_version, f"{row.ratio:.2f}", bound, row.verdict)
