"""How much of their spread two sets of features share: the trace of the root of the product of their covariances."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cholesky, eigvalsh
from scipy.linalg.blas import dsyrk

Array = NDArray[np.float64]

#: the fast way is taken where its error is below this share of both sets' variance.
_TOLERANCE: Final = 1e-9
#: errors of eigenvalues, in units of the largest one's rounding.
_ROUNDING: Final = 16 * float(np.finfo(np.float64).eps)
#: rows and columns worked on at once.
_BLOCK: Final = 256
#: numbers of a set centred at once; a centred copy of all of it would cost more in fresh memory than in arithmetic.
_CENTRED: Final = 2**21


def shared_spread(a: Array, b: Array) -> tuple[float, float]:
    """Return ``tr((C_a C_b)^(1/2))`` and ``tr(C_a) + tr(C_b)`` of the covariances of two sets.

    With more rows than columns, ``C_a = L L^T`` makes the trace the sum of the roots of the eigenvalues of
    ``L^T C_b L``: matrix products and one symmetric eigenvalue problem. A root magnifies what rounding did to an
    eigenvalue near 0, so the error is bounded from the eigenvalues found. Where the bound is too large, C_a is not
    definite or rows are few, the trace is the sum of singular values of ``R_a R_b^T`` with ``R^T R = C`` instead,
    which forms no covariance: fewer rows than columns, or columns that depend on each other, are no special case.

    Args:
        a: ``[n_a, D]``.
        b: ``[n_b, D]``.
    """
    if min(len(a), len(b)) > a.shape[1]:
        covariances = _covariance(a), _covariance(b)
        total = float(sum(np.trace(one) for one in covariances))
        quick = _by_eigenvalues(*covariances, _TOLERANCE * total)
        if quick is not None:
            return quick, total
    roots = _root(a), _root(b)
    total = float(sum(np.einsum("ij,ij->", root, root) for root in roots))
    return float(np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()), total


def _by_eigenvalues(a: Array, b: Array, allowed: float) -> float | None:
    """The trace from two covariances, which are overwritten; None where it might be wrong by more than allowed."""
    try:
        lower = cholesky(a, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError:
        return None
    product = _congruent(b, lower)
    values = np.maximum(eigvalsh(product, overwrite_a=True, check_finite=False, driver="ev"), 0)
    slack = _ROUNDING * values[-1]
    error = np.minimum(slack / np.maximum(2 * np.sqrt(values), 1e-300), np.sqrt(slack)).sum()
    return float(np.sqrt(values).sum()) if error <= allowed else None


def _covariance(rows: Array) -> Array:
    """Covariance ``[D, D]``, in Fortran's order, which what follows can overwrite."""
    mean = rows.mean(axis=0)
    total: Array = np.zeros((len(mean), len(mean)), order="F")
    step = max(1, _CENTRED // len(mean))
    for start in range(0, len(rows), step):
        centred = rows[start : start + step] - mean
        total = dsyrk(1 / (len(rows) - 1), centred.T, beta=1, c=total, lower=1, overwrite_c=1)
    _mirror(total)
    return total


def _mirror(lower: Array) -> None:
    """Write what lies below the diagonal above it too."""
    for start in range(0, len(lower), _BLOCK):
        part = slice(start, start + _BLOCK)
        inside = lower[part, part]
        inside += np.tril(inside, -1).T
        lower[part, part.stop :] = lower[part.stop :, part].T


def _congruent(middle: Array, lower: Array) -> Array:
    """Lower triangle, in blocks, of ``lower^T middle lower``, in the place of middle; what lies above is anything.

    Only what is not 0 in ``lower`` and only one of two equal halves is computed: a quarter of two plain products.
    """
    size = len(lower)
    half = np.empty((size, size), order="F")
    for start in range(0, size, _BLOCK):
        columns = slice(start, start + _BLOCK)
        half[start:, columns] = middle[start:, start:] @ lower[start:, columns]
    for start in range(0, size, _BLOCK):
        rows = slice(start, start + _BLOCK)
        middle[rows, : rows.stop] = lower[start:, rows].T @ half[start:, : rows.stop]
    return middle


def _root(rows: Array) -> Array:
    """``R`` with ``R^T R`` the covariance; ``[min(n, D), D]``."""
    centred = rows - rows.mean(axis=0)
    shorter = np.asarray(np.linalg.qr(centred, mode="r")) if len(centred) > centred.shape[1] else centred
    root: Array = shorter / np.sqrt(len(centred) - 1)
    return root
