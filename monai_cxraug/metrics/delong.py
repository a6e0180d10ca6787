"""The spread of AUROC without resampling: fast DeLong, and its form for several images a patient. No torch in here."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_cxraug.errors import InputError
from monai_cxraug.metrics.auroc import Floats, check_labels

Owners = NDArray[np.intp]


@dataclass(frozen=True)
class Influence:
    """AUROC of A score columns on the same images, and how far each patient pulls it.

    Attributes:
        areas: ``[A]`` AUROC of each column.
        parts: ``[3, P, A]``, zero for patients without a known label. The products of two columns, summed over parts
            and patients, are the covariance of their areas; a weighted mean of columns has the same mean of parts.
        carriers: how many patients have a positive image, and how many a negative one.
    """

    areas: Floats
    parts: Floats
    carriers: tuple[int, int]

    @property
    def covariance(self) -> Floats:
        """``[A, A]`` covariance of the areas; never below zero in any direction."""
        rows = self.parts.reshape(-1, self.parts.shape[-1])
        return rows.T @ rows


def delong(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """Areas and their covariance, every image on its own (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988).

    Ranks stand for the pairs, so that n images cost n log n (Sun and Xu, IEEE Signal Processing Letters 21, 2014).

    Args:
        scores: ``[n, A]`` finite scores, one column for each arm or seed.
        labels: ``[n]`` of 1, 0, NaN (left out).

    Returns:
        Areas ``[A]`` and covariance ``[A, A]``; NaN where a class has no image (areas) or fewer than two (covariance).

    Raises:
        InputError: shapes disagree or a score is not finite.
        LabelError: a label is none of 1, 0 and NaN.
    """
    return clustered_delong(scores, labels, range(len(np.asarray(labels))))


def clustered_delong(scores: ArrayLike, labels: ArrayLike, patients: Sequence[Hashable]) -> tuple[Floats, Floats]:
    """Areas and their covariance where images of a patient resemble each other (Obuchowski, Biometrics 53, 1997).

    A patient may have images of both classes. With one image a patient the result is that of :func:`delong`.

    Args:
        scores: ``[n, A]`` finite scores, one column for each arm or seed.
        labels: ``[n]`` of 1, 0, NaN (left out).
        patients: ``[n]`` patient of each image.

    Returns:
        Areas ``[A]`` and covariance ``[A, A]``; NaN where a class has no patient (areas) or fewer than two
        (covariance).

    Raises:
        InputError: shapes disagree or a score is not finite.
        LabelError: a label is none of 1, 0 and NaN.
    """
    table, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if table.ndim != 2 or truth.shape != table.shape[:1] or len(patients) != len(truth):
        found = f"{table.shape}, {truth.shape}, {len(patients)} patients"
        raise InputError("DeLong", "scores [n, A] must fit labels [n] and patients", found)
    if not np.isfinite(table).all():
        raise InputError("DeLong scores", "must be finite", "NaN or infinity", "did training diverge?")
    check_labels(truth)
    found_influence = measure_influence(table, truth, *number_patients(patients))
    covariance = found_influence.covariance
    return found_influence.areas, covariance if min(found_influence.carriers) > 1 else np.full_like(covariance, np.nan)


def number_patients(patients: Sequence[Hashable] | NDArray[Any]) -> tuple[Owners, int]:
    """Number patients as they come: the number of each image's patient ``[n]``, and how many there are."""
    if isinstance(patients, np.ndarray):
        _, first, owners = np.unique(patients, return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[owners.reshape(-1)], len(first)
    numbers: dict[Hashable, int] = {}
    owners = np.fromiter((numbers.setdefault(name, len(numbers)) for name in patients), np.intp, len(patients))
    return owners, len(numbers)


def measure_influence(scores: Floats, labels: Floats, owners: Owners, patients: int) -> Influence:
    """Measure how far each patient pulls the areas.

    A positive image's component is the share of negatives below it, a negative image's the share of positives above
    it, ties one half (DeLong's equations 4 and 5). Their deviations from the area, summed over a patient's images and
    divided by the images of the class, are the patient's ``a`` and ``b``. Obuchowski's variance is
    ``f(P10) sum a^2 + f(P01) sum b^2 + 2 f(P) sum a b`` with ``f(x) = x / (x - 1)`` and P10, P01, P the patients with
    positive, negative, any images. Written as ``f(P) sum (a + b)^2`` plus what remains of the squares, it is a sum of
    squares, the same to the last digit.

    Args:
        scores: ``[n, A]`` finite.
        labels: ``[n]`` of 1, 0, NaN (left out).
        owners: ``[n]`` number of each image's patient.
        patients: how many patients there are.

    Returns:
        The influence; areas are NaN and parts zero where a class has no image.
    """
    above, below = scores[labels == 1], scores[labels == 0]
    if not len(above) or not len(below):
        return Influence(np.full(scores.shape[1], np.nan), np.zeros((3, patients, scores.shape[1])), (0, 0))
    positive, negative = owners[labels == 1], owners[labels == 0]
    components = [_components(above[:, k], below[:, k]) for k in range(scores.shape[1])]
    areas = np.array([won.mean() for won, _ in components])
    a = np.stack([_sum_up(won - won.mean(), positive, patients) for won, _ in components], axis=1)
    b = np.stack([_sum_up(kept - won.mean(), negative, patients) for won, kept in components], axis=1)
    seen = np.zeros((2, patients), dtype=bool)
    seen[0, positive] = seen[1, negative] = True
    carriers = int(seen[0].sum()), int(seen[1].sum())
    common, first, second = (_stretch(count) for count in (int(seen.any(axis=0).sum()), *carriers))
    rest = np.sqrt(max(0.0, first - common)) * a, np.sqrt(max(0.0, second - common)) * b
    return Influence(areas, np.stack([np.sqrt(common) * (a + b), *rest]), carriers)


def _components(positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
    """Share of negatives below each positive, and of positives above each negative, ties one half."""
    highs, lows = np.sort(positive), np.sort(negative)
    won = _rank(lows, positive) / len(lows)
    kept = 1 - _rank(highs, negative) / len(highs)
    return won, kept


def _rank(ordered: Floats, values: Floats) -> Floats:
    """How many of the ordered numbers lie below each value, those equal to it counting one half."""
    twice = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return twice.astype(np.float64) / 2


def _sum_up(deviations: Floats, owners: Owners, patients: int) -> Floats:
    total: Floats = np.bincount(owners, weights=deviations, minlength=patients).astype(np.float64)
    return total / len(deviations)


def _stretch(count: int) -> float:
    """What makes a variance around an estimated mean unbiased; 1 for a single patient, whose spread is unknown."""
    return count / (count - 1) if count > 1 else 1.0
