"""Radiographs without labels: a folder, an archive or one file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from monai_cxraug.data.sources.images import Images
from monai_cxraug.data.sources.listing import Listing
from monai_cxraug.errors import InputError

NAMES = ["IM0001", "a/x.DCM", "b/y.jpeg", "z.png"]


def list_images(path: Path) -> Listing:
    return Images(images=str(path)).list(Path())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "exam"
    for name in (*NAMES, "notes.txt", ".DS_Store", "a/table.csv"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def test_folder_and_archive(folder: Path) -> None:
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as stream:
        for file in folder.rglob("*"):
            stream.write(file, file.relative_to(folder))
    for source in (folder, archive):
        listing = list_images(source)
        assert [row["image"] for row in listing.rows] == NAMES
        assert [file.read().decode() for file in listing.files] == NAMES
        assert listing.findings == ()
        assert listing.labels.shape == (4, 0)
        assert listing.depth == 16
        assert {row.get("split", "") for row in listing.rows} == {""}


def test_one_file(folder: Path) -> None:
    listing = list_images(folder / "a" / "x.DCM")
    assert [row["image"] for row in listing.rows] == ["x.DCM"]
    assert listing.files[0].read() == b"a/x.DCM"


def test_what_holds_no_image(folder: Path, refuses) -> None:
    for path, word in ((folder / "none", "must exist"), (folder / "notes.txt", "folder or a zip archive")):
        with refuses(InputError, path, word):
            list_images(path)
    empty = folder / "empty"
    empty.mkdir()
    with refuses(InputError, empty, "at least one listed image"):
        list_images(empty)
