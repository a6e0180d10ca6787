"""A network that tells patients apart by their radiographs: images of one patient come to lie close together."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the customary name)

from monai_cxraug.errors import ConfigError

#: added to an image's own deviation, so that an empty one is no division by nothing; 0.25 grey levels of 8 bits.
_LEAST_DEVIATION = 1e-3
#: channels that processors take at once; with four, torch 2.13 writes past its memory in the backward pass on a CPU.
_CHANNELS = 8


class Reidentifier(nn.Module):
    """Image to a unit vector; the product of two is how alike the patients are (their cosine, in [-1, 1]).

    A small residual network (He et al., CVPR 2016). Packhaeuser et al. (Scientific Reports 12, 2022) took a ResNet-50
    at 256 px for this; here it is a network that one processor core trains in minutes at 64 px. Each image is brought
    to mean 0 and deviation 1 first: brightness and contrast say nothing of who it is.

    Args:
        features: length of the vector.
        channels: of the images: 1 grey, 3 red, green and blue.
        width: channels of the first block; each of the three that follow doubles them and halves the side.

    Attributes:
        settings: the arguments, from which a model file rebuilds the network.

    Raises:
        ConfigError: an argument is below 1, or the width is no multiple of 8.
    """

    def __init__(self, features: int = 128, channels: int = 1, width: int = 16) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {"features": features, "channels": channels, "width": width}
        if lacking := [name for name, value in self.settings.items() if value < 1]:
            raise ConfigError(f"Reidentifier({lacking[0]})", "must be at least 1", self.settings[lacking[0]])
        if width % _CHANNELS:
            raise ConfigError("Reidentifier(width)", f"must be a multiple of {_CHANNELS}", width, "16 is usual")
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        self.blocks = nn.Sequential(*[_Block(before, after) for before, after in pairwise(widths)])
        self.pool = nn.AdaptiveAvgPool2d(2)  # where something is says as much as that it is there
        self.out = nn.Linear(4 * widths[-1], features)
        # the layout that convolutions prefer; torch's own annotations lack this form of the call
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``[N, C, H, W]`` of at least 16 px to unit vectors, float32 ``[N, features]``."""
        mean, deviation = (part.to(images.dtype) for part in _moments(images))
        x = ((images - mean) / (deviation + _LEAST_DEVIATION)).contiguous(memory_format=torch.channels_last)
        found = self.pool(self.blocks(self.stem(x))).contiguous().flatten(1)
        return F.normalize(self.out(found).float(), dim=1)


class _Block(nn.Module):
    """Two 3 x 3 convolutions beside a short cut; where the channels change the side is halved."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        stride = 1 if before == after else 2
        self.conv0, self.norm0 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv1, self.norm1 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        self.short: nn.Module = nn.Identity()
        if stride == 2:
            self.short = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.norm0(self.conv0(x)))
        return F.relu(self.norm1(self.conv1(inner)) + self.short(x))


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each image, ``[N, 1, 1, 1]``."""
    exact = images.to(torch.promote_types(images.dtype, torch.float32))
    return exact.mean(dim=(1, 2, 3), keepdim=True), exact.std(dim=(1, 2, 3), keepdim=True)
