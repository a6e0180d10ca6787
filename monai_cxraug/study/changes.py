"""How the pictures of a study are changed: by drawn distortions, by networks, or beyond all doubt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from monai_cxraug.data.pack import Image
from monai_cxraug.errors import ConfigError
from monai_cxraug.synthesis.distorters import Distorter
from monai_cxraug.transforms.functional.distortions.catalogue import (
    CATALOGUE,
    Step,
    apply_steps,
    draw_steps,
    write_steps,
)

TRADITIONAL, CNN, MIXED = "traditional", "cnn", "mixed"
_SEEDS: Final = 1_000_000


@dataclass(frozen=True)
class Change:
    """One way to change a picture.

    Args:
        text: how it is written in the table.
        apply: float32 ``[size, size]`` in [0, 1] to the same.
    """

    text: str
    apply: Callable[[Image], Image]


NOTHING: Final = Change("", lambda picture: picture)
#: what nobody takes for the original: its negative.
ABSURD: Final = Change("negative", lambda picture: 1 - picture)


class Changes:
    """Draws changes.

    Args:
        rng: what draws.
        networks: trained to distort; each is used as often as the others.
    """

    def __init__(self, rng: np.random.Generator, networks: Sequence[Distorter] = ()) -> None:
        self.rng, self.networks = rng, list(networks)
        self._turn = self._in_turn()

    def draw(self, family: str) -> Change:
        """Draw one of ``traditional`` (one distortion, or two in sequence) or ``cnn``.

        Raises:
            ConfigError: another family, or there is no network.
        """
        if family == TRADITIONAL:
            return of_steps(draw_steps(self.rng, int(self.rng.integers(1, 3))))
        if family != CNN or not self.networks:
            raise ConfigError("family", "needs networks", family, "give --networks DIR")
        return _of_network(next(self._turn), int(self.rng.integers(_SEEDS)))

    def draw_extremes(self) -> tuple[Change, Change]:
        """One distortion at its mildest and at its strongest, drawn alike."""
        grey = sorted(name for name, one in CATALOGUE.items() if not one.colour_only)
        one = CATALOGUE[grey[int(self.rng.integers(len(grey)))]]
        seed = int(self.rng.integers(_SEEDS)) if one.seeded else 0
        mild, strong = (of_steps([Step(one.name, one.at(share), seed)]) for share in (0.0, 1.0))
        return mild, strong

    def _in_turn(self) -> Iterator[Distorter]:
        while True:
            for place in self.rng.permutation(len(self.networks)).tolist():
                yield self.networks[place]


def of_steps(steps: Sequence[Step]) -> Change:
    """Make a change of distortions in sequence."""
    return Change(write_steps(steps), lambda picture: apply_steps(torch.from_numpy(picture.copy()), steps).numpy())


def _of_network(network: Distorter, seed: int) -> Change:
    def apply(picture: Image) -> Image:
        found: Image = network(torch.from_numpy(picture.copy())[None, None], seed)[0, 0].numpy()
        return found

    return Change(f"network {network.name} #{seed}", apply)
