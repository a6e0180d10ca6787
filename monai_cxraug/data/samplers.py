"""Batches whose k-th draw is a pure function of the seed: training resumes exactly, workers change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from monai_cxraug.errors import ConfigError


@dataclass(frozen=True)
class Draw:
    """One sample to fetch.

    Args:
        index: row of the data set.
        number: how many samples were drawn before it; seeds the sample's random transforms.
    """

    index: int
    number: int


class SeededBatches(Sampler[list[Draw]]):
    """Endless batches of a shuffled data set.

    Draw ``d`` is position ``d mod n`` of the permutation that belongs to epoch ``d div n``. A batch may cross from one
    permutation into the next, so no image is ever left out.

    Args:
        length: rows of the data set.
        batch_size: images a batch, or a function of the images drawn so far.
        seed: of the permutations.
        steps: batches to yield; None never ends.

    Attributes:
        skip: batches already consumed; set it before iterating to resume.

    Raises:
        ConfigError: a batch would need more images than there are.
    """

    def __init__(
        self, length: int, batch_size: int | Callable[[int], int], seed: int = 0, steps: int | None = None
    ) -> None:
        self.length, self.seed, self.steps = length, seed, steps
        self.size_at: Callable[[int], int] = batch_size if callable(batch_size) else lambda seen: batch_size
        self.skip = 0
        self._require(self.size_at(0))

    def __len__(self) -> int:
        """Return the number of batches of one pass over the data, or ``steps`` when that is given."""
        return self.steps if self.steps is not None else max(1, self.length // self.size_at(0))

    def __iter__(self) -> Iterator[list[Draw]]:
        seen = 0
        batch = 0
        while self.steps is None or batch < self.steps:
            size = self.size_at(seen)
            if batch >= self.skip:
                self._require(size)
                yield [Draw(self._index(number), number) for number in range(seen, seen + size)]
            seen += size
            batch += 1

    def _index(self, number: int) -> int:
        epoch, position = divmod(number, self.length)
        return int(self._permutation(epoch)[position])

    def _permutation(self, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        if getattr(self, "_cached", (None,))[0] != epoch:
            self._cached = (epoch, np.random.default_rng([self.seed, epoch]).permutation(self.length))
        return self._cached[1]

    def _require(self, size: int) -> None:
        if size < 1 or size > self.length:
            raise ConfigError(
                "batch_size",
                f"must be between 1 and the number of training images ({self.length})",
                size,
                "lower the batch size or add images of this class",
            )
