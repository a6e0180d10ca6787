"""How much of their spread two sets of features share: the trace of the root of the product of their covariances."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: the fast way is taken where its error is below this share of both sets' variance.
_TOLERANCE: Final = 1e-9
#: errors of eigenvalues, in units of the largest one's rounding.
_ROUNDING: Final = 16 * float(np.finfo(np.float64).eps)
#: rows and columns worked on at once.
_BLOCK: Final = 256


def shared_spread(a: Array, b: Array) -> tuple[float, float]:
    """Return ``tr((C_a C_b)^(1/2))`` and ``tr(C_a) + tr(C_b)`` of the covariances of two centred sets.

    With more rows than columns, ``C_a = L L^T`` makes the trace the sum of the roots of the eigenvalues of
    ``L^T C_b L``: matrix products and one symmetric eigenvalue problem. A root magnifies what rounding did to an
    eigenvalue near 0, so the error is bounded from the eigenvalues found. Where the bound is too large, C_a is not
    definite or rows are few, the trace is the sum of singular values of ``R_a R_b^T`` with ``R^T R = C`` instead,
    which forms no covariance: fewer rows than columns, or columns that depend on each other, are no special case.

    Args:
        a: ``[n_a, D]``, its columns' means 0.
        b: ``[n_b, D]``, likewise.
    """
    total = float(np.einsum("ij,ij->", a, a) / (len(a) - 1) + np.einsum("ij,ij->", b, b) / (len(b) - 1))
    quick = None if min(len(a), len(b)) <= a.shape[1] else _by_eigenvalues(a, b, _TOLERANCE * total)
    if quick is not None:
        return quick, total
    return float(np.linalg.svd(_root(a) @ _root(b).T, compute_uv=False).sum()), total


def _by_eigenvalues(a: Array, b: Array, allowed: float) -> float | None:
    """The trace; None where it might be wrong by more than allowed."""
    try:
        lower: Array = np.asarray(np.linalg.cholesky(_covariance(a)), dtype=np.float64)
    except np.linalg.LinAlgError:
        return None
    values = np.maximum(np.linalg.eigvalsh(_congruent(_covariance(b), lower)), 0)
    slack = _ROUNDING * values[-1]
    error = np.minimum(slack / np.maximum(2 * np.sqrt(values), 1e-300), np.sqrt(slack)).sum()
    return float(np.sqrt(values).sum()) if error <= allowed else None


def _covariance(centred: Array) -> Array:
    product: Array = centred.T @ centred
    product /= len(centred) - 1
    return product


def _congruent(middle: Array, lower: Array) -> Array:
    """Lower triangle, in blocks, of ``lower^T middle lower``; what lies above it is anything.

    Only what is not 0 in ``lower`` and only one of two equal halves is computed: a quarter of two plain products.
    """
    size = len(lower)
    half, product = np.empty((size, size)), np.empty((size, size))
    for start in range(0, size, _BLOCK):
        columns = slice(start, start + _BLOCK)
        np.matmul(middle[start:, start:], lower[start:, columns], out=half[start:, columns])
    for start in range(0, size, _BLOCK):
        rows = slice(start, start + _BLOCK)
        np.matmul(lower[start:, rows].T, half[start:, : rows.stop], out=product[rows, : rows.stop])
    return product


def _root(centred: Array) -> Array:
    """``R`` with ``R^T R`` the covariance; ``[min(n, D), D]``."""
    shorter = np.asarray(np.linalg.qr(centred, mode="r")) if len(centred) > centred.shape[1] else centred
    root: Array = shorter / np.sqrt(len(centred) - 1)
    return root
