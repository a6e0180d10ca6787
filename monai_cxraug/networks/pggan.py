"""Generator and discriminator of the progressive GAN (Karras et al. 2017, arXiv 1710.10196, tables 2 and 6).

Both take the resolution from 4 px to the full one and the fade-in weight alpha per call; they keep no growth state, so
the same weights serve every phase.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from monai_cxraug.errors import ConfigError
from monai_cxraug.networks.latents import normalise_latent
from monai_cxraug.networks.layers import (
    EqualisedConv2d,
    EqualisedLinear,
    MinibatchStd,
    PixelNorm,
    double,
    halve,
    leaky,
)

#: side of the first stage's images in pixels.
SMALLEST = 4


def stages_of(resolution: int, where: str) -> int:
    """Number of stages from 4 px to a resolution: 4 -> 1, 8 -> 2, 16 -> 3, ...

    Raises:
        ConfigError: the resolution is not a power of two of at least 4.
    """
    if resolution < SMALLEST or resolution & (resolution - 1):
        raise ConfigError(where, "resolution must be a power of two of at least 4", resolution, "use 4, 8, 16, 32, ...")
    return resolution.bit_length() - 2


def _require_positive(where: str, **sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(f"{where}({name})", "must be at least 1", size, "give a positive whole number")


def _stage_in(resolution: int, full: int, alpha: float, where: str) -> int:
    """Index of the stage that works at a resolution, after checking the call's arguments."""
    if resolution > full:
        raise ConfigError(where, f"resolution may be at most {full}", resolution, "build a larger network")
    if not 0.0 <= alpha <= 1.0:
        raise ConfigError(where, "alpha must be in [0, 1]", alpha, "give the weight of the newest stage")
    return stages_of(resolution, where) - 1


def _widths(stages: int, fmap_base: int, fmap_max: int) -> list[int]:
    """Channels at stage 0 (the dense layer), 1 (4 px), 2 (8 px), ...: ``min(base / 2^stage, max)``, at least 1."""
    return [max(1, min(fmap_base >> stage, fmap_max)) for stage in range(stages + 1)]


