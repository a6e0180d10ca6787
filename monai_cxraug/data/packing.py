"""Make a pack: decode files once, go on after an interruption, and redo only what changed."""

from __future__ import annotations

import csv
import json
import os
import time
import zlib
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, fields, replace
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.artifacts import atomic_path, content_hash, read_json, write_csv, write_text
from monai_cxraug.data.decoding import Outcome, Recipe, Task, decode_all
from monai_cxraug.data.files import FileRef
from monai_cxraug.data.pack import SCHEMA, Progress, picture_hash, write_info
from monai_cxraug.errors import CxrAugError, InputError

#: table beside the pack: every file, what became of it, and what tells whether it changed since.
FILES_TABLE = "files.csv"
_PARTIAL, _JOURNAL = ".pack.partial", ".pack.progress"
#: outcomes and seconds between two entries of the journal: what a killed run loses. Flushing a disk takes its time.
_SAVED, _SECONDS = 64, 2.0
#: packages that decide which files can be read; a file that failed is tried again when they changed.
_DECODERS = (
    *("imagecodecs", "isal", "itk", "nibabel", "pillow", "pydicom", "pyjpegls", "python-gdcm"),
    *("pylibjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle"),
)


@dataclass(frozen=True, slots=True)
class Record:
    """A file and its outcome, as a row of the table of files.

    Args:
        image: name in the manifest.
        row: of its picture in the file of pictures; -1 where it has none.
        bytes: of the file, see :meth:`~monai_cxraug.data.files.FileRef.stamp`.
        modified: when it last changed, likewise.
        outcome: what became of it.
    """

    image: str
    row: int
    bytes: int
    modified: str
    outcome: Outcome

    def cells(self) -> list[str]:
        """Texts that :meth:`parse` reads."""
        values = [getattr(self.outcome, entry.name) for entry in fields(Outcome)[:-1]]
        tags = json.dumps(self.outcome.tags, ensure_ascii=False)
        return [self.image, str(self.row), str(self.bytes), self.modified, *map(str, values), tags]

    @classmethod
    def parse(cls, cells: Sequence[str]) -> Record:
        """Read what :meth:`cells` gave.

        Raises:
            ValueError: the texts are no record.
        """
        image, row, size, modified, state, reason, sha256, content, height, width, bits, tags = cells
        found = (int(height), int(width), int(bits))
        outcome = Outcome(state, reason, sha256, content, *found, json.loads(tags))  # type: ignore[arg-type]
        return cls(image, int(row), int(size), modified, outcome)


_COLUMNS = tuple({"state": "outcome"}.get(entry.name, entry.name) for entry in (*fields(Record)[:-1], *fields(Outcome)))


