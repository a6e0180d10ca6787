"""The report: read back, it says what was answered, names its model and its radiograph, and is valid."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import pydicom
import pytest
from pydicom.dataset import Dataset

from monai_cxraug.interop import concepts
from monai_cxraug.interop.device import Device
from monai_cxraug.interop.identity import STATEMENT
from monai_cxraug.interop.pull import write_dicom
from monai_cxraug.interop.reports import Answer, build_report
from monai_cxraug.interop.sources import describe_source
from monai_cxraug.labels import CHEXPERT_FINDINGS, NIH_FINDINGS
from tests.interop.objects import radiograph, require_valid

ANSWERS = (
    Answer("Edema", 0.123456789, 0.4, 0.1),
    Answer("Pleural_Thickening", 1e-9, 1e-9, 0.5),
    Answer("Hernia", 1.0, 1.0, None),
    Answer("Pneumothorax", 0.0, 0.0, 0.0),
)
DEVICE = Device(Path("model.pt"), "ab" * 32, tuple(one.finding for one in ANSWERS), 32, None, False, None, "")


def write_report(folder: Path, source: Dataset | None = None, answers: tuple[Answer, ...] = ANSWERS) -> Path:
    path = folder / "report.dcm"
    write_dicom(path, build_report(describe_source(source or radiograph()), answers, DEVICE))
    return path


def items(dataset: Dataset) -> list[Dataset]:
    """Every content item below, by the standard's attributes alone."""
    found = []
    for item in dataset.get("ContentSequence", ()):
        found += [item, *items(item)]
    return found


