from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from monai_cxraug.errors import InputError, LabelError
from monai_cxraug.metrics.calibration import (
    COOLEST,
    HOTTEST,
    at_temperature,
    brier_score,
    calibration_error,
    fit_temperature,
    log_loss,
    log_odds,
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


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
        fit_temperature([1.2], [1])
    with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
        brier_score([np.nan], [1])
    with pytest.raises(InputError, match=r"both be \[n\]"):
        fit_temperature([0.5, 0.5], [1])
    with pytest.raises(LabelError):
        fit_temperature([0.5], [2])