def build_pack(
    folder: Path,
    files: Sequence[FileRef],
    names: Sequence[str],
    recipe: Recipe,
    progress: Progress | None = None,
    workers: int | None = None,
    previous: Path | None = None,
) -> list[Outcome]:
    """Decode files into ``pack.npy``, ``pack.json`` and ``files.csv``, skipping what cannot be read.

    The folder is a working folder: outcomes are journalled in it beside their pictures, so that a run that was killed
    goes on where it stopped, and journal and pictures stay until the caller has moved the finished files elsewhere. A
    file that an earlier pack of the same recipe holds is taken over from it when its size and time are the same, or
    else its bytes.

    Args:
        folder: working folder; made when missing.
        files: where the images lie.
        names: the manifest's ``image`` column, one name a file, each once.
        recipe: how a file becomes a picture.
        progress: called with (done, total).
        workers: processes; default one per core.
        previous: folder of an earlier pack; only read.

    Returns:
        One outcome per file. The pack holds the packed ones, in order.

    Raises:
        InputError: no file could be packed.
        OSError: a file of the pack cannot be written; the same call goes on from there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob(".*"):  # half-written files of a run that was killed
        if file.name not in (_PARTIAL, _JOURNAL):
            file.unlink()
    with ExitStack() as stack:
        store = stack.enter_context(_Growing(folder, recipe))
        sources: list[_Pictures] = [store, *([stack.enter_context(_Finished(previous, recipe))] if previous else [])]
        places = [_find(file.stamp(), name, sources) for file, name in zip(files, names, strict=True)]
        _decode(files, places, store, recipe, progress, workers)
        outcomes = [place.record.outcome for place in places]
        _require_pictures(folder, names, outcomes)
        _write_pack(folder, places, recipe)
    _write_tables(folder, places, recipe)
    return outcomes


def is_current(folder: Path, files: Sequence[FileRef], names: Sequence[str]) -> bool:
    """Whether a finished pack is of exactly these files as they are now, and nothing new could read more of them."""
    try:
        records = _read_files_table(folder)
        info = read_json(folder / "pack.json", SCHEMA)
    except (CxrAugError, OSError, ValueError, csv.Error):
        return False
    if any(record.outcome.state == "quarantined" for record in records) and info.get("decoders") != _decoders():
        return False
    seen = [(record.image, record.bytes, record.modified) for record in records]
    return seen == [(name, *file.stamp()) for name, file in zip(names, files, strict=True)]


@dataclass(slots=True)
class _Place:
    """What is known of a file: its record and where the picture lies.

    ``known`` is the SHA-256 that the file must still have where its time has changed; ``settled`` says that the file
    need not be read.
    """

    record: Record
    source: _Pictures | None = None
    known: str = ""
    settled: bool = False


class _Pictures:
    """Records by name and the file that holds their pictures, one after the other."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.each = recipe.nbytes
        self.dtype = np.dtype(f"u{recipe.depth // 8}")
        self.records: dict[str, Record] = {}
        self.same_decoders = True
        self.stream: BinaryIO | None = None
        self.offset = 0

    def picture(self, row: int) -> bytes:
        """Stored bytes of a picture; empty where there is none."""
        if self.stream is None or row < 0:
            return b""
        self.stream.seek(self.offset + row * self.each)
        return self.stream.read(self.each)

    def find(self, name: str) -> Record | None:
        """Record of a name that is good for being taken over."""
        record = self.records.get(name)
        if record is None or (record.outcome.state == "quarantined" and not self.same_decoders):
            return None
        if record.outcome.state == "packed" and self._hash(record.row) != record.outcome.content:
            return None  # damaged since
        return record

    def _hash(self, row: int) -> str:
        return picture_hash(np.frombuffer(self.picture(row), dtype=self.dtype))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.stream is not None:
            self.stream.close()


class _Finished(_Pictures):
    """A finished pack; empty where there is none, or one of another recipe."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        super().__init__(recipe)
        with suppress(CxrAugError, OSError, ValueError, csv.Error):
            info = read_json(folder / "pack.json", SCHEMA)
            if info.get("recipe") != recipe.key():
                return
            records = {record.image: record for record in _read_files_table(folder)}
            stored = np.load(folder / "pack.npy", mmap_mode="r", allow_pickle=False)
            if stored.shape[1:] == recipe.shape and stored.dtype == self.dtype:
                self.records, self.offset = records, stored.offset
                self.same_decoders = info.get("decoders") == _decoders()
                self.stream = (folder / "pack.npy").open("rb")


class _Growing(_Pictures):
    """The pictures of a run in the making, and the journal of their outcomes; continued where both are there."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.journal = folder / _JOURNAL
        self.unsaved: list[str] = []
        self.saved = time.monotonic()
        partial = folder / _PARTIAL
        if partial.exists():
            self._load()
        if not self.records:
            partial.write_bytes(b"")
        rows = [record.row for record in self.records.values()]
        self.rows = max(rows, default=-1) + 1
        header = json.dumps({"recipe": recipe.key(), "decoders": _decoders()})
        lines = [header, *(json.dumps(record.cells()) for record in self.records.values())]
        write_text(self.journal, "".join(map(_seal, lines)))
        self.stream = partial.open("r+b")

    def _load(self) -> None:
        # a line that was cut off, or that the disk has changed, ends the journal
        with suppress(OSError, ValueError, TypeError, KeyError, StopIteration):
            lines = map(_unseal, self.journal.read_text(encoding="utf-8").split("\n")[:-1])
            first = next(lines)
            if first["recipe"] == self.recipe.key():
                for record in map(Record.parse, lines):
                    if record.outcome.state != "quarantined" or first["decoders"] == _decoders():
                        self.records[record.image] = record

    def add(self, record: Record, picture: NDArray[Any] | None) -> Record:
        """Take in an outcome; return its record."""
        if picture is not None and self.stream is not None:
            record = replace(record, row=self.rows)
            self.stream.seek(self.rows * self.each)
            self.stream.write(picture.tobytes())
            self.rows += 1
        self.unsaved.append(json.dumps(record.cells()))
        if len(self.unsaved) >= _SAVED and time.monotonic() - self.saved >= _SECONDS:
            self.save()
        return record

    def save(self) -> None:
        """Write what is not on the disk yet: pictures first, so that the journal never speaks of what is not there."""
        if self.unsaved and self.stream is not None:
            self.stream.flush()
            os.fsync(self.stream.fileno())
            with self.journal.open("a", encoding="utf-8") as journal:
                journal.write("".join(map(_seal, self.unsaved)))
                journal.flush()
                os.fsync(journal.fileno())
            self.unsaved = []
            self.saved = time.monotonic()

    def __exit__(self, *error: object) -> None:
        try:
            self.save()
        finally:
            super().__exit__(*error)


