"""From a selected DICOM series to the radiograph in it, for a bundle that does the greyscale itself."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from monai.deploy.core import ConditionType, Fragment, Image, Operator, OperatorSpec
from monai.deploy.core.domain.dicom_series_selection import StudySelectedSeries
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut

from monai_cxraug.data.readers.dicom import read_spacing
from monai_cxraug.errors import InputError
from monai_cxraug.transforms.functional.attributes import KEYWORDS

#: pixels are modality values already, and what was done to them must not be found again.
_DONE: Final = frozenset({"ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"})


class RadiographOperator(Operator):
    """Gives the only image of a series as modality values, with the attributes that say how to show them.

    The SDK's ``DICOMSeriesToVolumeOperator`` inverts MONOCHROME1 before any window and hands on neither window nor VOI
    LUT, so that the brightness a radiograph was made to have cannot be found any more.

    Named input: ``study_selected_series_list``. Named output: ``image``, an ``Image`` ``[H, W]``.
    """

    def __init__(self, fragment: Fragment, *args: Any, **kwargs: Any) -> None:
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("study_selected_series_list")
        spec.output("image").condition(ConditionType.NONE)

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Take the first series of the first study, as the SDK's own operators do."""
        op_output.emit(read_image(op_input.receive("study_selected_series_list")), "image")


def read_image(studies: list[StudySelectedSeries]) -> Image:
    """Read the radiograph of the first selected series.

    Raises:
        InputError: nothing was selected, or the series holds several images.
    """
    if not studies or not studies[0].selected_series:
        raise InputError("series", "one must match the rules", "none", "check the input folder and the rules")
    instances = studies[0].selected_series[0].series.get_sop_instances()
    if len(instances) != 1:
        raise InputError("series", "must hold one radiograph", f"{len(instances)} images", "give one image at a time")
    return to_image(instances[0].get_native_sop_instance())


def to_image(dataset: Dataset) -> Image:
    """Make an image of a data set.

    Args:
        dataset: of one grey frame.

    Returns:
        float32 modality values ``[H, W]``, row 0 at the top, with what greyscale and proportions depend on; no name.

    Raises:
        InputError: it has several frames or colours.
    """
    pixels = apply_modality_lut(dataset.pixel_array, dataset).astype(np.float32)
    if pixels.ndim != 2:
        raise InputError("series", "must hold one grey picture", f"pixels {list(pixels.shape)}", "leave it out")
    spacing, aspect = read_spacing(dataset)
    affine = np.diag([*(spacing or (aspect, 1.0)), 1.0, 1.0])
    shown = {name: dataset.get(name) for name in KEYWORDS if name in dataset and name not in _DONE}
    # both matrices and a spacing tell the SDK that the image is laid out as the bundle wants it
    places = {"affine": affine, "original_affine": affine.copy(), "spacing": np.diag(affine)[:3]}
    return Image(pixels, {**shown, **places, "original_channel_dim": "no_channel"})
