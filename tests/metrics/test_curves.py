"""Curves: scikit-learn's, drawn with fewer points and nothing lost."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import auc, average_precision_score, roc_auc_score, roc_curve

from monai_cxraug.errors import InputError
from monai_cxraug.metrics.calibration import calibration_error
from monai_cxraug.metrics.curves import precision_recall_points, reliability_points, roc_points


def sample(n: int = 600, digits: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = (rng.random(n) < 0.2).astype(float)
    return np.clip(rng.normal(0.4 + 0.2 * labels, 0.15), 0, 1).round(digits), labels


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=30))
def test_the_thinned_roc_curve_is_the_same_line(rows: list[tuple[int, bool]]) -> None:
    scores, labels = np.array(rows, dtype=float).T
    found = roc_points(scores, labels)
    if len(set(labels)) < 2:
        assert len(found.x) == 0
        return
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    corners = set(zip(found.x, found.y, strict=True))
    assert corners <= set(zip(false, true, strict=True))
    assert auc(found.x, found.y) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    for x, y in zip(false, true, strict=True):  # each point left out lies on a piece
        pieces = zip(found.x[:-1], found.y[:-1], found.x[1:], found.y[1:], strict=True)
        assert any(
            abs((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)) < 1e-12
            and x1 - 1e-12 <= x <= x2 + 1e-12
            and y1 - 1e-12 <= y <= y2 + 1e-12
            for x1, y1, x2, y2 in pieces
        )
    steps = np.diff([found.x, found.y])
    assert (np.abs(steps[0, :-1] * steps[1, 1:] - steps[0, 1:] * steps[1, :-1]) > 1e-12).all()  # every one is a corner


@pytest.mark.parametrize(("positives", "negatives"), [(3, 200), (200, 3), (40, 40)])
@pytest.mark.parametrize("levels", [8, 1000])
def test_corners_are_where_whole_numbers_turn(positives: int, negatives: int, levels: int) -> None:
    """Counted threshold after threshold, with exact fractions as slopes."""
    rng = np.random.default_rng(levels)
    labels = np.r_[np.ones(positives), np.zeros(negatives)]
    scores = rng.integers(0, levels, len(labels)) + levels // 4 * labels
    cuts = [np.inf, *sorted(set(scores), reverse=True)]
    points = [(int((scores[labels == 0] >= cut).sum()), int((scores[labels == 1] >= cut).sum())) for cut in cuts]
    corners = [points[0]]
    for one, two in itertools.pairwise(points[1:]):
        before, after = np.subtract(one, corners[-1]), np.subtract(two, one)
        if int(before[0]) * int(after[1]) != int(before[1]) * int(after[0]):
            corners.append(one)
    corners.append(points[-1])
    found = roc_points(scores, labels)
    expected = np.array(corners) / (negatives, positives)
    np.testing.assert_allclose(np.stack([found.x, found.y], axis=1), expected, atol=1e-15)


def test_a_slope_of_ties_is_one_line() -> None:
    """One of three positives and one of five negatives on each of three levels."""
    found = roc_points([3, 2, 1, 3, 2, 1, 0, 0], [1, 1, 1, 0, 0, 0, 0, 0])
    np.testing.assert_allclose([found.x, found.y], [[0, 0.6, 1], [0, 1, 1]])


def test_empty_bins_are_left_out() -> None:
    found = reliability_points([0.1, 0.15, 0.6], [0, 1, 1], 4)
    assert (found.images.tolist(), found.share.tolist()) == ([2, 1], [0.5, 1])
    assert found.mean == pytest.approx([0.125, 0.6])


def test_ends_and_number_of_points() -> None:
    scores, labels = sample()
    found = roc_points(scores, labels)
    assert (found.x[0], found.y[0], found.x[-1], found.y[-1]) == (0, 0, 1, 1)
    assert len(found.x) < 2 * labels.sum() + 3
    straight = roc_points([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1])
    assert (straight.x.tolist(), straight.y.tolist()) == ([0, 0, 1], [0, 1, 1])


@pytest.mark.parametrize("digits", [1, 15])
def test_the_steps_of_precision_and_recall_keep_their_area(digits: int) -> None:
    scores, labels = sample(digits=digits)
    found = precision_recall_points(np.append(scores, 0.99), np.append(labels, np.nan))
    area = (np.diff(found.x) * found.y[1:]).sum()
    assert area == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    assert (found.x[0], found.x[-1]) == (0, 1)
    assert (np.diff(found.x) > 0).all()


def test_reliability_is_scikit_learns_and_adds_up_to_the_calibration_error() -> None:
    probs, labels = sample(digits=15)
    found = reliability_points(probs, labels, 10)
    share, mean = calibration_curve(labels, probs, n_bins=10)
    np.testing.assert_allclose(found.share, share, atol=1e-12)
    np.testing.assert_allclose(found.mean, mean, atol=1e-12)
    assert found.images.sum() == 600
    error = (found.images * np.abs(found.mean - found.share)).sum() / 600
    assert error == pytest.approx(calibration_error(probs, labels, 10), abs=1e-12)


def test_wilsons_interval() -> None:
    """Its ends p solve |share - p| = 1.96 sqrt(p (1 - p) / n)."""
    found = reliability_points([0.1] * 10 + [0.9] * 4, [1, 1] + [0] * 8 + [1] * 4, 2)
    for share, ends, n in zip(found.share, zip(found.low, found.high, strict=True), (10, 4), strict=True):
        for p in ends:
            assert abs(share - p) == pytest.approx(1.959963985 * np.sqrt(p * (1 - p) / n), abs=1e-7)
    assert found.high[1] == 1
    assert found.low[0] < 0.2 < found.high[0]


def test_unknown_labels_are_as_if_absent() -> None:
    scores, labels = sample()
    more, unknown = np.r_[0.0, scores, 1.0, 0.5], np.r_[np.nan, labels, np.nan, np.nan]
    for points in (roc_points, precision_recall_points, reliability_points):
        for one, two in zip(points(more, unknown), points(scores, labels), strict=True):  # type: ignore[operator]
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("label", [0, 1, np.nan])
def test_one_class_has_no_curve(label: float) -> None:
    for points in (roc_points, precision_recall_points):
        for values in points([0.5, 0.4, 0.3], [label, label, label]):
            assert values.shape == (0,)


def test_fifteen_bins_unless_told_otherwise() -> None:
    probs, labels = sample(digits=15)
    for one, two in zip(reliability_points(probs, labels), reliability_points(probs, labels, 15), strict=True):
        np.testing.assert_array_equal(one, two)
    edges = (np.arange(15) + 0.5) / 15
    assert reliability_points(edges, np.ones(15)).images.tolist() == [1] * 15
    assert reliability_points([1.0, 0.0], [1, 0], 4).mean.tolist() == [0, 1]


@given(st.integers(0, 30), st.integers(1, 30))
def test_wilsons_interval_is_scipys(hits: int, more: int) -> None:
    from scipy.stats import binomtest

    n = hits + more
    found = reliability_points(np.full(n, 0.5), np.arange(n) < hits, 1)
    expected = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert (found.low[0], found.high[0]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_what_is_missing_leaves_no_points_and_bad_input_is_refused() -> None:
    assert len(precision_recall_points([0.5, 0.4], [1, np.nan]).x) == 0
    assert len(reliability_points([0.5], [np.nan]).mean) == 0
    with pytest.raises(InputError, match="finite"):
        roc_points([np.nan, 0.1], [0, 1])
