"""Tables of labels: every usual dialect gives the same table, and every flaw is one line with its place."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from monai_cxraug.data.files import FileRef
from monai_cxraug.data.sources.tables import read_table
from monai_cxraug.errors import InputError

ROWS = [("image", "Edema", "note"), ("a.png", "1", "x, y"), ("b.png", "", "")]
COMMAS = 'image,Edema,note\na.png,1,"x, y"\nb.png,,\n'


@pytest.mark.parametrize(
    "content",
    [
        COMMAS.encode(),
        COMMAS.encode("utf-8-sig"),
        COMMAS.replace("\n", "\r\n").encode(),
        COMMAS.replace("\n", "\r").encode(),
        b"image;Edema;note\na.png;1;x, y\nb.png;;\n",
        b"image\tEdema\tnote\n a.png \t1\tx, y\n\nb.png\t\t",
    ],
)
def test_dialects_agree(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    table = read_table(tmp_path / "t.csv")
    assert [table.columns, *map(tuple, table.rows)] == ROWS
    assert table["note"] == ["x, y", ""]
    assert table.get("none") == ["", ""]


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('image,note\na,"two\nlines"\n\nb,one\n')
    table = read_table(tmp_path / "t.csv")
    assert [table.line(row).rpartition(" ")[2] for row in range(2)] == ["2", "5"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ("header", "an empty file")),
        (b"\n\n", ("header",)),
        (b"\xef\xbb\xbf", ("header",)),
        ("Größe,b\n".encode("latin-1"), ("UTF-8",)),
        (b"\xff\xfea\x00", ("UTF-8",)),
        (b"a,b,a\n1,2,3\n", ("'a' twice",)),
        (b"a,b\n1,2\n1,2,3\n", ("t.csv line 3", "needs 2 fields, separated by commas", "found 3")),
        (b"a;b\n1;2\n1\n", ("line 3", "semicolons", "found 1")),
        (b'a,b\n1,"2\n3,4\n', ("line 2", "readable table")),
        (b'a,b\n1,"2"x\n', ("line 2", "readable table")),
        (b"a,b\n1," + b"9" * 200_000 + b"\n", ("line 2", "readable table", "field")),
    ],
)
def test_flaws_are_named(tmp_path: Path, refuses, content: bytes, words) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with refuses(InputError, tmp_path / "t.csv", *words):
        read_table(tmp_path / "t.csv")


def test_a_wrong_separator_shows_in_the_header(tmp_path: Path, refuses) -> None:
    (tmp_path / "t.csv").write_text("image|Edema\na|1\n")
    with refuses(InputError, "column 'image' is required", "image|Edema"):
        _ = read_table(tmp_path / "t.csv")["image"]


def test_a_key_in_two_rows_is_refused(tmp_path: Path, refuses) -> None:
    (tmp_path / "t.csv").write_text("image,Edema\na,1\nb,0\na,1\n")  # identical rows too
    table = read_table(tmp_path / "t.csv")
    table.refuse_repeated(["1", "2", "3"], "an image")
    with refuses(InputError, "line 4", "an image may be listed once", "'a' in 2 as well"):
        table.refuse_repeated(table["image"], "an image")


def test_a_missing_file(tmp_path: Path, refuses) -> None:
    with refuses(InputError, tmp_path / "none.csv"):
        read_table(FileRef(tmp_path / "none.csv"))


def test_parquet_reads_as_a_csv_would(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    cells = {"image": ["a", "b"], "Edema": [1.0, None], "Mass": [True, False], "age": [41, 7], "x": [0.5, float("nan")]}
    parquet.write_table(pyarrow.table(cells), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert {name: table[name] for name in table.columns} == {
        "image": ["a", "b"], "Edema": ["1", ""], "Mass": ["1", "0"], "age": ["41", "7"], "x": ["0.5", ""],
    }  # fmt: skip
    assert table.line(1).endswith("row 2")


def test_parquet_without_pyarrow_or_broken(tmp_path: Path, refuses, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 not")
    if "pyarrow" in sys.modules or _has_pyarrow():
        with refuses(InputError, "t.parquet", "Parquet"):
            read_table(tmp_path / "t.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", types.ModuleType("pyarrow"))
    with refuses(InputError, "t.parquet", "needs pyarrow", "export the table as CSV"):
        read_table(tmp_path / "t.parquet")


def _has_pyarrow() -> bool:
    from importlib.util import find_spec

    return find_spec("pyarrow") is not None
