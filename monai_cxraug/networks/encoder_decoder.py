"""Convolutional encoder-decoder whose architecture is a handful of numbers, so that many different ones can be drawn.

The settings are those that Zhang et al. 2018 (arXiv 1801.03924, table 2) vary to make distortions by networks. Encoder
and skip connections are those of Isola et al. 2017 (arXiv 1611.07004, section 6.1.1).
"""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the customary name)

from monai_cxraug.errors import ConfigError, InputError, nearest

#: how a decoder layer enlarges what comes in.
UPSAMPLINGS: Final = ("nearest", "bilinear", "transposed", "pixel_shuffle")
#: what follows a convolution.
NORMALISATIONS: Final = ("batch", "instance", "none")
#: strides of the first layer; all others halve.
STRIDES: Final = (1, 2, 4)
_LEAK: Final = 0.2
_WHERE: Final = "EncoderDecoder"


class EncoderDecoder(nn.Module):
    """Images to images of the same size.

    Encoder layer j gives features at level j: the first divides the image's sides by ``first_stride``, every other one
    halves; the decoder comes back level by level. A skip connection at level j < ``layers`` shows the decoder what the
    encoder had there. Layer 1 is the highest: it has the finest features.

    Args:
        channels: of the images, 1 or 3.
        layers: of the encoder, and as many of the decoder.
        width: channels of the first layer; each layer has twice as many as the one before.
        widest: most channels of a layer.
        first_stride: of the first layer: 1, 2 or 4.
        skips: skip connections, at most ``layers - 1``, from the deepest level up.
        top_skip: one at level 1 in any case.
        dropout_layers: decoder layers with dropout, the deepest ones; at most ``layers - 1``.
        dropout: share of features dropped there while training.
        upsampling: ``nearest`` or ``bilinear`` interpolation before a 3 x 3 convolution, ``transposed`` convolution,
            or ``pixel_shuffle`` (Shi et al. 2016, arXiv 1609.05158).
        normalisation: ``batch``, ``instance`` or ``none``, of all layers but the first and the last.

    Attributes:
        settings: the arguments, from which a checkpoint rebuilds the network.
        stride: sides of the images must be multiples of it, and at least twice as much.
        connections: levels with a skip connection, the highest first.

    Raises:
        ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        channels: int = 1,
        layers: int = 4,
        width: int = 32,
        widest: int = 256,
        first_stride: int = 2,
        skips: int = 0,
        top_skip: bool = False,
        dropout_layers: int = 0,
        dropout: float = 0.5,
        upsampling: str = "nearest",
        normalisation: str = "batch",
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "channels": channels,
            "layers": layers,
            "width": width,
            "widest": widest,
            "first_stride": first_stride,
            "skips": skips,
            "top_skip": top_skip,
            "dropout_layers": dropout_layers,
            "dropout": dropout,
            "upsampling": upsampling,
            "normalisation": normalisation,
        }
        _check(self.settings)
        self.stride = first_stride * 2 ** (layers - 1)
        chosen = {*range(layers - skips, layers), *([1] if top_skip and layers > 1 else [])}
        self.connections = tuple(sorted(chosen))
        widths = [channels, *(min(widest, width * 2**level) for level in range(layers))]
        strides = [first_stride, *[2] * (layers - 1)]
        self.encoder = nn.ModuleList(
            _encoder_layer(widths[level], widths[level + 1], strides[level], "none" if level == 0 else normalisation)
            for level in range(layers)
        )
        #: layer k comes from level ``layers - k`` to the next higher one; the last gives the image.
        self.decoder = nn.ModuleList(
            _decoder_layer(
                widths[level] * (2 if level in chosen else 1),
                widths[level - 1],
                strides[level - 1],
                upsampling,
                normalisation,
                dropout if level > layers - dropout_layers else 0.0,
                last=level == 1,
            )
            for level in range(layers, 0, -1)
        )
        for module in self.modules():
            _initialise(module)
        # the layout that convolutions prefer; torch's own annotations lack this form of the call
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Map images to images.

        Args:
            images: float ``[N, C, H, W]`` in [0, 1]; sides are multiples of ``stride``, and at least twice as much.

        Returns:
            The same shape, in [0, 1], at least float32.

        Raises:
            InputError: the shape does not fit.
        """
        self._require_shape(images)
        x = (images * 2 - 1).contiguous(memory_format=torch.channels_last)
        levels = []
        for layer in self.encoder:
            x = layer(x)
            levels.append(x)
        for number, layer in enumerate(self.decoder):
            level = len(levels) - number
            x = layer(torch.cat([x, levels[level - 1]], dim=1) if level in self.connections else x)
        return torch.sigmoid(x.to(torch.promote_types(x.dtype, torch.float32)))

    def _require_shape(self, images: Tensor) -> None:
        channels, least = self.settings["channels"], 2 * self.stride
        fits = images.ndim == 4 and images.shape[1] == channels
        if not fits or any(side % self.stride or side < least for side in images.shape[2:]):
            rule = f"must be [N, {channels}, H, W], H and W multiples of {self.stride} and at least {least}"
            raise InputError("images", rule, list(images.shape), "resize them, or use fewer layers")


