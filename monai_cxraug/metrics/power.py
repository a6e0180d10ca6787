"""How large a difference in AUROC must be to be found, before a run and after it. No torch in here."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import nctdtrinc, stdtrit

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.metrics.auroc import check_labels
from monai_cxraug.metrics.delong import number_patients

#: with fewer patients of a class than this no effect is promised before a run.
LEAST_PATIENTS: Final = 10
_LEVEL: Final = 0.05
_POWER: Final = 0.8


@dataclass(frozen=True)
class PlannedEffect:
    """What a comparison will be able to find.

    Attributes:
        effect: smallest true difference in AUROC that is found with the power asked for; None when not estimable.
        reason: why it is not estimable, in a few words; empty otherwise.
        positives: positive images, over all findings of a macro mean.
        positive_patients: patients with a positive image, of the finding that has the fewest.
    """

    effect: float | None
    reason: str
    positives: int
    positive_patients: int


@dataclass(frozen=True)
class Assumptions:
    """What has to be assumed about networks that are not trained yet.

    Args:
        auroc: of the reference, above 0.5 and below 1.
        correlation: of the two arms' AUROC when the test patients change, in [0, 1). Networks of one architecture that
            differ in their training set agree on which patients are hard.
        resemblance: correlation of the components of two images of one patient and one class, in [0, 1].
        seed_sd: standard deviation of the true AUROC of one arm's networks over training seeds, not below 0.
        shared: share of the test patients' part in the difference that is alike for all seeds, in [0, 1]: what an arm
            itself finds harder or easier, as against each network of it. The less, the fewer degrees of freedom.
    """

    auroc: float = 0.8
    correlation: float = 0.5
    resemblance: float = 0.5
    seed_sd: float = 0.01
    shared: float = 0.25

    def __post_init__(self) -> None:
        """Check the ranges."""
        _require("auroc", self.auroc, 0.5 < self.auroc < 1, "must lie between 0.5 and 1")
        _require("correlation", self.correlation, 0 <= self.correlation < 1, "must lie in [0, 1)")
        _require("resemblance", self.resemblance, 0 <= self.resemblance <= 1, "must lie in [0, 1]")
        _require("seed_sd", self.seed_sd, 0 <= self.seed_sd < 1, "must lie in [0, 1)")
        _require("shared", self.shared, 0 <= self.shared <= 1, "must lie in [0, 1]")


def detectable_effect(standard_error: float, dof: float, level: float = _LEVEL, power: float = _POWER) -> float:
    """Smallest true value that a two-sided t test finds with the power asked for.

    Args:
        standard_error: of the difference.
        dof: degrees of freedom of the standard error.
        level: of the test; divide by the number of comparisons for Bonferroni's, which Holm's never falls below.
        power: share of repetitions that find it, above the level.

    Returns:
        ``standard_error`` times the non-centrality at which ``P(T > t) = power``; the other side's share is not
        counted. NaN where ``dof`` is.
    """
    return standard_error * float(nctdtrinc(dof, 1 - power, stdtrit(dof, 1 - level / 2)))


def hanley_mcneil(auroc: float, positives: float, negatives: float) -> float:
    """Variance of an AUROC from its value and the numbers of images (Hanley and McNeil, Radiology 143, 1982, eq. 1).

    Args:
        auroc: true area in [0, 1].
        positives: independent positive images, or what they are worth.
        negatives: independent negative images.
    """
    above, below = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    pairs = (positives - 1) * (above - auroc**2) + (negatives - 1) * (below - auroc**2)
    return (auroc * (1 - auroc) + pairs) / (positives * negatives)


def planned_effect(
    labels: ArrayLike,
    patients: Sequence[Hashable],
    seeds: int,
    comparisons: int = 1,
    assumed: Assumptions | None = None,
    power: float = _POWER,
) -> PlannedEffect:
    """Smallest true difference between two arms that a run on these images will find, before it is run.

    One arm's variance is Hanley and McNeil's, its images counted less the more of them a patient has (design effect
    ``1 + (m - 1) resemblance``, with m the images of the patient whose image is drawn). The difference of two arms has
    ``2 (1 - correlation)`` times that. Seeds average out what they do not share of it, and what they themselves add;
    the degrees of freedom are those of :func:`monai_cxraug.metrics.compare`. For a macro mean the findings' standard
    errors are averaged, as if they moved together.

    Not estimable are: findings with fewer than ten patients of a class, and effects that not even a perfect arm has.

    Args:
        labels: ``[n]``, or ``[n, K]`` for the macro mean, of 1, 0, NaN unknown, of the images that are judged.
        patients: ``[n]`` patient of each image.
        seeds: training seeds of each arm; with one, the promise holds for the two networks, not for their recipes.
        comparisons: in the family that Holm's correction runs over; each is tested at 0.05 / comparisons here.
        assumed: default for the values of :class:`Assumptions`.
        power: share of repetitions that find it.

    Raises:
        InputError: shapes disagree.
        LabelError: a label is none of 1, 0 and NaN.
        ConfigError: fewer than one seed or comparison, or a power outside (0.05, 1).
    """
    _require("seeds", seeds, seeds >= 1, "must be at least 1")
    _require("comparisons", comparisons, comparisons >= 1, "must be at least 1")
    _require("power", power, _LEVEL < power < 1, f"must lie between {_LEVEL} and 1")
    assumed = assumed or Assumptions()
    counts = _count(labels, patients)
    positives = sum(sum(sick) for sick, _ in counts)
    carriers = [len(sick) for sick, _ in counts], [len(healthy) for _, healthy in counts]
    fewest = min(carriers[0]), min(carriers[1])
    for found, word in zip(fewest, ("positive", "negative"), strict=True):
        if found < LEAST_PATIENTS:
            reason = f"{found} patients with {word} images, {LEAST_PATIENTS} are needed"
            return PlannedEffect(None, reason, positives, fewest[0])
    error = float(np.mean([_error_of_one_seed(*count, assumed) for count in counts]))
    effect = _effect_of_seeds(error**2, seeds, min(fewest) - 1, assumed, _LEVEL / comparisons, power)
    if effect > 1 - assumed.auroc:
        reason = f"an effect of {effect:.2f} would be needed, and {assumed.auroc:g} leaves {1 - assumed.auroc:.2g}"
        return PlannedEffect(None, reason, positives, fewest[0])
    return PlannedEffect(effect, "", positives, fewest[0])


def _count(labels: ArrayLike, patients: Sequence[Hashable]) -> list[tuple[list[int], list[int]]]:
    """For each finding the images of every patient that has positive ones, and the same for negative ones."""
    table = np.asarray(labels, dtype=np.float64)
    if table.ndim not in (1, 2) or len(table) != len(patients) or not table.size:
        found = f"labels {table.shape}, {len(patients)} patients"
        raise InputError("planned effect", "labels [n] or [n, K] must fit patients, and not be empty", found)
    check_labels(table.ravel())
    owners, number = number_patients(patients)
    columns = table.reshape(len(table), -1).T
    images = [[np.bincount(owners[column == value], minlength=number) for value in (1, 0)] for column in columns]
    return [(sick[sick > 0].tolist(), healthy[healthy > 0].tolist()) for sick, healthy in images]


def _error_of_one_seed(sick: list[int], healthy: list[int], assumed: Assumptions) -> float:
    """Standard error of the difference of two networks over patients."""
    worth = (_independent(images, assumed.resemblance) for images in (sick, healthy))
    return math.sqrt(2 * (1 - assumed.correlation) * hanley_mcneil(assumed.auroc, *worth))


def _independent(images: list[int], resemblance: float) -> float:
    """How many independent images are worth as much (Kish, Survey Sampling, 1965, section 5.4)."""
    total = sum(images)
    met = sum(one**2 for one in images) / total
    return total / (1 + (met - 1) * resemblance)


def _effect_of_seeds(
    variance: float, seeds: int, patient_dof: int, assumed: Assumptions, level: float, power: float
) -> float:
    if seeds == 1:
        return detectable_effect(math.sqrt(variance), patient_dof, level, power)
    shared = variance * assumed.shared
    between = (variance - shared + 2 * assumed.seed_sd**2) / seeds
    dof = (shared + between) ** 2 / (shared**2 / patient_dof + between**2 / (seeds - 1))
    return detectable_effect(math.sqrt(shared + between), dof, level, power)


def _require(name: str, value: float, holds: bool, rule: str) -> None:
    if not holds:
        raise ConfigError(f"planned effect: {name}", rule, value)
