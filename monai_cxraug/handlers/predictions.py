"""Collects a classifier's answers over an evaluation and writes them as one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from monai_cxraug.calibration import Calibration
from monai_cxraug.errors import StateError
from monai_cxraug.keys import LABEL, NAME, PATIENT, PRED
from monai_cxraug.predictions import Predictions


class PredictionWriter:
    """Writes ``predictions.csv`` when the evaluation completes.

    Expects ``engine.state.batch`` with ``name``, ``patient_id`` and ``label`` ``[N, K]``, or ``[N, 0]`` where nothing
    is known, and ``engine.state.output`` with ``pred``, logits ``[N, K]``.

    Args:
        path: file to write.
        findings: names behind the logits, in order.
        calibration: of the model, whose columns are added; None adds none.

    Raises:
        StateError: during the evaluation, when findings, logits or labels differ in number.
    """

    def __init__(self, path: str | Path, findings: Sequence[str], calibration: Calibration | None = None) -> None:
        self.path, self.findings, self.calibration = Path(path), tuple(findings), calibration
        self._clear()

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.STARTED, self._clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _clear(self) -> None:
        self._images: list[str] = []
        self._patients: list[str] = []
        self._labels: list[Tensor] = []
        self._probs: list[Tensor] = []

    def _collect(self, engine: Engine) -> None:
        batch, output = cast(Any, engine.state.batch), cast(Any, engine.state.output)
        logits, labels = output[PRED].detach(), torch.as_tensor(batch[LABEL])
        if labels.shape[1] == 0:  # images without labels: every finding unknown
            labels = torch.full(logits.shape, torch.nan)
        if not len(self.findings) == logits.shape[1] == labels.shape[1]:
            found = f"{len(self.findings)}, {logits.shape[1]} and {labels.shape[1]}"
            rule = "findings, logits and labels must be equally many"
            raise StateError(self.path, rule, found, "ask about the findings that the classifier was trained on")
        self._images += batch[NAME]
        self._patients += batch[PATIENT]
        self._labels.append(labels.double().cpu())
        self._probs.append(torch.sigmoid(logits.float()).double().cpu())

    def _write(self) -> None:
        labels, probs = (torch.cat(parts).numpy() for parts in (self._labels, self._probs))
        table = Predictions(self._images, self._patients, self.findings, labels, probs)
        table.write(self.path, self.calibration.columns(table) if self.calibration else None)
