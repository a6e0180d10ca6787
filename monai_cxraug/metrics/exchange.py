"""The exchange rate: how many real images would have given plain training the AUROC that an arm has.

Plain training is done at several counts of real images, an arm at some of them. The curve of plain training is read
backwards: at the arm's AUROC it tells a number of real images. Where the arm had n of them and plain training needs m
for the same AUROC, what the arm adds is worth m - n real images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.metrics.auroc import Floats, check_labels
from monai_cxraug.metrics.comparison import LEAST_PATIENTS, Difference, Spread, compare
from monai_cxraug.metrics.delong import Influence, measure_influence, number_patients
from monai_cxraug.metrics.ranks import Ladder
from monai_cxraug.metrics.resampling import patient_weight_blocks, percentile_interval, seed_weights

#: scores ``[S, n]`` of an arm, a row for each training seed, by the number of real images that it was trained with.
Scores = Mapping[int, ArrayLike]
Side = Literal["below", "above"]

#: how far beyond the counts a place stands that lies beyond them: any distance does, as only its side is read.
_BEYOND: Final = 1.0
#: halvings of a stretch between two counts in search of the end of an interval: to a thousandth of it.
_HALVINGS: Final = 12
#: a place that lies nearer to a count than this is the count.
_ROUNDING: Final = 1e-9


@dataclass(frozen=True)
class Worth:
    """A number of real images, as far as the counts that were tried can tell it.

    Attributes:
        images: the number, not rounded; the count that it lies beyond where it lies beyond one.
        beyond: ``below`` the fewest or ``above`` the most real images that the reference was trained with; None
            where it lies between.
    """

    images: float
    beyond: Side | None = None


@dataclass(frozen=True)
class Rate:
    """What an arm is worth at one count.

    Attributes:
        real: real images that the arm had.
        auroc: of the arm, mean over seeds; NaN where a class is missing.
        equivalent: real images with which the reference reaches this AUROC; None where there is no exchange rate,
            because the reference's curve does not rise or a class is missing.
        interval: 95 % interval of ``equivalent`` over patients and seeds. It leaves out the arm's own count only where
            the paired comparison of arm and reference at that count leaves out 0. None where there is no exchange
            rate or fewer than three patients hold a class.
        bootstrap_interval: 95 % percentile interval, patients and seeds drawn; None where none was asked for or it
            cannot be given (see ``percentile_interval``).
    """

    real: int
    auroc: float
    equivalent: Worth | None = None
    interval: tuple[Worth, Worth] | None = None
    bootstrap_interval: tuple[Worth, Worth] | None = None

    @property
    def gain(self) -> float:
        """Equivalent over real images: 1 where the arm is worth nothing; NaN where there is no exchange rate."""
        return self.equivalent.images / self.real if self.equivalent else math.nan

    @property
    def more(self) -> float:
        """Equivalent less real images: 0 where the arm is worth nothing; NaN where there is no exchange rate."""
        return self.equivalent.images - self.real if self.equivalent else math.nan


@dataclass(frozen=True)
class Exchange:
    """Exchange rates of arms against one reference.

    Attributes:
        counts: real images that the reference was trained with, rising.
        aurocs: of the reference at these counts, means over seeds.
        curve: the same, made to rise; ``equivalent`` is read from it.
        rise: AUROC of the reference with the most real images less that with the fewest. Where its interval holds 0,
            more real images are not shown to help, and exchange rates say little.
        rates: arm to its rates, one a count, counts rising.
    """

    counts: tuple[int, ...]
    aurocs: tuple[float, ...]
    curve: tuple[float, ...]
    rise: Difference
    rates: dict[str, list[Rate]]

    @property
    def rises(self) -> bool:
        """Whether there is an exchange rate at all: the curve is higher at its end than at its beginning."""
        return self.curve[-1] > self.curve[0]


def exchange(
    reference: Scores,
    arms: Mapping[str, Scores],
    labels: ArrayLike,
    patients: Sequence[str],
    replicates: int = 2000,
    seed: int = 0,
) -> Exchange:
    """Estimate how many real images arms are worth at equal AUROC.

    The reference's AUROCs are made to rise with the count (:func:`isotonic`) and joined by straight lines over the
    logarithm of the count; :func:`reach` reads them backwards.

    The interval holds those numbers of images m that the comparison of :func:`~monai_cxraug.metrics.compare` does not
    refuse: the arm's AUROC less the reference's at m, which between two counts is the mean of its two, weighted as the
    straight line has it; same patients and same seeds throughout (Fieller, Journal of the Royal Statistical Society B
    16, 1954, in its idea). The curve is as it was measured there: made to rise, it would lie too close to itself.

    The bootstrap draws patients and seeds with replacement, the same ones for every arm and count of a replicate, and
    makes the curve rise anew in each. A replicate beyond the counts stays beyond them, and so may an interval's ends.

    Args:
        reference: scores of plain training, ``[S, n]`` at each of two or more counts.
        arms: name of an arm to its scores ``[S, n]`` at each count that it has; row s is the same seed everywhere.
        labels: ``[n]`` of 1, 0, NaN unknown (left out).
        patients: ``[n]`` patient of each image.
        replicates: bootstrap replicates; 0 for none.
        seed: of the bootstrap.

    Returns:
        The rates, and the curve that they are read from.

    Raises:
        InputError: fewer than two counts, shapes that disagree, or a score that is not finite.
        ConfigError: a count is not a whole number of at least 1.
        LabelError: a label is none of 1, 0 and NaN.
    """
    sample = _Sample.build([reference, *arms.values()], labels, patients)
    counts = tuple(sorted(reference))
    scale = _Scale(sample, counts, isotonic(sample.points[: len(counts)]))
    drawn = _Drawn.of(sample.replicates(replicates, seed), len(counts)) if replicates else None
    columns = iter(range(len(counts), len(sample.points)))
    return Exchange(
        counts=counts,
        aurocs=tuple(map(float, sample.points[: len(counts)])),
        curve=tuple(map(float, scale.curve)),
        rise=compare(reference[counts[-1]], reference[counts[0]], labels, patients, 0),
        rates={
            name: [scale.rate(next(columns), count, drawn) for count in sorted(scores)] for name, scores in arms.items()
        },
    )


def isotonic(values: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Fit what rises (or stays) to values, by least squares.

    The fit of the pool-adjacent-violators algorithm, in the form that needs no loop over the rows: at each place the
    largest, over the blocks' beginnings, of the smallest, over their ends, of the block's mean (Barlow, Bartholomew,
    Bremner and Brunk, Statistical Inference under Order Restrictions, 1972, section 1.2). What rises already stays as
    it is, to the last bit.

    Args:
        values: ``[..., C]``; a row with a NaN has NaN wherever the NaN may matter.
        weights: ``[C]`` positive weights of the places, or None for equal ones.

    Returns:
        ``[..., C]``.

    Raises:
        ConfigError: the weights are not C positive numbers.
    """
    given = np.asarray(values, dtype=np.float64)
    size = given.shape[-1]
    heavy = np.ones(size) if weights is None else np.asarray(weights, dtype=np.float64)
    if heavy.shape != (size,) or not (np.isfinite(heavy).all() and (heavy > 0).all()):
        raise ConfigError("isotonic weights", f"must be {size} positive numbers", heavy.tolist())
    fit = np.full(given.shape, -np.inf)
    for start in range(size):
        first, weight = given[..., start : start + 1], heavy[start:]
        # from the first value on, so that the mean of equal values is that value to the last bit
        means = first + np.cumsum((given[..., start:] - first) * weight, axis=-1) / np.cumsum(weight)
        lowest = np.minimum.accumulate(means[..., ::-1], axis=-1)[..., ::-1]
        fit[..., start:] = np.maximum(fit[..., start:], lowest)
    return fit


