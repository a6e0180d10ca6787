"""What the discriminator of a generator's checkpoint says of images, each by itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from monai_cxraug.artifacts import file_hash
from monai_cxraug.data.pack import channels_first
from monai_cxraug.errors import CxrAugError, InputError, StateError
from monai_cxraug.networks.pggan import ProgressiveDiscriminator

Array = NDArray[np.float64]

_MEND: Final = "give the checkpoint.pt that lies beside the model of a progressive GAN"
#: of which the minibatch deviation is taken: one alone, so that a score does not hang on its neighbours.
_ALONE: Final = 1
_BATCH: Final = 32


@dataclass(frozen=True)
class Critic:
    """The discriminator that trained a generator, asked about one image at a time.

    In training its minibatch deviation compared groups of images; here each image is a group of its own, whose
    deviation is zero. Scores are therefore shifted alike, and their order is what counts.

    Args:
        checkpoint: of the training.
        device: where to compute.

    Raises:
        InputError: the file is missing or unreadable.
        StateError: it holds no discriminator of a progressive GAN, or one that must be told labels.
    """

    checkpoint: str | Path
    device: str = "cpu"
    network: ProgressiveDiscriminator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        network = _load(Path(self.checkpoint)).eval().to(self.device)
        object.__setattr__(self, "network", network)

    @property
    def sha256(self) -> str:
        """Hash of the checkpoint."""
        return file_hash(self.checkpoint)

    def __call__(self, images: NDArray[np.float32]) -> Array:
        """Score images, higher for those that look like training images to it.

        Args:
            images: ``[N, R, R]``, or ``[N, R, R, 3]``, in [0, 1], R its resolution.

        Returns:
            ``[N]``.
        """
        self._check(images)
        with torch.inference_mode():
            parts = [self._score(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
        return np.concatenate([np.empty(0), *parts])

    def _score(self, images: NDArray[np.float32]) -> Array:
        planes = torch.from_numpy(np.ascontiguousarray(channels_first(images))).to(self.device)
        scores: Array = self.network(planes).double().cpu().numpy()
        return scores

    def _check(self, images: NDArray[np.float32]) -> None:
        side, channels = self.network.resolution, self.network.channels
        wanted = (side, side) if channels == 1 else (side, side, channels)
        if images.shape[1:] != wanted:
            raise InputError("images", f"must be {list(wanted)} for the discriminator", list(images.shape[1:]))


def _load(path: Path) -> ProgressiveDiscriminator:
    if not path.is_file():
        raise InputError(path, "must be a checkpoint", "nothing there", _MEND)
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise nearly anything on broken files
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise InputError(path, "must be a checkpoint of plain tensors", reason, _MEND) from None
    settings = _settings(document)
    if settings is None:
        raise StateError(path, "must hold a discriminator and its settings", "none", _MEND)
    if settings.get("condition") == "projection" and settings.get("findings"):
        raise StateError(path, "the discriminator must judge without labels", "a projection of labels", _MEND)
    try:
        network = ProgressiveDiscriminator(**{**settings, "group": _ALONE})
        network.load_state_dict(document["discriminator"])
    except (KeyError, TypeError, AttributeError, RuntimeError, CxrAugError) as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise StateError(path, "must hold the discriminator of a progressive GAN", reason, _MEND) from None
    return network


def _settings(document: Any) -> dict[str, Any] | None:
    clock = document.get("resume") if isinstance(document, dict) else None
    found = clock.get("settings", {}).get("discriminator") if isinstance(clock, dict) else None
    return found if isinstance(found, dict) else None
