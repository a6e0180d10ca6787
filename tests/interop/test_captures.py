"""The map: over the place of the radiograph that it speaks of, in an object that says what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from monai_cxraug.data.readers.radiograph import Radiograph
from monai_cxraug.interop.captures import build_map, choose_findings, describe_answer, draw_map
from monai_cxraug.interop.identity import STATEMENT
from monai_cxraug.interop.pull import write_dicom
from monai_cxraug.interop.reports import Answer, build_report
from monai_cxraug.interop.sources import describe_source
from tests.interop.objects import radiograph, require_valid
from tests.interop.test_reports import ANSWERS, DEVICE, groups, items

STRIP = 44


def flat(shape: tuple[int, int], aspect: float = 1.0) -> Radiograph:
    return Radiograph(np.zeros(shape, np.uint8), np.array([0.5], np.float32), 8, "test", aspect)


def tint(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How orange each pixel above the strip is: red against blue."""
    return picture[:-STRIP, :, 0].astype(float) - picture[:-STRIP, :, 2]


@pytest.mark.parametrize(
    ("shape", "aspect", "size"),
    [
        ((100, 50), 1.0, (512, 256)),
        ((50, 100), 1.0, (256, 512)),
        ((4000, 2000), 1.0, (1024, 512)),
        ((600, 700), 1.0, (600, 700)),
        ((50, 100), 2.0, (512, 512)),
    ],
)
def test_heat_lies_where_it_belongs(shape: tuple[int, int], aspect: float, size: tuple[int, int]) -> None:
    """A spot at a known share of the radiograph's height and width, put into the padded square by hand."""
    side, where = 64, (0.25, 0.7)
    tall, wide = size[0] / max(size), size[1] / max(size)
    heat = np.zeros((side, side), np.float32)
    row = round(side * ((1 - tall) / 2 + where[0] * tall))
    column = round(side * ((1 - wide) / 2 + where[1] * wide))
    heat[row - 1 : row + 2, column - 1 : column + 2] = 1
    picture = draw_map(flat(shape, aspect), heat, "x")
    assert picture.shape == (size[0] + STRIP, size[1], 3)
    place = np.argwhere(tint(picture) > 0.9 * tint(picture).max()).mean(axis=0) / size
    np.testing.assert_allclose(place, where, atol=1.5 / (side * min(tall, wide)))


def test_no_heat_leaves_the_radiograph_as_it_is() -> None:
    picture = draw_map(flat((600, 600)), np.zeros((32, 32), np.float32), "x")
    assert set(np.unique(picture[:-STRIP])) == {128}
    assert picture[-STRIP:].max() > 200  # writing


def test_called_findings_come_first() -> None:
    answers = [Answer("A", 0.9, 0.9, 0.95), Answer("B", 0.3, 0.3, 0.2), Answer("C", 0.4, 0.4, 0.3)]
    assert choose_findings(answers, 5) == [2, 1]
    assert choose_findings(answers, 1) == [2]
    assert choose_findings(answers[:1], 3) == [0]  # none called: the likeliest
    assert choose_findings([Answer("A", 0.1, 0.1, None), Answer("B", 0.2, 0.2, None)], 1) == [1]
    assert choose_findings(answers, 0) == []


def test_capture_says_what_it_is(tmp_path: Path) -> None:
    source, answer = radiograph(patient="P9"), ANSWERS[0]
    picture = draw_map(flat((100, 80)), np.eye(32, dtype=np.float32), describe_answer(answer))
    capture = build_map(describe_source(source), answer, DEVICE, picture)
    write_dicom(tmp_path / "map.dcm", capture)
    require_valid(tmp_path / "map.dcm")
    read = pydicom.dcmread(tmp_path / "map.dcm")
    assert read.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    assert list(read.ImageType) == ["DERIVED", "SECONDARY"]
    assert (read.PatientID, read.StudyInstanceUID) == ("P9", source.StudyInstanceUID)
    assert read.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert read.SOPInstanceUID == DEVICE.map(str(source.SOPInstanceUID), "Edema")
    assert STATEMENT in read.ImageComments
    assert "0.123" in read.ImageComments
    np.testing.assert_array_equal(read.pixel_array, picture)


def test_report_refers_to_its_maps(tmp_path: Path) -> None:
    source = describe_source(radiograph())
    picture = np.zeros((60, 50, 3), np.uint8)
    drawn = {answer.finding: build_map(source, answer, DEVICE, picture) for answer in ANSWERS[:2]}
    write_dicom(tmp_path / "report.dcm", build_report(source, ANSWERS, DEVICE, drawn))
    require_valid(tmp_path / "report.dcm")
    read = pydicom.dcmread(tmp_path / "report.dcm")
    for group, answer in zip(groups(read), ANSWERS, strict=True):
        shown = [
            item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in items(group) if item.ValueType == "IMAGE"
        ]
        expected = [drawn[answer.finding].SOPInstanceUID] if answer.finding in drawn else []
        assert shown == [source.SOPInstanceUID, *expected]
    series = read.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert sum(len(one.ReferencedSOPSequence) for one in series) == 3
