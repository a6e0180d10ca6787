"""Patients stay together, every finding is spread, and a smaller fraction is part of a larger one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_cxraug.data.splits import choose_fraction, fold_patients, split_patients
from monai_cxraug.errors import ConfigError

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
RARITY = (0.02, 0.05, 0.2, 0.5)


def population(seed: int, patients: int = 150) -> tuple[list[str], np.ndarray]:
    """Patients of one to six images; findings belong to patients, as they do in life."""
    rng = np.random.default_rng(seed)
    images = rng.integers(1, 7, patients)
    sick = rng.random((patients, len(RARITY))) < RARITY
    sick[:3, 0] = True
    owner = np.repeat(np.arange(patients), images)
    return [f"P{patient}" for patient in owner], sick[owner].astype(np.float32)


def shares_of(splits: list[str], mask: np.ndarray) -> dict[str, float]:
    counts = Counter(np.asarray(splits)[mask])
    return {name: counts[name] / mask.sum() for name in SHARES}


def worst(splits: list[str], labels: np.ndarray) -> float:
    """Largest deviation of any finding's share of a split from what was asked for."""
    masks = [labels[:, k] == 1 for k in range(labels.shape[1])]
    return max(abs(shares_of(splits, mask)[name] - share) for mask in masks for name, share in SHARES.items())


def random_split(patients: list[str], seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    home = {patient: str(rng.choice(list(SHARES), p=list(SHARES.values()))) for patient in sorted(set(patients))}
    return [home[patient] for patient in patients]


@given(st.integers(0, 2**31), st.integers(3, 40))
def test_patients_are_in_one_split(seed: int, count: int) -> None:
    patients, labels = population(seed, count)
    splits = split_patients(patients, labels, SHARES, seed)
    assert len(splits) == len(patients)
    assert len(set(zip(patients, splits, strict=True))) == len(set(patients))
    assert set(splits) <= set(SHARES)


@pytest.mark.parametrize("seed", range(4))
def test_shares_and_every_finding_are_met(seed: int) -> None:
    patients, labels = population(seed)
    splits = split_patients(patients, labels, SHARES, seed)
    everything = shares_of(splits, np.ones(len(patients), dtype=bool))
    assert all(abs(everything[name] - share) < 0.02 for name, share in SHARES.items())
    for finding in range(len(RARITY)):
        positive = labels[:, finding] == 1
        assert all(shares_of(splits, positive)[name] > 0 for name in SHARES)
    assert worst(splits, labels) < 0.16
    assert worst(splits, labels) < 0.7 * np.mean([worst(random_split(patients, k), labels) for k in range(20)])


def test_the_order_of_images_is_irrelevant_and_the_seed_is_not() -> None:
    patients, labels = population(5)
    splits = split_patients(patients, labels, SHARES, 1)
    assert split_patients(patients, labels, SHARES, 1) == splits
    assert split_patients(patients, labels, SHARES, 2) != splits
    order = np.random.default_rng(0).permutation(len(patients))
    again = split_patients([patients[k] for k in order], labels[order], SHARES, 1)
    assert again == [splits[k] for k in order]


def test_unknown_labels_count_as_not_positive() -> None:
    patients, labels = population(6)
    unknown = np.where(labels == 0, np.nan, labels).astype(np.float32)
    assert split_patients(patients, unknown, SHARES, 1) == split_patients(patients, labels, SHARES, 1)


def test_a_share_of_nothing_gets_nothing() -> None:
    patients, labels = population(7)
    splits = split_patients(patients, labels, {"train": 0.5, "val": 0.0, "test": 0.5}, 0)
    assert set(splits) == {"train", "test"}


@pytest.mark.parametrize("shares", [{"train": 0.6, "val": 0.2}, {"train": 1.2, "val": -0.2}, {}])
def test_shares_that_are_none(refuses, shares) -> None:
    with refuses(ConfigError, "fractions", "sum to 1"):
        split_patients(["a"], np.zeros((1, 1), dtype=np.float32), shares, 0)


@given(st.integers(1, 60), st.integers(0, 2**31), st.floats(0.001, 1), st.floats(0.001, 1))
def test_fractions_are_nested(count: int, seed: int, one: float, other: float) -> None:
    patients = [f"P{k % count}" for k in range(2 * count)]
    small, large = sorted((one, other))
    chosen = choose_fraction(patients, small, seed)
    assert chosen <= choose_fraction(patients, large, seed)
    assert chosen == choose_fraction(patients[::-1], small, seed)
    assert len(chosen) == max(1, round(small * count))
    assert choose_fraction(patients, 1.0, seed) == set(patients)


def test_another_seed_chooses_others() -> None:
    patients = [f"P{k}" for k in range(100)]
    assert len({choose_fraction(patients, 0.1, seed) for seed in range(10)}) == 10


@pytest.mark.parametrize("fraction", [0, -0.1, 1.1, float("nan")])
def test_fractions_that_are_none(refuses, fraction) -> None:
    with refuses(ConfigError, "fraction", fraction):
        choose_fraction(["a"], fraction, 0)


@pytest.mark.parametrize("folds", [2, 5])
def test_folds_are_even_and_stratified(folds: int) -> None:
    patients, labels = population(8)
    dealt = fold_patients(patients, labels, folds, 0)
    assert set(dealt) == {str(fold) for fold in range(folds)}
    assert len(set(zip(patients, dealt, strict=True))) == len(set(patients))
    counts = Counter(dealt)
    assert max(counts.values()) - min(counts.values()) <= 6  # one patient
    common = Counter(np.asarray(dealt)[labels[:, -1] == 1])
    assert max(common.values()) - min(common.values()) <= 6


@pytest.mark.parametrize("folds", [0, 1, 4])
def test_folds_that_cannot_be(refuses, folds: int) -> None:
    with refuses(ConfigError, "folds", folds, "at most 3"):
        fold_patients(["a", "b", "b", "c"], np.zeros((4, 1), dtype=np.float32), folds, 0)


def reference_split(patients: list[str], labels: np.ndarray, shares: dict[str, float], seed: int) -> list[str]:
    """The same rule, slowly: one patient at a time, every need counted anew."""
    keys = sorted(set(patients))
    counts = {key: np.zeros(labels.shape[1] + 1) for key in keys}
    for patient, row in zip(patients, labels, strict=True):
        counts[patient] += [*(row == 1), 1]
    wanted = {name: share * sum(counts.values()) for name, share in shares.items()}
    home: dict[str, str] = {}
    order = [keys[k] for k in np.random.default_rng(seed).permutation(len(keys))]
    while left := [key for key in order if key not in home]:
        carriers = np.sum([counts[key] > 0 for key in left], axis=0)
        finding = min((k for k in range(len(carriers)) if carriers[k]), key=lambda k: carriers[k])
        total = sum(counts[key][finding] for key in keys)
        for key in sorted((key for key in left if counts[key][finding]), key=lambda key: -counts[key][finding]):
            lack = {name: wanted[name][finding] / (shares[name] * total) for name in shares}
            home[key] = max(shares, key=lambda name: (lack[name], wanted[name][-1]))
            wanted[home[key]] = wanted[home[key]] - counts[key]
    return [home[patient] for patient in patients]


@pytest.mark.parametrize("seed", range(5))
def test_the_split_is_that_of_the_plain_rule(seed: int) -> None:
    patients, labels = population(seed, 60)
    assert split_patients(patients, labels, SHARES, seed) == reference_split(patients, labels, SHARES, seed)
