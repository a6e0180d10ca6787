"""Area under the ROC curve as a share of ordered pairs, plain or for many sets of image weights at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_cxraug.errors import InputError, LabelError

Floats = NDArray[np.float64]

#: elements of one working array in ``bootstrap_auroc`` (8 MB in float64: near the size of a core's cache).
_CHUNK = 1_000_000


def auroc(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Probability that a positive image scores higher than a negative one, ties counting one half.

    This is the Mann-Whitney form of the area under the empirical ROC curve (Hanley and McNeil, Radiology 143, 1982).

    Args:
        scores: ``[n]`` finite scores; only their order matters.
        labels: ``[n]`` of 1 present, 0 absent, NaN unknown (left out).
        weights: ``[n]`` non-negative weights of the images, or None for equal ones.

    Returns:
        The area in [0, 1]; NaN when a class is missing or has no weight.

    Raises:
        InputError: shapes differ, a score is not finite or a weight is negative.
        LabelError: a label is none of 1, 0 and NaN.
    """
    row = np.ones((1, np.size(scores))) if weights is None else np.asarray(weights)[np.newaxis]
    return float(bootstrap_auroc(scores, labels, row)[0])


def bootstrap_auroc(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike) -> Floats:
    """Weighted AUROC of each row of weights: one sort of the negatives, then cumulative sums of their weights.

    A positive image beats the negatives below it and half of those it ties with, so its share is the mean of the
    cumulative negative weight just below and just above its score.

    Args:
        scores: ``[n]`` finite scores.
        labels: ``[n]`` of 1, 0, NaN (left out).
        weights: ``[B, n]`` non-negative weights, one row a replicate, for example from ``patient_weights``.

    Returns:
        ``[B]`` areas; NaN in replicates where a class has no weight.

    Raises:
        InputError: shapes differ, a score is not finite or a weight is negative.
        LabelError: a label is none of 1, 0 and NaN.
    """
    scores, labels = check_scores_and_labels(scores, labels)
    rows = _check_weights(weights, len(scores))
    positive = np.flatnonzero(labels == 1)
    negative = np.flatnonzero(labels == 0)
    negative = negative[np.argsort(scores[negative], kind="stable")]
    below = np.searchsorted(scores[negative], scores[positive], side="left")
    up_to = np.searchsorted(scores[negative], scores[positive], side="right")
    areas = np.empty(len(rows))
    for part in _chunks(len(rows), len(scores)):
        areas[part] = _areas(rows[part][:, positive], rows[part][:, negative], below, up_to)
    return areas


def _areas(positive: NDArray[Any], negative: NDArray[Any], below: NDArray[np.intp], up_to: NDArray[np.intp]) -> Floats:
    """Areas from the weights of positives ``[b, P]`` and of sorted negatives ``[b, N]``; bounds ``[P]``."""
    cumulative = np.zeros((len(negative), negative.shape[1] + 1))  # [b, N + 1]
    np.cumsum(negative, axis=1, dtype=np.float64, out=cumulative[:, 1:])
    share = cumulative[:, below] + cumulative[:, up_to]  # [b, P], twice the weight beaten
    won = 0.5 * np.einsum("bp,bp->b", positive, share)
    pairs = positive.sum(axis=1, dtype=np.float64) * cumulative[:, -1]
    areas: Floats = np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    return areas


def _chunks(replicates: int, images: int) -> Iterator[slice]:
    step = max(1, _CHUNK // max(1, images))
    return (slice(start, start + step) for start in range(0, replicates, step))


def check_scores_and_labels(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """Turn scores and labels into float64 arrays ``[n]`` after checking shapes and values.

    Raises:
        InputError: shapes differ or a score is not finite.
        LabelError: a label is none of 1, 0 and NaN.
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise InputError("auroc", "scores and labels must both be [n]", f"{scores.shape} and {labels.shape}")
    if not np.isfinite(scores).all():
        raise InputError(
            "auroc scores", "must be finite", f"{int((~np.isfinite(scores)).sum())} not finite", "did training diverge?"
        )
    check_labels(labels)
    return scores, labels


def check_labels(labels: Floats) -> None:
    """Refuse labels other than 1, 0 and NaN.

    Raises:
        LabelError: naming the first odd value.
    """
    odd = labels[~((labels == 0) | (labels == 1) | np.isnan(labels))]
    if odd.size:
        raise LabelError("auroc labels", "must be 1, 0 or NaN", repr(float(odd[0])), "write NaN for unknown")


def _check_weights(weights: ArrayLike, images: int) -> NDArray[Any]:
    rows = np.asarray(weights)
    if rows.ndim != 2 or rows.shape[1] != images:
        raise InputError("auroc weights", f"must be [B, {images}], one column an image", str(rows.shape))
    if rows.size and not (rows.min() >= 0 and np.isfinite(rows.max())):  # the first is false for NaN too
        raise InputError("auroc weights", "must be finite and not negative", str(rows.min()))
    return rows
