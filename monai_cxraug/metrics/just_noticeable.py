"""Just-noticeable differences: does a small distance mean that readers see no difference."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_cxraug.errors import InputError
from monai_cxraug.metrics.ranks import ratio

Floats = NDArray[np.float64]


def same_precision(distances: ArrayLike, same: ArrayLike) -> float:
    """Average precision of "the same" when pairs are taken by ascending distance.

    The measure of Zhang et al., CVPR 2018 (arXiv 1801.03924), section 4.1: a pair counts as the same by the share of
    readers who said so, and as different by the rest; precision is made non-increasing in recall, as in the later
    PASCAL VOC challenges (Everingham et al., IJCV 88, 2010, section 4.2, over all recalls instead of eleven). Pairs at
    one distance are taken together, so that their order changes nothing.

    Args:
        distances: ``[T]`` finite.
        same: ``[T]`` shares in [0, 1]; NaN where nobody answered (left out).

    Returns:
        In [0, 1]; NaN unless some pair was called the same and some pair different, by at least one reader each.

    Raises:
        InputError: shapes differ, a distance is not finite, or a share is outside [0, 1].
    """
    return float(bootstrap_same_precision(distances, np.asarray(same)[None], np.ones((1, np.size(same))))[0])


def bootstrap_same_precision(distances: ArrayLike, same: ArrayLike, weights: ArrayLike) -> Floats:
    """:func:`same_precision` under each row of shares and weights.

    Args:
        distances: ``[T]`` finite.
        same: ``[B, T]`` shares in [0, 1], NaN left out; one row a replicate of the readers.
        weights: ``[B, T]`` non-negative weights of the pairs.

    Returns:
        ``[B]``; NaN in replicates where nothing was the same or nothing different.
    """
    place, shares = np.asarray(distances, dtype=np.float64), np.asarray(same, dtype=np.float64)
    _check(place, shares)
    order = np.argsort(place, kind="stable")
    last = np.flatnonzero(np.append(np.diff(place[order]) > 0, True)) if len(place) else np.empty(0, dtype=np.intp)
    known = ~np.isnan(shares)
    weight = np.where(known, np.asarray(weights, dtype=np.float64), 0)
    agreed = weight * np.where(known, shares, 0)
    found = np.cumsum(agreed[:, order], axis=1)[:, last]
    taken = np.cumsum(weight[:, order], axis=1)[:, last]
    return _area(found, taken)


def _area(found: Floats, taken: Floats) -> Floats:
    """Area under the non-increasing envelope of precision over recall."""
    if not found.shape[1]:
        return np.full(len(found), np.nan)
    precision = np.nan_to_num(ratio(found, taken))
    ceiling = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    total, all_taken = found[:, -1], taken[:, -1]
    mixed = (total > 0) & (total < all_taken * (1 - 1e-12))
    areas = (np.diff(found, axis=1, prepend=0) * ceiling).sum(axis=1)
    return ratio(np.where(mixed, areas, np.nan), total)


def _check(distances: Floats, same: Floats) -> None:
    if distances.ndim != 1 or same.shape[1:] != distances.shape:
        raise InputError("jnd", "distances must be [T] and shares [B, T]", f"{distances.shape} and {same.shape}")
    if not np.isfinite(distances).all():
        raise InputError("jnd distances", "must be finite", "NaN or infinity", "are the images damaged?")
    if ((same < 0) | (same > 1)).any():
        raise InputError("jnd shares", "must be in [0, 1]", repr(float(np.nanmax(np.abs(same)))))
