"""Pictures that occur twice are listed once each, with who and where the other one is."""

from __future__ import annotations

import numpy as np

from monai_cxraug.data.duplicates import COLUMNS, count_duplicates, find_duplicates
from monai_cxraug.data.manifest import Manifest, make_columns

#: image, patient, split, content and file hash.
ROWS = (
    ("a", "1", "train", "X", "f1"),
    ("b", "2", "val", "Y", "f2"),
    ("c", "1", "train", "X", "f1"),
    ("d", "3", "test", "X", "f3"),
    ("e", "2", "val", "Y", "f2"),
    ("f", "4", "", "Z", "f4"),
    ("g", "5", "train", "Z", "f5"),
    ("h", "6", "train", "W", "f6"),
)


def manifest() -> Manifest:
    names = ("image", "patient_id", "split", "content")
    rows = [dict(zip(names, row[:4], strict=True), source="real") for row in ROWS]
    return Manifest(make_columns(rows), (), np.zeros((len(rows), 0), dtype=np.float32))


def test_each_repetition_names_the_first() -> None:
    found = find_duplicates(manifest(), [row[4] for row in ROWS])
    assert COLUMNS == ("image", "other", "same", "patient_id", "other_patient_id", "split", "other_split")
    assert [duplicate.cells() for duplicate in found] == [
        ("c", "a", "file", "1", "1", "train", "train"),
        ("d", "a", "picture", "3", "1", "test", "train"),
        ("e", "b", "file", "2", "2", "val", "val"),
        ("g", "f", "picture", "5", "4", "train", ""),
    ]


def test_counts() -> None:
    counts = count_duplicates(manifest())
    assert counts == {"images": 4, "pictures": 3, "across_patients": 2, "across_splits": 1}
    alone = manifest().select(np.array([0, 1, 7]))
    assert set(count_duplicates(alone).values()) == {0}
    assert find_duplicates(alone, ["", "", ""]) == []
