"""Filtered copies: a prepared set whose real training images come several times, each time through another filter."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from monai_cxraug import __version__
from monai_cxraug.artifacts import content_hash, file_hash, locked, read_json, write_json
from monai_cxraug.data.contact_sheet import write_contact_sheet
from monai_cxraug.data.duplicates import CONTENT
from monai_cxraug.data.manifest import SCHEMA as MANIFEST_SCHEMA
from monai_cxraug.data.manifest import Manifest, check_manifest, read_manifest
from monai_cxraug.data.pack import (
    Pack,
    Progress,
    channels_first,
    channels_last,
    picture_hash,
    quantise,
    to_unit,
    write_info,
)
from monai_cxraug.errors import ConfigError, CxrAugError, InputError, StateError, nearest
from monai_cxraug.transforms.functional.filters import FILTERS, SYSTEM_B

SCHEMA: Final = "cxraug.filtered/1"
#: columns of a filtered set: the filter of a copy, and the image that it is a copy of; empty for the originals.
FILTER, ORIGINAL = "filter", "filtered_from"
ARTIFACTS: Final = ("manifest.csv", "manifest.json", "pack.npy", "pack.json", "provenance.json", "contact_sheet.png")

#: folder of a run in the making, and the lock, which is the one that ``prepare`` takes: one of them at a time.
_WORK, _LOCK = ".filter", ".prepare.lock"
_JOURNAL, _JOURNAL_SCHEMA = ".pack.progress", "cxraug.filtering/1"
#: pixels filtered at a time: larger blocks leave the cache and ask the system for memory anew, at a fifth of the speed;
#: seconds between two entries of the journal.
_PIXELS, _SECONDS = 2**16, 2.0


@dataclass(frozen=True)
class FilterAugment:
    """Multiplies a prepared set: every row as it is, then one filtered copy a filter of each real training row.

    A copy keeps its original's labels, patient and every other column, is of source ``filtered`` in split ``train``, is
    named ``<image>+<filter>``, and names its filter and original in the columns ``filter`` and ``filtered_from``. Rows
    of val and test stay as they are, so that whoever trains on the set still knows which patients are held out. Images
    that are not real are not filtered.

    A folder that already holds the answer is left as it is; a run that was killed goes on where it stopped.

    Args:
        manifest: of the prepared set, the pack beside it.
        out: folder to fill; made when missing. A filtered set that it holds is replaced when the new one is complete.
        filters: names of :data:`~monai_cxraug.transforms.functional.filters.FILTERS`; a single one may stand alone.
        progress: called with (done, total) pictures.

    Raises:
        ConfigError: a filter is unknown or named twice, or none is named.
    """

    manifest: str | Path
    out: str | Path
    filters: Sequence[str] | str = SYSTEM_B
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if not self.names:
            raise ConfigError("filters", "at least one is needed", "none", f"known: {', '.join(FILTERS)}")
        for name in self.names:
            if not isinstance(name, str) or name not in FILTERS:
                raise ConfigError("filters", "unknown filter", repr(name), nearest(str(name), FILTERS))
            if self.names.count(name) > 1:
                raise ConfigError("filters", "a filter may be named once", f"{name!r} twice", "remove one")

    @property
    def names(self) -> tuple[str, ...]:
        """The filters, in order."""
        several = isinstance(self.filters, Sequence) and not isinstance(self.filters, str)
        return tuple(self.filters) if several else (self.filters,)  # type: ignore[return-value] # a config may say 3

    def run(self) -> Path:
        """Filter and write manifest, pack, provenance and contact sheet.

        Returns:
            Path of the new manifest.

        Raises:
            InputError: the set has no real training image, is filtered already, has images too small for a filter, or
                cannot be read; the folder cannot be written.
            ConfigError: a column of the set has a name that is needed, or the folder is the set's own.
            StateError: the folder holds other data, or another process writes there.
        """
        plan = _Plan(self.manifest, self.names)
        out = Path(self.out)
        try:
            _require_free(out, plan.source)
            with _alone_in(out):
                return _fill(plan, out, self.progress)
        except OSError as error:
            mend = "free some space or choose another folder; the same command goes on where it stopped"
            raise InputError(out, "must be a folder that can be written", error.strerror or error, mend) from None


class _Plan:
    """What a filtered set will hold, checked before anything is written."""

    def __init__(self, manifest: str | Path, names: Sequence[str]) -> None:
        self.source, self.names = read_manifest(manifest), names
        self.pack = Pack(self.source.path.parent, self.source)
        self.rows = _rows_to_filter(self.source)
        _try_filters(self.pack, names)
        self.table = _multiply(self.source, self.rows, names)
        check_manifest(self.table)

    @cached_property
    def inputs(self) -> dict[str, str]:
        """Hashes of all that decides the result."""
        pack = file_hash(self.pack.folder / "pack.npy")
        request = content_hash([list(self.names), self.source.findings, dict(self.source.info), __version__])
        return {"manifest": self.source.hash(), "pack": pack, "request": request}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the new pack."""
        return (len(self.table), *self.pack.array.shape[1:])

    def blocks(self) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """Filters ("" for none) and rows of the source, some at a time, in the order of the table."""
        step = max(1, _PIXELS // (self.pack.channels * self.pack.size**2))
        for name, rows in [("", np.arange(len(self.source))), *((name, self.rows) for name in self.names)]:
            for start in range(0, len(rows), step):
                yield name, rows[start : start + step]


def _rows_to_filter(source: Manifest) -> NDArray[np.int64]:
    if (source["source"] == "filtered").any():
        raise InputError(source.path, "must not be filtered already", "rows of source 'filtered'", "give the original")
    for column in (FILTER, ORIGINAL):
        if column in (*source.columns, *source.findings):
            rule = "the name is needed for what the filtered copies say about themselves"
            raise ConfigError(f"{source.path} column {column!r}", rule, "a column of that name", "rename it")
    rows = np.flatnonzero((source["split"] == "train") & (source["source"] == "real"))
    if not len(rows):
        rule = "at least one real image must be in split 'train'"
        raise InputError(source.path, rule, "none", "only training images are filtered: check split and source")
    return rows


def _try_filters(pack: Pack, names: Sequence[str]) -> None:
    """Refuse images too small for a filter before anything is written."""
    for name in names:
        try:
            filter_stored(pack.batch([0]), name)
        except CxrAugError as error:
            mend = "prepare larger images, or leave the filter out with --filters"
            raise InputError(
                pack.folder / "pack.npy", f"filter {name!r}: image {error.rule}", error.found, mend
            ) from None


def _multiply(source: Manifest, rows: NDArray[np.int64], names: Sequence[str]) -> Manifest:
    origin = np.concatenate([np.arange(len(source)), *[rows] * len(names)])
    columns = {name: values[origin] for name, values in source.columns.items()}
    copies = slice(len(source), None)
    filters = np.array([""] * len(source) + [name for name in names for _ in rows], dtype=object)
    originals = columns["image"].copy()
    originals[: len(source)] = ""
    columns["image"][copies] = originals[copies] + "+" + filters[copies]
    columns["source"][copies] = "filtered"
    info = {**source.info, "filters": list(names)}
    table = {**columns, FILTER: filters, ORIGINAL: originals}
    return Manifest(table, source.findings, source.labels[origin], info, source.path)


def filter_stored(stored: NDArray[Any], name: str) -> NDArray[Any]:
    """Filter pictures as they lie in a pack, each channel by itself.

    Args:
        stored: uint8 or uint16 ``[N, H, W]`` or ``[N, H, W, 3]``.
        name: a key of :data:`~monai_cxraug.transforms.functional.filters.FILTERS`.

    Returns:
        The same shape and type.

    Raises:
        InputError: the pictures are too small for the filter.
    """
    images = FILTERS[name](torch.from_numpy(np.ascontiguousarray(channels_first(to_unit(stored)))))
    return quantise(channels_last(images.numpy()), stored.dtype.itemsize * 8)


# --- files ---


def _require_free(out: Path, source: Manifest) -> None:
    if out.resolve() == source.path.parent.resolve():
        raise ConfigError("out", "must be another folder than that of the data", out, "choose a new folder")
    if (out / "manifest.json").exists() and not _holds_filtered(out):
        raise StateError(out, "must hold nothing, or a filtered set", "other data", "choose a new folder")


def _holds_filtered(folder: Path) -> bool:
    with suppress(CxrAugError):
        return bool(read_json(folder / "provenance.json", SCHEMA))
    return False


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, and remove it where nothing has come into it."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder / _LOCK):
            yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def _fill(plan: _Plan, out: Path, progress: Progress | None) -> Path:
    work = out / _WORK
    if not (all((out / name).exists() for name in ARTIFACTS) and _is_of(plan, out)):
        if not _is_of(plan, work):
            _write_products(plan, work, progress)
        _take_names(work, out)
    if work.exists():
        shutil.rmtree(work)
    return out / "manifest.csv"


def _is_of(plan: _Plan, folder: Path) -> bool:
    """Whether a folder's ``manifest.json``, which comes last, is the plan's."""
    with suppress(CxrAugError):
        return bool(read_json(folder / "manifest.json", MANIFEST_SCHEMA).get("inputs") == plan.inputs)
    return False


def _write_products(plan: _Plan, work: Path, progress: Progress | None) -> None:
    work.mkdir(exist_ok=True)
    for file in work.iterdir():  # of a run that was killed; its pictures stay
        if file.name not in ("pack.npy", _JOURNAL):
            file.unlink()
    _write_pack(plan, work, progress)
    table = plan.table
    if CONTENT in table.columns:
        table = replace(table, columns={**table.columns, CONTENT: _contents(plan, work)})
    write_info(work, plan.shape, str(plan.pack.array.dtype), table["image"], {"inputs": plan.inputs})
    write_contact_sheet(work, table)
    write_json(work / "provenance.json", SCHEMA, _provenance(plan))
    table.write(work, plan.inputs)


def _write_pack(plan: _Plan, work: Path, progress: Progress | None) -> None:
    """Write the pictures one after the other; the journal says how many are on the disk for sure."""
    path, array, end, saved = work / "pack.npy", plan.pack.array, 0, time.monotonic()
    done = _read_journal(plan, work)
    with path.open("r+b" if done else "wb") as stream:
        header = {"descr": array.dtype.str, "fortran_order": False, "shape": plan.shape}
        np.lib.format.write_array_header_1_0(stream, header)
        head = stream.tell()
        for name, rows in plan.blocks():
            start, end = end, end + len(rows)
            if end <= done:
                continue
            stored = plan.pack.batch(rows)
            stream.seek(head + start * array[0].nbytes)
            stream.write((filter_stored(stored, name) if name else stored).tobytes())
            if time.monotonic() - saved >= _SECONDS or end == len(plan.table):
                stream.flush()
                os.fsync(stream.fileno())
                write_json(work / _JOURNAL, _JOURNAL_SCHEMA, {"pictures": end, "inputs": plan.inputs})
                saved = time.monotonic()
            if progress:
                progress(end, len(plan.table))


def _read_journal(plan: _Plan, work: Path) -> int:
    """Pictures of this plan that an interrupted run has left."""
    with suppress(CxrAugError):
        journal = read_json(work / _JOURNAL, _JOURNAL_SCHEMA)
        if journal.get("inputs") == plan.inputs and (work / "pack.npy").exists():
            return int(journal["pictures"])
    return 0


def _contents(plan: _Plan, work: Path) -> NDArray[np.object_]:
    """Hashes of the pictures, as the column ``content`` has them."""
    pictures, contents = np.load(work / "pack.npy", mmap_mode="r", allow_pickle=False), plan.table[CONTENT].copy()
    for row in range(len(plan.source), len(contents)):
        contents[row] = picture_hash(pictures[row])
    return contents


def _provenance(plan: _Plan) -> dict[str, Any]:
    return {
        "filters": list(plan.names),
        "training_manifest": plan.inputs["manifest"],
        "images": len(plan.source),
        "filtered": len(plan.table) - len(plan.source),
        "patients_seen": sorted(plan.source.patients(plan.rows)),
        "inputs": plan.inputs,
    }


def _take_names(work: Path, out: Path) -> None:
    """Move finished files into place: the old ``manifest.json`` goes first, the new one comes last."""
    (out / "manifest.json").unlink(missing_ok=True)
    for name in sorted(ARTIFACTS, key="manifest.json".__eq__):
        if (work / name).exists():
            (work / name).replace(out / name)
