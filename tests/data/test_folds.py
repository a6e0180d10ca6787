"""Folds of patients: a partition, pure, and even within every fraction."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_cxraug.data.datasets import PackDataset, PackRows
from monai_cxraug.data.folds import leave_out_fold
from monai_cxraug.data.mixing import MixedDataset
from monai_cxraug.data.splits import choose_fraction
from monai_cxraug.errors import ConfigError, InputError, LeakageError

EVERYONE = [f"P{k:03d}" for k in range(10)]


@given(st.sets(st.text(min_size=1), min_size=2, max_size=40), st.integers(2, 7), st.integers(0, 2**31))
def test_folds_are_a_partition_of_equal_parts(patients: set[str], folds: int, seed: int) -> None:
    folds = min(folds, len(patients))
    left_out = [patients - leave_out_fold(sorted(patients), [k, folds], seed) for k in range(folds)]
    assert Counter(one for fold in left_out for one in fold) == Counter(patients)
    assert max(map(len, left_out)) - min(map(len, left_out)) <= 1
    shuffled = sorted(patients, key=hash) * 2
    assert patients - leave_out_fold(shuffled, (0, folds), seed) == left_out[0]


@given(st.floats(0.1, 1.0), st.integers(2, 5), st.integers(0, 1000))
def test_folds_are_even_in_every_fraction(fraction: float, folds: int, seed: int) -> None:
    patients = [f"P{k}" for k in range(57)]
    chosen = choose_fraction(patients, fraction, seed)
    sizes = [len(chosen - leave_out_fold(patients, [k, folds], seed)) for k in range(folds)]
    assert sum(sizes) == len(chosen)
    assert max(sizes) - min(sizes) <= 1


def test_seeds_deal_differently() -> None:
    assert len({leave_out_fold(EVERYONE, [0, 2], seed) for seed in range(10)}) > 5


def test_there_can_be_as_many_folds_as_patients() -> None:
    assert {leave_out_fold("ab", [k, 2], 0) for k in range(2)} == {frozenset("a"), frozenset("b")}


@pytest.mark.parametrize("fold", [[2, 2], [-1, 2], [0, 1], [0, 11], [0], [0, 2, 3], 3, [0.0, 2], "ab", [True, 3]])
def test_folds_that_cannot_be(fold: object, refuses) -> None:
    with refuses(ConfigError, "left_out_fold", "[k, K]", "(10)"):
        leave_out_fold(EVERYONE, fold, 0)


@pytest.mark.parametrize("kind", [PackRows, PackDataset, MixedDataset])
def test_the_folds_patients_are_left_out(kind, make_set, tmp_path: Path) -> None:
    real = make_set(tmp_path, n=40)
    rest = [kind(real, "train", left_out_fold=[k, 3], fraction_seed=5) for k in range(3)]
    kept = [(part if kind is PackRows else part.real).patients() for part in rest]
    assert [len(EVERYONE) - len(part) for part in kept] == [4, 3, 3]
    assert Counter(one for part in kept for one in part) == dict.fromkeys(EVERYONE, 2)
    assert [len(part) for part in rest] == [12, 14, 14]


def test_only_patients_used_are_seen_and_no_generator_may_know_others(make_set, make_synthetic, tmp_path, refuses):
    real = make_set(tmp_path / "real", n=40, side=9)
    rest = MixedDataset(real, left_out_fold=[1, 2], duplicates={"Edema": 8}, filtered={"Edema": 8}, fraction=0.8)
    assert rest.patients_seen() == sorted(choose_fraction(EVERYONE, 0.8, 0) & leave_out_fold(EVERYONE, [1, 2], 0))
    assert {rest[k]["patient_id"] for k in range(len(rest))} == set(rest.patients_seen())
    outsider = sorted(set(EVERYONE) - set(rest.patients_seen()))[0]
    folder = make_synthetic(tmp_path / "set", 2, [outsider])
    with refuses(LeakageError, folder, repr(outsider)):
        MixedDataset(real, left_out_fold=[1, 2], fraction=0.8, size=8, synthetic=[folder])


def test_images_of_nobody_known_are_in_no_fold(make_set, tmp_path: Path, refuses) -> None:
    patients = ["", *(f"P{k // 2:03d}" for k in range(1, 40))]
    real = make_set(tmp_path / "some", n=40, patient_id=patients)
    assert sum(20 - len(PackRows(real, "train", left_out_fold=[k, 2])) for k in range(2)) == 19 + 2
    nobody = make_set(tmp_path / "none", n=40, patient_id=[""] * 40)
    with refuses(ConfigError, "left_out_fold", "(0)"):
        PackRows(nobody, "train", left_out_fold=[0, 2])
    with refuses(InputError, "positive for 'Mass'"):
        PackRows(real, "train", left_out_fold=[0, 2], having="Mass")


def test_a_model_is_not_judged_by_whom_it_has_seen(make_set, tmp_path: Path, refuses) -> None:
    real = make_set(tmp_path, n=40)
    assert len(PackDataset(real, "val", trained_on=EVERYONE)) == 10
    with refuses(LeakageError, real, "1 others, for example 'P012'", "not trained on"):
        PackDataset(real, "val", trained_on=[*EVERYONE, "P012", "", "stranger"])
