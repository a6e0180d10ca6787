"""The mixing data set: what is added, what is counted, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from numpy.testing import assert_array_equal

from monai_cxraug.data.additions import repeat_rows
from monai_cxraug.data.copies import COPIES
from monai_cxraug.data.folds import leave_out_fold
from monai_cxraug.data.manifest import Manifest, make_columns, read_manifest
from monai_cxraug.data.mixing import MixedDataset, evaluation_patients, held_out_patients, refuse_seen
from monai_cxraug.data.samplers import Draw
from monai_cxraug.data.splits import choose_fraction
from monai_cxraug.errors import ConfigError, InputError, LabelError, LeakageError, StateError

TRAIN = {f"P{k:03d}" for k in range(10)}  # of 40 images


@pytest.fixture
def real(tmp_path: Path, make_set) -> Path:
    """40 images; 20 in train, of which 7 show Edema and 5 Fibrosis."""
    return make_set(tmp_path / "real", n=40)


def test_real_duplicates_and_synthetic_images(real: Path, tmp_path: Path, make_synthetic) -> None:
    folders = [
        make_synthetic(tmp_path / "one", 4, ["P000"]),
        make_synthetic(tmp_path / "two", 3, [], "Fibrosis", findings=("Mass", "Fibrosis", "Edema")),
    ]
    dataset = MixedDataset(real, synthetic=folders, duplicates={"Edema": 9})
    assert len(dataset) == 20 + 4 + 3 + 9
    samples = [dataset[k] for k in range(len(dataset))]
    assert [sample["source"] for sample in samples] == ["real"] * 20 + ["synthetic"] * 7 + ["real"] * 9
    assert_array_equal([sample["label"] for sample in samples[20:24]], [[1, np.nan, np.nan]] * 4)
    assert_array_equal([sample["label"] for sample in samples[24:27]], [[np.nan, 1, np.nan]] * 3)
    assert [sample["name"] for sample in samples[20:27]] == ["s0", "s1", "s2", "s3", "s0", "s1", "s2"]
    stored = np.load(tmp_path / "two" / "pack.npy")
    assert_array_equal(samples[26]["image"][0], np.float32(stored[2]) / 255)
    assert all(sample["label"][0] == 1 and sample["patient_id"] in TRAIN for sample in samples[27:])
    none = {"real": 0, "duplicate": 0, "filtered": 0, "synthetic": 0, "external": 0}
    both = sum(float(sample["label"][1]) == 1 for sample in samples[27:])
    assert dataset.composition() == {
        "Edema": {**none, "real": 7, "duplicate": 9, "synthetic": 4},
        "Fibrosis": {**none, "real": 5, "duplicate": both, "synthetic": 3},
        "Mass": none,
    }
    with pytest.raises(IndexError):
        dataset[len(dataset)]


@given(st.integers(1, 9), st.integers(0, 60), st.integers(0, 1000))
def test_repetition_is_even_and_counted(rows: int, count: int, seed: int) -> None:
    members = np.arange(100, 100 + rows)
    drawn = repeat_rows(members, count, seed)
    assert len(drawn) == count
    assert set(drawn) <= set(members)
    times = Counter(drawn)
    assert max(times[row] for row in members) - min(times[row] for row in members) <= 1
    assert_array_equal(repeat_rows(members, count, seed), drawn)


def test_seeds_repeat_other_rows() -> None:
    assert len({tuple(repeat_rows(np.arange(20), 5, seed)) for seed in range(8)}) == 8


def test_only_the_fraction_is_real_and_duplicated(real: Path) -> None:
    dataset = MixedDataset(real, fraction=0.5, fraction_seed=3, duplicates={"Edema": 30})
    patients = dataset.real.patients()
    assert len(patients) == 5
    assert {dataset[k]["patient_id"] for k in range(len(dataset))} <= patients
    assert MixedDataset(real, fraction=0.2, fraction_seed=3).real.patients() < patients < TRAIN


def test_every_setting_reaches_the_images(real: Path) -> None:
    def write(sample: dict[str, Any], word: str) -> dict[str, Any]:
        return {**sample, "name": f"{sample['name']} {word}"}

    dataset = MixedDataset(
        real,
        findings=["Fibrosis"],
        size=4,
        transform=lambda sample: write(sample, "changed"),
        repeat_transform=lambda sample: write(sample, "again"),
        contrast="equalise",
        duplicates={"Fibrosis": 2},
    )
    plain, first, again = MixedDataset(real, findings=["Fibrosis"], size=4)[1], dataset[1], dataset[Draw(1, 7, True)]
    assert (first["name"], again["name"]) == ("P001.png changed", "P001.png again changed")
    assert first["image"].shape == (1, 4, 4)
    assert first["label"].shape == (1,)
    assert not np.array_equal(first["image"], plain["image"])
    for seed in range(4):
        kept = MixedDataset(real, fraction=0.5, fraction_seed=seed).real.patients()
        assert kept == choose_fraction(sorted(TRAIN), 0.5, seed)
        rest = MixedDataset(real, left_out_fold=[1, 3], fraction_seed=seed).real.patients()
        assert rest == leave_out_fold(sorted(TRAIN), [1, 3], seed)
        repeated = MixedDataset(real, duplicates={"Edema": 3}, seed=seed).parts[1].rows
        assert_array_equal(repeated, repeat_rows(np.arange(0, 20, 3), 3, seed))
    assert len(MixedDataset(real, "val")) == 10
    assert len(MixedDataset(real, where={"image": ["P001.png", "P003.png"]})) == 2


def test_without_a_seed_the_fraction_is_that_of_seed_0(real: Path) -> None:
    assert MixedDataset(real, fraction=0.5).real.patients() == choose_fraction(sorted(TRAIN), 0.5, 0)


def test_every_sample_is_found_in_its_part(real: Path, tmp_path: Path, make_synthetic) -> None:
    dataset = MixedDataset(real, synthetic=[make_synthetic(tmp_path / "set", 3, [])], duplicates={"Edema": 2})
    found = [dataset.locate(index) for index in range(len(dataset))]
    assert found == [(part, position) for part in dataset.parts for position in range(len(part))]
    assert [dataset[k]["name"] for k in range(20)] == [f"P{k:03d}.png" for k in range(20)]
    for index in (-1, -len(dataset), len(dataset)):
        with pytest.raises(IndexError):
            dataset.locate(index)


def test_a_generator_that_saw_an_evaluation_patient_is_refused(
    real: Path, tmp_path: Path, make_synthetic, refuses
) -> None:
    for stranger in ("P012", "P018"):  # val, test
        folder = make_synthetic(tmp_path / stranger, 2, ["P000", stranger])
        with refuses(LeakageError, folder, "a generator", f"'{stranger}'", "training patients only"):
            MixedDataset(real, synthetic=[folder])


def test_a_generator_that_saw_beyond_the_fraction_is_refused(
    real: Path, tmp_path: Path, make_synthetic, refuses
) -> None:
    inside = MixedDataset(real, fraction=0.5).real.patients()
    outsider = sorted(TRAIN - inside)[0]
    good = make_synthetic(tmp_path / "good", 2, sorted(inside))
    bad = make_synthetic(tmp_path / "bad", 2, [*sorted(inside), outsider])
    assert len(MixedDataset(real, fraction=0.5, synthetic=[good])) == 12
    with refuses(LeakageError, bad, repr(outsider)):
        MixedDataset(real, fraction=0.5, synthetic=[good, bad])
    assert len(MixedDataset(real, synthetic=[good, bad])) == 24


def test_a_generator_that_saw_another_manifests_patient_is_refused(
    real: Path, tmp_path: Path, make_set, make_synthetic, refuses
) -> None:
    other = make_set(tmp_path / "other", n=16, prefix="Q")
    folder = make_synthetic(tmp_path / "set", 2, ["P000", "Q005"])
    held_out = [{"manifest": str(other), "split": "val"}]
    assert len(MixedDataset(real, synthetic=[folder])) == 22
    with refuses(LeakageError, folder, "'Q005'"):
        MixedDataset(real, synthetic=[folder], held_out=held_out)
    kept = [{"manifest": str(other), "split": "test", "where": {"source": "real"}}]
    assert len(MixedDataset(real, synthetic=[folder], held_out=kept)) == 22


def test_training_on_a_held_out_patient_is_refused(real: Path, tmp_path: Path, make_set, refuses) -> None:
    other = make_set(tmp_path / "other", n=16, patient_id=["X"] * 8 + ["P001"] * 4 + ["Y"] * 4)
    with refuses(LeakageError, other, "no training patient", "'P001'", "split by patient"):
        MixedDataset(real, held_out=[{"manifest": str(other), "split": "val"}])
    assert len(MixedDataset(real, held_out=[{"manifest": str(other), "split": "test"}])) == 20


def test_training_on_a_held_out_picture_is_refused(tmp_path: Path, make_set, refuses) -> None:
    """The same picture under another patient's name, in a set that was prepared apart."""
    contents = [f"own{row}" for row in range(40)]
    contents[25] = "own3"  # in val too: told when this set was prepared
    real = make_set(tmp_path / "real", n=40, content=contents)
    # the manifests share a picture of train and one of val, and have pictures of unknown content
    judged = ["", "own3", "own25", "", *(f"other{row}" for row in range(12))]
    other = make_set(tmp_path / "other", n=16, prefix="Q", content=judged)
    held_out = [{"manifest": str(other)}]
    with refuses(LeakageError, other, "'Q001.png' has the same picture as 'P003.png'"):
        MixedDataset(real, held_out=held_out)
    assert len(MixedDataset(real, held_out=[{"manifest": str(other), "split": "val"}])) == 20
    assert len(MixedDataset(real, held_out=[{"manifest": str(real), "split": "val"}])) == 20
    for folder, column in ((tmp_path / "plain", {}), (tmp_path / "unknown", {"content": [""] * 40})):
        assert len(MixedDataset(make_set(folder, n=40, **column), held_out=held_out)) == 20


