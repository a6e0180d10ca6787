"""The report on one radiograph: a Comprehensive SR after TID 1500, one measurement group a finding.

Each group holds the probability, the decision threshold where there is one, whether it is reached, and refers to the
radiograph; the document says which model, by hash, and that nobody has verified it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from monai_cxraug import __version__
from monai_cxraug.interop import concepts
from monai_cxraug.interop.device import NAME, Device
from monai_cxraug.interop.identifiers import derive_uid
from monai_cxraug.interop.identity import MANUFACTURER, STATEMENT
from monai_cxraug.interop.sources import UTF8

if TYPE_CHECKING:
    from highdicom.sr import AlgorithmIdentification, ComprehensiveSR, MeasurementsAndQualitativeEvaluations
    from pydicom.dataset import Dataset

SERIES_NUMBER: Final = 9501
DESCRIPTION: Final = "cxraug findings (research use only)"


@dataclass(frozen=True)
class Answer:
    """What a classifier says about one finding of one radiograph.

    Args:
        finding: name.
        prob: probability, calibrated where the model is.
        raw: what the network says; equal to ``prob`` without calibration.
        threshold: at which the finding is called; None without.
    """

    finding: str
    prob: float
    raw: float
    threshold: float | None

    @property
    def called(self) -> bool | None:
        """Whether the probability reaches the threshold; None without one."""
        return None if self.threshold is None else self.prob >= self.threshold


def build_report(
    source: Dataset, answers: Sequence[Answer], device: Device, maps: Mapping[str, Dataset] | None = None
) -> ComprehensiveSR:
    """Write a report.

    Args:
        source: of :func:`~monai_cxraug.interop.sources.describe_source`.
        answers: one a finding.
        device: the classifier.
        maps: finding to its map, as they are stored.

    Returns:
        The document, in the radiograph's study, with the UID that model and radiograph give it.
    """
    from highdicom.sr import ComprehensiveSR

    maps, image, study = maps or {}, str(source.SOPInstanceUID), str(source.StudyInstanceUID)
    return ComprehensiveSR(
        evidence=[source, *maps.values()],
        content=_content(source, answers, device, maps),
        series_instance_uid=device.reports_series(study),
        series_number=SERIES_NUMBER,
        sop_instance_uid=device.report(image),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=DESCRIPTION,
        manufacturer_model_name=NAME,
        software_versions=__version__,
        device_serial_number=device.sha256,
        coding_schemes=[concepts.own_scheme()],
        specific_character_set=UTF8,
        contributing_equipment=[device.equipment()],
    )


def _content(source: Dataset, answers: Sequence[Answer], device: Device, maps: Mapping[str, Dataset]) -> Any:
    from highdicom.sr import MeasurementReport, ObservationContext, RelationshipTypeValues, TextContentItem
    from pydicom.sr.codedict import codes

    groups = [_group(source, answer, device, maps.get(answer.finding)) for answer in answers]
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer(device)),
        procedure_reported=concepts.snomed(concepts.CHEST_RADIOGRAPH),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    hashes = {concepts.MODEL_HASH: device.sha256, concepts.CALIBRATION_HASH: device.calibration_sha256}
    texts = [(codes.DCM.Comment, STATEMENT)] + [(concepts.own(name), text) for name, text in hashes.items() if text]
    for name, text in texts:  # TID 1500 is extensible (PS3.16)
        content[0].ContentSequence.append(TextContentItem(name, text, RelationshipTypeValues.CONTAINS))
    return content


def _observer(device: Device) -> Any:
    from highdicom.sr import DeviceObserverIdentifyingAttributes, ObserverContext
    from pydicom.sr.codedict import codes

    attributes = DeviceObserverIdentifyingAttributes(
        device.uid, NAME, manufacturer_name=MANUFACTURER, model_name=NAME, serial_number=device.sha256
    )
    return ObserverContext(codes.DCM.Device, attributes)


def _group(
    source: Dataset, answer: Answer, device: Device, drawn: Dataset | None
) -> MeasurementsAndQualitativeEvaluations:
    from highdicom.sr import (
        ImageContentItem,
        MeasurementsAndQualitativeEvaluations,
        RelationshipTypeValues,
        SourceImageForMeasurementGroup,
        TrackingIdentifier,
    )

    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            derive_uid("answer", device.key, source.SOPInstanceUID, answer.finding), answer.finding
        ),
        finding_type=concepts.finding_code(answer.finding),
        algorithm_id=_algorithm(device),
        measurements=_measurements(answer),
        qualitative_evaluations=_evaluations(answer),
        source_images=[SourceImageForMeasurementGroup(str(source.SOPClassUID), str(source.SOPInstanceUID))],
    )
    if drawn is not None:
        name, uids = concepts.own(concepts.ACTIVATION_MAP), (str(drawn.SOPClassUID), str(drawn.SOPInstanceUID))
        group[0].ContentSequence.append(
            ImageContentItem(name, *uids, relationship_type=RelationshipTypeValues.CONTAINS)
        )
    return group


def _measurements(answer: Answer) -> list[Any]:
    from highdicom.sr import Measurement
    from pydicom.sr.codedict import codes

    values = {concepts.PROBABILITY: answer.prob, concepts.THRESHOLD: answer.threshold}
    if answer.raw != answer.prob:
        values[concepts.UNCALIBRATED] = answer.raw
    return [
        Measurement(concepts.own(name), float(value), codes.UCUM.NoUnits)
        for name, value in values.items()
        if value is not None
    ]


def _evaluations(answer: Answer) -> list[Any]:
    from highdicom.sr import QualitativeEvaluation

    if answer.called is None:
        return []
    value = concepts.snomed(concepts.YES if answer.called else concepts.NO)
    return [QualitativeEvaluation(concepts.own(concepts.ABOVE), value)]


def _algorithm(device: Device) -> AlgorithmIdentification:
    from highdicom.sr import AlgorithmIdentification

    parameters = [f"model sha256 {device.sha256}"]
    if device.calibration is not None:
        parameters.append(f"calibration sha256 {device.calibration_sha256}, thresholds by {device.calibration.rule}")
    return AlgorithmIdentification(NAME, __version__, parameters, manufacturer=MANUFACTURER)
