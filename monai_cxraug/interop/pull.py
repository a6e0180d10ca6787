"""Pull: the radiographs that meet a query, from an archive into a folder that ``cxraug prepare dicom`` reads.

One file an image, named by its SOP Instance UID, so that an image can be there once only. A file takes its name when
it is complete; the journal beside it says how long it is. A run that was killed goes on where it stopped.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from monai_cxraug.artifacts import atomic_path, file_hash, locked, write_csv, write_json
from monai_cxraug.errors import InputError
from monai_cxraug.interop.archive import Archive, Instance, Progress, RefusedError, Study, list_studies
from monai_cxraug.interop.discretion import discreet
from monai_cxraug.interop.identity import MANUFACTURER
from monai_cxraug.interop.journal import Journal
from monai_cxraug.interop.queries import Query

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SCHEMA: Final = "cxraug.pull/1"
TABLE, LEFT_OUT, ABOUT = "pulled.csv", "left_out.csv", "pull.json"
_JOURNAL, _LOCK = "journal.jsonl", ".pull.lock"
#: Synthetic Data (0008,001C), which older dictionaries do not know.
SYNTHETIC_DATA: Final = 0x0008001C
_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True)
class Pulled:
    """What became of a query.

    Args:
        folder: that holds the files.
        images: those that are there.
        fresh: how many of them came just now.
        left_out: SOP Instance UID to the reason why it is not there.
    """

    folder: Path
    images: tuple[Instance, ...]
    fresh: int
    left_out: Mapping[str, str]

    def describe(self) -> str:
        """One line for people."""
        reasons = Counter(self.left_out.values()).most_common()
        others = "".join(f"; {count} left out: {reason}" for reason, count in reasons)
        studies = len({image.study for image in self.images})
        return f"{len(self.images)} images of {studies} studies, {self.fresh} of them new{others}"


@dataclass(frozen=True)
class Pull:
    """Copies radiographs from an archive.

    Synthetic images and what this tool drew itself stay where they are: they would be taken for radiographs.

    Args:
        archive: to copy from.
        out: folder, for its owner's eyes only when it is made here.
        progress: called with (done, total) images.
    """

    archive: Archive
    out: Path
    progress: Progress | None = None
    left_out: dict[str, str] = field(default_factory=dict, init=False)

    def run(self, query: Query, studies: Sequence[Study] | None = None) -> Pulled:
        """Copy what is not there yet, and write what there is to know about it.

        Args:
            query: the conditions, for the record.
            studies: those that meet them; default the archive is asked.

        Raises:
            InputError: the archive does not answer, or the folder cannot be written; what was copied stays.
            StateError: another process writes into the folder.
        """
        wanted = list_studies(self.archive, query) if studies is None else studies
        images = [image for study in wanted for image in study.images]
        make_private(self.out)
        with locked(self.out / _LOCK), discreet():
            sweep(self.out)
            journal = Journal(self.out / _JOURNAL)
            fresh = sum(self._copy(image, journal, number, len(images)) for number, image in enumerate(images, 1))
            there = tuple(image for image in images if image.uid not in self.left_out)
            pulled = Pulled(self.out, there, fresh, dict(self.left_out))
            self._write_record(query, journal, pulled)
        return pulled

    def _copy(self, image: Instance, journal: Journal, number: int, total: int) -> bool:
        """Copy one image unless it is there; whether it was copied."""
        target, fresh = self.out / f"{image.uid}.dcm", False
        if not _is_whole(target, journal):
            try:
                dataset = self.archive.fetch(image)
                refuse_unfit(dataset, image)
                write_dicom(target, dataset)
            except RefusedError as error:
                self.left_out[image.uid] = error.rule
            else:
                facts = {"study": image.study, "series": image.series, "sop_class": str(dataset.SOPClassUID)}
                journal.add(image.uid, **facts, bytes=target.stat().st_size, sha256=file_hash(target))
                fresh = True
        if self.progress:
            self.progress(number, total)
        return fresh

    def _write_record(self, query: Query, journal: Journal, pulled: Pulled) -> None:
        columns = ("study", "series", "sop_class", "bytes", "sha256")
        rows = [(f"{uid}.dcm", uid, *(facts.get(name, "") for name in columns)) for uid, facts in _sorted(journal)]
        write_csv(self.out / TABLE, ("file", "sop_instance_uid", *columns), rows)
        write_csv(self.out / LEFT_OUT, ("sop_instance_uid", "reason"), sorted(pulled.left_out.items()))
        counts = {"images": len(pulled.images), "left_out": len(pulled.left_out)}
        inputs = {TABLE: file_hash(self.out / TABLE)}
        about = {"url": self.archive.url, "query": query.describe(), **counts, "inputs": inputs}
        write_json(self.out / ABOUT, SCHEMA, about)


def make_private(folder: Path) -> None:
    """Make a folder that only its owner reads, for it will hold patients; one that is there stays as it is.

    Raises:
        InputError: it cannot be made or written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "no right to write")
    except OSError as error:
        raise InputError(folder, "must be a folder that can be written", error.strerror, "choose another") from None


