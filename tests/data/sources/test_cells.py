"""What cells mean: labels under each policy, splits and sexes however written, paths as a folder's names."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from monai_cxraug.data.sources.cells import path_key, read_labels, read_splits, sex_letter, split_named
from monai_cxraug.data.sources.tables import Table, read_table
from monai_cxraug.errors import InputError, LabelError

NAN = np.nan


@pytest.fixture
def table(tmp_path: Path) -> Table:
    (tmp_path / "t.csv").write_text("image,A,B,split\na,1,-1.0,TRAIN\nb,0.0,,valid\nc,-1,1.0,\n")
    return read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("uncertainty", "blank", "expected"),
    [
        ("ignore", "unknown", [[1, NAN], [0, NAN], [NAN, 1]]),
        ("zeros", "unknown", [[1, 0], [0, NAN], [0, 1]]),
        ("ones", "unknown", [[1, 1], [0, NAN], [1, 1]]),
        ("ones", "zeros", [[1, 1], [0, 0], [1, 1]]),
        ("ignore", "zeros", [[1, NAN], [0, 0], [NAN, 1]]),
    ],
)
def test_policies(table: Table, uncertainty, blank, expected) -> None:
    assert_array_equal(read_labels(table, ["A", "B"], uncertainty, blank), expected)
    assert_array_equal(read_labels(table, ["B", "A"], uncertainty, blank), np.array(expected)[:, ::-1])
    assert read_labels(table, ["A"]).dtype == np.float32


def test_other_cells_are_refused(tmp_path: Path, refuses) -> None:
    (tmp_path / "t.csv").write_text("image,A,split\na,1,train\n\nb,yes,dev\n")
    table = read_table(tmp_path / "t.csv")
    with refuses(LabelError, "line 4 column 'A'", "'yes'", "1, 0, -1 or empty"):
        read_labels(table, ["A"])
    with refuses(InputError, "line 4 column 'split'", "'dev'"):
        read_splits(table, "split")
    with refuses(InputError, "'Z'"):
        read_labels(table, ["Z"])


def test_words(table: Table) -> None:
    assert read_splits(table, "split") == ["train", "val", ""]
    assert [split_named(word) for word in ("Train", "validation", "TEST", "benign")] == ["train", "val", "test", ""]
    assert [sex_letter(word) for word in ("Male", "f", "Unknown", "", "O")] == ["M", "F", "", "", "O"]


def test_paths_compare_as_names_do() -> None:
    decomposed = unicodedata.normalize("NFD", "한글/é.png")
    assert path_key(decomposed) == path_key("./한글\\é.png") == "한글/é.png"
    assert path_key("../a.png") == "../a.png"
