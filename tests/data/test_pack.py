"""The pack: row k is the manifest's row k, whatever interrupts its making."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from monai_cxraug.data import pack
from monai_cxraug.data.files import FileRef
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.pack import Pack, build_pack, quantise, write_pack
from monai_cxraug.data.readers import read_radiograph
from monai_cxraug.errors import ConfigError, InputError, StateError

COUNT = 10


def picture(row: int) -> np.ndarray:
    return np.random.default_rng(row).integers(0, 65536, (8, 8), dtype=np.uint16)


@pytest.fixture
def files(tmp_path: Path) -> list[FileRef]:
    """Ten different 16-bit pictures."""
    folder = tmp_path / "source"
    folder.mkdir()
    for row in range(COUNT):
        Image.fromarray(picture(row)).save(folder / f"{row}.png")
    return [FileRef(folder / f"{row}.png") for row in range(COUNT)]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "_CHUNK", 3)


def names_of(files: list[FileRef]) -> list[str]:
    return [file.path.name for file in files]


def left_in(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


@pytest.mark.parametrize("depth", [8, 16])
def test_row_k_is_file_k(tmp_path: Path, files, small_chunks, depth: int) -> None:
    calls: list[tuple[int, int]] = []
    outcomes = build_pack(tmp_path / "out", files, names_of(files), 4, depth, lambda *done: calls.append(done))
    array = np.load(tmp_path / "out" / "pack.npy")
    assert array.dtype == f"uint{depth}"
    for row in range(COUNT):
        mean = picture(row).reshape(4, 2, 4, 2).mean((1, 3)) / 65535
        assert_allclose(array[row] / (2**depth - 1), mean, atol=0.51 / (2**depth - 1))
    assert calls == [(3, 10), (6, 10), (9, 10), (10, 10)]
    assert [outcome.reason for outcome in outcomes] == [""] * COUNT
    assert left_in(tmp_path / "out") == {"pack.npy", "pack.json"}


def test_workers_change_nothing(tmp_path: Path, files, monkeypatch) -> None:
    monkeypatch.setattr(pack, "_CHUNK", 5)
    for workers in (1, 2):
        build_pack(tmp_path / str(workers), files, names_of(files), 4, 8, workers=workers)
    assert (tmp_path / "1" / "pack.npy").read_bytes() == (tmp_path / "2" / "pack.npy").read_bytes()


class InterruptionError(Exception):
    """Stands for whatever stops a run."""


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    read: list[object] = []

    def reader(content: bytes, name: object) -> object:
        read.append(name)
        return read_radiograph(content, name)

    monkeypatch.setattr(pack, "read_radiograph", reader)
    return read


def interrupt(folder: Path, files: list[FileRef], after: int, size: int = 4) -> None:
    def stop(done: int, total: int) -> None:
        if done >= after:
            raise InterruptionError

    with pytest.raises(InterruptionError):
        build_pack(folder, files, names_of(files), size, 8, stop)


def test_an_interrupted_pack_goes_on_and_ends_the_same(tmp_path: Path, files, small_chunks, monkeypatch) -> None:
    files[4].path.write_bytes(b"broken")
    build_pack(tmp_path / "whole", files, names_of(files), 4, 8)
    out = tmp_path / "out"
    interrupt(out, files, 6)
    assert "pack.npy" not in left_in(out)
    with (out / ".pack.progress").open("a") as journal:
        journal.write('[6, [[{"greys')  # the last line was cut off
    read = count_reads(monkeypatch)
    interrupt(out, files, 9)
    assert read == files[6:9]
    read.clear()
    calls: list[tuple[int, int]] = []
    outcomes = build_pack(out, files, names_of(files), 4, 8, lambda *done: calls.append(done))
    assert read == files[9:]
    assert calls == [(10, 10)]
    assert [bool(outcome.reason) for outcome in outcomes] == [row == 4 for row in range(COUNT)]
    for name in ("pack.npy", "pack.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert left_in(out) == {"pack.npy", "pack.json"}


def test_another_request_does_not_continue(tmp_path: Path, files, small_chunks, monkeypatch) -> None:
    interrupt(tmp_path / "out", files, 6)
    read = count_reads(monkeypatch)
    interrupt(tmp_path / "out", files, 6, size=2)
    assert read == files[:6]
    stamp = files[0].path.stat()
    os.utime(files[0].path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    read.clear()
    build_pack(tmp_path / "out", files, names_of(files), 2, 8)
    assert read == files


@pytest.mark.parametrize("journal", ["", "{", '{"key": "other"}\n', "[1]\n"])
def test_a_damaged_journal_starts_afresh(tmp_path: Path, files, small_chunks, monkeypatch, journal: str) -> None:
    interrupt(tmp_path / "out", files, 6)
    (tmp_path / "out" / ".pack.progress").write_text(journal)
    read = count_reads(monkeypatch)
    build_pack(tmp_path / "out", files, names_of(files), 4, 8)
    assert read == files


KILLED = """
import os, signal, sys
from pathlib import Path
from monai_cxraug.data import pack
from monai_cxraug.data.files import FileRef

