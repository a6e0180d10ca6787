"""The trace of the root of a product of covariances: each way to it, and which way is taken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from monai_cxraug.metrics import covariances
from monai_cxraug.metrics.covariances import shared_spread

RNG = np.random.default_rng
EPS = float(np.finfo(np.float64).eps)


def eigenvalues(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of the product of two covariances, by numpy, rising."""
    return np.sort(np.linalg.eigvals(np.cov(a.T) @ np.cov(b.T)).real)


def by_eigenvalues(a: np.ndarray, b: np.ndarray, allowed: float) -> float | None:
    return covariances._by_eigenvalues(covariances._covariance(a), covariances._covariance(b), allowed)


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(2, 9), st.integers(2, 9), st.integers(2, 7))
def test_it_is_the_trace_of_scipys_root(seed: int, n: int, m: int, size: int) -> None:
    """Also with fewer rows than columns, where both covariances are singular and scipy's root is less exact."""
    a, b = RNG(seed).normal(size=(n, size)), 2 * RNG(seed + 1).normal(size=(m, size)) + 1
    shared, total = shared_spread(a, b)
    product = np.cov(a.T) @ np.cov(b.T)
    assert total == pytest.approx(np.trace(np.cov(a.T)) + np.trace(np.cov(b.T)))
    assert shared == pytest.approx(np.sqrt(np.maximum(np.linalg.eigvals(product).real, 0)).sum(), rel=1e-6, abs=1e-6)
    if min(n, m) > size:
        assert shared == pytest.approx(np.trace(sqrtm(product)).real, rel=1e-6)


@pytest.mark.parametrize(("n", "m", "quick"), [(6, 6, True), (6, 9, True), (5, 6, False), (9, 5, False), (3, 3, False)])
def test_the_quick_way_is_tried_where_both_sets_have_more_rows_than_columns(
    monkeypatch: pytest.MonkeyPatch, n: int, m: int, quick: bool
) -> None:
    a, b = RNG(0).normal(size=(n, 5)), RNG(1).normal(size=(m, 5))
    expected, asked = shared_spread(a, b), []

    def refuse(one: np.ndarray, two: np.ndarray, allowed: float) -> None:
        asked.append(allowed)

    monkeypatch.setattr(covariances, "_by_eigenvalues", refuse)
    assert shared_spread(a, b) == pytest.approx(expected, rel=1e-7)
    assert asked == ([pytest.approx(1e-9 * expected[1])] if quick else [])


@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-6])
def test_it_is_trusted_where_the_bound_of_its_error_is_small_enough(spread: float) -> None:
    """A root magnifies rounding by 1 / 2 sqrt(value), and never makes more of it than its own root."""
    a, b = RNG(0).normal(size=(40, 6)), RNG(1).normal(size=(40, 6)) * np.geomspace(1, spread, 6)
    values = eigenvalues(a, b)
    slack = 16 * EPS * values[-1]
    bound = sum(min(slack / (2 * np.sqrt(max(value, 1e-300))), np.sqrt(slack)) for value in values)
    assert by_eigenvalues(a, b, 1.02 * bound) == pytest.approx(np.sqrt(values).sum(), abs=bound)
    assert by_eigenvalues(a, b, 0.98 * bound) is None


def test_values_that_rounding_made_negative_count_as_0() -> None:
    a = RNG(0).normal(size=(80, 30))
    flat = RNG(1).normal(size=(80, 3)) @ RNG(2).normal(size=(3, 30))
    found = by_eigenvalues(a, flat, 1e9)
    assert found is not None
    assert found == pytest.approx(shared_spread(a, flat)[0], rel=1e-5)
    slack = 16 * EPS * eigenvalues(a, flat)[-1]
    assert by_eigenvalues(a, flat, 20 * np.sqrt(slack)) is None  # 27 values of which nothing is known


def test_what_is_not_definite_is_not_tried() -> None:
    a = RNG(0).normal(size=(9, 4)) * np.array([1, 1, 0, 1])
    assert by_eigenvalues(a, RNG(1).normal(size=(9, 4)), 1e9) is None
    assert shared_spread(a, a)[0] == pytest.approx(np.trace(np.cov(a.T)))


@pytest.mark.parametrize(("n", "size"), [(2, 5), (5, 5), (6, 5), (40, 5)])
def test_a_root_times_itself_is_the_covariance(n: int, size: int) -> None:
    rows = RNG(n).normal(size=(n, size)) + 3
    root = covariances._root(rows)
    assert root.shape == (min(n, size), size)
    np.testing.assert_allclose(root.T @ root, np.cov(rows.T), atol=1e-12)


@pytest.mark.parametrize("block", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("centred", [1, 7, 22, 10**6])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, block: int, centred: int) -> None:
    a, b = RNG(0).normal(size=(20, 7)) + 5, RNG(1).normal(size=(23, 7)) @ RNG(2).normal(size=(7, 7))
    expected = shared_spread(a, b)
    monkeypatch.setattr(covariances, "_BLOCK", block)
    monkeypatch.setattr(covariances, "_CENTRED", centred)
    np.testing.assert_allclose(covariances._covariance(a), np.cov(a.T), rtol=1e-12, atol=1e-13)
    assert covariances._covariance(a).flags.f_contiguous
    assert shared_spread(a, b) == pytest.approx(expected, rel=1e-10)
    lower, middle = np.tril(RNG(3).normal(size=(7, 7))), np.cov(b.T)
    found = covariances._congruent(np.asfortranarray(middle), lower)
    np.testing.assert_allclose(np.tril(found), np.tril(lower.T @ middle @ lower), atol=1e-12)
