"""Several comparisons at once: p-values that count how many there are. No torch in here."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.errors import InputError
from monai_cxraug.metrics.auroc import Floats


def holm(p: Sequence[float | None]) -> list[float]:
    """Adjust p-values so that the chance of any false finding is held (Holm, Scandinavian J. of Statistics 6, 1979).

    The k-th smallest of m is multiplied by m - k + 1, never falls below the one before it, and stops at 1.

    Args:
        p: p-values in [0, 1]; NaN or None where a comparison could not be made.

    Returns:
        Adjusted p-values in the order given. A comparison without a p-value stays NaN, yet counts in m: it was
        declared, and the others must not gain from its failing.

    Raises:
        InputError: a p-value is outside [0, 1].
    """
    values, order = _sorted(p, "holm")
    steps = values[order] * (len(values) - np.arange(len(values)))
    return _in_the_order_given(np.maximum.accumulate(steps), order)


def benjamini_hochberg(p: Sequence[float | None]) -> list[float]:
    """Adjust p-values so that the share of false ones among the findings is held (Benjamini and Hochberg, 1995).

    The k-th smallest of m is multiplied by m / k, never exceeds the one after it, and stops at 1 (JRSS B 57, section
    3.1). It holds for independent p-values and for positively dependent ones; two-sided comparisons that share arms or
    patients need not be either, so verdicts go by :func:`holm`.

    Args:
        p: p-values in [0, 1]; NaN or None where a comparison could not be made.

    Returns:
        Adjusted p-values in the order given; NaN where there was none, which still counts in m.

    Raises:
        InputError: a p-value is outside [0, 1].
    """
    values, order = _sorted(p, "benjamini_hochberg")
    steps = values[order] * len(values) / (1 + np.arange(len(values)))
    return _in_the_order_given(np.fmin.accumulate(steps[::-1])[::-1], order)  # fmin steps over the NaN at the end


def _sorted(p: Sequence[float | None], where: str) -> tuple[Floats, NDArray[np.intp]]:
    """The p-values, and the order of their size; NaN come last, so that they only add to the number."""
    values = np.array([math.nan if value is None else value for value in p], dtype=np.float64)
    if ((values < 0) | (values > 1)).any():
        raise InputError(where, "p-values must lie in [0, 1]", values.tolist())
    return values, np.argsort(values, kind="stable")


def _in_the_order_given(adjusted: Floats, order: NDArray[np.intp]) -> list[float]:
    back = np.empty(len(order))
    back[order] = np.minimum(1.0, adjusted)
    return [float(value) for value in back]
