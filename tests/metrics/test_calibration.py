from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from monai_cxraug.errors import InputError, LabelError
from monai_cxraug.metrics import calibration
from monai_cxraug.metrics.calibration import (
    COOLEST,
    HOTTEST,
    at_temperature,
    brier_score,
    calibration_error,
    fit_temperature,
    known_pairs,
    log_loss,
    log_odds,
    place_in_bins,
    recalibrate,
)


def sample(temperature: float, n: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are too sure by a factor, and labels drawn from the true ones."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-0.5, 1.5, n)
    return expit(temperature * odds), (rng.random(n) < expit(odds)).astype(float)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_the_temperature_is_the_slope_of_a_logistic_regression_without_intercept(temperature: float) -> None:
    probs, labels = sample(temperature)
    reference = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(logit(probs)[:, None], labels)
    assert fit_temperature(probs, labels) == pytest.approx(1 / reference.coef_[0, 0], rel=1e-4)
    assert fit_temperature(probs, labels) == pytest.approx(temperature, rel=0.1)


def test_no_other_temperature_does_better() -> None:
    probs, labels = sample(2.0, 500)
    best = fit_temperature(probs, labels)
    losses = [log_loss(log_odds(probs) / t, labels) for t in (best, *np.linspace(0.06, 19, 400))]
    assert min(losses[1:]) >= losses[0] - 1e-12


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_is_found_to_seven_digits(temperature: float) -> None:
    """Where the slope of the loss in 1 / T is 0, by bisection."""
    probs, labels = sample(temperature, 300)
    odds = logit(probs)
    steepness = brentq(lambda beta: float(((expit(beta * odds) - labels) * odds).mean()), 0.05, 20, xtol=1e-14)
    assert 1 / fit_temperature(probs, labels) == pytest.approx(steepness, abs=2e-7)


def test_unknown_labels_are_left_out() -> None:
    probs, labels = sample(2.0, 300)
    more, unknown = np.append(probs, [0.9, 0.1]), np.append(labels, [np.nan, np.nan])
    assert fit_temperature(more, unknown) == fit_temperature(probs, labels)
    assert brier_score(more, unknown) == brier_score(probs, labels)
    assert calibration_error(more, unknown) == calibration_error(probs, labels)


def test_one_class_teaches_nothing_and_perfect_order_ends_at_the_bound() -> None:
    assert fit_temperature([0.2, 0.9], [1, 1]) == 1.0
    assert fit_temperature([], []) == 1.0
    assert fit_temperature([0.4, 0.6], [0, 1]) == pytest.approx(COOLEST, rel=1e-3)
    assert fit_temperature([0.6, 0.4], [0, 1]) == pytest.approx(HOTTEST, rel=1e-3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(COOLEST, HOTTEST))
def test_a_temperature_keeps_the_order_and_the_range(probs: list[float], temperature: float) -> None:
    cooled = at_temperature(probs, temperature)
    assert ((cooled >= 0) & (cooled <= 1)).all()
    assert (np.diff(cooled[np.argsort(probs, kind="stable")]) >= -1e-15).all()


def test_temperature_one_changes_nothing_and_each_finding_has_its_own() -> None:
    probs = np.array([[0.2, 0.7], [0.999, 1e-6]])
    np.testing.assert_allclose(at_temperature(probs, 1.0), probs, rtol=1e-12)
    both = at_temperature(probs, [1.0, 2.0])
    np.testing.assert_allclose(both[:, 0], probs[:, 0], rtol=1e-12)
    np.testing.assert_allclose(both[:, 1], expit(logit(probs[:, 1]) / 2), rtol=1e-12)


def test_losses_equal_scikit_learns() -> None:
    probs, labels = sample(1.7, 200)
    assert log_loss(log_odds(probs), labels) == pytest.approx(sklearn_log_loss(labels, probs), rel=1e-9)
    assert brier_score(probs, labels) == pytest.approx(brier_score_loss(labels, probs), rel=1e-12)
    assert np.isfinite(log_loss(log_odds([0.0, 1.0]), [1, 0]))


def test_the_calibration_error_is_the_definitions_sum_over_bins() -> None:
    probs, labels = sample(3.0, 1000)
    total = 0.0
    for low in np.arange(15) / 15:
        inside = (probs >= low) & (probs < low + 1 / 15)
        if inside.any():
            total += inside.mean() * abs(probs[inside].mean() - labels[inside].mean())
    assert calibration_error(probs, labels) == pytest.approx(total, abs=1e-9)
    assert calibration_error([1.0, 0.0], [1, 0]) == 0.0
    assert calibration_error([1.0, 1.0], [0, 0]) == 1.0
    assert np.isnan(calibration_error([0.5], [np.nan]))


# --- recalibration ---


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_the_line_is_scikit_learns_logistic_regression(temperature: float, shift: float) -> None:
    probs, labels = sample(temperature, 800)
    probs = expit(logit(probs) + shift)
    line = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(logit(probs)[:, None], labels)
    found = recalibrate(np.append(probs, 0.5), np.append(labels, np.nan))
    assert found.slope == pytest.approx(line.coef_[0, 0], rel=1e-4)
    assert found.intercept == pytest.approx(line.intercept_[0], rel=1e-4, abs=1e-4)


@settings(max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=4, max_size=20))
def test_the_line_is_where_the_likelihood_is_level_and_nan_where_it_never_is(rows: list[tuple[int, bool]]) -> None:
    """Errors and errors times log-odds add up to nothing (Cox 1958); the two classes must overlap for that."""
    steps, labels = np.array(rows, dtype=np.float64).T
    probs = expit(1.5 * steps - 9)
    found = recalibrate(probs, labels)
    positive, negative = steps[labels == 1], steps[labels == 0]
    overlap = len(positive) and len(negative) and positive.min() < negative.max() and negative.min() < positive.max()
    if not overlap:
        assert np.isnan(found).all()
        return
    odds = logit(probs)
    error = expit(found.intercept + found.slope * odds) - labels
    assert abs(error.sum()) < 1e-8
    assert abs((error * odds).sum()) < 1e-7
    best = log_loss(found.intercept + found.slope * odds, labels)
    assert best <= log_loss(odds, labels) + 1e-12