def code(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def groups(dataset: Dataset) -> list[Dataset]:
    return [item for item in items(dataset) if item.ValueType == "CONTAINER" and code(item) == "125007"]


def test_numbers_are_those_that_were_answered(tmp_path: Path) -> None:
    """By pydicom alone, from the standard: TID 1501, NUM items, UCUM units."""
    read = groups(pydicom.dcmread(write_report(tmp_path)))
    assert len(read) == len(ANSWERS)
    for group, answer in zip(read, ANSWERS, strict=True):
        numbers = {code(item): item.MeasuredValueSequence[0] for item in items(group) if item.ValueType == "NUM"}
        assert float(numbers["PROBABILITY"].NumericValue) == pytest.approx(answer.prob, abs=1e-12)
        assert numbers["PROBABILITY"].MeasurementUnitsCodeSequence[0].CodeValue == "1"
        assert ("THRESHOLD" in numbers) == (answer.threshold is not None)
        if answer.threshold is not None:
            assert float(numbers["THRESHOLD"].NumericValue) == pytest.approx(answer.threshold)
        assert ("RAW_PROBABILITY" in numbers) == (answer.raw != answer.prob)
        called = [item for item in items(group) if item.ValueType == "CODE" and code(item) == "ABOVE_THRESHOLD"]
        values = [item.ConceptCodeSequence[0].CodeMeaning for item in called]
        assert values == ([] if answer.threshold is None else ["Yes" if answer.prob >= answer.threshold else "No"])


def test_another_reader_finds_findings_and_source(tmp_path: Path) -> None:
    report = hd.sr.srread(write_report(tmp_path))
    source = radiograph()
    for group, answer in zip(report.content.get_image_measurement_groups(), ANSWERS, strict=True):
        assert group.tracking_identifier == answer.finding
        assert group.finding_type == concepts.finding_code(answer.finding)
        assert group.source_images[0].referenced_sop_instance_uid == source.SOPInstanceUID
        assert group.get_measurements()[0].value == pytest.approx(answer.prob, abs=1e-12)


def test_report_belongs_to_patient_and_study_of_its_radiograph(tmp_path: Path) -> None:
    source = radiograph(patient="P7", study=7)
    report = pydicom.dcmread(write_report(tmp_path, source))
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate"):
        assert report[keyword].value == source[keyword].value, keyword
    assert report.SeriesInstanceUID != source.SeriesInstanceUID
    (evidence,) = report.CurrentRequestedProcedureEvidenceSequence
    assert (
        evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    )


def test_report_names_model_and_says_that_it_is_research(tmp_path: Path) -> None:
    report = pydicom.dcmread(write_report(tmp_path))
    texts = {code(item): item.TextValue for item in items(report) if item.ValueType == "TEXT"}
    assert texts["MODEL_SHA256"] == "ab" * 32
    assert texts["121106"] == STATEMENT
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    serials = {item.get("DeviceSerialNumber") for item in report.ContributingEquipmentSequence}
    assert "ab" * 32 in serials


def test_same_model_and_image_give_the_same_identifiers(tmp_path: Path) -> None:
    first, again = (build_report(describe_source(radiograph()), ANSWERS, DEVICE) for _ in range(2))
    assert first.SOPInstanceUID == again.SOPInstanceUID == DEVICE.report("1.2.3.1.1.1")
    other = build_report(describe_source(radiograph(number=2)), ANSWERS, DEVICE)
    assert other.SOPInstanceUID != first.SOPInstanceUID
    assert other.SeriesInstanceUID == first.SeriesInstanceUID
    moved = Device(DEVICE.path, DEVICE.sha256, DEVICE.findings, 32, None, False, None, "cd" * 32)
    assert moved.report("1.2.3.1.1.1") != first.SOPInstanceUID  # another calibration is another answer
    assert all(pydicom.uid.UID(uid).is_valid for uid in (first.SOPInstanceUID, first.SeriesInstanceUID, DEVICE.uid))


def test_report_is_valid(tmp_path: Path) -> None:
    require_valid(write_report(tmp_path))


HEADERS = {
    "Korean": {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Hong^Gildong=洪^吉洞=홍^길동"},
    "Latin": {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jörg", "StudyDescription": "Übersicht"},
    "empty": dict.fromkeys(
        ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"), ""
    ),
    "one component": {"PatientName": "DOE"},
    "long": {"StudyDescription": "x" * 64},
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_report_on_a_header_of_any_kind_is_valid(tmp_path: Path, header: dict[str, str]) -> None:
    source = radiograph(**header)
    path = write_report(tmp_path, source)
    require_valid(path)
    assert pydicom.dcmread(path).PatientName == source.PatientName


def test_values_that_break_their_rules_do_not_keep_a_report_out(tmp_path: Path) -> None:
    from pydicom import config

    source = radiograph()
    with config.disable_value_validation():
        source.add_new("PatientBirthDate", "DA", "unknown")
        source.add_new("PatientSex", "CS", "FEMALE")
        source.add_new("StudyTime", "TM", "quarter past ten")
        source.add_new("StudyDescription", "LO", "two\nlines")
    for keyword in ("AccessionNumber", "StudyID", "ReferringPhysicianName", "PatientID"):
        del source[keyword]
    path = write_report(tmp_path, source)
    require_valid(path)
    report = pydicom.dcmread(path)
    assert (report.PatientBirthDate, report.PatientSex, report.PatientID) == ("", "", "")


@pytest.mark.parametrize("name", [*NIH_FINDINGS, *CHEXPERT_FINDINGS, "폐부종", "a" * 200, "a b", "a_b"])
def test_every_finding_has_a_code_of_its_own_that_fits(tmp_path: Path, name: str) -> None:
    found = concepts.finding_code(name)
    assert 1 <= len(found.value) <= 16
    assert 1 <= len(found.meaning) <= 64
    same_meaning = {("Effusion", "Pleural Effusion"), ("Pleural Effusion", "Effusion")}
    for other in (*NIH_FINDINGS, *CHEXPERT_FINDINGS, "a b", "a_b", "폐부종 "):
        if other != name and (name, other) not in same_meaning:
            assert concepts.finding_code(other).value != found.value, other
    require_valid(write_report(tmp_path, answers=(Answer(name, 0.5, 0.5, 0.5),)))
