"""One reader for radiographs: DICOM, NIfTI, PNG, JPEG and TIFF in, stored values and their brightness out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from monai_cxraug.data.readers.dicom import read_dicom
from monai_cxraug.data.readers.header import whole_years
from monai_cxraug.data.readers.nifti import is_nifti, read_nifti
from monai_cxraug.data.readers.parsing import is_dicom
from monai_cxraug.data.readers.pictures import read_picture
from monai_cxraug.data.readers.policy import DEFAULT_POLICY, DicomPolicy, DroppedImage
from monai_cxraug.data.readers.radiograph import Radiograph
from monai_cxraug.errors import InputError

__all__ = [
    "IMAGE_SUFFIXES",
    "DicomPolicy",
    "DroppedImage",
    "Radiograph",
    "read_colour",
    "read_radiograph",
    "whole_years",
]

#: Suffixes that a folder of radiographs is searched for.
IMAGE_SUFFIXES: Final = frozenset({".dcm", ".dicom", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".nii", ".gz"})

#: What DICOM images say of their brightness that have lost their colour.
_REDUCED: Final = frozenset({"luma", "palette"})
#: Every so many rows and columns are looked at before all are.
_SPARSE: Final = 61


def read_radiograph(data: bytes | Path, name: object = "", policy: DicomPolicy = DEFAULT_POLICY) -> Radiograph:
    """Decode one radiograph, whatever its suffix says.

    Args:
        data: the file, or its bytes.
        name: what to call the file in errors; default the path.
        policy: what to do with DICOM images that may not belong into a set of chest radiographs.

    Returns:
        Stored values, and how bright each of them is.

    Raises:
        InputError: the file is missing, is no image, or is an image this reader must not guess at; or the policy
            quarantines it.
        DroppedImage: the policy drops it.
    """
    return _read(data, name or data, policy, colour=False)


def read_colour(data: bytes | Path, name: object = "", policy: DicomPolicy = DEFAULT_POLICY) -> Radiograph:
    """Decode one picture and keep its red, green and blue; a grey one has three equal channels.

    Arguments, result and errors are those of :func:`read_radiograph`. DICOM images in colour are refused: their colour
    is nowhere kept yet.

    Args:
        data: the file, or its bytes.
        name: what to call the file in errors; default the path.
        policy: what to do with DICOM images that may not belong into a set of chest radiographs.

    Returns:
        Stored values ``[H, W, 3]``, and how bright each of them is.

    Raises:
        InputError: as :func:`read_radiograph`, or a DICOM image is in colour.
        DroppedImage: the policy drops it.
    """
    return _read(data, name or data, policy, colour=True)


def _read(data: bytes | Path, name: object, policy: DicomPolicy, colour: bool) -> Radiograph:
    try:
        content = data.read_bytes() if isinstance(data, Path) else data
    except OSError as error:
        raise InputError(name, "must be a readable file", error.strerror or error, "check the path") from None
    if not content:
        raise InputError(name, "must be an image", "an empty file", "fetch the file again")
    if is_dicom(content):
        radiograph = read_dicom(content, name, policy)
    elif is_nifti(content):
        radiograph = read_nifti(content, name)
    else:
        radiograph = read_picture(content, name, colour)
    _require_contrast(radiograph, name)
    return _in_three_channels(radiograph, name) if colour and radiograph.stored.ndim == 2 else radiograph


def _require_contrast(radiograph: Radiograph, name: object) -> None:
    """Refuse a picture of one grey value or colour: nothing was exposed, or the file lost its pixels."""
    sparse = radiograph.table[radiograph.stored[::_SPARSE, ::_SPARSE]]
    if (sparse == sparse[0, 0]).all() and (radiograph.pixels == sparse[0, 0]).all():
        shade = "grey value" if radiograph.stored.ndim == 2 else "colour"
        raise InputError(name, f"must show more than one {shade}", "a flat picture", "leave the file out")


def _in_three_channels(radiograph: Radiograph, name: object) -> Radiograph:
    if radiograph.greyscale in _REDUCED:
        mend = "convert it to PNG, or prepare without --colour"
        raise InputError(name, "a DICOM image among pictures in colour must be grey", "a DICOM image in colour", mend)
    return replace(radiograph, stored=np.repeat(radiograph.stored[:, :, None], 3, axis=2))
