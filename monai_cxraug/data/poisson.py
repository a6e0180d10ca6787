"""Batches in which each patient is by chance, for accounts of privacy that need to know how a batch came about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Protocol

import numpy as np
from torch.utils.data import Sampler

from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.samplers import Draw
from monai_cxraug.errors import ConfigError, InputError

#: word of the seeds; what else is drawn from the same secret has another one.
_BATCHES: Final = 8


class Secret(Protocol):
    """Gives randomness that nobody else can repeat."""

    def rng(self, *words: int) -> np.random.Generator:
        """A source of randomness, the same for the same words."""


class PoissonPatients(Sampler[list[Draw]]):
    """Endless batches that take each patient with the same probability, independently, with one of the images.

    A batch has as many images as chance wants, none in rare cases; the number expected is the batch size. Batch k is a
    function of the secret and of k alone. Taking patients and not images makes a guarantee one for patients.

    Args:
        rows: the images.
        batch_size: images expected in a batch, or a function of the images seen so far as the trainer counts them.
        secret: source of the randomness; asked when a batch is drawn, so that it may be loaded from a checkpoint first.

    Attributes:
        skip: batches already consumed; set it before iterating to resume.

    Raises:
        InputError: an image has no patient.
        ConfigError: a batch would need more patients than there are.
    """

    def __init__(self, rows: PackRows, batch_size: int | Callable[[int], int], secret: Secret) -> None:
        owners = rows.manifest["patient_id"].astype(str)[rows.rows]
        if unnamed := int((owners == "").sum()):
            rule, mend = "every image needs a patient for a guarantee to patients", "name the patients, or drop these"
            raise InputError(rows.manifest.path, rule, f"{unnamed} without", mend)
        member = np.unique(owners, return_inverse=True)[1]
        #: positions of the images of each patient.
        self.groups = np.split(np.argsort(member, kind="stable"), np.cumsum(np.bincount(member))[:-1])
        self.size_at: Callable[[int], int] = batch_size if callable(batch_size) else lambda seen: batch_size
        self.secret, self.skip = secret, 0
        self._require(self.size_at(0))

    def __len__(self) -> int:
        """Return the number of batches in which a patient is expected once."""
        return max(1, len(self.groups) // self.size_at(0))

    def __iter__(self) -> Iterator[list[Draw]]:
        seen = batch = 0
        while True:
            size = self.size_at(seen)
            if batch >= self.skip:
                self._require(size)
                yield self._draw(batch, size, seen)
            seen += size
            batch += 1

    def _draw(self, batch: int, size: int, seen: int) -> list[Draw]:
        rng = self.secret.rng(_BATCHES, batch)
        taken = np.flatnonzero(rng.random(len(self.groups)) < size / len(self.groups))
        chosen = [int(rng.choice(self.groups[patient])) for patient in taken]
        return [Draw(index, seen + k) for k, index in enumerate(chosen)]

    def _require(self, size: int) -> None:
        if not 1 <= size <= len(self.groups):
            rule = f"must be from 1 to the number of patients ({len(self.groups)})"
            raise ConfigError("batch_size", rule, size, "lower the batch size or add patients of this finding")
