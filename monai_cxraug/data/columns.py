"""Columns of a table, read fast: a million rows in seconds, with the csv module's own result and errors."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.errors import InputError, LabelError

Text = NDArray[np.object_]
Labels = NDArray[np.float32]

_VALUE_OF_TEXT = {"1": 1.0, "0": 0.0, "": np.nan, "1.0": 1.0, "0.0": 0.0}
#: text of a byte; NUL, which no table here holds, stands for the empty text.
_LETTERS = np.array(["", *map(chr, range(1, 128))], dtype=object)
#: bytes of a table that are taken apart at a time: what is made of them fits a cache.
_BLOCK = 2**19
#: a field this long is refused by the csv module.
_LONGEST = 2**17
#: bytes of a text, and different texts in a block, up to which a column's texts are made once.
_SHORT, _FEW = 8, 2**12


def read_table(path: Path) -> dict[str, Text]:
    """Read a table of comma-separated values in UTF-8.

    Args:
        path: the file; a byte-order mark is allowed.

    Returns:
        Column name to ``[N]`` texts, in the order of the header.

    Raises:
        InputError: the file is unreadable or has no rows; a line has too few or too many fields; a column name occurs
            twice.
    """
    try:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
        columns = _split_plain(content) or _split_quoted(content, path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, "must be a readable table in UTF-8", error, "mend or remake the file") from None
    if not len(next(iter(columns.values()))):
        raise InputError(path, "a manifest needs at least one row", "none", "remake the file")
    return columns


def parse_labels(texts: Text, finding: str, path: Path) -> Labels:
    """Turn the texts of a finding's column into numbers.

    Args:
        texts: ``[N]``; ``1``, ``0``, ``1.0``, ``0.0`` or empty.
        finding: name of the column.
        path: the table, for the message.

    Returns:
        float32 ``[N]``: 1 present, 0 absent, NaN unknown.

    Raises:
        LabelError: a text is another one.
    """
    try:
        return np.fromiter(map(_VALUE_OF_TEXT.__getitem__, texts), np.float32, len(texts))
    except KeyError as error:
        row = int(np.flatnonzero(texts == error.args[0])[0]) + 2
        raise LabelError(
            f"{path} line {row} column {finding!r}", "a label is 1, 0 or empty", repr(error.args[0]), "mend the label"
        ) from None


def _split_plain(content: bytes) -> dict[str, Text] | None:
    """Split a table that needs no csv module; None for one with quotes, other line ends or anything irregular."""
    if any(mark in content for mark in (b'"', b"\r", b"\0")) or content.count(b"\n") < 2:
        return None
    if not content.endswith(b"\n"):
        content += b"\n"
    start = content.index(b"\n") + 1
    header = content[: start - 1].decode().split(",")
    if len(header) < 2 or len(set(header)) < len(header):
        return None
    parts: list[list[Text]] = []
    for block in _blocks(content, start):
        if (texts := _split_block(block, len(header))) is None:
            return None
        parts.append(texts)
    return {name: np.concatenate(column) for name, column in zip(header, zip(*parts, strict=True), strict=True)}


def _split_block(block: bytes, width: int) -> list[Text] | None:
    """Texts by column; None where a line has not ``width`` fields, or may hold one that the csv module refuses."""
    letters = np.frombuffer(block, dtype=np.uint8)
    marks = np.flatnonzero((letters == ord("\n")) | (letters == ord(",")))
    if len(marks) % width:
        return None
    ends = marks.reshape(-1, width)
    lengths = (np.diff(marks, prepend=-1) - 1).reshape(-1, width)
    is_end = letters[ends] == ord("\n")
    if not is_end[:, -1].all() or is_end[:, :-1].any() or lengths.max() >= _LONGEST:
        return None
    few = {column: _few_texts(letters, ends[:, column], lengths[:, column]) for column in range(width)}
    columns = {column: texts for column, texts in few.items() if texts is not None}
    keep = np.ones(len(letters), dtype=bool)
    for column in columns:
        for place in range(lengths[:, column].max() + 1):
            keep[ends[:, column] - np.minimum(place, lengths[:, column])] = False
    texts = letters[keep].tobytes().decode().replace("\n", ",").split(",")
    others = [column for column in range(width) if column not in columns]
    for place, column in enumerate(others):
        columns[column] = np.array(texts[place : -1 : len(others)], dtype=object)
    return [columns[column] for column in range(width)]


def _few_texts(letters: NDArray[np.uint8], ends: NDArray[np.int64], lengths: NDArray[np.int64]) -> Text | None:
    """Texts of a column of few and short ones, as labels and splits are, each made once; None for another column."""
    longest = int(lengths.max())
    if longest > _SHORT:
        return None
    if longest <= 1:
        codes = np.where(lengths > 0, letters[ends - 1], 0)
        return _LETTERS[codes] if codes.max() < len(_LETTERS) else None
    keys = np.zeros(len(ends), dtype=np.uint64)
    for place in range(1, longest + 1):  # counted from the end
        letter = np.where(lengths >= place, letters[ends - place], 0).astype(np.uint64)
        keys = keys | letter << np.uint64(8 * (place - 1))
    different, rows = np.unique(keys, return_inverse=True)
    if len(different) > _FEW:
        return None
    return np.array(_texts(different), dtype=object)[rows]


def _texts(keys: NDArray[np.uint64]) -> list[str]:
    """The texts whose last bytes are the keys' lowest ones."""
    for _ in range(_SHORT - 1):  # to the front, where a text of bytes begins
        keys = np.where(keys >> np.uint64(8 * (_SHORT - 1)), keys, keys << np.uint64(8))
    texts: list[bytes] = keys.astype(">u8").view(f"S{_SHORT}").tolist()
    return [text.decode() for text in texts]


def _blocks(content: bytes, start: int) -> Iterator[bytes]:
    """Whole lines, about a block at a time."""
    while start < len(content):
        end = content.find(b"\n", min(start + _BLOCK, len(content) - 1)) + 1
        yield content[start:end]
        start = end


def _split_quoted(content: bytes, path: Path) -> dict[str, Text]:
    stream = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="")
    header, *rows = list(csv.reader(stream, strict=True)) or [[]]
    if not header:
        raise InputError(path, "a manifest needs a header", "an empty file", "remake the file")
    if len(set(header)) != len(header):
        repeated = sorted(name for name in header if header.count(name) > 1)[0]
        raise InputError(path, "column names must differ", f"{repeated!r} twice", "rename or remove one")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise InputError(f"{path} line {number}", f"needs {len(header)} fields", len(row), "mend the line")
    cells = zip(*rows, strict=True) if rows else [()] * len(header)
    return {name: np.array(values, dtype=object) for name, values in zip(header, cells, strict=True)}
