"""How far readers agree with each other and with themselves, beyond chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_cxraug.errors import InputError
from monai_cxraug.metrics.forced_choice import check_votes, mean_known
from monai_cxraug.metrics.ranks import ratio

Floats = NDArray[np.float64]
#: 97.5 % point of the normal distribution.
_Z = 1.959963984540054


def fleiss_kappa(votes: ArrayLike) -> float:
    """Agreement among many readers beyond chance (Fleiss, Psychological Bulletin 76, 1971), for two answers.

    Trials may have different numbers of answers: the agreement of each trial with at least two is the share of agreeing
    pairs, and chance is taken from the shares of the answers over those trials. With equally many answers it is the
    published kappa.

    Args:
        votes: ``[R, T]`` of 1, 0, NaN (no answer).

    Returns:
        At most 1; 0 is chance; NaN when no trial has two answers, or all answers are the same.
    """
    table = check_votes(votes)
    table = table[:, (~np.isnan(table)).sum(axis=0) > 1]
    ones, total = np.nansum(table, axis=0), (~np.isnan(table)).sum(axis=0)
    zeros = total - ones
    agreed = mean_known(ratio(ones * (ones - 1) + zeros * (zeros - 1), (total * (total - 1)).astype(np.float64)))
    share = ones.sum() / total.sum() if total.size else np.nan
    return _beyond_chance(agreed, share**2 + (1 - share) ** 2)


def cohen_kappa(first: ArrayLike, second: ArrayLike) -> float:
    """Agreement of two series of answers beyond chance (Cohen, Educational and Psychological Measurement 20, 1960).

    Args:
        first: ``[T]`` of 1, 0, NaN (no answer; left out).
        second: ``[T]`` of the same.

    Returns:
        At most 1; NaN when nothing was answered by both, or both always gave one and the same answer.

    Raises:
        InputError: the lengths differ.
    """
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != two.shape or one.ndim != 1:
        raise InputError("kappa", "both series must be [T]", f"{one.shape} and {two.shape}")
    both = ~np.isnan(one) & ~np.isnan(two)
    if not both.any():
        return float("nan")
    one, two = one[both], two[both]
    chance = one.mean() * two.mean() + (1 - one.mean()) * (1 - two.mean())
    return _beyond_chance(float((one == two).mean()), float(chance))


def pairwise_kappa(votes: ArrayLike) -> float:
    """Mean of Cohen's kappa over all pairs of readers that have one; NaN when none has."""
    table = check_votes(votes)
    known = (~np.isnan(table)).astype(np.float64)
    ones = np.nan_to_num(table)
    zeros = known - ones
    both, agreed, chosen = known @ known.T, ones @ ones.T + zeros @ zeros.T, ones @ known.T  # [R, R], whole numbers
    one, two = ratio(chosen, both), ratio(chosen.T, both)
    chance = one * two + (1 - one) * (1 - two)
    possible = np.where(chance < 1, ratio(agreed, both), np.nan)
    kappas = (possible - chance) / np.where(chance < 1, 1 - chance, np.nan)
    return mean_known(kappas[np.triu_indices(len(table), 1)])


def _beyond_chance(agreed: float, chance: float) -> float:
    return float((agreed - chance) / (1 - chance)) if chance < 1 else float("nan")


def share_interval(hits: int, total: int) -> tuple[float, float] | None:
    """95 % interval of a share (Wilson, JASA 22, 1927).

    Args:
        hits: number of successes.
        total: number of attempts.

    Returns:
        Lower and upper end in [0, 1]; None without attempts.
    """
    if total < 1:
        return None
    share, z2 = hits / total, _Z**2 / total
    middle = (share + z2 / 2) / (1 + z2)
    half = _Z * np.sqrt(share * (1 - share) / total + z2 / (4 * total)) / (1 + z2)
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def share_p(hits: int, total: int) -> float:
    """Two-sided p-value of "the share is one half", by the exact binomial distribution; NaN without attempts."""
    from scipy.stats import binomtest

    return float(binomtest(hits, total, 0.5).pvalue) if total else float("nan")
