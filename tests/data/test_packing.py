"""Making a pack: row k is file k, nothing is done twice, and only what changed is done again."""

from __future__ import annotations

import csv
import importlib
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from monai_cxraug.data import packing
from monai_cxraug.data.decoding import Outcome, Recipe
from monai_cxraug.data.files import FileRef
from monai_cxraug.data.pack import images_hash
from monai_cxraug.data.packing import FILES_TABLE, build_pack, is_current
from monai_cxraug.data.readers.policy import DicomPolicy
from monai_cxraug.errors import InputError, StateError

COUNT = 10
PACK = ("pack.npy", "pack.json", FILES_TABLE)


@dataclass
class Source:
    """A folder of files that :mod:`misbehaving` reads; row k is picture k unless a test says otherwise."""

    folder: Path
    orders: ModuleType
    log: Path
    names: list[str] = field(default_factory=lambda: [f"{row}.x" for row in range(COUNT)])

    def write(self, name: str, content: str) -> None:
        (self.folder / name).write_text(content)

    def refs(self) -> list[FileRef]:
        return [FileRef(self.folder / name) for name in self.names]

    def build(self, out: Path, size: int = 8, previous: Path | None = None, **settings: object) -> list[Outcome]:
        recipe = Recipe(size, read=self.orders.read)
        return build_pack(out, self.refs(), self.names, recipe, workers=1, previous=previous, **settings)  # type: ignore[arg-type]

    def read(self) -> list[str]:
        """Names of the files that were decoded since the last call, in order."""
        names = self.log.read_text().split() if self.log.exists() else []
        self.log.write_text("")
        return names


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr(packing, "_SAVED", 3)
    monkeypatch.setattr(packing, "_SECONDS", 0)
    orders = importlib.import_module("misbehaving")
    made = Source(tmp_path / "source", orders, tmp_path / "log")
    monkeypatch.setenv(orders.LOG, str(made.log))
    made.folder.mkdir()
    for row, name in enumerate(made.names):
        made.write(name, f"picture {row}")
    return made


def pack_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in PACK}


def is_fresh(source: Source, out: Path, tmp_path: Path) -> bool:
    """Whether a pack is, to the byte, what a run that takes nothing over makes of the same files."""
    fresh = tmp_path / "fresh"
    source.build(fresh)
    return pack_of(out) == pack_of(fresh)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_row_k_is_file_k(tmp_path: Path, depth: int, fit: str) -> None:
    stored = [np.random.default_rng(row).integers(0, 65536, (8, 16), dtype=np.uint16) for row in range(COUNT)]
    for row, picture in enumerate(stored):
        Image.fromarray(picture).save(tmp_path / f"{row}.png")
    files = [FileRef(tmp_path / f"{row}.png") for row in range(COUNT)]
    calls: list[tuple[int, int]] = []
    names = [file.path.name for file in files]
    outcomes = build_pack(tmp_path / "out", files, names, Recipe(8, depth, fit), lambda *done: calls.append(done), 2)  # type: ignore[arg-type]
    array = np.load(tmp_path / "out" / "pack.npy")
    assert array.dtype == f"uint{depth}"
    for row, picture in enumerate(stored):
        mean = picture.reshape(4, 2, 8, 2).mean((1, 3)) if fit == "pad" else picture.reshape(8, 8, 2).mean(2)
        shown = array[row, 2:6] if fit == "pad" else array[row]
        assert_allclose(shown / (2**depth - 1), mean / 65535, atol=0.51 / (2**depth - 1))
        assert outcomes[row].content == packing.picture_hash(array[row])
    assert calls == [(done, COUNT) for done in range(COUNT + 1)]
    info = json.loads((tmp_path / "out" / "pack.json").read_text())
    assert (info["rows"], info["size"], info["images"]) == (COUNT, 8, images_hash(names))


def test_workers_change_nothing(tmp_path: Path, source: Source) -> None:
    recipe = Recipe(8, read=source.orders.read)
    for workers in (1, 3):
        build_pack(tmp_path / str(workers), source.refs(), source.names, recipe, workers=workers)
    assert pack_of(tmp_path / "1") == pack_of(tmp_path / "3")


class InterruptionError(Exception):
    """Stands for whatever stops a run."""


def interrupt(source: Source, folder: Path, after: int, size: int = 8) -> None:
    def stop(done: int, total: int) -> None:
        if done >= after:
            raise InterruptionError

    with pytest.raises(InterruptionError):
        source.build(folder, size, progress=stop)