def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What every call of the loss returns from here on."""
    seen: list[float] = []
    measured = calibration._losses

    def watched(*line: NDArray[np.float64]) -> NDArray[np.float64]:
        found = measured(*line)
        seen.extend(found.tolist())
        return found

    monkeypatch.setattr(calibration, "_losses", watched)
    return seen


def test_a_step_too_far_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty negatives close together and two far on the wrong side: from the fifth line on, a whole step climbs."""
    odds = np.r_[np.linspace(-5.1, -4.9, 60), 14.3, 14.32, -4.96, -7.96]
    labels = np.r_[np.zeros(62), 1, 1]
    seen = losses(monkeypatch)
    found = recalibrate(expit(odds), labels)
    assert any(later > earlier for earlier, later in itertools.pairwise(seen))
    assert len(seen) < 20
    error = expit(found.intercept + found.slope * odds) - labels
    assert abs(error.sum()) < 1e-9
    assert abs((error * odds).sum()) < 1e-8


def test_about_six_steps_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    probs, labels = sample(1.5, 300)
    seen = losses(monkeypatch)
    recalibrate(probs, labels)
    assert 4 < len(seen) < 10
    assert seen == sorted(seen, reverse=True)


def test_each_class_must_be_there_and_stand_on_both_sides_of_the_other() -> None:
    for probs, labels in (
        ([0.2, 0.9], [1, 1]),
        ([0.2, 0.9], [0, 0]),
        ([], []),
        ([0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1]),
        ([0.1, 0.4, 0.4, 0.8], [1, 1, 0, 0]),
        ([0.5, 0.5, 0.5], [0, 1, 1]),
    ):
        assert np.isnan(recalibrate(probs, labels)).all()
    assert np.isfinite(recalibrate([0.1, 0.4, 0.6, 0.8], [0, 1, 0, 1])).all()


# --- ends and bins ---


def test_log_odds_end_at_a_billionth() -> None:
    least = np.log(1e-9) - np.log1p(-1e-9)
    np.testing.assert_allclose(log_odds([0.0, 1e-12, 1e-9, 1e-8]), [least, least, least, logit(1e-8)], rtol=1e-12)
    np.testing.assert_allclose(log_odds([1.0, 1 - 1e-8]), [-least, logit(1 - 1e-8)], rtol=1e-7)
    np.testing.assert_allclose(log_odds([0.25, 0.5, 0.9]), logit([0.25, 0.5, 0.9]), rtol=1e-12, atol=1e-15)
    assert (COOLEST, HOTTEST) == (0.05, 20)


@pytest.mark.parametrize("bins", [1, 2, 15])
def test_every_probability_has_a_bin_and_borders_belong_to_the_upper_one(bins: int) -> None:
    places = place_in_bins((np.arange(bins) + 0.5) / bins, bins)
    assert places.tolist() == list(range(bins))
    assert place_in_bins(np.array([0.0, 1.0, 1 - 1e-9]), bins).tolist() == [0, bins - 1, bins - 1]
    assert place_in_bins(np.array([0.5]), 2).tolist() == [1]


def test_the_number_of_bins_is_that_asked_for() -> None:
    probs, labels = [0.1, 0.45, 0.55, 0.9], [0, 1, 0, 1]
    assert calibration_error(probs, labels, 1) == pytest.approx(0.0)
    assert calibration_error(probs, labels, 2) == pytest.approx(0.225)
    assert calibration_error(probs, labels, 4) == pytest.approx((0.1 + 0.55 + 0.55 + 0.1) / 4)
    assert np.isnan(brier_score([0.5], [np.nan]))
    assert np.isnan(brier_score([], []))


@pytest.mark.parametrize("kind", [object, np.float32])
def test_kinds_of_numbers(kind: type) -> None:
    probs, labels = np.array([0.25, 0.5, 0.75, 1.0, 0.0]), np.array([0, 1, np.nan, 0, 1])
    values, truth = known_pairs(probs.astype(kind), labels.astype(kind))
    assert (values.tolist(), truth.tolist()) == ([0.25, 0.5, 1.0, 0.0], [0, 1, 0, 1])
    assert values.dtype == truth.dtype == np.float64
    np.testing.assert_array_equal(log_odds(probs.astype(kind)), log_odds(probs))
    np.testing.assert_array_equal(at_temperature(probs.astype(kind), 2), at_temperature(probs, 2.0))
    warm = np.arange(1, 6).astype(kind)
    np.testing.assert_array_equal(at_temperature(probs, warm), at_temperature(probs, np.arange(1.0, 6)))
    odds = log_odds(values)
    assert log_loss(odds.astype(object), truth.astype(object)) == log_loss(odds, truth)
    assert log_loss(odds, truth.astype(bool)) == log_loss(odds, truth)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
        fit_temperature([1.2], [1])
    with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
        brier_score([np.nan], [1])
    with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
        known_pairs([0.5, -0.01], [1, 0])
    with pytest.raises(InputError, match=r"both be \[n\]"):
        fit_temperature([0.5, 0.5], [1])
    with pytest.raises(InputError, match=r"both be \[n\]"):
        known_pairs([[0.5], [0.5]], [[1], [0]])
    with pytest.raises(LabelError):
        fit_temperature([0.5], [2])
