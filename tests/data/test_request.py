"""What may be asked of prepare: options belong to their source, and every refusal names the nearest one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from monai_cxraug.data.pseudonyms import read_salt
from monai_cxraug.data.request import SOURCES, Request, list_source
from monai_cxraug.data.sources.chexpert import Chexpert
from monai_cxraug.data.sources.native import Phantom
from monai_cxraug.errors import ConfigError, InputError


def test_the_sources_of_the_house() -> None:
    assert set(SOURCES) == {
        "nih", "chexpert", "kermany", "folder", "table", "dicom", "external", "phantom", "images",
    }  # fmt: skip


def test_settings_reach_the_source() -> None:
    made = Request("chexpert", "x", labels="y", seed=4, options={"uncertainty": "ones", "views": "all"}).build()
    assert made == Chexpert(images="x", labels="y", uncertainty="ones", views="all")
    assert Request("phantom", count=30, seed=4, size=16).build() == Phantom(count=30, seed=4, size=16)
    assert Request("phantom", options={"count": 30}).build() == Request("phantom", count=30).build()
    assert Request("chexpert", "x", options={"uncertainty": None}).build() == Chexpert(images="x")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"source": "nhi", "images": "x"}, ("source", "'nhi'", "did you mean 'nih'?")),
        ({"source": ["nih"], "images": "x"}, ("source", "unknown source")),
        ({"source": "nih"}, ("--images", "is required for source 'nih'", "give --images PATH")),
        ({"source": "kermany", "images": "x", "labels": "y"}, ("--labels", "source 'kermany' has no such option")),
        ({"source": "kermany", "images": "x", "count": 30}, ("--count", "has no such option")),
        ({"source": "chexpert", "images": "x", "options": {"uncertianty": "ones"}}, ("did you mean '--uncertainty'?",)),
        ({"source": "chexpert", "images": "x", "options": {"uncertainty": "one"}}, ("did you mean 'ones'?",)),
        ({"source": "chexpert", "images": "x", "options": {"lateral": "keep"}}, ("'--lateral'",)),
        ({"source": "nih", "images": 64}, ("--images", "must be text")),
        ({"source": "phantom", "size": 2}, ("size", "at least 4")),
        ({"source": "phantom", "size": 64.0}, ("size",)),
        ({"source": "phantom", "size": True}, ("size",)),
        ({"source": "phantom", "count": 19}, ("count", "20")),
        ({"source": "phantom", "count": "many"}, ("count", "whole number")),
        ({"source": "phantom", "seed": -1}, ("seed",)),
        ({"source": "phantom", "folds": 1}, ("folds", "0, or at least 2")),
        ({"source": "phantom", "folds": -2}, ("folds",)),
        ({"source": "phantom", "fit": "stretch"}, ("fit", "'stretch'")),
        ({"source": "phantom", "validation": 1.0}, ("validation", "below 1")),
        ({"source": "phantom", "validation": -0.1}, ("validation",)),
        ({"source": "phantom", "validation": float("nan")}, ("validation",)),
        ({"source": "phantom", "validation": "0.1"}, ("validation",)),
        ({"source": "phantom", "salt": 7}, ("salt", "text")),
        ({"source": "phantom", "options": ["count"]}, ("options", "names to values")),
    ],
)
def test_requests_that_cannot_be(refuses, settings, words) -> None:
    with refuses(ConfigError, *words):
        Request(**settings)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> str:
    from monai_cxraug.data.sources.phantom import write_native

    write_native(folder := tmp_path_factory.mktemp("phantoms") / "set", 60, 16, 0)
    return str(folder)


def test_splits_folds_and_salt_come_together(phantoms: str, tmp_path: Path) -> None:
    plain = list_source(Request("phantom", phantoms), tmp_path)
    asked = Request("phantom", phantoms, folds=3, validation=0.5, salt=str(tmp_path / "salt"))
    listing = list_source(asked, tmp_path)
    salt = read_salt(tmp_path / "salt")
    assert [row["patient_id"] for row in listing.rows] == [salt.patient(row["patient_id"]) for row in plain.rows]
    assert [row["image"] for row in listing.rows] == [salt.image(row["image"]) for row in plain.rows]
    assert listing.files == plain.files
    counts = Counter((row["split"], row["fold"]) for row in listing.rows)
    assert {fold for split, fold in counts if split == "test"} == {""}
    assert {fold for split, fold in counts if split != "test"} == {"0", "1", "2"}
    tested = [row["split"] == "test" for row in plain.rows]
    assert [row["split"] == "test" for row in listing.rows] == tested
    assert Counter(row["split"] for row in listing.rows)["val"] > Counter(row["split"] for row in plain.rows)["val"]
    assert listing.info["salt"] == salt.fingerprint
    assert listing.info["folds"] == 3
    assert list_source(asked, tmp_path).rows == listing.rows


def test_a_salt_that_is_none_is_refused_first(tmp_path: Path, refuses) -> None:
    (tmp_path / "salt").write_text("short")
    with refuses(InputError, tmp_path / "salt"):
        list_source(Request("nih", str(tmp_path / "none"), salt=str(tmp_path / "salt")), tmp_path)