def test_an_interrupted_run_goes_on_and_ends_the_same(tmp_path: Path, source: Source, monkeypatch) -> None:
    monkeypatch.setattr("monai_cxraug.data.decoding._GROUP", 1)
    source.write("4.x", "refuse this")
    out = tmp_path / "out"
    interrupt(source, out, 6)
    assert not (out / "pack.npy").exists()
    with (out / ".pack.progress").open("a") as journal:
        journal.write('["7.x", "0", "9')  # the last line was cut off
    begun = source.read()
    assert begun[:6] == source.names[:6]
    interrupt(source, out, 8)
    source.read()
    calls: list[tuple[int, int]] = []
    outcomes = source.build(out, progress=lambda *done: calls.append(done))
    assert calls[0] == (8, 10)
    assert source.read() == source.names[8:]
    assert [outcome.state for outcome in outcomes].count("quarantined") == 1
    assert is_fresh(source, out, tmp_path)


@pytest.mark.parametrize("journal", ["", "{", '{"recipe": "other"}\n', "[1]\n", '{"recipe": null}\n[]\n', "\xff"])
def test_a_damaged_journal_starts_afresh(tmp_path: Path, source: Source, journal: str) -> None:
    interrupt(source, tmp_path / "out", 6)
    source.read()
    (tmp_path / "out" / ".pack.progress").write_text(journal, encoding="latin-1")
    source.build(tmp_path / "out")
    assert source.read() == source.names
    assert is_fresh(source, tmp_path / "out", tmp_path)


@pytest.mark.parametrize("word", ["packed", "full range", "4.x", "recipe"])
def test_a_flipped_bit_in_the_journal_is_not_believed(tmp_path: Path, source: Source, word: str) -> None:
    """One letter of an outcome, of its tags, of a name or of the header is another one, and the line still reads."""
    interrupt(source, tmp_path / "out", 6)
    journal = tmp_path / "out" / ".pack.progress"
    content = journal.read_bytes()
    assert word.encode() in content
    changed = bytearray(content)
    changed[content.index(word.encode())] ^= 1
    journal.write_bytes(changed)
    source.build(tmp_path / "out")
    assert is_fresh(source, tmp_path / "out", tmp_path)


def test_damaged_pictures_are_decoded_again(tmp_path: Path, source: Source) -> None:
    interrupt(source, tmp_path / "out", 6)
    source.read()
    partial = tmp_path / "out" / ".pack.partial"
    content = bytearray(partial.read_bytes())
    content[2 * 64 + 5] ^= 1
    partial.write_bytes(content[: 5 * 64 + 3])
    source.build(tmp_path / "out")
    decoded = source.read()
    assert decoded[:2] == ["2.x", "5.x"]
    assert {"0.x", "1.x", "3.x", "4.x"}.isdisjoint(decoded)
    assert is_fresh(source, tmp_path / "out", tmp_path)


def test_half_written_files_of_a_killed_run_go(tmp_path: Path, source: Source) -> None:
    interrupt(source, tmp_path / "out", 6)
    (tmp_path / "out" / ".pack.npy.a1b2c3.npy").write_bytes(b"half")
    source.read()
    source.build(tmp_path / "out")
    assert source.read() == source.names[6:]
    assert {file.name for file in (tmp_path / "out").iterdir()} == {*PACK, ".pack.partial", ".pack.progress"}


@pytest.mark.parametrize(
    "change", [{"size": 4}, {"depth": 16}, {"fit": "squash"}, {"policy": DicomPolicy(lateral="keep")}]
)
def test_another_recipe_takes_nothing_over(tmp_path: Path, source: Source, change: dict[str, object]) -> None:
    interrupt(source, tmp_path / "out", 6)
    source.build(tmp_path / "old", 8)
    source.read()
    recipe = replace(Recipe(8, read=source.orders.read), **change)  # type: ignore[arg-type]
    build_pack(tmp_path / "out", source.refs(), source.names, recipe, workers=1, previous=tmp_path / "old")
    assert source.read() == source.names
    array = np.load(tmp_path / "out" / "pack.npy")
    assert (array.shape, array.dtype) == ((COUNT, recipe.size, recipe.size), f"uint{recipe.depth}")


KILLED = """
import os, signal, sys
from pathlib import Path
from monai_cxraug.data import packing
from monai_cxraug.data.decoding import Recipe
from monai_cxraug.data.files import FileRef
import misbehaving

packing._SAVED, packing._SECONDS = 3, 0
out, *paths = map(Path, sys.argv[1:])
die = lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done >= 7 else None
names = [path.name for path in paths]
packing.build_pack(out, list(map(FileRef, paths)), names, Recipe(8, read=misbehaving.read), die, 1)
"""


