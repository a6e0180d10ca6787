"""What an arm adds: filtered copies, shares of synthetic sets, and the placebo."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from monai_cxraug.artifacts import write_json
from monai_cxraug.data.additions import FilteredRows, shuffle_labels
from monai_cxraug.data.datasets import PackDataset, PackRows
from monai_cxraug.data.filtered import FilterAugment
from monai_cxraug.data.manifest import Manifest, make_columns, read_manifest
from monai_cxraug.data.mixing import PROVENANCE_SCHEMA, MixedDataset
from monai_cxraug.data.pack import write_pack
from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.transforms.functional.filters import SYSTEM_B

SIDE = 24
GENTLE = ("gaussian", "minimum")


@pytest.fixture
def real(tmp_path: Path, make_set) -> Path:
    """40 images of 24 px; 20 in train, of which 7 show Edema and 5 Fibrosis."""
    return make_set(tmp_path / "real", n=40, side=SIDE)


# --- filtered copies ---


@pytest.mark.parametrize("size", [None, 12])
@pytest.mark.parametrize("contrast", [None, "equalise"])
def test_filtered_copies_are_those_of_filter_augment(real: Path, tmp_path: Path, size, contrast) -> None:
    copies = PackDataset(FilterAugment(real, tmp_path / "filtered").run(), "train", size=size, contrast=contrast)
    wanted = {copies[k]["name"]: copies[k] for k in range(len(copies))}
    dataset = MixedDataset(real, size=size, contrast=contrast, filtered={"Edema": 30}, seed=4)
    assert len(dataset) == 20 + 30
    for k in range(20, 50):
        sample = dataset[k]
        assert sample["source"] == "filtered"
        assert sample["label"][0] == 1
        twin = wanted[sample["name"]]
        assert_array_equal(sample["image"], twin["image"])
        assert_array_equal(sample["label"], twin["label"])
        assert sample["patient_id"] == twin["patient_id"]
    found = dataset.composition()["Edema"]
    assert found == {"real": 7, "duplicate": 0, "filtered": 30, "synthetic": 0, "external": 0}


@pytest.mark.parametrize("size", [None, 12])
def test_filtered_copies_in_colour_are_those_of_filter_augment(tmp_path: Path, make_colour_set, size) -> None:
    real = make_colour_set(tmp_path / "real", n=40, side=SIDE)
    copies = PackDataset(FilterAugment(real, tmp_path / "filtered").run(), "train", size=size)
    wanted = {copies[k]["name"]: copies[k]["image"] for k in range(len(copies))}
    dataset = MixedDataset(real, size=size, filtered={"Edema": 12}, seed=4)
    for k in range(20, 32):
        sample = dataset[k]
        assert sample["image"].shape == (3, size or SIDE, size or SIDE)
        assert_array_equal(sample["image"], wanted[sample["name"]])


@given(st.integers(0, 60), st.integers(0, 1000))
def test_copies_are_drawn_evenly_and_through_the_filters_in_turn(count: int, seed: int) -> None:
    part = FilteredRows.__new__(FilteredRows)  # the choice alone, without pictures
    from monai_cxraug.data.additions import _in_turn, repeat_rows

    positives = np.array([3, 5, 8, 13, 21, 34, 55])
    part.rows = repeat_rows(positives, count, seed)
    filters = _in_turn(part.rows, len(positives), SYSTEM_B)
    pairs = Counter(zip(part.rows.tolist(), filters, strict=True))
    every = [pairs[row, name] for row in positives.tolist() for name in SYSTEM_B]
    assert sum(every) == count
    assert max(every) - min(every) <= 1
    first = filters[: len(positives)]
    assert first == [SYSTEM_B[k % 3] for k in range(len(first))]
    for row in {*part.rows.tolist()}:  # the next one when a row comes again
        met = [SYSTEM_B.index(name) for name, drawn in zip(filters, part.rows, strict=True) if drawn == row]
        assert met == [(met[0] + k) % 3 for k in range(len(met))]


def test_only_real_positives_of_the_training_images_are_added(real: Path, tmp_path: Path) -> None:
    filtered = FilterAugment(real, tmp_path / "filtered", GENTLE).run()
    dataset = MixedDataset(filtered, duplicates={"Edema": 21}, filtered={"Fibrosis": 40}, fraction=0.5)
    assert (dataset.real.origins() == "filtered").sum() == 2 * len(dataset.real) / 3
    names = [dataset[k]["name"] for k in range(len(dataset.real), len(dataset))]
    assert not any("+" in name for name in names[:21])
    assert all(name.count("+") == 1 for name in names[21:])
    train = set(read_manifest(real)["image"][:20])
    assert {name.split("+")[0] for name in names} <= train
    assert {dataset[k]["patient_id"] for k in range(len(dataset))} == dataset.real.patients()


@pytest.mark.parametrize(
    ("filtered", "kind", "words"),
    [
        ({"Mass": 3}, InputError, ("positive for 'Mass' to be added by 'filtered'",)),
        ({"Edema": -1}, ConfigError, ("filtered 'Edema'", "-1")),
        ({"Edema": True}, ConfigError, ("filtered 'Edema'", "True")),
    ],
)
def test_filtered_copies_that_cannot_be(real: Path, refuses, filtered, kind, words) -> None:
    with refuses(kind, *words):
        MixedDataset(real, filtered=filtered)


def test_images_too_small_for_a_filter_are_refused_at_once(tmp_path: Path, make_set, refuses) -> None:
    with refuses(InputError, "pack.npy", "'unsharp'", "at least 9 × 9 pixels", "8 × 8"):
        MixedDataset(make_set(tmp_path, n=40, side=8), filtered={"Edema": 3})


# --- sets made here and elsewhere ---


def make_folder(folder: Path, labels: list[list[float]], source: str, seen: list[str], prefix: str = "s") -> Path:
    rows = [{"image": f"{prefix}{k}", "split": "train", "source": source} for k in range(len(labels))]
    pictures = np.random.default_rng(len(labels)).integers(0, 256, (len(labels), SIDE, SIDE), dtype=np.uint8)
    write_pack(folder, pictures, [row["image"] for row in rows])
    write_json(folder / "provenance.json", PROVENANCE_SCHEMA, {"patients_seen": seen})
    Manifest(make_columns(rows), ("Edema", "Fibrosis", "Mass"), np.float32(labels)).write(folder)
    return folder


NAN = float("nan")
EDEMA, FIBROSIS, BOTH = [1, NAN, NAN], [NAN, 1, NAN], [1, 1, 0]
#: of real images that show each finding.
SHARES = [0.2, 0.1, 0.3]


def test_the_first_images_of_a_set(real: Path, tmp_path: Path) -> None:
    made = make_folder(tmp_path / "made", [EDEMA] * 5, "synthetic", ["P001"])
    foreign = make_folder(tmp_path / "foreign", [FIBROSIS] * 9, "external", ["elsewhere 7"])
    dataset = MixedDataset(real, synthetic=[{"folder": str(made), "n": 3}, {"folder": str(foreign)}])
    assert [dataset[k]["name"] for k in range(20, 23)] == ["s0", "s1", "s2"]
    found = dataset.composition()
    assert found["Edema"] == {"real": 7, "duplicate": 0, "filtered": 0, "synthetic": 3, "external": 0}
    assert found["Fibrosis"] == {"real": 5, "duplicate": 0, "filtered": 0, "synthetic": 0, "external": 9}
    assert dataset.patients_seen() == sorted([*(f"P{k:03d}" for k in range(10)), "elsewhere 7"])
    assert Counter(dataset.origins()) == {"real": 20, "synthetic": 3, "external": 9}
    for count in (1, 5):
        assert len(MixedDataset(real, synthetic=[{"folder": str(made), "n": count}])) == 20 + count


def test_no_copy_is_a_count_too(real: Path) -> None:
    assert len(MixedDataset(real, duplicates={"Edema": 0}, filtered={"Edema": 0})) == 20


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"folder": "X", "n": 6}, ("from 1 to the number of images (5)", "6")),
        ({"folder": "X", "n": 0}, ("from 1", "0")),
        ({"folder": "X", "n": 2.0}, ("from 1", "2.0")),
        ({"folder": "X", "count": 2}, ("unknown key", "'count'", "folder")),
        ({"n": 2}, ("'folder'", "{'n': 2}")),
        (7, ("'folder'", "7")),
    ],
)
def test_entries_that_cannot_be(real: Path, tmp_path: Path, refuses, entry, words) -> None:
    made = make_folder(tmp_path / "made", [EDEMA] * 5, "synthetic", [])
    if isinstance(entry, dict) and "folder" in entry:
        entry = {**entry, "folder": str(made)}
    with refuses(ConfigError, "synthetic", *words):
        MixedDataset(real, synthetic=[entry])


def test_images_of_nobody_may_not_be_the_majority(real: Path, tmp_path: Path, refuses) -> None:
    made = make_folder(tmp_path / "made", [EDEMA] * 11, "synthetic", [])
    foreign = make_folder(tmp_path / "foreign", [EDEMA] * 10, "external", [])
    with refuses(ConfigError, "21 synthetic, 20 real"):
        MixedDataset(real, synthetic=[made, foreign])
    # a filtered copy shows a patient, as a duplicate does
    assert len(MixedDataset(real, synthetic=[made, foreign], filtered={"Edema": 1})) == 42


def test_the_filters_may_be_named(real: Path, refuses) -> None:
    named = MixedDataset(real, filtered={"Edema": 16}, filters=["median", "maximum"])
    copies = [named[k]["name"].rsplit("+", 1)[1] for k in range(20, 36)]
    assert sorted(set(copies)) == ["maximum", "median"]
    assert abs(copies.count("median") - copies.count("maximum")) <= 1
    with refuses(ConfigError, "did you mean 'median'"):
        MixedDataset(real, filtered={"Edema": 1}, filters=["medain"])


# --- the placebo ---


def matrices(least: int = 1) -> st.SearchStrategy[np.ndarray]:
    return st.lists(st.sampled_from([EDEMA, FIBROSIS, BOTH]), min_size=least, max_size=30).map(np.float32)


@given(matrices(), st.integers(0, 1000))
def test_what_is_known_of_how_many_images_stays(labels: np.ndarray, seed: int) -> None:
    before = labels.copy()
    dealt = shuffle_labels(labels, seed, SHARES)
    assert_array_equal(labels, before)
    assert_array_equal(dealt, shuffle_labels(labels, seed, SHARES))
    known, dealt_known = (sorted((~np.isnan(one)).tolist()) for one in (labels, dealt))
    assert dealt_known == known
    assert (np.nansum(dealt, axis=0) <= np.nansum(labels, axis=0)).all()  # nothing absent becomes present


def test_equal_labels_are_present_as_often_as_in_real_images() -> None:
    dealt = np.stack([shuffle_labels(np.float32([EDEMA] * 50), seed, SHARES) for seed in range(200)])
    assert set(dealt[..., 0].ravel()) == {0, 1}
    assert abs(dealt[..., 0].mean() - SHARES[0]) < 5 * np.sqrt(SHARES[0] * (1 - SHARES[0]) / dealt[..., 0].size)
    assert np.isnan(dealt[..., 1:]).all()
    together = shuffle_labels(np.float32([BOTH] * 4000), 0, SHARES)
    assert_allclose(together[:, :2].mean(axis=0), SHARES[:2], atol=0.03)


def test_the_placebo_goes_by_the_real_training_images(real: Path, tmp_path: Path) -> None:
    """7 of 20 show Edema; images whose labels say more often than that would teach what Edema looks like."""
    made = make_folder(tmp_path / "made", [EDEMA] * 400, "synthetic", [])
    placebo = MixedDataset(real, synthetic=[made], shuffle_labels=True, allow_synthetic_majority=True)
    assert abs(placebo.label_matrix()[20:, 0].mean() - 7 / 20) < 0.1


def test_a_shuffled_label_says_nothing_about_the_picture() -> None:
    labels = np.float32([EDEMA] * 30 + [FIBROSIS] * 70)
    dealt = np.stack([shuffle_labels(labels, seed, SHARES) for seed in range(2000)])
    for finding, share in ((0, 0.3), (1, 0.7)):
        edema, fibrosis = (dealt[:, part, finding] for part in (slice(30), slice(30, None)))
        for pictures in (edema, fibrosis):  # the same is said of either picture, as often as of a real one
            assert abs((~np.isnan(pictures)).mean() - share) < 0.02
            assert abs(np.nanmean(pictures) - SHARES[finding]) < 0.02


def test_shuffling_leaves_pictures_provenance_and_real_images_alone(real: Path, tmp_path: Path) -> None:
    made = make_folder(tmp_path / "made", [EDEMA] * 6, "synthetic", ["P001"])
    foreign = make_folder(tmp_path / "foreign", [FIBROSIS] * 8, "external", [], "f")
    sets = [{"folder": made, "n": 5}, foreign]
    plain, placebo = (
        MixedDataset(real, synthetic=sets, duplicates={"Edema": 3}, filtered={"Edema": 3}, shuffle_labels=shuffled)
        for shuffled in (False, True)
    )
    for k in range(len(plain)):
        assert {**plain[k], "image": 0, "label": 0} == {**placebo[k], "image": 0, "label": 0}
        assert_array_equal(plain[k]["image"], placebo[k]["image"])
        if not 20 <= k < 33:
            assert_array_equal(plain[k]["label"], placebo[k]["label"])
    before, after = plain.label_matrix()[20:33], placebo.label_matrix()[20:33]
    assert not np.array_equal(before, after, equal_nan=True)
    assert_array_equal((~np.isnan(before)).sum(axis=0), (~np.isnan(after)).sum(axis=0))
    assert placebo.patients_seen() == plain.patients_seen()
    other = MixedDataset(real, synthetic=sets, shuffle_labels=True, seed=1).label_matrix()[20:33]
    assert not np.array_equal(other, after, equal_nan=True)
    assert len(MixedDataset(real, shuffle_labels=True)) == 20  # nothing to shuffle


def test_parts_do_not_share_labels(real: Path) -> None:
    dataset = MixedDataset(real, filtered={"Edema": 3})
    assert isinstance(dataset.parts[1], PackRows)
    sample = dataset[20]
    sample["label"][:] = 7
    assert dataset[20]["label"][0] == 1
