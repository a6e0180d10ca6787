"""Ladders: what stands on a rung and below it, by going through the images one after another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from monai_cxraug.metrics import ranks
from monai_cxraug.metrics.ranks import Ladder, blocks, plain_area, ratio

Floats = NDArray[np.float64]
ROWS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0.0, 1.0, np.nan]), st.integers(0, 3)), max_size=14)


def columns(rows: list[tuple[int, float, int]]) -> tuple[Floats, Floats, Floats]:
    scores, labels, weights = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return scores, labels, weights


@settings(max_examples=60)
@given(ROWS)
def test_rungs_hold_what_they_say(rows: list[tuple[int, float, int]]) -> None:
    scores, labels, weights = columns(rows)
    found = Ladder(scores, labels).weigh(weights[:, np.newaxis])
    heights = np.unique(scores[labels == 1])
    negative = labels == 0
    assert found.positive[:, 0].tolist() == [weights[(labels == 1) & (scores == height)].sum() for height in heights]
    assert found.below[:, 0].tolist() == [weights[negative & (scores < height)].sum() for height in heights]
    assert found.up_to[:, 0].tolist() == [weights[negative & (scores <= height)].sum() for height in heights]
    assert found.negatives.tolist() == [weights[negative].sum()]


@settings(max_examples=60)
@given(ROWS)
def test_merged_rungs_part_at_negatives_and_have_the_same_area(rows: list[tuple[int, float, int]]) -> None:
    scores, labels, weights = columns(rows)
    every, few = (Ladder(scores, labels, merge=merge).weigh(weights[:, np.newaxis]) for merge in (False, True))
    np.testing.assert_allclose(few.areas, every.areas, atol=1e-12)
    positive, negative = scores[labels == 1], scores[labels == 0]
    places = {((negative < one).sum(), (negative <= one).sum()) for one in positive}
    assert len(few.positive) == len(places)
    assert few.positive.sum() == every.positive.sum()


@pytest.mark.parametrize("levels", [4, 10**9])
def test_equals_scikit_learn_for_every_column_of_weights(levels: int) -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(80) < 0.3).astype(np.float64)
    scores = rng.integers(0, levels, 80) / levels + 0.2 * labels
    weights = rng.gamma(1.0, size=(80, 5))
    found = Ladder(scores, labels).weigh(weights)
    for b, column in enumerate(weights.T):
        assert found.areas[b] == pytest.approx(roc_auc_score(labels, scores, sample_weight=column))
        assert found.precisions[b] == pytest.approx(average_precision_score(labels, scores, sample_weight=column))
    assert plain_area(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-15)


@pytest.mark.parametrize("percent", [7, 14, 28, 29, 55, 56, 57, 58])
def test_a_share_that_rounding_spoils_is_reached(percent: int) -> None:
    """55 of 100 negatives are 55 %, though 0.55 * 100 is more than 55."""
    scores, labels = np.r_[np.arange(100), percent, percent - 1] + 0.0, np.r_[np.zeros(100), 1, 1]
    found = Ladder(scores, labels).weigh(np.ones((102, 1)))
    assert found.sensitivities(percent / 100).tolist() == [0.5]
    assert found.sensitivities((percent - 1) / 100).tolist() == [1.0]
    assert found.sensitivities((percent + 0.001) / 100).tolist() == [0.0]


def test_without_weight_of_a_class_nothing_is_known() -> None:
    found = Ladder(np.array([0.1, 0.5, 0.7]), np.array([0.0, 1.0, 1.0])).weigh(
        np.array([[0, 1, 1], [1, 0, 2.0], [1, 0, 0]]).T
    )
    for values in (found.areas, found.precisions, found.sensitivities(0.5)):
        np.testing.assert_array_equal(values, [np.nan, 1, np.nan])


def test_weights_below_one_count_as_much() -> None:
    scores, labels = np.array([0.1, 0.5, 0.7]), np.array([0.0, 1.0, 0.0])
    found = Ladder(scores, labels).weigh(np.array([[0.01, 0.02, 0.03]]).T)
    assert found.areas[0] == pytest.approx(0.25)
    assert found.precisions[0] == pytest.approx(0.02 / 0.05)
    assert found.sensitivities(0.25)[0] == 1


def test_what_has_no_pairs_has_no_area() -> None:
    for labels in ([1.0, 1.0], [0.0, 0.0], [np.nan, np.nan]):
        assert np.isnan(plain_area(np.array([0.1, 0.2]), np.array(labels)))
    assert plain_area(np.array([0.1, 0.1, 0.3]), np.array([0.0, 1.0, 1.0])) == 0.75


@pytest.mark.parametrize("kind", [np.int32, np.float64])
@pytest.mark.parametrize(("block", "sizes"), [(10**6, [7]), (12, [3, 3, 1]), (4, [1] * 7), (3, [1] * 7)])
def test_blocks_cover_the_replicates(monkeypatch: pytest.MonkeyPatch, kind: type, block: int, sizes: list[int]) -> None:
    monkeypatch.setattr(ranks, "_BLOCK", block)
    weights = np.arange(28).reshape(7, 4).astype(kind)
    parts = list(blocks(weights))
    assert [part.shape[1] for _, part in parts] == sizes
    assert all(part.dtype == np.float64 and part.flags.c_contiguous for _, part in parts)
    np.testing.assert_array_equal(np.concatenate([part for _, part in parts], axis=1), weights.T)
    for where, part in parts:
        np.testing.assert_array_equal(weights[where].T, part)


def test_blocks_of_no_images_or_no_replicates() -> None:
    assert [part.shape for _, part in blocks(np.ones((3, 0)))] == [(0, 3)]
    assert list(blocks(np.ones((0, 3)))) == []


def test_a_share_of_nothing_is_nan() -> None:
    np.testing.assert_array_equal(ratio(np.array([1.0, 1, 1]), np.array([2.0, 0, -1])), [0.5, np.nan, np.nan])
    assert ratio(np.array([0.3]), np.array([0.5])) == 0.6