def reach(areas: ArrayLike, curve: ArrayLike, places: ArrayLike) -> Floats:
    """Read a rising curve backwards: the first place at which it reaches a value.

    A value that the curve has on a level stretch is reached at its left end. That is the fewest images that do: a
    curve that has come to rest credits nobody with more.

    Args:
        areas: ``[...]`` values.
        curve: ``[..., C]`` rising (or level) curves, or ``[C]`` one for all.
        places: ``[C]`` rising places of the curve's points, such as logarithms of counts.

    Returns:
        ``[...]`` places; ``places[0] - 1`` for values below the curve, ``places[-1] + 1`` for those above it, NaN where
        the value or its curve is NaN.
    """
    wanted, x = np.asarray(areas, dtype=np.float64), np.asarray(places, dtype=np.float64)
    rows = np.broadcast_to(np.asarray(curve, dtype=np.float64), (*wanted.shape, len(x)))
    after = (rows < wanted[..., np.newaxis]).sum(axis=-1)  # first point that is as high; C where none is
    right = np.clip(after, 1, len(x) - 1)
    low, high = (np.take_along_axis(rows, (right - k)[..., np.newaxis], -1)[..., 0] for k in (1, 0))
    share = np.divide(wanted - low, high - low, out=np.zeros(wanted.shape), where=high > low)
    found = np.where(share == 1, x[right], x[right - 1] + share * (x[right] - x[right - 1]))
    found = np.where(after == 0, np.where(wanted < rows[..., 0], x[0] - _BEYOND, x[0]), found)
    found = np.where(after == len(x), x[-1] + _BEYOND, found)
    return np.where(np.isnan(wanted) | np.isnan(rows).any(axis=-1), np.nan, found)


