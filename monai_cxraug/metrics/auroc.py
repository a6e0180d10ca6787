"""Area under the ROC curve as a share of ordered pairs, plain or for many sets of image weights at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_cxraug.errors import InputError, LabelError
from monai_cxraug.metrics.ranks import Ladder, blocks, plain_area

Floats = NDArray[np.float64]


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
    if weights is not None:
        return float(bootstrap_auroc(scores, labels, np.asarray(weights)[np.newaxis])[0])
    return plain_area(*check_scores_and_labels(scores, labels))


def auroc_columns(scores: ArrayLike, labels: ArrayLike) -> Floats:
    """AUROC of each finding on its known labels, as :func:`auroc` of each column.

    Args:
        scores: ``[n, K]`` finite scores.
        labels: ``[n, K]`` of 1, 0, NaN (left out).

    Returns:
        ``[K]`` areas; NaN for findings without both classes.

    Raises:
        InputError: shapes differ or a score is not finite.
        LabelError: a label is none of 1, 0 and NaN.
    """
    columns = _columns(scores, labels)
    return np.array([plain_area(column, truth) for column, truth in zip(*columns, strict=True)], dtype=np.float64)


def bootstrap_auroc(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike) -> Floats:
    """Weighted AUROC of each row of weights: one sort, then sums of weights.

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
    column, truth = check_scores_and_labels(scores, labels)
    return _bootstrap(column[np.newaxis], truth[np.newaxis], _check_weights(weights, len(column)))[:, 0]


def bootstrap_auroc_columns(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike) -> Floats:
    """Weighted AUROC of each finding under each row of weights, the findings sharing the replicates.

    Besides the weights it needs a few times 8 MB, or the size of one replicate where that is larger.

    Args:
        scores: ``[n, K]`` finite scores.
        labels: ``[n, K]`` of 1, 0, NaN (left out).
        weights: ``[B, n]`` non-negative weights, one row a replicate.

    Returns:
        ``[B, K]`` areas; NaN in replicates where a finding lacks the weight of a class.

    Raises:
        InputError: shapes differ, a score is not finite or a weight is negative.
        LabelError: a label is none of 1, 0 and NaN.
    """
    columns, truths = _columns(scores, labels)
    return _bootstrap(columns, truths, _check_weights(weights, columns.shape[1]))


def _bootstrap(columns: Floats, truths: Floats, weights: NDArray[Any]) -> Floats:
    """Areas ``[B, K]`` of columns ``[K, n]``."""
    ladders = [Ladder(column, truth, merge=True) for column, truth in zip(columns, truths, strict=True)]
    areas = np.full((len(weights), len(ladders)), np.nan)
    for part, block in blocks(weights):
        for k, ladder in enumerate(ladders):
            areas[part, k] = ladder.weigh(block).areas
    return areas


def _columns(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """Checked scores and labels, a row for each finding: ``[K, n]`` each."""
    table, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if table.ndim != 2 or table.shape != truth.shape:
        raise InputError("auroc", "scores and labels must both be [n, K]", f"{table.shape} and {truth.shape}")
    _check_values(table, truth)
    return np.ascontiguousarray(table.T), np.ascontiguousarray(truth.T)


def check_scores_and_labels(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """Turn scores and labels into float64 arrays ``[n]`` after checking shapes and values.

    Raises:
        InputError: shapes differ or a score is not finite.
        LabelError: a label is none of 1, 0 and NaN.
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise InputError("auroc", "scores and labels must both be [n]", f"{scores.shape} and {labels.shape}")
    _check_values(scores, labels)
    return scores, labels


def _check_values(scores: Floats, labels: Floats) -> None:
    if not np.isfinite(scores).all():
        found = f"{int((~np.isfinite(scores)).sum())} not finite"
        raise InputError("auroc scores", "must be finite", found, "did training diverge?")
    check_labels(labels)


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