def test_a_killed_process_goes_on(tmp_path: Path, source: Source) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "out"), *(str(file.path) for file in source.refs())]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    process = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    assert not (tmp_path / "out" / "pack.npy").exists()
    source.read()
    source.build(tmp_path / "out")
    assert source.read() == source.names[6:]
    assert is_fresh(source, tmp_path / "out", tmp_path)


def rewrite(source: Source) -> list[str]:
    source.write("3.x", "picture 77")
    return ["3.x"]


def rewrite_with_the_same_time(source: Source) -> list[str]:
    status = (source.folder / "3.x").stat()
    source.write("3.x", "picture 9")
    os.utime(source.folder / "3.x", ns=(status.st_atime_ns, status.st_mtime_ns))
    return ["3.x"]


def swap_contents_of_the_same_size(source: Source) -> list[str]:
    source.write("3.x", "picture 4")
    source.write("4.x", "picture 3")
    return ["3.x", "4.x"]


def touch(source: Source) -> list[str]:
    os.utime(source.folder / "3.x", ns=(1, 1))
    return []


def add(source: Source) -> list[str]:
    source.write("new.x", "picture 99")
    source.names.insert(2, "new.x")
    return ["new.x"]


def remove(source: Source) -> list[str]:
    source.names.remove("5.x")
    return []


def rename(source: Source) -> list[str]:
    (source.folder / "5.x").rename(source.folder / "five.x")
    source.names[5] = "five.x"
    return ["five.x"]


def reorder(source: Source) -> list[str]:
    source.names.reverse()
    return []


def lose(source: Source) -> list[str]:
    (source.folder / "3.x").unlink()
    return []


def break_one(source: Source) -> list[str]:
    source.write("3.x", "refuse this")
    return ["3.x"]


def mend_one(source: Source) -> list[str]:
    source.write("6.x", "picture 6")
    return ["6.x"]


def nothing(source: Source) -> list[str]:
    return []


@pytest.mark.parametrize(
    "change",
    [
        *(rewrite, rewrite_with_the_same_time, swap_contents_of_the_same_size, touch, add, remove, rename, reorder),
        *(lose, break_one, mend_one, nothing),
    ],
)
def test_only_what_changed_is_decoded(tmp_path: Path, source: Source, change) -> None:
    source.write("6.x", "refuse this")
    source.build(tmp_path / "old")
    before = pack_of(tmp_path / "old")
    source.read()
    expected = change(source)
    assert is_current(tmp_path / "old", source.refs(), source.names) == (change is nothing)
    outcomes = source.build(tmp_path / "out", previous=tmp_path / "old")
    assert source.read() == expected
    assert is_fresh(source, tmp_path / "out", tmp_path)
    assert is_current(tmp_path / "out", source.refs(), source.names)
    assert pack_of(tmp_path / "old") == before
    assert len(outcomes) == len(source.names)


def test_members_of_an_archive_that_was_packed_again(tmp_path: Path, source: Source) -> None:
    archive = tmp_path / "images.zip"

    def pack_archive(contents: Sequence[str]) -> list[FileRef]:
        with zipfile.ZipFile(archive, "w") as stream:
            for number, content in enumerate(contents):
                stream.writestr(f"{number}.x", content)
        os.utime(archive, ns=(1, len(contents[1])))
        return [FileRef(archive, f"{number}.x") for number in range(len(contents))]

    recipe, names = Recipe(8, read=source.orders.read), ["0.x", "1.x", "2.x"]
    build_pack(tmp_path / "old", pack_archive(["picture 0", "picture 1", "picture 2"]), names, recipe)
    source.read()
    files = pack_archive(["picture 0", "picture 111", "picture 2"])
    build_pack(tmp_path / "out", files, names, recipe, previous=tmp_path / "old")
    assert source.read() == ["images.zip:1.x"]
    assert_array_equal(np.load(tmp_path / "out" / "pack.npy"), [source.orders.picture(row) for row in (0, 111, 2)])


def damage_pictures(folder: Path) -> None:
    content = bytearray((folder / "pack.npy").read_bytes())
    content[-1] ^= 1
    (folder / "pack.npy").write_bytes(content)


def truncate_pictures(folder: Path) -> None:
    content = (folder / "pack.npy").read_bytes()
    (folder / "pack.npy").write_bytes(content[:-1])


def lose_pictures(folder: Path) -> None:
    (folder / "pack.npy").unlink()


def damage_table(folder: Path) -> None:
    table = folder / FILES_TABLE
    table.write_text(table.read_text()[:-9])


def exchange_columns(folder: Path) -> None:
    table = folder / FILES_TABLE
    table.write_text(table.read_text().replace("image,row", "row,image"))


