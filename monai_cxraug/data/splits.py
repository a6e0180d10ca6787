"""Patient-level splits, folds, nested fractions of the patients and nested limits of the images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

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
        labels: float32 ``[N, K]``, NaN unknown; of equally rare findings the first one is dealt first.
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
    assigned = _deal(counts, list(fractions.values()), np.random.default_rng(seed))
    names = list(fractions)
    return [names[assigned[patient]] for patient in member]


def fold_patients(patients: Sequence[str], labels: NDArray[np.float32], folds: int, seed: int) -> list[str]:
    """Deal images by patient to folds of equal size, every finding's positives spread evenly.

    Args:
        patients: patient of each image.
        labels: float32 ``[N, K]``, NaN unknown.
        folds: how many; at least 2 and at most one a patient.
        seed: of the order in which patients are dealt.

    Returns:
        The fold of each image, ``"0"`` to ``"<folds - 1>"``.

    Raises:
        ConfigError: there are too few or too many folds.
    """
    most = len(set(patients))
    if not 2 <= folds <= most:
        mend = f"give at most {most}" if most >= 2 else "folds need two patients of train or val"
        raise ConfigError("folds", "must be at least 2 and at most the number of patients", folds, mend)
    return split_patients(patients, labels, {str(fold): 1 / folds for fold in range(folds)}, seed)


def choose_fraction(patients: Iterable[str], fraction: float, seed: int) -> frozenset[str]:
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
    keys = sorted(dict.fromkeys(patients))  # in their order, so that sorted ones are sorted fast
    order = np.random.default_rng(seed).permutation(len(keys))
    return frozenset(map(keys.__getitem__, order[: max(1, round(fraction * len(keys)))].tolist()))


def choose_images(images: Sequence[str], patients: Sequence[str], most: int, seed: int) -> NDArray[np.bool_]:
    """Choose at most so many images, patient by patient; for one seed, a smaller choice is part of every larger one.

    Patients come in an order that the seed fixes, each with all its images before the next one: of the last patient
    there may be some only. An image without a patient counts as one of its own.

    Args:
        images: name of each image, each once; the order of the list is irrelevant.
        patients: patient of each image, or an empty text.
        most: number of images, at least 1; all are chosen where there are not as many.
        seed: of the order.

    Returns:
        ``[N]``, whether each image is chosen.

    Raises:
        ConfigError: the number is no whole number of at least 1.
    """
    if type(most) is not int or most < 1:
        raise ConfigError("limit", "must be a whole number of at least 1", repr(most), "mend the limit")
    owners = [(patient, "" if patient else image) for patient, image in zip(patients, images, strict=True)]
    keys = sorted(set(owners))
    places = np.random.default_rng(seed).permutation(len(keys))
    place = dict(zip(keys, places.tolist(), strict=True))
    order = sorted(range(len(images)), key=lambda row: (place[owners[row]], images[row]))
    chosen = np.zeros(len(images), dtype=bool)
    chosen[order[:most]] = True
    return chosen


def _deal(counts: NDArray[np.float64], shares: Sequence[float], rng: np.random.Generator) -> NDArray[np.int64]:
    """Deal units to splits, the rarest column of ``counts`` first."""
    totals = counts.sum(axis=0)
    wanted = [[total * share for total in totals.tolist()] for share in shares]
    assigned = np.full(len(counts), -1)
    order = rng.permutation(len(counts))
    while len(left := order[assigned[order] < 0]):
        carriers = (counts[left] > 0).sum(axis=0)
        finding = int(np.where(carriers > 0, carriers, np.inf).argmin())
        holders = left[counts[left, finding] > 0]
        # large patients first: small ones can still level the splits out
        holders = holders[np.argsort(-counts[holders, finding], kind="stable")]
        room = [max(share * totals[finding], 1e-9) for share in shares]
        assigned[holders] = [_place(unit, wanted, finding, room) for unit in counts[holders].tolist()]
    return assigned


def _place(unit: list[float], wanted: list[list[float]], finding: int, room: list[float]) -> int:
    """Choose the split that lacks most of a finding, of equal ones the emptiest, and take the unit off its needs."""
    choice = max(
        range(len(wanted)), key=lambda split: (wanted[split][finding] / room[split], wanted[split][-1], -split)
    )
    wanted[choice] = [need - count for need, count in zip(wanted[choice], unit, strict=True)]
    return choice


def _sum_by(member: NDArray[np.int64], values: NDArray[np.float64], groups: int) -> NDArray[np.float64]:
    total = np.zeros((groups, values.shape[1]))
    np.add.at(total, member, values)
    return total
