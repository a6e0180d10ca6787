"""From which strength on readers see each distortion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from monai_cxraug.metrics.psychometric import fit_threshold
from monai_cxraug.study.files import Trial
from monai_cxraug.study.judgements import Judgements


def thresholds(judgements: Judgements, readers: Sequence[str], pairs: Sequence[Trial]) -> list[dict[str, Any]]:
    """Share of "different" by strength of each single distortion, and the strength at which half is seen.

    Pairs whose two images are equal tell how often "different" is guessed. Only pairs of a reference and an image made
    by one distortion of a named strength count.

    Args:
        judgements: all answers.
        readers: those who count.
        pairs: judged pairs.

    Returns:
        One entry a distortion: strengths in ascending order with their counts, and the fit where there is one.
    """
    votes = judgements.votes(readers, pairs)
    equal = votes[:, [k for k, trial in enumerate(pairs) if trial.distortion_first == trial.distortion_second]]
    shown = int((~np.isnan(equal)).sum())
    guesses = float(np.nansum(equal)) / shown if shown else 0.0
    counted: dict[str, dict[float, list[float]]] = {}
    for k, trial in enumerate(pairs):
        if step := _single(trial):
            at = counted.setdefault(step[0], {}).setdefault(step[1], [0.0, 0.0])
            at[0] += float(np.nansum(votes[:, k]))
            at[1] += float((~np.isnan(votes[:, k])).sum())
    return [_entry(name, counts, guesses, shown) for name, counts in sorted(counted.items()) if len(counts) > 1]


def _entry(name: str, counts: Mapping[float, list[float]], guesses: float, shown: int) -> dict[str, Any]:
    strengths = sorted(counts)
    different, total = ([counts[one][k] for one in strengths] for k in (0, 1))
    fit = fit_threshold(strengths, different, total, guesses)
    return {
        "distortion": name,
        "strengths": strengths,
        "different": [int(one) for one in different],
        "total": [int(one) for one in total],
        "guesses": guesses if shown else None,
        "threshold": fit.strength if fit else None,
        "slope": fit.slope if fit else None,
    }


def _single(trial: Trial) -> tuple[str, float] | None:
    """Name and strength of the only distortion in a pair, as ``gaussian_blur 1.5`` says them."""
    made = [text for text in (trial.distortion_first, trial.distortion_second) if text]
    if len(made) != 1 or "+" in made[0]:
        return None
    name, _, strength = made[0].partition(" ")
    try:
        value = float(strength)
    except ValueError:
        return None
    return (name, value) if value > 0 else None
