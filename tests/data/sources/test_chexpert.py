"""CheXpert's layout: labels by name under each policy, views, splits, and every flaw named."""

from __future__ import annotations

import csv
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from monai_cxraug.data.manifest import check_manifest
from monai_cxraug.errors import InputError, LabelError
from monai_cxraug.labels import CHEXPERT_FINDINGS

POLICIES = {"ignore": np.nan, "zeros": 0.0, "ones": 1.0}
BLANKS = {"unknown": np.nan, "zeros": 0.0}


def entries(folder: Path, *names: str) -> list[dict[str, str]]:
    return [row for name in names or ("train", "valid") for row in csv.DictReader((folder / f"{name}.csv").open())]


def edit(path: Path, old: str, new: str, count: int = 1) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


@pytest.mark.parametrize(("uncertainty", "blank"), [("ignore", "unknown"), ("zeros", "unknown"), ("ones", "zeros")])
def test_labels_under_policies(layouts, list_all, uncertainty: str, blank: str) -> None:
    folder = layouts("chexpert")
    value = {"1.0": 1.0, "0.0": 0.0, "-1.0": POLICIES[uncertainty], "": BLANKS[blank]}
    given = {row["Path"].split("/", 1)[1]: row for row in entries(folder) if row["Frontal/Lateral"] == "Frontal"}
    listing = list_all("chexpert", folder, uncertainty=uncertainty, blank=blank)
    assert listing.findings == CHEXPERT_FINDINGS
    assert {row["image"] for row in listing.rows} == set(given)
    expected = [[value[given[row["image"]][name]] for name in CHEXPERT_FINDINGS] for row in listing.rows]
    assert_array_equal(listing.labels, expected)
    assert set(np.unique(expected)) >= {0.0, 1.0}
    assert listing.info["uncertainty"].startswith(uncertainty)


def test_the_default_leaves_open_what_the_table_leaves_open(layouts, list_all) -> None:
    plain = list_all("chexpert", layouts("chexpert"))
    named = list_all("chexpert", layouts("chexpert"), uncertainty="ignore", blank="unknown")
    assert_array_equal(plain.labels, named.labels)
    assert np.isnan(plain.labels).any()


def test_rows_files_and_splits(layouts, list_all) -> None:
    folder = layouts("chexpert")
    listing = list_all("chexpert", folder)
    manifest = listing.manifest([{}] * len(listing.rows))
    check_manifest(manifest)
    assert all(file.path.is_file() for file in listing.files)
    assert all(str(file).endswith(row["image"]) for file, row in zip(listing.files, listing.rows, strict=True))
    assert Counter(zip(manifest["official"], manifest["split"], strict=True)).keys() == {
        ("train", "train"), ("train", "val"), ("valid", "test"),
    }  # fmt: skip
    assert "there is no test.csv" in listing.info["splits"]
    given = {row["Path"].split("/", 1)[1]: row for row in entries(folder)}
    for row in listing.rows:
        entry = given[row["image"]]
        assert row["patient_id"] == row["image"].split("/")[1]
        assert row["study_id"] == "/".join(row["image"].split("/")[1:3])
        assert (row["view"], row["sex"], row["age"]) == (entry["AP/PA"], entry["Sex"][0], entry["Age"])


def test_views(layouts, list_all) -> None:
    folder = layouts("chexpert")
    frontal, every = list_all("chexpert", folder), list_all("chexpert", folder, views="all")
    sides = Counter(row["Frontal/Lateral"] for row in entries(folder))
    assert sides["Lateral"] > 0
    assert (len(frontal.rows), len(frontal.dropped)) == (sides["Frontal"], sides["Lateral"])
    assert (len(every.rows), len(every.dropped)) == (sides["Frontal"] + sides["Lateral"], 0)
    assert Counter(row["view"] for row in every.rows)["LATERAL"] == sides["Lateral"]