class ProgressiveGenerator(nn.Module):
    """Latent to image. The border maps the linear output from [-1, 1] to the package's [0, 1], without clamping.

    Args:
        resolution: full side in pixels, a power of two.
        latent_size: length of a latent.
        channels: 1 for grey, 3 for colour.
        fmap_base: feature maps at stage s are ``fmap_base / 2^s`` (stage 1 is 4 px) ...
        fmap_max: ... but never more than this.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        resolution: int = 64,
        latent_size: int = 512,
        channels: int = 1,
        fmap_base: int = 8192,
        fmap_max: int = 512,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        _require_positive(name, latent_size=latent_size, channels=channels, fmap_base=fmap_base, fmap_max=fmap_max)
        stages = stages_of(resolution, name)
        widths = _widths(stages, fmap_base, fmap_max)
        #: constructor arguments; ``ProgressiveGenerator(**settings)`` rebuilds the network.
        self.settings: dict[str, Any] = {
            "resolution": resolution,
            "latent_size": latent_size,
            "channels": channels,
            "fmap_base": fmap_base,
            "fmap_max": fmap_max,
        }
        self.resolution, self.latent_size = resolution, latent_size
        blocks = [_GeneratorBlock(widths[stage - 1], widths[stage]) for stage in range(2, stages + 1)]
        self.blocks = nn.ModuleList([_GeneratorStem(latent_size, widths[1]), *blocks])
        self.to_image = nn.ModuleList([EqualisedConv2d(width, channels, 1, gain=1.0) for width in widths[1:]])

    def forward(self, z: Tensor, resolution: int | None = None, alpha: float = 1.0) -> Tensor:
        """Make images.

        Args:
            z: latents ``[N, latent_size]``; put on the hypersphere here.
            resolution: side of the images in pixels; the full one by default.
            alpha: weight of the newest stage against the previous stage's output, repeated 2 x 2.

        Returns:
            ``[N, channels, resolution, resolution]``, nominally in [0, 1].

        Raises:
            ConfigError: resolution or alpha out of range.
        """
        name = type(self).__name__
        stage = _stage_in(self.resolution if resolution is None else resolution, self.resolution, alpha, name)
        x = previous = normalise_latent(z)
        for block in self.blocks[: stage + 1]:
            previous, x = x, block(x)
        image = self.to_image[stage](x)
        if alpha < 1.0 and stage > 0:
            image = torch.lerp(double(self.to_image[stage - 1](previous)), image, alpha)
        scaled: Tensor = (image + 1.0) / 2.0
        return scaled


class _GeneratorStem(nn.Module):
    """Latent to 4 px features: a dense layer (the paper's 4 x 4 convolution) and a 3 x 3 convolution."""

    def __init__(self, latent_size: int, width: int) -> None:
        super().__init__()
        # 4 x 4 positions share one latent, hence the paper's smaller gain: sqrt(2) / 4.
        self.dense = EqualisedLinear(latent_size, width * SMALLEST**2, gain=2**0.5 / 4)
        self.conv = EqualisedConv2d(width, width, 3)
        self.norm = PixelNorm()

    def forward(self, z: Tensor) -> Tensor:
        x = self.dense(z).reshape(len(z), -1, SMALLEST, SMALLEST)  # [N, C, 4, 4]
        x = self.norm(leaky(x))
        features: Tensor = self.norm(leaky(self.conv(x)))
        return features


class _GeneratorBlock(nn.Module):
    """Double the resolution, then two 3 x 3 convolutions."""

    def __init__(self, in_width: int, width: int) -> None:
        super().__init__()
        self.conv0 = EqualisedConv2d(in_width, width, 3)
        self.conv1 = EqualisedConv2d(width, width, 3)
        self.norm = PixelNorm()

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(leaky(self.conv0(double(x))))
        features: Tensor = self.norm(leaky(self.conv1(x)))
        return features


class ProgressiveDiscriminator(nn.Module):
    """Image to score, higher for real. The border maps the package's [0, 1] to [-1, 1].

    Args:
        resolution: full side in pixels, a power of two.
        channels: 1 for grey, 3 for colour.
        fmap_base: feature maps at stage s are ``fmap_base / 2^s`` (stage 1 is 4 px) ...
        fmap_max: ... but never more than this.
        group: images per group of the minibatch standard deviation.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        resolution: int = 64,
        channels: int = 1,
        fmap_base: int = 8192,
        fmap_max: int = 512,
        group: int = 4,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        _require_positive(name, channels=channels, fmap_base=fmap_base, fmap_max=fmap_max, group=group)
        stages = stages_of(resolution, name)
        widths = _widths(stages, fmap_base, fmap_max)
        #: constructor arguments; ``ProgressiveDiscriminator(**settings)`` rebuilds the network.
        self.settings: dict[str, Any] = {
            "resolution": resolution,
            "channels": channels,
            "fmap_base": fmap_base,
            "fmap_max": fmap_max,
            "group": group,
        }
        self.resolution = resolution
        self.from_image = nn.ModuleList([EqualisedConv2d(channels, width, 1) for width in widths[1:]])
        blocks = [_DiscriminatorBlock(widths[stage], widths[stage - 1]) for stage in range(2, stages + 1)]
        self.blocks = nn.ModuleList([_DiscriminatorHead(widths[1], widths[0], group), *blocks])

    def forward(self, images: Tensor, alpha: float = 1.0) -> Tensor:
        """Score images.

        Args:
            images: ``[N, channels, r, r]`` in [0, 1], r a power of two up to the full resolution.
            alpha: weight of the newest stage against the previous stage on the averaged images.

        Returns:
            ``[N]``, unbounded.

        Raises:
            ConfigError: resolution or alpha out of range.
        """
        stage = _stage_in(images.shape[-1], self.resolution, alpha, type(self).__name__)
        images = images * 2.0 - 1.0
        x = leaky(self.from_image[stage](images))
        for index in range(stage, 0, -1):
            x = self.blocks[index](x)
            if index == stage and alpha < 1.0:
                x = torch.lerp(leaky(self.from_image[stage - 1](halve(images))), x, alpha)
        scores: Tensor = self.blocks[0](x)
        return scores


class _DiscriminatorBlock(nn.Module):
    """Two 3 x 3 convolutions, then halve the resolution."""

    def __init__(self, width: int, out_width: int) -> None:
        super().__init__()
        self.conv0 = EqualisedConv2d(width, width, 3)
        self.conv1 = EqualisedConv2d(width, out_width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return halve(leaky(self.conv1(leaky(self.conv0(x)))))


class _DiscriminatorHead(nn.Module):
    """4 px features to a score: minibatch standard deviation, a 3 x 3 convolution and two dense layers."""

    def __init__(self, width: int, dense_width: int, group: int) -> None:
        super().__init__()
        self.deviation = MinibatchStd(group)
        self.conv = EqualisedConv2d(width + 1, width, 3)
        self.dense = EqualisedLinear(width * SMALLEST**2, dense_width)
        self.score = EqualisedLinear(dense_width, 1, gain=1.0)

    def forward(self, x: Tensor) -> Tensor:
        x = leaky(self.conv(self.deviation(x)))
        x = leaky(self.dense(x.flatten(1)))  # [N, dense_width]
        scores: Tensor = self.score(x).squeeze(1)  # [N]
        return scores
