"""Files in folders and in zip archives are the same to a reader, and damage is told in one line."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from monai_cxraug.data.files import FileRef, Tree
from monai_cxraug.errors import InputError

CONTENTS = {"images/a.png": b"A" * 400, "images/deep/b.png": b"B", "table.csv": "\ufeffx,y\né,1\n".encode()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in {**CONTENTS, ".DS_Store": b"x", "__MACOSX/images/._a.png": b"x"}.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "tree"


@pytest.fixture
def archive(tmp_path: Path, folder: Path) -> Path:
    path = tmp_path / "tree.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as stream:
        for file in sorted(folder.rglob("*")):
            stream.write(file, file.relative_to(folder))
    return path


def test_folder_and_archive_are_equal(folder: Path, archive: Path) -> None:
    for tree in (Tree(folder), Tree(archive)):
        assert tree.names() == sorted(CONTENTS)
        assert {name: tree.ref(name).read() for name in tree.names()} == CONTENTS
        assert tree.ref("table.csv").read_text() == "x,y\né,1\n"
    assert str(Tree(archive).ref("table.csv")) == f"{archive}:table.csv"


def test_an_archive_that_changed_is_read_anew(archive: Path) -> None:
    assert Tree(archive).names()
    with zipfile.ZipFile(archive, "w") as stream:
        stream.writestr("other.txt", "new")
    assert Tree(archive).names() == ["other.txt"]
    assert Tree(archive).ref("other.txt").read() == b"new"


def test_missing_and_wrong_files(folder: Path, archive: Path, refuses) -> None:
    with refuses(InputError, folder / "none", "must exist"):
        Tree(folder / "none")
    with refuses(InputError, "table.csv", "folder or a zip archive"):
        Tree(folder / "table.csv")
    for ref in (FileRef(folder / "none.png"), Tree(archive).ref("none.png"), FileRef(folder)):
        with refuses(InputError, str(ref), "readable file"):
            ref.read()
    (folder / "latin.csv").write_bytes(b"\xe9")
    with refuses(InputError, "latin.csv", "UTF-8"):
        Tree(folder).ref("latin.csv").read_text()


@pytest.mark.parametrize("damage", [0x00, 0xFF])
def test_a_damaged_member_is_told_not_raised(archive: Path, refuses, damage: int) -> None:
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as stream:
        info = stream.getinfo("images/a.png")
    start = info.header_offset + 30 + len(info.filename)
    content[start : start + info.compress_size] = bytes([damage]) * info.compress_size
    archive.write_bytes(content)
    with refuses(InputError, f"{archive}:images/a.png"):
        Tree(archive).ref("images/a.png").read()
    assert Tree(archive).ref("images/deep/b.png").read() == b"B"
