"""Patient-level splits and nested patient fractions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.errors import ConfigError


def split_patients(
    patients: Sequence[str], labels: NDArray[np.float32], fractions: Mapping[str, float], seed: int
) -> list[str]:
    """Split images by patient, spreading every finding's positives by the fractions.

    Iterative stratification (Sechidis et al., ECML 2011) with patients as the unit: the rarest finding still to
    be dealt is dealt first, each of its patients to the split that lacks most of it.

    Args:
        patients: patient of each image.
        labels: float32 ``[N, K]``, NaN unknown.
        fractions: split name to its share; the shares sum to 1.
        seed: of the order in which patients are dealt.

    Returns:
        The split of each image.

    Raises:
        ConfigError: the shares do not sum to 1.
    """
    if abs(sum(fractions.values()) - 1) > 1e-6 or min(fractions.values()) < 0:
        raise ConfigError("fractions", "shares must be positive and sum to 1", dict(fractions), "mend the shares")
    keys, member = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    positives = _sum_by(member, (labels == 1).astype(float), len(keys))
    sizes = np.bincount(member, minlength=len(keys)).astype(float)
    counts = np.column_stack([positives, sizes])  # the number of images is dealt last, like a finding all share
    assigned = _deal(counts, np.array(list(fractions.values())), np.random.default_rng(seed))
    names = list(fractions)
    return [names[assigned[patient]] for patient in member]


def choose_fraction(patients: Sequence[str], fraction: float, seed: int) -> frozenset[str]:
    """Choose a fraction of the patients; for one seed, a smaller fraction is part of every larger one.

    Args:
        patients: patients to choose from, repetitions allowed, order irrelevant.
        fraction: in (0, 1].
        seed: of the order.

    Returns:
        The chosen patients, at least one.

    Raises:
        ConfigError: the fraction is out of range.
    """
    if not 0 < fraction <= 1:
        raise ConfigError("fraction", "must be above 0 and at most 1", fraction, "mend the fraction")
    keys = sorted(set(patients))
    order = np.random.default_rng(seed).permutation(len(keys))
    return frozenset(keys[index] for index in order[: max(1, round(fraction * len(keys)))])


def _deal(counts: NDArray[np.float64], shares: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    wanted = counts.sum(axis=0)[None, :] * shares[:, None]
    assigned = np.full(len(counts), -1)
    order = rng.permutation(len(counts))
    while (assigned < 0).any():
        left = order[assigned[order] < 0]
        carriers = (counts[left] > 0).sum(axis=0)
        finding = int(np.where(carriers > 0, carriers, np.inf).argmin())
        # large patients first: small ones can still level the splits out
        holders = sorted(left[counts[left, finding] > 0], key=lambda patient: -counts[patient, finding])
        for patient in holders:
            need = wanted[:, finding] / np.maximum(shares * counts[:, finding].sum(), 1e-9)
            choice = int(np.lexsort((-wanted[:, -1], -need))[0])
            assigned[patient] = choice
            wanted[choice] -= counts[patient]
    return assigned


def _sum_by(member: NDArray[np.int64], values: NDArray[np.float64], groups: int) -> NDArray[np.float64]:
    total = np.zeros((groups, values.shape[1]))
    np.add.at(total, member, values)
    return total
