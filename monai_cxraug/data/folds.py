"""Folds of patients for cross-fitting: K models, each trained without a K-th of the patients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from monai_cxraug.errors import ConfigError


def leave_out_fold(patients: Iterable[str], fold: Sequence[int], seed: int) -> frozenset[str]:
    """Leave out one of K folds, so that a model that is trained on the rest may judge what the fold was used for.

    Patients are shuffled by the seed as :func:`~monai_cxraug.data.splits.choose_fraction` shuffles them and dealt to
    the folds in turn. Within any fraction of that seed the folds are therefore of equal size give or take one, and a
    patient's fold does not depend on the fraction.

    Args:
        patients: repetitions allowed, order irrelevant.
        fold: ``[k, K]``: the fold to leave out, from 0, and the number of folds, at least 2.
        seed: of the order.

    Returns:
        The patients of the other folds.

    Raises:
        ConfigError: there is no such fold.
    """
    keys = sorted(set(patients))
    number, folds = _require_fold(fold, len(keys))
    order = np.random.default_rng(seed).permutation(len(keys))
    return frozenset(keys[index] for position, index in enumerate(order) if position % folds != number)


def _require_fold(fold: Sequence[int], most: int) -> tuple[int, int]:
    whole = isinstance(fold, Sequence) and len(fold) == 2 and all(type(one) is int for one in fold)
    if not whole or not (0 <= fold[0] < fold[1] and 2 <= fold[1] <= most):
        rule = f"must be [k, K] with k from 0 to K - 1 and K from 2 to the number of patients ({most})"
        raise ConfigError("left_out_fold", rule, repr(fold), "[0, 5] leaves out the first of five folds")
    return fold[0], fold[1]
