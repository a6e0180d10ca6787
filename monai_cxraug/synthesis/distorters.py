"""Trained networks that distort images, as a study calls them: by name, image and seed."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor

from monai_cxraug.artifacts import file_hash, read_json
from monai_cxraug.errors import ConfigError, StateError
from monai_cxraug.networks.corruption import Corruption
from monai_cxraug.networks.weights import Model, load_model

#: of a folder of networks.
NETWORKS, SCHEMA = "networks.json", "cxraug.networks/1"
#: images that pass through the network at once.
_CHUNK: Final = 64
#: digits of the hash in a name.
_SHORT: Final = 8


class Distorter:
    """A network that distorts images: a pure function of images and seed.

    A network that learned to restore sees its corruption of the image, drawn by the seed; one that learned to distort
    sees the image.

    Args:
        model: of kind ``distortion``; it works on the device of its network.
        inferer: how the network is called; default as it is.
    """

    def __init__(self, model: Model, inferer: Inferer | None = None) -> None:
        self.model, self.inferer = model, inferer or SimpleInferer()
        self.corruption = Corruption(**model.about["corruption"])

    @classmethod
    def load(cls, path: str | Path, device: str = "cpu", inferer: Inferer | None = None) -> Self:
        """Load a network.

        Args:
            path: model file, or a folder that holds one.
            device: where it works.
            inferer: how the network is called; default as it is.

        Raises:
            InputError: missing or unreadable.
            StateError: no network that distorts.
        """
        model = load_model(path, "distortion")
        model.network.to(device)
        return cls(model, inferer)

    @property
    def name(self) -> str:
        """Its folder and the beginning of its hash, for example ``"7-1f0c9a2b"``."""
        return f"{self.model.path.resolve().parent.name}-{self.hash[:_SHORT]}"

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the model file."""
        return file_hash(self.model.path)

    @property
    def patients_seen(self) -> frozenset[str]:
        """Patients whose images trained it, or the network whose features it was trained with."""
        return frozenset(self.model.about["patients_seen"])

    def corrupt(self, images: Tensor, seed: int, start: int = 0) -> Tensor:
        """What the network sees of images ``[N, C, H, W]`` in [0, 1], numbered from ``start``.

        The one of image k is a function of that image, the seed and k alone.

        Raises:
            ConfigError: the seed is negative.
        """
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ConfigError("seed", "must be a whole number of at least 0", repr(seed), "give --seed 0")
        numbers = range(start, start + len(images))
        states = (np.random.SeedSequence([seed, number]).generate_state(1) for number in numbers)
        return self.corruption(images, [int(state[0]) for state in states])

    def __call__(self, images: Tensor, seed: int, start: int = 0) -> Tensor:
        """Distort images.

        Args:
            images: float ``[N, C, H, W]`` in [0, 1]; sides as the network takes them.
            seed: of the corruption; of no effect where nothing is drawn.
            start: number of the first image, where they are a part of many.

        Returns:
            float32 of the same shape in [0, 1], on the CPU.

        Raises:
            InputError: the shape does not fit.
            ConfigError: the seed is negative.
        """
        device = next(self.model.network.parameters()).device
        given = self.corrupt(images.float(), seed, start)
        with torch.inference_mode():
            parts = (self.inferer(part.to(device), self.model.network) for part in given.split(_CHUNK))
            made = [part.float().cpu() for part in parts]
        return torch.cat(made).clamp(0.0, 1.0) if made else images.float()


def load_distorters(folder: str | Path, device: str = "cpu") -> list[Distorter]:
    """Load all networks of a folder that ``networks.json`` lists.

    Args:
        folder: as ``cxraug study networks`` writes it.
        device: where they work.

    Returns:
        The networks in the order of their numbers.

    Raises:
        InputError: missing or unreadable.
        StateError: a model is not the one that was trained.
    """
    folder = Path(folder)
    found = []
    for entry in read_json(folder / NETWORKS, SCHEMA)["networks"]:
        distorter = Distorter.load(folder / entry["folder"], device)
        if distorter.hash != entry["sha256"]:
            rule, mend = f"must be the model that {NETWORKS} lists", "restore it, or draw the networks anew"
            raise StateError(distorter.model.path, rule, f"hash {distorter.hash[:_SHORT]}", mend)
        found.append(distorter)
    return found
