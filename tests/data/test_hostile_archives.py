"""Archives and folders that somebody made to do harm: refused in one line, at once, and nothing is written or run."""

from __future__ import annotations

import io
import os
import random
import struct
import sys
import tarfile
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_cxraug.data.decoding import Recipe, Task, decode_all
from monai_cxraug.data.files import FileRef, Tree, inside
from monai_cxraug.data.sources.images import Images
from monai_cxraug.errors import InputError

ESCAPES = ("../up", "a/../../up", "/root", "C:/up", "c:up", "..\\up", "\\root", "a/\0/b", "..", "/", "", "a/..")


# --- names ---


@pytest.mark.parametrize("name", ESCAPES)
def test_a_name_from_a_file_stays_below_its_folder(tmp_path: Path, refuses, name: str) -> None:
    with refuses(InputError, "below the folder"):
        inside(tmp_path, name)


@pytest.mark.parametrize("name", ["a.png", "a/b.png", "a..b", "...", "흉부 1.png", "=1+1.png", "$x", "ab:c"])
def test_names_that_only_look_strange_are_names(tmp_path: Path, name: str) -> None:
    assert inside(tmp_path, name) == tmp_path / name


def test_a_table_cannot_name_a_file_elsewhere(tmp_path: Path, refuses) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "secret.png").write_bytes(b"x")
    for name in ("../secret.png", str(tmp_path / "secret.png")):
        with refuses(InputError, "below the folder"):
            Tree(tmp_path / "tree").ref(name)


def write_zip(path: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def test_a_listed_name_is_read_however_strange(tmp_path: Path) -> None:
    (tmp_path / "a:b.png").write_bytes(b"x")
    assert Tree(tmp_path).ref("a:b.png").read() == b"x"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_for_two_members_is_read_by_nobody(tmp_path: Path) -> None:
    """Tools differ in which of the two they show: what was looked at may not be what is trained on."""
    tree = Tree(write_zip(tmp_path / "a.zip", ("a.png", b"1"), ("b.png", b"2"), ("a.png", b"3")))
    assert tree.names() == ["b.png"]
    assert tree.left_out == {"a.png": "a name that the archive holds more than once"}


def test_devices_and_pipes_are_no_archives(tmp_path: Path, refuses) -> None:
    os.mkfifo(tmp_path / "pipe.zip")
    for path in (tmp_path / "pipe.zip", Path("/dev/zero"), Path("/dev/null")):
        with refuses(InputError, "folder or a zip archive"):
            Tree(path)
        with refuses(InputError, "no regular file"):
            FileRef(path).read()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_archives_are_not_taken(tmp_path: Path, refuses, mode: str) -> None:
    """They are unpacked by their own tools; a member that is a link or a device is then those tools' affair."""
    path = tmp_path / "images.tar"
    with tarfile.open(path, mode) as archive:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with refuses(InputError, "folder or a zip archive"):
        Tree(path)


def test_a_zip_inside_of_a_zip_is_not_opened(tmp_path: Path) -> None:
    inner = write_zip(tmp_path / "inner.zip", ("a.png", b"x"))
    outer = write_zip(tmp_path / "outer.zip", ("inner.zip", inner.read_bytes()), ("b.png", b"x"))
    assert [file.member for file in Images(images=str(outer)).list(tmp_path).files] == ["b.png"]


# --- bombs ---


def overlapping(path: Path, count: int, size: int) -> Path:
    """A bomb after Fifield (WOOT 2019): every member's data run over the headers of those that follow, to one."""
    deflated = zlib.compressobj(9, zlib.DEFLATED, -15)
    kernel = deflated.compress(bytes(size)) + deflated.flush()
    names = [f"{number:05d}.png".encode() for number in range(count)]
    local, central, place = bytearray(), bytearray(), 0
    headers = [_local(name, zlib.crc32(bytes(size)), len(kernel), size) for name in names]
    rest = sum(map(len, headers)) + len(kernel)
    for name, header in zip(names, headers, strict=True):
        rest -= len(header)
        fields = (0x02014B50, 20, 20, 0, 8, 0, 0, zlib.crc32(bytes(size)), rest, size, len(name), 0, 0, 0, 0, 0, place)
        central += struct.pack("<IHHHHHHIIIHHHHHII", *fields) + name
        local += header
        place += len(header)
    local += kernel
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count, count, len(central), len(local), 0)
    path.write_bytes(bytes(local + central) + end)
    return path


def _local(name: bytes, crc: int, packed: int, size: int) -> bytes:
    return struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 8, 0, 0, crc, packed, size, len(name), 0) + name


def test_members_that_lie_in_one_another(tmp_path: Path, refuses) -> None:
    path = overlapping(tmp_path / "a.zip", 100, 10**6)
    assert path.stat().st_size < 20_000
    with refuses(InputError, path, "may not lie in one another"):
        Tree(path).names()
    assert Tree(overlapping(tmp_path / "b.zip", 1, 100)).ref("00000.png").read() == bytes(100)


