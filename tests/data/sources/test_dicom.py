"""A hospital's export: labels by identifier, the policy, the DICOMDIR, and no name that was not asked for."""

from __future__ import annotations

import csv
import json
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from monai_cxraug.data.manifest import check_manifest
from monai_cxraug.data.pseudonyms import read_salt
from monai_cxraug.errors import ConfigError, InputError, LabelError
from monai_cxraug.labels import NIH_FINDINGS
from tests.data.sources.conftest import labels_of

ODD = {"lateral": 15, "for_processing": 4, "inverse": 4, "burned_in": 3, "body_part": 3, "multi_frame": 3}
NOT_DICOM = 2


@pytest.fixture
def export(layouts) -> Path:
    return layouts("dicom")


def headers(folder: Path) -> dict[str, Dataset]:
    files = [file for file in sorted(folder.rglob("IM*")) if file.stat().st_size > 0 and file.suffix != ".dcm"]
    return {file.relative_to(folder).as_posix(): dcmread(file, stop_before_pixels=True) for file in files}


def table(folder: Path) -> dict[str, dict[str, str]]:
    return {row["AccessionNumber"]: row for row in csv.DictReader((folder / "labels.csv").open())}


def write_table(path: Path, key: str, rows: dict[str, dict[str, str]], **more: list[str]) -> Path:
    extra = {name: iter(values) for name, values in more.items()}
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([key, *extra, "Edema", "Mass"])
        writer.writerows([name, *map(next, extra.values()), row["Edema"], row["Mass"]] for name, row in rows.items())
    return path


def test_labels_by_accession_number(export: Path, list_all) -> None:
    listing = list_all("dicom", export, labels=str(export / "labels.csv"), patient_key="PatientID")
    given, said = table(export), headers(export)
    assert listing.findings == NIH_FINDINGS
    check_manifest(listing.manifest([{}] * len(listing.rows)))
    values = {"1": 1.0, "0": 0.0, "-1": None}
    for image, labels in labels_of(listing).items():
        row = given[str(said[image].AccessionNumber)]
        assert {name: None if np.isnan(value) else value for name, value in labels.items()} == {
            name: values[row[name]] for name in NIH_FINDINGS
        }
    for row in listing.rows:
        header = said[row["image"]]
        assert row["patient_id"] == header.PatientID
        assert row["study_id"] == header.StudyInstanceUID
        assert (row["view"], row["sex"], row["age"]) == (
            header.ViewPosition,
            header.PatientSex,
            str(int(header.PatientAge[:3])),
        )
    assert len(listing.rows) == 60  # frontal ones, one without a row, one copy that is cut off in its pixels
    assert list(listing.missing) == ["A999999"]
    assert Counter(listing.dropped.values())["no row in the table of labels"] == 1


def test_the_policy_counts_what_it_leaves_out(export: Path, list_all) -> None:
    safe = list_all("dicom", export, patient_key="PatientID")
    assert len(safe.dropped) == ODD["lateral"]
    assert len(safe.refused) == sum(ODD.values()) - ODD["lateral"] + NOT_DICOM
    for question, count in ODD.items():
        kept = list_all("dicom", export, patient_key="PatientID", **{question: "keep"})
        assert len(kept.rows) == len(safe.rows) + count
        assert getattr(kept.policy, question) == "keep"
        moved = list_all(
            "dicom", export, patient_key="PatientID", **{question: "drop" if question != "lateral" else "quarantine"}
        )
        assert len(moved.rows) == len(safe.rows)
        assert len(moved.dropped) + len(moved.refused) == len(safe.dropped) + len(safe.refused)
        assert len(moved.dropped) != len(safe.dropped)


def test_without_a_table_images_have_no_findings(export: Path, list_all) -> None:
    listing = list_all("dicom", export, patient_key="PatientID")
    assert listing.findings == ()
    assert listing.labels.shape == (61, 0)
    assert {row["split"] for row in listing.rows} == {""}


@pytest.mark.parametrize("attribute", ["SOPInstanceUID", "StudyInstanceUID"])
@pytest.mark.parametrize("column", ["own", "spelt", "key"])
def test_other_keys(export: Path, list_all, tmp_path: Path, attribute: str, column: str) -> None:
    said = {image: header for image, header in headers(export).items() if header.get("ViewPosition") != "LL"}
    given = table(export)
    rows = {str(header[attribute].value): given.get(str(header.AccessionNumber)) for header in said.values()}
    rows = {key: row for key, row in rows.items() if row}
    name = {"own": attribute, "spelt": attribute.replace("UID", "_uid").lower(), "key": "number"}[column]
    path = write_table(tmp_path / "t.csv", name, rows)
    key = {"key": f"{attribute}=number"} if column == "key" else {}
    listing = list_all("dicom", export, labels=str(path), patient_key="PatientID", **key)
    by_number = list_all(
        "dicom", export, labels=str(export / "labels.csv"), patient_key="PatientID", findings="Edema,Mass"
    )
    assert labels_of(listing).keys() == labels_of(by_number).keys()
    assert json.dumps(labels_of(listing)) == json.dumps(labels_of(by_number))


def test_unlabelled_images_can_stay(export: Path, list_all) -> None:
    options = {"labels": str(export / "labels.csv"), "patient_key": "PatientID"}
    drop, keep = list_all("dicom", export, **options), list_all("dicom", export, **options, unlabelled="keep")
    added = labels_of(keep).keys() - labels_of(drop).keys()
    assert len(added) == 1
    assert np.isnan(list(labels_of(keep)[added.pop()].values())).all()


def test_splits_of_the_table_are_kept(export: Path, list_all, tmp_path: Path) -> None:
    rows = table(export)
    said = headers(export)
    patient = {str(header.AccessionNumber): str(header.PatientID) for header in said.values()}
    splits = ["test" if int(patient.get(key, "P0")[1:]) % 3 == 0 else "train" for key in rows]
    path = write_table(tmp_path / "t.csv", "AccessionNumber", rows, Split=splits)
    listing = list_all("dicom", export, labels=str(path), patient_key="PatientID")
    assert listing.findings == ("Edema", "Mass")
    for row in listing.rows:
        assert (row["split"] == "test") == (int(row["patient_id"][1:]) % 3 == 0)


