"""What the cells of a table mean: labels under a policy for uncertain ones, splits, sexes, and paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, TypeVar

import numpy as np

from monai_cxraug.data.columns import Labels
from monai_cxraug.data.files import compose
from monai_cxraug.data.sources.tables import Table
from monai_cxraug.errors import InputError, LabelError

#: what becomes of −1, "uncertain": unknown, absent or present (U-Ignore, U-Zeros, U-Ones of Irvin et al., AAAI 2019).
Uncertainty = Literal["ignore", "zeros", "ones"]
#: what becomes of an empty cell.
Blank = Literal["unknown", "zeros"]

_UNCERTAIN: Final[Mapping[str, float]] = {"ignore": np.nan, "zeros": 0.0, "ones": 1.0}
_BLANK: Final[Mapping[str, float]] = {"unknown": np.nan, "zeros": 0.0}
_SPLITS: Final[Mapping[str, str]] = {
    "": "",
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_MEND_LABEL: Final = "mend the cell, or leave its column out of the findings"
_SEXES: Final[Mapping[str, str]] = {"m": "M", "male": "M", "f": "F", "female": "F", "o": "O", "other": "O"}

T = TypeVar("T")


def read_labels(
    table: Table, columns: Sequence[str], uncertainty: Uncertainty = "ignore", blank: Blank = "unknown"
) -> Labels:
    """Read the findings of a table.

    Args:
        table: cells of 1, 0, −1 (uncertain) or nothing; ``1.0`` and the like are as good.
        columns: the findings, in the order wanted.
        uncertainty: what −1 becomes.
        blank: what an empty cell becomes.

    Returns:
        float32 ``[N, K]``: 1 present, 0 absent, NaN unknown.

    Raises:
        InputError: a column is missing.
        LabelError: a cell holds something else.
    """
    values = {"1": 1.0, "0": 0.0, "-1": _UNCERTAIN[uncertainty], "": _BLANK[blank]}
    values |= {f"{text}.0": value for text, value in values.items() if text}
    labels = np.empty((len(table), len(columns)), dtype=np.float32)
    for place, name in enumerate(columns):
        labels[:, place] = _translate(table, name, values, "a label is 1, 0, -1 or empty", LabelError, _MEND_LABEL)
    return labels


def read_splits(table: Table, column: str) -> list[str]:
    """Read a column of splits: train, val or test, written in the usual ways; empty ones stay empty."""
    return _translate(table, column, _SPLITS, "a split is train, val or test", InputError, "mend the cell", str.lower)


def split_named(word: str) -> str:
    """Return train, val or test for a folder's name, and nothing for any other word."""
    return _SPLITS.get(word.lower(), "")


def sex_letter(text: str) -> str:
    """Return M, F or O for a sex however it is written, and nothing for any other text."""
    return _SEXES.get(text.lower(), "")


def path_key(path: str) -> str:
    """Return a path of a table as a :class:`~monai_cxraug.data.files.Tree` names its files."""
    return "/".join(part for part in compose(path).replace("\\", "/").split("/") if part != ".")


def _translate(
    table: Table,
    column: str,
    values: Mapping[str, T],
    rule: str,
    refusal: type[InputError] | type[LabelError],
    mend: str,
    prepare: Callable[[str], str] = str,
) -> list[T]:
    cells = [prepare(cell) for cell in table[column]]
    try:
        return [values[cell] for cell in cells]
    except KeyError as error:
        row = cells.index(error.args[0])
        where = f"{table.line(row)} column {column!r}"
        raise refusal(where, rule, repr(table[column][row]), mend) from None