def test_an_archive_of_zeros(tmp_path: Path, refuses) -> None:
    """Members one beside the other that unfold into a thousand times the archive."""
    path, blank = tmp_path / "a.zip", zlib.compressobj(9, zlib.DEFLATED, -15)
    content = blank.compress(bytes(2**20)) + blank.flush()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(4):
            archive.writestr(f"{number}.png", bytes(2**20))
    assert len(content) < 2000
    assert len(Tree(path).names()) == 4  # four black pictures are no bomb
    data = bytearray(path.read_bytes())
    place = data.find(b"PK\x01\x02")
    while place >= 0:
        data[place + 24 : place + 28] = (2**31).to_bytes(4, "little")
        place = data.find(b"PK\x01\x02", place + 4)
    path.write_bytes(data)
    with refuses(InputError, path, "may unfold into 200 times"):
        Tree(path).names()


@pytest.mark.parametrize("count", [0, 1, 3, 65_535])
def test_a_directory_that_lies_about_its_members(tmp_path: Path, count: int) -> None:
    path = write_zip(tmp_path / "a.zip", ("a.png", b"1"), ("b.png", b"2"))
    data = bytearray(path.read_bytes())
    place = data.rfind(b"PK\x05\x06")
    data[place + 8 : place + 12] = struct.pack("<HH", count, count)
    path.write_bytes(data)
    assert Tree(path).names() == ["a.png", "b.png"]


@pytest.mark.parametrize(("place", "value"), [(12, 2**32 - 1), (16, 2**32 - 1), (12, 2**31), (16, 1), (20, 65_535)])
def test_a_directory_that_lies_about_its_place(tmp_path: Path, place: int, value: int) -> None:
    path = write_zip(tmp_path / "a.zip", ("a.png", b"1"))
    data = bytearray(path.read_bytes())
    start = data.rfind(b"PK\x05\x06") + place
    data[start : start + (2 if place == 20 else 4)] = value.to_bytes(2 if place == 20 else 4, "little")
    path.write_bytes(data)
    with suppress(InputError):
        assert Tree(path).ref("a.png").read() == b"1"


def test_sixty_four_bits_of_lies(tmp_path: Path) -> None:
    """Extra fields that claim 2^62 bytes, or to be longer than they are."""
    for extra in (struct.pack("<HHQQ", 1, 16, 2**62, 2**62), struct.pack("<HH", 1, 65_535), b"\1\0"):
        info = zipfile.ZipInfo("a.png")
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(info, b"1")
        data = bytearray(path.read_bytes())
        start, end = data.find(b"PK\x01\x02"), data.rfind(b"PK\x05\x06")
        data[start + 20 : start + 28] = b"\xff" * 8
        data[start + 30 : start + 32] = len(extra).to_bytes(2, "little")
        data[end:end] = extra
        end += len(extra)
        data[end + 12 : end + 16] = (end - start).to_bytes(4, "little")
        path.write_bytes(data)
        with pytest.raises(InputError):
            Tree(path).names()


def test_an_encrypted_member_is_told(tmp_path: Path, refuses) -> None:
    path = write_zip(tmp_path / "a.zip", ("a.png", b"1" * 50))
    data = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(signature) + place] |= 1
    path.write_bytes(data)
    with refuses(InputError, "a.png", "encrypted"):
        Tree(path).ref("a.png").read()


def test_damage_anywhere_ends_in_one_line(tmp_path: Path) -> None:
    """Bytes of headers and directory changed at random: what is read is right, or refused."""
    path = write_zip(tmp_path / "a.zip", ("a.png", b"first"), ("folder/b.png", b"second"))
    sound, draw = path.read_bytes(), random.Random(0)
    for number in range(600):
        data = bytearray(sound)
        for _ in range(draw.choice((1, 1, 2, 8))):
            data[draw.randrange(len(data))] = draw.choice((0, 1, 0x50, 0x7F, 0x80, 0xFF, draw.randrange(256)))
        path = tmp_path / f"{number % 8}.zip"
        path.write_bytes(data)
        os.utime(path, ns=(number, number))
        with suppress(InputError):
            tree = Tree(path)
            for name in tree.names():
                assert tree.ref(name).read() in (b"first", b"second")


# --- the working folder ---


def test_a_folder_of_images_is_not_searched_for_modules(tmp_path: Path, monkeypatch) -> None:
    """Who works in the folder that an archive was unpacked into must not run the modules in it."""
    for name in ("numpy", "hashlib", "monai_cxraug", "PIL", "zlib"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    content = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(content, "PNG")
    (tmp_path / "a.png").write_bytes(content.getvalue())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", ".")])
    (answer,) = decode_all([Task(0, FileRef(tmp_path / "a.png"))], Recipe(8), workers=1)
    assert answer.outcome is not None
    assert answer.outcome.state == "packed"
    assert not (tmp_path / "ran").exists()
