"""The images that arms are judged on: what hangs on labels and patients alone is worked out once for all arms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_cxraug.errors import InputError
from monai_cxraug.metrics.auroc import Floats, check_labels
from monai_cxraug.metrics.delong import measure_influence, number_patients
from monai_cxraug.metrics.ranks import Ladder
from monai_cxraug.metrics.resampling import Draws, Patients

_SHAPES = "scores [S, n] or [S, n, K] must fit labels [n] or [n, K] and patients"


@dataclass(frozen=True)
class Panel:
    """The images that count: known for a finding that has both classes.

    Args:
        labels: ``[m, K]`` of 1, 0, NaN.
        findings: columns with both classes.
        known: ``[m]`` places of these images among all.
        draws: their patients, and what the bootstrap draws of them.
        skipped: unknown labels, over all findings that count.
        shape: of the labels of all images, as they were given.
    """

    labels: Floats
    findings: list[int]
    known: NDArray[np.intp]
    draws: Draws
    skipped: int
    shape: tuple[int, ...]

    @classmethod
    def build(cls, labels: ArrayLike, patients: Patients, replicates: int = 2000, seed: int = 0) -> Panel:
        """Find the images that count.

        Args:
            labels: ``[n]``, or ``[n, K]`` for the macro mean over K findings, of 1, 0, NaN unknown.
            patients: ``[n]`` patient of each image, by name or by ``number_by_name``.
            replicates: bootstrap replicates.
            seed: of the bootstrap.

        Raises:
            InputError: shapes disagree.
            LabelError: a label is none of 1, 0 and NaN.
        """
        table = np.asarray(labels, dtype=np.float64)
        if table.ndim not in (1, 2) or len(patients) != len(table):
            raise InputError("comparison", _SHAPES, f"labels {table.shape}, {len(patients)} patients")
        check_labels(table)
        shape, table = table.shape, table[:, np.newaxis] if table.ndim == 1 else table
        both = [k for k in range(table.shape[1]) if (table[:, k] == 0).any() and (table[:, k] == 1).any()]
        unknown = np.isnan(table[:, both or slice(None)])
        known = np.flatnonzero(~unknown.all(axis=1))
        kept = patients[known] if isinstance(patients, np.ndarray) else [str(patients[int(i)]) for i in known]
        return cls(table[known], both, known, Draws(kept, replicates, seed), int(unknown.sum()), shape)

    def judge(self, scores: ArrayLike) -> Judged:
        """Measure an arm.

        Args:
            scores: ``[S, n]`` or ``[S, n, K]``, as the labels are; a row for each training seed.

        Raises:
            InputError: they do not fit the labels, or one is not finite.
        """
        table = np.asarray(scores, dtype=np.float64)
        if table.shape[1:] != self.shape or not len(table):
            raise InputError("comparison", _SHAPES, f"scores {table.shape}, labels {self.shape}")
        if not np.isfinite(table).all():
            raise InputError("comparison", "scores must be finite", "NaN or infinity", "did training diverge?")
        return Judged.build(self, (table[..., np.newaxis] if table.ndim == 2 else table)[:, self.known])

    @property
    def n(self) -> int:
        """How many images count."""
        return len(self.labels)

    @cached_property
    def positives(self) -> int:
        """Positive labels, over all findings that count."""
        return int((self.labels[:, self.findings or slice(None)] == 1).sum())

    @property
    def left_out(self) -> tuple[int, ...]:
        """Columns without both classes."""
        return tuple(k for k in range(self.labels.shape[1]) if k not in self.findings)

    @cached_property
    def owners(self) -> tuple[NDArray[Any], int]:
        """Number of each image's patient, and how many patients there are."""
        return number_patients(self.draws.patients)


@dataclass(frozen=True)
class Judged:
    """An arm on a panel.

    Args:
        panel: the images.
        scores: ``[S, m, K]`` on them.
        areas: ``[S]`` AUROC of each seed, mean over the findings that count; NaN where none does.
        parts: ``[3, P, S]`` how far each patient pulls them, as in :class:`~monai_cxraug.metrics.delong.Influence`.
        carriers: fewest patients with positive and with negative images that any finding has.
    """

    panel: Panel
    scores: Floats
    areas: Floats
    parts: Floats
    carriers: tuple[int, int]

    @classmethod
    def build(cls, panel: Panel, scores: Floats) -> Judged:
        """Measure scores ``[S, m, K]``."""
        if not panel.findings:
            nothing = np.zeros((3, panel.owners[1], len(scores)))
            return cls(panel, scores, np.full(len(scores), math.nan), nothing, (0, 0))
        found = [measure_influence(scores[..., k].T, panel.labels[:, k], *panel.owners) for k in panel.findings]
        areas, parts = found[0].areas, found[0].parts
        for one in found[1:]:
            areas, parts = areas + one.areas, parts + one.parts
        positive, negative = zip(*(one.carriers for one in found), strict=True)
        return cls(panel, scores, areas / len(found), parts / len(found), (min(positive), min(negative)))

    def each(self) -> list[Judged]:
        """Every seed on its own."""
        cuts = (slice(s, s + 1) for s in range(len(self.scores)))
        return [
            replace(self, scores=self.scores[cut], areas=self.areas[cut], parts=self.parts[..., cut]) for cut in cuts
        ]

    @cached_property
    def replicates(self) -> Floats:
        """AUROC of each bootstrap replicate ``[B]``, mean over the findings and the seeds that were drawn."""
        labels, findings, draws = self.panel.labels, self.panel.findings, self.panel.draws
        ladders = [
            (s, Ladder(row[:, k], labels[:, k], merge=True)) for s, row in enumerate(self.scores) for k in findings
        ]
        total, seeds = np.zeros(draws.replicates), draws.seeds(len(self.scores))
        for part, weights in draws.blocks():
            for s, ladder in ladders:
                total[part] += seeds[part, s] * ladder.weigh(weights).areas
        return total / len(findings)


def contrast(arms: Sequence[Judged], signs: Sequence[float]) -> tuple[Floats, Floats]:
    """Signed sum of arms on one panel, seed by seed: of their areas ``[S]``, and of their parts ``[3, P, S]``."""
    values: Floats = np.tensordot(signs, np.stack([arm.areas for arm in arms]), axes=1)
    pulls: Floats = np.einsum("a,rpas->rps", signs, np.stack([arm.parts for arm in arms], axis=2))
    return values, pulls