@dataclass(frozen=True)
class _Drawn:
    """Bootstrap replicates: areas of all columns, and the reference's curves."""

    areas: Floats  # [B, A]
    curves: Floats  # [B, C]

    @classmethod
    def of(cls, areas: Floats, counts: int) -> _Drawn:
        return cls(areas, isotonic(areas[:, :counts]))


@dataclass(frozen=True)
class _Scale:
    """The reference's counts; among the columns of a sample they are the first ones."""

    sample: _Sample
    counts: tuple[int, ...]
    curve: Floats  # [C]

    @cached_property
    def places(self) -> Floats:
        """Logarithms of the counts ``[C]``."""
        return np.log(np.array(self.counts, dtype=np.float64))

    def rate(self, column: int, count: int, drawn: _Drawn | None) -> Rate:
        """Rate of the arm in a column."""
        area = float(self.sample.points[column])
        place = float(reach(area, self.curve, self.places))
        if not self.curve[-1] > self.curve[0] or math.isnan(place):
            return Rate(count, area)
        ends = drawn and percentile_interval(reach(drawn.areas[:, column], drawn.curves, self.places))
        bootstrap = (self._worth(ends[0]), self._worth(ends[1])) if ends else None
        return Rate(count, area, self._worth(place), self._interval(column, place), bootstrap)

    def _worth(self, place: float) -> Worth:
        if place < self.places[0]:
            return Worth(float(self.counts[0]), "below")
        if place > self.places[-1]:
            return Worth(float(self.counts[-1]), "above")
        nearest = int(np.abs(self.places - place).argmin())
        at_count = abs(self.places[nearest] - place) < _ROUNDING
        return Worth(float(self.counts[nearest]) if at_count else math.exp(place))

    def _interval(self, column: int, place: float) -> tuple[Worth, Worth] | None:
        """Numbers of images that the comparison does not refuse, those between them, and the estimate."""
        at = [self._difference(column, k, 0.0) for k in range(len(self.counts))]
        not_above = [k for k, ends in enumerate(at) if ends and ends[0] <= 0]
        not_below = [k for k, ends in enumerate(at) if ends and ends[1] >= 0]
        if at[0] is None:
            return None
        low = self._end(column, not_above[0] - 1, 0) if not_above else self.places[-1] + _BEYOND
        high = self._end(column, not_below[-1], 1) if not_below else self.places[0] - _BEYOND
        return self._worth(min(low, place)), self._worth(max(high, place))

    def _end(self, column: int, stretch: int, side: int) -> float:
        """Where, between a count and the next, the comparison begins (side 0) or ceases (side 1) not to refuse."""
        if not 0 <= stretch < len(self.counts) - 1:
            return float(self.places[0] - _BEYOND if side == 0 else self.places[-1] + _BEYOND)
        left, right = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (left + right) / 2
            ends = self._difference(column, stretch, middle)
            inside = ends is not None and (ends[0] <= 0 if side == 0 else ends[1] >= 0)
            left, right = (left, middle) if inside == (side == 0) else (middle, right)
        share = right if side == 0 else left
        return float(self.places[stretch] + share * (self.places[stretch + 1] - self.places[stretch]))

    def _difference(self, column: int, stretch: int, share: float) -> tuple[float, float] | None:
        """Interval of the column's AUROC less the reference's at a share of the way from a count to the next."""
        weights = {column: 1.0, stretch: share - 1}
        return self.sample.contrast(weights | ({stretch + 1: -share} if share else {}))


