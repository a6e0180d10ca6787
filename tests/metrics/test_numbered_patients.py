"""Patients by number give what patients by name give, to the last bit; a seed's measures are worked out once."""

from __future__ import annotations

import numpy as np
import pytest

from monai_cxraug.metrics.comparison import compare, estimate
from monai_cxraug.metrics.delong import number_patients
from monai_cxraug.metrics.measures import measure_each, measure_seeds
from monai_cxraug.metrics.resampling import Draws, number_by_name, patient_weights

RNG = np.random.default_rng(3)
NAMES = [f"P{number}" for number in RNG.integers(0, 40, 120)]  # P9 comes after P10: by name, not by number
LABELS = np.where(RNG.random((120, 2)) < 0.1, np.nan, RNG.random((120, 2)) < 0.3)
PROBS = RNG.random((3, 120, 2))


def test_numbers_follow_the_order_of_the_names() -> None:
    numbers = number_by_name(["P10", "P9", "P10", "A"])
    assert numbers.tolist() == [1, 2, 1, 0]
    assert number_by_name(numbers).tolist() == [1, 2, 1, 0]


def test_the_same_patients_are_drawn() -> None:
    drawn = [patient_weights(who, 50, np.random.default_rng(0)) for who in (NAMES, number_by_name(NAMES))]
    np.testing.assert_array_equal(*drawn)


def test_patients_are_numbered_as_they_come() -> None:
    owners, count = number_patients(NAMES)
    again, same = number_patients(number_by_name(NAMES))
    np.testing.assert_array_equal(owners, again)
    assert (count, owners[0]) == (same, 0)


@pytest.mark.parametrize("macro", [False, True])
def test_estimates_and_differences_are_equal(macro: bool) -> None:
    labels, probs = (LABELS, PROBS) if macro else (LABELS[:, 0], PROBS[..., 0])
    numbers = number_by_name(NAMES)
    assert estimate(probs, labels, NAMES, 60) == estimate(probs, labels, numbers, 60)
    assert compare(probs, probs[::-1], labels, NAMES, 60) == compare(probs, probs[::-1], labels, numbers, 60)


def test_each_seed_and_all_in_one_go() -> None:
    cuts, labels, probs = np.array([0.4, 0.5, 0.6]), LABELS[:, 0], PROBS[..., 0]
    known = ~np.isnan(labels)
    expected = [measure_seeds(probs[[s]], labels, cuts[[s]], NAMES, 0) for s in range(3)]
    together = measure_seeds(probs, labels, cuts, NAMES, 60)
    each, all_ = measure_each(probs, labels, cuts, Draws(number_by_name(NAMES)[known], 60))
    assert (each, all_) == (expected, together)
    assert measure_each(probs, labels, cuts)[0] == expected
