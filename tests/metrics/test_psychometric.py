from __future__ import annotations

import numpy as np
import pytest

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
