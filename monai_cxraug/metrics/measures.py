"""All that is reported of one finding: how well it is ranked, decided and believed, with intervals and subgroups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_cxraug.errors import InputError
from monai_cxraug.metrics.calibration import known_pairs, log_odds, place_in_bins, recalibrate_rows
from monai_cxraug.metrics.ranks import Ladder, Weighed, ratio
from monai_cxraug.metrics.resampling import Draws, Patients, percentile_interval

Floats = NDArray[np.float64]
Interval = tuple[float, float]

#: the measures in their order in :class:`Measures`.
NAMES: Final = (
    "auroc",
    "auprc",
    "sensitivity_90",
    "sensitivity_95",
    "accuracy",
    "all_negative",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "ece",
    "brier",
    "log_loss",
    "slope",
    "intercept",
)
_BINS: Final = 15


@dataclass(frozen=True)
class Measures:
    """One finding on the images whose label is known; NaN where a measure needs a class that is missing.

    Args:
        n: images with a known label.
        positives: of them, with the finding.
        skipped: images left out, their label being unknown.
        auroc: area under the ROC curve.
        auprc: area under the precision-recall curve as average precision, a step function; the share of positives is
            what chance reaches.
        sensitivity_90: largest sensitivity at a specificity of at least 0.90 on these images.
        sensitivity_95: the same at 0.95.
        accuracy: share of right answers at the threshold.
        all_negative: what accuracy would be if the answer were always no.
        balanced_accuracy: mean of sensitivity and specificity at the threshold.
        sensitivity: share of positives found at the threshold.
        specificity: share of negatives cleared at the threshold.
        ece: expected calibration error in 15 bins of equal width.
        brier: mean squared error.
        log_loss: mean negative log-likelihood, probabilities held 1e-9 away from 0 and 1.
        slope: of the logistic recalibration; 1 is right, less too sure. NaN where the classes do not overlap.
        intercept: of the same line; 0 is right.
        intervals: of each measure by name, at 95 %; None where it cannot be given. Empty if none were asked for.
    """

    n: int
    positives: int
    skipped: int
    auroc: float
    auprc: float
    sensitivity_90: float
    sensitivity_95: float
    accuracy: float
    all_negative: float
    balanced_accuracy: float
    sensitivity: float
    specificity: float
    ece: float
    brier: float
    log_loss: float
    slope: float
    intercept: float
    intervals: Mapping[str, Interval | None] = field(default_factory=dict)


def measure(probs: ArrayLike, labels: ArrayLike, threshold: float = 0.5) -> Measures:
    """Measure one finding.

    Args:
        probs: ``[n]`` in [0, 1].
        labels: ``[n]`` of 1, 0, NaN (left out).
        threshold: probability from which the answer is yes, chosen on other images; NaN where there is none.

    Raises:
        InputError: shapes differ or a probability is outside [0, 1].
        LabelError: a label is none of 1, 0 and NaN.
    """
    known, truth = known_pairs(probs, labels)
    values = _Weighable(known[np.newaxis], truth, np.array([threshold])).values[0]
    return _record(np.size(labels), truth, values)


def measure_seeds(
    probs: ArrayLike,
    labels: ArrayLike,
    thresholds: ArrayLike,
    patients: Patients,
    replicates: int = 2000,
    seed: int = 0,
) -> Measures:
    """Measure one finding over training seeds; intervals from replicates that draw patients and seeds.

    Replicates of slope and intercept take one step of Newton's method from the fit of all images (Moulton and Zeger,
    Computational Statistics & Data Analysis 11, 1991); the specificities of 0.90 and 0.95 are found anew in each.

    Args:
        probs: ``[S, n]`` in [0, 1], a row for each seed.
        labels: ``[n]`` of 1, 0, NaN (left out).
        thresholds: ``[S]``, each chosen on other images; NaN where there is none.
        patients: ``[n]`` patient of each image, by name or by ``number_by_name``.
        replicates: bootstrap replicates.
        seed: of the bootstrap.

    Returns:
        Means over the seeds, with intervals.

    Raises:
        InputError: shapes disagree or a probability is outside [0, 1].
        LabelError: a label is none of 1, 0 and NaN.
    """
    truth = np.asarray(labels, dtype=np.float64)
    arm = _prepare(probs, truth, thresholds, len(patients))
    return _measure(arm, truth, Draws(_owners(patients, truth), replicates, seed))[1]


def measure_each(
    probs: ArrayLike, labels: ArrayLike, thresholds: ArrayLike, draws: Draws | None = None
) -> tuple[list[Measures], Measures]:
    """Measure one finding seed by seed, without intervals, and over the seeds, as :func:`measure_seeds`.

    What a seed's answers need is worked out once for both.

    Args:
        probs: ``[S, n]`` in [0, 1], a row for each seed.
        labels: ``[n]`` of 1, 0, NaN (left out).
        thresholds: ``[S]``, each chosen on other images; NaN where there is none.
        draws: what the bootstrap draws of the images whose label is known; None for no intervals.

    Returns:
        The measures of each seed, and their means with intervals.

    Raises:
        InputError: shapes disagree or a probability is outside [0, 1].
        LabelError: a label is none of 1, 0 and NaN.
    """
    truth = np.asarray(labels, dtype=np.float64)
    return _measure(_prepare(probs, truth, thresholds, len(truth)), truth, draws)


def _measure(arm: _Weighable, truth: Floats, draws: Draws | None) -> tuple[list[Measures], Measures]:
    known, mean = truth[~np.isnan(truth)], np.mean(arm.values, axis=0)
    each = [_record(len(truth), known, value, dict.fromkeys(NAMES)) for value in arm.values]
    return each, _record(len(truth), known, mean, _intervals(mean, _replicate(arm, draws)))


def measure_change(
    probs_a: ArrayLike,
    thresholds_a: ArrayLike,
    probs_b: ArrayLike,
    thresholds_b: ArrayLike,
    labels: ArrayLike,
    patients: Patients,
    replicates: int = 2000,
    seed: int = 0,
) -> dict[str, tuple[float, Interval | None]]:
    """Change of every measure from arm b to arm a; both see the same drawn patients and seeds.

    Args:
        probs_a: ``[S, n]`` in [0, 1] of the arm in question; row s of both arms is the same training seed.
        thresholds_a: ``[S]``, each chosen on other images.
        probs_b: of the reference, likewise.
        thresholds_b: likewise.
        labels: ``[n]`` of 1, 0, NaN (left out).
        patients: ``[n]`` patient of each image.
        replicates: bootstrap replicates.
        seed: of the bootstrap.

    Returns:
        Measure to the difference a - b and its 95 % interval, as for :func:`measure_seeds`.

    Raises:
        InputError: shapes disagree or a probability is outside [0, 1].
        LabelError: a label is none of 1, 0 and NaN.
    """
    truth = np.asarray(labels, dtype=np.float64)
    sides = ((probs_a, truth, thresholds_a), (probs_b, truth, thresholds_b))
    ours, theirs = (_prepare(*side, len(patients)) for side in sides)
    draws = Draws(_owners(patients, truth), replicates, seed)
    values = np.mean(ours.values, axis=0) - np.mean(theirs.values, axis=0)
    intervals = _intervals(values, _replicate(ours, draws) - _replicate(theirs, draws))
    return {name: (float(value), intervals[name]) for name, value in zip(NAMES, values, strict=True)}


def _prepare(probs: ArrayLike, truth: Floats, thresholds: ArrayLike, patients: int) -> _Weighable:
    """Check an arm's answers."""
    table, cuts = (np.asarray(values, dtype=np.float64) for values in (probs, thresholds))
    fits = table.ndim == 2 and cuts.shape == table.shape[:1] and truth.shape == table.shape[1:] == (patients,)
    if not fits or not len(table):
        found = f"{table.shape}, {cuts.shape}, {truth.shape}, {patients} patients"
        raise InputError("measures", "probs [S, n] must fit labels [n], thresholds [S] and patients", found)
    pairs = [known_pairs(row, truth) for row in table]
    return _Weighable(np.stack([known for known, _ in pairs]), pairs[0][1], cuts)


