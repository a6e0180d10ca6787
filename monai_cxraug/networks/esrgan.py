"""ESRGAN: a network that enlarges images, and the one that judges them (Wang et al. 2018, arXiv 1809.00219)."""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the customary name)
from torch.nn.utils.parametrizations import spectral_norm

from monai_cxraug.errors import ConfigError, InputError, nearest

#: factors by which a network enlarges.
SCALES: Final = (1, 2, 4)
#: what keeps a discriminator's convolutions in bounds.
NORMALISATIONS: Final = ("batch", "spectral", "none")
_LEAK: Final = 0.2
#: share of a residual that is added (section 3.1).
_RESIDUAL: Final = 0.2
#: of the initial weights inside the dense blocks, relative to the usual ones (section 3.1).
_SMALL: Final = 0.1
_DENSE_LAYERS: Final = 5
_BLOCKS_WITHIN: Final = 3
_WHERE: Final = "EnlargingNetwork"


# --- the generator ---


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees what came in and all that the ones before made (figure 4, right).

    Args:
        features: channels that come in and go out.
        growth: channels that each of the first four adds.
    """

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        outgoing = [*[growth] * (_DENSE_LAYERS - 1), features]
        self.layers = nn.ModuleList(_convolution(features + k * growth, out) for k, out in enumerate(outgoing))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, features, H, W]`` to the same shape; a fifth of what it finds is added to what came in."""
        seen = [x]
        for layer in self.layers[:-1]:
            seen.append(F.leaky_relu(layer(torch.cat(seen, dim=1)), _LEAK))
        found: Tensor = self.layers[-1](torch.cat(seen, dim=1))
        return x + _RESIDUAL * found


