from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from monai_cxraug.errors import InputError
from monai_cxraug.metrics.forced_choice import (
    bootstrap_scores,
    check_votes,
    forced_choice_score,
    majority_of_others,
    mean_known,
    one_of_others,
    oracle_score,
    sides,
    vote_credits,
    vote_shares,
)

Floats = NDArray[np.float64]
NAN = float("nan")


def of_counts(second: int, total: int) -> Floats:
    """Votes of one trial."""
    return np.array([[1.0]] * second + [[0.0]] * (total - second))


@pytest.mark.parametrize(
    ("first", "second", "right", "expected"),
    [(1, 2, 1, 0.8), (2, 1, 1, 0.2), (1, 1, 1, 0.5), (1, 2, 5, 0.0), (2, 1, 5, 1.0), (3, 3, 5, 0.5)],
)
def test_credit_is_the_share_of_readers_on_the_same_side(
    first: float, second: float, right: int, expected: float
) -> None:
    assert forced_choice_score([first], [second], of_counts(right, 5)) == pytest.approx(expected)


@given(st.integers(0, 10_000))
def test_score_equals_the_published_expression(seed: int) -> None:
    rng = np.random.default_rng(seed)
    votes = rng.integers(0, 2, (5, 12)).astype(float)
    d0, d1 = rng.integers(0, 4, (2, 12)).astype(float)  # with ties
    h = votes.mean(axis=0)
    expected = np.mean((d0 < d1) * (1 - h) + (d1 < d0) * h + (d1 == d0) * 0.5)
    assert forced_choice_score(d0, d1, votes) == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 1000))
def test_properties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    votes = rng.integers(0, 2, (4, 9)).astype(float)
    votes[rng.random((4, 9)) < 0.3] = NAN
    d0, d1 = rng.random((2, 9))
    score = forced_choice_score(d0, d1, votes)
    if np.isnan(votes).all():
        assert np.isnan(score)
        return
    assert forced_choice_score(np.exp(5 * d0), np.exp(5 * d1), votes) == pytest.approx(score)  # only order counts
    assert forced_choice_score(d1, d0, 1 - votes) == pytest.approx(score)  # left and right are names
    assert forced_choice_score(d1, d0, votes) == pytest.approx(1 - score)
    assert score <= oracle_score(votes) + 1e-12
    assert forced_choice_score(np.zeros(9), np.zeros(9), votes) == pytest.approx(0.5)  # all ties
    order = rng.permutation(9)
    assert forced_choice_score(d0[order], d1[order], votes[:, order]) == pytest.approx(score)


def test_the_oracle_is_the_score_of_the_majority() -> None:
    votes = np.random.default_rng(0).integers(0, 2, (5, 40)).astype(float)
    majority = votes.mean(axis=0) > 0.5
    assert oracle_score(votes) == pytest.approx(forced_choice_score(majority, ~majority, votes))


def test_missing_answers_are_left_out_by_trial() -> None:
    votes = np.array([[1, NAN, NAN], [0, 1, NAN], [1, 1, NAN]])
    np.testing.assert_allclose(vote_shares(votes), [2 / 3, 1, NAN])
    assert forced_choice_score([2, 1, 5], [1, 2, 1], votes) == pytest.approx((2 / 3 + 0) / 2)
    assert np.isnan(forced_choice_score([1], [2], [[NAN]]))


# --- ceilings: exact expectations over the binomial distribution ---


def expectation(estimate: object, share: float, readers: int) -> float:
    chances = binom.pmf(np.arange(readers + 1), readers, share)
    values = [estimate(of_counts(k, readers)) for k in range(readers + 1)]  # type: ignore[operator]
    return float(chances @ np.array(values))


def majority_score(share: float, voters: int) -> float:
    """What the majority of so many voters scores on another one."""
    k = np.arange(voters + 1)
    chance = binom.pmf(k, voters, share)
    right = chance[2 * k > voters].sum() + 0.5 * chance[2 * k == voters].sum()
    return float(share * right + (1 - share) * (1 - right))


@pytest.mark.parametrize("readers", [2, 3, 4, 5, 6, 9])
@pytest.mark.parametrize("share", [0.0, 0.13, 0.5, 0.62, 0.9, 1.0])
def test_ceilings_are_unbiased_for_what_they_say(share: float, readers: int) -> None:
    assert expectation(one_of_others, share, readers) == pytest.approx(share**2 + (1 - share) ** 2, abs=1e-12)
    assert expectation(majority_of_others, share, readers) == pytest.approx(
        majority_score(share, readers - 1), abs=1e-12
    )
    oracle = max(share, 1 - share)
    assert expectation(majority_of_others, share, readers) <= oracle + 1e-12
    assert expectation(oracle_score, share, readers) >= oracle - 1e-12


