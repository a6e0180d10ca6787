"""Where the positives of a finding stand among its negatives: sorted once, then weighed as often as wanted."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

#: elements of one block of weights (8 MB in float64: near the size of a core's cache).
_BLOCK: Final = 1_000_000


class Weighed(NamedTuple):
    """What some sets of image weights make of a ladder.

    Args:
        positive: ``[G, b]`` weight of the positives on each rung, lowest score first.
        below: ``[G, b]`` weight of the negatives that score less than the rung.
        up_to: ``[G, b]`` weight of those that score at most as much.
        negatives: ``[b]`` weight of all negatives.
    """

    positive: Floats
    below: Floats
    up_to: Floats
    negatives: Floats

    @property
    def areas(self) -> Floats:
        """AUROC ``[b]``: a positive beats the negatives below it and half of those it ties with."""
        won = 0.5 * np.einsum("gb,gb->b", self.positive, self.below + self.up_to)
        return ratio(won, self.positive.sum(axis=0) * self.negatives)

    @property
    def precisions(self) -> Floats:
        """Average precision ``[b]``: of the answers from each rung up, weighed by the positives that it adds.

        The rungs must not be merged.
        """
        found = self.positive[::-1].cumsum(axis=0)[::-1]
        precision = ratio(found, found + self.negatives - self.below)
        sums = np.where(self.positive > 0, self.positive * precision, 0).sum(axis=0)
        return ratio(np.where(self.negatives > 0, sums, np.nan), self.positive.sum(axis=0))

    def sensitivities(self, specificity: float) -> Floats:
        """Largest sensitivity ``[b]`` of the thresholds that clear at least this share of the negatives."""
        cleared = self.below >= (specificity - 1e-12) * self.negatives
        found = np.where(cleared, self.positive, 0).sum(axis=0)
        return ratio(np.where(self.negatives > 0, found, np.nan), self.positive.sum(axis=0))


class Ladder:
    """The positives' distinct scores as rungs, and the negatives that lie between two of them or on one.

    A rung's weights are sums over neighbours in the sorted order, so two sparse matrices with one entry an image
    weigh all rungs for many sets of weights at once. Sums of whole numbers are exact.

    Args:
        scores: ``[n]`` finite.
        labels: ``[n]`` of 1, 0, NaN (left out).
        merge: put positives without a negative between them on one rung: enough for areas, and faster.
    """

    def __init__(self, scores: Floats, labels: Floats, merge: bool = False) -> None:
        positive, negative = _sorted_places(scores, labels == 1), _sorted_places(scores, labels == 0)
        heights = scores[positive]
        below, up_to = (np.searchsorted(scores[negative], heights, side=side) for side in ("left", "right"))
        starts = np.flatnonzero(_changes(below) | _changes(up_to) if merge else _changes(heights))
        self._places, self._starts, self._images = (positive, negative), starts, len(scores)
        self._below, self._up_to = below[starts], up_to[starts]

    @cached_property
    def _matrices(self) -> tuple[csr_array, csr_array]:
        """What sums positives on each rung, and negatives up to each, up to and with it, and above the last."""
        between = np.stack([self._below, self._up_to], axis=1).reshape(-1)
        (positive, negative), ends = self._places, np.concatenate([[0], between]).astype(np.intp)
        return _sums(positive, self._starts, self._images), _sums(negative, ends, self._images)

    @property
    def plain(self) -> Weighed:
        """What one set of equal weights makes of it, by counting alone."""
        positive, negative = map(len, self._places)
        rungs = np.stack([np.diff(np.append(self._starts, positive)), self._below, self._up_to]).astype(np.float64)
        counts, below, up_to = rungs[..., np.newaxis]
        return Weighed(counts, below, up_to, np.array([float(negative)]))

    def weigh(self, weights: Floats) -> Weighed:
        """Weigh the rungs.

        Args:
            weights: ``[n, b]`` weights of the images, a column for each set.
        """
        positive, negative = self._matrices
        reached = np.cumsum(negative @ weights, axis=0)  # [2 G + 1, b]
        return Weighed(positive @ weights, reached[:-1:2], reached[1::2], reached[-1])


def plain_area(scores: Floats, labels: Floats) -> float:
    """AUROC of equal weights, by whole numbers; scores and labels as for :class:`Ladder`."""
    positive, negative = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    pairs = len(positive) * len(negative)
    if not pairs:
        return float("nan")
    twice_won = sum(int(np.searchsorted(negative, positive, side=side).sum()) for side in ("left", "right"))
    return 0.5 * twice_won / pairs


def blocks(weights: NDArray[Any]) -> Iterator[tuple[slice, Floats]]:
    """Cut the weights ``[B, n]`` of replicates into parts that fit a cache: which replicates, and ``[n, b]``."""
    step = max(1, _BLOCK // max(1, weights.shape[1]))
    for start in range(0, len(weights), step):
        part = slice(start, start + step)
        yield part, np.ascontiguousarray(weights[part].T, dtype=np.float64)


def ratio(over: Floats, under: Floats) -> Floats:
    """Divide; NaN where there is nothing to divide by."""
    share: Floats = np.divide(over, under, out=np.full(np.shape(under), np.nan), where=under > 0)
    return share


def _sorted_places(scores: Floats, chosen: NDArray[np.bool_]) -> Places:
    places = np.flatnonzero(chosen)
    return places[np.argsort(scores[places], kind="stable")]


def _changes(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of the sorted values differ from the one before; the first does."""
    return np.concatenate([np.ones(min(1, len(values)), dtype=bool), values[1:] != values[:-1]])


def _sums(places: Places, starts: Places, images: int) -> csr_array:
    """Matrix whose row k sums over the images ``places[starts[k]:starts[k + 1]]``."""
    ends = np.concatenate([starts, [len(places)]])
    return csr_array((np.ones(len(places)), places, ends), shape=(len(starts), images))
