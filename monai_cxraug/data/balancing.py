"""Resampling against imbalance: orders in which rare findings are drawn more often, or common ones less.

Only training images may be resampled: repeated before the split, copies of one image would lie on both sides of it, and
a resampled validation or test set has another prevalence than the clinic. Each order therefore takes a data set and
refuses rows outside the training split.

An image belongs to a *class* for each finding that it is positive for, or to the class of images without any finding.
Of a single finding the two classes are present and absent. Images in no class (no finding present, some unknown) are
neither repeated nor dropped, and class-balanced batches leave them out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.errors import ConfigError, InputError, LeakageError

Rows = NDArray[np.int64]
#: the class of images without a finding.
NONE: Final = "none"
#: last word of the seeds, so that two kinds of resampling share no numbers.
_OVER, _UNDER, _BALANCED = 1, 2, 3


class LabelledRows(Protocol):
    """What resampling must know of a data set."""

    @property
    def findings(self) -> tuple[str, ...]:
        """Names behind the label vector, in order."""

    def label_matrix(self) -> NDArray[np.float32]:
        """Labels ``[N, K]`` of all samples in order: 1, 0, NaN unknown."""

    def splits(self) -> frozenset[str]:
        """Splits of the samples."""


class Balancing(ABC):
    """An order (see :class:`~monai_cxraug.data.samplers.Order`) made of the classes of a training set.

    Args:
        dataset: the training images, which include duplicates and synthetic ones where there are any.

    Attributes:
        classes: name to the rows of each class, of those that have any.

    Raises:
        LeakageError: some images are not of the training split.
        InputError: there is no image in any class, or only one class.
    """

    def __init__(self, dataset: LabelledRows) -> None:
        refuse_resampling(dataset, type(self).__name__)
        self._labels = dataset.label_matrix()
        self.length = len(self._labels)
        self.classes = label_classes(self._labels, dataset.findings)
        if len(self.classes) < 2:
            found = ", ".join(self.classes) or "none"
            raise InputError(type(self).__name__, "needs images of at least two classes", found, "check the labels")

    @abstractmethod
    def __len__(self) -> int:
        """Number of draws in a pass."""

    @abstractmethod
    def rows(self, seed: int, epoch: int) -> Rows:
        """The rows of a pass in the order in which they are drawn."""

    def counts(self, seed: int = 0, epoch: int = 0) -> dict[str, int]:
        """Count the draws of each class in a pass."""
        drawn = np.bincount(self.rows(seed, epoch), minlength=self.length)
        return {name: int(drawn[rows].sum()) for name, rows in self.classes.items()}

    def prior(self) -> list[float]:
        """Share of each finding's positives among the known labels drawn in a pass, half an image added to both sides.

        A network that starts at these shares need not first learn how rare a finding is; see ``PackRows.prior``.
        """
        drawn = self._labels[self.rows(0, 0)]
        present, absent = (drawn == 1).sum(axis=0), (drawn == 0).sum(axis=0)
        return [float(share) for share in (present + 0.5) / (present + absent + 1)]

    def _membership(self) -> NDArray[np.bool_]:
        """Rows times classes."""
        member = np.zeros((self.length, len(self.classes)), dtype=bool)
        for k, rows in enumerate(self.classes.values()):
            member[rows, k] = True
        return member


def refuse_resampling(dataset: LabelledRows, where: str) -> None:
    """Refuse to resample anything but training images."""
    if strangers := sorted(dataset.splits() - {"train"}):
        rule = "only training images may be resampled, after the split"
        raise LeakageError(where, rule, f"images of split {strangers[0]!r}", "choose split 'train'")


def take_turns(groups: Sequence[Rows], turns: int, rng: np.random.Generator) -> Rows:
    """Draw from each group in turn; within a group every row as often as any other, give or take one.

    Args:
        groups: rows, at least one in each.
        turns: draws from each group.
        rng: of the order within the groups.

    Returns:
        ``[turns * len(groups)]`` rows.
    """
    columns = []
    for rows in groups:
        shuffles = [rng.permutation(rows) for _ in range(-(-turns // len(rows)))]
        columns.append(np.concatenate(shuffles)[:turns])
    return np.stack(columns, axis=1).ravel()


def label_classes(labels: NDArray[np.float32], findings: Sequence[str]) -> dict[str, Rows]:
    """Rows of each finding's positives, and of the images without any; classes without an image are left out.

    Args:
        labels: ``[N, K]`` of 1, 0, NaN.
        findings: names of the K columns.

    Returns:
        Class to rows; the class :data:`NONE` holds the rows whose labels are all 0.
    """
    named = {name: np.flatnonzero(labels[:, k] == 1) for k, name in enumerate(findings)}
    named[NONE] = np.flatnonzero((labels == 0).all(axis=1))
    return {name: rows for name, rows in named.items() if len(rows)}


class OverSampling(Balancing):
    """Every image once a pass, and images of the rarer classes again, drawn at random with replacement.

    Each class is brought to ``ratio`` times the size of the largest, from the rarest on; what its images can be
    expected to add to their other classes is counted there. Where every image has one class this is imbalanced-learn's
    ``RandomOverSampler(sampling_strategy=ratio)``, drawn anew in every pass.

    Args:
        dataset: the training images.
        ratio: wanted number of draws of each class, over that of the largest; in (0, 1].

    Attributes:
        extra: class to the number of images drawn again.

    Raises:
        ConfigError: the ratio is out of range.
        LeakageError: some images are not of the training split.
        InputError: there are fewer than two classes.
    """

    def __init__(self, dataset: LabelledRows, ratio: float = 1.0) -> None:
        super().__init__(dataset)
        self.ratio = _require_ratio(type(self).__name__, ratio)
        self.extra = self._plan()

    def _plan(self) -> dict[str, int]:
        """Numbers, not draws, so that every pass is of one length."""
        member = self._membership()
        sizes = member.sum(axis=0).astype(float)
        wanted, names, extra = int(self.ratio * sizes.max()), list(self.classes), {}
        for k in np.argsort(sizes, kind="stable"):
            need = max(0, wanted - round(sizes[k]))
            sizes += need * member[member[:, k]].mean(axis=0)
            extra[names[k]] = need
        return {name: extra[name] for name in names}

    def __len__(self) -> int:
        return self.length + sum(self.extra.values())

    def rows(self, seed: int, epoch: int) -> Rows:
        """All rows and the repeated ones, shuffled together."""
        rng = np.random.default_rng([seed, epoch, _OVER])
        again = [rng.choice(rows, self.extra[name]) for name, rows in self.classes.items()]
        return rng.permutation(np.concatenate([np.arange(self.length), *again]))


class UnderSampling(Balancing):
    """Images of the more common classes are left out at random, others in every pass.

    A class larger than ``1 / ratio`` times the smallest is cut to that; only images of no other class are left out, so
    that no class loses what it needs. Where every image has one class this is imbalanced-learn's
    ``RandomUnderSampler(sampling_strategy=ratio)``, drawn anew in every pass: over many passes every image is seen.

    Args:
        dataset: the training images.
        ratio: wanted size of the smallest class over that of each other one; in (0, 1].

    Attributes:
        dropped: class to the number of images left out of a pass.

    Raises:
        ConfigError: the ratio is out of range.
        LeakageError: some images are not of the training split.
        InputError: there are fewer than two classes.
    """

    def __init__(self, dataset: LabelledRows, ratio: float = 1.0) -> None:
        super().__init__(dataset)
        self.ratio = _require_ratio(type(self).__name__, ratio)
        alone = self._membership().sum(axis=1) == 1
        most = int(min(map(len, self.classes.values())) / self.ratio)
        self._single = {name: rows[alone[rows]] for name, rows in self.classes.items()}
        self.dropped = {
            name: min(len(self._single[name]), max(0, len(rows) - most)) for name, rows in self.classes.items()
        }

    def __len__(self) -> int:
        return self.length - sum(self.dropped.values())

    def rows(self, seed: int, epoch: int) -> Rows:
        """What is left, shuffled."""
        rng = np.random.default_rng([seed, epoch, _UNDER])
        kept = np.ones(self.length, dtype=bool)
        for name, rows in self._single.items():
            kept[rng.choice(rows, self.dropped[name], replace=False)] = False
        return rng.permutation(np.flatnonzero(kept))


class ClassBalanced(Balancing):
    """Batches with equally many images of every class: the classes take turns, each shuffled by itself.

    A batch of a multiple of the number of classes holds each exactly equally often, any other one give or take one. An
    image with several findings may be drawn for any of them, so a batch can hold more positives of a finding than its
    share. A pass ends when the largest class has been seen once; the rarer ones have then been repeated, each image
    as often as any other of its class give or take one.

    Args:
        dataset: the training images.

    Raises:
        LeakageError: some images are not of the training split.
        InputError: there are fewer than two classes.
    """

    def __init__(self, dataset: LabelledRows) -> None:
        super().__init__(dataset)
        self._turns = max(map(len, self.classes.values()))

    def __len__(self) -> int:
        return self._turns * len(self.classes)

    def rows(self, seed: int, epoch: int) -> Rows:
        """A turn of every class, again and again."""
        rng = np.random.default_rng([seed, epoch, _BALANCED])
        return take_turns(list(self.classes.values()), self._turns, rng)


def _require_ratio(where: str, ratio: float) -> float:
    if not 0 < ratio <= 1:
        raise ConfigError(f"{where}(ratio)", "must be above 0 and at most 1", ratio, "1 makes all classes equal")
    return ratio