@dataclass(frozen=True)
class _Sample:
    """Scores of all arms and counts, on the images whose label is known."""

    scores: Floats  # [A, S, m]
    labels: Floats  # [m]
    patients: list[str]  # [m]

    @classmethod
    def build(cls, arms: Sequence[Scores], labels: ArrayLike, patients: Sequence[str]) -> _Sample:
        truth = np.asarray(labels, dtype=np.float64)
        tables = [np.asarray(arm[count], dtype=np.float64) for arm in arms for count in sorted(arm)]
        _check_counts(arms)
        _check(tables, truth, patients)
        check_labels(truth)
        known = np.flatnonzero(~np.isnan(truth))
        return cls(np.stack(tables)[..., known], truth[known], [str(patients[int(k)]) for k in known])

    @cached_property
    def influence(self) -> Influence:
        """Areas ``[A * S]``, and how far each patient pulls them ``[3, P, A * S]``."""
        columns = np.concatenate(self.scores).T
        return measure_influence(columns, self.labels, *number_patients(self.patients))

    @cached_property
    def points(self) -> Floats:
        """AUROC ``[A]``, mean over seeds; NaN where a class is missing."""
        means: Floats = self.influence.areas.reshape(len(self.scores), -1).mean(axis=1)
        return means

    def contrast(self, weights: Mapping[int, float]) -> tuple[float, float] | None:
        """95 % interval of a weighted sum of columns; None where too few patients hold a class."""
        if min(self.influence.carriers) < LEAST_PATIENTS:
            return None
        seeds = self.scores.shape[1]
        areas = self.influence.areas.reshape(-1, seeds)
        parts = self.influence.parts.reshape(*self.influence.parts.shape[:2], -1, seeds)
        values = np.sum([weight * areas[k] for k, weight in weights.items()], axis=0)
        pulls = np.sum([weight * parts[:, :, k] for k, weight in weights.items()], axis=0)
        middle, half = float(values.mean()), Spread.over_patients_and_seeds(values, pulls).half_width()
        return middle - half, middle + half

    def replicates(self, count: int, seed: int) -> Floats:
        """AUROC ``[B, A]`` of each replicate; NaN where it lacks a class."""
        if not self.patients:
            return np.full((count, len(self.scores)), np.nan)
        rng = np.random.default_rng(seed)
        arms, seeds, images = self.scores.shape
        ladders = [Ladder(row, self.labels, merge=True) for row in self.scores.reshape(-1, images)]
        blocks = []
        for drawn in patient_weight_blocks(self.patients, count, rng):
            weights = np.ascontiguousarray(drawn.T, dtype=np.float64)
            blocks.append(np.stack([one.weigh(weights).areas for one in ladders]))
        areas = np.concatenate(blocks, axis=1).reshape(arms, seeds, count)
        mixed: Floats = np.einsum("asb,bs->ba", areas, seed_weights(seeds, count, rng))
        return mixed


def _check_counts(arms: Sequence[Scores]) -> None:
    for count in (count for arm in arms for count in arm):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ConfigError("exchange counts", "must be whole numbers of at least 1", repr(count))
    if len(arms[0]) < 2:
        rule = "the reference must have been trained with two or more counts of real images"
        raise InputError("exchange", rule, f"counts {sorted(arms[0])}", "an exchange rate is read from its curve")


def _check(tables: Sequence[Floats], labels: Floats, patients: Sequence[str]) -> None:
    first = tables[0].shape
    fits = all(table.shape == first for table in tables) and first[1:] == labels.shape and first[0] > 0
    if not fits or labels.ndim != 1 or len(patients) != len(labels):
        shapes = ", ".join(map(str, dict.fromkeys(table.shape for table in tables)))
        found = f"scores {shapes}, labels {labels.shape}, {len(patients)} patients"
        raise InputError("exchange", "scores must all be [S, n] with labels [n] and n patients", found)
    if not all(np.isfinite(table).all() for table in tables):
        raise InputError("exchange", "scores must be finite", "NaN or infinity", "did training diverge?")
