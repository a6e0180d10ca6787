"""Tables of a million rows are split without the csv module: with the same result, and the same refusals."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from monai_cxraug.data import columns
from monai_cxraug.data.columns import parse_labels, read_table
from monai_cxraug.errors import InputError, LabelError

TEXTS = st.one_of(
    st.sampled_from(
        ["", "0", "1", "PA", "é", "가나다", "images/ a b.png", "12345678", "123456789", "\x0b", "\x85", "\u2028"]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters=',"\r\n\0'), max_size=12),
)


def as_csv_reads(content: str) -> dict[str, list[str]]:
    header, *rows = csv.reader(io.StringIO(content, newline=""), strict=True)
    return {name: [row[index] for row in rows] for index, name in enumerate(header)}


@given(
    st.integers(2, 5).flatmap(lambda width: st.lists(st.tuples(*[TEXTS] * width), min_size=1, max_size=9)),
    st.booleans(),
)
@settings(max_examples=150)
def test_a_plain_table_is_split_as_the_csv_module_does(rows: list[tuple[str, ...]], ends: bool) -> None:
    header = [f"c{index}" for index in range(len(rows[0]))]
    content = "\n".join(",".join(row) for row in [header, *rows]) + ("\n" if ends else "")
    split = columns._split_plain(content.encode())
    if ends or content.count("\n") > 1:
        assert split is not None
        assert {name: list(values) for name, values in split.items()} == as_csv_reads(content)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("block", [1, 40, 2**24])
@pytest.mark.parametrize("plain", [True, False])
def test_many_rows_in_blocks(tmp_path: Path, monkeypatch, block: int, plain: bool) -> None:
    monkeypatch.setattr(columns, "_BLOCK", block)
    monkeypatch.setattr(columns, "_FEW", 5)
    if not plain:
        monkeypatch.setattr(columns, "_split_plain", lambda content: None)
    rows = [
        [f"images/{row:04d}.png", f"{row % 7}", "PA" if row % 2 else "AP", str(row % 3 or ""), "é"]
        for row in range(300)
    ]
    content = "\n".join(",".join(row) for row in [["image", "few", "view", "label", "name"], *rows]) + "\n"
    table = read_table(write(tmp_path / "a.csv", "\ufeff" + content))
    assert list(table) == ["image", "few", "view", "label", "name"]
    for column, values in zip(zip(*rows, strict=True), table.values(), strict=True):
        assert values.dtype == object
        assert tuple(values) == column


def test_quotes_other_line_ends_and_long_fields_go_to_the_csv_module(tmp_path: Path) -> None:
    for content in ('a,b\n"x,y",1\n', "a,b\r\nx,1\r\n", 'a,b\n"x\ny",1\n'):
        table = read_table(write(tmp_path / "a.csv", content))
        assert {name: list(values) for name, values in table.items()} == as_csv_reads(content)
    assert read_table(write(tmp_path / "a.csv", "a,b\n" + "x" * 131072 + ",1\n"))["b"][0] == "1"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\n1,2\n3\n", ("line 3", "needs 2 fields", "found 1")),
        ("a,b\n1,2,3\n4\n", ("line 2", "needs 2 fields", "found 3")),  # as many separators as it should have
        ("a,b\n1\n2,3,4\n", ("line 2", "needs 2 fields", "found 1")),
        ("a,b\n1\n2\n", ("line 2", "needs 2 fields", "found 1")),
        ("a,b\n1,2\n\n", ("line 3", "needs 2 fields", "found 0")),
        ("a,b\n1,2\n,,", ("line 3", "needs 2 fields", "found 3")),
        ("a,a\n1,2\n", ("'a' twice",)),
        ("a,b\n", ("at least one row",)),
        ("a,b", ("at least one row",)),
        ("", ("header",)),
        ("\n\n", ("header",)),
        (b"a,b\n\xff,1\n", ("UTF-8",)),
        (b"a,b\n1,\xe9\n", ("UTF-8",)),
        (b"\xe9,b\n1,2\n", ("UTF-8",)),
        ("a,b\n" + "x" * 131073 + ",1\n", ("field larger than",)),
        ('a,b\n"x,1\n', ("readable table",)),
    ],
)
def test_what_is_no_table(tmp_path: Path, refuses, content: str | bytes, words: tuple[str, ...]) -> None:
    path = write(tmp_path / "a.csv", content)
    with refuses(InputError, path, *words):
        read_table(path)


def test_labels(tmp_path: Path, refuses) -> None:
    texts = np.array(["1", "0", "", "1.0", "0.0"], dtype=object)
    labels = parse_labels(texts, "Edema", tmp_path)
    assert labels.dtype == np.float32
    assert_array_equal(labels, [1, 0, np.nan, 1, 0])
    with refuses(LabelError, tmp_path, "line 4", "'Edema'", "' '"):
        parse_labels(np.array(["1", "0", " ", "x"], dtype=object), "Edema", tmp_path)
