"""Queries: what they ask, what they refuse before asking, and answers that do not keep to them."""

from __future__ import annotations

import pytest

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.interop.queries import Query


def test_several_values_are_several_questions() -> None:
    query = Query.parse(["Modality=DX", "Modality=CR", "PatientID=1", "PatientID=2", "StudyDate=20260101-"])
    asked = {(one["ModalitiesInStudy"], one["PatientID"], one["StudyDate"]) for one in query.filters()}
    assert asked == {(modality, patient, "20260101-") for modality in ("DX", "CR") for patient in ("1", "2")}


def test_plain_radiographs_where_no_modality_is_named() -> None:
    query = Query.parse("AccessionNumber=A=1")
    assert [one["ModalitiesInStudy"] for one in query.filters()] == ["CR", "DX"]
    assert query.studies == {"AccessionNumber": ["A=1"]}
    assert query.wants_series({"Modality": "DX"})
    assert not query.wants_series({"Modality": "SR"})
    assert not query.wants_series({})


def test_one_series() -> None:
    query = Query.parse(["SeriesInstanceUID=1.2"])
    assert query.wants_series({"Modality": "CR", "SeriesInstanceUID": "1.2"})
    assert not query.wants_series({"Modality": "CR", "SeriesInstanceUID": "1.3"})


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "at least one condition is required"),
        (["Modality"], "must read Keyword=value"),
        (["Modality="], "must read Keyword=value"),
        (["modality=DX"], "unknown keyword; found 'modality'; did you mean 'Modality'?"),
        (["PixelData=1"], "unknown keyword"),
        (["StudyDate=20261301"], "must be a day or a range of days"),
        (["StudyDate=20260101-20260132"], "must be a day or a range of days"),
        (["StudyDate=-"], "must be a day or a range of days"),
    ],
)
def test_refused_before_anyone_is_asked(texts: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match="(?s)" + message.replace("?", r"\?")):
        Query.parse(texts)


@pytest.mark.parametrize(
    ("condition", "study", "kept"),
    [
        ("StudyDate=20260102", {"StudyDate": "20260102"}, True),
        ("StudyDate=20260102", {"StudyDate": "2026.01.02"}, True),
        ("StudyDate=20260102", {"StudyDate": "20260103"}, False),
        ("StudyDate=20260102-20260103", {"StudyDate": "20260103"}, True),
        ("StudyDate=20260102-", {"StudyDate": "20260101"}, False),
        ("StudyDate=-20260102", {"StudyDate": "20260103"}, False),
        ("StudyDate=20260102", {}, True),
        ("PatientID=7", {"PatientID": "8"}, False),
        ("PatientID=7*", {"PatientID": "78"}, True),
        ("AccessionNumber=A", {"AccessionNumber": "A"}, True),
    ],
)
def test_an_archive_that_does_not_keep_to_the_condition_is_refused(
    condition: str, study: dict[str, str], kept: bool
) -> None:
    query = Query.parse(condition)
    if kept:
        query.refuse_unasked(study, "pacs")
    else:
        with pytest.raises(InputError, match="must answer the condition on"):
            query.refuse_unasked(study, "pacs")
