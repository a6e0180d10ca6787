"""The bootstrap over patients and seeds: what is drawn, and what is read from the replicates."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_cxraug.errors import ConfigError, InputError

#: a result is withheld when a larger share of the replicates than this could not be computed (is NaN).
MAX_UNDEFINED = 0.10
#: weights drawn at once where the caller does not say.
_BLOCK = 1_000_000
#: times a patient can be drawn, as :class:`Draws` keeps it.
_MOST: Final = 255


#: names, or numbers in the order of the names (:func:`number_by_name`), which are compared faster.
Patients = Sequence[str] | NDArray[np.integer[Any]]


def number_by_name(patients: Patients) -> NDArray[np.intp]:
    """Number patients in the order of their names: in place of the names the numbers give equal results, faster.

    Args:
        patients: ``[n]`` patient of each image.

    Returns:
        ``[n]`` number of each image's patient, from 0.
    """
    found = patients if isinstance(patients, np.ndarray) else np.asarray(patients, dtype=str)
    numbers: NDArray[np.intp] = np.unique(found, return_inverse=True)[1].reshape(-1)
    return numbers


def patient_weights(patients: Patients, replicates: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """Draw patients with replacement, every image of a patient going with them (Field and Welsh, JRSS B 69, 2007).

    Images of one patient resemble each other, so images are not exchangeable but patients are. Patients are drawn in
    the order of their sorted names: the order of the images changes nothing.

    Args:
        patients: ``[n]`` patient of each image.
        replicates: number of draws ``B``.
        rng: source of randomness; it is advanced.

    Returns:
        ``[B, n]`` how many times each image is drawn. Rows sum to n only when patients have equally many images.

    Raises:
        ConfigError: fewer than one replicate.
        InputError: no images.
    """
    return next(patient_weight_blocks(patients, replicates, rng, replicates))


def patient_weight_blocks(
    patients: Patients, replicates: int, rng: np.random.Generator, block: int | None = None
) -> Iterator[NDArray[np.int32]]:
    """Draw what :func:`patient_weights` draws, some replicates at a time: memory does not grow with their number.

    Args:
        patients: ``[n]`` patient of each image.
        replicates: number of draws ``B``.
        rng: source of randomness; it is advanced as the blocks are taken.
        block: replicates in a block; None for blocks of 4 MB.

    Yields:
        ``[b, n]``; all together the rows of :func:`patient_weights`.

    Raises:
        ConfigError: fewer than one replicate.
        InputError: no images.
    """
    owner = _owners(patients, replicates)
    for counts in _patient_counts(owner, replicates, rng, block):
        yield counts.astype(np.int32)[:, owner]


def _owners(patients: Patients, replicates: int) -> NDArray[np.intp]:
    if replicates < 1:
        raise ConfigError("bootstrap replicates", "must be at least 1", replicates)
    if len(patients) == 0:
        raise InputError("bootstrap patients", "at least one image is needed", "none")
    return number_by_name(patients)


def _patient_counts(
    owner: NDArray[np.intp], replicates: int, rng: np.random.Generator, block: int | None = None
) -> Iterator[NDArray[np.int64]]:
    """How many times each patient is drawn, ``[b, P]``, some replicates at a time."""
    count, step = int(owner.max()) + 1, block or max(1, _BLOCK // len(owner))
    for start in range(0, replicates, step):
        yield rng.multinomial(count, np.full(count, 1 / count), size=min(step, replicates - start))


class Draws:
    """What :func:`patient_weights` and then :func:`seed_weights` draw, kept for all that answered on the same images.

    Nothing is drawn before it is asked for; a byte is kept for each patient and replicate.

    Args:
        patients: ``[n]`` patient of each image.
        replicates: number of draws ``B``; 0 where none will be asked for.
        seed: of the generator that draws.
    """

    def __init__(self, patients: Patients, replicates: int, seed: int = 0) -> None:
        self.patients, self.replicates, self.seed = patients, replicates, seed

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Give some replicates at a time: which they are, and the weights of the images ``[n, b]``.

        Raises:
            ConfigError: there are no replicates.
            InputError: there are no images.
        """
        owner, counts, _ = self._drawn
        step = max(1, _BLOCK // len(owner))
        for start in range(0, self.replicates, step):
            part = slice(start, start + step)
            yield part, counts[owner, part].astype(np.float64)

    def seeds(self, count: int) -> NDArray[np.float64]:
        """Weights ``[B, S]`` of so many training seeds, the same whenever they are asked for."""
        return seed_weights(count, self.replicates, copy.deepcopy(self._drawn[2]))

    @cached_property
    def _drawn(self) -> tuple[NDArray[np.intp], NDArray[np.uint8], np.random.Generator]:
        """Number of each image's patient, how many times each patient is drawn ``[P, B]``, the generator afterwards."""
        owner, rng = _owners(self.patients, self.replicates), np.random.default_rng(self.seed)
        counts = [_kept(block) for block in _patient_counts(owner, self.replicates, rng)]
        return owner, np.ascontiguousarray(np.concatenate(counts).T), rng


def _kept(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """In a byte each: of n patients one is drawn more than 255 times once in 10^500 draws, whatever n is."""
    return np.minimum(counts, _MOST).astype(np.uint8)


def seed_weights(seeds: int, replicates: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw training seeds with replacement.

    With few seeds this understates their spread (by the factor (S - 1)/S in variance), and with one seed it cannot
    show it at all: the interval then holds for that seed's networks only.

    Args:
        seeds: number of seeds ``S``.
        replicates: number of draws ``B``.
        rng: source of randomness; it is advanced, except when ``seeds`` is 1.

    Returns:
        ``[B, S]`` weights of the seeds, each row summing to 1.
    """
    if seeds == 1:
        return np.ones((replicates, 1))
    return rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=replicates) / seeds


def percentile_interval(samples: ArrayLike, level: float = 0.95) -> tuple[float, float] | None:
    """Central percentile interval of bootstrap replicates (Efron, Annals of Statistics 7, 1979).

    Args:
        samples: ``[B]`` replicates; NaN where a replicate had no value (for example, no positive patient drawn).
        level: coverage aimed at, in (0, 1).

    Returns:
        Lower and upper end; None when more than a tenth of the replicates are NaN (two or fewer patients carry a
        class), or when the others are fewer than ``2 / (1 - level)``, 40 at 95 %, which cannot resolve the tails.

    Raises:
        ConfigError: the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ConfigError("interval level", "must be between 0 and 1", level, "write 0.95 for 95 %")
    finite = _usable(samples)
    if finite is None or len(finite) * (1 - level) < 2 - 1e-9:
        return None
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_p(samples: ArrayLike) -> float:
    """Two-sided p-value of "the difference is zero" from bootstrap replicates of the difference.

    It is ``2 * min(1 + #{d <= 0}, 1 + #{d >= 0}) / (B + 1)``, at most 1: the smallest level whose percentile
    interval touches zero, with the observation counted among the replicates so that it is never 0 (Davison and
    Hinkley, Bootstrap Methods and their Application, 1997, section 4.4).

    Args:
        samples: ``[B]`` replicates of a difference; NaN replicates are left out of both counts and B.

    Returns:
        p in (0, 1]; NaN when more than a tenth of the replicates are NaN, as for ``percentile_interval``.
    """
    finite = _usable(samples)
    if finite is None:
        return float("nan")
    tail = 1 + min(int((finite <= 0).sum()), int((finite >= 0).sum()))
    return min(1.0, 2 * tail / (len(finite) + 1))


def _usable(samples: ArrayLike) -> NDArray[np.float64] | None:
    values = np.asarray(samples, dtype=np.float64)
    finite = values[np.isfinite(values)]
    return finite if len(finite) and len(finite) >= (1 - MAX_UNDEFINED) * len(values) else None
