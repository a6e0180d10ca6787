"""The class activation map of one finding as a Secondary Capture: the radiograph, tinted where evidence came from.

The map is laid over the radiograph at its own proportions, not over the square that the network saw. A strip below
names finding and probability and says that this is research: a picture travels without its report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from monai_cxraug import __version__
from monai_cxraug.data.datasets import PackDataset
from monai_cxraug.data.readers.radiograph import Radiograph
from monai_cxraug.data.resampling import inner_size
from monai_cxraug.handlers.activation_maps import ActivationMapper, tint
from monai_cxraug.interop import concepts
from monai_cxraug.interop.device import NAME, Device
from monai_cxraug.interop.identity import MANUFACTURER, STATEMENT
from monai_cxraug.interop.reports import Answer
from monai_cxraug.interop.sources import UTF8
from monai_cxraug.keys import IMAGE
from monai_cxraug.networks.weights import load_model

if TYPE_CHECKING:
    from highdicom.sc import SCImage
    from pydicom.dataset import Dataset

Heat = NDArray[np.float32]
SERIES_NUMBER: Final = 9502
DESCRIPTION: Final = "cxraug activation maps (research use only)"
#: longest side of a picture; a radiograph of 4,000 px tells no more under a map of some 16 places a side.
_LEAST, _MOST = 512, 1024
_STRIP: Final = 44


@dataclass(frozen=True)
class Finder:
    """Class activation maps of a classifier.

    Args:
        device: the classifier.
    """

    device: Device

    def heats(self, dataset: PackDataset, row: int, columns: Sequence[int]) -> list[Heat]:
        """Return the map of some findings on one image.

        Args:
            dataset: images at the classifier's size.
            row: of the image.
            columns: of the findings.

        Returns:
            float32 ``[S, S]`` in [0, 1] each; the strongest place of every map is 1.
        """
        image = torch.as_tensor(dataset[row][IMAGE]).as_subclass(torch.Tensor)[None]
        return [self._look(image, column)[0] for column in columns]

    @cached_property
    def _look(self) -> ActivationMapper:
        return ActivationMapper(load_model(self.device.path, "classifier").network, self.device.size)


def choose_findings(answers: Sequence[Answer], most: int) -> list[int]:
    """Choose the findings whose maps are worth storing.

    Args:
        answers: one a finding.
        most: at most so many.

    Returns:
        Places in ``answers``: the called findings, the most probable first; where none is called, the most probable.
    """
    order = sorted(range(len(answers)), key=lambda place: -answers[place].prob)
    called = [place for place in order if answers[place].called]
    return (called or order[:1])[:most]


def draw_map(radiograph: Radiograph, heat: Heat, line: str) -> NDArray[np.uint8]:
    """Draw a map over its radiograph.

    Args:
        radiograph: at its own size.
        heat: ``[S, S]`` in [0, 1], of the square onto which the radiograph was fitted with ``"pad"``.
        line: what to write below.

    Returns:
        RGB ``[H + 44, W, 3]``, the longest side of the radiograph 512 to 1024 px.
    """
    height, width = _shown_size(radiograph)
    grey = Image.fromarray(np.rint(radiograph.pixels * 255).astype(np.uint8)).resize((width, height))
    cover = np.asarray(Image.fromarray(_unpad(heat, radiograph)).resize((width, height), Image.Resampling.BILINEAR))
    tinted = tint(np.asarray(grey, dtype=np.float32)[None] / np.float32(255), cover)
    return np.concatenate([tinted, _strip(line, width)])


def _shown_size(radiograph: Radiograph) -> tuple[int, int]:
    """Rows and columns of square pixels."""
    rows, columns = radiograph.stored.shape
    longest = int(np.clip(max(rows * radiograph.aspect, columns), _LEAST, _MOST))
    return inner_size((rows, columns), longest, "pad", radiograph.aspect)


def _unpad(heat: Heat, radiograph: Radiograph) -> Heat:
    """The part of the square that the radiograph took up."""
    size = heat.shape[0]
    height, width = inner_size(radiograph.stored.shape, size, "pad", radiograph.aspect)
    top, left = (size - height) // 2, (size - width) // 2
    return np.ascontiguousarray(heat[top : top + height, left : left + width], dtype=np.float32)


def _strip(line: str, width: int) -> NDArray[np.uint8]:
    """Two lines of writing, cut where the picture ends."""
    picture = Image.new("RGB", (width, _STRIP))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default()
    for place, text in enumerate((line, STATEMENT)):
        # the built-in letters may be Latin ones only
        draw.text((6, 6 + 17 * place), text.encode("latin-1", "replace").decode("latin-1"), (255, 255, 255), font)
    return np.asarray(picture)


def build_map(source: Dataset, answer: Answer, device: Device, picture: NDArray[np.uint8]) -> SCImage:
    """Make the Secondary Capture of a map (PS3.3 A.8.1).

    Args:
        source: of :func:`~monai_cxraug.interop.sources.describe_source`.
        answer: of the finding.
        device: the classifier.
        picture: of :func:`draw_map`.

    Returns:
        The object, in the radiograph's study, with the UID that model, radiograph and finding give it.
    """
    from highdicom.sc import SCImage
    from pydicom.uid import ExplicitVRLittleEndian

    image, study = str(source.SOPInstanceUID), str(source.StudyInstanceUID)
    capture = SCImage.from_ref_dataset(
        source,
        picture,
        "RGB",
        8,
        "PATIENT",
        series_instance_uid=device.maps_series(study),
        series_number=SERIES_NUMBER,
        sop_instance_uid=device.map(image, answer.finding),
        instance_number=device.findings.index(answer.finding) + 1,
        manufacturer=MANUFACTURER,
        patient_orientation=("L", "F"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        contributing_equipment=[device.equipment()],
        series_description=DESCRIPTION,
        manufacturer_model_name=NAME,
        software_versions=__version__,
        device_serial_number=device.sha256,
        specific_character_set=UTF8,
    )
    _describe(capture, source, answer)
    return capture


def _describe(capture: Any, source: Dataset, answer: Answer) -> None:
    """Say what the picture is: nothing that a viewer may take for a radiograph, and of which image it was made."""
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.ConversionType = "WSD"  # workstation
    capture.BurnedInAnnotation = "NO"  # the writing names nobody (PS3.3 C.7.6.1)
    capture.BodyPartExamined = "CHEST"
    capture.PatientOrientation = None  # a strip is part of the picture, and the radiograph may not tell
    capture.DerivationDescription = f"Class activation map of {answer.finding} over a chest radiograph. {STATEMENT}"
    capture.DerivationCodeSequence = [concepts.own(concepts.ACTIVATION_MAP)]
    capture.ImageComments = f"{describe_answer(answer)}. {STATEMENT}"
    capture.SourceImageSequence = [_reference(source)]


def describe_answer(answer: Answer) -> str:
    """One line: finding, probability, and the threshold where there is one."""
    cut = "" if answer.threshold is None else f" (threshold {answer.threshold:.3f})"
    return f"{answer.finding} {answer.prob:.3f}{cut}"


def _reference(source: Dataset) -> Any:
    from highdicom.sr import CodedConcept
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID = source.SOPClassUID
    item.ReferencedSOPInstanceUID = source.SOPInstanceUID
    purpose = CodedConcept("121322", "DCM", "Source Image for Image Processing Operation")
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item
