"""DICOM files made for a test, written by pydicom."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

from monai_cxraug.data.readers import DicomPolicy, Radiograph, read_radiograph

SHAPE = (9, 11)
PERSON = "Nobody^Anna"
KEEP = DicomPolicy.keep_all()


def ramp(low: int, high: int, dtype: str = "uint16", shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """An asymmetric picture, every pixel different: top left low, bottom right high."""
    return np.linspace(low, high, shape[0] * shape[1]).round().astype(dtype).reshape(shape)


def make_dicom(
    stored: np.ndarray, bits: int = 12, syntax: UID = ExplicitVRLittleEndian, **attributes: Any
) -> FileDataset:
    """A data set around stored values ``[H, W]`` or ``[H, W, 3]``; attributes come on top."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = UID("1.2.840.10008.5.1.4.1.1.1")
    little = syntax.is_little_endian
    dataset = FileDataset("", {}, b"\0" * 128, meta, is_implicit_VR=syntax.is_implicit_VR, is_little_endian=little)
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = PERSON, "4711", "19010203"
    dataset.Rows, dataset.Columns = stored.shape[:2]
    dataset.SamplesPerPixel = 1 if stored.ndim == 2 else stored.shape[2]
    dataset.PhotometricInterpretation = attributes.pop("PhotometricInterpretation", "MONOCHROME2")
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * stored.itemsize, bits, bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    if stored.ndim == 3:
        dataset.PlanarConfiguration = 0
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder("<" if little else ">")).tobytes()
    dataset["PixelData"].VR = "OB" if stored.itemsize == 1 else "OW"
    return dataset


def compress(dataset: FileDataset, *frames: bytes, syntax: str = "") -> FileDataset:
    """Put encapsulated frames in the place of the pixel data."""
    if syntax:
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.PixelData = encapsulate(list(frames))
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    return dataset


def encode(dataset: FileDataset) -> bytes:
    """The file's bytes."""
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset)
    return buffer.getvalue()


def read(dataset: FileDataset, policy: DicomPolicy = KEEP) -> Radiograph:
    """What our reader makes of it."""
    return read_radiograph(encode(dataset), "x.dcm", policy)


def table(entries: list[int], first: int, bits: int) -> Sequence:
    """A look-up table as words, the way archives write it."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    item.add_new("LUTData", "OW", np.asarray(entries, dtype="<u2").tobytes())
    return Sequence([item])
