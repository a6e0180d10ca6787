from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from monai_cxraug.errors import InputError
from monai_cxraug.metrics.just_noticeable import bootstrap_same_precision, same_precision

NAN = float("nan")


def by_curve(distances: np.ndarray, same: np.ndarray) -> float:
    """scikit-learn's curve, with shares as weights of a positive and a negative each, under its envelope."""
    truth = np.repeat([1, 0], len(same))
    weights = np.concatenate([same, 1 - same])
    precision, recall, _ = precision_recall_curve(truth, -np.tile(distances, 2), sample_weight=weights)
    precision, recall = precision[::-1], recall[::-1]  # recall ascending
    ceiling = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * ceiling[1:]))


@given(st.integers(0, 10_000), st.booleans())
def test_equals_the_curve_of_another_library(seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    distances = rng.integers(0, 5, 15).astype(float) if ties else rng.random(15)
    same = rng.integers(0, 4, 15) / 3
    if 0 < same.sum() < 15:
        assert same_precision(distances, same) == pytest.approx(by_curve(distances, same), abs=1e-10)


def test_by_hand() -> None:
    # same, different, same: precision 1, 1/2, 2/3; its envelope 1, 2/3, 2/3
    assert same_precision([1, 2, 3], [1, 0, 1]) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    # one reader of three saw no difference in the nearest pair
    assert same_precision([1, 2], [1 / 3, 1]) == pytest.approx(0.25 * 2 / 3 + 0.75 * 2 / 3)


def test_perfect_and_useless() -> None:
    same = np.array([1, 1, 1, 0, 0, 0.0])
    assert same_precision(np.arange(6), same) == 1
    assert same_precision(np.zeros(6), same) == 0.5  # one distance for all: the share of the same
    assert same_precision(-np.arange(6), same) == 0.5


@pytest.mark.parametrize("same", [[0, 0, 0], [1, 1, 1], [NAN, NAN, NAN]])
def test_one_class_has_no_precision(same: list[float]) -> None:
    assert np.isnan(same_precision([1, 2, 3], same))


def test_order_of_tied_pairs_changes_nothing() -> None:
    distances, same = np.array([1, 1, 1, 2, 2.0]), np.array([1, 0, 0.5, 0, 1])
    for _ in range(5):
        order = np.random.default_rng(0).permutation(5)
        assert same_precision(distances[order], same[order]) == pytest.approx(same_precision(distances, same))


def test_replicates_equal_what_was_drawn() -> None:
    rng = np.random.default_rng(4)
    distances, shares = rng.integers(0, 6, 12).astype(float), rng.integers(0, 4, (5, 12)) / 3
    shares[2, 3] = NAN
    weights = rng.integers(0, 3, (5, 12))
    found = bootstrap_same_precision(distances, shares, weights)
    for b in range(5):
        chosen = np.repeat(np.arange(12), weights[b])
        assert found[b] == pytest.approx(same_precision(distances[chosen], shares[b][chosen]))


@given(st.integers(0, 1000))
def test_fractional_weights_equal_the_curve_of_another_library(seed: int) -> None:
    rng = np.random.default_rng(seed)
    distances, same = rng.integers(0, 5, 12).astype(float), rng.integers(0, 4, 12) / 3
    same[:2] = 0, 1
    weights = rng.random(12) + 0.01
    found = bootstrap_same_precision(distances, same[None], weights[None])[0]
    truth = np.repeat([1, 0], 12)
    shares = np.concatenate([same * weights, (1 - same) * weights])
    precision, recall, _ = precision_recall_curve(truth, -np.tile(distances, 2), sample_weight=shares)
    ceiling = np.maximum.accumulate(precision)
    assert found == pytest.approx(float(np.sum(-np.diff(recall) * ceiling[:-1])), abs=1e-10)


def test_small_weights_count_as_much_as_large_ones() -> None:
    distances, same = [1, 2, 3], [[1, 0, 1]]
    for scale in (1e-3, 1, 1e3):
        assert bootstrap_same_precision(distances, same, [[scale] * 3])[0] == pytest.approx(5 / 6)


def test_rounding_does_not_make_a_kind() -> None:
    """Seven weights of 0.1 add up to a little less than 0.7: all pairs are the same none the less."""
    rng = np.random.default_rng(0)
    weights = rng.random((40, 30))
    assert np.isnan(bootstrap_same_precision(rng.random(30), np.ones((40, 30)), weights)).all()
    one = np.ones((1, 30))
    one[0, 7] = 1 - 1e-9
    assert bootstrap_same_precision(np.arange(30), one, np.ones((1, 30)))[0] == pytest.approx(1)


def test_pairs_nobody_answered_and_numbers_of_any_kind() -> None:
    distances, same = [1, 2, 2, 3], [1, 0, NAN, 1]
    assert same_precision(distances, same) == same_precision([1, 2, 3], [1, 0, 1])
    objects = np.array(distances, dtype=object), np.array([1, 0, None, 1], dtype=object)
    assert same_precision(*objects) == same_precision(distances, same)
    weights = np.array([[1, 1, 9, 1]], dtype=object)
    assert bootstrap_same_precision(distances, [same], weights)[0] == same_precision(distances, same)
    assert np.isnan(bootstrap_same_precision([], np.empty((3, 0)), np.empty((3, 0)))).tolist() == [True] * 3


def test_hostile_input_is_refused() -> None:
    with pytest.raises(InputError, match=r"must be \[T\]"):
        bootstrap_same_precision([[1, 2]], [[[1, 0]]], [[1, 1]])
    with pytest.raises(InputError, match=r"in \[0, 1\]; found 0.5"):
        same_precision([1, 2], [0.2, -0.5])
    with pytest.raises(InputError, match=r"must be \[T\]"):
        same_precision([1, 2], [1])
    with pytest.raises(InputError, match="finite"):
        same_precision([1, NAN], [1, 0])
    with pytest.raises(InputError, match=r"in \[0, 1\]"):
        same_precision([1, 2], [1, 2])
    assert np.isnan(same_precision([], []))
