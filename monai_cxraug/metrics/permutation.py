"""Are label columns under wrong names? What a classifier says of one finding then fits the labels of another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from monai_cxraug.errors import InputError
from monai_cxraug.metrics.auroc import Floats, auroc_columns
from monai_cxraug.metrics.delong import measure_influence, number_patients

#: how much better another order must fit, as mean AUROC of the findings that change places: findings that occur
#: together, or are not learnt at all, fit each other's labels a little better by chance.
_LEAST_GAIN: Final = 0.1
#: how many standard errors the gain must be away from 0; the best of many orders is looked at, hence more than 2.
_LEAST_Z: Final = 4.0


@dataclass(frozen=True)
class Permutation:
    """Findings that seem to have each other's labels.

    Attributes:
        columns: the findings, each of whose scores fits the labels of the next one, and the last one's those of the
            first.
        own: mean AUROC of their scores for their own labels.
        other: mean AUROC of their scores for the labels of the next.
        standard_error: of ``other - own``, over patients.
    """

    columns: tuple[int, ...]
    own: float
    other: float
    standard_error: float

    def describe(self, findings: Sequence[str]) -> str:
        """Say it in one line.

        Args:
            findings: names of all columns.
        """
        names = [findings[column] for column in (*self.columns, self.columns[0])]
        pairs = [f"{one} fits the labels of {two}" for one, two in pairwise(names)]
        found = f"mean AUROC {self.other:.2f} instead of {self.own:.2f}"
        return f"label columns may be permuted: what is said of {', of '.join(pairs)} ({found})"


def cross_auroc(scores: ArrayLike, labels: ArrayLike) -> Floats:
    """AUROC of every finding's scores for every finding's labels.

    Args:
        scores: ``[S, n, K]`` of S networks; their AUROC is averaged.
        labels: ``[n, K]`` of 1, 0, NaN unknown.

    Returns:
        ``[K, K]``: row i for the scores of finding i, column j for the labels of finding j; NaN in a column without
        both classes.
    """
    table, truth = _check(scores, labels)
    columns = [auroc_columns(one, np.repeat(truth[:, [j]], truth.shape[1], 1)) for one in table for j in _range(truth)]
    areas: Floats = np.mean(np.reshape(columns, (len(table), *[truth.shape[1]] * 2)), axis=0).T
    return areas


def find_permutations(scores: ArrayLike, labels: ArrayLike, patients: Sequence[str]) -> list[Permutation]:
    """Look for findings whose scores fit each other's labels clearly better than their own.

    The best assignment of scores to labels (the largest sum of AUROC) falls into rings. A ring counts where the mean
    gain is at least 0.1 AUROC and four standard errors over patients (Obuchowski's, as in
    :func:`~monai_cxraug.metrics.delong.clustered_delong`). Columns that bear wrong names in training and test alike
    cannot be found like this: a classifier learns them under these names.

    Args:
        scores: ``[S, n, K]`` of S networks, or ``[n, K]`` of one.
        labels: ``[n, K]`` of 1, 0, NaN unknown.
        patients: ``[n]`` patient of each image.

    Returns:
        The rings, none where the columns seem to be in order. Findings without both classes are left out.

    Raises:
        InputError: shapes disagree or a score is not finite.
        LabelError: a label is none of 1, 0 and NaN.
    """
    table, truth = _check(scores, labels)
    if len(patients) != len(truth):
        raise InputError("label permutation", "needs a patient for each image", f"{len(patients)} for {len(truth)}")
    areas = cross_auroc(table, truth)
    known = np.flatnonzero(np.isfinite(areas).all(axis=0))
    _, chosen = linear_sum_assignment(areas[np.ix_(known, known)], maximize=True)
    rings = [tuple(int(known[place]) for place in ring) for ring in _rings(chosen)]
    judged = [_judge(ring, areas, table, truth, patients) for ring in rings]
    return [one for one in judged if one.other - one.own >= max(_LEAST_GAIN, _LEAST_Z * one.standard_error)]


def _rings(chosen: NDArray[np.intp]) -> Iterator[tuple[int, ...]]:
    """Cycles of a permutation, those of one element left out."""
    left = set(range(len(chosen)))
    while left:
        ring = [min(left)]
        while (following := int(chosen[ring[-1]])) != ring[0]:
            ring.append(following)
        left -= set(ring)
        if len(ring) > 1:
            yield tuple(ring)


def _judge(
    ring: tuple[int, ...], areas: Floats, scores: Floats, labels: Floats, patients: Sequence[str]
) -> Permutation:
    owners, count = number_patients(patients)
    gain = np.zeros((3, count))
    for one, two in zip(ring, (*ring[1:], ring[0]), strict=True):
        for sign, column in ((1, two), (-1, one)):
            parts = measure_influence(scores[:, :, one].T, labels[:, column], owners, count).parts
            gain += sign * parts.mean(axis=2) / len(ring)
    own = np.mean([areas[one, one] for one in ring])
    other = np.mean([areas[one, two] for one, two in zip(ring, (*ring[1:], ring[0]), strict=True)])
    return Permutation(ring, float(own), float(other), math.sqrt(float((gain**2).sum())))


def _range(labels: Floats) -> range:
    return range(labels.shape[1])


def _check(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    table, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    table = table[np.newaxis] if table.ndim == 2 else table
    if table.ndim != 3 or truth.ndim != 2 or table.shape[1:] != truth.shape or not table.size:
        found = f"scores {np.shape(scores)}, labels {np.shape(labels)}"
        raise InputError("label permutation", "scores [S, n, K] must fit labels [n, K]", found)
    return table, truth
