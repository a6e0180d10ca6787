"""The phantom as a hospital exports it: DICOM media with a DICOMDIR, laterals, raw and odd images, and broken files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from monai_cxraug.artifacts import write_csv
from monai_cxraug.data.sources.listing import Progress
from monai_cxraug.data.sources.phantom.canvas import stream
from monai_cxraug.data.sources.phantom.dicom import make_uid, write_dicom
from monai_cxraug.data.sources.phantom.exposure import render
from monai_cxraug.data.sources.phantom.population import Study, sample_population
from monai_cxraug.data.sources.phantom.writers import report_progress, staged_folder
from monai_cxraug.labels import NIH_FINDINGS

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

_UNCERTAIN: Final = 0.03
_DATE, _TIME = "20200101", "120000"


def write_hospital_layout(
    folder: str | os.PathLike[str], images: int, size: int, seed: int, *, progress: Progress | None = None
) -> None:
    """Write ``DICOMDIR``, ``PT…/ST…/SE…/IM…`` and ``labels.csv``, keyed by accession number.

    Beside one frontal image a study there are, in turn, a lateral view, raw values (FOR PROCESSING), a contradictory
    Presentation LUT Shape, burned-in writing, a hand and several frames; and, unknown to the DICOMDIR, a web page, an
    empty file and a truncated one. The table has uncertain labels (-1), lacks the last study, and lists one that is not
    there.

    Args:
        folder: new or empty folder; it appears only when everything is written.
        images: how many frontal images.
        size: pixels a side.
        seed: of everything drawn.
        progress: called with (frontal images done, in all).

    Raises:
        InputError: the folder holds something already.
        ConfigError: a number is out of range.
    """
    from pydicom.fileset import FileSet
    from pydicom.uid import UID

    studies = sample_population(images, seed)
    with staged_folder(folder) as stage, tempfile.TemporaryDirectory(dir=stage.parent) as drafts:
        media = FileSet()
        media.UID = UID(make_uid(seed, "media"))
        for number, study in enumerate(report_progress(studies, progress)):
            for dataset in _draw_study(Path(drafts), study, number, size, seed):
                media.add(dataset)
        media.write(stage)
        images_there = sorted(stage.glob("PT*/ST*/SE*/IM*"))
        for leave, image in zip((_web_page, _empty, _truncated), images_there, strict=False):
            leave(image)
        rows = [_labels(study, number, seed) for number, study in enumerate(studies[:-1])]
        absent = ["A999999", *["0"] * len(NIH_FINDINGS)]
        write_csv(stage / "labels.csv", ["AccessionNumber", *NIH_FINDINGS], [*rows, absent])


def _draw_study(drafts: Path, study: Study, number: int, size: int, seed: int) -> list[FileDataset]:
    """Return the frontal image of a study, and its odd one where it has one."""
    from pydicom import dcmread
    from pydicom.uid import UID

    draft = drafts / "draft.dcm"
    write_dicom(draft, study, render(study, size, seed), seed)
    frontal, other = dcmread(draft), dcmread(draft)
    _complete(frontal, number)
    change = _ODD_IMAGES[number % len(_ODD_IMAGES)]
    if change is None:
        return [frontal]
    _complete(other, number)
    change(other)
    other.InstanceNumber = 2
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = UID(make_uid(seed, study.study_id, "second"))
    return [frontal, other]


def _complete(dataset: FileDataset, number: int) -> None:
    """Add what a hospital's own system adds: names, an order number and times."""
    dataset.PatientName = f"Phantom^Number {dataset.PatientID}"
    dataset.PatientBirthDate = "19700101"
    dataset.StudyDate, dataset.StudyTime = _DATE, _TIME
    dataset.AccessionNumber = f"A{number:06d}"


def _lateral(dataset: FileDataset) -> None:
    dataset.ViewPosition = "LL"
    array = dataset.pixel_array
    dataset.PixelData = ((array.astype(np.uint32) + array[:, ::-1]) // 2).astype("<u2").tobytes()


def _raw(dataset: FileDataset) -> None:
    dataset.PresentationIntentType = "FOR PROCESSING"


def _contradictory(dataset: FileDataset) -> None:
    inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    dataset.PresentationLUTShape = "IDENTITY" if inverted else "INVERSE"


def _written_on(dataset: FileDataset) -> None:
    dataset.BurnedInAnnotation = "YES"


def _hand(dataset: FileDataset) -> None:
    dataset.BodyPartExamined = "HAND"


def _several(dataset: FileDataset) -> None:
    dataset.NumberOfFrames = 2
    dataset.PixelData = dataset.PixelData * 2


def _web_page(image: Path) -> None:
    (image.parent / "IM009001.dcm").write_text("<!DOCTYPE html><title>404 Not Found</title>")


def _empty(image: Path) -> None:
    (image.parent / "IM009002").touch()


def _truncated(image: Path) -> None:
    (image.parent / "IM009003").write_bytes(image.read_bytes()[:-999])


_ODD_IMAGES: Final[Sequence[Callable[[FileDataset], None] | None]] = (
    *(_lateral, None, _raw, None, _lateral, None, _contradictory, None, _lateral, _written_on, None, _hand, None),
    *(_lateral, None, _several, None),
)


def _labels(study: Study, number: int, seed: int) -> list[object]:
    draws = stream(seed, study.study_id, "uncertain").random(len(NIH_FINDINGS))
    cells = [
        "-1" if draw < _UNCERTAIN else int(finding in study.findings)
        for finding, draw in zip(NIH_FINDINGS, draws, strict=True)
    ]
    return [f"A{number:06d}", *cells]
