"""Files in folders and in zip archives are the same to a reader, and damage is told in one line."""

from __future__ import annotations

import os
import tracemalloc
import unicodedata
import zipfile
import zlib
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


# --- what must not be followed, or would never end ---


def test_spaces_and_korean_letters(tmp_path: Path) -> None:
    composed, decomposed = "환자 영상/흉부 1.png", unicodedata.normalize("NFD", "환자 영상/흉부 2.png")
    for name in (composed, decomposed):
        path = tmp_path / "새 폴더" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    tree = Tree(tmp_path / "새 폴더")
    names = ["환자 영상/흉부 1.png", "환자 영상/흉부 2.png"]  # as a table writes them
    assert tree.names() == names
    for name, stored in zip(names, (composed, decomposed), strict=True):
        assert tree.ref(name).read() == stored.encode()
        assert tree.ref(unicodedata.normalize("NFD", name)).read() == stored.encode()
    assert tree.left_out == {}


def test_one_name_written_in_two_ways(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "é.png")
    (tmp_path / "é.png").write_bytes(b"1")
    (tmp_path / decomposed).write_bytes(b"2")
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system takes them for one name")
    tree = Tree(tmp_path)
    assert tree.names() == ["é.png"]
    assert list(tree.left_out.values()) == ["the same name as another file's, written in other Unicode characters"]


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system refuses such names")
    tree = Tree(tmp_path)
    assert tree.names() == []
    assert tree.left_out == {"\\udcff.png": "a name that is no text in UTF-8"}


