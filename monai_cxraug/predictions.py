"""The table of a classifier's answers: ``image``, ``patient_id``, ``label:<finding>``, ``prob:<finding>``.

Of a calibrated classifier, ``calibrated:<finding>`` and ``call:<finding>`` follow; ``prob`` is what the network says.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise InputError(path, "must be a readable table of predictions", reason, "run the cell again") from None
    header = [name for name in (rows[0] if rows else ()) if name]  # cells beyond the header have no name
    findings = tuple(name.removeprefix(_PROB) for name in header if name.startswith(_PROB))
    if not findings:
        rule, found = f"needs columns '{_PROB}<finding>' and at least one row", ", ".join(header) or "nothing"
        raise InputError(path, rule, found, "run the cell again")
    for name in ("image", "patient_id", *(_LABEL + finding for finding in findings)):
        if name not in header:
            raise InputError(path, f"column {name!r} is required", "no such column", nearest(name, header))
    table = [_parse_row(row, findings, f"{path} line {number}") for number, row in enumerate(rows, start=2)]
    labels, probs = (np.array(values, dtype=np.float64) for values in zip(*table, strict=True))
    return Predictions([row["image"] for row in rows], [row["patient_id"] for row in rows], findings, labels, probs)


def _parse_row(row: Mapping[str, str], findings: Sequence[str], where: str) -> tuple[list[float], list[float]]:
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
