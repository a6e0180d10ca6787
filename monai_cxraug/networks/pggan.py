"""Generator and discriminator of the progressive GAN (Karras et al. 2017, arXiv 1710.10196, tables 2 and 6).

Both take the resolution from 4 px to the full one and the fade-in weight alpha per call; they keep no growth state, so
the same weights serve every phase.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from monai_cxraug.errors import ConfigError
from monai_cxraug.networks.latents import normalise_latent
from monai_cxraug.networks.layers import (
    DownConv2d,
    EqualisedConv2d,
    EqualisedLinear,
    MinibatchStd,
    PixelNorm,
    UpConv2d,
    double,
    halve,
    leaky,
)

#: how a discriminator uses findings.
Condition = Literal["auxiliary", "projection"]
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


def _require_count(where: str, findings: int) -> None:
    if findings < 0:
        raise ConfigError(f"{where}(findings)", "must be at least 0", findings, "0 for no condition")


def _encode(labels: Tensor | None, n: int, findings: int, where: str) -> Tensor | None:
    """Labels as numbers for a dense layer: 1 present, -1 absent, 0 unknown."""
    if labels is None and findings == 0:
        return None
    if labels is None or findings == 0 or tuple(labels.shape) != (n, findings):
        found = "none" if labels is None else list(labels.shape)
        mend = f"give one row of {findings} labels an image" if findings else "build the network with findings"
        raise ConfigError(f"{where}(labels)", f"must be [{n}, {findings}]" if findings else "not used", found, mend)
    return torch.where(labels.isnan(), 0.0, labels * 2.0 - 1.0)


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
        fmap_max: ... but never more than this. The defaults are the paper's: 512 maps to 32 px, then 256, 128, 64, ...
        findings: length of the label vector that conditions the image; 0 for none.

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
        findings: int = 0,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        _require_positive(name, latent_size=latent_size, channels=channels, fmap_base=fmap_base, fmap_max=fmap_max)
        _require_count(name, findings)
        stages = stages_of(resolution, name)
        widths = _widths(stages, fmap_base, fmap_max)
        #: constructor arguments; ``ProgressiveGenerator(**settings)`` rebuilds the network.
        self.settings: dict[str, Any] = {
            "resolution": resolution,
            "latent_size": latent_size,
            "channels": channels,
            "fmap_base": fmap_base,
            "fmap_max": fmap_max,
            "findings": findings,
        }
        self.resolution, self.latent_size, self.channels, self.findings = resolution, latent_size, channels, findings
        blocks = [_GeneratorBlock(widths[stage - 1], widths[stage]) for stage in range(2, stages + 1)]
        self.blocks = nn.ModuleList([_GeneratorStem(latent_size + findings, widths[1]), *blocks])
        self.to_image = nn.ModuleList([EqualisedConv2d(width, channels, 1, gain=1.0) for width in widths[1:]])

    def forward(
        self, z: Tensor, resolution: int | None = None, alpha: float = 1.0, labels: Tensor | None = None
    ) -> Tensor:
        """Make images.

        Args:
            z: latents ``[N, latent_size]``; put on the hypersphere here.
            resolution: side of the images in pixels; the full one by default.
            alpha: weight of the newest stage against the previous stage's output, repeated 2 x 2.
            labels: ``[N, findings]``, 1 present, 0 absent, NaN unknown; only for a conditional generator.

        Returns:
            ``[N, channels, resolution, resolution]``, nominally in [0, 1].

        Raises:
            ConfigError: resolution or alpha out of range, or labels missing, unwanted or of another shape.
        """
        name = type(self).__name__
        stage = _stage_in(self.resolution if resolution is None else resolution, self.resolution, alpha, name)
        x = previous = normalise_latent(z)
        if (code := _encode(labels, len(z), self.findings, name)) is not None:
            x = torch.cat([x, code], dim=1)
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
        x = self.dense(z).unflatten(1, (-1, SMALLEST, SMALLEST))  # [N, C, 4, 4]
        x = self.norm(leaky(x))
        features: Tensor = self.norm(leaky(self.conv(x)))
        return features


class _GeneratorBlock(nn.Module):
    """Double the resolution, then two 3 x 3 convolutions."""

    def __init__(self, in_width: int, width: int) -> None:
        super().__init__()
        self.conv0 = UpConv2d(in_width, width)
        self.conv1 = EqualisedConv2d(width, width, 3)
        self.norm = PixelNorm()

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(leaky(self.conv0(x)))
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
        findings: length of the label vector; 0 for an unconditional discriminator.
        condition: ``"auxiliary"`` adds one logit a finding (Odena et al. 2017, arXiv 1610.09585, with independent
            findings); ``"projection"`` adds the product of the labels' embedding and the features to the score
            (Miyato and Koyama 2018, arXiv 1802.05637).

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
        findings: int = 0,
        condition: Condition = "auxiliary",
    ) -> None:
        super().__init__()
        name = type(self).__name__
        _require_positive(name, channels=channels, fmap_base=fmap_base, fmap_max=fmap_max, group=group)
        _require_count(name, findings)
        if condition not in get_args(Condition):
            raise ConfigError(f"{name}(condition)", f"must be one of {', '.join(get_args(Condition))}", condition)
        stages = stages_of(resolution, name)
        widths = _widths(stages, fmap_base, fmap_max)
        #: constructor arguments; ``ProgressiveDiscriminator(**settings)`` rebuilds the network.
        self.settings: dict[str, Any] = {
            "resolution": resolution,
            "channels": channels,
            "fmap_base": fmap_base,
            "fmap_max": fmap_max,
            "group": group,
            "findings": findings,
            "condition": condition,
        }
        self.resolution, self.channels, self.findings, self.group = resolution, channels, findings, group
        self.from_image = nn.ModuleList([EqualisedConv2d(channels, width, 1) for width in widths[1:]])
        blocks = [_DiscriminatorBlock(widths[stage], widths[stage - 1]) for stage in range(2, stages + 1)]
        self.blocks = nn.ModuleList([_DiscriminatorHead(widths[1], widths[0], group), *blocks])
        self.score = EqualisedLinear(widths[0], 1, gain=1.0)
        self.classify = self.embed = None
        if findings and condition == "auxiliary":
            self.classify = EqualisedLinear(widths[0], findings, gain=1.0)
        elif findings:
            self.embed = EqualisedLinear(findings, widths[0], gain=1.0)

    def forward(self, images: Tensor, alpha: float = 1.0, labels: Tensor | None = None) -> Tensor:
        """Score images: the first part of :meth:`judge`, which takes the same arguments."""
        return self.judge(images, alpha, labels)[0]

    def judge(self, images: Tensor, alpha: float = 1.0, labels: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Score images and, with an auxiliary classifier, name their findings.

        Args:
            images: ``[N, channels, r, r]`` in [0, 1], r a power of two up to the full resolution.
            alpha: weight of the newest stage against the previous stage on the averaged images.
            labels: ``[N, findings]``, 1 present, 0 absent, NaN unknown; only for a conditional discriminator, of which
                a projection needs them and an auxiliary classifier does not look at them.

        Returns:
            Scores ``[N]``, unbounded; logits ``[N, findings]`` of an auxiliary classifier, else None.

        Raises:
            ConfigError: resolution or alpha out of range, or labels missing, unwanted or of another shape.
        """
        given = labels is not None or self.embed is not None
        code = _encode(labels, len(images), self.findings, type(self).__name__) if given else None
        x = self._features(images, alpha)
        scores = self.score(x).squeeze(1)
        if self.embed is not None:
            # a product of two vectors of unit variance, brought back to unit variance like every other layer
            scores = scores + (self.embed(code) * x).sum(dim=1) / x.shape[1] ** 0.5
        return scores, None if self.classify is None else self.classify(x)

    def _features(self, images: Tensor, alpha: float) -> Tensor:
        stage = _stage_in(images.shape[-1], self.resolution, alpha, type(self).__name__)
        images = _channels_last(images * 2.0 - 1.0)
        x = leaky(self.from_image[stage](images))
        for index in range(stage, 0, -1):
            x = self.blocks[index](x)
            if index == stage and alpha < 1.0:
                x = torch.lerp(leaky(self.from_image[stage - 1](halve(images))), x, alpha)
        features: Tensor = self.blocks[0](x)
        return features