def test_links(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    for folder in (outside, root / "deep" / "deeper"):
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(folder.name.encode())
    (root / "file_out.png").symlink_to(outside / "a.png")
    (root / "folder_out").symlink_to(outside)
    (root / "beside_out").symlink_to(tmp_path / "root_too")  # the same beginning is not the same folder
    (tmp_path / "root_too").mkdir()
    (root / "inside.png").symlink_to(Path("deep") / "deeper" / "a.png")
    (root / "nowhere.png").symlink_to(root / "none.png")
    (root / "round.png").symlink_to(root / "round.png")
    (root / "deep" / "up").symlink_to(root)
    tree = Tree(root)
    assert tree.names() == ["deep/deeper/a.png", "inside.png"]
    assert tree.ref("inside.png").read() == b"deeper"
    leads_out = "a symbolic link that leads out of the folder"
    assert tree.left_out == {
        "file_out.png": leads_out,
        "folder_out": leads_out,
        "beside_out": leads_out,
        "nowhere.png": "a symbolic link that leads nowhere",
        "round.png": "a symbolic link that leads nowhere",
        "deep/up": "a symbolic link to a folder",
    }
    (tmp_path / "link").symlink_to(root)
    assert Tree(tmp_path / "link").names() == tree.names()


def test_what_is_no_file(tmp_path: Path, refuses) -> None:
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    tree = Tree(tmp_path)
    assert tree.names() == []
    assert tree.left_out == {"pipe.png": "neither a file nor a folder"}
    for name in ("pipe.png", "folder.png"):
        with refuses(InputError, name, "no regular file"):
            FileRef(tmp_path / name).read()


def test_a_folder_that_cannot_be_opened(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.png").write_bytes(b"x")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    tree = Tree(tmp_path)
    assert tree.names() == ["a.png"]
    assert tree.left_out == {"closed": "a folder that cannot be opened: Permission denied"}


def test_members_that_lead_out_of_an_archive(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    bad = ["../up.png", "a/../../up.png", "/root.png", "C:/windows.png", "c:windows.png", "..\\up.png", "\\root.png"]
    with zipfile.ZipFile(archive, "w") as stream:
        for name in [*bad, "good.png", "a..b.png", "folder.png/"]:
            stream.writestr(name, name)
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        stream.writestr(link, "/etc/passwd")
    tree = Tree(archive)
    assert tree.names() == ["a..b.png", "good.png"]
    assert tree.left_out == {
        **dict.fromkeys(bad, "a name that leads out of the archive"),
        "link.png": "a symbolic link inside an archive",
    }


def test_member_names_of_macos(tmp_path: Path) -> None:
    """macOS writes decomposed UTF-8 without the mark that says so, which reads as another encoding."""
    stored, content = unicodedata.normalize("NFD", "흉부.png"), bytearray()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as stream:
        stream.writestr(stored, b"x" * 10)
    content += (tmp_path / "a.zip").read_bytes()
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.index(signature) + place
        flags = int.from_bytes(content[start : start + 2], "little") & ~0x800
        content[start : start + 2] = flags.to_bytes(2, "little")
    (tmp_path / "a.zip").write_bytes(content)
    tree = Tree(tmp_path / "a.zip")
    assert tree.names() == ["흉부.png"]
    assert tree.ref("흉부.png").read() == b"x" * 10


def make_bomb(archive: Path, size: int, claim: int | None = None, method: int = zipfile.ZIP_DEFLATED) -> FileRef:
    """A member of many zeros, whose headers claim another size when one is given."""
    with zipfile.ZipFile(archive, "w", method) as stream:
        stream.writestr("a.png", bytes(size))
    if claim is not None:
        content = bytearray(archive.read_bytes())
        for signature, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            start = content.index(signature) + place
            content[start : start + 4] = claim.to_bytes(4, "little")
        archive.write_bytes(content)
    return FileRef(archive, "a.png")


@pytest.mark.parametrize("claim", [None, 10, 999, 2**32 - 2])
def test_a_bomb_is_not_inflated(tmp_path: Path, refuses, claim: int | None) -> None:
    size = 50_000_000
    bomb = make_bomb(tmp_path / "a.zip", size, claim)
    tracemalloc.start()
    try:
        with refuses(InputError, bomb, *([f"found {claim or size}"] if claim in (None, 2**32 - 2) else [])):
            bomb.read(limit=1000)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()
    if claim is None:
        assert len(bomb.read()) == size


def test_the_limit_of_a_plain_file(tmp_path: Path, refuses) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(bytes(1000))
    assert len(FileRef(path).read(limit=1000)) == 1000
    with refuses(InputError, path, "at most 999 bytes", "found 1000"):
        FileRef(path).read(limit=999)
    with path.open("wb") as stream:
        stream.truncate(2**40)  # a terabyte of nothing
    with refuses(InputError, path, "at most"):
        FileRef(path).read()


def test_a_method_that_inflates_at_once_is_refused(tmp_path: Path, refuses) -> None:
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with refuses(InputError, "stored or deflated", method):
            make_bomb(tmp_path / "a.zip", 1000, method=method).read()


def test_an_archive_whose_list_is_damaged(archive: Path, refuses) -> None:
    content = archive.read_bytes()
    start = content.index(b"PK\x01\x02")
    archive.write_bytes(content[:start] + b"PK\x01\x03" + content[start + 4 :])
    with refuses(InputError, archive, "readable zip archive"):
        Tree(archive).names()


def test_a_stamp_tells_change(tmp_path: Path, archive: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"123")
    os.utime(path, ns=(5, 7))
    size, stamp = FileRef(path).stamp()
    assert (size, stamp) == (3, f"7-{path.stat().st_ctime_ns}")
    path.write_bytes(b"456")
    os.utime(path, ns=(5, 7))
    assert FileRef(path).stamp() != (size, stamp)
    assert FileRef(tmp_path / "none").stamp() == FileRef(archive, "none").stamp() == (0, "")
    os.utime(archive, ns=(5, 7))
    size, stamp = FileRef(archive, "images/a.png").stamp()
    assert (size, stamp) == (400, f"7-{archive.stat().st_ctime_ns}-{zlib.crc32(b'A' * 400):08x}")
