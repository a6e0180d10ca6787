"""How often each arm's answers are right, at thresholds that were chosen on other images; how far to believe them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.calibration import Calibration
from monai_cxraug.experiments.plan import CellPlan
from monai_cxraug.metrics.calibration import calibration_error
from monai_cxraug.metrics.operating import rates
from monai_cxraug.predictions import Predictions

#: threshold where there are no images to choose one on.
UNCHOSEN: Final = 0.5


@dataclass(frozen=True)
class Answers:
    """What cells that differ by seed alone answered on the same images.

    Args:
        cells: the cells.
        tables: their answers.
        calibrations: what was fitted for each on other images; None for nothing.
    """

    cells: Sequence[CellPlan]
    tables: Sequence[Predictions]
    calibrations: Sequence[Calibration | None]

    @classmethod
    def of(
        cls, cells: Sequence[CellPlan], tables: Mapping[str, Predictions], fitted: Mapping[str, Calibration]
    ) -> Answers:
        """Take the answers of some cells out of those of all."""
        return cls(cells, [tables[cell.id] for cell in cells], [fitted.get(cell.id) for cell in cells])

    def rows(self, replicates: int) -> list[dict[str, Any]]:
        """Measure every finding, seed by seed and over all seeds.

        Args:
            replicates: bootstrap replicates over patients and seeds.

        Returns:
            Rows for ``results.json``; a rate that a missing class forbids is None.
        """
        chosen: list[tuple[int | str, list[int]]] = [(cell.seed, [s]) for s, cell in enumerate(self.cells)]
        chosen.append(("all", list(range(len(self.cells)))))
        findings = range(len(self.tables[0].findings))
        return [self._row(column, seed, some, replicates) for column in findings for seed, some in chosen]

    def _row(self, column: int, seed: int | str, some: Sequence[int], replicates: int) -> dict[str, Any]:
        first = self.tables[0]
        labels, finding = first.labels[:, column], first.findings[column]
        before = np.stack([self.tables[s].probs[:, column] for s in some])
        after = np.stack([self._probs(s)[:, column] for s in some])
        cuts = np.array([self._thresholds(s)[column] for s in some])
        found = rates(after, cuts, labels, first.patients, replicates)
        own = self.calibrations[some[0]] if seed != "all" else None
        return {
            "seed": seed,
            "finding": finding,
            "n": int((~np.isnan(labels)).sum()),
            "positives": int((labels == 1).sum()),
            "rule": self.rule,
            "threshold": _number(cuts[0]) if seed != "all" else None,
            "temperature": own.findings[finding].temperature if own else None,
            **{name: _number(rate.value) for name, rate in found.items()},
            **{f"{name}_interval": rate.interval and list(rate.interval) for name, rate in found.items()},
            "calibration_error": _mean_error(after, labels),
            "calibration_error_before": _mean_error(before, labels),
        }

    @property
    def rule(self) -> str:
        """How the thresholds were chosen."""
        first = self.calibrations[0]
        return first.rule if first else f"threshold={UNCHOSEN:g}"

    def _probs(self, s: int) -> NDArray[np.float64]:
        fitted, table = self.calibrations[s], self.tables[s]
        return fitted.probabilities(table) if fitted else table.probs

    def _thresholds(self, s: int) -> NDArray[np.float64]:
        fitted, table = self.calibrations[s], self.tables[s]
        return fitted.thresholds(table) if fitted else np.full(len(table.findings), UNCHOSEN)


def _mean_error(probs: NDArray[np.float64], labels: NDArray[np.float64]) -> float | None:
    return _number(float(np.mean([calibration_error(row, labels) for row in probs])))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
