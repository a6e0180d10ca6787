"""Discriminator of patches that sees what the generator saw (Isola et al. 2017, arXiv 1611.07004, section 3.2.2)."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from monai_cxraug.errors import ConfigError, InputError, nearest

_LEAK: Final = 0.2
_NORMALISATIONS: Final = ("instance", "none")
_WHERE: Final = "PatchDiscriminator"


class PatchDiscriminator(nn.Module):
    """Pairs of a given image and one to judge, to a score for each patch, higher for real.

    ``layers`` convolutions of 4 x 4 that halve, then two of 3 x 3 (4 x 4 in the paper, which leave nothing of small
    images). The more layers, the larger the patch that decides about one score: 12, 26, 54, 110 px for 1 to 4.

    Args:
        channels: of one image.
        layers: convolutions that halve; 0 judges small neighbourhoods at full resolution.
        width: channels of the first layer; each next has twice as many.
        widest: most channels of a layer.
        normalisation: ``instance`` or ``none``, of all layers but the first and the last; that of a batch would let
            images of it decide about each other.

    Attributes:
        settings: the arguments.

    Raises:
        ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        channels: int = 1,
        layers: int = 3,
        width: int = 32,
        widest: int = 256,
        normalisation: str = "instance",
    ) -> None:
        super().__init__()
        for name, value, least, most in (
            ("channels", channels, 1, 3),
            ("layers", layers, 0, 6),
            ("width", width, 1, 4096),
            ("widest", widest, 1, 4096),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                rule = f"must be a whole number from {least} to {most}"
                raise ConfigError(f"{_WHERE}({name})", rule, repr(value), f"mend {name}")
        if normalisation not in _NORMALISATIONS:
            hint = nearest(str(normalisation), _NORMALISATIONS)
            raise ConfigError(f"{_WHERE}(normalisation)", "unknown normalisation", repr(normalisation), hint)
        self.settings: dict[str, Any] = {
            "channels": channels,
            "layers": layers,
            "width": width,
            "widest": widest,
            "normalisation": normalisation,
        }
        self.channels = channels
        self.stride = 2**layers
        widths = [2 * channels, *(min(widest, width * 2**level) for level in range(layers + 1))]
        halving = [_layer(widths[level], widths[level + 1], 2, normalisation, level) for level in range(layers)]
        judging = [_layer(widths[layers], widths[layers + 1], 1, normalisation, layers)]
        self.body = nn.Sequential(*halving, *judging, nn.Conv2d(widths[-1], 1, 3, padding=1))
        # the layout that convolutions prefer; torch's own annotations lack this form of the call
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, given: Tensor, images: Tensor) -> Tensor:
        """Judge images.

        Args:
            given: what the generator saw, ``[N, C, H, W]`` in [0, 1].
            images: real or generated, of the same shape; sides are multiples of two to the number of layers, and at
                least twice as much.

        Returns:
            Scores ``[N, h, w]``, one for each patch.

        Raises:
            InputError: the shapes do not fit.
        """
        fits = images.ndim == 4 and images.shape == given.shape and images.shape[1] == self.channels
        if not fits or any(side % self.stride or side < 2 * self.stride for side in images.shape[2:]):
            rule = f"must be two of [N, {self.channels}, H, W], sides multiples of {self.stride}, {2 * self.stride} up"
            found = f"{list(given.shape)}, {list(images.shape)}"
            raise InputError("images to judge", rule, found, "use fewer layers in the discriminator")
        both = torch.cat([given, images], dim=1) * 2 - 1
        scores: Tensor = self.body(both.contiguous(memory_format=torch.channels_last))[:, 0]
        return scores


def _layer(incoming: int, outgoing: int, stride: int, normalisation: str, number: int) -> nn.Sequential:
    """Convolution, normalisation but in the first layer, leaky ReLU."""
    normalised = normalisation == "instance" and number > 0
    convolution = nn.Conv2d(incoming, outgoing, 2 + stride if stride > 1 else 3, stride, 1, bias=not normalised)
    norm = [nn.InstanceNorm2d(outgoing, affine=True)] if normalised else []
    return nn.Sequential(convolution, *norm, nn.LeakyReLU(_LEAK))
