"""Points of ROC, precision-recall and reliability curves, as few as draw the same picture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from monai_cxraug.metrics.auroc import check_scores_and_labels
from monai_cxraug.metrics.calibration import known_pairs, place_in_bins

Floats = NDArray[np.float64]


class Curve(NamedTuple):
    """Corners ``[m]`` of a line, from left to right; none where a class is missing."""

    x: Floats
    y: Floats


class Reliability(NamedTuple):
    """One entry for each bin that holds images.

    Args:
        mean: ``[m]`` mean probability of the bin's images.
        share: ``[m]`` share of positives among them.
        low: ``[m]`` lower end of the share's 95 % interval (Wilson, JASA 22, 1927), as if images were independent.
        high: ``[m]`` its upper end.
        images: ``[m]`` number of images.
    """

    mean: Floats
    share: Floats
    low: Floats
    high: Floats
    images: NDArray[np.int64]


def roc_points(scores: ArrayLike, labels: ArrayLike) -> Curve:
    """Corners of the ROC curve: share of negatives called positive to share of positives found.

    By scikit-learn, without the points that lie on the line between their neighbours: the curve and its area stay.

    Args:
        scores: ``[n]`` finite.
        labels: ``[n]`` of 1, 0, NaN (left out).

    Raises:
        InputError: shapes differ or a score is not finite.
        LabelError: a label is none of 1, 0 and NaN.
    """
    from sklearn.metrics import roc_curve

    values, truth = _known(scores, labels)
    if len(set(truth)) < 2:
        return Curve(np.empty(0), np.empty(0))
    false, true, _ = roc_curve(truth, values, drop_intermediate=False)
    negatives = (truth == 0).sum()
    kept = _corners(np.rint(false * negatives), np.rint(true * (len(truth) - negatives)))
    return Curve(false[kept], true[kept])


def precision_recall_points(scores: ArrayLike, labels: ArrayLike) -> Curve:
    """Recall to precision, lowest recall first; to be drawn as steps that hold the precision of their right end.

    By scikit-learn. Thresholds that add no positive are left out but for the best: the area of the steps, which is the
    average precision, stays.

    Args:
        scores: ``[n]`` finite.
        labels: ``[n]`` of 1, 0, NaN (left out).

    Raises:
        InputError: shapes differ or a score is not finite.
        LabelError: a label is none of 1, 0 and NaN.
    """
    from sklearn.metrics import precision_recall_curve

    values, truth = _known(scores, labels)
    if len(set(truth)) < 2:
        return Curve(np.empty(0), np.empty(0))
    precision, recall, _ = precision_recall_curve(truth, values)
    precision, recall = precision[::-1], recall[::-1]
    kept = np.concatenate([[True], recall[1:] > recall[:-1]])  # the first threshold that reaches a recall is the best
    return Curve(recall[kept], precision[kept])


def reliability_points(probs: ArrayLike, labels: ArrayLike, bins: int = 15) -> Reliability:
    """Mean probability and share of positives in bins of equal width, those of :func:`calibration_error`.

    Args:
        probs: ``[n]`` in [0, 1].
        labels: ``[n]`` of 1, 0, NaN (left out).
        bins: of equal width over [0, 1].

    Raises:
        InputError: shapes differ or a probability is outside [0, 1].
        LabelError: a label is none of 1, 0 and NaN.
    """
    known, truth = known_pairs(probs, labels)
    place = place_in_bins(known, bins)
    images = np.bincount(place, minlength=bins)
    used = images > 0
    n = images[used]
    mean, share = (np.bincount(place, values, bins)[used] / n for values in (known, truth))
    low, high = _wilson(share, n)
    return Reliability(mean, share, low, high, n)


def _known(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    values, truth = check_scores_and_labels(scores, labels)
    known = ~np.isnan(truth)
    return values[known], truth[known]


def _corners(x: Floats, y: Floats) -> NDArray[np.bool_]:
    """Which points of whole numbers a line turns at; both ends do."""
    dx, dy = np.diff(x), np.diff(y)
    turns = dx[:-1] * dy[1:] != dx[1:] * dy[:-1]
    return np.concatenate([[True], turns, [True]])


def _wilson(share: Floats, n: NDArray[np.int64]) -> tuple[Floats, Floats]:
    z = float(ndtri(0.975))
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return np.maximum(centre - half, 0), np.minimum(centre + half, 1)