def _seal(text: str) -> str:
    """A line of the journal, with a checksum before it."""
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def _unseal(line: str) -> Any:
    """What :func:`_seal` was given, from JSON.

    Raises:
        ValueError: the line is not as it was written.
    """
    checksum, _, text = line.partition(" ")
    if checksum != f"{zlib.crc32(text.encode()):08x}":
        raise ValueError("the checksum differs")
    return json.loads(text)


def _find(stamp: tuple[int, str], name: str, sources: Sequence[_Pictures]) -> _Place:
    """Look a file up in what was decoded before."""
    size, modified = stamp
    place = _Place(Record(name, -1, size, modified, Outcome("quarantined")))
    for source in sources:
        record = source.find(name)
        if record is None or record.bytes != size or not modified:
            continue
        if record.modified == modified:
            return _Place(record, source, settled=True)
        if record.outcome.sha256 and not place.known:
            place = _Place(replace(record, modified=modified), source, known=record.outcome.sha256)
    return place


def _decode(
    files: Sequence[FileRef],
    places: list[_Place],
    store: _Growing,
    recipe: Recipe,
    progress: Progress | None,
    workers: int | None,
) -> None:
    tasks = [Task(k, files[k], place.known) for k, place in enumerate(places) if not place.settled]
    done = len(files) - len(tasks)
    if progress:
        progress(done, len(files))
    for answer in decode_all(tasks, recipe, workers):
        if answer.outcome is not None:
            record = replace(places[answer.number].record, row=-1, outcome=answer.outcome)
            places[answer.number] = _Place(store.add(record, answer.picture), store)
        done += 1
        if progress:
            progress(done, len(files))
    store.save()


def _require_pictures(folder: Path, names: Sequence[str], outcomes: Sequence[Outcome]) -> None:
    if all(outcome.state != "packed" for outcome in outcomes):
        found = f"none of {len(outcomes)}; the first is {names[0]}: {outcomes[0].reason}" if names else "no file"
        raise InputError(folder, "at least one image must be readable", found, "check --images")


def _write_pack(folder: Path, places: Sequence[_Place], recipe: Recipe) -> None:
    """Gather the pictures in the order of the files, one at a time."""
    kept = [
        (place.source, place.record.row)
        for place in places
        if place.source is not None and place.record.outcome.state == "packed"
    ]
    header = {"descr": f"<u{recipe.depth // 8}", "fortran_order": False, "shape": (len(kept), *recipe.shape)}
    with atomic_path(folder / "pack.npy") as temporary, temporary.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for source, row in kept:
            stream.write(source.picture(row))


def _write_tables(folder: Path, places: Sequence[_Place], recipe: Recipe) -> None:
    records, rows = [], 0
    for place in places:
        packed = place.record.outcome.state == "packed"
        records.append(replace(place.record, row=rows if packed else -1))
        rows += packed
    write_csv(folder / FILES_TABLE, _COLUMNS, (record.cells() for record in records))
    names = [record.image for record in records if record.row >= 0]
    inputs = {"files": content_hash([[record.image, record.outcome.sha256] for record in records])}
    about = {"recipe": recipe.key(), "decoders": _decoders(), "inputs": inputs}
    write_info(folder, (rows, *recipe.shape), f"uint{recipe.depth}", names, about)


def _read_files_table(folder: Path) -> list[Record]:
    with (folder / FILES_TABLE).open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream, strict=True)
    if tuple(header) != _COLUMNS:
        raise ValueError("columns of another version")
    return [Record.parse(row) for row in rows]


def _decoders() -> dict[str, str]:
    versions = {}
    for name in _DECODERS:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions
