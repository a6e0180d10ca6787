"""ChestX-ray14 in its own layout: folder and archive are equal, labels go by name, and every flaw is named."""

from __future__ import annotations

import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from monai_cxraug.data.manifest import check_manifest
from monai_cxraug.data.sources.listing import Listing
from monai_cxraug.data.sources.nih import Nih
from monai_cxraug.errors import InputError, LabelError
from monai_cxraug.labels import NIH_FINDINGS, NIH_NO_FINDING

TABLE = "Data_Entry_2017_v2020.csv"


def list_nih(images: Path, labels: Path | None = None, lists: Path | None = None) -> Listing:
    others = {name: str(path) for name, path in (("labels", labels), ("lists", lists)) if path}
    return Nih(images=str(images), **others).list(Path())


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def positives(listing: Listing, finding: str) -> set[str]:
    column = listing.labels[:, NIH_FINDINGS.index(finding)]
    return {row["image"] for row, value in zip(listing.rows, column, strict=True) if value == 1}


def zipped(folder: Path) -> Path:
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as stream:
        for file in sorted(folder.rglob("*")):
            stream.write(file, file.relative_to(folder.parent))  # one more folder around it
    return archive


def test_labels_patients_and_splits(nih_folder: Path) -> None:
    listing = list_nih(nih_folder)
    assert [row["image"] for row in listing.rows] == [file.path.name for file in listing.files]
    assert [row["patient_id"] for row in listing.rows] == ["1", "1", "2", "3", "4", "4"]
    assert [row["split"] for row in listing.rows] == ["train", "train", "train", "val", "test", "test"]
    assert [row["age"] for row in listing.rows] == ["57", "58", "80", "74", "82", "0"]
    assert len({row["study_id"] for row in listing.rows}) == 6
    assert {row["source"] for row in listing.rows} == {"real"}
    assert listing.findings == NIH_FINDINGS
    assert set(np.unique(listing.labels)) == {0, 1}
    assert positives(listing, "Edema") == {"00000001_000.png", "00000003_000.png"}
    assert positives(listing, "Cardiomegaly") == {"00000001_000.png"}
    assert positives(listing, "Pleural_Thickening") == {"00000004_001.png"}
    assert listing.labels.sum() == 5
    manifest = listing.manifest([{"view": "AP", "greyscale": "full range"}] * 6)
    assert list(manifest["view"]) == ["PA"] * 6  # the table knows better than the decoder
    assert list(manifest["greyscale"]) == ["full range"] * 6
    check_manifest(manifest)


def test_folder_and_archive_are_equal(nih_folder: Path) -> None:
    folder, archive = list_nih(nih_folder), list_nih(zipped(nih_folder))
    assert archive.rows == folder.rows
    assert_array_equal(archive.labels, folder.labels)
    assert [file.read() for file in archive.files] == [file.read() for file in folder.files]


def test_the_order_of_columns_and_lines_means_nothing(nih_folder: Path) -> None:
    before = list_nih(nih_folder)
    table = nih_folder / TABLE
    lines = [line.split(",") for line in table.read_text().splitlines()]
    assert {len(line) for line in lines} == {11}
    table.write_text("".join(",".join(line[::-1]) + "\n" for line in [lines[0], *lines[:0:-1]]))
    after = list_nih(nih_folder)
    assert list(after.rows) == list(before.rows)[::-1]
    assert_array_equal(after.labels, before.labels[::-1])


def test_official_lists_and_those_elsewhere(nih_folder: Path, tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    for name in ("train", "val", "test"):
        (nih_folder / f"{name}_list.txt").rename(lists / f"{name}_list.txt")
    (lists / "val_list.txt").unlink()
    (lists / "train_list.txt").rename(lists / "train_val_list.txt")
    splits = [row["split"] for row in list_nih(nih_folder, lists=lists).rows]
    assert splits == ["train"] * 3 + ["", "test", "test"]  # one image is in no list


def test_a_table_elsewhere(nih_folder: Path, tmp_path: Path) -> None:
    table = shutil.move(nih_folder / TABLE, tmp_path / "labels.csv")
    edit(Path(table), "Hernia", "Mass")
    assert positives(list_nih(nih_folder, labels=Path(table)), "Mass") == {"00000002_000.png"}


def test_extra_columns_cannot_replace_own_ones(nih_folder: Path) -> None:
    (nih_folder / "resample.csv").write_text("file,resample,patient_id,split\n00000003_000.png,area,9,train\n")
    row = list_nih(nih_folder).rows[3]
    assert (row["resample"], row["patient_id"], row["split"]) == ("area", "3", "val")


def test_the_table_of_2017(nih_folder: Path) -> None:
    (nih_folder / TABLE).rename(nih_folder / "Data_Entry_2017.csv")
    edit(nih_folder / "Data_Entry_2017.csv", "\n", ",\n")  # its lines end with a comma
    assert len(list_nih(nih_folder).rows) == 6


def test_missing_images_are_recorded(nih_folder: Path) -> None:
    (nih_folder / "images" / "00000002_000.png").unlink()
    listing = list_nih(nih_folder)
    assert len(listing.rows) == len(listing.files) == len(listing.labels) == 5
    assert list(listing.missing) == ["00000002_000.png"]
    assert positives(listing, "Pleural_Thickening") == {"00000004_001.png"}  # rows stay aligned


@pytest.mark.parametrize(
    ("old", "new", "kind", "words"),
    [
        ("Hernia", "Hernai", LabelError, ("00000002_000.png", "'Hernai'", "did you mean 'Hernia'?")),
        ("Hernia", "", LabelError, ("00000002_000.png", "''")),
        ("Finding Labels", "Labels", InputError, ("'Finding Labels'",)),
        ("00000001_001.png", "00000001_000.png", InputError, ("line 3", "listed once", "'00000001_000.png' in 2")),
        (",2500,2048,0.17,0.17", "", InputError, ("line 2", "needs 11 fields", "found 7")),
    ],
)
def test_flaws_of_the_table(nih_folder: Path, refuses, old, new, kind, words) -> None:
    edit(nih_folder / TABLE, old, new)
    with refuses(kind, nih_folder / TABLE, *words):
        list_nih(nih_folder)


@pytest.mark.parametrize("content", [b"", b"Image Index\n", b"\xff\xfe\xff"])
def test_a_table_that_is_none(nih_folder: Path, refuses, content: bytes) -> None:
    (nih_folder / TABLE).write_bytes(content)
    with refuses(InputError, nih_folder / TABLE):
        list_nih(nih_folder)


def test_missing_parts(nih_folder: Path, tmp_path: Path, refuses) -> None:
    with refuses(InputError, tmp_path / "none", "must exist"):
        list_nih(tmp_path / "none")
    with refuses(InputError, "none.csv", "readable file"):
        list_nih(nih_folder, labels=tmp_path / "none.csv")
    with refuses(InputError, tmp_path / "nolists", "must exist"):
        list_nih(nih_folder, lists=tmp_path / "nolists")
    assert {row["split"] for row in list_nih(nih_folder / "images", labels=nih_folder / TABLE).rows} == {""}
    with refuses(InputError, nih_folder / "images", "which image is in which split", "--lists"):
        list_nih(nih_folder, lists=nih_folder / "images")
    (nih_folder / TABLE).unlink()
    with refuses(InputError, nih_folder, TABLE, "--labels"):
        list_nih(nih_folder)


def test_an_image_in_two_lists(nih_folder: Path, refuses) -> None:
    (nih_folder / "val_list.txt").write_text("00000003_000.png\n00000002_000.png\n")
    with refuses(InputError, nih_folder, "one list", "00000002_000.png", "train", "val"):
        list_nih(nih_folder)


def test_two_files_of_one_name(nih_folder: Path, refuses) -> None:
    (nih_folder / "thumbnails").mkdir()
    shutil.copy(nih_folder / "images" / "00000002_000.png", nih_folder / "thumbnails")
    with refuses(InputError, nih_folder, "images/00000002_000.png", "thumbnails/00000002_000.png"):
        list_nih(nih_folder)


#: positives in train and val as the notes beside the archive state them.
STATED = {
    "Atelectasis": (955, 119), "Cardiomegaly": (269, 26), "Effusion": (977, 105), "Infiltration": (1602, 218),
    "Mass": (365, 32), "Nodule": (443, 59), "Pneumonia": (124, 21), "Pneumothorax": (465, 66),
    "Consolidation": (403, 38), "Edema": (152, 12), "Emphysema": (201, 37), "Fibrosis": (258, 32),
    "Pleural_Thickening": (327, 53), "Hernia": (29, 3), NIH_NO_FINDING: (6193, 783),
}  # fmt: skip


def test_real_counts(data_root: Path) -> None:
    archive = data_root / "nih_64.zip"
    if not archive.is_file():
        pytest.skip(f"{archive} is absent")
    listing = list_nih(archive)
    manifest = listing.manifest([{}] * len(listing.rows))
    check_manifest(manifest)
    assert len(manifest) == 11_969
    assert not listing.missing
    train, val = manifest.rows("train"), manifest.rows("val")
    assert (len(train), len(val)) == (10_621, 1_348)
    assert (len(manifest.patients(train)), len(manifest.patients(val))) == (2_765, 389)
    found = {name: manifest.label(name) == 1 for name in NIH_FINDINGS}
    found[NIH_NO_FINDING] = ~np.any(list(found.values()), axis=0)
    assert {name: (int(mask[train].sum()), int(mask[val].sum())) for name, mask in found.items()} == STATED
    assert Counter(manifest["resample"])["area"] + Counter(manifest["resample"])["linear_aliased"] == 11_969


def test_official_lists_leave_val_to_be_cut(layouts, list_all, tmp_path: Path) -> None:
    folder = layouts("nih")
    plain = list_all("nih", folder)
    assert plain.info["splits"] == "the source's own"
    lists = tmp_path / "lists"
    lists.mkdir()
    both = (folder / "train_list.txt").read_text() + (folder / "val_list.txt").read_text()
    (lists / "train_val_list.txt").write_text(both)
    shutil.copy(folder / "test_list.txt", lists)
    official = list_all("nih", folder, lists=str(lists))
    check_manifest(official.manifest([{}] * len(official.rows)))
    assert Counter(row["split"] for row in official.rows).keys() == {"train", "val", "test"}
    tested = [[row["image"] for row in listing.rows if row["split"] == "test"] for listing in (plain, official)]
    assert tested[0] == tested[1]
    assert "val is 0.1 of the training images" in official.info["splits"]


def test_without_lists_all_is_dealt_and_said_so(copied, list_all) -> None:
    folder = copied("nih")
    for path in folder.glob("*_list.txt"):
        path.unlink()
    listing = list_all("nih", folder)
    check_manifest(listing.manifest([{}] * len(listing.rows)))
    assert Counter(row["split"] for row in listing.rows).keys() == {"train", "val", "test"}
    assert listing.info["splits"].startswith("test is 0.2 of the images")


def test_real_originals_have_no_lists(data_root: Path, list_all) -> None:
    if not (data_root / "nih_originals").is_dir():
        pytest.skip("nih_originals is absent")
    listing = list_all("nih", data_root / "nih_originals")
    assert len(listing.rows) == 15
    assert {row["split"] for row in listing.rows} <= {"train", "val", "test"}