def _owners(patients: Patients, truth: Floats) -> Patients:
    """Patients of the images whose label is known."""
    if isinstance(patients, np.ndarray):
        return patients[~np.isnan(truth)]
    return [str(patient) for patient, label in zip(patients, truth, strict=True) if not math.isnan(label)]


def _intervals(values: Floats, drawn: Floats) -> dict[str, Interval | None]:
    return {
        name: percentile_interval(samples) if math.isfinite(value) else None
        for name, value, samples in zip(NAMES, values, drawn, strict=True)
    }


def measure_groups(
    probs: ArrayLike, labels: ArrayLike, groups: Sequence[str], threshold: float = 0.5
) -> dict[str, Measures]:
    """Measure one finding in each subgroup, such as sex, age band or view.

    Args:
        probs: ``[n]`` in [0, 1].
        labels: ``[n]`` of 1, 0, NaN (left out).
        groups: ``[n]`` name of each image's subgroup.
        threshold: as for :func:`measure`, the same for all.

    Returns:
        Subgroup to its measures, in the order of names.

    Raises:
        InputError: shapes differ or a probability is outside [0, 1].
        LabelError: a label is none of 1, 0 and NaN.
    """
    table, truth, names = np.asarray(probs), np.asarray(labels), np.asarray(groups, dtype=str)
    if names.shape != truth.shape:
        raise InputError("groups", "there must be one for each label", f"{names.shape} and {truth.shape}")
    known_pairs(table, truth)
    return {str(name): measure(table[names == name], truth[names == name], threshold) for name in np.unique(names)}


