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


@given(st.integers(0, 10_000))
def test_fleiss_by_counting_pairs_of_readers(seed: int) -> None:
    """Trials with different numbers of answers: each pair of readers of a trial is asked whether it agrees."""
    rng = np.random.default_rng(seed)
    votes = rng.integers(0, 2, (4, 7)).astype(float)
    votes[rng.random((4, 7)) < 0.4] = NAN
    agreed, answers = [], []
    for column in votes.T:
        given_ = column[~np.isnan(column)]
        pairs = [one == two for k, one in enumerate(given_) for two in given_[:k]]
        if pairs:
            agreed.append(np.mean(pairs))
            answers.extend(given_)
    if len(set(answers)) < 2:
        assert np.isnan(fleiss_kappa(votes))
        return
    share = np.mean(answers)
    chance = share**2 + (1 - share) ** 2
    assert fleiss_kappa(votes) == pytest.approx((np.mean(agreed) - chance) / (1 - chance))


def test_pairs_without_a_kappa_do_not_count() -> None:
    votes = np.array([[1, 0, 1, 0], [1, 0, 0, 0], [NAN, NAN, NAN, NAN], [1, 1, NAN, 0]])
    one, two, three = cohen_kappa(votes[0], votes[1]), cohen_kappa(votes[0], votes[3]), cohen_kappa(votes[1], votes[3])
    assert pairwise_kappa(votes) == pytest.approx((one + two + three) / 3)


def test_cohen_of_series_and_nothing_else() -> None:
    with pytest.raises(InputError, match="must be"):
        cohen_kappa([[1, 0]], [[1, 0]])
    assert cohen_kappa(np.array([1, 0, None], dtype=object), np.array([1, 0, 1], dtype=object)) == 1
    assert cohen_kappa([1, 1, 0, 0, NAN], [1, 0, 0, 0, 0]) == pytest.approx(0.5)
    assert np.isnan(cohen_kappa([NAN, 1], [1, NAN]))


@pytest.mark.parametrize(("hits", "total"), [(0, 1), (1, 1), (1, 3), (999, 1000)])
def test_intervals_of_shares_at_the_ends(hits: int, total: int) -> None:
    low, high = share_interval(hits, total) or (NAN, NAN)
    for end in (low, high):  # Wilson's ends solve |share - p| = z sqrt(p (1 - p) / n)
        assert abs(hits / total - end) == pytest.approx(1.959963984540054 * np.sqrt(end * (1 - end) / total), abs=1e-9)
    assert 0 <= low < high <= 1
    assert (low == 0, high == 1) == (hits == 0, hits == total)
