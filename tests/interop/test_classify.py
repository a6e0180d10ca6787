"""Classify: what is new is answered as ``cxraug predict`` answers it, stored once, and goes on after any break."""

from __future__ import annotations

import csv
import json
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from monai_cxraug.bundle_config import bundle_file, run_stage
from monai_cxraug.errors import ConfigError, StateError
from monai_cxraug.interop.archive import RefusedError, UnreachableError
from monai_cxraug.interop.classify import Classify
from monai_cxraug.interop.device import Device
from monai_cxraug.interop.queries import Query
from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.weights import load_model, save_model
from monai_cxraug.predictions import read_predictions
from tests.interop.conftest import FINDINGS
from tests.interop.objects import MemoryArchive, break_at, radiograph, require_valid
from tests.interop.test_reports import code, groups, items

QUERY = Query.parse("Modality=CR")


def archive_of(studies: int = 2) -> MemoryArchive:
    return MemoryArchive(
        *(radiograph(number, study, f"P{study}") for study in range(1, studies + 1) for number in (1, 2))
    )


def reports(archive: MemoryArchive) -> dict[str, Dataset]:
    """Source image to its report, read from the archive."""
    found = [one for one in archive.datasets() if one.Modality == "SR"]
    sources = [
        next(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in items(one) if code(item) == "121112")
        for one in found
    ]
    assert len(set(sources)) == len(found)  # one report an image
    return dict(zip(map(str, sources), found, strict=True))


def probabilities(report: Dataset, name: str = "PROBABILITY") -> list[float]:
    return [
        float(item.MeasuredValueSequence[0].NumericValue)
        for group in groups(report)
        for item in items(group)
        if item.ValueType == "NUM" and code(item) == name
    ]


def test_reports_say_what_predict_says(tmp_path: Path, model: Path) -> None:
    archive = archive_of()
    sources = {str(one.SOPInstanceUID): one for one in archive.datasets()}
    (tmp_path / "images").mkdir()
    for uid, content in archive.held.items():
        (tmp_path / "images" / f"{uid}.dcm").write_bytes(content)
    bundle = bundle_file("chest_xray_classification", "inference")
    settings = {"bundle_root": str(bundle.parents[1]), "checkpoint": str(model / "model.pt")}
    run_stage(bundle, {**settings, "images": str(tmp_path / "images"), "output_dir": str(tmp_path / "predicted")})
    table = read_predictions(tmp_path / "predicted" / "predictions.csv")

    Classify(archive, Device.load(model), tmp_path / "out", store=True).run(QUERY)
    found = reports(archive)
    assert set(found) == set(sources)
    for name, probs in zip(table.images, table.probs, strict=True):
        report = found[name.removesuffix(".dcm")]
        assert probabilities(report) == pytest.approx(probs.tolist(), abs=1e-6)
        assert report.PatientID == sources[name.removesuffix(".dcm")].PatientID
    assert len({tuple(probabilities(one)) for one in found.values()}) == len(found)


def test_calibrated_probabilities_thresholds_and_maps(tmp_path: Path, calibrated: Path) -> None:
    """Log-odds over the temperature, by hand; one map, of the one finding that is called."""
    from math import exp, log

    archive = archive_of(1)
    Classify(archive, Device.load(calibrated), tmp_path / "out", maps=3, store=True).run(QUERY)
    for report in reports(archive).values():
        raw, prob = probabilities(report, "RAW_PROBABILITY"), probabilities(report)
        assert prob == pytest.approx([1 / (1 + exp(-log(one / (1 - one)) / 2)) for one in raw], abs=1e-6)
        assert probabilities(report, "THRESHOLD") == [0.0, 1.0]
    maps = [one for one in archive.datasets() if one.Modality == "OT"]
    assert len(maps) == 2
    assert all(one.ImageComments.startswith("Edema ") for one in maps)
    assert {one.SeriesInstanceUID for one in maps} == {Device.load(calibrated).maps_series("1.2.3.1")}


def test_a_classifier_of_colour_sees_radiographs_in_three_equal_channels(tmp_path: Path, model: Path) -> None:
    about = load_model(model).about
    save_model(
        tmp_path / "colour" / "model.pt", "classifier", Classifier(len(FINDINGS), "small_cnn", channels=3), about
    )
    archive = archive_of(1)
    done = Classify(archive, Device.load(tmp_path / "colour"), tmp_path / "out", maps=1, store=True).run(QUERY)
    assert len(reports(archive)) == 2
    assert len([one for one in archive.datasets() if one.Modality == "OT"]) == 2
    assert dict(done.states) == {"stored": 2}


def test_every_object_is_valid(tmp_path: Path, calibrated: Path) -> None:
    done = Classify(archive_of(1), Device.load(calibrated), tmp_path / "out").run(QUERY)
    found = list(done.folder.rglob("*.dcm"))
    assert len(found) == 4
    for path in found:
        require_valid(path)


def test_without_store_the_archive_stays_as_it_is(tmp_path: Path, model: Path) -> None:
    archive = archive_of()
    before = dict(archive.held)
    done = Classify(archive, Device.load(model), tmp_path / "out").run(QUERY)
    assert archive.held == before
    assert dict(done.states) == {"written": 4}
    Classify(archive, Device.load(model), tmp_path / "out", store=True).run(QUERY)
    written = {path.read_bytes() for path in done.folder.rglob("*.dcm")}
    assert {content for uid, content in archive.held.items() if uid not in before} == written


