"""AUROC of an arm, and the paired difference of two, with intervals over patients and seeds.

``docs/decisions/0012-the-interval-behind-a-verdict.md`` says why the verdict goes by these intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import chdtri, stdtr, stdtrit

from monai_cxraug.errors import InputError
from monai_cxraug.metrics.auroc import Floats
from monai_cxraug.metrics.multiplicity import holm
from monai_cxraug.metrics.panel import Judged, Panel, contrast
from monai_cxraug.metrics.power import detectable_effect, hanley_mcneil
from monai_cxraug.metrics.resampling import Patients, percentile_interval

__all__ = ["Difference", "Estimate", "Spread", "compare", "compare_arms", "estimate", "estimate_arm", "holm"]

Interval = tuple[float, float]

#: with fewer patients of a class than this nothing can be said about the spread.
LEAST_PATIENTS: Final = 3
_UPPER: Final = 0.975


@dataclass(frozen=True)
class Estimate:
    """AUROC of one arm.

    Attributes:
        auroc: mean over seeds (and findings, for a macro mean) in [0, 1]; NaN when no finding has both classes.
        interval: 95 % interval over patients and seeds, or None where fewer than three patients hold a class.
        n: images whose label is known (for a macro mean: for any finding in the mean).
        positives: positive labels among them, over all findings in the mean.
        patients: patients these images come from.
        left_out: columns of a macro mean without both classes, which the mean does not contain.
        skipped: unknown labels, over all findings in the mean.
        standard_error: of ``auroc``; NaN where there is no interval.
        dof: degrees of freedom of the standard error.
        bootstrap_interval: 95 % percentile interval, patients and seeds drawn; None when it was not asked for or
            cannot be given (see ``percentile_interval``).
    """

    auroc: float
    interval: Interval | None
    n: int
    positives: int
    patients: int
    left_out: tuple[int, ...] = ()
    skipped: int = 0
    standard_error: float = math.nan
    dof: float = math.nan
    bootstrap_interval: Interval | None = None

    def record(self) -> dict[str, Any]:
        """Fields for a JSON file, NaN as None."""
        return _record(self.__dict__)


@dataclass(frozen=True)
class Difference:
    """AUROC of arm a less that of arm b, on the same patients and seeds.

    Attributes:
        difference: mean over seeds (and findings) in [-1, 1]; NaN when no finding has both classes.
        interval: 95 % interval over patients and seeds; with one seed it holds for these networks only. None where
            fewer than three patients hold a class.
        p: two-sided p-value in [0, 1], not adjusted; NaN where there is no interval. Below 0.05 exactly where the
            interval leaves out zero.
        n: images whose label is known, as in ``Estimate``.
        positives: positive labels among them.
        left_out: columns of a macro mean without both classes.
        skipped: unknown labels, over all findings in the mean.
        standard_error: of ``difference``; NaN where there is no interval.
        dof: degrees of freedom of the standard error.
        detectable: true difference that is found in 80 of 100 repetitions at 5 %, two-sided, if the spread is as
            estimated here; above 1 where none is. A null result speaks only about differences of this size or more.
        bootstrap_interval: 95 % percentile interval, as in ``Estimate``.
    """

    difference: float
    interval: Interval | None
    p: float
    n: int
    positives: int
    left_out: tuple[int, ...] = ()
    skipped: int = 0
    standard_error: float = math.nan
    dof: float = math.nan
    detectable: float = math.nan
    bootstrap_interval: Interval | None = None

    def record(self) -> dict[str, Any]:
        """Fields for a JSON file, NaN as None."""
        return _record(self.__dict__)


@dataclass(frozen=True)
class Spread:
    """How far a mean over seeds would move with other patients and other seeds.

    Attributes:
        standard_error: of the mean.
        dof: degrees of freedom of the standard error; NaN where it is 0.
        detectable: what a repetition finds with a power of 80 %. A variance over few seeds is more often too small than
            too large. Here it is taken so that it is as often the one as the other, and is at least what the images by
            themselves make of it: seeds that fall close together by luck promise nothing to the next run.
    """

    standard_error: float
    dof: float
    detectable: float

    @classmethod
    def over_patients_and_seeds(cls, values: Floats, parts: Floats) -> Spread:
        """Combine the seeds, each a reader of the same images (Obuchowski and Rockette 1995; Hillis 2007).

        ``Var(mean) = C + M / S``: C is the covariance of two seeds' values, that is what the patients do to all seeds
        alike, never below 0; M is the sample variance of the values over seeds, which holds what the seeds and what
        the images do to each network on its own. Degrees of freedom by Satterthwaite, M with S - 1 of its own. For
        them alone M is averaged with what the images by themselves would make of it, given the weight of one more
        seed: three seeds that fall close together by luck do not make their spread well known.

        Args:
            values: ``[S]`` AUROC, difference or macro mean of each seed.
            parts: ``[3, P, S]`` influence of the patients on them (``Influence.parts``).

        Returns:
            The spread; for one seed that over patients alone.
        """
        seeds = len(values)
        own = float(np.einsum("rps,rps->", parts, parts)) / seeds
        pulls = np.einsum("rps->rp", parts) / seeds
        size = float((pulls**2).sum())
        if not size > 0:
            pulls = np.ones((1, 1))  # no patient pulls: the degrees of freedom of nothing
        if seeds == 1:
            error, dof = math.sqrt(size), _patient_dof(pulls)
            return cls(error, dof, detectable_effect(error, dof)) if error else cls(0.0, math.nan, math.nan)
        shared = max(0.0, (seeds * size - own) / (seeds - 1))
        between, images = float(values.var(ddof=1)), max(0.0, own - shared)
        if not shared + between > 0:
            return cls(0.0, math.nan, math.nan)
        freedom = _Freedom(shared, _patient_dof(pulls), seeds)
        most = max(between * (seeds - 1) / float(chdtri(seeds - 1, 0.5)), images)
        detectable = detectable_effect(math.sqrt(shared + most / seeds), freedom.dof(most))
        steadied = ((seeds - 1) * between + images) / seeds
        return cls(math.sqrt(shared + between / seeds), freedom.dof(steadied), detectable)

    def half_width(self) -> float:
        """Half the width of the 95 % interval."""
        return float(stdtrit(self.dof, _UPPER)) * self.standard_error if self.standard_error else 0.0

    def p(self, value: float) -> float:
        """Two-sided p-value of "the true value is 0"."""
        if self.standard_error:
            return float(2 * stdtr(self.dof, -abs(value) / self.standard_error))
        return 1.0 if value == 0 else math.nan


@dataclass(frozen=True)
class _Freedom:
    """Degrees of freedom of ``shared + between / S`` (Satterthwaite 1946)."""

    shared: float
    patients: float  # degrees of freedom of the shared part
    seeds: int

    def dof(self, between: float) -> float:
        part = between / self.seeds
        doubt = self.shared**2 / self.patients + part**2 / (self.seeds - 1)
        return (self.shared + part) ** 2 / doubt


def estimate(
    scores: ArrayLike, labels: ArrayLike, patients: Patients, replicates: int = 2000, seed: int = 0
) -> Estimate:
    """Estimate an arm's AUROC.

    The interval is symmetric in the log-odds of the area, so that it stays within [0, 1]. Where every pair is in order
    no spread can be seen, and the interval is Newcombe's (Statistics in Medicine 25, 2006), one image a patient.

    Args:
        scores: ``[S, n]``, a row for each training seed; or ``[S, n, K]`` for the macro mean over K findings.
        labels: ``[n]`` or ``[n, K]`` of 1, 0, NaN unknown.
        patients: ``[n]`` patient of each image, by name or by ``number_by_name``.
        replicates: bootstrap replicates, each of which draws patients and seeds with replacement; 0 for none.
        seed: of the bootstrap.

    Returns:
        The estimate. A macro mean leaves out findings without both classes and names them in ``left_out``; a
        replicate in which any remaining finding loses a class has no value, so that all average the same findings.

    Raises:
        InputError: shapes disagree or a score is not finite.
        LabelError: a label is none of 1, 0 and NaN.
    """
    return estimate_arm(Panel.build(labels, patients, replicates, seed).judge(scores), bootstrap=bool(replicates))


def estimate_arm(arm: Judged, bootstrap: bool = True) -> Estimate:
    """Estimate the AUROC of an arm that was judged, as :func:`estimate` does.

    Args:
        arm: the arm.
        bootstrap: whether the bootstrap's interval is wanted too.
    """
    panel, point, spread = arm.panel, float(arm.areas.mean()), _spread([arm], [1.0])
    return Estimate(
        auroc=point,
        interval=_area_interval(point, spread, arm.carriers) if spread else None,
        n=panel.n,
        positives=panel.positives,
        patients=panel.owners[1],
        left_out=panel.left_out,
        skipped=panel.skipped,
        standard_error=spread.standard_error if spread else math.nan,
        dof=spread.dof if spread else math.nan,
        bootstrap_interval=percentile_interval(arm.replicates) if bootstrap and panel.findings else None,
    )


def compare(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    labels: ArrayLike,
    patients: Patients,
    replicates: int = 2000,
    seed: int = 0,
) -> Difference:
    """Compare two arms on the same images, paired by patient and by seed.

    Args:
        scores_a: ``[S, n]`` or ``[S, n, K]`` of the arm in question; row s of both arms is the same training seed.
        scores_b: scores of the reference, same shape.
        labels: ``[n]`` or ``[n, K]`` of 1, 0, NaN unknown.
        patients: ``[n]`` patient of each image, by name or by ``number_by_name``.
        replicates: bootstrap replicates; both arms see the same drawn patients and seeds. 0 for none.
        seed: of the bootstrap.

    Returns:
        Difference a - b; the macro mean over findings, as in ``estimate``, when there are K.

    Raises:
        InputError: shapes disagree or a score is not finite.
        LabelError: a label is none of 1, 0 and NaN.
    """
    panel = Panel.build(labels, patients, replicates, seed)
    return compare_arms(panel.judge(scores_a), panel.judge(scores_b), bootstrap=bool(replicates))


def compare_arms(arm: Judged, reference: Judged, bootstrap: bool = True) -> Difference:
    """Compare two arms that one panel judged, as :func:`compare` does.

    Args:
        arm: the arm in question.
        reference: the other; row s of both is the same training seed.
        bootstrap: whether the bootstrap's interval is wanted too.

    Raises:
        InputError: they have not equally many seeds.
    """
    if arm.scores.shape != reference.scores.shape:
        found = f"{arm.scores.shape} and {reference.scores.shape}"
        raise InputError("comparison", "scores of both arms must fit each other, seed by seed", found)
    panel, difference = arm.panel, float(arm.areas.mean()) - float(reference.areas.mean())
    spread = _spread([arm, reference], [1.0, -1.0])
    p = spread.p(difference) if spread else math.nan
    if spread is None or math.isnan(p):
        interval = None
    else:
        half = spread.half_width()
        interval = max(-1.0, difference - half), min(1.0, difference + half)
    return Difference(
        difference=difference,
        interval=interval,
        p=p,
        n=panel.n,
        positives=panel.positives,
        left_out=panel.left_out,
        skipped=panel.skipped,
        standard_error=spread.standard_error if spread else math.nan,
        dof=spread.dof if spread else math.nan,
        detectable=spread.detectable if spread else math.nan,
        bootstrap_interval=percentile_interval(arm.replicates - reference.replicates)
        if bootstrap and panel.findings
        else None,
    )


def _spread(arms: Sequence[Judged], signs: Sequence[float]) -> Spread | None:
    """Spread of the signed sum of arms; None where too few patients hold a class of some finding."""
    if min(arms[0].carriers) < LEAST_PATIENTS:
        return None
    return Spread.over_patients_and_seeds(*contrast(arms, signs))


def _patient_dof(pulls: Floats) -> float:
    """Degrees of freedom of ``sum(pulls**2)`` (Satterthwaite 1946, every patient's square with one of its own).

    The square of a normal pull has three times its fourth power as mean, hence the 3; ``[3, P]`` parts of a patient
    belong together.
    """
    squares = (pulls**2).sum(axis=0)
    return float(3 * squares.sum() ** 2 / (squares**2).sum())


def _area_interval(area: float, spread: Spread, carriers: tuple[int, int]) -> Interval | None:
    room = area * (1 - area)
    if room > 0 and spread.standard_error > 0:
        odds, half = math.log(area / (1 - area)), spread.half_width() / room
        return _area(odds - half), _area(odds + half)
    if room > 0:
        return area, area
    edge = _lowest_area(*carriers)
    return (edge, 1.0) if area > 0.5 else (0.0, 1 - edge)


def _area(odds: float) -> float:
    return 0.5 * (1 + math.tanh(odds / 2))


def _lowest_area(positives: int, negatives: int) -> float:
    """Lowest true area that 1 is not too far from: ``1 - A = 1.96 sqrt(Var(A))`` with Hanley and McNeil's variance."""

    def miss(area: float) -> float:
        return (1 - area) ** 2 - 1.96**2 * hanley_mcneil(area, positives, negatives)

    return float(brentq(miss, 1e-6, 1 - 1e-9))


def _record(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in fields.items()}
