"""The policy: which images are kept, dropped and quarantined, and what the header says of them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from monai_cxraug.data.readers import DicomPolicy, DroppedImage, read_radiograph, whole_years
from monai_cxraug.data.readers.header import read_header
from monai_cxraug.errors import ConfigError, InputError
from tests.data.readers.dicoms import KEEP, encode, make_dicom, ramp


def image(**attributes: Any) -> bytes:
    return encode(make_dicom(ramp(0, 4095), **attributes))


def code(value: str, **more: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", "Nobody^Anna"
    return Sequence([item])


#: question of the policy, attributes that raise it, and a word of the answer.
RAISED = [
    ("lateral", {"ViewPosition": "LL"}, "LL"),
    ("lateral", {"ViewPosition": "RLD"}, "RLD"),
    ("lateral", {"ViewPosition": "LATERAL"}, "LATERAL"),
    ("lateral", {"ViewCodeSequence": code("399173006")}, "LL"),
    ("lateral", {"ViewCodeSequence": code("R-10232")}, "RL"),
    ("for_processing", {"PresentationIntentType": "FOR PROCESSING"}, "FOR PROCESSING"),
    ("inverse", {"PresentationLUTShape": "INVERSE"}, "MONOCHROME2 with Presentation LUT Shape INVERSE"),
    (
        "inverse",
        {"PresentationLUTShape": "IDENTITY", "PhotometricInterpretation": "MONOCHROME1"},
        "MONOCHROME1 with Presentation LUT Shape IDENTITY",
    ),
    ("burned_in", {"BurnedInAnnotation": "YES"}, "YES"),
    ("body_part", {"BodyPartExamined": "HAND"}, "HAND"),
    ("body_part", {"BodyPartExamined": "Foot"}, "FOOT"),
    ("body_part", {"AnatomicRegionSequence": code("85562004")}, "another anatomic region"),
    ("multi_frame", {"NumberOfFrames": 2}, "2 frames"),
]
#: attributes that raise no question.
ACCEPTED = [
    {},
    {"ViewPosition": "PA", "PresentationIntentType": "FOR PRESENTATION", "BurnedInAnnotation": "NO"},
    {"ViewPosition": "LAO"},
    {"ViewCodeSequence": code("272479007")},
    {"PresentationLUTShape": "IDENTITY"},
    {"PresentationLUTShape": "INVERSE", "PhotometricInterpretation": "MONOCHROME1"},
    {"BodyPartExamined": "", "AnatomicRegionSequence": Sequence([])},
    {"BodyPartExamined": "CHEST PA"},
    {"BodyPartExamined": "THORAX", "AnatomicRegionSequence": code("85562004")},
    {"AnatomicRegionSequence": code("51185008")},
    {"NumberOfFrames": 1},
]


@pytest.mark.parametrize(("question", "attributes", "word"), RAISED)
def test_an_answer_for_every_question(question: str, attributes: dict, word: str, refuses) -> None:
    content = image(**attributes)
    if question == "multi_frame":
        content = encode(two_frames())
    with refuses(InputError, "x.dcm", word, f"{question}=keep"):
        read_radiograph(content, "x.dcm", DicomPolicy(**{question: "quarantine"}))
    with refuses(DroppedImage, "x.dcm", word):
        read_radiograph(content, "x.dcm", DicomPolicy(**{question: "drop"}))
    alone = DicomPolicy(**{field.name: "keep" if field.name == question else "quarantine" for field in fields(KEEP)})
    assert read_radiograph(content, "x.dcm", alone).stored.shape == ramp(0, 9).shape


def two_frames() -> Any:
    stored = ramp(0, 4095)
    dataset = make_dicom(stored, NumberOfFrames=2)
    dataset.PixelData = stored.tobytes() + stored[::-1].tobytes()
    return dataset


@pytest.mark.parametrize("attributes", ACCEPTED)
def test_chest_radiographs_pass_the_strictest_policy(attributes: dict) -> None:
    read_radiograph(image(**attributes), policy=DicomPolicy(*["quarantine"] * len(fields(DicomPolicy))))


def test_the_defaults() -> None:
    policy = DicomPolicy()
    assert policy.lateral == "drop"
    assert {getattr(policy, field.name) for field in fields(policy) if field.name != "lateral"} == {"quarantine"}


def test_quarantine_comes_before_drop(refuses) -> None:
    with refuses(InputError, "HAND"):
        read_radiograph(image(ViewPosition="LL", BodyPartExamined="HAND"))
    with refuses(DroppedImage, "LL"):
        read_radiograph(image(ViewPosition="LL", BodyPartExamined="CHEST"))


def test_a_kept_contradiction_follows_the_photometric_interpretation() -> None:
    plain = read_radiograph(image(), policy=KEEP)
    inverse = read_radiograph(image(PresentationLUTShape="INVERSE"), policy=KEEP)
    assert (plain.pixels == inverse.pixels).all()


def test_a_misspelt_answer_is_refused(refuses) -> None:
    with refuses(ConfigError, "lateral", "'dorp'", "drop"):
        DicomPolicy(lateral="dorp")  # type: ignore[arg-type]


# --- the header alone


def full() -> bytes:
    return image(
        StudyInstanceUID="1.2.3",
        SOPInstanceUID="1.2.4",
        AccessionNumber="A 77",
        OtherPatientIDs="other",
        PatientSex="F",
        PatientAge="071Y",
        ViewPosition="PA",
    )


def test_the_header_says_what_the_source_needs(tmp_path: Path) -> None:
    path = tmp_path / "사진 1.dcm"
    path.write_bytes(full())
    for header in (read_header(path), read_header(full())):
        assert (header.sop_instance_uid, header.study_instance_uid) == ("1.2.4", "1.2.3")
        assert (header.accession_number, header.patient_key) == ("A 77", "4711")
        assert header.tags == {"view": "PA", "sex": "F", "age": "71"}
        assert (header.rows, header.columns, header.frames) == (9, 11, 1)
    assert read_header(path, patient_key="OtherPatientIDs").patient_key == "other"
    assert read_header(path, patient_key="EthnicGroup").patient_key == ""


def test_only_the_beginning_is_read(tmp_path: Path, refuses) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(full()[:-150])  # within the pixels
    assert read_header(path).sop_instance_uid == "1.2.4"
    with refuses(InputError, path, "bytes"):
        read_radiograph(path)


def test_a_key_that_is_none_is_refused(tmp_path: Path, refuses) -> None:
    with refuses(ConfigError, "patient_key", "'PatientId'"):
        read_header(full(), patient_key="PatientId")
    for path, word in ((tmp_path / "none.dcm", "readable"), (tmp_path, "readable")):
        with refuses(InputError, path, word):
            read_header(path)


@pytest.mark.parametrize(
    ("age", "years"),
    [("058Y", "58"), ("58", "58"), ("000Y", "0"), ("023M", "1"), ("010D", "0"), ("060W", "1"), ("", ""), ("x", "")],
)
def test_ages_in_whole_years(age: str, years: str) -> None:
    assert whole_years(age) == years