@pytest.mark.parametrize(
    ("damage", "again"),
    [
        (damage_pictures, 1),
        (truncate_pictures, COUNT),
        (lose_pictures, COUNT),
        (damage_table, COUNT),
        (exchange_columns, COUNT),
    ],
)
def test_a_damaged_pack_is_not_taken_over(tmp_path: Path, source: Source, damage, again: int) -> None:
    source.build(tmp_path / "old")
    damage(tmp_path / "old")
    source.read()
    source.build(tmp_path / "out", previous=tmp_path / "old")
    assert source.read() == source.names[COUNT - again :]
    assert is_fresh(source, tmp_path / "out", tmp_path)


def test_a_new_decoder_tries_again_what_failed(tmp_path: Path, source: Source, monkeypatch) -> None:
    source.write("6.x", "refuse this")
    source.build(tmp_path / "old")
    interrupt(source, tmp_path / "begun", 8)
    source.read()
    monkeypatch.setattr(packing, "_decoders", lambda: {"new": "1"})
    assert not is_current(tmp_path / "old", source.refs(), source.names)
    for folder, previous in ((tmp_path / "out", tmp_path / "old"), (tmp_path / "begun", tmp_path / "old")):
        source.build(folder, previous=previous)
        assert source.read() == ["6.x"]
        assert is_current(folder, source.refs(), source.names)


def test_unreadable_and_dropped_files_leave_the_rows_aligned(tmp_path: Path, source: Source) -> None:
    for row, content in ((0, "refuse this"), (4, "drop LL"), (9, None)):
        (source.folder / f"{row}.x").unlink() if content is None else source.write(f"{row}.x", content)
    outcomes = source.build(tmp_path / "out")
    kept = [row for row in range(COUNT) if row not in (0, 4, 9)]
    assert [row for row, outcome in enumerate(outcomes) if outcome.state == "packed"] == kept
    assert outcomes[4].state == "dropped"
    assert outcomes[9].reason.startswith("must be a readable file")
    assert_array_equal(np.load(tmp_path / "out" / "pack.npy"), [source.orders.picture(row) for row in kept])
    with (tmp_path / "out" / FILES_TABLE).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["image"] for row in rows] == source.names
    assert [int(row["row"]) for row in rows] == [-1, 0, 1, 2, -1, 3, 4, 5, 6, -1]
    assert rows[0]["reason"] == "must be a radiograph; found this; look at it"
    info = json.loads((tmp_path / "out" / "pack.json").read_text())
    assert info["images"] == images_hash([f"{row}.x" for row in kept])


def test_a_file_that_crashes_the_decoder_is_one_of_many(tmp_path: Path, source: Source) -> None:
    source.write("3.x", "signal SIGSEGV")
    outcomes = source.build(tmp_path / "out")
    assert [outcome.state == "packed" for outcome in outcomes] == [row != 3 for row in range(COUNT)]
    assert is_current(tmp_path / "out", source.refs(), source.names)


def test_nothing_readable_is_refused(tmp_path: Path, source: Source, refuses) -> None:
    for name in source.names:
        source.write(name, "refuse this")
    with refuses(InputError, tmp_path / "out", "at least one image", "none of 10", "0.x: must be a radiograph"):
        source.build(tmp_path / "out")
    assert not (tmp_path / "out" / "pack.npy").exists()


def test_a_process_that_cannot_start_loses_nothing(tmp_path: Path, source: Source, monkeypatch) -> None:
    interrupt(source, tmp_path / "out", 6)
    source.read()
    with monkeypatch.context() as patch:
        patch.setattr("monai_cxraug.data.decoding._MAIN", "raise SystemExit(1)")
        with pytest.raises(StateError):
            source.build(tmp_path / "out")
    source.build(tmp_path / "out")
    assert source.read() == source.names[6:]


FULL = """
import os, resource, signal, sys
from pathlib import Path
from monai_cxraug.data import packing
from monai_cxraug.data.decoding import Recipe
from monai_cxraug.data.files import FileRef
import misbehaving

packing._SAVED, packing._SECONDS = 3, 0
out, *paths = map(Path, sys.argv[1:])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 5, 64 * 5))  # room for five pictures, as on a disk that is full
try:
    packing.build_pack(out, list(map(FileRef, paths)), [path.name for path in paths], Recipe(8, read=misbehaving.read))
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of a file")
def test_a_full_disk_loses_nothing(tmp_path: Path, source: Source) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path / "out"), *(str(file.path) for file in source.refs())]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    process = subprocess.run(command, env=environment, capture_output=True, check=False, text=True)
    assert process.stdout == "OSError\n", process.stderr
    assert not (tmp_path / "out" / "pack.npy").exists()
    source.read()
    source.build(tmp_path / "out")
    assert is_fresh(source, tmp_path / "out", tmp_path)