def test_held_out_specifications_are_checked(real: Path, refuses) -> None:
    with refuses(ConfigError, "held_out", "'splitt'", "did you mean 'split'?"):
        MixedDataset(real, held_out=[{"manifest": str(real), "splitt": "val"}])


@pytest.mark.parametrize("declared", ["P012", [12], None, {"P012": 1}])
def test_patients_must_be_declared_as_text(real: Path, tmp_path: Path, make_synthetic, refuses, declared) -> None:
    folder = make_synthetic(tmp_path / "set", 2, declared)
    with refuses(LeakageError, "provenance.json", "'patients_seen'", "declare"):
        MixedDataset(real, synthetic=[folder])


def test_a_set_without_provenance_is_refused(real: Path, tmp_path: Path, make_synthetic, refuses) -> None:
    folder = make_synthetic(tmp_path / "set", 2, [])
    document = json.loads((folder / "provenance.json").read_text())
    (folder / "provenance.json").write_text(json.dumps({**document, "schema": "other/1"}))
    with refuses(StateError, "provenance.json", "cxraug.synthetic/1", "other/1"):
        MixedDataset(real, synthetic=[folder])
    (folder / "provenance.json").unlink()
    with refuses(InputError, "provenance.json", "must exist"):
        MixedDataset(real, synthetic=[folder])