class _Weighable:
    """What networks answered of one finding, prepared so that a set of image weights costs sums only.

    Args:
        probs: ``[S, n]``, a row a network.
        truth: ``[n]`` of 1, 0.
        thresholds: ``[S]``.
    """

    def __init__(self, probs: Floats, truth: Floats, thresholds: Floats) -> None:
        odds, cuts = log_odds(probs), thresholds[:, np.newaxis]
        self.ladders = [Ladder(row, truth) for row in probs]
        self.lines = recalibrate_rows(odds, truth)  # [S, 2]
        right = np.where(np.isnan(cuts), math.nan, (probs >= cuts) == (truth == 1))
        loss = np.logaddexp(0.0, (1 - 2 * truth) * odds)
        error, mean = probs - truth, 1 / (1 + np.exp(-(self.lines[:, :1] + self.lines[:, 1:] * odds)))
        steep, miss = mean * (1 - mean), truth - mean
        plain = [np.ones_like(probs), np.broadcast_to(truth, probs.shape), right * truth, right * (1 - truth)]
        newton = [miss, miss * odds, steep, steep * odds, steep * odds**2]
        rows, images = np.indices(probs.shape)
        bins = np.zeros((len(probs), _BINS, len(truth)))
        bins[rows, place_in_bins(probs, _BINS), images] = error
        columns = np.stack([*plain, error**2, loss, *newton], axis=1)
        self.sums = np.concatenate([columns, bins], axis=1)  # [S, 6 + 5 + bins, n]

    @cached_property
    def values(self) -> Floats:
        """Every measure ``[S, len(NAMES)]`` on the images as they are."""
        sums = self.sums @ np.ones((self.sums.shape[2], 1))
        return self._weighed(sums, [one.plain for one in self.ladders])[..., 0]

    def weigh(self, weights: Floats) -> Floats:
        """Every measure ``[S, len(NAMES), b]`` under the image weights ``[n, b]``."""
        return self._weighed(self.sums @ weights, [one.weigh(weights) for one in self.ladders])

    def _weighed(self, sums: Floats, ladders: Sequence[Weighed]) -> Floats:
        total, positive, found, cleared, square, loss = np.moveaxis(sums[:, :6], 1, 0)  # [S, b] each
        negative = total - positive
        ranks = [[one.areas, one.precisions, *map(one.sensitivities, (0.90, 0.95))] for one in ladders]
        slope, intercept = self._recalibrated(np.moveaxis(sums[:, 6:11], 1, 0), positive * negative > 0)
        measures = [
            ratio(found + cleared, total),
            ratio(negative, total),
            (ratio(found, positive) + ratio(cleared, negative)) / 2,
            ratio(found, positive),
            ratio(cleared, negative),
            ratio(np.abs(sums[:, 11:]).sum(axis=1), total),
            ratio(square, total),
            ratio(loss, total),
            slope,
            intercept,
        ]
        return np.concatenate([np.array(ranks), np.stack(measures, axis=1)], axis=1)

    def _recalibrated(self, sums: Floats, usable: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Slopes and intercepts ``[S, b]`` one Newton step from the lines of all images."""
        miss, tilt, h00, h01, h11 = sums
        determinant = np.where(usable, h00 * h11 - h01**2, 0)
        intercept = self.lines[:, :1] + ratio(h11 * miss - h01 * tilt, determinant)
        return self.lines[:, 1:] + ratio(h00 * tilt - h01 * miss, determinant), intercept


def _replicate(arm: _Weighable, draws: Draws | None) -> Floats:
    """Every measure's replicates ``[len(NAMES), B]``, the mean over the seeds drawn; none without images."""
    if draws is None or not len(draws.patients) or not draws.replicates:
        return np.empty((len(NAMES), 0))
    samples = np.concatenate([arm.weigh(weights) for _, weights in draws.blocks()], axis=-1)  # [S, measures, B]
    mean: Floats = np.einsum("smb,bs->mb", samples, draws.seeds(len(samples)))
    return mean


def _record(
    images: int, truth: Floats, values: Floats, intervals: Mapping[str, Interval | None] | None = None
) -> Measures:
    return Measures(
        n=len(truth),
        positives=int((truth == 1).sum()),
        skipped=images - len(truth),
        **dict(zip(NAMES, map(float, values), strict=True)),
        intervals=dict(intervals or {}),
    )
