"""Any table: columns by name, labels under a policy, paths matched as a folder names its files."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from monai_cxraug.errors import ConfigError, InputError, LabelError

TABLE = """\
path;pid;Edema;Mass;sex;jahre;scanner;part
a/1.png;P1;1;0;Male;58.0;X;train
b/gone.png;P3;0;0;;;X;test
./a/2.png;P1;-1;;F;058Y;Y;train
b\\3.png;P2;0;1;;;X;test
"""
MAP = "image=path, patient_id=pid, age=jahre, split=part"


@pytest.fixture
def images(write_pictures) -> Path:
    return write_pictures("a/1.png", "a/2.png", "b/3.png")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "t.csv").write_text(TABLE)
    return tmp_path / "t.csv"


def test_columns_labels_and_paths(list_all, images: Path, table: Path) -> None:
    listing = list_all(
        "table", images, labels=str(table), columns=MAP, findings="Mass,Edema", keep="scanner", validation=0
    )
    assert list(listing.rows) == [
        {
            "image": image,
            "patient_id": patient,
            "sex": sex,
            "age": age,
            "split": split,
            "scanner": scanner,
            "source": "real",
        }
        for image, patient, sex, age, split, scanner in [
            ("a/1.png", "P1", "M", "58", "train", "X"),
            ("a/2.png", "P1", "F", "58", "train", "Y"),
            ("b/3.png", "P2", "", "", "test", "X"),
        ]
    ]
    assert listing.findings == ("Mass", "Edema")
    assert_array_equal(listing.labels, [[0, 1], [np.nan, np.nan], [1, 0]])
    assert list(listing.missing) == ["b/gone.png"]
    assert all(file.read() for file in listing.files)


def test_pairs_and_names_as_values_and_policies(list_all, images: Path, table: Path) -> None:
    columns = {"image": "path", "patient_id": "pid", "age": "jahre", "split": "part"}
    options = {"columns": columns, "keep": ["scanner"], "uncertainty": "ones", "blank": "zeros"}
    listing = list_all("table", images, labels=str(table), **options)
    assert listing.findings == ("Edema", "Mass")  # what is left
    assert_array_equal(listing.labels, [[1, 0], [1, 0], [0, 1]])


def test_colour_is_an_option(list_all, images: Path, table: Path) -> None:
    listing = list_all("table", images, labels=str(table), columns=MAP, findings="Mass", colour=True)
    assert (listing.channels, listing.depth) == (3, 8)


def test_columns_of_the_usual_names_need_no_map(list_all, images: Path) -> None:
    (images / "labels.csv").write_text("Edema,image\n1,a/1.png\n0,b/3.png\n")
    listing = list_all("table", labels=str(images / "labels.csv"))  # images beside the table
    assert [row["image"] for row in listing.rows] == ["a/1.png", "b/3.png"]
    assert [row["patient_id"] for row in listing.rows] == ["a/1.png", "b/3.png"]


def test_decomposed_names_are_found(list_all, write_pictures, tmp_path: Path) -> None:
    images = write_pictures(unicodedata.normalize("NFD", "환자 1/é.png"))
    (tmp_path / "t.csv").write_text("image,Edema\n환자 1/é.png,1\n", encoding="utf-8-sig")
    assert len(list_all("table", images, labels=str(tmp_path / "t.csv")).rows) == 1


def test_paths_never_lead_out(list_all, write_pictures, images: Path, tmp_path: Path, refuses) -> None:
    secret = write_pictures("secret.png", root="elsewhere") / "secret.png"
    os.symlink(secret, images / "link.png")
    (tmp_path / "t.csv").write_text(f"image,Edema\na/1.png,1\n../elsewhere/secret.png,1\n{secret},1\nlink.png,1\n")
    listing = list_all("table", images, labels=str(tmp_path / "t.csv"))
    assert [row["image"] for row in listing.rows] == ["a/1.png"]
    assert len(listing.missing) == 3
    assert list(listing.refused) == ["link.png"]


@pytest.mark.parametrize(
    ("old", "new", "kind", "words"),
    [
        ("./a/2.png", "a/1.png", InputError, ("line 4", "an image may be listed once", "'a/1.png' in 2")),
        ("./a/2.png;P1", "./a/2.png;", InputError, ("line 4", "a patient is required")),
        (";-1;", ";perhaps;", LabelError, ("line 4 column 'Edema'", "'perhaps'")),
        (";train", ";dev", InputError, ("column 'part'", "'dev'")),
        ("pid", "patient", InputError, ("column 'pid'", "path, patient")),
        ("scanner", "Scanner", InputError, ("column 'scanner'", "did you mean 'Scanner'?")),
        ("Edema", "Mass", InputError, ("'Mass' twice",)),
    ],
)
def test_flaws_are_named(list_all, images: Path, table: Path, refuses, old, new, kind, words) -> None:
    text = TABLE.replace(old, new, 1)
    assert text != TABLE
    table.write_text(text)
    with refuses(kind, table, *words):
        list_all("table", images, labels=str(table), columns=MAP, keep="scanner")


def test_options_that_cannot_be(list_all, images: Path, table: Path, refuses) -> None:
    with refuses(ConfigError, "--columns", "'patient'", "did you mean 'patient_id'?"):
        list_all("table", images, labels=str(table), columns="patient=pid")
    with refuses(ConfigError, "--labels", "is required for source 'table'"):
        list_all("table", images)
    with refuses(LabelError, "a finding may not be called", "sex"):
        list_all("table", images, labels=str(table), columns=MAP, findings="Edema,sex")
    with refuses(InputError, table, "'Edma'", "did you mean 'Edema'?"):
        list_all("table", images, labels=str(table), columns=MAP, findings="Edma")
    table.write_text("image\na/1.png\n")
    with refuses(InputError, table, "at least one finding"):
        list_all("table", images, labels=str(table))


def test_parquet_is_a_table_too(list_all, images: Path, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"image": ["b/3.png"], "Edema": [None], "Mass": [1.0]}), tmp_path / "t.parquet")
    listing = list_all("table", images, labels=str(tmp_path / "t.parquet"))
    assert_array_equal(listing.labels, [[np.nan, 1]])


def test_real_images(data_root: Path, list_all, tmp_path: Path) -> None:
    images = data_root / "nih_originals"
    if not images.is_dir():
        pytest.skip("nih_originals is absent")
    names = sorted(path.name for path in images.glob("*.png"))
    (tmp_path / "t.csv").write_text("image,Edema\n" + "".join(f"{name},0\n" for name in names))
    assert len(list_all("table", images, labels=str(tmp_path / "t.csv")).rows) == 15