def audited(folder: Path, verdict: str) -> Path:
    """Write into a set's provenance what its audit found."""
    document = json.loads((folder / "provenance.json").read_text())
    audit = {"verdict": verdict, "images": 2, "near": 2, "copies": 1}
    (folder / "provenance.json").write_text(json.dumps({**document, "memorisation_audit": audit}))
    return folder


def test_what_is_known_of_copies_is_said_and_kept(real: Path, tmp_path: Path, make_synthetic, capsys) -> None:
    known, unknown = (make_synthetic(tmp_path / name, 2, []) for name in ("known", "unknown"))
    dataset = MixedDataset(real, synthetic=[audited(known, "no copies found"), unknown])
    assert dataset.audits() == [
        {"set": "known", "verdict": "no copies found", "allow_copies": False},
        {"set": "unknown", "not run": "there is none", "allow_copies": False},
    ]
    assert [line.split(": ")[:2] for line in capsys.readouterr().err.splitlines()] == [
        [str(unknown), "not audited for copies of training images (there is none); cxraug audit does it"]
    ]


def test_copies_of_training_images_need_leave(real: Path, tmp_path: Path, make_synthetic, refuses) -> None:
    folder = audited(make_synthetic(tmp_path / "set", 2, []), COPIES)
    with refuses(StateError, folder, "copies of training images", "2 of 2 near", "allow_copies: true"):
        MixedDataset(real, synthetic=[folder])
    allowed = MixedDataset(real, synthetic=[folder], allow_copies=True)
    assert allowed.audits() == [{"set": "set", "verdict": COPIES, "allow_copies": True}]
    assert MixedDataset(real).audits() == []


def test_grey_and_colour_do_not_mix(tmp_path: Path, make_set, make_colour_set, make_synthetic, refuses) -> None:
    folder = make_synthetic(tmp_path / "one", 4, [])
    MixedDataset(make_set(tmp_path / "grey"), synthetic=[folder])
    with refuses(ConfigError, folder, "must have 3 channels", "--colour"):
        MixedDataset(make_colour_set(tmp_path / "colour"), synthetic=[folder])