pack._CHUNK = 3
out, *paths = map(Path, sys.argv[1:])
die = lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done >= 6 else None
pack.build_pack(out, [FileRef(path) for path in paths], [path.name for path in paths], 4, 8, die)
"""


def test_a_killed_process_goes_on(tmp_path: Path, files, small_chunks, monkeypatch) -> None:
    build_pack(tmp_path / "whole", files, names_of(files), 4, 8)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "out"), *(str(file.path) for file in files)]
    process = subprocess.run(command, cwd=Path(pack.__file__).parents[2], capture_output=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    assert "pack.npy" not in left_in(tmp_path / "out")
    read = count_reads(monkeypatch)
    build_pack(tmp_path / "out", files, names_of(files), 4, 8)
    assert read == files[6:]
    assert (tmp_path / "out" / "pack.npy").read_bytes() == (tmp_path / "whole" / "pack.npy").read_bytes()


def test_unreadable_files_leave_the_rows_aligned(tmp_path: Path, files, small_chunks) -> None:
    for row, content in ((0, b""), (4, b"<html>"), (9, None)):
        files[row].path.unlink() if content is None else files[row].path.write_bytes(content)
    outcomes = build_pack(tmp_path / "out", files, names_of(files), 8, 16)
    kept = [row for row in range(COUNT) if row not in (0, 4, 9)]
    assert [row for row, outcome in enumerate(outcomes) if not outcome.reason] == kept
    assert "empty file" in outcomes[0].reason
    assert "another kind of file" in outcomes[4].reason
    assert str(files[9]) in outcomes[9].reason
    assert_array_equal(np.load(tmp_path / "out" / "pack.npy"), [picture(row) for row in kept])
    info = json.loads((tmp_path / "out" / "pack.json").read_text())
    assert info["rows"] == 7
    assert info["images"] == pack.images_hash([f"{row}.png" for row in kept])


def test_nothing_readable_leaves_nothing(tmp_path: Path, files, refuses) -> None:
    for file in files:
        file.path.write_bytes(b"x")
    with refuses(InputError, tmp_path / "out", "at least one image", "none of 10", "0.png"):
        build_pack(tmp_path / "out", files, names_of(files), 4, 8)
    assert not (tmp_path / "out").exists()


def test_images_in_the_unit_range(tmp_path: Path, make_set) -> None:
    manifest = read_manifest(make_set(tmp_path))
    packed, stored = Pack(tmp_path, manifest), np.load(tmp_path / "pack.npy")
    assert packed.size == 8
    for row in range(len(manifest)):
        image = packed.image(row)
        assert image.dtype == np.float32
        assert_allclose(image, stored[row] / 255, atol=1e-7)
        assert_allclose(packed.image(row, 4), stored[row].reshape(4, 2, 4, 2).mean((1, 3)) / 255, atol=1e-6)
    write_pack(tmp_path, stored.astype(np.uint16) * 257, list(manifest["image"]))
    assert_allclose(Pack(tmp_path, manifest).image(3), stored[3] / 255, atol=1e-7)


def test_images_are_not_enlarged(tmp_path: Path, make_set, refuses) -> None:
    packed = Pack(tmp_path, read_manifest(make_set(tmp_path)))
    for ask in (lambda: packed.image(0, 9), lambda: packed.require_size(16)):
        with refuses(ConfigError, "pack.npy", "8 px", "--size"):
            ask()


def test_a_pack_of_other_images_is_refused(tmp_path: Path, make_set, refuses) -> None:
    manifest = read_manifest(make_set(tmp_path / "one"))
    make_set(tmp_path / "two", prefix="Q")
    for other in (tmp_path / "two", tmp_path / "one"):
        with refuses(StateError, other / "pack.npy", "row k", "cxraug prepare"):
            Pack(other, manifest if other.name == "two" else manifest.select(np.arange(16)[::-1]))
    stored = np.load(tmp_path / "one" / "pack.npy")
    np.save(tmp_path / "one" / "pack.npy", stored[:-1])
    with refuses(StateError, "row k"):
        Pack(tmp_path / "one", manifest)


def test_a_pack_that_is_none_is_refused(tmp_path: Path, make_set, refuses) -> None:
    manifest = read_manifest(make_set(tmp_path))
    file = tmp_path / "pack.npy"
    np.save(file, np.zeros((16, 8, 8), dtype=np.float32))
    with refuses(InputError, file, "uint8 or uint16", "float32"):
        Pack(tmp_path, manifest)
    file.write_bytes(b"\x93NUMPY rubbish")
    with refuses(InputError, file, "must be a pack"):
        Pack(tmp_path, manifest)
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with refuses(InputError, file, "must be a pack"):
        Pack(tmp_path, manifest)
    file.write_bytes(pickle.dumps(np.zeros((16, 8, 8), dtype=np.uint8)))
    with refuses(InputError, file, "must be a pack"):
        Pack(tmp_path, manifest)
    file.unlink()
    with refuses(InputError, file, "cxraug prepare"):
        Pack(tmp_path, manifest)
    (tmp_path / "pack.json").unlink()
    with refuses(InputError, "pack.json", "must exist"):
        Pack(tmp_path, manifest)


@pytest.mark.parametrize("depth", [8, 16])
def test_quantising_rounds_and_clips(depth: int) -> None:
    top = 2**depth - 1
    levels = np.arange(0, top + 1, max(1, top // 500))
    assert_array_equal(quantise((levels / top).astype(np.float32), depth), levels)
    assert_array_equal(quantise(np.float32([-1, 0.4 / top, 0.6 / top, 2]), depth), [0, 0, 1, top])
