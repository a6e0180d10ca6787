"""The bootstrap where readers answer the same trials: both are samples, and both are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from monai_cxraug.errors import InputError
from monai_cxraug.metrics.resampling import patient_weights, percentile_interval

Floats = NDArray[np.float64]
#: weights of readers ``[B, R]`` and of trials ``[B, T]`` to what is wanted of each replicate, ``[B]`` or ``[B, K]``.
Statistic = Callable[[NDArray[Any], NDArray[Any]], Floats]


@dataclass(frozen=True)
class Replicates:
    """A statistic under draws of readers and patients, of readers alone, and of patients alone: ``[B]`` each.

    Args:
        both: readers and patients drawn.
        by_reader: readers drawn, all patients kept.
        by_patient: patients drawn, all readers kept.
        readers: how many there are.
        patients: how many there are.
    """

    both: Floats
    by_reader: Floats
    by_patient: Floats
    readers: int
    patients: int

    def map(self, change: Callable[[Floats], Floats]) -> Replicates:
        """Replicates of something made from these, for example of a difference."""
        both, by_reader, by_patient = (change(part) for part in (self.both, self.by_reader, self.by_patient))
        return Replicates(both, by_reader, by_patient, self.readers, self.patients)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the variance (Satterthwaite, Biometrics Bulletin 2, 1946, equation 17).

        ``(v + w)^2 / (v^2 / (R - 1) + w^2 / (P - 1))``, v and w being the variances over readers and over patients:
        near the number of readers when they make most of the spread, and near that of patients when those do.
        """
        v, w = _variance(self.by_reader), _variance(self.by_patient)
        spread = v**2 / max(1, self.readers - 1) + w**2 / max(1, self.patients - 1)
        return (v + w) ** 2 / spread if spread > 0 else float("inf")

    def interval(
        self, estimate: float, level: float = 0.95, least: float = 0.0, most: float = 1.0
    ) -> tuple[float, float] | None:
        """Percentile interval, widened about the estimate as few readers or patients demand.

        Both ends of the percentile interval are moved away from the estimate by the ratio of the quantiles of Student's
        and of the normal distribution (as Hesterberg, American Statistician 69, 2015, section 5.3, does by other
        percentiles, which a bootstrap of a few thousand cannot resolve).

        Args:
            estimate: of the statistic.
            level: coverage aimed at.
            least: end that the statistic cannot go below.
            most: end that it cannot exceed.

        Returns:
            Lower and upper end; None when more than a tenth of the replicates have no value.
        """
        ends = percentile_interval(self.both, level)
        if ends is None or not np.isfinite(estimate):
            return None
        share = (1 + level) / 2
        wider = 1.0 if np.isinf(self.freedom) else float(stdtrit(self.freedom, share) / ndtri(share))
        low, high = (estimate + wider * (end - estimate) for end in ends)
        return max(least, low), min(most, high)


def _variance(samples: Floats) -> float:
    known = samples[np.isfinite(samples)]
    return float(known.var()) if len(known) else 0.0


@dataclass(frozen=True)
class Crossed:
    """Weights of ``B`` replicates, whole numbers.

    Args:
        readers: ``[B, R]``.
        trials: ``[B, T]``.
        patients: how many there are.
    """

    readers: NDArray[np.int32]
    trials: NDArray[np.int32]
    patients: int

    def replicate(self, statistic: Statistic) -> Replicates:
        """Compute a statistic for readers and patients drawn together and apart."""
        all_readers, all_trials = np.ones_like(self.readers), np.ones_like(self.trials)
        return Replicates(
            both=statistic(self.readers, self.trials),
            by_reader=statistic(self.readers, all_trials),
            by_patient=statistic(all_readers, self.trials),
            readers=self.readers.shape[1],
            patients=self.patients,
        )


def crossed_weights(readers: int, patients: Sequence[str], replicates: int, rng: np.random.Generator) -> Crossed:
    """Draw readers with replacement and, independently, patients with all of their trials.

    This is the pigeonhole bootstrap (Owen, Annals of Applied Statistics 1, 2007): the variance between readers and that
    between patients are right, and what is left over is counted up to three times, so that intervals are too wide
    rather than too narrow. Of R readers R - 1 are drawn, which makes the variance of a mean over few readers unbiased
    (McCarthy and Snowden, Vital and Health Statistics 2(95), 1985). With one reader the spread among readers cannot be
    seen: an interval then is about new patients for that reader.

    Args:
        readers: number of readers ``R``.
        patients: ``[T]`` whose image each trial shows; trials of one patient go together.
        replicates: number of draws ``B``.
        rng: source of randomness; it is advanced.

    Raises:
        ConfigError: fewer than one replicate.
        InputError: no readers or no trials.
    """
    if readers < 1:
        raise InputError("bootstrap readers", "at least one reader is needed", readers)
    trials = patient_weights(patients, replicates, rng)
    drawn = rng.multinomial(max(1, readers - 1), np.full(readers, 1 / readers), size=replicates).astype(np.int32)
    return Crossed(drawn, trials, len(set(patients)))