def test_folder_archive_and_dicomdir_agree(export: Path, list_all, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
        for file in sorted(export.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(export))
    folder = list_all("dicom", export, patient_key="PatientID")
    zipped = list_all("dicom", tmp_path / "e.zip", patient_key="PatientID")
    media = list_all("dicom", export / "DICOMDIR", patient_key="PatientID")
    assert zipped.rows == folder.rows
    assert zipped.refused == folder.refused
    listed = {row["image"] for row in media.rows}
    assert {row["image"] for row in folder.rows} - listed == {"PT000001/ST000000/SE000000/IM009003"}  # of no record
    assert listed <= {row["image"] for row in folder.rows}
    assert media.dropped == folder.dropped
    assert len(folder.refused) - len(media.refused) == NOT_DICOM


def test_a_dicomdir_that_lists_what_is_not_there(copied, list_all, refuses) -> None:
    folder = copied("dicom")
    gone = sorted(folder.rglob("IM000000"))[0]
    gone.unlink()
    listing = list_all("dicom", folder / "DICOMDIR", patient_key="PatientID")
    assert list(listing.missing) == [gone.relative_to(folder).as_posix()]
    content = (folder / "DICOMDIR").read_bytes()
    assert b"PT000000\\ST000000" in content
    (folder / "DICOMDIR").write_bytes(content.replace(b"PT000000\\ST000000", b"..\\..\\..\\SECRET"))
    with refuses(InputError, "DICOMDIR", "a file beside it", "'../../../SECRET"):
        list_all("dicom", folder / "DICOMDIR", patient_key="PatientID")
    for broken in (b"", b"<html>", content[:400], content[: len(content) // 2], content[:-999]):
        (folder / "DICOMDIR").write_bytes(broken)
        with refuses(InputError, "DICOMDIR"):
            list_all("dicom", folder / "DICOMDIR", patient_key="PatientID")


def test_small_letters_of_media(copied, list_all) -> None:
    folder = copied("dicom")
    for part in sorted(folder.glob("PT*")):
        part.rename(part.with_name(part.name.lower()))
    listing = list_all("dicom", folder / "DICOMDIR", patient_key="PatientID")
    assert not listing.missing
    assert listing.rows[0]["image"].startswith("pt000000/")


def test_nothing_but_the_key_gets_out(copied, list_all, tmp_path: Path) -> None:
    folder = copied("dicom")
    planted = 0
    for file, header in headers(folder).items():
        dataset = dcmread(folder / file)
        for keyword in (
            "PatientName",
            "OtherPatientNames",
            "PatientComments",
            "ReferringPhysicianName",
            "StudyDescription",
        ):
            setattr(dataset, keyword, "SECRET")
        dataset.PatientBirthDate = "19121212"
        dataset.PatientID = f"KEY{header.PatientID}"
        dataset.private_block(0x11, "SECRET", create=True).add_new(1, "LO", "SECRET")
        dataset.save_as(folder / file)
        planted += 1
    assert planted > 90
    (folder / "PT000000").rename(folder / "SECRET^NAME")
    options = {"labels": str(folder / "labels.csv"), "patient_key": "PatientID", "salt": str(tmp_path / "salt")}
    hidden, plain = list_all("dicom", folder, **options), list_all("dicom", folder, **{**options, "salt": None})

    def told(listing) -> str:  # type: ignore[no-untyped-def]
        return repr((listing.rows, listing.info, listing.missing, listing.dropped, listing.refused))

    # the whole date: four digits of it are in some pseudonym every dozen runs
    for word in ("SECRET", "19121212", "KEYP0", "A999999", "2.25."):
        assert word not in told(hidden)
    assert "KEYP0" in told(plain)
    assert "19121212" not in told(plain)
    assert "SECRET" not in repr([{**row, "image": ""} for row in plain.rows])
    salt = read_salt(tmp_path / "salt")
    assert [row["patient_id"] for row in hidden.rows] == [salt.patient(row["patient_id"]) for row in plain.rows]
    assert [row["split"] for row in hidden.rows] == [row["split"] for row in plain.rows]  # a split knows no salt
    assert hidden.files == plain.files
    assert len({row["image"] for row in hidden.rows}) == len(hidden.rows)


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        ("AccessionNumber,Edema\nA000001,1\nA000001,1\n", InputError, ("line 3", "AccessionNumber may be listed once")),
        ("Accession,Edema\nA000001,1\n", InputError, ("SOPInstanceUID or StudyInstanceUID", "--key")),
        ("AccessionNumber,Edema\nA000001,?\n", LabelError, ("line 2 column 'Edema'", "'?'")),
        ("AccessionNumber\nA000001\n", InputError, ("at least one finding",)),
        ("AccessionNumber,Edema\nB1,1\n", InputError, ("at least one listed image",)),
    ],
)
def test_flaws_of_the_table(export: Path, list_all, tmp_path: Path, refuses, content: str, kind, words) -> None:
    (tmp_path / "t.csv").write_text(content)
    with refuses(kind, *words):
        list_all("dicom", export, labels=str(tmp_path / "t.csv"), patient_key="PatientID")


def test_options_that_cannot_be(export: Path, list_all, refuses) -> None:
    with refuses(ConfigError, "--patient-key", "is required for source 'dicom'"):
        list_all("dicom", export)
    with refuses(ConfigError, "patient_key", "'PatientIdd'"):
        list_all("dicom", export, patient_key="PatientIdd")
    with refuses(ConfigError, "--key", "'SOPUID'"):
        list_all("dicom", export, patient_key="PatientID", key="SOPUID=x")
    with refuses(ConfigError, "--lateral", "'remove'"):
        list_all("dicom", export, patient_key="PatientID", lateral="remove")
    with refuses(InputError, "column 'nr'"):
        list_all("dicom", export, labels=str(export / "labels.csv"), patient_key="PatientID", key="SOPInstanceUID=nr")


def test_images_without_the_key_are_refused(export: Path, list_all, refuses) -> None:
    with refuses(InputError, export, "at least one listed image"):
        list_all("dicom", export, patient_key="OtherPatientIDs")


def test_real_files(data_root: Path, list_all) -> None:
    if not (data_root / "dicom").is_dir():
        pytest.skip("the folder dicom is absent")
    listing = list_all("dicom", data_root / "dicom", patient_key="PatientID")
    told = {row["image"] for row in listing.rows} | listing.refused.keys() | listing.dropped.keys()
    assert told == {file.name for file in (data_root / "dicom").glob("*.dcm")}
    chest = next(row for row in listing.rows if row["image"] == "chest__RG1_J2KI.dcm")
    assert (chest["patient_id"], chest["view"], chest["sex"]) == ("9RG1", "PA", "F")
    assert {name for name in listing.refused if name.startswith("broken__")} == {
        file.name for file in (data_root / "dicom").glob("broken__*.dcm")
    }
