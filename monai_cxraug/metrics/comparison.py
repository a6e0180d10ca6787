"""AUROC of an arm, and the paired difference of two, with intervals over patients and seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_cxraug.errors import InputError
from monai_cxraug.metrics.auroc import Floats, auroc, bootstrap_auroc, check_labels
from monai_cxraug.metrics.resampling import bootstrap_p, patient_weights, percentile_interval, seed_weights


@dataclass(frozen=True)
class Estimate:
    """AUROC of one arm.

    Attributes:
        auroc: mean over seeds (and findings, for a macro mean) in [0, 1]; NaN when no finding has both classes.
        interval: 95 % bootstrap interval, or None when it cannot be given (see ``percentile_interval``).
        n: images whose label is known (for a macro mean: for any finding in the mean).
        positives: positive labels among them, over all findings in the mean.
        patients: patients these images come from.
        left_out: columns of a macro mean without both classes, which the mean does not contain.
    """

    auroc: float
    interval: tuple[float, float] | None
    n: int
    positives: int
    patients: int
    left_out: tuple[int, ...] = ()

    def record(self) -> dict[str, Any]:
        """Fields for a JSON file, NaN as None."""
        return _record(self.__dict__)


@dataclass(frozen=True)
class Difference:
    """AUROC of arm a less that of arm b, on the same patients and seeds.

    Attributes:
        difference: mean over seeds (and findings) in [-1, 1]; NaN when no finding has both classes.
        interval: 95 % bootstrap interval, or None.
        p: two-sided bootstrap p-value in (0, 1], not adjusted; NaN when it cannot be given.
        n: images whose label is known, as in ``Estimate``.
        positives: positive labels among them.
        left_out: columns of a macro mean without both classes.
    """

    difference: float
    interval: tuple[float, float] | None
    p: float
    n: int
    positives: int
    left_out: tuple[int, ...] = ()

    def record(self) -> dict[str, Any]:
        """Fields for a JSON file, NaN as None."""
        return _record(self.__dict__)


def estimate(
    scores: ArrayLike, labels: ArrayLike, patients: Sequence[str], replicates: int = 2000, seed: int = 0
) -> Estimate:
    """Estimate an arm's AUROC; each bootstrap replicate draws patients and seeds with replacement.

    Args:
        scores: ``[S, n]``, a row for each training seed; or ``[S, n, K]`` for the macro mean over K findings.
        labels: ``[n]`` or ``[n, K]`` of 1, 0, NaN unknown.
        patients: ``[n]`` patient of each image.
        replicates: bootstrap replicates.
        seed: of the bootstrap.

    Returns:
        The estimate. A macro mean leaves out findings without both classes and names them in ``left_out``; a
        replicate in which any remaining finding loses a class has no value, so that all average the same findings.

    Raises:
        InputError: shapes disagree or a score is not finite.
        LabelError: a label is none of 1, 0 and NaN.
    """
    sample = _Sample.build([scores], labels, patients)
    drawn = sample.draw(replicates, seed)
    return Estimate(
        auroc=sample.point(0),
        interval=percentile_interval(sample.replicate(0, *drawn)),
        n=sample.n,
        positives=sample.positives,
        patients=len(set(sample.patients)),
        left_out=sample.left_out,
    )


def compare(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    labels: ArrayLike,
    patients: Sequence[str],
    replicates: int = 2000,
    seed: int = 0,
) -> Difference:
    """Compare two arms on the same images; both arms see the same drawn patients and the same drawn seeds.

    Args:
        scores_a: ``[S, n]`` or ``[S, n, K]`` of the arm in question; row s of both arms is the same training seed.
        scores_b: scores of the reference, same shape.
        labels: ``[n]`` or ``[n, K]`` of 1, 0, NaN unknown.
        patients: ``[n]`` patient of each image.
        replicates: bootstrap replicates.
        seed: of the bootstrap.

    Returns:
        Difference a - b; the macro mean over findings, as in ``estimate``, when there are K.

    Raises:
        InputError: shapes disagree or a score is not finite.
        LabelError: a label is none of 1, 0 and NaN.
    """
    sample = _Sample.build([scores_a, scores_b], labels, patients)
    drawn = sample.draw(replicates, seed)
    replicated = sample.replicate(0, *drawn) - sample.replicate(1, *drawn)
    return Difference(
        difference=sample.point(0) - sample.point(1),
        interval=percentile_interval(replicated),
        p=bootstrap_p(replicated) if sample.findings else math.nan,
        n=sample.n,
        positives=sample.positives,
        left_out=sample.left_out,
    )


def holm(p: Sequence[float | None]) -> list[float]:
    """Adjust p-values for the number of comparisons (Holm, Scandinavian Journal of Statistics 6, 1979).

    The k-th smallest of m is multiplied by m - k + 1, never falls below the one before it, and stops at 1.

    Args:
        p: p-values in [0, 1]; NaN or None where a comparison could not be made.

    Returns:
        Adjusted p-values in the order given. A comparison without a p-value stays NaN, yet counts in m: it was
        declared, and the others must not gain from its failing.

    Raises:
        InputError: a p-value is outside [0, 1].
    """
    values = np.array([math.nan if value is None else value for value in p], dtype=np.float64)
    if ((values < 0) | (values > 1)).any():
        raise InputError("holm", "p-values must lie in [0, 1]", values.tolist())
    order = np.argsort(values, kind="stable")  # NaN sort last, so they only add to m
    factors = len(values) - np.arange(len(values))
    adjusted = np.full(len(values), math.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return [float(value) for value in adjusted]


@dataclass(frozen=True)
class _Sample:
    """Arms' scores on the images that count: known for a finding that has both classes."""

    arms: list[Floats]  # each [S, m, K]
    labels: Floats  # [m, K]
    patients: list[str]  # [m]
    findings: list[int]  # columns with both classes

    @classmethod
    def build(cls, arms: Sequence[ArrayLike], labels: ArrayLike, patients: Sequence[str]) -> _Sample:
        table = np.asarray(labels, dtype=np.float64)
        stacks = [np.asarray(arm, dtype=np.float64) for arm in arms]
        _check(stacks, table, patients)
        check_labels(table)
        if table.ndim == 1:
            table, stacks = table[:, np.newaxis], [stack[..., np.newaxis] for stack in stacks]
        both = [k for k in range(table.shape[1]) if {0.0, 1.0} <= set(table[:, k])]
        known = np.flatnonzero(~np.isnan(table[:, both or slice(None)]).all(axis=1))
        kept = [str(patients[int(i)]) for i in known]
        return cls([stack[:, known] for stack in stacks], table[known], kept, both)

    @property
    def n(self) -> int:
        return len(self.labels)

    @property
    def positives(self) -> int:
        return int((self.labels[:, self.findings or slice(None)] == 1).sum())

    @property
    def left_out(self) -> tuple[int, ...]:
        return tuple(k for k in range(self.labels.shape[1]) if k not in self.findings)

    def point(self, arm: int) -> float:
        """Mean over seeds and findings of the AUROC on the images as they are."""
        areas = [auroc(row[:, k], self.labels[:, k]) for row in self.arms[arm] for k in self.findings]
        return float(np.mean(areas)) if areas else math.nan

    def draw(self, replicates: int, seed: int) -> tuple[NDArray[np.int32], Floats]:
        """Weights of the images ``[B, m]`` and of the seeds ``[B, S]``."""
        rng = np.random.default_rng(seed)
        if not self.findings:
            return np.ones((1, self.n), dtype=np.int32), seed_weights(len(self.arms[0]), 1, rng)
        return patient_weights(self.patients, replicates, rng), seed_weights(len(self.arms[0]), replicates, rng)

    def replicate(self, arm: int, images: NDArray[np.int32], seeds: Floats) -> Floats:
        """Mean over findings and drawn seeds in each replicate ``[B]``."""
        total = np.zeros(len(images)) if self.findings else np.full(len(images), math.nan)
        for s, row in enumerate(self.arms[arm]):
            for k in self.findings:
                total += seeds[:, s] * bootstrap_auroc(row[:, k], self.labels[:, k], images)
        return total / max(1, len(self.findings))


def _check(stacks: list[Floats], labels: Floats, patients: Sequence[str]) -> None:
    found = f"scores {', '.join(str(stack.shape) for stack in stacks)}, labels {labels.shape}, {len(patients)} patients"
    fits = all(stack.shape[1:] == labels.shape and stack.shape == stacks[0].shape for stack in stacks)
    if not fits or labels.ndim not in (1, 2) or len(stacks[0]) == 0 or len(patients) != len(labels):
        raise InputError("comparison", "scores [S, n] or [S, n, K] must fit labels [n] or [n, K] and patients", found)
    if not all(np.isfinite(stack).all() for stack in stacks):
        raise InputError("comparison", "scores must be finite", "NaN or infinity", "did training diverge?")


def _record(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in fields.items()}