def test_both_ceilings_close_in_on_the_oracle_with_more_readers() -> None:
    gaps = [expectation(oracle_score, 0.6, n) - expectation(majority_of_others, 0.6, n) for n in (3, 9, 31, 101)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 0.02


def test_leaving_readers_out_by_hand() -> None:
    votes = np.random.default_rng(3).integers(0, 2, (5, 30)).astype(float)
    votes[0, :4] = NAN
    found = []
    for t in range(30):
        column = votes[~np.isnan(votes[:, t]), t]
        credit = []
        for r in range(len(column)):
            rest = np.delete(column, r).mean()
            choice = 0.5 if rest == 0.5 else float(rest > 0.5)
            credit.append(choice * column[r] + (1 - choice) * (1 - column[r]))
        found.append(np.mean(credit))
    assert majority_of_others(votes) == pytest.approx(np.mean(found))


def test_one_reader_has_no_others() -> None:
    votes = np.ones((1, 4))
    assert oracle_score(votes) == 1
    assert np.isnan(one_of_others(votes))
    assert np.isnan(majority_of_others(votes))


# --- replicates ---


def test_replicates_equal_the_score_of_what_was_drawn() -> None:
    rng = np.random.default_rng(5)
    votes = rng.integers(0, 2, (4, 10)).astype(float)
    votes[rng.random((4, 10)) < 0.2] = NAN
    d0, d1 = rng.integers(0, 3, (2, 10)).astype(float)
    readers, trials = rng.integers(0, 3, (6, 4)), rng.integers(0, 3, (6, 10))
    readers[:, 0] += 1
    trials[:, 0] += 1
    found = bootstrap_scores(sides(d0, d1)[None], votes, readers, trials)[:, 0]
    for b in range(6):
        rows, columns = np.repeat(np.arange(4), readers[b]), np.repeat(np.arange(10), trials[b])
        expected = forced_choice_score(d0[columns], d1[columns], votes[np.ix_(rows, columns)])
        assert found[b] == pytest.approx(expected)


def test_replicates_of_several_distances_and_of_no_answers() -> None:
    votes = np.array([[1, 0, NAN], [NAN, NAN, 1.0]])
    chosen = np.array([[1.0, 0.5, 0], [0, 0, 1]])
    readers = np.array([[1, 0], [0, 2], [1, 1], [0, 0]])
    trials = np.array([[1, 2, 5], [3, 3, 0], [0.5, 0, 0.25], [1, 1, 1]])
    found = bootstrap_scores(chosen, votes, readers, trials)
    # only trials 0 and 1 have the first reader's answer, trial 2 the second one's
    np.testing.assert_allclose(found, [[(1 + 2 * 0.5) / 3, 2 / 3], [NAN, NAN], [0.5 / 0.75, 0.25 / 0.75], [NAN, NAN]])


@given(st.integers(0, 1000))
def test_weights_of_readers_are_repetitions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    votes = rng.integers(0, 2, (4, 6)).astype(float)
    votes[rng.random((4, 6)) < 0.4] = NAN
    weights = rng.integers(0, 3, (5, 4))
    found = vote_shares(votes, weights)
    assert found.shape == (5, 6)
    for b in range(5):
        drawn = np.repeat(votes, weights[b], axis=0)
        expected = [np.nanmean(column) if (~np.isnan(column)).any() else NAN for column in drawn.T]
        np.testing.assert_allclose(found[b], expected)


def test_answers_and_distances_of_any_kind() -> None:
    votes = np.array([[1, 0, None], [1, 1, 0]], dtype=object)
    np.testing.assert_array_equal(check_votes(votes), [[1, 0, NAN], [1, 1, 0]])
    assert check_votes([[True, False]]).dtype == np.float64
    first, second = (np.array(part, dtype=object) for part in ([1, 2, 3], [2, 2, 1]))
    assert sides(first, second).tolist() == [0, 0.5, 1]
    np.testing.assert_array_equal(
        vote_credits(np.array([1, 0], dtype=object), np.array([0.25, None], dtype=object)), [0.25, NAN]
    )
    ones = np.array([[1, 1]], dtype=object)
    np.testing.assert_array_equal(vote_shares(votes, ones), [vote_shares(votes)])
    found = bootstrap_scores(np.array([[1, 0, 0.5]], dtype=object), votes, ones, np.array([[1, 2, 0]], dtype=object))
    assert found.dtype == np.float64
    assert found[0, 0] == pytest.approx((1 + 2 * 0.5) / 3)
    assert mean_known(np.array([1, None, 2], dtype=object)) == 1.5
    assert np.isnan(mean_known([]))


def test_trials_with_one_answer_have_no_others() -> None:
    votes = np.array([[1, 1, 0, NAN], [NAN, 1, 1, NAN], [NAN, 0, 1, NAN]])
    assert one_of_others(votes) == pytest.approx(1 / 3)  # one pair of three agrees in both trials of three answers
    # each of the two who agree has a tie among the others, and the third is against both of them
    assert majority_of_others(votes) == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert oracle_score(votes) == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)


def test_hostile_input_is_refused() -> None:
    with pytest.raises(InputError, match="must both be"):
        sides([[1.0]], [[2.0]])
    with pytest.raises(InputError, match="must be finite"):
        sides([1, 2], [1, np.inf])
    with pytest.raises(InputError, match="must be 1, 0 or NaN"):
        vote_shares([[0.5]])
    with pytest.raises(InputError, match=r"\[readers, trials\]"):
        vote_shares([1, 0])
    with pytest.raises(InputError, match="must both be"):
        sides([1, 2], [1])
    with pytest.raises(InputError, match="must be finite"):
        sides([1, NAN], [1, 2])
    assert np.isnan(vote_credits([1], [NAN])[0])
