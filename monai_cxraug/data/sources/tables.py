"""Tables of labels: CSV (comma, semicolon or tab) and Parquet, every flaw named with its line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_cxraug.data.files import FileRef
from monai_cxraug.errors import InputError, nearest

_SEPARATORS = (",", ";", "\t")
_SEPARATOR_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}


@dataclass(frozen=True)
class Table:
    """A table as text, whole rows in the file's order.

    Args:
        where: file to name in errors.
        columns: names, all different.
        rows: cells of each row, as many as there are columns.
        lines: line of the file on which each row begins; empty for a file without lines.
    """

    where: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    lines: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, column: str) -> list[str]:
        """Return the cells of one column.

        Raises:
            InputError: there is no such column.
        """
        if column not in self.columns:
            found = ", ".join(self.columns)[:200]
            raise InputError(self.where, f"column {column!r} is required", found, nearest(column, self.columns))
        place = self.columns.index(column)
        return [row[place] for row in self.rows]

    def get(self, column: str) -> list[str]:
        """Return the cells of one column, empty ones where there is no such column."""
        return self[column] if column in self.columns else [""] * len(self.rows)

    def line(self, row: int) -> str:
        """Name a row for an error."""
        return f"{self.where} line {self.lines[row]}" if self.lines else f"{self.where} row {row + 1}"

    def refuse_repeated(self, keys: Sequence[str], what: str) -> None:
        """Refuse a key that stands in two rows: rows are kept whole, never blended.

        Args:
            keys: one a row.
            what: what the key names, for the message.
        """
        first: dict[str, int] = {}
        for row, key in enumerate(keys):
            if (other := first.setdefault(key, row)) != row:
                found = f"{key!r} in {self.line(other).rpartition(' ')[2]} as well"
                raise InputError(self.line(row), f"{what} may be listed once", found, "remove a line")


def read_table(file: FileRef | Path, separators: Sequence[str] = _SEPARATORS) -> Table:
    """Read a table.

    Args:
        file: ``.parquet`` is read through pyarrow, anything else as CSV: UTF-8 with or without a byte order mark.
        separators: separators that the header may show; the one that splits it into most columns is taken.

    Returns:
        The table; cells are text, stripped of spaces around them.

    Raises:
        InputError: the file is missing, empty, not UTF-8 or no table; two columns share a name; a row is too short or
            too long; or pyarrow is not installed.
    """
    ref = file if isinstance(file, FileRef) else FileRef(file)
    name = ref.member or ref.path.name
    if name.lower().endswith((".parquet", ".pq")):
        return _read_parquet(ref)
    text = ref.read_text()
    separator = max(separators, key=text.split("\n", 1)[0].count)
    records = _records(text, separator, ref)
    _, header = next(records, (1, []))
    if not any(header):
        raise InputError(ref, "a table needs a header", "an empty file", "fetch or export the table again")
    columns = tuple(cell.strip() for cell in header)
    _refuse_equal_names(columns, ref)
    lines, rows = [], []
    for line, cells in records:
        if len(cells) != len(columns):
            rule = f"needs {len(columns)} fields, separated by {_SEPARATOR_NAMES[separator]}"
            raise InputError(f"{ref} line {line}", rule, len(cells), "fetch or mend the table")
        lines.append(line)
        rows.append([cell.strip() for cell in cells])
    return Table(str(ref), columns, rows, lines)


def _records(text: str, separator: str, ref: FileRef) -> Iterator[tuple[int, list[str]]]:
    """Line on which each record begins, and its cells; empty lines are passed over."""
    # strict: a quote inside a quoted cell is an error, not a guess
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{ref} line {line}", "must be a readable table", error, "mend the table") from None


def _refuse_equal_names(columns: Sequence[str], where: object) -> None:
    for column in columns:
        if columns.count(column) > 1:
            raise InputError(where, "column names must differ", f"{column!r} twice", "rename or remove one")


def _read_parquet(ref: FileRef) -> Table:
    try:
        from pyarrow import ArrowException, BufferReader, parquet
    except ImportError:
        mend = "pip install pyarrow, or export the table as CSV"
        raise InputError(ref, "reading Parquet needs pyarrow", "it is not installed", mend) from None
    try:
        table = parquet.read_table(BufferReader(ref.read()))
        _refuse_equal_names(table.column_names, ref)
        cells = [[_text(value) for value in table.column(name).to_pylist()] for name in table.column_names]
    except (ArrowException, OSError) as error:
        raise InputError(ref, "must be a readable Parquet file", error, "write the file again") from None
    return Table(str(ref), tuple(map(str, table.column_names)), list(zip(*cells, strict=True)))


def _text(value: Any) -> str:
    """Text of a Parquet cell as a CSV would hold it: nothing for null and NaN, 1 for true and 1.0."""
    if value is None or value != value:
        return ""
    whole = isinstance(value, bool) or (isinstance(value, float) and value.is_integer())
    return str(int(value)) if whole else str(value).strip()
