"""The summary counts what is there, and its text fits one screen."""

from __future__ import annotations

import json

import numpy as np
import pytest

from monai_cxraug.data.decoding import Outcome, Recipe
from monai_cxraug.data.files import FileRef
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.sources.listing import Listing
from monai_cxraug.data.summary import describe, summarise

FINDINGS = ("Edema", "Mass")
LABELS = np.array([[1, 0], [0, np.nan], [1, 1], [0, np.nan], [np.nan, 1], [0, 0]], dtype=np.float32)
PATIENTS = ("A", "A", "B", "C", "", "D")
SPLITS = ("train", "train", "train", "val", "", "test")
AGES = ("20", "40", "60", "", "80", "?")


def rows(**columns: tuple[str, ...]) -> list[dict[str, str]]:
    own = {"patient_id": PATIENTS, "split": SPLITS, "age": AGES, "view": ("PA", "PA", "AP", "PA", "", "PA"), **columns}
    common = {"source": "real", "content": "same"}
    return [{"image": f"{row}.png", **common, **{name: own[name][row] for name in own}} for row in range(6)]


def packed(height: int, width: int, greyscale: str = "full range") -> Outcome:
    return Outcome("packed", "", "", "", height, width, 8, {"greyscale": greyscale})


OUTCOMES = [
    *(packed(30, 20), packed(10, 40, "window 1/2 LINEAR"), packed(31, 31), packed(10, 10), packed(32, 32)),
    *(
        packed(64, 8),
        Outcome("quarantined", "must be a file; found none"),
        Outcome("dropped", "must be frontal; found LL"),
    ),
    Outcome("quarantined", "must be a file; found two"),
]


def summary(fit: str = "pad", **columns: tuple[str, ...]) -> dict[str, object]:
    listed = rows(**columns)
    files = [FileRef(__file__)] * len(listed)  # type: ignore[arg-type]
    left_out = {"missing": {"m.png": "not there"}, "dropped": {"l.png": "must be frontal; found RL"}}
    refused = {"link": "a symbolic link that leads out of the folder"}
    listing = Listing(listed, files, FINDINGS, LABELS, 8, {"name": "made for a test"}, refused=refused, **left_out)
    manifest = Manifest(make_columns(listed), FINDINGS, LABELS)
    return summarise(manifest, OUTCOMES, listing, Recipe(32, 8, fit))  # type: ignore[arg-type]


def test_everything_is_counted() -> None:
    found = summary()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["name"], found["images"], found["patients"]) == ("made for a test", 6, 4)
    assert found["splits"] == {
        "none": {"images": 1, "patients": 0},
        "test": {"images": 1, "patients": 1},
        "train": {"images": 3, "patients": 2},
        "val": {"images": 1, "patients": 1},
    }
    assert found["findings"]["Edema"]["train"] == {"positives": 2, "negatives": 1, "unknown": 0}  # type: ignore[index]
    assert found["findings"]["Mass"]["train"] == {"positives": 1, "negatives": 1, "unknown": 1}  # type: ignore[index]
    assert found["findings"]["Edema"]["none"] == {"positives": 0, "negatives": 0, "unknown": 1}  # type: ignore[index]
    assert found["views"] == {"PA": 4, "AP": 1, "": 1}
    assert found["ages"] == {"known": 4, "quartiles": [20, 35, 50, 65, 80]}
    assert found["originals"]["height"] == [10, 30.5, 64]  # type: ignore[index]
    assert found["originals"]["width"] == [8, 25.5, 40]  # type: ignore[index]
    assert found["originals"]["bits"] == {"8": 6}  # type: ignore[index]
    assert found["greyscale"] == {"full": 5, "window": 1}
    assert (found["quarantined"], found["dropped"], found["missing"]) == (3, 2, 1)
    assert found["reasons"] == {
        "quarantined": {"must be a file": 2, "a symbolic link that leads out of the folder": 1},
        "dropped": {"must be frontal": 2},
        "missing": {"not there": 1},
    }
    assert found["duplicates"] == {"images": 5, "pictures": 1, "across_patients": 1, "across_splits": 1}
    assert found["policy"]["lateral"] == "drop"  # type: ignore[index]
    assert "by_fold" not in found


@pytest.mark.parametrize(("fit", "enlarged"), [("pad", 3), ("squash", 5)])
def test_enlarged_originals_are_counted(fit: str, enlarged: int) -> None:
    assert summary(fit)["originals"]["enlarged"] == enlarged  # type: ignore[index]


def test_folds_are_counted() -> None:
    found = summary(fold=("0", "0", "1", "1", "", ""))
    assert found["by_fold"]["folds"]["0"] == {"images": 2, "patients": 1}  # type: ignore[index]
    assert found["by_fold"]["findings"]["Mass"]["1"] == {"positives": 1, "negatives": 0, "unknown": 1}  # type: ignore[index]


def test_the_text_is_one_aligned_screen() -> None:
    text = describe(summary(fold=("0", "0", "1", "1", "", "")))
    lines = text.split("\n")
    assert lines[0] == "made for a test: 6 images of 4 patients"
    assert len(lines) < 40
    assert max(map(len, lines)) <= 120
    table = lines[2:7]
    assert len({len(line) for line in table}) == 1
    assert table[0].split() == ["train", "val", "test", "none"]
    assert table[1].split() == ["images", "3", "1", "1", "1"]
    assert "Mass      1 (1 unknown)  0 (1 unknown)     0" in text
    assert "folds       0 2, 1 2, none 2" in text
    assert "ages        median 50, quartiles 35-65, range 20-80" in text
    assert "quarantined 3: must be a file 2, a symbolic link that leads out of the folder 1" in text
    assert [line for line in lines if line.startswith("WARNING")] == [
        "WARNING: 1 pictures are in two of train, val and test; see duplicates.csv",
        "WARNING: 1 pictures occur with two patients; see duplicates.csv",
        "WARNING: 5 images repeat another one; see duplicates.csv",
        "WARNING: 3 originals are smaller than 32 px and were enlarged",
        "WARNING: 3 files could not be used; see quarantine.csv",
    ]


def test_images_without_labels_or_facts() -> None:
    listed = [{"image": "a.png", "source": "real", "content": "x"}]
    none = np.zeros((1, 0), dtype=np.float32)
    manifest = Manifest(make_columns(listed), (), none)
    found = summarise(manifest, [packed(32, 32)], Listing(listed, [], (), none, 8), Recipe(32))
    assert found["ages"] == {"known": 0, "quartiles": []}
    text = describe(found)
    assert text.startswith("images: 1 images of 0 patients")
    assert "WARNING" not in text
    assert "\nages" not in text
