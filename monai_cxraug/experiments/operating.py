"""All that is measured of arms beside AUROC, at thresholds that were chosen on other images, and how arms change it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.calibration import Calibration
from monai_cxraug.experiments.plan import CellPlan
from monai_cxraug.metrics.calibration import calibration_error
from monai_cxraug.metrics.curves import precision_recall_points, reliability_points, roc_points
from monai_cxraug.metrics.measures import NAMES, Measures, measure_change, measure_each
from monai_cxraug.metrics.resampling import Draws
from monai_cxraug.predictions import Predictions

#: threshold where there are no images to choose one on.
UNCHOSEN: Final = 0.5
#: measures whose getting worse is harm, whatever AUROC says, and whether more is worse.
HARM: Final[Mapping[str, bool]] = {"sensitivity": False, "specificity": False, "brier": True, "ece": True}


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

    def rows(self, draws: Mapping[str, Draws]) -> list[dict[str, Any]]:
        """Measure every finding, seed by seed and over all seeds.

        Args:
            draws: findings whose measures over all seeds get intervals, to what the bootstrap draws of the images
                whose label is known.

        Returns:
            Rows for ``results.json``; a measure that a missing class forbids is None.
        """
        rows = []
        for column, finding in enumerate(self.tables[0].findings):
            rows += self._rows(column, draws.get(finding))
        return rows

    def change(self, other: Answers, finding: str, replicates: int) -> list[dict[str, Any]]:
        """Measure what these answers change against others for the worse or better, beside AUROC.

        Args:
            other: answers of the reference, same seeds and images.
            finding: one of the findings.
            replicates: bootstrap replicates over patients and seeds.

        Returns:
            One row a measure of :data:`HARM`: ``measure``, ``difference``, ``interval`` and ``worse``, whether the
            whole interval lies on the bad side.
        """
        first, column = self.tables[0], self.tables[0].findings.index(finding)
        sides = [(each._column(column), each._cuts(column)) for each in (self, other)]
        found = measure_change(*sides[0], *sides[1], first.labels[:, column], first.owners, replicates)
        rows = []
        for name, more_is_worse in HARM.items():
            value, interval = found[name]
            worse = interval is not None and (interval[0] > 0 if more_is_worse else interval[1] < 0)
            rows.append(
                {
                    "finding": finding,
                    "measure": name,
                    "difference": _number(value),
                    "interval": interval and list(interval),
                    "worse": worse,
                }
            )
        return rows

    def curves(self, finding: str) -> list[dict[str, Any]]:
        """Points of each seed's ROC, precision-recall and reliability curves of one finding."""
        first, column = self.tables[0], self.tables[0].findings.index(finding)
        labels = first.labels[:, column]
        if not {0.0, 1.0} <= set(labels):
            return []
        rows: list[dict[str, Any]] = []
        for cell, probs in zip(self.cells, self._column(column), strict=True):
            for kind, points in (("roc", roc_points), ("precision_recall", precision_recall_points)):
                curve = points(probs, labels)
                rows.append({"kind": kind, "seed": cell.seed, "finding": finding, **_thin(curve.x, curve.y)})
            bins = reliability_points(probs, labels)
            rows.append(
                {
                    "kind": "reliability",
                    "seed": cell.seed,
                    "finding": finding,
                    "x": bins.mean.tolist(),
                    "y": bins.share.tolist(),
                    "images": bins.images.tolist(),
                }
            )
        return rows

    def _rows(self, column: int, draws: Draws | None) -> list[dict[str, Any]]:
        """One finding: each seed, then all together."""
        first, finding = self.tables[0], self.tables[0].findings[column]
        labels, cuts = first.labels[:, column], self._cuts(column)
        each, together = measure_each(self._column(column), labels, cuts, draws)
        before = [calibration_error(table.probs[:, column], labels) for table in self.tables]
        rows = []
        for cell, found, cut, fitted, error in zip(self.cells, each, cuts, self.calibrations, before, strict=True):
            temperature = fitted.findings[finding].temperature if fitted else None
            own = {"threshold": _number(cut), "temperature": temperature}
            rows.append(self._row(cell.seed, finding, found, own, error))
        own = {"threshold": None, "temperature": None}
        return [*rows, self._row("all", finding, together, own, float(np.mean(before)))]

    def _row(
        self, seed: int | str, finding: str, found: Measures, own: Mapping[str, Any], before: float
    ) -> dict[str, Any]:
        return {
            "seed": seed,
            "finding": finding,
            "n": found.n,
            "positives": found.positives,
            "skipped": found.skipped,
            "rule": self.rule,
            **own,
            **{name: _number(getattr(found, name)) for name in NAMES},
            **{f"{name}_interval": ends and list(ends) for name, ends in found.intervals.items()},
            "ece_before": _number(before),
        }

    @property
    def rule(self) -> str:
        """How the thresholds were chosen."""
        first = self.calibrations[0]
        return first.rule if first else f"threshold={UNCHOSEN:g}"

    def _column(self, column: int) -> NDArray[np.float64]:
        """Probabilities ``[S, n]`` of one finding, at the temperatures that were fitted."""
        return np.stack([table[:, column] for table in self._probabilities])

    def _cuts(self, column: int) -> NDArray[np.float64]:
        """Thresholds ``[S]`` of one finding."""
        return self._thresholds[:, column]

    @cached_property
    def _probabilities(self) -> list[NDArray[np.float64]]:
        """Of each seed ``[n, K]``, at the temperatures that were fitted."""
        pairs = zip(self.calibrations, self.tables, strict=True)
        return [fitted.probabilities(table) if fitted else table.probs for fitted, table in pairs]

    @cached_property
    def _thresholds(self) -> NDArray[np.float64]:
        """``[S, K]``."""
        pairs = zip(self.calibrations, self.tables, strict=True)
        cuts = [
            fitted.thresholds(table) if fitted else np.full(len(table.findings), UNCHOSEN) for fitted, table in pairs
        ]
        return np.stack(cuts)


def _thin(x: NDArray[np.float64], y: NDArray[np.float64], most: int = 120) -> dict[str, list[float]]:
    """At most so many points of a curve, its ends among them: a report draws no finer."""
    kept = np.unique(np.linspace(0, len(x) - 1, most).round().astype(int))
    return {"x": x[kept].round(5).tolist(), "y": y[kept].round(5).tolist()}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
