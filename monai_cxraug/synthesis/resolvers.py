"""Trained networks that enlarge images, as sets and evaluations call them; and public weights in their place."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from monai.inferers import Inferer, SimpleInferer
from numpy.typing import NDArray
from torch import Tensor

from monai_cxraug.artifacts import file_hash
from monai_cxraug.data.pack import channels_first, channels_last, count_channels
from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.networks.esrgan_weights import read_public
from monai_cxraug.networks.plain_tensors import read_plain
from monai_cxraug.networks.weights import SCHEMA, Model, find_model, load_model

#: pixels of the enlarged images that pass through the network at once.
_PIXELS: Final = 2**20


class Resolver:
    """A network that enlarges images: a pure function of each image.

    Args:
        model: of kind ``esrgan``; it works on the device of its network.
        inferer: how the network is called; default as it is.

    Attributes:
        scale: factor of the sides.
        channels: of the images that it takes.
    """

    def __init__(self, model: Model, inferer: Inferer | None = None) -> None:
        self.model, self.inferer = model, inferer or SimpleInferer()
        self.scale, self.channels = int(model.settings["scale"]), int(model.settings["channels"])

    @classmethod
    def load(
        cls, path: str | Path, device: str = "cpu", inferer: Inferer | None = None, channels: int | None = None
    ) -> Self:
        """Load a network.

        Args:
            path: model file, or a folder that holds one; or a file of public ESRGAN or Real-ESRGAN weights, which have
                seen photographs and are taken to have seen no patient.
            device: where it works.
            inferer: how the network is called; default as it is.
            channels: of the images that public weights shall take; default those they were made for.

        Raises:
            InputError: missing or unreadable.
            StateError: no network that enlarges.
        """
        file = find_model(path)
        model = load_model(file, "esrgan") if _is_ours(file) else _public(file, channels)
        model.network.to(device)
        return cls(model, inferer)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the model file."""
        return file_hash(self.model.path)

    @property
    def patients_seen(self) -> frozenset[str]:
        """Patients whose images trained it, or the network whose features it was trained with."""
        return frozenset(self.model.about["patients_seen"])

    @property
    def salt(self) -> str | None:
        """Fingerprint of the salt that these patients' names were hashed with, if they were."""
        salt: str | None = self.model.about.get("salt")
        return salt

    def provenance(self) -> dict[str, Any]:
        """What a set of enlarged images records of it."""
        about = self.model.about
        known = {name: about[name] for name in ("manifest", "source", "images_seen", "interpolation") if name in about}
        seen = sorted(self.patients_seen)
        return {"sha256": self.hash, "settings": self.model.settings, **known, "patients_seen": seen}

    def require_channels(self, channels: int, where: object) -> None:
        """Refuse images that the network does not take.

        Raises:
            ConfigError: they have another number of channels.
        """
        if channels != self.channels:
            rule = f"images must have {count_channels(self.channels)}, as {self.model.path} takes them"
            raise ConfigError(where, rule, channels, "give another model")

    def enlarge(self, pictures: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """Enlarge pictures, some at a time.

        Args:
            pictures: float32 ``[N, H, W]`` or ``[N, H, W, 3]`` in [0, 1], of any height and width.

        Yields:
            float32 ``[n, scale * H, scale * W]``, or with 3 channels, in [0, 1]; all together N.

        Raises:
            InputError: the pictures have other channels than the network takes.
        """
        height, width = pictures.shape[1:3]
        each = max(1, _PIXELS // (height * width * self.scale**2))
        for first in range(0, len(pictures), each):
            planes = np.ascontiguousarray(channels_first(pictures[first : first + each]))
            yield channels_last(self(torch.from_numpy(planes)).numpy())

    def __call__(self, images: Tensor) -> Tensor:
        """Enlarge images ``[N, C, H, W]`` in [0, 1]; float32 on the CPU.

        Raises:
            InputError: the images have other channels than the network takes.
        """
        device = next(self.model.network.parameters()).device
        with torch.inference_mode():
            made: Tensor = self.inferer(images.float().to(device), self.model.network)
        return made.float().cpu().clamp(0.0, 1.0)


def _is_ours(path: Path) -> bool:
    """Whether a file says that it is one of our models; what cannot be read is left to who reads it."""
    try:
        document = read_plain(path, "", "", device="meta")
    except InputError:
        return path.suffix == ".pt"
    return isinstance(document, dict) and document.get("schema") == SCHEMA


def _public(path: Path, channels: int | None) -> Model:
    network, loaded = read_public(path, channels)
    about = {"patients_seen": [], "source": loaded.source, "adapted": dict(loaded.adapted)}
    return Model(network, "esrgan", about, path)
