"""Collects a classifier's answers over an evaluation and writes them as one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from monai_cxraug.keys import LABEL, NAME, PATIENT, PRED
from monai_cxraug.predictions import Predictions


class PredictionWriter:
    """Writes ``predictions.csv`` when the evaluation completes.

    Expects ``engine.state.batch`` with ``name``, ``patient_id`` and ``label`` and ``engine.state.output`` with ``pred``,
    logits ``[N, K]``.

    Args:
        path: file to write.
        findings: names behind the logits, in order.
    """

    def __init__(self, path: str | Path, findings: Sequence[str]) -> None:
        self.path, self.findings = Path(path), tuple(findings)
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
        batch, output = engine.state.batch, engine.state.output
        self._images += batch[NAME]
        self._patients += batch[PATIENT]
        self._labels.append(torch.as_tensor(batch[LABEL]).double().cpu())
        self._probs.append(torch.sigmoid(output[PRED].detach().float()).double().cpu())

    def _write(self) -> None:
        probs = torch.cat(self._probs).numpy()
        labels = torch.cat(self._labels).numpy()
        if labels.shape != probs.shape:  # images without labels: every finding unknown
            labels = np.full_like(probs, np.nan)
        Predictions(self._images, self._patients, self.findings, labels, probs).write(self.path)
