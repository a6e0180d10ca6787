"""Two-alternative forced choice: how often a distance sides with the readers, and how well it could at best.

Of three images, a reference and two others, each reader says which of the two looks closer to the reference.
``votes`` are ``[R, T]``: 1 where a reader chose the second image of a trial, 0 for the first, NaN without an answer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_cxraug.errors import InputError
from monai_cxraug.metrics.ranks import ratio

Floats = NDArray[np.float64]


def check_votes(votes: ArrayLike) -> Floats:
    """Turn votes into float64 ``[R, T]``.

    Raises:
        InputError: not a table, or a vote is none of 1, 0 and NaN.
    """
    table = np.asarray(votes, dtype=np.float64)
    if table.ndim != 2:
        raise InputError("votes", "must be [readers, trials]", str(table.shape))
    odd = table[~((table == 0) | (table == 1) | np.isnan(table))]
    if odd.size:
        raise InputError("votes", "must be 1, 0 or NaN", repr(float(odd[0])), "write NaN where there is no answer")
    return table


def vote_shares(votes: ArrayLike, reader_weights: ArrayLike | None = None) -> Floats:
    """Share of the readers who chose the second image of each trial: ``h`` of the score.

    Args:
        votes: ``[R, T]``.
        reader_weights: ``[B, R]`` non-negative weights, one row a replicate; None for equal ones.

    Returns:
        ``[T]``, or ``[B, T]`` with weights; NaN where nobody answered.
    """
    table = check_votes(votes)
    weights = np.ones((1, len(table))) if reader_weights is None else np.asarray(reader_weights, dtype=np.float64)
    answered = ~np.isnan(table)
    shares = ratio(weights @ np.where(answered, table, 0), weights @ answered)
    return shares[0] if reader_weights is None else shares


def sides(first: ArrayLike, second: ArrayLike) -> Floats:
    """Which image a distance finds closer to the reference.

    Args:
        first: ``[T]`` distances of the first images from their references.
        second: ``[T]`` distances of the second images.

    Returns:
        ``[T]`` of 1 for the second, 0 for the first, 0.5 for a tie.

    Raises:
        InputError: shapes differ or a distance is not finite.
    """
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != two.shape or one.ndim != 1:
        raise InputError("distances", "of first and second images must both be [T]", f"{one.shape} and {two.shape}")
    if not (np.isfinite(one).all() and np.isfinite(two).all()):
        raise InputError("distances", "must be finite", "NaN or infinity", "are the images damaged?")
    return 0.5 * (1 + np.sign(one - two))


def vote_credits(chosen: ArrayLike, shares: ArrayLike) -> Floats:
    """Credit for each choice: the share of the readers who made the same one, one half for a tie.

    ``(d0 < d1)(1 - h) + (d1 < d0) h + 0.5 (d0 = d1)`` of Zhang et al., CVPR 2018 (arXiv 1801.03924), section 4.1, as
    their evaluation computes it: with four of five readers on one side, siding with them earns 0.8.

    Args:
        chosen: ``[..., T]`` from :func:`sides`.
        shares: ``[..., T]`` from :func:`vote_shares`; NaN where nobody answered.

    Returns:
        ``[..., T]`` in [0, 1]; NaN where nobody answered.
    """
    side, share = np.asarray(chosen, dtype=np.float64), np.asarray(shares, dtype=np.float64)
    return np.asarray(side * share + (1 - side) * (1 - share))


def forced_choice_score(first: ArrayLike, second: ArrayLike, votes: ArrayLike) -> float:
    """Mean credit of a distance over the trials with an answer, each trial counting the same.

    Args:
        first: ``[T]`` distances of the first images from their references.
        second: ``[T]`` distances of the second images.
        votes: ``[R, T]``.

    Returns:
        In [0, 1]; 0.5 for a distance that knows nothing; NaN when nothing was answered.
    """
    return mean_known(vote_credits(sides(first, second), vote_shares(votes)))


def bootstrap_scores(chosen: ArrayLike, votes: ArrayLike, reader_weights: ArrayLike, weights: ArrayLike) -> Floats:
    """Mean credit of several distances under each row of weights.

    Args:
        chosen: ``[K, T]`` from :func:`sides`, a row for each distance.
        votes: ``[R, T]``.
        reader_weights: ``[B, R]`` weights of the readers.
        weights: ``[B, T]`` weights of the trials.

    Returns:
        ``[B, K]``; NaN in replicates without an answer.
    """
    shares, trial_weights = vote_shares(votes, reader_weights), np.asarray(weights, dtype=np.float64)
    counted = np.where(np.isnan(shares), 0, trial_weights)
    known = np.where(np.isnan(shares), 0, shares)
    side = np.asarray(chosen, dtype=np.float64)
    # credit is linear in the share: (1 - side) + share (2 side - 1)
    won = counted @ (1 - side).T + (counted * known) @ (2 * side - 1).T
    return ratio(won, np.broadcast_to(counted.sum(axis=1)[:, None], won.shape))


# --- what is reachable ---


def oracle_score(votes: ArrayLike) -> float:
    """Score of a distance that sided with the majority in every trial: mean of ``max(h, 1 - h)``.

    No distance can do better on these answers, but the majority of a few readers is partly chance: with fewer readers
    it is higher, and overstates what can be reached on new readers. :func:`majority_of_others` errs the other way.
    """
    shares = vote_shares(votes)
    return mean_known(np.maximum(shares, 1 - shares))


def one_of_others(votes: ArrayLike) -> float:
    """Score of one reader against the others: the share of pairs of readers who agree, mean over trials.

    ``h^2 + (1 - h)^2`` of Zhang et al. (section 4.1), but with ``k (k - 1) + (n - k)(n - k - 1)`` over ``n (n - 1)``,
    whose expectation it is for any number of readers ``n``, where the share itself would count each reader as agreeing
    with himself.

    Returns:
        In [0, 1]; NaN when no trial has two answers.
    """
    second, total = _counts(votes)
    first = total - second
    return mean_known(ratio(second * (second - 1) + first * (first - 1), total * (total - 1)))


def majority_of_others(votes: ArrayLike) -> float:
    """Score of the majority of all other readers for the reader left out, mean over readers and trials.

    A finite number of readers never shows on which side all readers would be: ``max(p, 1 - p)`` is no polynomial in
    ``p``, and so has no unbiased estimate from n votes. This estimates without bias what the majority of n - 1 readers
    (a tie earns one half) scores on another reader. It lies below the oracle of infinitely many readers, as
    :func:`oracle_score` lies above; a distance may exceed it.

    Returns:
        In [0, 1]; NaN when no trial has two answers.
    """
    second, total = _counts(votes)
    first = total - second
    # one of those who chose the second is left out, then one of those who chose the first
    agreed = second * _majority(second - 1, first) + first * _majority(first - 1, second)
    return mean_known(ratio(np.where(total > 1, agreed, 0), np.where(total > 1, total, 0)))


def _majority(own: Floats, other: Floats) -> Floats:
    return 0.5 * (1 + np.sign(own - other))


def _counts(votes: ArrayLike) -> tuple[Floats, Floats]:
    """Votes for the second image, and all votes, of each trial."""
    table = check_votes(votes)
    return np.nansum(table, axis=0), (~np.isnan(table)).sum(axis=0).astype(np.float64)


def mean_known(values: ArrayLike) -> float:
    """Mean of what is not NaN; NaN when nothing is left."""
    table = np.asarray(values, dtype=np.float64)
    known = table[~np.isnan(table)]
    return float(known.mean()) if known.size else float("nan")
