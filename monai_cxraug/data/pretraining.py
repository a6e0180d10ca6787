"""Orders for learning a rare finding from synthetic images first, and from real ones afterwards.

In the first part of a training all positives of the studied findings are synthetic, and as many real images, in which
these findings are known to be absent, stand against them. Then real images alone are drawn, so that the classifier
forgets what distinguishes a generator's image from a radiograph. Studied findings are those that synthetic images show.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.data.additions import UNREAL
from monai_cxraug.data.balancing import LabelledRows, Rows, refuse_resampling, take_turns
from monai_cxraug.errors import InputError

#: last words of the seeds, so that the two orders share no numbers with each other or with a resampling.
_FIRST, _AFTERWARDS = 4, 5


class SourcedRows(LabelledRows, Protocol):
    """What these orders must know of a data set."""

    def origins(self) -> NDArray[np.object_]:
        """What each sample is, ``[N]``: a source, or ``duplicate``."""


class SyntheticFirst:
    """Synthetic images and real ones without the studied findings in turn, each shuffled by itself.

    A pass ends when the larger group has been seen once; images of the smaller one have then been repeated evenly.

    Args:
        dataset: the training images, synthetic ones among them.

    Attributes:
        synthetic: rows of the synthetic and external images.
        absent: rows of other images in which every studied finding is known to be absent.

    Raises:
        LeakageError: some images are not of the training split.
        InputError: there is no synthetic image, none that shows a finding, or no real one without the findings.
    """

    def __init__(self, dataset: SourcedRows) -> None:
        refuse_resampling(dataset, type(self).__name__)
        labels, unreal = dataset.label_matrix(), is_unreal(dataset)
        studied = (labels[unreal] == 1).any(axis=0)
        self.synthetic: Rows = np.flatnonzero(unreal)
        self.absent: Rows = np.flatnonzero(~unreal & (labels[:, studied] == 0).all(axis=1))
        if not studied.any():
            found = "none among the training images"
            raise InputError(type(self).__name__, "needs synthetic images that show a finding", found, "add a set")
        if not len(self.absent):
            names = ", ".join(np.asarray(dataset.findings)[studied])
            rule = f"needs real images in which what is synthesised ({names}) is known to be absent"
            raise InputError(type(self).__name__, rule, "none", "check the labels")
        self._turns = max(len(self.synthetic), len(self.absent))

    def __len__(self) -> int:
        return 2 * self._turns

    def rows(self, seed: int, epoch: int) -> Rows:
        """A synthetic and a real image, again and again."""
        rng = np.random.default_rng([seed, epoch, _FIRST])
        return take_turns([self.synthetic, self.absent], self._turns, rng)


class RealAfterwards:
    """Every image but the synthetic ones once a pass, in random order.

    Args:
        dataset: the training images.

    Raises:
        LeakageError: some images are not of the training split.
    """

    def __init__(self, dataset: SourcedRows) -> None:
        refuse_resampling(dataset, type(self).__name__)
        self._rows: Rows = np.flatnonzero(~is_unreal(dataset))

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, seed: int, epoch: int) -> Rows:
        """A permutation."""
        return np.random.default_rng([seed, epoch, _AFTERWARDS]).permutation(self._rows)


def is_unreal(dataset: SourcedRows) -> NDArray[np.bool_]:
    """Which samples are synthetic or external, ``[N]``."""
    return np.isin(dataset.origins().astype(str), UNREAL)
