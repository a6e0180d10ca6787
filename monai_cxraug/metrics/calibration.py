"""How far probabilities can be believed: temperature scaling, and what measures the need for it. No torch in here."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from monai_cxraug.errors import InputError
from monai_cxraug.metrics.auroc import check_labels

Floats = NDArray[np.float64]

#: temperatures that are considered; where a finding is told apart without error, the best would be 0.
COOLEST: Final = 0.05
HOTTEST: Final = 20.0
#: probabilities nearer to 0 or 1 than this count as this near: a float32 sigmoid reaches both.
_NEAREST: Final = 1e-9
#: of Newton's method, which needs about six; and the step at which it ends.
_STEPS: Final = 50
_ROUNDING: Final = 1e-12


def log_odds(probs: ArrayLike) -> Floats:
    """Return ``log(p / (1 - p))``, at most 20.7 in size, so that a probability of exactly 0 or 1 stays finite."""
    inside = np.clip(np.asarray(probs, dtype=np.float64), _NEAREST, 1 - _NEAREST)
    odds: Floats = np.log(inside) - np.log1p(-inside)
    return odds


def at_temperature(probs: ArrayLike, temperature: ArrayLike) -> Floats:
    """Return the probabilities with their log-odds divided by a temperature; a temperature of 1 changes nothing.

    Args:
        probs: ``[..., K]`` in [0, 1].
        temperature: one for all, or ``[K]``; above 0. More than 1 makes probabilities more doubtful.
    """
    odds = log_odds(probs) / np.asarray(temperature, dtype=np.float64)
    cooled: Floats = np.exp(-np.logaddexp(0.0, -odds))
    return cooled


def log_loss(odds: ArrayLike, labels: ArrayLike) -> float:
    """Mean negative log-likelihood of known labels, ``mean(log(1 + exp(-z)))`` with z the log-odds of what is true.

    Args:
        odds: ``[n]`` log-odds.
        labels: ``[n]`` of 1, 0.
    """
    sign = 2 * np.asarray(labels, dtype=np.float64) - 1
    return float(np.logaddexp(0.0, -sign * np.asarray(odds, dtype=np.float64)).mean())


def fit_temperature(probs: ArrayLike, labels: ArrayLike) -> float:
    """Find the temperature at which the known labels are likeliest (Guo et al., ICML 2017, section 4.2).

    The negative log-likelihood is convex in 1/T, so there is one minimum. Only doubt is mended: the order of images,
    and so AUROC, stays, and a classifier that was taught another prevalence keeps believing in it.

    Args:
        probs: ``[n]`` in [0, 1].
        labels: ``[n]`` of 1, 0, NaN (left out).

    Returns:
        A temperature from 0.05 to 20; 1 where the known labels do not hold both classes, which can teach nothing.

    Raises:
        InputError: shapes differ or a probability is outside [0, 1].
        LabelError: a label is none of 1, 0 and NaN.
    """
    known, truth = known_pairs(probs, labels)
    if len(set(truth)) < 2:
        return 1.0
    odds = log_odds(known)
    steepness = minimize_scalar(
        lambda beta: log_loss(beta * odds, truth),
        bounds=(1 / HOTTEST, 1 / COOLEST),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return float(1 / steepness.x)


class Recalibration(NamedTuple):
    """The line ``intercept + slope * log-odds`` on which log-odds would be right; 0 and 1 where they are."""

    intercept: float
    slope: float


def recalibrate(probs: ArrayLike, labels: ArrayLike) -> Recalibration:
    """Fit a logistic regression of the labels on the log-odds (Cox, Biometrika 45, 1958, section 5).

    A slope below 1 means that the probabilities are too sure, above 1 too doubtful. An intercept below 0 beside a slope
    of 1 means that they are too high.

    Args:
        probs: ``[n]`` in [0, 1].
        labels: ``[n]`` of 1, 0, NaN (left out).

    Returns:
        The line of greatest likelihood; NaN where there is none: a class is missing, all probabilities are equal, or
        one threshold parts the classes (a tie on it included).

    Raises:
        InputError: shapes differ or a probability is outside [0, 1].
        LabelError: a label is none of 1, 0 and NaN.
    """
    known, truth = known_pairs(probs, labels)
    return Recalibration(*map(float, recalibrate_rows(log_odds(known)[np.newaxis], truth)[0]))


def recalibrate_rows(odds: Floats, truth: Floats) -> Floats:
    """Fit :func:`recalibrate` to several networks' answers at once, each as if it were alone.

    Args:
        odds: ``[R, n]`` log-odds, a row a network.
        truth: ``[n]`` of 1, 0.

    Returns:
        ``[R, 2]`` intercepts and slopes.
    """
    lines = np.full((len(odds), 2), math.nan)
    rows = np.flatnonzero([not _apart(row[truth == 1], row[truth == 0]) for row in odds])
    if len(rows):
        fitted = odds[rows]
        centre, spread = fitted.mean(axis=1), fitted.std(axis=1)
        intercept, slope = _newton((fitted - centre[:, np.newaxis]) / spread[:, np.newaxis], truth).T
        lines[rows, 0], lines[rows, 1] = intercept - slope * centre / spread, slope / spread
    return lines


def _apart(positive: Floats, negative: Floats) -> bool:
    """Whether a class is missing or some threshold parts them, so that the likelihood has no maximum."""
    if not len(positive) or not len(negative):
        return True
    return bool(positive.min() >= negative.max() or negative.min() >= positive.max())


def _newton(values: Floats, truth: Floats) -> Floats:
    """Intercepts and slopes ``[R, 2]`` of rows ``[R, n]`` by Newton's method; a step that raises the loss is halved."""
    lines, left = np.zeros((len(values), 2)), np.arange(len(values))
    columns = np.stack([np.ones_like(values), values], axis=1)  # [R, 2, n]
    loss = _losses(lines, columns, truth)
    for _ in range(_STEPS):
        line, here, before = lines[left], columns[left], loss[left]
        mean = 1 / (1 + np.exp(-_along(line, here)))[:, np.newaxis]
        curvature = (here * mean * (1 - mean)) @ here.transpose(0, 2, 1)
        step = np.linalg.solve(curvature, here @ (truth - mean).transpose(0, 2, 1))[..., 0]
        after = _losses(line + step, here, truth)
        while (worse := after > before + _ROUNDING).any():
            step[worse] /= 2
            after[worse] = _losses(line[worse] + step[worse], here[worse], truth)
        lines[left], loss[left] = line + step, after
        left = left[np.abs(step).max(axis=1) >= _ROUNDING]
        if not len(left):
            break
    return lines


