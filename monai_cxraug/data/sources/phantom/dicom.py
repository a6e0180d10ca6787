"""Write a picture as a CR or DX file: 12 bits of 16, with the greyscale variety that real archives show."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from monai_cxraug.data.sources.phantom.canvas import FIELD_CM, Array, stream
from monai_cxraug.data.sources.phantom.population import Study

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileMetaDataset

_CR, _DX = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1"
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"


@dataclass(frozen=True)
class Greyscale:
    """How a picture in [0, 1] is stored: ``[low, high]`` of 4096 grey values hold it, the rest lies outside the window.

    Args:
        low: stored value of one end of the window.
        high: stored value of the other end.
        slope: modality rescale slope.
        intercept: modality rescale intercept.
        inverted: stored as MONOCHROME1, where large values are dark.
    """

    low: int
    high: int
    slope: float
    intercept: float
    inverted: bool

    def store(self, picture: Array) -> np.ndarray:
        """Encode a picture in [0, 1] as uint16 below 4096."""
        values = 1 - picture if self.inverted else picture
        return np.round(self.low + values * (self.high - self.low)).astype(np.uint16)

    def window(self) -> tuple[float, float]:
        """Centre and width that show exactly ``[low, high]`` by the linear function of DICOM PS3.3 C.11.2.1.2.1."""
        ends = self.low * self.slope + self.intercept, self.high * self.slope + self.intercept
        return sum(ends) / 2 + 0.5, ends[1] - ends[0] + 1


def write_dicom(path: Path, study: Study, picture: Array, seed: int) -> None:
    """Write a study's picture as an uncompressed DICOM file, explicit VR little endian.

    Args:
        path: file to write.
        study: whose picture it is; modality, polarity and window are drawn for it.
        picture: float32 ``[H, W]`` in [0, 1].
        seed: seed of the population.
    """
    from pydicom.dataset import FileDataset
    from pydicom.filewriter import dcmwrite

    rng = stream(seed, study.study_id, "dicom")
    digital = bool(rng.random() < 0.5)
    grey = Greyscale(
        low=int(rng.integers(60, 500)),
        high=int(rng.integers(3300, 4050)),
        # DX images for presentation are defined in grey values, so only CR rescales
        slope=1.0 if digital else float(rng.choice([0.5, 1.0, 2.0])),
        intercept=0.0 if digital else float(rng.choice([-1024.0, 0.0, 100.0])),
        inverted=bool(rng.random() < 0.3),
    )
    meta = _file_meta(study, seed, _DX if digital else _CR)
    # the constructor is the one way to name the encoding that pydicom 2.4 and 3 share without a warning
    dataset = FileDataset(str(path), {}, b"\0" * 128, meta, is_implicit_VR=False, is_little_endian=True)
    _describe_patient(dataset, study, seed)
    _describe_image(dataset, study, digital, grey)
    _put_pixels(dataset, grey.store(picture), grey)
    dcmwrite(path, dataset)


def make_uid(*names: object) -> str:
    """Derive a UID under the UUID root (PS3.5 B.2) from names."""
    digest = hashlib.sha256("|".join(str(name) for name in names).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def _file_meta(study: Study, seed: int, sop_class: str) -> FileMetaDataset:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0  # counted when written
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(make_uid(seed, study.study_id, "image"))
    meta.TransferSyntaxUID = UID(_EXPLICIT_LITTLE)
    meta.ImplementationClassUID = UID(make_uid("monai_cxraug", "phantom"))
    return meta


def _describe_patient(dataset: Dataset, study: Study, seed: int) -> None:
    dataset.PatientName = f"{study.patient_id}^Phantom"
    dataset.PatientID = study.patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = study.sex
    dataset.PatientAge = f"{study.age:03d}Y"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Procedural phantom: nobody was radiographed"
    dataset.StudyInstanceUID = make_uid(seed, study.study_id, "study")
    dataset.SeriesInstanceUID = make_uid(seed, study.study_id, "series")
    dataset.StudyID = study.study_id
    dataset.StudyDate = dataset.StudyTime = dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.SeriesNumber = dataset.InstanceNumber = 1


def _describe_image(dataset: Dataset, study: Study, digital: bool, grey: Greyscale) -> None:
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.Modality = "DX" if digital else "CR"
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.Manufacturer = "monai_cxraug"
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = study.view
    dataset.PatientOrientation = ["L", "F"]
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    dataset.KVP = 120 if study.view == "PA" else 90
    if digital:
        dataset.PresentationIntentType = "FOR PRESENTATION"
        dataset.PresentationLUTShape = "INVERSE" if grey.inverted else "IDENTITY"
        dataset.PixelIntensityRelationship = "LOG"
        dataset.PixelIntensityRelationshipSign = 1 if grey.inverted else -1
        dataset.ImageLaterality = "U"


def _put_pixels(dataset: Dataset, stored: np.ndarray, grey: Greyscale) -> None:
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if grey.inverted else "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.ImagerPixelSpacing = [round(10 * FIELD_CM / side, 4) for side in stored.shape]
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = grey.slope, grey.intercept, "US"
    dataset.WindowCenter, dataset.WindowWidth = grey.window()
    dataset.VOILUTFunction = "LINEAR"
    dataset.PixelData = stored.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
