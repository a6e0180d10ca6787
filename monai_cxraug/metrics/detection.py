"""Telling made from real, one image at a time: accuracy, sensitivity in standard deviations, and bias.

``calls`` are ``[R, T]``: 1 where a reader called an image synthetic, 0 for real, NaN where the reader did not answer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from monai_cxraug.errors import InputError
from monai_cxraug.metrics.auroc import bootstrap_auroc
from monai_cxraug.metrics.forced_choice import check_votes
from monai_cxraug.metrics.ranks import ratio

Floats = NDArray[np.float64]


class Detection(NamedTuple):
    """What each reader makes of each set of trial weights, ``[B, R]`` each.

    Args:
        accuracy: mean of the shares of synthetic and of real images called so; one half is chance whatever the mix.
        d_prime: distance of the two distributions in standard deviations; 0 is chance.
        criterion: above 0 where the reader says "real" too often.
        area: under the ROC curve of the confidence; one half is chance.
    """

    accuracy: Floats
    d_prime: Floats
    criterion: Floats
    area: Floats


def detect(
    calls: ArrayLike, confidence: ArrayLike, synthetic: ArrayLike, weights: ArrayLike | None = None
) -> Detection:
    """Judge every reader of a visual Turing test.

    ``d' = z(H) - z(F)`` and ``c = -(z(H) + z(F)) / 2`` (Macmillan and Creelman, Detection Theory, 2nd ed. 2005,
    chapters 1 and 2), H being the share of synthetic images called synthetic and F that of real ones. So that neither
    is 0 or 1, one half is added to every count and one to every number of images (log-linear correction: Hautus,
    Behavior Research Methods 27, 1995); d' is then a little nearer to 0.

    Args:
        calls: ``[R, T]``.
        confidence: ``[R, T]`` from 1 (guess) up; 0 where it was not asked, which counts as 1.
        synthetic: ``[T]`` 1 for synthetic images, 0 for real ones.
        weights: ``[B, T]`` weights of the trials; None for one row of equal ones.

    Returns:
        One entry for each row of weights and each reader; NaN where a reader saw no image of one of the kinds.

    Raises:
        InputError: shapes differ, or a value is out of range.
    """
    table, truth = check_votes(calls), np.asarray(synthetic, dtype=np.float64)
    sure = np.asarray(confidence, dtype=np.float64)
    if table.shape != sure.shape or truth.shape != table.shape[1:]:
        raise InputError("turing", "calls and confidence must be [R, T], truth [T]", f"{table.shape}, {truth.shape}")
    rows = np.ones((1, len(truth))) if weights is None else np.asarray(weights, dtype=np.float64)
    made = _called(table, truth == 1, rows)
    real = _called(table, truth == 0, rows)
    hits, alarms = ratio(*made), ratio(*real)
    z_hits, z_alarms = _z(*made), _z(*real)
    rating = np.where(table == 1, 1, -1) * np.maximum(sure, 1)
    areas = [_area(rating[r], truth, ~np.isnan(table[r]), rows) for r in range(len(table))]
    return Detection(
        accuracy=0.5 * (hits + 1 - alarms),
        d_prime=z_hits - z_alarms,
        criterion=-0.5 * (z_hits + z_alarms),
        area=np.stack(areas, axis=1) if areas else np.empty((len(rows), 0)),
    )


def mean_over_readers(values: Floats, reader_weights: ArrayLike) -> Floats:
    """Mean over readers ``[B]`` of ``[B, R]`` values with ``[B, R]`` weights; readers without a value are left out."""
    weight = np.where(np.isnan(values), 0, np.asarray(reader_weights, dtype=np.float64))
    return ratio((weight * np.nan_to_num(values)).sum(axis=1), weight.sum(axis=1))


def _called(calls: Floats, chosen: NDArray[np.bool_], weights: Floats) -> tuple[Floats, Floats]:
    """Weight of the chosen images called synthetic, and of all chosen ones that were answered: ``[B, R]`` each."""
    answered = ~np.isnan(calls) & chosen
    return weights @ np.where(answered, calls, 0).T, weights @ answered.T.astype(np.float64)


def _z(hits: Floats, total: Floats) -> Floats:
    return np.where(total > 0, ndtri((hits + 0.5) / (total + 1)), np.nan)


def _area(rating: Floats, truth: Floats, answered: NDArray[np.bool_], weights: Floats) -> Floats:
    return bootstrap_auroc(rating[answered], truth[answered], weights[:, answered])
