"""The table of a classifier's answers: ``image``, ``patient_id``, ``label:<finding>``, ``prob:<finding>``.

Of a calibrated classifier, ``calibrated:<finding>`` and ``call:<finding>`` follow; ``prob`` is what the network says.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.artifacts import write_csv
from monai_cxraug.errors import InputError, nearest

_LABEL, _PROB = "label:", "prob:"
_LABEL_OF_TEXT = {"1": 1.0, "0": 0.0, "": np.nan}


@dataclass(frozen=True)
class Predictions:
    """Answers on ``N`` images for ``K`` findings.

    Args:
        images: ``[N]`` names.
        patients: ``[N]`` patients.
        findings: ``K`` names.
        labels: float ``[N, K]``: 1 present, 0 absent, NaN unknown.
        probs: float ``[N, K]`` in [0, 1].
    """

    images: list[str]
    patients: list[str]
    findings: tuple[str, ...]
    labels: NDArray[np.float64]
    probs: NDArray[np.float64]

    @cached_property
    def owners(self) -> NDArray[np.intp]:
        """``[N]`` number of each image's patient, in the order of their names."""
        return np.unique(np.asarray(self.patients, dtype=str), return_inverse=True)[1].reshape(-1)

    def write(self, path: Path, more: Mapping[str, NDArray[np.float64]] | None = None) -> None:
        """Write the table atomically; probabilities carry nine digits, more than float32 holds.

        Args:
            path: file to write.
            more: further columns for each finding, by their prefix: ``[N, K]``, NaN is written as nothing.
        """
        blocks = {"label": self.labels, "prob": self.probs, **(more or {})}
        header = ["image", "patient_id", *(f"{prefix}:{name}" for prefix in blocks for name in self.findings)]
        numbers = np.concatenate(list(blocks.values()), axis=1)
        rows = zip(self.images, self.patients, numbers, strict=True)
        write_csv(path, header, ([image, patient, *map(_text, values)] for image, patient, values in rows))


def read_predictions(path: Path) -> Predictions:
    """Read a table of predictions.

    Raises:
        InputError: missing, or a column or value is not what it should be.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            lines = list(csv.reader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise InputError(path, "must be a readable table of predictions", reason, "run the cell again") from None
    rows = [line for line in lines[1:] if line]
    header = lines[0] if rows else []
    findings = tuple(name.removeprefix(_PROB) for name in header if name.startswith(_PROB))
    if not findings:
        rule, found = f"needs columns '{_PROB}<finding>' and at least one row", ", ".join(header) or "nothing"
        raise InputError(path, rule, found, "run the cell again")
    for name in ("image", "patient_id", *(_LABEL + finding for finding in findings)):
        if name not in header:
            raise InputError(path, f"column {name!r} is required", "no such column", nearest(name, header))
    columns = _columns(header, rows)
    numbers = columns and _numbers(columns, findings)
    if not columns or numbers is None:  # irregular or wrong: line by line, to say where
        named = [dict(zip_longest(header, row[: len(header)])) for row in rows]
        table = [_parse_row(row, findings, f"{path} line {number}") for number, row in enumerate(named, start=2)]
        numbers = tuple(np.array(values, dtype=np.float64) for values in zip(*table, strict=True))
        columns = {name: [row[name] or "" for row in named] for name in ("image", "patient_id")}
    return Predictions(columns["image"], columns["patient_id"], findings, *numbers)


def _columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, list[str]] | None:
    """Texts by column; None where a row has more or fewer fields than the header."""
    if set(map(len, rows)) != {len(header)}:
        return None
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def _numbers(columns: Mapping[str, Sequence[str]], findings: Sequence[str]) -> tuple[NDArray[np.float64], ...] | None:
    """Labels and probabilities ``[N, K]``; None where one is not what it should be."""
    try:
        labels = [list(map(_LABEL_OF_TEXT.__getitem__, columns[_LABEL + name])) for name in findings]
        probs = np.array([list(map(float, columns[_PROB + name])) for name in findings])
    except (KeyError, ValueError):
        return None
    if not ((probs >= 0) & (probs <= 1)).all():
        return None
    return np.ascontiguousarray(np.array(labels).T), np.ascontiguousarray(probs.T)


def _parse_row(row: Mapping[str, Any], findings: Sequence[str], where: str) -> tuple[list[float], list[float]]:
    try:
        labels = [_LABEL_OF_TEXT[row[_LABEL + name]] for name in findings]
        probs = [float(row[_PROB + name]) for name in findings]
    except (KeyError, ValueError, TypeError) as error:
        rule = "labels must be 1, 0 or empty, probabilities numbers"
        raise InputError(where, rule, error, "run the cell again") from None
    if not all(0 <= prob <= 1 for prob in probs):
        found = next(prob for prob in probs if not 0 <= prob <= 1)
        raise InputError(where, "a probability must lie in [0, 1]", found, "the training may have diverged")
    return labels, probs


def _text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.9g}"
