"""Distortions of the catalogue for the images of a batch, each by its own seed: what a network learns to imitate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.transforms.functional.distortions.catalogue import (
    Step,
    apply_steps,
    draw_steps,
    find_distortion,
    parse_steps,
)

#: sides from which every distortion of the catalogue can be applied at every strength.
_LEAST: Final = 64


@dataclass(frozen=True)
class DrawnDistortion:
    """Distorts each image of a batch in a way that its seed decides.

    Args:
        text: distortions in sequence, as ``pink_noise 0.08 + jpeg 30``; the seed decides what is random in them. None:
            the seed decides about distortions and strengths too.
        count: distortions in sequence where they are drawn, 1 or 2.

    Raises:
        ConfigError: the text does not read as distortions, or another count.
    """

    text: str | None = None
    count: int = 1

    def __post_init__(self) -> None:
        if self.count not in (1, 2) or isinstance(self.count, bool):
            raise ConfigError("DrawnDistortion(count)", "must be 1 or 2", repr(self.count), "mend it")
        if self.text is not None and not self._steps:
            raise ConfigError("DrawnDistortion(text)", "must name a distortion", repr(self.text), "as 'jpeg 30'")

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments."""
        return {"text": self.text, "count": self.count}

    @cached_property
    def _steps(self) -> tuple[Step, ...]:
        return parse_steps(self.text or "")

    def steps(self, seed: int, colour: bool = False) -> tuple[Step, ...]:
        """The distortions that a seed stands for."""
        rng = np.random.default_rng(seed)
        if self.text is None:
            return draw_steps(rng, self.count, colour)
        return tuple(
            replace(step, seed=int(rng.integers(2**20))) if find_distortion(step.name).seeded else step
            for step in self._steps
        )

    def __call__(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """Distort images.

        Args:
            images: float ``[N, C, H, W]`` in [0, 1].
            seeds: one for each image.

        Returns:
            The same shape, in [0, 1].

        Raises:
            InputError: the images are too small: below 64 px where distortions are drawn.
        """
        if self.text is None and min(images.shape[-2:]) < _LEAST:
            mend = "use larger images, or say which distortion: imitated"
            raise InputError("images to distort", f"must have {_LEAST} px at least", list(images.shape), mend)
        pairs = zip(images, seeds, strict=True)
        return torch.stack([apply_steps(image, self.steps(seed, len(image) == 3)) for image, seed in pairs])