def _check(settings: dict[str, Any]) -> None:
    """Refuse settings out of range."""
    for name in ("layers", "width", "widest", "skips", "dropout_layers"):
        least = 0 if name in ("skips", "dropout_layers") else 1
        most = settings["layers"] - 1 if least == 0 else 8 if name == "layers" else 4096
        value = settings[name]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            rule = f"must be a whole number from {least} to {most}"
            raise ConfigError(f"{_WHERE}({name})", rule, repr(value), f"mend {name}")
    choices: dict[str, tuple[Any, ...]] = {"channels": (1, 3), "first_stride": STRIDES}
    choices |= {"upsampling": UPSAMPLINGS, "normalisation": NORMALISATIONS}
    for name, known in choices.items():
        if settings[name] not in known or isinstance(settings[name], bool):
            rule, hint = f"must be {' or '.join(map(str, known))}", ""
            if isinstance(settings[name], str):
                hint = nearest(settings[name], map(str, known))
            raise ConfigError(f"{_WHERE}({name})", rule, repr(settings[name]), hint)
    if not 0 <= settings["dropout"] < 1:
        raise ConfigError(f"{_WHERE}(dropout)", "must be in [0, 1)", settings["dropout"], "0.5 is usual")


# --- layers ---


def _encoder_layer(incoming: int, outgoing: int, stride: int, normalisation: str) -> nn.Sequential:
    """Convolution, normalisation, leaky ReLU: ``[N, in, H, W]`` to ``[N, out, H / stride, W / stride]``."""
    kernel, padding = (3, 1) if stride == 1 else (2 * stride, stride // 2)
    convolution = nn.Conv2d(incoming, outgoing, kernel, stride, padding, bias=normalisation == "none")
    return nn.Sequential(convolution, _norm(normalisation, outgoing), nn.LeakyReLU(_LEAK))


def _decoder_layer(
    incoming: int, outgoing: int, stride: int, upsampling: str, normalisation: str, dropout: float, last: bool
) -> nn.Sequential:
    """Enlarging, normalisation, dropout, leaky ReLU: ``[N, in, H, W]`` to ``[N, out, H * stride, W * stride]``."""
    enlarging = _enlarge(incoming, outgoing, stride, upsampling, bias=last or normalisation == "none")
    if last:
        return nn.Sequential(enlarging)
    finish = [_norm(normalisation, outgoing), *([nn.Dropout(dropout)] if dropout else []), nn.LeakyReLU(_LEAK)]
    return nn.Sequential(enlarging, *finish)


def _enlarge(incoming: int, outgoing: int, stride: int, upsampling: str, bias: bool) -> nn.Module:
    if stride == 1:
        return nn.Conv2d(incoming, outgoing, 3, padding=1, bias=bias)
    if upsampling == "transposed":
        return nn.ConvTranspose2d(incoming, outgoing, 2 * stride, stride, stride // 2, bias=bias)
    if upsampling == "pixel_shuffle":
        wide = nn.Conv2d(incoming, outgoing * stride**2, 3, padding=1, bias=bias)
        return nn.Sequential(wide, nn.PixelShuffle(stride))
    return nn.Sequential(_Interpolation(stride, upsampling), nn.Conv2d(incoming, outgoing, 3, padding=1, bias=bias))


class _Interpolation(nn.Module):
    """Enlarge ``[N, C, H, W]`` by a whole factor."""

    def __init__(self, factor: int, mode: str) -> None:
        super().__init__()
        self.factor, self.mode = factor, mode

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=self.factor, mode=self.mode)


def _norm(kind: str, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.InstanceNorm2d(channels, affine=True) if kind == "instance" else nn.Identity()


def _initialise(module: nn.Module) -> None:
    """Keep the size of features through layers without normalisation (He et al. 2015, arXiv 1502.01852)."""
    if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        return
    places = math.prod(module.kernel_size)
    if isinstance(module, nn.ConvTranspose2d):
        places //= math.prod(module.stride)  # of the input, that one place of the output sees
    gain = nn.init.calculate_gain("leaky_relu", _LEAK)
    nn.init.normal_(module.weight, 0.0, gain / math.sqrt(module.in_channels * places))
    if module.bias is not None:
        nn.init.zeros_(module.bias)
