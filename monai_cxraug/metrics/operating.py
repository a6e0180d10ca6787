"""Where probabilities become yes or no: thresholds by named rules, and how often the answers are right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.metrics.calibration import known_pairs
from monai_cxraug.metrics.resampling import patient_weights, percentile_interval, seed_weights

Floats = NDArray[np.float64]
Interval = tuple[float, float]

YOUDEN: Final = "youden"
#: rules that want a number, as in ``sensitivity=0.95``.
_WITH_NUMBER: Final = ("sensitivity", "specificity", "threshold")
#: what is measured at a threshold, in the order of :class:`Rate` tables.
RATES: Final = ("accuracy", "sensitivity", "specificity", "brier")


@dataclass(frozen=True)
class Rule:
    """How a threshold is chosen.

    Args:
        name: ``youden``, ``sensitivity``, ``specificity`` or ``threshold``.
        value: the number that the last three want, in [0, 1].
    """

    name: str
    value: float = math.nan

    def __str__(self) -> str:
        """The rule as it is written in configurations."""
        return self.name if self.name == YOUDEN else f"{self.name}={self.value:g}"


@dataclass(frozen=True)
class Rate:
    """One share, with its 95 % bootstrap interval over patients and seeds; None where it cannot be given."""

    value: float
    interval: Interval | None


def parse_rule(text: str, where: str = "rule") -> Rule:
    """Read a rule.

    Args:
        text: ``youden``, ``sensitivity=0.95``, ``specificity=0.9`` or ``threshold=0.5``.
        where: what to name in an error.

    Raises:
        ConfigError: it is none of these, or its number is not from 0 to 1.
    """
    name, sign, number = str(text).partition("=")
    try:
        value = float(number) if sign else math.nan
    except ValueError:
        value = math.inf
    if (name == YOUDEN and not sign) or (name in _WITH_NUMBER and sign and 0 <= value <= 1):
        return Rule(name, value)
    known = ", ".join([YOUDEN, *(f"{name}=NUMBER" for name in _WITH_NUMBER)])
    raise ConfigError(where, "must name a rule for thresholds, numbers from 0 to 1", repr(text), f"one of {known}")


def choose_threshold(probs: ArrayLike, labels: ArrayLike, rule: Rule) -> float:
    """Choose the probability from which the answer is yes, on images that nothing is reported on afterwards.

    A threshold lies halfway between two neighbouring probabilities, so that it does not hang on one image.
    ``youden`` makes sensitivity + specificity - 1 largest (Youden, Cancer 3, 1950), the lower threshold where two do;
    ``sensitivity=s`` is the highest threshold that still finds a share s of the positives; ``specificity=s`` the lowest
    that still clears a share s of the negatives; ``threshold=t`` is t whatever the images say.

    Args:
        probs: ``[n]`` in [0, 1].
        labels: ``[n]`` of 1, 0, NaN (left out).
        rule: how to choose.

    Returns:
        The threshold in [0, 1]; NaN where the rule needs a class that the known labels do not hold.

    Raises:
        InputError: shapes differ or a probability is outside [0, 1].
        LabelError: a label is none of 1, 0 and NaN.
    """
    known, truth = known_pairs(probs, labels)
    if rule.name == "threshold":
        return rule.value
    positives, negatives = np.sort(known[truth == 1]), np.sort(known[truth == 0])
    if not len(positives) or not len(negatives):
        return math.nan
    levels = np.unique(known)
    candidates = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2, [1.0]])
    found = 1 - np.searchsorted(positives, candidates, side="left") / len(positives)
    cleared = np.searchsorted(negatives, candidates, side="left") / len(negatives)
    if rule.name == YOUDEN:
        return float(candidates[np.argmax(np.round(found + cleared, 12))])
    if rule.name == "sensitivity":
        return float(candidates[np.flatnonzero(found >= rule.value - 1e-12)[-1]])
    enough = np.flatnonzero(cleared >= rule.value - 1e-12)
    return float(candidates[enough[0]]) if len(enough) else 1.0


def rates(
    probs: ArrayLike,
    thresholds: ArrayLike,
    labels: ArrayLike,
    patients: Sequence[str],
    replicates: int = 2000,
    seed: int = 0,
) -> dict[str, Rate]:
    """Measure accuracy, sensitivity, specificity and the Brier score; each replicate draws patients and seeds.

    Args:
        probs: ``[S, n]`` in [0, 1], a row for each training seed.
        thresholds: ``[S]``, each chosen on other images; NaN leaves all but the Brier score unknown.
        labels: ``[n]`` of 1, 0, NaN (left out).
        patients: ``[n]`` patient of each image.
        replicates: bootstrap replicates.
        seed: of the bootstrap.

    Returns:
        A :class:`Rate` for each of :data:`RATES`: the mean over seeds, NaN where a class is missing.

    Raises:
        InputError: shapes disagree or a probability is outside [0, 1].
        LabelError: a label is none of 1, 0 and NaN.
    """
    table, cuts, truth = (np.asarray(values, dtype=np.float64) for values in (probs, thresholds, labels))
    fits = cuts.shape == table.shape[:1] and truth.shape == table.shape[1:] == (len(patients),)
    if table.ndim != 2 or not fits:
        found = f"{table.shape}, {cuts.shape}, {truth.shape}, {len(patients)} patients"
        raise InputError("rates", "probs [S, n] must fit thresholds [S], labels [n] and patients", found)
    for row in table:
        known_pairs(row, truth)
    known = ~np.isnan(truth)
    table, truth = table[:, known], truth[known]
    owners = [patient for patient, keep in zip(patients, known, strict=True) if keep]
    if not owners:
        return {name: Rate(math.nan, None) for name in RATES}
    rng = np.random.default_rng(seed)
    images, seeds = patient_weights(owners, replicates, rng), seed_weights(len(table), replicates, rng)
    whole = _shares(table, cuts, truth, np.ones((1, len(truth))))[:, :, 0].mean(axis=0)
    drawn = np.einsum("srb,bs->rb", _shares(table, cuts, truth, images), seeds)
    return {
        name: Rate(float(value), percentile_interval(samples) if math.isfinite(value) else None)
        for name, value, samples in zip(RATES, whole, drawn, strict=True)
    }


def _shares(table: Floats, cuts: Floats, truth: Floats, weights: NDArray[np.number]) -> Floats:
    """Every rate ``[S, rates, B]`` under the image weights ``[B, n]``."""
    rows = []
    everyone, sick, healthy = np.ones_like(truth), truth == 1, truth == 0
    for probs, cut in zip(table, cuts, strict=True):
        right = np.where(math.isfinite(cut), (probs >= cut) == sick, math.nan)
        error = (probs - truth) ** 2
        counted = [(right, everyone), (right * sick, sick), (right * healthy, healthy), (error, everyone)]
        rows.append([_ratio(weights @ over, weights @ under.astype(float)) for over, under in counted])
    return np.array(rows)


def _ratio(over: Floats, under: Floats) -> Floats:
    share: Floats = np.divide(over, under, out=np.full(len(under), math.nan), where=under > 0)
    return share
