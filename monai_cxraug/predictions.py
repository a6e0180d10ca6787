"""The table of a classifier's answers: ``image``, ``patient_id``, ``label:<finding>``, ``prob:<finding>``."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.artifacts import write_csv
from monai_cxraug.errors import InputError

_LABEL, _PROB = "label:", "prob:"


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

    def write(self, path: Path) -> None:
        """Write the table atomically; probabilities carry nine digits, more than float32 holds."""
        header = ["image", "patient_id", *(_LABEL + name for name in self.findings)]
        header += [_PROB + name for name in self.findings]
        rows = zip(self.images, self.patients, self.labels, self.probs, strict=True)
        write_csv(
            path,
            header,
            (
                [image, patient, *map(_label_text, labels), *(f"{prob:.9g}" for prob in probs)]
                for image, patient, labels, probs in rows
            ),
        )


def read_predictions(path: Path) -> Predictions:
    """Read a table of predictions.

    Raises:
        InputError: missing, or a column or value is not what it should be.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise InputError(path, "predictions must exist", error.strerror or error, "run the cell again") from None
    header = list(rows[0]) if rows else []
    findings = tuple(name.removeprefix(_PROB) for name in header if name.startswith(_PROB))
    if not findings:
        raise InputError(path, f"needs columns '{_PROB}<finding>' and at least one row", ", ".join(header) or "nothing")
    try:
        labels = np.array([[float(row[_LABEL + name] or "nan") for name in findings] for row in rows])
        probs = np.array([[float(row[_PROB + name]) for name in findings] for row in rows])
        return Predictions([row["image"] for row in rows], [row["patient_id"] for row in rows], findings, labels, probs)
    except (KeyError, ValueError) as error:
        raise InputError(path, "columns and values must be those of a predictions table", error) from None


def _label_text(value: float) -> str:
    return "" if np.isnan(value) else str(int(value))
