"""One sub-folder per class: with and without splits, in Korean, in archives, with patients in file names."""

from __future__ import annotations

import unicodedata
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from monai_cxraug.cli.parser import build_parser
from monai_cxraug.data.manifest import check_manifest
from monai_cxraug.errors import ConfigError, InputError
from tests.data.sources.conftest import labels_of


def test_the_skin_layout(layouts, list_all) -> None:
    listing = list_all("folder", layouts("skin"), negative="benign")
    assert listing.findings == ("malignant",)
    assert {image: labels["malignant"] for image, labels in labels_of(listing).items()} == {
        row["image"]: float("malignant" in row["image"]) for row in listing.rows
    }
    assert all(("test/" in row["image"]) == (row["split"] == "test") for row in listing.rows)
    assert Counter(row["split"] for row in listing.rows).keys() == {"train", "val", "test"}
    assert listing.depth == 8
    check_manifest(listing.manifest([{}] * len(listing.rows)))


def test_colour_is_an_option(layouts, list_all, refuses) -> None:
    listing = list_all("folder", layouts("skin"), negative="benign", colour=True)
    assert (listing.channels, listing.depth) == (3, 8)
    asked = build_parser("prepare").parse_args(["prepare", "folder", "--images", "x", "--out", "y", "--colour"])
    assert asked.colour is True
    with refuses(ConfigError, "--colour", "true or false"):
        list_all("folder", layouts("skin"), colour="yes")
    with refuses(ConfigError, "--colour", "no such option"):
        list_all("kermany", layouts("skin"), colour=True)


def test_every_class_is_a_finding_without_a_negative(write_pictures, list_all) -> None:
    folder = write_pictures("set/a/1.png", "set/a/deep/2.png", "set/b/1.png", "set/c/x.jpg")
    listing = list_all("folder", folder)
    assert listing.findings == ("a", "b", "c")
    present = {image: [name for name in labels if labels[name]] for image, labels in labels_of(listing).items()}
    assert present == {
        "set/a/1.png": ["a"], "set/a/deep/2.png": ["a"], "set/b/1.png": ["b"], "set/c/x.jpg": ["c"],
    }  # fmt: skip
    assert [row["patient_id"] for row in listing.rows] == [row["image"] for row in listing.rows]
    assert listing.depth == 16


def test_splits_in_any_spelling_at_any_depth(write_pictures, list_all) -> None:
    folder = write_pictures("x/Training/a/1.png", "x/VALID/a/1.png", "x/test/b/1.png")
    rows = {row["image"]: row["split"] for row in list_all("folder", folder).rows}
    assert rows == {"x/Training/a/1.png": "train", "x/VALID/a/1.png": "val", "x/test/b/1.png": "test"}


def test_spaces_and_korean_letters(write_pictures, list_all, tmp_path: Path) -> None:
    names = [
        unicodedata.normalize("NFD", f"피부 사진/{kind}/그림 {k}.png") for kind in ("양성", "악성") for k in range(3)
    ]
    folder = write_pictures(*names, root="내 자료")
    with zipfile.ZipFile(tmp_path / "자료 1.zip", "w") as archive:
        for name in names:
            archive.write(folder / name, name)
    for source in (folder, tmp_path / "자료 1.zip"):
        listing = list_all("folder", source, negative="양성")
        assert listing.findings == ("악성",)
        assert {row["image"] for row in listing.rows} == {unicodedata.normalize("NFC", name) for name in names}
        assert all(file.read() for file in listing.files)


def test_patients_in_file_names(write_pictures, list_all, refuses) -> None:
    folder = write_pictures("a/P1_1.png", "a/P2_1.png", "b/P1_2.png")
    listing = list_all("folder", folder, patient_pattern=r"^(P\d+)_")
    assert [row["patient_id"] for row in listing.rows] == ["P1", "P2", "P1"]
    with refuses(InputError, "a/P1_1.png", "must hold the patient"):
        list_all("folder", folder, patient_pattern=r"^(Q\d+)_")


@pytest.mark.parametrize("pattern", ["P", "(a)(b)", "(", ""])
def test_patterns_that_find_no_patient(list_all, refuses, pattern: str) -> None:
    with refuses(ConfigError, "--patient-pattern"):
        list_all("folder", "x", patient_pattern=pattern)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["train/a/1.png", "b/1.png"], ("all or none below train", "'b/1.png'")),
        (["train/1.png", "train/a/1.png"], ("all or none", "'train/1.png'")),
        (["a/1.png", "b/1.png", "loose.png"], ("folder of a class", "'loose.png'")),
        (["a/1.png", "a/2.png"], ("two or more classes", "found a")),
        (["1.png"], ("folder of a class", "'1.png'")),
        (["train/a/1.png", "test/a/1.png"], ("two or more classes",)),
    ],
)
def test_layouts_that_are_none(write_pictures, list_all, refuses, names, words) -> None:
    folder = write_pictures(*names)
    with refuses(InputError, folder, *words):
        list_all("folder", folder)


def test_a_negative_that_is_no_class(write_pictures, list_all, refuses) -> None:
    with refuses(ConfigError, "--negative", "'bening'", "did you mean 'benign'?"):
        list_all("folder", write_pictures("benign/1.png", "malignant/1.png"), negative="bening")


def test_hostile_names(write_pictures, list_all, tmp_path: Path) -> None:
    folder = write_pictures("a/1.png", "b/1.png")
    (folder / "b" / "directory.png").mkdir()
    (folder / "a" / "out.png").symlink_to(write_pictures("secret.png", root="elsewhere") / "secret.png")
    listing = list_all("folder", folder)
    assert [row["image"] for row in listing.rows] == ["a/1.png", "b/1.png"]
    assert "leads out of the folder" in listing.refused["a/out.png"]
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        for name in ("a/1.png", "b/1.png"):
            archive.write(folder / name, name)
        archive.write(folder / "a/1.png", "../escape/2.png")
    listing = list_all("folder", tmp_path / "bad.zip")
    assert [row["image"] for row in listing.rows] == ["a/1.png", "b/1.png"]
    assert "leads out of the archive" in listing.refused["../escape/2.png"]
