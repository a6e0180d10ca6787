from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from monai_cxraug.errors import InputError
from monai_cxraug.metrics.detection import detect, mean_over_readers

NAN = float("nan")


def test_by_hand() -> None:
    truth = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0])
    calls = np.array([[1, 1, 1, 0, 1, 0, 0, 0, 0.0]])
    sure = np.array([[4, 3, 1, 2, 2, 1, 4, 3, 1.0]])
    found = detect(calls, sure, truth)
    hit, alarm = norm.ppf(3.5 / 5), norm.ppf(1.5 / 6)
    assert found.accuracy[0, 0] == pytest.approx((0.75 + 0.8) / 2)
    assert found.d_prime[0, 0] == pytest.approx(hit - alarm)
    assert found.criterion[0, 0] == pytest.approx(-(hit + alarm) / 2)
    rating = np.where(calls[0] == 1, sure[0], -sure[0])
    assert found.area[0, 0] == pytest.approx(roc_auc_score(truth, rating))


def test_all_right_and_all_wrong_are_finite_and_opposite() -> None:
    truth = np.array([1, 0] * 5)
    found = detect(np.stack([truth, 1 - truth]).astype(float), np.ones((2, 10)), truth)
    assert found.d_prime[0, 0] == pytest.approx(2 * norm.ppf(5.5 / 6))
    assert found.d_prime[0, 1] == pytest.approx(-found.d_prime[0, 0])
    np.testing.assert_allclose(found.accuracy[0], [1, 0])
    np.testing.assert_allclose(found.area[0], [1, 0])


def test_the_true_sensitivity_is_found() -> None:
    rng = np.random.default_rng(2)
    truth = np.repeat([1, 0], 20_000)
    evidence = rng.normal(np.where(truth == 1, 0.75, -0.75)) - 0.4  # d' 1.5, criterion 0.4
    calls, sure = (evidence > 0).astype(float)[None], np.ceil(np.clip(np.abs(evidence), 0.01, 4))[None]
    found = detect(calls, sure, truth)
    assert found.d_prime[0, 0] == pytest.approx(1.5, abs=0.03)
    assert found.criterion[0, 0] == pytest.approx(0.4, abs=0.03)
    assert found.area[0, 0] == pytest.approx(norm.cdf(1.5 / np.sqrt(2)), abs=0.03)


def test_confidence_that_was_not_asked_counts_as_one() -> None:
    truth = np.array([1, 1, 0, 0])
    calls = np.array([[1, 0, 0, 1.0]])
    none, one = (detect(calls, np.full((1, 4), value), truth) for value in (0, 1))
    assert none.area[0, 0] == one.area[0, 0] == 0.5


def test_missing_answers_and_missing_kinds() -> None:
    truth = np.array([1, 1, 0, 0])
    calls = np.array([[1, NAN, 0, 0], [1, 1, NAN, NAN], [NAN] * 4])
    found = detect(calls, np.ones((3, 4)), truth)
    np.testing.assert_allclose(found.accuracy[0], [1, NAN, NAN])
    np.testing.assert_allclose(found.area[0], [1, NAN, NAN])
    assert mean_over_readers(found.accuracy, np.ones((1, 3)))[0] == 1
    assert np.isnan(mean_over_readers(found.accuracy, [[0, 1, 1]])[0])


def test_weights_equal_repeated_trials() -> None:
    rng = np.random.default_rng(6)
    truth, calls = rng.integers(0, 2, 14), rng.integers(0, 2, (3, 14)).astype(float)
    sure, weights = rng.integers(1, 5, (3, 14)), rng.integers(0, 3, (4, 14))
    many = detect(calls, sure, truth, weights)
    for b in range(4):
        chosen = np.repeat(np.arange(14), weights[b])
        once = detect(calls[:, chosen], sure[:, chosen], truth[chosen])
        for name in many._fields:
            np.testing.assert_allclose(getattr(many, name)[b], getattr(once, name)[0], err_msg=name)


def test_each_reader_and_each_weight_by_another_library() -> None:
    """Fractional weights, unanswered trials, confidence that was not asked in places."""
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, 30)
    calls = np.where(rng.random((3, 30)) < 0.1, NAN, rng.integers(0, 2, (3, 30)))
    sure, weights = rng.integers(0, 5, (3, 30)), rng.random((2, 30))
    found = detect(calls, sure, truth, weights)
    for b, r in np.ndindex(2, 3):
        known = ~np.isnan(calls[r])
        kinds = [(calls[r][known & (truth == kind)], weights[b][known & (truth == kind)]) for kind in (1, 0)]
        hits, alarms = (np.average(said, weights=weight) for said, weight in kinds)
        assert found.accuracy[b, r] == pytest.approx((hits + 1 - alarms) / 2)
        z = [norm.ppf((np.dot(said, weight) + 0.5) / (weight.sum() + 1)) for said, weight in kinds]
        assert found.d_prime[b, r] == pytest.approx(z[0] - z[1])
        assert found.criterion[b, r] == pytest.approx(-(z[0] + z[1]) / 2)
        rating = np.where(calls[r] == 1, 1, -1) * np.where(sure[r] == 0, 1, sure[r])
        expected = roc_auc_score(truth[known], rating[known], sample_weight=weights[b][known])
        assert found.area[b, r] == pytest.approx(expected)


def test_trials_of_one_kind_or_of_no_weight_say_nothing() -> None:
    truth, calls = np.array([1, 1, 0, 0]), np.array([[1, 0, 0, 1.0]])
    found = detect(calls, np.ones((1, 4)), truth, [[1, 1, 0, 0], [0, 0, 1, 1], [0.1, 0.1, 0.1, 0.1]])
    for values in found:
        assert np.isnan(values[:, 0]).tolist() == [True, True, False]


def test_nobody_and_answers_of_any_kind() -> None:
    nobody = detect(np.empty((0, 4)), np.empty((0, 4)), [1, 1, 0, 0], np.ones((3, 4)))
    assert [values.shape for values in nobody] == [(3, 0)] * 4
    truth, calls, sure = [1, 1, 0, 0], [[1, None, 0, 1]], [[4, 1, 2, 3]]
    objects = detect(
        *(np.array(part, dtype=object) for part in (calls, sure, truth)), weights=np.ones((1, 4), dtype=object)
    )
    numbers = detect(np.array(calls, dtype=float), sure, truth)
    for one, two in zip(objects, numbers, strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_mean_over_readers_weighs_them() -> None:
    values = np.array([[0.2, 0.4, NAN], [NAN, NAN, NAN], [0.9, 0.5, 0.1]])
    found = mean_over_readers(values, np.array([[1, 3, 9], [1, 1, 1], [2, 0, 0]], dtype=object))
    np.testing.assert_allclose(found, [(0.2 + 3 * 0.4) / 4, NAN, 0.9])
    assert mean_over_readers(np.array([[0.2, 0.4]]), [[0.1, 0.2]])[0] == pytest.approx(1 / 3)


def test_shapes_are_checked() -> None:
    with pytest.raises(InputError, match="turing"):
        detect([[1, 0]], [[1, 1]], [1, 0, 1])
    with pytest.raises(InputError, match="turing"):
        detect([[1, 0]], [[1]], [1, 0])