def sweep(folder: Path) -> None:
    """Remove what a killed run left half-written in a folder and one level below; its lock must be held."""
    for pattern in (".*.dcm", "*/.*.dcm", ".*.json", ".*.jsonl", ".*.csv"):
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)


def write_dicom(path: Path, dataset: Dataset) -> None:
    """Write a DICOM file (PS3.10) atomically, for its owner's eyes only.

    Raises:
        RefusedError: the object cannot be written as one.
    """
    from pydicom import dcmwrite

    try:
        with atomic_path(path, private=True) as temporary:
            dcmwrite(temporary, dataset, enforce_file_format=True)
    except (AttributeError, KeyError, TypeError, ValueError, NotImplementedError) as error:
        found = type(error).__name__  # its text may hold values of the file
        raise RefusedError(path.name, "must be an object that can be written as a file", found) from None


def refuse_unfit(dataset: Dataset, image: Instance) -> None:
    """Refuse an object that is not the image that was asked for, or no radiograph.

    Raises:
        RefusedError: it is so.
    """
    if str(dataset.get("SOPInstanceUID", "")) != image.uid or str(dataset.get("StudyInstanceUID", "")) != image.study:
        raise RefusedError(image.uid, "the archive must send the object that was asked for", "another one")
    if not {"PixelData", "FloatPixelData", "DoubleFloatPixelData"} & set(dataset.dir()):
        raise RefusedError(image.uid, "an image must hold pixel data", "none")
    if not _has_every_pixel(dataset):
        raise RefusedError(image.uid, "the archive must send the whole object", "fewer pixels than it names")
    if SYNTHETIC_DATA in dataset and str(dataset[SYNTHETIC_DATA].value).strip().upper() == "YES":
        raise RefusedError(image.uid, "a synthetic image is no radiograph", "Synthetic Data YES")
    if dataset.get("Manufacturer") == MANUFACTURER and dataset.get("SOPClassUID") == _SECONDARY_CAPTURE:
        raise RefusedError(image.uid, "what this tool drew is no radiograph", "Secondary Capture of its own")


def _has_every_pixel(dataset: Dataset) -> bool:
    """Whether uncompressed pixels are as many as rows and columns say: a parser takes what was cut off for whole."""
    if (
        getattr(dataset.file_meta, "TransferSyntaxUID", None) is None
        or dataset.file_meta.TransferSyntaxUID.is_compressed
    ):
        return True
    try:
        numbers = [int(dataset.get(name, 1) or 1) for name in ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames")]
        bits = int(dataset.get("BitsAllocated", 8) or 8)
    except (TypeError, ValueError):
        return True  # who decodes it tells what is wrong
    wanted = bits
    for number in numbers:
        wanted *= number
    return 8 * len(dataset.get("PixelData", b"")) >= wanted or "PixelData" not in dataset


def _is_whole(path: Path, journal: Journal) -> bool:
    """Whether a file is as long as it was when it was copied; one that the journal does not know is copied again."""
    try:
        return path.name.removesuffix(".dcm") in journal and path.stat().st_size == _bytes_of(path, journal)
    except OSError:
        return False


def _bytes_of(path: Path, journal: Journal) -> Any:
    return journal.entries[path.name.removesuffix(".dcm")].get("bytes")


def _sorted(journal: Journal) -> list[tuple[str, dict[str, Any]]]:
    return sorted(journal.entries.items())