def _channels_last(images: Tensor) -> Tensor:
    """Bring images into the memory order in which convolutions are fastest, that of all layers that follow."""
    if images.shape[1] > 1:
        return images.contiguous(memory_format=torch.channels_last)
    # of one channel both orders are the same bytes, and only the strides tell the first layer which one to go on with
    return images.reshape(len(images), *images.shape[2:], 1).permute(0, 3, 1, 2)


class _DiscriminatorBlock(nn.Module):
    """Two 3 x 3 convolutions, the second of which halves the resolution, before its activation."""

    def __init__(self, width: int, out_width: int) -> None:
        super().__init__()
        self.conv0 = EqualisedConv2d(width, width, 3)
        self.conv1 = DownConv2d(width, out_width)

    def forward(self, x: Tensor) -> Tensor:
        return leaky(self.conv1(leaky(self.conv0(x))))


class _DiscriminatorHead(nn.Module):
    """4 px features to one vector: minibatch standard deviation, a 3 x 3 convolution and a dense layer."""

    def __init__(self, width: int, dense_width: int, group: int) -> None:
        super().__init__()
        self.deviation = MinibatchStd(group)
        self.conv = EqualisedConv2d(width + 1, width, 3)
        self.dense = EqualisedLinear(width * SMALLEST**2, dense_width)

    def forward(self, x: Tensor) -> Tensor:
        x = leaky(self.conv(self.deviation(x)))
        return leaky(self.dense(x.flatten(1)))  # [N, dense_width]
