"""Synthetic sets as DICOM: valid, of no patient, the same bytes each time, the very pixels of the set."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest

from monai_cxraug.artifacts import write_json
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.mixing import PROVENANCE_SCHEMA
from monai_cxraug.data.pack import write_pack
from monai_cxraug.errors import CxrAugError, InputError, StateError
from monai_cxraug.interop.synthetic_dicom import ExportSet
from tests.interop.objects import MemoryArchive, break_at, require_valid

PATIENTS = ("Kowalski^Jan", "PAT-4711")
GENERATOR = "ef" * 32


def write_set(
    folder: Path,
    count: int = 3,
    depth: int = 8,
    seed: int = 0,
    source: str = "synthetic",
    shape: tuple[int, ...] = (16, 12),
    verdict: str | None = "no sign of copies",
) -> Path:
    """A synthetic set as ``cxraug sample`` writes it, from noise; rectangular, as a crop makes it."""
    folder.mkdir(parents=True)
    pictures = np.random.default_rng(seed).integers(0, 2**depth, (count, *shape)).astype(f"uint{depth}")
    names = [f"Edema-{seed}-{number:06d}" for number in range(count)]
    write_pack(folder, pictures, names)
    rows = [{"image": name, "split": "train", "source": source} for name in names]
    labels = np.tile(np.array([[1, np.nan]], np.float32), (count, 1))
    Manifest(make_columns(rows), ("Edema", "Hernia"), labels, {"name": "synthetic Edema"}).write(folder)
    audit = {"not run": "no manifest was given"} if verdict is None else {"verdict": verdict, "near": 2, "images": 3}
    about = {"generator": {"sha256": GENERATOR, "kind": "pggan"}, "patients_seen": list(PATIENTS)}
    about |= {"memorisation_audit": audit}
    write_json(folder / "provenance.json", PROVENANCE_SCHEMA, {**about, "seed": seed, "finding": "Edema", "n": count})
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.dcm"))}


def exported(folder: Path) -> list[pydicom.Dataset]:
    with (folder / "exported.csv").open() as stream:
        return [pydicom.dcmread(folder / row["file"]) for row in csv.DictReader(stream)]


@pytest.mark.parametrize("depth", [8, 16])
def test_pixels_are_those_of_the_set(tmp_path: Path, depth: int) -> None:
    made = write_set(tmp_path / "set", depth=depth)
    ExportSet(made, tmp_path / "out").run()
    for dataset, picture in zip(exported(tmp_path / "out"), np.load(made / "pack.npy"), strict=True):
        np.testing.assert_array_equal(dataset.pixel_array, picture)
        assert dataset.BitsStored == depth


@pytest.mark.parametrize("depth", [8, 16])
def test_files_are_valid(tmp_path: Path, depth: int) -> None:
    ExportSet(write_set(tmp_path / "set", depth=depth), tmp_path / "out").run()
    for path in (tmp_path / "out").glob("*.dcm"):
        require_valid(path)


@pytest.mark.parametrize("shape", [(16, 12, 3), (15, 11, 3)])
def test_pictures_in_colour(tmp_path: Path, shape: tuple[int, ...]) -> None:
    made = write_set(tmp_path / "set", shape=shape)
    ExportSet(made, tmp_path / "out").run()
    for dataset, picture in zip(exported(tmp_path / "out"), np.load(made / "pack.npy"), strict=True):
        np.testing.assert_array_equal(dataset.pixel_array, picture)
        assert (dataset.PhotometricInterpretation, dataset.SamplesPerPixel, dataset.PlanarConfiguration) == (
            "RGB",
            3,
            0,
        )
        assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation) == (8, 8, 7, 0)
        said = " ".join(str(element.value) for element in dataset if element.VR != "OB")
        assert "CHEST" not in said.upper()
        assert "radiograph" not in said
        assert dataset[0x0008, 0x001C].value == "YES"
    for path in (tmp_path / "out").glob("*.dcm"):
        require_valid(path)


def test_deep_colour_is_refused(tmp_path: Path) -> None:
    made = write_set(tmp_path / "set", depth=16, shape=(16, 12, 3))
    with pytest.raises(StateError, match="must have 8 bits a channel; found 16; sample it with --depth 8"):
        ExportSet(made, tmp_path / "out").run()
    assert not (tmp_path / "out").exists()


def test_files_say_that_they_are_synthetic(tmp_path: Path) -> None:
    ExportSet(write_set(tmp_path / "set"), tmp_path / "out").run()
    for dataset in exported(tmp_path / "out"):
        assert list(dataset.ImageType) == ["DERIVED", "SECONDARY"]
        assert dataset[0x0008, 0x001C].value == "YES"
        assert dataset.ConversionType == "SYN"
        assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
        (equipment,) = [
            item
            for item in dataset.ContributingEquipmentSequence
            if item.PurposeOfReferenceCodeSequence[0].CodeValue == "109100"
        ]
        assert equipment.DeviceSerialNumber == GENERATOR
        assert "SYNTHETIC" in dataset.SeriesDescription


def test_no_patient_is_in_them(tmp_path: Path) -> None:
    """Neither as an attribute that names one, nor as the bytes of one that the generator has seen."""
    ExportSet(write_set(tmp_path / "set"), tmp_path / "out").run()
    allowed = {"PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientOrientation"}
    for dataset in exported(tmp_path / "out"):
        group = [element for element in dataset if element.keyword.startswith("Patient") or element.tag.group == 0x0010]
        assert {element.keyword for element in group} <= allowed
        assert all(element.is_empty for element in group)
        for keyword in ("ReferringPhysicianName", "AccessionNumber", "StudyDate", "InstitutionName"):
            assert not dataset.get(keyword)
    for content in files(tmp_path / "out").values():
        assert not any(name.encode() in content for name in PATIENTS)


def test_the_same_set_gives_the_same_bytes(tmp_path: Path) -> None:
    made = write_set(tmp_path / "set")
    ExportSet(made, tmp_path / "first").run()
    ExportSet(made / "manifest.csv", tmp_path / "again").run()
    assert files(tmp_path / "first") == files(tmp_path / "again")
    assert len(files(tmp_path / "first")) == 3


def test_other_sets_have_other_identifiers(tmp_path: Path) -> None:
    seen: set[str] = set()
    for number, more in enumerate(({"seed": 0}, {"seed": 1}, {"depth": 16}, {"count": 4})):
        ExportSet(write_set(tmp_path / f"set{number}", **more), tmp_path / f"out{number}").run()
        uids = {str(one.SOPInstanceUID) for one in exported(tmp_path / f"out{number}")}
        uids |= {str(one.StudyInstanceUID) for one in exported(tmp_path / f"out{number}")}
        assert all(pydicom.uid.UID(uid).is_valid for uid in uids)
        assert not uids & seen
        seen |= uids


@pytest.mark.parametrize("last", range(4))
def test_broken_off_and_started_again_stores_every_image_once(tmp_path: Path, last: int) -> None:
    made, archive = write_set(tmp_path / "set", count=4), MemoryArchive()
    archive.hook = break_at(last)
    with pytest.raises(InputError):
        ExportSet(made, tmp_path / "out", archive).run()
    assert not json.loads((tmp_path / "out" / "exported.json").read_text())["complete"]
    archive.hook = lambda number: None
    ExportSet(made, tmp_path / "out", archive).run()
    assert json.loads((tmp_path / "out" / "exported.json").read_text())["complete"]
    assert archive.held == {path.removesuffix(".dcm"): content for path, content in files(tmp_path / "out").items()}
    assert len(archive.held) == 4


def test_real_images_are_not_exported_as_synthetic(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="only synthetic images are exported as such; found source 'real'"):
        ExportSet(write_set(tmp_path / "set", source="real"), tmp_path / "out").run()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("copies of training images", "may not be copies of training images; found 2 of 3 near one"),
        (None, "its audit must say so; found no audit (no manifest was given); run cxraug audit SET --manifest"),
    ],
)
def test_copies_do_not_leave_the_house_unless_that_is_asked_for(
    tmp_path: Path, verdict: str | None, words: str
) -> None:
    made = write_set(tmp_path / "set", verdict=verdict)
    with pytest.raises(StateError) as caught:
        ExportSet(made, tmp_path / "out").run()
    assert words in str(caught.value)
    assert "allow_copies: true" in str(caught.value)
    assert not (tmp_path / "out").exists()
    ExportSet(made, tmp_path / "out", allow_copies=True).run()
    known = {"not run": "no manifest was given"} if verdict is None else {"verdict": verdict}
    assert json.loads((tmp_path / "out" / "exported.json").read_text())["audit"] == {**known, "allow_copies": True}
    ExportSet(write_set(tmp_path / "good"), tmp_path / "new").run()
    assert not json.loads((tmp_path / "new" / "exported.json").read_text())["audit"]["allow_copies"]


def test_two_sets_do_not_share_a_folder(tmp_path: Path) -> None:
    ExportSet(write_set(tmp_path / "a"), tmp_path / "out").run()
    before = files(tmp_path / "out")
    with pytest.raises(StateError, match="must hold the export of the set"):
        ExportSet(write_set(tmp_path / "b", seed=1), tmp_path / "out").run()
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize("name", ["pack.npy", "provenance.json", "manifest.json", "manifest.csv"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff\x00"])
def test_a_damaged_set_is_one_line(tmp_path: Path, name: str, content: bytes | None) -> None:
    made = write_set(tmp_path / "set")
    (made / name).unlink()
    if content is not None:
        (made / name).write_bytes(content)
    with pytest.raises(CxrAugError) as caught:
        ExportSet(made, tmp_path / "out").run()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
