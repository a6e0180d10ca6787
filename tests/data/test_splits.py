"""Patients stay together, every finding is spread, and a smaller fraction is part of a larger one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_cxraug.data.splits import choose_fraction, choose_images, fold_patients, split_patients
from monai_cxraug.errors import ConfigError

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
RARITY = (0.02, 0.05, 0.2, 0.5)


def population(seed: int, patients: int = 150, most: int = 6) -> tuple[list[str], np.ndarray]:
    """Patients of one to six images, or at most so many; findings belong to patients, as they do in life."""
    rng = np.random.default_rng(seed)
    images = rng.integers(1, most + 1, patients)
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


def test_every_image_has_its_place_among_the_patients() -> None:
    with pytest.raises(ValueError, match="zip"):
        choose_images(["a"], ["P", "Q"], 1, 0)


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


def test_there_can_be_as_many_folds_as_patients() -> None:
    patients = ["a", "b", "b", "c"]
    dealt = fold_patients(patients, np.zeros((4, 1), dtype=np.float32), 3, 0)
    assert len(set(dealt)) == len(set(zip(patients, dealt, strict=True))) == 3


@pytest.mark.parametrize("folds", [0, 1, 4])
def test_folds_that_cannot_be(refuses, folds: int) -> None:
    with refuses(ConfigError, "folds", folds, "at most 3"):
        fold_patients(["a", "b", "b", "c"], np.zeros((4, 1), dtype=np.float32), folds, 0)


@pytest.mark.parametrize(("patients", "mend"), [("ab", "give at most 2"), ("a", "need two patients"), ("", "need two")])
def test_who_asks_for_too_many_folds_is_told_how_many_there_can_be(refuses, patients: str, mend: str) -> None:
    with refuses(ConfigError, "folds", 3, mend):
        fold_patients([*patients], np.zeros((len(patients), 1), dtype=np.float32), 3, 0)


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


@pytest.mark.parametrize("most", [1, 6])
@pytest.mark.parametrize("seed", range(5))
def test_the_split_is_that_of_the_plain_rule(seed: int, most: int) -> None:
    patients, labels = population(seed, 60, most)
    assert split_patients(patients, labels, SHARES, seed) == reference_split(patients, labels, SHARES, seed)


# --- any population ---


@st.composite
def populations(draw: st.DrawFn, findings: int | None = None) -> tuple[list[str], np.ndarray]:
    """Patients of any name with one to five images each, labels 1, 0 and unknown by image."""
    names = draw(st.lists(st.text(min_size=1, max_size=4), min_size=2, max_size=30, unique=True))
    images = draw(st.lists(st.integers(1, 5), min_size=len(names), max_size=len(names)))
    patients = [name.rstrip("\0") or "-" for name, count in zip(names, images, strict=True) for _ in range(count)]
    columns = draw(st.integers(0, 4)) if findings is None else findings
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    labels = rng.choice([0, 1, np.nan], (len(patients), columns), p=[0.6, 0.3, 0.1])
    return patients, labels.astype(np.float32)


@st.composite
def shares_to_ask(draw: st.DrawFn) -> dict[str, float]:
    parts = draw(st.lists(st.integers(1, 10), min_size=1, max_size=5))
    return {f"s{k}": part / sum(parts) for k, part in enumerate(parts)}


def by_patient(patients: list[str], values: list[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for patient, value in zip(patients, values, strict=True):
        found.setdefault(patient, set()).add(value)
    return found


@given(populations(), shares_to_ask(), st.integers(0, 2**31), st.randoms(use_true_random=False))
def test_any_split_is_whole_by_patient_and_a_function_of_the_seed(population, shares, seed: int, random) -> None:
    patients, labels = population
    splits = split_patients(patients, labels, shares, seed)
    assert all(len(found) == 1 for found in by_patient(patients, splits).values())
    assert set(splits) <= set(shares)
    order = list(range(len(patients)))
    random.shuffle(order)
    again = split_patients([patients[k] for k in order], labels[order], shares, seed)
    assert again == [splits[k] for k in order]
    # what a patient is called means nothing but the order of the patients
    rank = {name: f"{place:04d}" for place, name in enumerate(sorted(set(patients)))}
    assert split_patients([rank[name] for name in patients], labels, shares, seed) == splits


@given(populations(findings=1), shares_to_ask(), st.integers(0, 2**31), st.booleans())
def test_no_split_has_more_than_its_share_by_a_patient(population, shares, seed: int, shown: bool) -> None:
    """Of a single finding, or of the images where there is none: the last patient dealt may go beyond, none after."""
    patients, labels = population
    counted = labels[:, 0] == 1 if shown else np.ones(len(patients), dtype=bool)
    splits = np.array(split_patients(patients, labels if shown else labels[:, :0], shares, seed))
    largest = max(Counter(np.array(patients)[counted].tolist()).values(), default=0)
    for name, share in shares.items():
        over = (counted & (splits == name)).sum() - share * counted.sum()
        assert over <= largest + 1e-9
        assert -over <= (len(shares) - 1) * largest + 1e-9  # what the others have too much


@given(populations(), st.integers(2, 6), st.integers(0, 2**31))
def test_folds_hold_every_patient_once_and_none_is_empty(population, folds: int, seed: int) -> None:
    patients, labels = population
    folds = min(folds, len(set(patients)))
    if folds < 2:
        return
    dealt = fold_patients(patients, labels, folds, seed)
    assert all(len(found) == 1 for found in by_patient(patients, dealt).values())
    assert set(dealt) <= {str(fold) for fold in range(folds)}
    assert dealt == fold_patients(patients, labels, folds, seed)


@given(st.integers(2, 40), st.floats(0.01, 1), st.integers(0, 2**31))
@settings(max_examples=50)
def test_a_fraction_is_of_the_patients_whatever_they_are_called(count: int, fraction: float, seed: int) -> None:
    plain = [f"P{k:03d}" for k in range(count)]
    renamed = {name: f"한 {name}é" for name in plain}
    chosen = choose_fraction(plain, fraction, seed)
    assert choose_fraction([*renamed.values()], fraction, seed) == {renamed[name] for name in chosen}