def _along(lines: Floats, columns: Floats) -> Floats:
    """Log-odds ``[R, n]`` of lines ``[R, 2]`` on columns ``[R, 2, n]``."""
    odds: Floats = (lines[:, np.newaxis] @ columns)[:, 0]
    return odds


def _losses(lines: Floats, columns: Floats, truth: Floats) -> Floats:
    """Log loss ``[R]`` of each line."""
    losses: Floats = np.logaddexp(0.0, (1 - 2 * truth) * _along(lines, columns)).mean(axis=1)
    return losses


def brier_score(probs: ArrayLike, labels: ArrayLike) -> float:
    """Mean squared error of probabilities (Brier, Monthly Weather Review 78, 1950); NaN without known labels."""
    known, truth = known_pairs(probs, labels)
    return float(((known - truth) ** 2).mean()) if len(truth) else float("nan")


def calibration_error(probs: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error: how far mean probability and share of positives lie apart, over bins of equal width.

    Naeini et al., AAAI 2015, on the probability of the finding itself (not of the likelier answer). It is biased
    upwards where bins hold few images, so only sets of equal size compare.

    Args:
        probs: ``[n]`` in [0, 1].
        labels: ``[n]`` of 1, 0, NaN (left out).
        bins: of equal width over [0, 1].

    Returns:
        A number in [0, 1]; NaN without known labels.

    Raises:
        InputError: shapes differ or a probability is outside [0, 1].
        LabelError: a label is none of 1, 0 and NaN.
    """
    known, truth = known_pairs(probs, labels)
    if not len(truth):
        return float("nan")
    apart = np.bincount(place_in_bins(known, bins), weights=known - truth, minlength=bins)
    return float(np.abs(apart).sum() / len(truth))


def place_in_bins(probs: Floats, bins: int) -> NDArray[np.int64]:
    """Which of so many bins of equal width over [0, 1] each probability falls into; 1 belongs to the last."""
    return np.minimum((probs * bins).astype(np.int64), bins - 1)


def known_pairs(probs: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """Check probabilities and labels ``[n]`` and leave out what is unknown.

    Raises:
        InputError: shapes differ or a probability is outside [0, 1].
        LabelError: a label is none of 1, 0 and NaN.
    """
    values, truth = np.asarray(probs, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if values.ndim != 1 or values.shape != truth.shape:
        raise InputError("probabilities", "probabilities and labels must both be [n]", f"{values.shape}, {truth.shape}")
    if not ((values >= 0) & (values <= 1)).all():
        raise InputError("probabilities", "must lie in [0, 1]", "others", "did training diverge?")
    check_labels(truth)
    known = ~np.isnan(truth)
    return values[known], truth[known]
