"""What an audit found for images, and from where on it calls one near."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.synthesis.likeness import Match

PIXELS: Final = "pixels"
#: what is nearer than this part of a threshold is called a copy.
_COPY: Final = 0.5


@dataclass(frozen=True)
class Found:
    """What was found for images: their match among the training images, by measure.

    Args:
        by: measure to matches, ``[N]`` each; ``pixels`` is always there.
    """

    by: Mapping[str, Match]

    def __len__(self) -> int:
        return len(self.pixels.rows)

    @property
    def pixels(self) -> Match:
        """The nearest by root mean squared difference of pixels."""
        return self.by[PIXELS]

    def at(self, places: slice | NDArray[Any]) -> Found:
        """Return those at some places."""
        return Found({name: match.at(places) for name, match in self.by.items()})

    @classmethod
    def of(cls, parts: Sequence[Found]) -> Found:
        """Return all that was found, one part after another; at least one part."""
        return cls({name: Match.of([part.by[name] for part in parts]) for name in parts[0].by})


@dataclass(frozen=True)
class Threshold:
    """When a measure calls an image near.

    Args:
        quantile: share of real images that should count as near.
        real: distances of real training images to another patient's, ``[n]``, ascending.
        least: the rank at least.
    """

    quantile: float
    real: NDArray[np.float64]
    least: int = 0

    @property
    def rank(self) -> int:
        """Which of the real distances is the threshold, from 1 on; 0 where there are too few for the quantile."""
        return max(self.least, int(self.quantile * (len(self.real) + 1)))

    @property
    def near(self) -> float:
        """Distance below which an image is near: with too few real ones, half the smallest of theirs."""
        return float(self.real[self.rank - 1]) if self.rank else _COPY * float(self.real[0])

    @property
    def copy(self) -> float:
        """Distance below which an image is a copy."""
        return _COPY * float(self.real[max(self.rank, 1) - 1])