def test_an_official_test_table_is_kept_and_valid_joins_train(copied, list_all) -> None:
    folder = copied("chexpert")
    (folder / "test").mkdir()
    moved = {row["Path"].split("/")[2] for row in entries(folder, "valid")}
    last = sorted(moved)[-1]
    (folder / "valid" / last).rename(folder / "test" / last)
    rows = entries(folder, "valid")
    columns = ["Path", *CHEXPERT_FINDINGS]  # the published test table has no more
    with (folder / "test.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(
            {**row, "Path": row["Path"].replace("/valid/", "/test/")} for row in rows if last in row["Path"]
        )
    edit(folder / "valid.csv", "".join(f"{','.join(row.values())}\n" for row in rows if last in row["Path"]), "")
    listing = list_all("chexpert", folder)
    found = {(row["official"], row["split"]) for row in listing.rows}
    assert ("test", "test") in found
    assert {split for official, split in found if official == "valid"} <= {"train", "val"}
    assert {row["view"] for row in listing.rows if row["official"] == "test"} == {""}
    assert any("lateral" in image for image in listing.dropped)


def test_folder_above_archive_and_tables_elsewhere_agree(layouts, copied, list_all, tmp_path: Path) -> None:
    folder = layouts("chexpert")
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, Path("data/CheXpert-v1.0-small") / file.relative_to(folder))
    plain, zipped, above = (
        list_all("chexpert", path) for path in (folder, tmp_path / "c.zip", folder.parent / "chexpert")
    )
    assert zipped.rows == plain.rows == above.rows
    assert_array_equal(zipped.labels, plain.labels)
    assert zipped.files[0].read() == plain.files[0].read()
    moved, tables = copied("chexpert"), tmp_path / "tables"
    tables.mkdir()
    for name in ("train.csv", "valid.csv"):
        (moved / name).rename(tables / name)
    assert list_all("chexpert", moved, labels=str(tables)).rows == plain.rows


def test_the_order_of_columns_means_nothing(copied, list_all) -> None:
    folder = copied("chexpert")
    before = list_all("chexpert", folder)
    for name in ("train.csv", "valid.csv"):
        lines = [line.split(",") for line in (folder / name).read_text().splitlines()]
        (folder / name).write_text("".join(",".join(line[::-1]) + "\n" for line in lines))
    after = list_all("chexpert", folder)
    assert after.rows == before.rows
    assert_array_equal(after.labels, before.labels)


def test_missing_images_are_recorded_and_rows_stay_aligned(copied, list_all) -> None:
    folder = copied("chexpert")
    before = list_all("chexpert", folder)
    gone = before.rows[3]["image"]
    (folder / gone).unlink()
    after = list_all("chexpert", folder)
    assert list(after.missing) == [gone]
    kept = [number for number, row in enumerate(before.rows) if row["image"] != gone]
    assert [row["image"] for row in after.rows] == [before.rows[number]["image"] for number in kept]
    assert_array_equal(after.labels, before.labels[kept])


def test_flaws_are_named(copied, list_all, refuses) -> None:
    folder = copied("chexpert")
    table, text = folder / "train.csv", (folder / "train.csv").read_text()
    row = text.splitlines()[1]
    table.write_text(text.replace(row, f"{row}\n{row}"))
    with refuses(InputError, table, "line 3", "listed once", "in 2"):
        list_all("chexpert", folder)
    table.write_text(text.replace("Frontal,PA,1.0", "Frontal,PA,maybe", 1))
    with refuses(LabelError, table, "column 'No Finding'", "'maybe'"):
        list_all("chexpert", folder)
    table.write_text(text.replace("Lung Lesion", "Lesion"))
    with refuses(InputError, table, "'Lung Lesion'", "Lesion"):
        list_all("chexpert", folder)
    (folder / "more").mkdir()
    (folder / "more" / "train.csv").write_text(text)
    with refuses(InputError, folder, "train.csv may be there once", "more/train.csv"):
        list_all("chexpert", folder)
    for name in ("train.csv", "valid.csv", "more/train.csv"):
        (folder / name).unlink()
    with refuses(InputError, folder, "train.csv and valid.csv"):
        list_all("chexpert", folder)


def test_an_image_that_is_there_twice(copied, list_all, refuses) -> None:
    folder = copied("chexpert")
    image = list_all("chexpert", folder).rows[0]["image"]
    other = folder / "old" / image
    other.parent.mkdir(parents=True)
    other.write_bytes((folder / image).read_bytes())
    with refuses(InputError, folder, "there once", f"old/{image}"):
        list_all("chexpert", folder)