def test_only_what_is_new_is_answered(tmp_path: Path, model: Path) -> None:
    archive, device = archive_of(1), Device.load(model)
    Classify(archive, device, tmp_path / "out", store=True).run(QUERY)
    after_first = dict(archive.held)
    archive._take(radiograph(3, 1, "P1"))
    # in another folder, as another machine would: the archive tells what is new
    done = Classify(archive, device, tmp_path / "elsewhere", store=True).run(QUERY)
    assert (done.before, dict(done.states)) == (2, {"stored": 1})
    assert len(archive.held) == len(after_first) + 3
    again = Classify(archive, device, tmp_path / "elsewhere", store=True).run(QUERY)
    assert (again.before, dict(again.states)) == (3, {})


def test_another_calibration_reports_anew(tmp_path: Path, model: Path, calibrated: Path) -> None:
    archive = archive_of(1)
    for checkpoint in (model, calibrated):
        Classify(archive, Device.load(checkpoint), tmp_path / "out", maps=0, store=True).run(QUERY)
    assert len([one for one in archive.datasets() if one.Modality == "SR"]) == 4


@pytest.mark.parametrize("last", [0, 1, 3, 4, 5, 6, 8, 11])
def test_broken_off_and_started_again_nothing_is_lost_or_doubled(tmp_path: Path, model: Path, last: int) -> None:
    archive, device = archive_of(), Device.load(model)
    sources = set(archive.held)
    archive.hook = break_at(last)
    with pytest.raises(UnreachableError):
        Classify(archive, device, tmp_path / "out", store=True).run(QUERY)
    archive.hook = lambda number: None
    Classify(archive, device, tmp_path / "out", store=True).run(QUERY)
    assert set(reports(archive)) == sources
    assert len(archive.held) == 3 * len(sources)
    referred = {
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for one in reports(archive).values()
        for item in items(one)
        if item.ValueType == "IMAGE"
    }
    assert referred <= set(archive.held)


def test_map_is_there_before_the_report_that_refers_to_it(tmp_path: Path, model: Path) -> None:
    archive = archive_of(1)
    Classify(archive, Device.load(model), tmp_path / "out", store=True).run(QUERY)
    kinds = [pydicom.dcmread(BytesIO(archive.held[uid])).Modality for uid in archive.stored]
    assert kinds == ["OT", "SR", "OT", "SR"]


def test_what_cannot_be_read_is_left_out_and_told_once(tmp_path: Path, model: Path) -> None:
    archive = MemoryArchive(radiograph(1), radiograph(2, ViewPosition="LL"), radiograph(3, BurnedInAnnotation="YES"))
    device = Device.load(model)
    done = Classify(archive, device, tmp_path / "out", store=True).run(QUERY)
    assert dict(done.states) == {"stored": 1}
    assert sorted(reason.split(";")[0] for reason in done.reasons) == [
        "must be a frontal view",
        "must carry no writing",
    ]
    with (done.folder / "classified.csv").open() as stream:
        rows = {row["sop_instance_uid"]: row for row in csv.DictReader(stream)}
    assert [rows[f"1.2.3.1.1.{number}"]["state"] for number in (1, 2, 3)] == ["stored", "left out", "left out"]
    again = Classify(archive, device, tmp_path / "out", store=True).run(QUERY)
    assert (again.before, sum(again.reasons.values())) == (1, 2)


def test_a_batch_without_any_readable_image_is_no_error(tmp_path: Path, model: Path) -> None:
    archive = MemoryArchive(radiograph(1, ViewPosition="LL"))
    done = Classify(archive, Device.load(model), tmp_path / "out").run(QUERY)
    assert [reason.split(";")[0] for reason in done.reasons] == ["must be a frontal view"]


def test_an_archive_that_refuses_an_object_is_told_and_the_rest_is_stored(tmp_path: Path, model: Path) -> None:
    archive, device = archive_of(1), Device.load(model)
    store, refused = archive.store, device.report("1.2.3.1.1.1")

    def refuse(dataset: Dataset) -> None:
        if dataset.SOPInstanceUID == refused:
            raise RefusedError("memory", "must store the object", f"{refused}: no room")
        store(dataset)

    archive.store = refuse  # type: ignore[method-assign]
    with pytest.raises(StateError, match=r"must store every object; found .*no room"):
        Classify(archive, device, tmp_path / "out", store=True).run(QUERY)
    assert set(reports(archive)) == {"1.2.3.1.1.2"}
    archive.store = store  # type: ignore[method-assign]
    Classify(archive, device, tmp_path / "out", store=True).run(QUERY)
    assert set(reports(archive)) == {"1.2.3.1.1.1", "1.2.3.1.1.2"}


def test_nothing_new_is_no_error(tmp_path: Path, model: Path) -> None:
    done = Classify(MemoryArchive(), Device.load(model), tmp_path / "out", store=True).run(QUERY)
    assert done.describe() == "0 images reported before; none new"
    about = json.loads((done.folder / "classified.json").read_text())
    assert about["inputs"]["model"] == Device.load(model).sha256


def test_no_name_of_a_patient_is_said(
    tmp_path: Path, model: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    bad = radiograph(1, PatientName="KOWALSKI")  # a single component, which libraries remark upon
    Classify(MemoryArchive(bad), Device.load(model), tmp_path / "out", store=True).run(QUERY)
    said = capfd.readouterr()
    assert "KOWALSKI" not in said.out + said.err + "".join(str(one.message) for one in recwarn)
    tables = [path.read_text() for path in (tmp_path / "out").rglob("*") if path.suffix in (".csv", ".json", ".jsonl")]
    assert tables
    assert not any("KOWALSKI" in text for text in tables)


def test_number_of_maps_is_checked(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ConfigError, match="--maps: must be a whole number from 0 to 100; found -1"):
        Classify(MemoryArchive(), Device.load(model), tmp_path, maps=-1)


def test_findings_of_a_model_keep_their_order(model: Path) -> None:
    assert Device.load(model).findings == FINDINGS
