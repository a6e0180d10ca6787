from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from monai_cxraug.errors import InputError
from monai_cxraug.metrics.agreement import cohen_kappa, fleiss_kappa, pairwise_kappa, share_interval, share_p

NAN = float("nan")


@given(st.integers(0, 10_000))
def test_cohen_equals_another_library(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, two = rng.integers(0, 2, (2, 20)).astype(float)
    if len({*one, *two}) > 1:
        assert cohen_kappa(one, two) == pytest.approx(cohen_kappa_score(one, two), abs=1e-12)


def test_fleiss_by_hand() -> None:
    # three readers, four trials; agreement 1, 1/3, 1/3, 1; shares 7/12 and 5/12
    votes = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0]], dtype=float)
    agreed, chance = (1 + 1 / 3 + 1 / 3 + 1) / 4, (7 / 12) ** 2 + (5 / 12) ** 2
    assert fleiss_kappa(votes) == pytest.approx((agreed - chance) / (1 - chance))


def test_fleiss_of_independent_readers_is_about_zero_and_of_one_mind_one() -> None:
    rng = np.random.default_rng(1)
    assert abs(fleiss_kappa((rng.random((6, 4000)) < 0.7).astype(float))) < 0.02
    answers = rng.integers(0, 2, 30).astype(float)
    assert fleiss_kappa(np.stack([answers] * 4)) == 1
    assert pairwise_kappa(np.stack([answers] * 4)) == 1


def test_missing_answers() -> None:
    votes = np.array([[1, 0, NAN, 1, 0], [1, 0, 1, NAN, 1], [NAN, NAN, NAN, NAN, 0]])
    assert cohen_kappa(votes[0], votes[1]) == pytest.approx(cohen_kappa_score([1, 0, 0], [1, 0, 1]))
    agreed = np.mean([1, 1, 1 / 3])  # the trials with two or more answers
    share = 3 / 7
    chance = share**2 + (1 - share) ** 2
    assert fleiss_kappa(votes) == pytest.approx((agreed - chance) / (1 - chance))


def test_what_has_no_kappa() -> None:
    assert np.isnan(fleiss_kappa(np.ones((3, 5))))
    assert np.isnan(fleiss_kappa(np.array([[1, 0, 1.0]])))
    assert np.isnan(fleiss_kappa(np.empty((0, 4))))
    assert np.isnan(cohen_kappa([NAN], [1]))
    assert np.isnan(cohen_kappa([1, 1], [1, 1]))
    assert np.isnan(pairwise_kappa(np.ones((1, 3))))
    with pytest.raises(InputError, match="must be"):
        cohen_kappa([1], [1, 0])


@pytest.mark.parametrize(("hits", "total"), [(0, 10), (3, 10), (50, 100), (7, 7)])
def test_intervals_of_shares_equal_another_library(hits: int, total: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(hits, total).proportion_ci(0.95, method="wilson")
    assert share_interval(hits, total) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert share_interval(0, 0) is None
    assert np.isnan(share_p(0, 0))
    assert share_p(9, 10) == pytest.approx(2 * 11 / 1024)
