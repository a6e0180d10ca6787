"""Pull: complete files under their identifiers, whatever breaks in between and whatever the archive sends."""

from __future__ import annotations

import csv
import json
import stat
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.prepare import prepare
from monai_cxraug.data.request import Request
from monai_cxraug.errors import InputError, StateError
from monai_cxraug.interop.archive import Instance, PersistentArchive, UnreachableError, list_studies
from monai_cxraug.interop.pull import Pull
from monai_cxraug.interop.queries import Query
from tests.interop.objects import MemoryArchive, break_at, radiograph

QUERY = Query.parse("Modality=CR")


def images(count: int) -> list[Dataset]:
    return [radiograph(number, study, f"P{study}") for study in range(1, count + 1) for number in (1, 2)]


def pulled_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.dcm")}


def test_pulled_files_are_what_prepare_reads(tmp_path: Path) -> None:
    wanted = images(3)
    result = Pull(MemoryArchive(*wanted), tmp_path / "out").run(QUERY)
    assert (len(result.images), result.fresh, dict(result.left_out)) == (6, 6, {})
    for dataset in wanted:
        found = pydicom.dcmread(tmp_path / "out" / f"{dataset.SOPInstanceUID}.dcm")
        assert found.PixelData == dataset.PixelData
        assert found.PatientName == dataset.PatientName
    request = Request("dicom", str(tmp_path / "out"), size=16, options={"patient_key": "PatientID"})
    manifest = read_manifest(prepare(request, tmp_path / "prepared"))
    assert sorted(manifest["image"].tolist()) == sorted(f"{one.SOPInstanceUID}.dcm" for one in wanted)
    assert manifest.patients() == {"P1", "P2", "P3"}


def test_patients_are_for_the_owners_eyes(tmp_path: Path) -> None:
    Pull(MemoryArchive(*images(1)), tmp_path / "out").run(QUERY)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").glob("*.dcm")} == {0o600}


@pytest.mark.parametrize("last", range(6))
def test_broken_off_and_started_again_fetches_each_image_once(tmp_path: Path, last: int) -> None:
    archive = MemoryArchive(*images(3))
    archive.hook = break_at(last)
    with pytest.raises(UnreachableError, match="must be a server that answers"):
        Pull(archive, tmp_path / "out").run(QUERY)
    assert len(pulled_files(tmp_path / "out")) == last
    archive.hook = lambda number: None
    result = Pull(archive, tmp_path / "out").run(QUERY)
    assert (len(result.images), result.fresh) == (6, 6 - last)
    assert sorted(archive.fetched) == sorted(archive.held)
    assert not list((tmp_path / "out").glob(".*"))


def test_a_second_run_asks_for_no_image(tmp_path: Path) -> None:
    archive = MemoryArchive(*images(2))
    Pull(archive, tmp_path / "out").run(QUERY)
    before = pulled_files(tmp_path / "out")
    assert Pull(archive, tmp_path / "out").run(QUERY).fresh == 0
    assert len(archive.fetched) == 4
    assert pulled_files(tmp_path / "out") == before


def test_a_file_cut_short_is_fetched_again(tmp_path: Path) -> None:
    archive = MemoryArchive(*images(1))
    Pull(archive, tmp_path / "out").run(QUERY)
    before = pulled_files(tmp_path / "out")
    victim = tmp_path / "out" / sorted(before)[0]
    victim.write_bytes(victim.read_bytes()[:-5])
    assert Pull(archive, tmp_path / "out").run(QUERY).fresh == 1
    assert pulled_files(tmp_path / "out") == before


