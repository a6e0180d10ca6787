"""At most so many images that show a finding: nested, patient by patient; no generator may know who is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_cxraug.data.datasets import PackDataset, PackRows
from monai_cxraug.data.mixing import MixedDataset
from monai_cxraug.data.splits import choose_images
from monai_cxraug.errors import ConfigError, InputError, LabelError, LeakageError


@pytest.fixture
def real(tmp_path: Path, make_set) -> Path:
    """40 images of two a patient; 20 in train, of which 7 show Edema and 5 Fibrosis, two of them both."""
    return make_set(tmp_path / "real", n=40)


def names(rows: PackRows) -> set[str]:
    return {str(name) for name in rows.manifest["image"][rows.rows]}


def reference_choice(images: list[str], patients: list[str], most: int, seed: int) -> set[str]:
    """The same rule, slowly: whole patients in turn, and of the one that is too much its first images."""
    own = {image: patient or f"\0{image}" for image, patient in zip(images, patients, strict=True)}
    keys = sorted({(patients[k], "" if patients[k] else images[k]) for k in range(len(images))})
    turn = sorted(range(len(keys)), key=lambda k: int(np.random.default_rng(seed).permutation(len(keys))[k]))
    chosen: list[str] = []
    for key in (keys[k] for k in turn):
        theirs = sorted(image for image in images if own[image] == (key[0] or f"\0{key[1]}"))
        chosen += theirs[: most - len(chosen)]
    return set(chosen)


patients_of_images = st.lists(st.sampled_from(["a", "b", "c", "d", "", "é"]), min_size=1, max_size=25)


@given(patients_of_images, st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**31))
def test_choices_are_nested_and_exact(patients: list[str], one: int, other: int, seed: int) -> None:
    images = [f"i{k:02d}" for k in range(len(patients))]
    small, large = (choose_images(images, patients, most, seed) for most in sorted((one, other)))
    assert not (small & ~large).any()
    assert large.sum() == min(max(one, other), len(images))
    assert {images[k] for k in np.flatnonzero(small)} == reference_choice(images, patients, min(one, other), seed)
    again = choose_images(images[::-1], patients[::-1], min(one, other), seed)[::-1]
    assert (again == small).all()


def test_patients_are_taken_whole_but_the_last() -> None:
    patients = [f"P{k // 3}" for k in range(30)]
    images = [f"{k:02d}" for k in range(30)]
    for most in range(1, 31):
        counts = np.bincount([k // 3 for k in np.flatnonzero(choose_images(images, patients, most, 5))], minlength=10)
        assert sorted(set(counts) - {0, 3}) == ([most % 3] if most % 3 else [])


def test_another_seed_chooses_others() -> None:
    images = [f"{k:02d}" for k in range(60)]
    assert len({choose_images(images, images, 6, seed).tobytes() for seed in range(10)}) == 10


@pytest.mark.parametrize("most", [0, -1, 2.0, True, "10", None])
def test_a_limit_that_is_none(real: Path, refuses, most) -> None:
    with refuses(ConfigError, "limit", "at least 1", repr(most)):
        choose_images(["a"], ["a"], most, 0)
    with refuses(ConfigError, "limit 'Edema'", "at least 1", repr(most)):
        PackRows(real, limit={"Edema": most})


@pytest.mark.parametrize("seed", range(4))
def test_the_limited_images_stay_and_every_other_one(real: Path, seed: int) -> None:
    everything = PackRows(real, "train")
    shown = {name for name in names(everything) if int(name[1:4]) % 3 == 0}
    assert len(shown) == 7
    before: set[str] = set()
    for most in range(1, 9):
        kept = names(PackRows(real, "train", limit={"Edema": most}, fraction_seed=seed))
        assert kept - shown == names(everything) - shown
        assert len(kept & shown) == min(most, 7)
        assert before <= kept
        before = kept
    assert before == names(everything)
    assert names(PackRows(real, "train", limit={})) == names(everything)


def test_seeds_keep_others(real: Path) -> None:
    kept = {frozenset(names(PackRows(real, "train", limit={"Edema": 2}, fraction_seed=seed))) for seed in range(12)}
    assert len(kept) > 6


def test_unknown_and_absent_are_never_cut(real: Path) -> None:
    rows = PackRows(real, "train")
    unknown = np.isnan(rows.label_matrix()).sum()
    with_limit = PackRows(real, "train", limit={"Mass": 1})  # none shows it
    assert np.isnan(with_limit.label_matrix()).sum() == unknown > 0
    assert len(with_limit) == len(rows)


def test_several_limits_and_a_fraction(real: Path) -> None:
    both = PackRows(real, "train", limit={"Edema": 3, "Fibrosis": 2}, fraction_seed=1)
    alone = [PackRows(real, "train", limit=one, fraction_seed=1) for one in ({"Edema": 3}, {"Fibrosis": 2})]
    assert names(both) == names(alone[0]) & names(alone[1])
    part = PackRows(real, "train", fraction=0.5, fraction_seed=1)
    cut = PackRows(real, "train", fraction=0.5, fraction_seed=1, limit={"Edema": 1})
    assert names(cut) < names(part)
    assert cut.count(1)[0] == 1
    # folds are those of all patients, whatever the limit
    rest = [PackRows(real, "train", left_out_fold=[k, 2], limit={"Edema": 3}) for k in range(2)]
    assert set().union(*map(names, rest)) == names(PackRows(real, "train", limit={"Edema": 3}))
    generator = PackDataset(real, "train", having="Edema", limit={"Edema": 3}, fraction_seed=1)
    assert names(generator.real) == {name for name in names(alone[0]) if int(name[1:4]) % 3 == 0}


def test_what_a_limit_names_must_be_there(real: Path, refuses) -> None:
    with refuses(LabelError, "'Edma'", "did you mean 'Edema'?"):
        PackRows(real, limit={"Edma": 3})
    with refuses(InputError, "positive for 'Edema'"):
        PackRows(real, "train", where={"image": ["P001.png", "P002.png"]}, limit={"Edema": 1}, having="Edema")


def test_a_generator_may_not_have_seen_a_patient_that_the_limit_leaves_out(
    tmp_path: Path, make_set, make_synthetic, refuses
) -> None:
    """Every image a patient of its own, so that a cut image is a cut patient."""
    real = make_set(tmp_path / "real", n=40, patient_id=[f"P{row:03d}" for row in range(40)])
    limited = {"limit": {"Edema": 3}, "fraction_seed": 2}
    kept = MixedDataset(real, **limited).real.patients()
    cut = sorted(MixedDataset(real).real.patients() - kept)
    assert len(cut) == 4
    good = make_synthetic(tmp_path / "good", 2, sorted(kept))
    bad = make_synthetic(tmp_path / "bad", 2, [*sorted(kept), cut[1]])
    dataset = MixedDataset(real, synthetic=[good], **limited)
    assert dataset.patients_seen() == sorted(kept)
    assert dataset.composition()["Edema"]["real"] == 3
    with refuses(LeakageError, bad, repr(cut[1]), "training patients only"):
        MixedDataset(real, synthetic=[good, bad], **limited)
    assert len(MixedDataset(real, synthetic=[good, bad])) == 24
    # a smaller limit is part of a larger one, and so are those that its generator may know
    smaller = {"limit": {"Edema": 2}, "fraction_seed": 2}
    below = make_synthetic(tmp_path / "below", 2, MixedDataset(real, **smaller).patients_seen())
    assert len(MixedDataset(real, synthetic=[below], **limited)) == 16 + 2
