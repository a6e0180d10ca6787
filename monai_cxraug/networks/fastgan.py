"""Generator and discriminator for few images (Liu et al. 2021, arXiv 2101.04775, "FastGAN").

The generator is small: one convolution a resolution, and early features decide how much of each channel of late ones
passes. The discriminator must also be able to draw the real images it judges, so that it cannot live on a few details
that it knows by heart.

What differs from the paper: sides are s * 2^k pixels with s from 4 to 7 (the paper: 256 to 1024), and links between
resolutions are shorter where there are few. Nothing is added to features by chance: an image is a function of its
latent. The discriminator's score is the mean over places of what the paper scores one by one, and it looks at the image
once, not at a shrunk one besides.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the customary name)

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.networks.dcgan import doublings_of, refuse_labels, require_positive
from monai_cxraug.networks.latents import normalise_latent
from monai_cxraug.networks.layers import halve, leaky
from monai_cxraug.networks.spectral import SpectralConv2d, SpectralLinear, SpectralUpConv2d

#: channels at s, 2s, 4s, ... pixels in units of ``width``: from the paper's 4 px to its 1024 px.
_MULTIPLES: Final = (16, 8, 4, 2, 2, 1, 1 / 2, 1 / 4, 1 / 8)
#: doublings that a link of the generator and halvings that one of the discriminator spans at most, the paper's numbers.
_GENERATOR_SPAN, _DISCRIMINATOR_SPAN = 4, 3
#: halvings with two paths, at most; images above 256 px are halved by plain convolutions before.
_HALVINGS: Final = 5
#: doublings of a decoder, at most: the paper's decoders make 128 px of 8 px.
_DECODER_DOUBLINGS: Final = 4


def links_of(levels: int, longest: int) -> list[tuple[int, int]]:
    """Pairs of levels (from, to) that are linked: as many levels apart as the paper's, or two where there are few.

    Args:
        levels: changes of resolution in a row; levels are 0 to ``levels``.
        longest: levels that a link spans at most.
    """
    span = min(longest, max(2, levels - 1))
    return [(level, level + span) for level in range(levels + 1 - span)]


class SkipExcitation(nn.Module):
    """Skip-layer channel-wise excitation (section 3.1, equation 1): early features weigh the channels of late ones.

    The early features are averaged to s x s, mixed by a convolution of the whole square, a leaky ReLU and a dense
    layer (the paper's convolution of one pixel) to one number in (0, 1) for each channel.

    Args:
        side: s; the side of the early features is a multiple of it.
        early: channels of the early features.
        late: channels of the late ones.
    """

    def __init__(self, side: int, early: int, late: int) -> None:
        super().__init__()
        self.side = side
        self.mix = SpectralConv2d(early, late, side, bias=False)
        self.weigh = SpectralConv2d(late, late, 1, bias=False)

    def forward(self, early: Tensor, late: Tensor) -> Tensor:
        """Weigh late features ``[N, late, H, W]`` by early ones ``[N, early, h, w]``."""
        pooled = F.avg_pool2d(early, early.shape[-1] // self.side)  # [N, early, s, s]
        weights = torch.sigmoid(self.weigh(leaky(self.mix(pooled))))  # [N, late, 1, 1]
        return late * weights


# --- generator (section 3.1, figure 3) ---


class _Up(nn.Module):
    """Double the resolution by one convolution, batch normalisation and a gated linear unit."""

    def __init__(self, in_width: int, width: int) -> None:
        super().__init__()
        self.conv = SpectralUpConv2d(in_width, 2 * width, bias=False)
        self.norm = nn.BatchNorm2d(2 * width)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = F.glu(self.norm(self.conv(x)), dim=1)
        return features


class FastGenerator(nn.Module):
    """Latent to image. The border maps the hyperbolic tangent's [-1, 1] to the package's [0, 1].

    Batch normalisation uses the batch's numbers in training and running averages in evaluation, where an image is a
    function of its latent alone.

    Args:
        resolution: side in pixels, s * 2^k with s from 4 to 7 and k from 2 to 8.
        latent_size: length of a latent.
        channels: 1 for grey, 3 for colour.
        width: channels at s * 32 pixels; 16 times as many at s pixels. The paper's is 64.

    Raises:
        ConfigError: an argument is out of range.
    """

    #: batches are normalised by statistics of their own.
    batch_statistics = True

    def __init__(self, resolution: int = 64, latent_size: int = 256, channels: int = 1, width: int = 64) -> None:
        super().__init__()
        name = type(self).__name__
        self.side, doublings = _doublings_of(resolution, name)
        require_positive(name, latent_size=latent_size, channels=channels, width=width)
        #: constructor arguments; ``FastGenerator(**settings)`` rebuilds the network.
        self.settings: dict[str, Any] = {
            "resolution": resolution,
            "latent_size": latent_size,
            "channels": channels,
            "width": width,
        }
        self.resolution, self.latent_size, self.channels = resolution, latent_size, channels
        widths = _widths(width, doublings)
        # a transposed convolution of a single pixel is a dense layer
        self.dense = SpectralLinear(latent_size, 2 * widths[0] * self.side**2, bias=False)
        self.norm = nn.BatchNorm2d(2 * widths[0])
        self.blocks = nn.ModuleList([_Up(*pair) for pair in pairwise(widths)])
        self.links = links_of(doublings, _GENERATOR_SPAN)
        self.gates = nn.ModuleList([SkipExcitation(self.side, widths[low], widths[high]) for low, high in self.links])
        self.to_image = SpectralConv2d(widths[-1], channels, 3, padding=1)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Make images.

        Args:
            z: latents ``[N, latent_size]``; put on the hypersphere here.
            labels: None.

        Returns:
            ``[N, channels, resolution, resolution]`` in [0, 1].

        Raises:
            ConfigError: there are labels.
        """
        refuse_labels(labels, type(self).__name__)
        x = self.dense(normalise_latent(z)).unflatten(1, (-1, self.side, self.side))  # [N, 2 C, s, s]
        features = [F.glu(self.norm(_channels_last(x)), dim=1)]
        gates = {high: (low, gate) for (low, high), gate in zip(self.links, self.gates, strict=True)}
        for level, block in enumerate(self.blocks, start=1):
            x = block(features[-1])
            if level in gates:
                low, gate = gates[level]
                x = gate(features[low], x)
            features.append(x)
        image: Tensor = (torch.tanh(self.to_image(features[-1])) + 1.0) / 2.0
        return image


# --- discriminator (section 3.2, figure 4) ---


class Encoding(NamedTuple):
    """Features of images from which a discriminator's decoders draw them again, with s the smallest side.

    Args:
        fine: ``[N, C, 4s, 4s]`` (the paper's f1), of which a part is drawn; 2s where the image has 4s.
        coarse: ``[N, D, 2s, 2s]`` (the paper's f2), of which the whole image is drawn; s where the image has 4s.
    """

    fine: Tensor
    coarse: Tensor


class _Layer(nn.Module):
    """Convolution, batch normalisation, leaky ReLU."""

    def __init__(self, in_width: int, width: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = SpectralConv2d(in_width, width, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return leaky(self.norm(self.conv(x)))


class _Down(nn.Module):
    """Halve the resolution on two paths whose mean is taken: two convolutions, and an average with one of 1 x 1."""

    def __init__(self, in_width: int, width: int) -> None:
        super().__init__()
        self.main = nn.Sequential(_Layer(in_width, width, 4, stride=2, padding=1), _Layer(width, width, 3, padding=1))
        self.direct = _Layer(in_width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean: Tensor = (self.main(x) + self.direct(halve(x))) / 2.0
        return mean


class _Decoder(nn.Module):
    """Features to an image in [0, 1]: doublings of one convolution each, then one to the image's channels."""

    def __init__(self, widths: list[int], channels: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(_Up(*pair) for pair in pairwise(widths)))
        self.to_image = SpectralConv2d(widths[-1], channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        image: Tensor = (torch.tanh(self.to_image(self.blocks(x))) + 1.0) / 2.0
        return image


class FastDiscriminator(nn.Module):
    """Image to score, higher for real, and features from which it can draw the image again.

    The border maps the package's [0, 1] to [-1, 1].

    Args:
        resolution: side in pixels, s * 2^k with s from 4 to 7 and k from 2 to 8.
        channels: 1 for grey, 3 for colour.
        width: channels at s * 32 pixels, as in the generator. The paper's is 64.

    Raises:
        ConfigError: an argument is out of range.
    """

    batch_statistics = True

    def __init__(self, resolution: int = 64, channels: int = 1, width: int = 64) -> None:
        super().__init__()
        name = type(self).__name__
        self.side, doublings = _doublings_of(resolution, name)
        require_positive(name, channels=channels, width=width)
        #: constructor arguments; ``FastDiscriminator(**settings)`` rebuilds the network.
        self.settings: dict[str, Any] = {"resolution": resolution, "channels": channels, "width": width}
        self.resolution, self.channels = resolution, channels
        halvings = max(2, doublings - 1)
        widths = _widths(width, doublings)[::-1][: halvings + 1]  # at R, R / 2, ... pixels
        plain = max(0, halvings - _HALVINGS)
        strided = [SpectralConv2d(*pair, 4, 2, 1) for pair in pairwise(widths[: plain + 1])]
        self.entry = nn.ModuleList([SpectralConv2d(channels, widths[0], 3, padding=1), *strided])
        self.blocks = nn.ModuleList([_Down(*pair) for pair in pairwise(widths[plain:])])
        self.links = links_of(halvings - plain, _DISCRIMINATOR_SPAN)
        self.gates = nn.ModuleList(
            [SkipExcitation(self.side, widths[plain + high], widths[plain + low]) for high, low in self.links]
        )
        self.mix = _Layer(widths[-1], widths[-1], 1)
        self.score = SpectralConv2d(widths[-1], 1, 4)
        upwards = widths[::-1]  # from the smallest features to the image
        self.whole = _Decoder(upwards[: 1 + min(_DECODER_DOUBLINGS, halvings)], channels)
        self.detail = _Decoder(upwards[1 : 2 + min(_DECODER_DOUBLINGS, halvings - 1)], channels)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Score images: the first part of :meth:`judge`, which takes the same arguments."""
        return self.judge(images, labels)[0]

    def judge(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Encoding]:
        """Score images and encode them.

        Args:
            images: ``[N, channels, resolution, resolution]`` in [0, 1].
            labels: None.

        Returns:
            Scores ``[N]``, unbounded, and the features from which :meth:`redraw` draws the images again.

        Raises:
            InputError: the images have another shape.
            ConfigError: there are labels.
        """
        refuse_labels(labels, type(self).__name__)
        if tuple(images.shape[1:]) != (self.channels, self.resolution, self.resolution):
            rule = f"must be [N, {self.channels}, {self.resolution}, {self.resolution}]"
            raise InputError("images to judge", rule, list(images.shape), "resize them, or build another discriminator")
        x = _channels_last(images * 2.0 - 1.0)
        for layer in self.entry:
            x = leaky(layer(x))
        features = [x]
        gates = {late: (early, gate) for (early, late), gate in zip(self.links, self.gates, strict=True)}
        for level, block in enumerate(self.blocks, start=1):
            x = block(features[-1])
            if level in gates:
                early, gate = gates[level]
                x = gate(features[early], x)
            features.append(x)
        scores = self.score(self.mix(x)).mean(dim=(1, 2, 3))
        return scores, Encoding(features[-2], features[-1])

    def redraw(self, images: Tensor, encoding: Encoding, chance: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Draw images again from what :meth:`judge` made of them: each as a whole, and a part of each.

        The part is half as high and wide as the image, and whole in the fine features, which are cut to it first.

        Args:
            images: ``[N, channels, resolution, resolution]`` in [0, 1].
            encoding: of these images.
            chance: ``[N]`` in [0, 1), which of the possible places the part has; all are equally likely.

        Returns:
            Twice what was drawn, in [0, 1], and what it should be: the whole image and the part of it, averaged over
            areas to at most 16 times the side of the features that they were drawn from.
        """
        half = encoding.fine.shape[-1] // 2  # the part's side in features, and the most that it lies from an edge
        chosen = (chance * (half + 1) ** 2).long()
        corners = torch.stack([chosen // (half + 1), chosen % (half + 1)], dim=1)  # [N, 2], row and column
        parts = cut_halves(images, corners * (self.resolution // (2 * half)))
        drawn = self.whole(encoding.coarse), self.detail(cut_halves(encoding.fine, corners))
        pairs = zip(drawn, (images, parts), strict=True)
        return [(made, F.avg_pool2d(wanted, wanted.shape[-1] // made.shape[-1])) for made, wanted in pairs]


def cut_halves(images: Tensor, corners: Tensor) -> Tensor:
    """Cut a square of half the side out of each image.

    Args:
        images: ``[N, C, H, H]``.
        corners: ``[N, 2]``, first row and column of each square, from 0 to H / 2.

    Returns:
        ``[N, C, H / 2, H / 2]``.
    """
    places = torch.arange(images.shape[-1] // 2, device=images.device)
    rows, columns = corners[:, :1] + places, corners[:, 1:] + places  # [N, H / 2]
    numbers = torch.arange(len(images), device=images.device)[:, None, None]
    cut = images.permute(0, 2, 3, 1)[numbers, rows[:, :, None], columns[:, None, :]]  # [N, H / 2, H / 2, C]
    return cut.permute(0, 3, 1, 2)


def _channels_last(x: Tensor) -> Tensor:
    """In the memory order in which convolutions are fastest."""
    return x.contiguous(memory_format=torch.channels_last)


def _widths(width: int, doublings: int) -> list[int]:
    """Channels at s, 2s, 4s, ... pixels, at least 1."""
    return [max(1, int(width * multiple)) for multiple in _MULTIPLES[: doublings + 1]]


def _doublings_of(resolution: int, where: str) -> tuple[int, int]:
    """As :func:`~monai_cxraug.networks.dcgan.doublings_of`, of at least two doublings."""
    side, doublings = doublings_of(resolution, where)
    if doublings < 2:
        raise ConfigError(where, "resolution must be at least 16", resolution, "use 28, 32, 56, 64, 112, 128, ...")
    return side, doublings