def test_what_a_kill_left_half_written_goes(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in (".1.2.3.dcm.abcdefgh.dcm", ".pulled.csv.abcdefgh.csv", ".journal.jsonl.abcdefgh.jsonl"):
        (tmp_path / "out" / name).write_bytes(b"half")
    Pull(MemoryArchive(*images(1)), tmp_path / "out").run(QUERY)
    assert not list((tmp_path / "out").glob(".*"))


def test_the_table_says_what_is_there(tmp_path: Path) -> None:
    archive = MemoryArchive(*images(2))
    Pull(archive, tmp_path / "out").run(Query.parse("PatientID=P1"), list_studies(archive, QUERY)[:1])
    Pull(archive, tmp_path / "out").run(QUERY)
    with (tmp_path / "out" / "pulled.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["sop_instance_uid"] for row in rows] == sorted(archive.held)
    about = json.loads((tmp_path / "out" / "pull.json").read_text())
    assert (about["schema"], about["images"], about["query"]) == ("cxraug.pull/1", 4, {"Modality": ["CR"]})


def synthetic(dataset: Dataset) -> None:
    dataset.add_new(0x0008001C, "CS", "YES")


def cut(dataset: Dataset) -> None:
    dataset.PixelData = dataset.PixelData[:-2]


def without_pixels(dataset: Dataset) -> None:
    del dataset.PixelData


def drawn_here(dataset: Dataset) -> None:
    dataset.SOPClassUID, dataset.Manufacturer = "1.2.840.10008.5.1.4.1.1.7", "monai_cxraug"


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (synthetic, "a synthetic image is no radiograph"),
        (cut, "the archive must send the whole object"),
        (without_pixels, "an image must hold pixel data"),
        (drawn_here, "what this tool drew is no radiograph"),
    ],
)
def test_what_is_no_radiograph_is_left_out_and_told(tmp_path: Path, harm: object, reason: str) -> None:
    good, bad = images(1)
    harm(bad)  # type: ignore[operator]
    result = Pull(MemoryArchive(good, bad), tmp_path / "out").run(QUERY)
    assert list(pulled_files(tmp_path / "out")) == [f"{good.SOPInstanceUID}.dcm"]
    assert dict(result.left_out) == {str(bad.SOPInstanceUID): reason}
    assert reason in (tmp_path / "out" / "left_out.csv").read_text()
    assert reason in result.describe()


def test_another_object_than_asked_for_is_left_out(tmp_path: Path) -> None:
    first, second = images(1)
    archive = MemoryArchive(first, second)
    archive.held[str(second.SOPInstanceUID)] = archive.held[str(first.SOPInstanceUID)]
    archive.find_instances = lambda study, series: [  # type: ignore[method-assign]
        {"SOPInstanceUID": str(one.SOPInstanceUID)} for one in (first, second)
    ]
    result = Pull(archive, tmp_path / "out").run(QUERY)
    assert list(pulled_files(tmp_path / "out")) == [f"{first.SOPInstanceUID}.dcm"]
    assert list(result.left_out) == [second.SOPInstanceUID]


def test_identifiers_that_name_other_places_are_not_followed(tmp_path: Path) -> None:
    archive = MemoryArchive(*images(1))
    archive.find_instances = lambda study, series: [  # type: ignore[method-assign]
        {"SOPInstanceUID": uid} for uid in ("../../evil", "/etc/evil", "", "1.2/3")
    ]
    assert Pull(archive, tmp_path / "out").run(QUERY).images == ()
    assert archive.fetched == []
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    archive = MemoryArchive(*images(1))

    def second(number: int) -> None:
        with pytest.raises(StateError, match="only one process may write here"):
            Pull(MemoryArchive(*images(1)), tmp_path / "out").run(QUERY)

    archive.hook = second
    assert Pull(archive, tmp_path / "out").run(QUERY).fresh == 2


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="must be a folder that can be written"):
        Pull(MemoryArchive(*images(1)), tmp_path / "file" / "out").run(QUERY)


def test_nobody_waits_for_an_archive_that_never_answered() -> None:
    archive = MemoryArchive()
    archive.hook = break_at(0)
    with pytest.raises(UnreachableError):
        PersistentArchive(archive, 3600).fetch(Instance("1.2", "1.3", "1.4"))


def test_an_archive_that_went_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from monai_cxraug.interop import archive as module

    clock, said = [0.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(module.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    memory = MemoryArchive(*images(1))
    patient = PersistentArchive(memory, 60, said.append)
    image = list_studies(patient, QUERY)[0].images[0]

    def gone_for_half_a_minute(number: int) -> None:
        if clock[0] < 30:
            break_at(0)(number)

    memory.hook = gone_for_half_a_minute
    assert patient.fetch(image).SOPInstanceUID == image.uid
    assert 30 <= clock[0] < 40
    assert len(said) == 1
    memory.hook = break_at(0)
    with pytest.raises(UnreachableError):
        patient.fetch(image)
    assert clock[0] <= 100
