"""What is done to an image before a network is asked to restore it (Zhang et al. 2018, arXiv 1801.03924, table 2).

Each image is corrupted by its own seed, so that the result does not depend on the batch that it comes in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the customary name)

from monai_cxraug.errors import ConfigError, InputError, nearest

#: weights of red, green and blue in the brightness of a colour (ITU-R BT.601).
_LUMA: Final = (0.299, 0.587, 0.114)


def white_noise(image: Tensor, strength: float, draws: torch.Generator) -> Tensor:
    """Add normal noise of a standard deviation to an image ``[C, H, W]``; the sum is cut to [0, 1]."""
    noise = torch.randn(image.shape, generator=draws, dtype=torch.float32)
    return (image + strength * noise.to(image)).clamp(0.0, 1.0)


def pink_noise(image: Tensor, strength: float, draws: torch.Generator) -> Tensor:
    """Add normal noise with as much power in every octave, of a standard deviation, to an image ``[C, H, W]``.

    In two dimensions that is an amplitude that falls with one over the frequency. It has no mean.
    """
    height, width = image.shape[-2:]
    spectrum = torch.fft.rfft2(torch.randn(image.shape, generator=draws, dtype=torch.float32))
    down, across = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    frequency = (down.square() + across.square()).sqrt()
    weight = torch.where(frequency > 0, 1 / frequency, torch.zeros(()))
    noise = torch.fft.irfft2(spectrum * weight, s=(height, width))
    noise = noise / noise.std(dim=(-2, -1), keepdim=True, correction=0).clamp(min=1e-12)
    corrupted: Tensor = (image + strength * noise.to(image)).clamp(0.0, 1.0)
    return corrupted


def remove_colour(image: Tensor, strength: float, draws: torch.Generator) -> Tensor:
    """Replace the colours of an image ``[3, H, W]`` by their brightness, in all three channels."""
    if image.shape[0] != 3:
        found = f"{image.shape[0]} channel"
        raise InputError("corruption 'colour_removal'", "needs colour images", found, "use another corruption")
    weights = torch.tensor(_LUMA, dtype=image.dtype, device=image.device)
    return (image * weights[:, None, None]).sum(dim=0, keepdim=True).expand_as(image).clamp(0.0, 1.0)


def downsample(image: Tensor, strength: float, draws: torch.Generator) -> Tensor:
    """Average squares of ``strength`` pixels a side, and enlarge what is left bilinearly, ``[C, H, W]``."""
    factor = int(strength)
    if any(side % factor for side in image.shape[-2:]):
        found, rule = list(image.shape), f"needs sides that are multiples of {factor}"
        raise InputError("corruption 'downsampling'", rule, found, "choose another factor")
    small = F.avg_pool2d(image[None], factor)
    return F.interpolate(small, scale_factor=factor, mode="bilinear")[0]


def _leave(image: Tensor, strength: float, draws: torch.Generator) -> Tensor:
    return image


#: name to what it does to one image, and its usual strength.
CORRUPTIONS: Final[dict[str, tuple[Callable[[Tensor, float, torch.Generator], Tensor], float]]] = {
    "null": (_leave, 0.0),
    "white_noise": (white_noise, 0.1),
    "pink_noise": (pink_noise, 0.1),
    "colour_removal": (remove_colour, 0.0),
    "downsampling": (downsample, 4.0),
}


@dataclass(frozen=True)
class Corruption:
    """A corruption of one kind and strength.

    Args:
        kind: a key of :data:`CORRUPTIONS`. Grey images have no colour to remove: ``colour_removal`` refuses them.
        strength: of noise, its standard deviation in [0, 1]; of downsampling, a whole factor of at least 2; None is the
            usual one.

    Raises:
        ConfigError: the kind is unknown or the strength out of range.
    """

    kind: str = "null"
    strength: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in CORRUPTIONS:
            hint = nearest(str(self.kind), CORRUPTIONS)
            raise ConfigError("corruption", "unknown corruption", repr(self.kind), hint)
        if self.strength is None:
            return
        number = isinstance(self.strength, int | float) and not isinstance(self.strength, bool)
        whole = number and float(self.strength).is_integer() and self.strength >= 2
        if self.kind == "downsampling" and not whole:
            raise ConfigError("corruption_strength", "must be a whole factor of at least 2", repr(self.strength), "")
        if self.kind.endswith("noise") and not (number and 0 <= self.strength <= 1):
            raise ConfigError("corruption_strength", "must be in [0, 1]", repr(self.strength), "0.1 is usual")

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments, with the strength that is used."""
        usual = CORRUPTIONS[self.kind][1]
        return {"kind": self.kind, "strength": usual if self.strength is None else float(self.strength)}

    def __call__(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """Corrupt images.

        Args:
            images: float ``[N, C, H, W]`` in [0, 1].
            seeds: one for each image.

        Returns:
            The same shape, in [0, 1].

        Raises:
            InputError: the images do not fit the kind.
        """
        change, strength = CORRUPTIONS[self.kind][0], self.settings["strength"]
        if change is _leave or not len(images):
            return images
        pairs = zip(images, seeds, strict=True)
        return torch.stack([change(image, strength, torch.Generator().manual_seed(seed)) for image, seed in pairs])
