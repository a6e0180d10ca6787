"""Kermany's layout: patients and subtypes from file names, the official test kept, val of 16 cut anew."""

from __future__ import annotations

import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from monai_cxraug.data.manifest import check_manifest
from monai_cxraug.errors import InputError
from tests.data.sources.conftest import labels_of

NAMES = (
    *[f"train/NORMAL/IM-{k:04d}-0001{'-0002' * (k % 2)}.jpeg" for k in range(115, 135)],
    *[f"train/NORMAL/NORMAL2-IM-{k:04d}-0001.jpeg" for k in range(115, 125)],
    *[f"train/PNEUMONIA/person{k // 2}_{'virus' if k % 4 < 2 else 'bacteria'}_{k}.jpeg" for k in range(20, 50)],
    "train/PNEUMONIA/person1_virus_6_2.jpeg",
    "val/NORMAL/NORMAL2-IM-0115-0009.jpeg",
    "val/PNEUMONIA/person12_bacteria_99.jpeg",
    "test/NORMAL/IM-0115-0001.jpeg",
    "test/PNEUMONIA/person10_virus_1.jpeg",
)


def test_rows(write_pictures, list_all) -> None:
    listing = list_all("kermany", write_pictures(*(f"chest_xray/{name}" for name in NAMES)))
    rows = {row["image"]: row for row in listing.rows}
    assert set(rows) == set(NAMES)
    check_manifest(listing.manifest([{}] * len(rows)))
    sick = {image: bool(labels["Pneumonia"]) for image, labels in labels_of(listing).items()}
    assert sick == {image: "PNEUMONIA" in image for image in NAMES}
    assert rows["train/PNEUMONIA/person1_virus_6_2.jpeg"]["patient_id"] == "train-person1"
    assert rows["train/NORMAL/IM-0115-0001-0002.jpeg"]["patient_id"] == "train-IM-0115"
    assert rows["train/NORMAL/NORMAL2-IM-0115-0001.jpeg"]["patient_id"] == "train-NORMAL2-IM-0115"
    assert rows["test/NORMAL/IM-0115-0001.jpeg"]["patient_id"] == "test-IM-0115"
    assert Counter(row["subtype"] for row in rows.values()) == {"normal": 32, "virus": 18, "bacteria": 15}
    assert {row["subtype"] for image, row in rows.items() if "NORMAL/" in image} == {"normal"}
    assert {row["split"] for row in rows.values() if row["official"] == "test"} == {"test"}
    assert {row["split"] for row in rows.values() if row["official"] != "test"} == {"train", "val"}
    homes = defaultdict(set)
    for row in rows.values():
        homes[row["patient_id"]].add(row["split"])
    assert all(len(found) == 1 for found in homes.values())
    assert len(homes["train-person12"]) == 1  # of train and of val, which was taken out of it
    assert len([row for row in rows.values() if row["patient_id"] == "train-person12"]) == 3


def test_archives_and_junk(write_pictures, list_all, tmp_path: Path) -> None:
    folder = write_pictures(*(f"chest_xray/{name}" for name in NAMES), "chest_xray/__MACOSX/train/NORMAL/x.jpeg")
    (folder / "chest_xray" / "train" / "NORMAL" / "notes.txt").write_text("x")
    with zipfile.ZipFile(tmp_path / "k.zip", "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))
    assert list_all("kermany", tmp_path / "k.zip").rows == list_all("kermany", folder).rows


def test_flaws_are_named(write_pictures, list_all, refuses) -> None:
    folder = write_pictures("train/NORMAL/IM-0001.jpeg", "copy/train/NORMAL/IM-0001.jpeg", root="twice")
    with refuses(InputError, folder, "there once", "copy/train"):
        list_all("kermany", folder)
    folder = write_pictures("train/PNEUMONIA/scan 4.jpeg", root="unnamed")
    with refuses(InputError, "train/PNEUMONIA/scan 4.jpeg", "person17_virus_48"):
        list_all("kermany", folder)
    folder = write_pictures("training/normal/IM-0001.jpeg", root="other")
    with refuses(InputError, folder, "at least one listed image"):
        list_all("kermany", folder)


def test_real_counts(data_root: Path, list_all) -> None:
    if not (data_root / "kermany_224.zip").is_file():
        pytest.skip("kermany_224.zip is absent")
    listing = list_all("kermany", data_root / "kermany_224.zip")
    assert len(listing.rows) == 5232
    assert Counter(row["official"] for row in listing.rows) == {"train": 5216, "val": 16}
    assert Counter(row["subtype"] for row in listing.rows) == {"normal": 1349, "bacteria": 2538, "virus": 1345}
    assert listing.labels.sum() == 3883
    share = Counter(row["split"] for row in listing.rows)["val"] / 5232
    assert share == pytest.approx(0.1, abs=0.005)
    assert np.isfinite(listing.labels).all()
    check_manifest(listing.manifest([{}] * 5232))
