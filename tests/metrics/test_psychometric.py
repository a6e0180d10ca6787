from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from monai_cxraug.errors import InputError
from monai_cxraug.metrics.psychometric import LAPSES, Threshold, fit_threshold

X = np.array([0.25, 0.5, 1, 2, 4, 8])


@pytest.mark.parametrize(("threshold", "slope", "guesses"), [(1.3, 2.0, 0.0), (0.8, 1.2, 0.1), (3.0, 4.0, 0.3)])
def test_the_true_curve_is_found(threshold: float, slope: float, guesses: float) -> None:
    truth = Threshold(threshold, slope, guesses)
    total = np.full(6, 4000)
    different = np.random.default_rng(0).binomial(total, truth.share(X))
    found = fit_threshold(X, different, total, guesses)
    assert found is not None
    assert found.strength == pytest.approx(threshold, rel=0.05)
    assert found.slope == pytest.approx(slope, rel=0.15)
    np.testing.assert_allclose(found.share(X), truth.share(X), atol=0.02)


def test_the_threshold_is_the_middle_of_the_curve() -> None:
    assert Threshold(2.0, 3.0, 0.2).share([2.0])[0] == pytest.approx(0.2 + (1 - 0.2 - LAPSES) / 2)


@pytest.mark.parametrize("different", [[0] * 6, [20] * 6, [0, 0, 0, 0, 0, 3]])
def test_curves_without_a_middle_have_no_threshold(different: list[int]) -> None:
    assert fit_threshold(X, different, [20] * 6) is None


def test_readers_who_always_say_different_have_no_threshold() -> None:
    assert fit_threshold(X, [0, 2, 9, 18, 20, 20], [20] * 6, guesses=1.0) is None


@pytest.mark.parametrize("guesses", [0.0, 0.25])
def test_no_point_of_a_finer_search_is_likelier(guesses: float) -> None:
    """The likelihood written out with another library, over thresholds and slopes between the grid's own."""
    total = np.array([9, 10, 11, 12, 13, 14])
    different = np.array([2, 3, 6, 9, 12, 14])
    found = fit_threshold(X, different, total, guesses)
    assert found is not None

    def likelihood(strength: np.ndarray, slope: np.ndarray) -> np.ndarray:
        share = guesses + (1 - guesses - 0.02) * (1 - 2.0 ** -((X / strength[..., None]) ** slope[..., None]))
        return np.asarray(binom.logpmf(different, total, share).sum(axis=-1))

    best = likelihood(np.array(found.strength), np.array(found.slope))
    strengths, slopes = np.meshgrid(np.geomspace(0.26, 7.9, 150), np.geomspace(0.5, 10, 60))
    assert best > likelihood(strengths, slopes).max() - 0.005
    assert found.guesses == guesses


def test_the_grid_has_steps_of_a_hundredth_and_slopes_from_one_half_to_ten() -> None:
    steep = fit_threshold(X, [0, 0, 0, 20, 20, 20], [20] * 6)
    assert steep is not None
    assert steep.slope > 3
    places = np.geomspace(0.25, 8, 240)
    assert min(abs(places - steep.strength)) < 1e-12
    even = fit_threshold(X, [5, 7, 9, 11, 13, 15], [20] * 6)
    assert even is not None
    assert even.slope == pytest.approx(0.5)
    sudden = fit_threshold([1, 2, 3, 4], [0, 0, 500, 490], [500] * 4)
    assert sudden is not None
    assert sudden.slope == pytest.approx(10)
    assert LAPSES == 0.02


def test_strengths_need_not_be_in_order_and_those_not_shown_count_for_nothing() -> None:
    order = [3, 0, 5, 2, 1, 4]
    different, total = np.array([0, 2, 9, 18, 20, 20]), np.full(6, 20)
    assert fit_threshold(X[order], different[order], total[order]) == fit_threshold(X, different, total)
    assert fit_threshold([1, 2, 4], [0, 5, 10], [10, 10, 10]) is not None
    assert fit_threshold([1, 2, 2], [0, 5, 10], [10, 10, 10]) is None
    objects = (np.array(part, dtype=object) for part in (X, different, total))
    assert fit_threshold(*objects) == fit_threshold(X, different, total)


def test_a_curve_that_falls_is_no_curve() -> None:
    """Readers who say "different" of all equal images leave no room: with 2 % slips the curve would fall."""
    assert fit_threshold(X, [2000, 2000, 1998, 1975, 1961, 1960], [2000] * 6, guesses=1.0) is None


def test_one_answer_at_a_strength_is_an_answer() -> None:
    assert fit_threshold([1, 2, 4], [0, 1, 10], [10, 1, 10]) is not None
    assert fit_threshold([1, 2, 4], [0, 0, 10], [10, 0, 10]) is None
    curve = Threshold(2.0, 3.0, 0.2)
    assert curve.share(np.array([1, 2, 4], dtype=object)).tolist() == curve.share([1, 2, 4]).tolist()


def test_guesses_and_slips_must_leave_something() -> None:
    assert fit_threshold(X, [16, 17, 18, 18, 19, 19], [20] * 6, 0.98) is None
    assert fit_threshold(X, [170, 172, 185, 194, 196, 196], [200] * 6, 0.85) is not None
    for guesses in (-0.1, 1.01):
        with pytest.raises(InputError, match="guesses"):
            fit_threshold(X, [0] * 6, [1] * 6, guesses)
    for hits in ([-1, 0, 0], [0, 0, 2]):
        with pytest.raises(InputError, match="psychometric"):
            fit_threshold([1, 2, 3], hits, [1] * 3)
    with pytest.raises(InputError, match="psychometric"):
        fit_threshold([1, 2, -3], [0] * 3, [1] * 3)


def test_two_strengths_are_too_few() -> None:
    assert fit_threshold([1, 2, 3], [0, 9, 0], [10, 10, 0]) is None


def test_hostile_input_is_refused() -> None:
    for x, hits, total, guesses in (
        ([0, 1, 2], [0] * 3, [1] * 3, 0),
        ([1, 2, 3], [2] * 3, [1] * 3, 0),
        ([1], [0], [1], 1.1),
    ):
        with pytest.raises(InputError, match="psychometric"):
            fit_threshold(x, hits, total, guesses)
