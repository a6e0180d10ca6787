"""The visual Turing test: can readers tell synthetic radiographs from real ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.metrics.crossed import Crossed, Replicates, Statistic
from monai_cxraug.metrics.detection import Detection, detect, mean_over_readers
from monai_cxraug.study.files import Trial
from monai_cxraug.study.judgements import Judgements, judged

Floats = NDArray[np.float64]
#: which of two answers is the second of its task.
_SYNTHETIC = "synthetic"
#: measures that lie in [0, 1].
_SHARES = ("accuracy", "area")


class Drawing(Protocol):
    """Draws readers, and patients with their trials."""

    def of(self, readers: int, trials: Sequence[Trial]) -> Crossed:
        """Draw them."""
        ...


def judge_turing(judgements: Judgements, readers: Sequence[str], draws: Drawing) -> dict[str, Any] | None:
    """Judge every reader, and the mean over readers with intervals over readers and patients.

    Args:
        judgements: all answers.
        readers: those who count.
        draws: how intervals are made.

    Returns:
        ``real`` and ``synthetic`` counts of images, ``readers`` and ``mean``; None when nobody answered a trial.
    """
    trials = judged(judgements.study, "turing")
    calls = judgements.votes(readers, trials)
    if not len(readers) or np.isnan(calls).all():
        return None
    truth = np.array([trial.expected == _SYNTHETIC for trial in trials], dtype=np.float64)
    sure = judgements.confidence(readers, trials)
    single = detect(calls, sure, truth)
    drawn = draws.of(len(readers), trials)
    return {
        "real": int((truth == 0).sum()),
        "synthetic": int((truth == 1).sum()),
        "confidence": bool((sure > 0).any()),
        "readers": [
            {"reader": reader, "answers": int((~np.isnan(calls[r])).sum())}
            | {name: float(getattr(single, name)[0, r]) for name in Detection._fields}
            for r, reader in enumerate(readers)
        ],
        "mean": {
            name: _mean(single, drawn.replicate(_statistic(name, calls, sure, truth)), name)
            for name in Detection._fields
        },
    }


def _mean(single: Detection, drawn: Replicates, name: str) -> dict[str, Any]:
    values = getattr(single, name)
    mean = float(mean_over_readers(values, np.ones(values.shape))[0])
    least, most = (0.0, 1.0) if name in _SHARES else (-np.inf, np.inf)
    return {"value": mean, "interval": drawn.interval(mean, least=least, most=most)}


def _statistic(name: str, calls: Floats, sure: Floats, truth: Floats) -> Statistic:
    return lambda readers, trials: mean_over_readers(getattr(detect(calls, sure, truth, trials), name), readers)