class ResidualDenseBlock(nn.Module):
    """Three dense blocks within one more residual: the RRDB, residual in residual (figure 4, left).

    Args:
        features: channels that come in and go out.
        growth: of the dense blocks.
    """

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.dense = nn.Sequential(*(DenseBlock(features, growth) for _ in range(_BLOCKS_WITHIN)))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, features, H, W]`` to the same shape."""
        found: Tensor = self.dense(x)
        return x + _RESIDUAL * found


class EnlargingNetwork(nn.Module):
    """Images to images whose sides are ``scale`` times as long: the generator of ESRGAN, without batch normalisation.

    A convolution, a trunk of residual-in-residual dense blocks with a connection around it, as many doublings (nearest
    neighbour and a convolution) as the scale needs, two convolutions (section 3.1). With ``unshuffle`` the pixels of
    small squares become channels first (Shi et al. 2016, arXiv 1609.05158, turned round), so that the trunk works on
    fewer places; the doublings make up for it. Public networks for scales 2 and 1 are made so.

    Args:
        channels: of the images, 1 or 3.
        scale: 1, 2 or 4; 1 restores without enlarging.
        features: channels of the trunk; the paper's network has 64.
        blocks: residual-in-residual dense blocks; the paper's has 23.
        growth: channels that a layer of a dense block adds; the paper's has 32.
        unshuffle: side of the squares whose pixels become channels: 1 (none), 2 or 4; scale times it is at most 8.
        residual: give the difference from bicubic interpolation (Kim et al. 2016, arXiv 1511.04587, section 3.1), which
            a short training begins with; the paper's network gives the whole image.

    Attributes:
        settings: the arguments, from which a checkpoint rebuilds the network.
        scale: as given.
        channels: as given.

    Raises:
        ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        channels: int = 1,
        scale: int = 2,
        features: int = 64,
        blocks: int = 23,
        growth: int = 32,
        unshuffle: int = 1,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "channels": channels,
            "scale": scale,
            "features": features,
            "blocks": blocks,
            "growth": growth,
            "unshuffle": unshuffle,
            "residual": residual,
        }
        _check(self.settings)
        self.channels, self.scale, self.unshuffle, self.residual = channels, scale, unshuffle, residual
        self.first = _convolution(channels * unshuffle**2, features)
        self.trunk = nn.Sequential(*(ResidualDenseBlock(features, growth) for _ in range(blocks)))
        self.body = _convolution(features, features)
        doublings = int(math.log2(scale * unshuffle))
        self.doublings = nn.ModuleList(_convolution(features, features) for _ in range(doublings))
        self.fine = _convolution(features, features)
        self.last = _convolution(features, channels)
        for module in self.modules():
            if isinstance(module, DenseBlock):
                _shrink(module)
        _shrink(self.last)  # begin near black, or near the interpolation
        # the layout that convolutions prefer; torch's own annotations lack this form of the call
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Enlarge images.

        Args:
            images: float ``[N, C, H, W]`` in [0, 1], of any height and width.

        Returns:
            ``[N, C, scale * H, scale * W]``, at least float32; in evaluation cut off at 0 and 1, in training not, so
            that what lies beyond still learns.

        Raises:
            InputError: the shape does not fit.
        """
        self._require_shape(images)
        height, width = (side * self.scale for side in images.shape[2:])
        x = self._unshuffled(images).contiguous(memory_format=torch.channels_last)
        x = self.first(x)
        x = x + self.body(self.trunk(x))
        for layer in self.doublings:
            x = F.leaky_relu(layer(F.interpolate(x, scale_factor=2, mode="nearest")), _LEAK)
        x = self.last(F.leaky_relu(self.fine(x), _LEAK))
        made: Tensor = x[:, :, :height, :width].to(torch.promote_types(x.dtype, torch.float32))
        if self.residual:
            made = made + self._interpolated(images)
        return made if self.training else made.clamp(0.0, 1.0)

    def _unshuffled(self, images: Tensor) -> Tensor:
        """Squares of pixels as channels; the last row and column are repeated until squares fill the image."""
        if self.unshuffle == 1:
            return images
        missing = [-side % self.unshuffle for side in images.shape[2:]]
        if any(missing):
            images = F.pad(images, (0, missing[1], 0, missing[0]), mode="replicate")
        return F.pixel_unshuffle(images, self.unshuffle)

    def _interpolated(self, images: Tensor) -> Tensor:
        exact = images.to(torch.promote_types(images.dtype, torch.float32))
        if self.scale == 1:
            return exact
        return F.interpolate(exact, scale_factor=self.scale, mode="bicubic", align_corners=False)

    def _require_shape(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != self.channels or not all(images.shape[2:]):
            rule = f"must be [N, {self.channels}, H, W]"
            raise InputError("images", rule, list(images.shape), f"give images of {self.channels} channels")


def _check(settings: dict[str, Any]) -> None:
    for name, choices in (("channels", (1, 3)), ("scale", SCALES), ("unshuffle", SCALES)):
        if settings[name] not in choices or isinstance(settings[name], bool):
            rule = f"must be {', '.join(map(str, choices[:-1]))} or {choices[-1]}"
            raise ConfigError(f"{_WHERE}({name})", rule, repr(settings[name]), f"mend {name}")
    if settings["scale"] * settings["unshuffle"] > 2 * SCALES[-1]:
        found = f"{settings['scale']} * {settings['unshuffle']}"
        raise ConfigError(f"{_WHERE}(unshuffle)", "scale * unshuffle must be at most 8", found, "lower one of them")
    for name in ("features", "blocks", "growth"):
        _require_whole(f"{_WHERE}({name})", settings[name], 1, 1024)
    if not isinstance(settings["residual"], bool):
        raise ConfigError(f"{_WHERE}(residual)", "must be true or false", repr(settings["residual"]), "mend residual")


def _require_whole(where: str, value: Any, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(where, f"must be a whole number from {least} to {most}", repr(value), "mend it")


def _convolution(incoming: int, outgoing: int) -> nn.Conv2d:
    """3 x 3, ``[N, in, H, W]`` to ``[N, out, H, W]``; weights keep the size of features (He et al. 2015)."""
    layer = nn.Conv2d(incoming, outgoing, 3, padding=1)
    nn.init.kaiming_normal_(layer.weight, _LEAK)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


@torch.no_grad()
def _shrink(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.mul_(_SMALL)


# --- the discriminator ---


class EnlargedDiscriminator(nn.Module):
    """Images to a score for each patch, higher for real, by pairs of convolutions as in VGG (Ledig et al. 2017).

    The first of a pair keeps the size, the second (4 x 4, stride 2) halves it (figure 4 there). ESRGAN's own ends in
    dense layers that see every place of a crop of 128 px, and gives one score. Here two layers of single places follow,
    as in a discriminator of patches (Isola et al. 2017, arXiv 1611.07004, section 3.2.2): images of any size can be
    judged, and a batch of few images has many scores to take a mean over.

    Args:
        channels: of the images, 1 or 3.
        levels: pairs of convolutions; the paper's has 5.
        width: channels of the first pair; each next has twice as many. The paper's has 64.
        widest: most channels of a layer; the paper's has 512.
        normalisation: ``batch`` (the paper's; all layers but the first and those of single places); ``spectral`` (of
            all layers; Miyato et al. 2018, arXiv 1802.05957), which lets no image of a batch decide about another, but
            learns slowly at first; or ``none``.

    Attributes:
        settings: the arguments.
        least: smallest side of an image in pixels.

    Raises:
        ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        channels: int = 1,
        levels: int = 5,
        width: int = 64,
        widest: int = 512,
        normalisation: str = "batch",
    ) -> None:
        super().__init__()
        where = "EnlargedDiscriminator"
        if channels not in (1, 3) or isinstance(channels, bool):
            raise ConfigError(f"{where}(channels)", "must be 1 or 3", repr(channels), "mend channels")
        _require_whole(f"{where}(levels)", levels, 1, 8)
        _require_whole(f"{where}(width)", width, 1, 4096)
        _require_whole(f"{where}(widest)", widest, 1, 4096)
        if normalisation not in NORMALISATIONS:
            hint = nearest(str(normalisation), NORMALISATIONS)
            raise ConfigError(f"{where}(normalisation)", "unknown normalisation", repr(normalisation), hint)
        self.settings: dict[str, Any] = {
            "channels": channels,
            "levels": levels,
            "width": width,
            "widest": widest,
            "normalisation": normalisation,
        }
        self.channels, self.least = channels, 2**levels
        widths = [channels, *(min(widest, width * 2**level) for level in range(levels))]
        layers: list[nn.Module] = []
        for level in range(levels):
            first = "none" if normalisation == "batch" and level == 0 else normalisation
            layers += _judging_layer(nn.Conv2d(widths[level], widths[level + 1], 3, padding=1), first)
            layers += _judging_layer(nn.Conv2d(widths[level + 1], widths[level + 1], 4, 2, padding=1), normalisation)
        alone = "spectral" if normalisation == "spectral" else "none"
        layers += _judging_layer(nn.Conv2d(widths[-1], widths[-1], 1), alone)
        layers += _judging_layer(nn.Conv2d(widths[-1], 1, 1), alone)[:1]
        self.body = nn.Sequential(*layers)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Judge images.

        Args:
            images: float ``[N, C, H, W]`` in [0, 1], real or enlarged; sides of at least ``least``.

        Returns:
            Scores ``[N, h, w]``, one for each patch.

        Raises:
            InputError: the shape does not fit.
        """
        if images.ndim != 4 or images.shape[1] != self.channels or min(images.shape[2:]) < self.least:
            rule = f"must be [N, {self.channels}, H, W], sides of at least {self.least}"
            raise InputError("images to judge", rule, list(images.shape), "use fewer levels in the discriminator")
        scores: Tensor = self.body((images * 2 - 1).contiguous(memory_format=torch.channels_last))[:, 0]
        return scores


def _judging_layer(convolution: nn.Conv2d, normalisation: str) -> list[nn.Module]:
    norm = [nn.BatchNorm2d(convolution.out_channels)] if normalisation == "batch" else []
    nn.init.kaiming_normal_(convolution.weight, _LEAK)
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return [_held(convolution, normalisation), *norm, nn.LeakyReLU(_LEAK)]


def _held(layer: nn.Module, normalisation: str) -> nn.Module:
    return spectral_norm(layer) if normalisation == "spectral" else layer