def test_real_images_are_no_synthetic_set(real: Path, tmp_path: Path, make_set, make_synthetic, refuses) -> None:
    folder = make_synthetic(tmp_path / "set", 2, [])
    make_set(folder, n=8)
    with refuses(InputError, folder, "synthetic", "real"):
        MixedDataset(real, synthetic=[folder])


def test_one_real_image_is_enough_to_refuse_a_set(real: Path, tmp_path: Path, make_synthetic, refuses) -> None:
    folder = make_synthetic(tmp_path / "set", 3, [])
    rows = [{"image": f"s{k}", "split": "train", "source": "synthetic" if k else "real"} for k in range(3)]
    Manifest(make_columns(rows), ("Edema", "Fibrosis", "Mass"), np.ones((3, 3), dtype=np.float32)).write(folder)
    with refuses(InputError, folder, "synthetic", "real"):
        MixedDataset(real, synthetic=[folder])


def test_synthetic_images_get_the_size_and_contrast_of_real_ones(real: Path, tmp_path: Path, make_synthetic) -> None:
    folder = make_synthetic(tmp_path / "set", 2, [])
    images = [
        MixedDataset(real, size=size, contrast=contrast, synthetic=[folder])[20]["image"]
        for size in (4, 8)
        for contrast in (None, "equalise")
    ]
    assert [image.shape[-1] for image in images] == [4, 4, 8, 8]
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[2], images[3])


def test_a_synthetic_set_must_know_the_findings(real: Path, tmp_path: Path, make_synthetic, refuses) -> None:
    folder = make_synthetic(tmp_path / "set", 2, [], findings=("Edema",))
    with refuses(LabelError, folder / "manifest.csv", "'Fibrosis'"):
        MixedDataset(real, synthetic=[folder])
    assert len(MixedDataset(real, synthetic=[folder], findings=["Edema"])) == 22


def test_a_synthetic_majority_needs_leave(real: Path, tmp_path: Path, make_synthetic, refuses) -> None:
    half, more = make_synthetic(tmp_path / "half", 20, []), make_synthetic(tmp_path / "more", 1, [])
    assert len(MixedDataset(real, synthetic=[half])) == 40
    with refuses(ConfigError, "allow_synthetic_majority", "21 synthetic, 20 real", "true"):
        MixedDataset(real, synthetic=[half, more])
    assert len(MixedDataset(real, synthetic=[half, more], allow_synthetic_majority=True)) == 41
    # duplicates are real images
    assert len(MixedDataset(real, synthetic=[half, more], duplicates={"Edema": 1})) == 42


@pytest.mark.parametrize(
    ("duplicates", "kind", "words"),
    [
        ({"Edma": 3}, LabelError, ("'Edma'", "did you mean 'Edema'?")),
        ({"Mass": 3}, InputError, ("positive for 'Mass' to be added by 'duplicates'",)),
        ({"Edema": -1}, ConfigError, ("duplicates 'Edema'", "-1")),
        ({"Edema": 2.5}, ConfigError, ("duplicates 'Edema'", "2.5")),
    ],
)
def test_duplicates_that_cannot_be(real: Path, refuses, duplicates, kind, words) -> None:
    with refuses(kind, *words):
        MixedDataset(real, duplicates=duplicates)


def test_target_in_a_configuration(real: Path, tmp_path: Path, make_synthetic) -> None:
    config = {
        "dataset": {
            "_target_": "monai_cxraug.data.mixing.MixedDataset",
            "manifest": str(real),
            "synthetic": [str(make_synthetic(tmp_path / "set", 3, ["P001"]))],
            "duplicates": {"Fibrosis": 2},
            "held_out": [{"manifest": str(real), "split": "val"}],
            "transform": {"_target_": "ScaleIntensityd", "keys": "image"},
        }
    }
    dataset = ConfigParser(config).get_parsed_content("dataset")
    assert isinstance(dataset, MixedDataset)
    assert len([dataset[k] for k in range(len(dataset))]) == 25


def test_patients_of_evaluation_images(real: Path) -> None:
    everyone = read_manifest(real).patients()
    assert held_out_patients(real) == everyone - TRAIN
    assert evaluation_patients(real, "val") == {f"P{k:03d}" for k in range(10, 15)}
    refuse_seen(frozenset({"A"}), frozenset({"B"}), "here")
