"""The images of a generator as a data set: what is drawn, told apart from what is kept and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from monai.inferers import Inferer
from torch import Tensor
from torch.utils.data import Dataset

from monai_cxraug.keys import IMAGE, LABEL
from monai_cxraug.synthesis.generators import Generator, Images, Labels, load_generator


@dataclass(frozen=True)
class Samples(Dataset[dict[str, Tensor]]):
    """Images ``start`` to ``start + n - 1`` of one finding; loading waits until an image is asked for.

    Args:
        where: model file, generator folder of a run, or bundle folder.
        finding: the finding to show: the one it was trained on, or any that a conditional generator has learnt.
        n: number of images.
        seed: of the latents.
        start: number of the first image; ranges of one seed that do not overlap share no image.
        truncation: from 0 (all images equal) to 1 (full variety); see the generator.
        device: where the images are made; default a GPU where there is one.
        inferer: how the network is called; default as it is.
        codes: values of codes that all images have, by name; see the generator.
    """

    where: str | Path
    finding: str | None
    n: int
    seed: int
    start: int = 0
    truncation: float = 1.0
    device: str | None = None
    inferer: Inferer | None = None
    codes: Mapping[str, float] | None = None

    @cached_property
    def generator(self) -> Generator:
        """The generator, loaded.

        Raises:
            InputError: missing or unreadable.
            StateError: no generator.
            ConfigError: truncation is out of range.
        """
        return load_generator(self.where, self.truncation, self.device, self.inferer, self.codes)

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return ``image`` ``[C, H, W]`` in [0, 1] and ``label`` ``[K]``, NaN unknown."""
        if not 0 <= index < self.n:
            raise IndexError(index)
        image, label = self.images(self.start + index, 1), self.labels(index + 1)[-1]
        channels_first = image if image.ndim == 3 else np.moveaxis(image[0], -1, 0)  # of one grey image [1, H, W]
        return {IMAGE: torch.from_numpy(channels_first), LABEL: torch.from_numpy(label)}

    def images(self, first: int, count: int) -> Images:
        """Make the images numbered ``first`` and on, as the generator gives them; they may lie beyond the n."""
        return self.generator.sample(count, str(self.finding), self.seed, first)

    def labels(self, count: int) -> Labels:
        """Return what the first ``count`` images are meant to show: ``[count, K]``, 1, 0 or NaN unknown.

        Raises:
            LabelError: the generator does not make this finding.
            ConfigError: a number is out of range.
        """
        return self.generator.labels(count, str(self.finding), self.seed, self.start)
