"""Batches whose k-th draw is a pure function of the seed: training resumes exactly, workers change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from monai_cxraug.errors import ConfigError


@dataclass(frozen=True)
class Draw:
    """One sample to fetch.

    Args:
        index: row of the data set.
        number: how many samples were drawn before it; seeds the sample's random transforms.
        again: whether this row was drawn before in the same pass, as oversampling does.
    """

    index: int
    number: int
    again: bool = False


class Order(Protocol):
    """Which rows of a data set are drawn, pass after pass."""

    def __len__(self) -> int:
        """Number of draws in a pass, the same in each."""

    def rows(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """The rows of a pass in the order in which they are drawn; a pure function of its arguments."""


@dataclass(frozen=True)
class Shuffled:
    """Every row once a pass, in random order.

    Args:
        length: rows of the data set.
    """

    length: int

    def __len__(self) -> int:
        return self.length

    def rows(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """A permutation."""
        return np.random.default_rng([seed, epoch]).permutation(self.length)


class SeededBatches(Sampler[list[Draw]]):
    """Endless batches of a data set.

    Draw ``d`` is position ``d mod n`` of pass ``d div n``, in which the order has n rows. A batch may cross from one
    pass into the next, so no image is ever left out.

    In distributed training the processes take turns: of every ``world`` batches of one size each takes its own, and the
    numbers of the draws go on over all of them, so that no image is drawn twice in a pass by different processes.

    The order may change once, at a draw that is fixed beforehand: the later order then begins its first pass.

    Args:
        order: which rows are drawn; a number n stands for n rows in random order.
        batch_size: images a batch (of each process), or a function of the images drawn so far (by all).
        seed: of the order.
        steps: batches to yield; None never ends.
        rank: number of this process.
        world: number of processes.
        then: order of the later draws; None keeps the first.
        after: draws after which it takes over.

    Attributes:
        skip: batches already consumed; set it before iterating to resume.

    Raises:
        ConfigError: a batch would need more images than a pass has, or rank and world do not fit, or of
            ``then`` and ``after`` only one is given.
    """

    def __init__(
        self,
        order: Order | int,
        batch_size: int | Callable[[int], int],
        seed: int = 0,
        steps: int | None = None,
        rank: int = 0,
        world: int = 1,
        then: Order | int | None = None,
        after: int | None = None,
    ) -> None:
        if not 0 <= rank < world:
            rule, mend = "must be at least 0 and below the number of processes", "give each process its own number"
            raise ConfigError("rank", rule, f"{rank} of {world}", mend)
        #: first draw of each order, and the order.
        self.stages: list[tuple[int, Order]] = [(0, _as_order(order)), *_later_stage(then, after)]
        self.seed, self.steps, self.rank, self.world = seed, steps, rank, world
        self.size_at: Callable[[int], int] = batch_size if callable(batch_size) else lambda seen: batch_size
        self.skip = 0
        self._cached: tuple[tuple[int, int], NDArray[np.int64], NDArray[np.bool_]] | None = None
        self._require(self.size_at(0))

    def __len__(self) -> int:
        """Return the number of batches of the first order's pass, or ``steps`` when that is given."""
        if self.steps is not None:
            return self.steps
        return max(1, len(self.stages[0][1]) // (self.size_at(0) * self.world))

    def __iter__(self) -> Iterator[list[Draw]]:
        seen = 0
        batch = 0
        while self.steps is None or batch < self.steps:
            size = self.size_at(seen)
            if batch >= self.skip:
                self._require(size)
                first = seen + self.rank * size
                yield [self._draw(number) for number in range(first, first + size)]
            seen += size * self.world
            batch += 1

    def _draw(self, number: int) -> Draw:
        first, order = next(stage for stage in reversed(self.stages) if number >= stage[0])
        epoch, position = divmod(number - first, len(order))
        if self._cached is None or self._cached[0] != (first, epoch):
            rows = order.rows(self.seed, epoch)
            self._cached = (first, epoch), rows, drawn_before(rows)
        _, rows, again = self._cached
        return Draw(int(rows[position]), number, bool(again[position]))

    def _require(self, size: int) -> None:
        least = min(len(order) for _, order in self.stages)
        if size < 1 or size * self.world > least:
            raise ConfigError(
                "batch_size",
                f"must be between 1 and the number of training images ({least})",
                size if self.world == 1 else f"{size} in each of {self.world} processes",
                "lower the batch size or add images of this class",
            )


def drawn_before(rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each row stands at an earlier place too."""
    place = np.arange(len(rows))
    first = np.empty(int(rows.max(initial=-1)) + 1, dtype=np.int64)
    first[rows[::-1]] = place[::-1]  # of several values for one row the last, which is its first place, stays
    return np.asarray(first[rows] != place)


def _as_order(order: Order | int) -> Order:
    return Shuffled(order) if isinstance(order, int) else order


def _later_stage(order: Order | int | None, after: int | None) -> list[tuple[int, Order]]:
    if order is None and after is None:
        return []
    if order is None or type(after) is not int or after < 0:
        rule = "a later order and the number of draws before it, at least 0, go together"
        raise ConfigError("SeededBatches(then, after)", rule, f"{order} and {after}", "give both or neither")
    return [(after, _as_order(order))]
