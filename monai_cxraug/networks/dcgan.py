"""Generator and discriminator of the deep convolutional GAN (Radford et al. 2016, arXiv 1511.06434, section 3).

Convolutions of 4 x 4 pixels with stride 2, each with batch normalisation but the generator's last and the
discriminator's first one; ReLU and a hyperbolic tangent at the end in the generator, leaky ReLU in the discriminator;
weights begin normal with a standard deviation of 0.02.

What differs from the paper: sides are s * 2^k pixels with s from 4 to 7 (the paper: 4 * 2^4), and kernels have four
pixels where the paper has five, so that every output pixel sees equally many.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from monai_cxraug.errors import ConfigError
from monai_cxraug.networks.latents import Layout
from monai_cxraug.networks.layers import LEAK

#: standard deviation of the weights before training (section 4).
_DEVIATION = 0.02
#: doublings of the smallest side: from 28 px (7 * 2^2) or less to 448 px and beyond.
_LEAST, _MOST = 1, 8


def doublings_of(resolution: int, where: str) -> tuple[int, int]:
    """Smallest side s, from 4 to 7, and number of doublings k of a side s * 2^k.

    Raises:
        ConfigError: it is no such side, or k is not from 1 to 8.
    """
    whole = isinstance(resolution, int) and not isinstance(resolution, bool) and resolution > 0
    doublings = resolution.bit_length() - 3 if whole else 0
    if not _LEAST <= doublings <= _MOST or resolution % 2**doublings:
        rule = f"resolution must be 4, 5, 6 or 7 doubled {_LEAST} to {_MOST} times"
        raise ConfigError(where, rule, repr(resolution), "use 28, 32, 56, 64, 112, 128, 224, ...")
    return resolution >> doublings, doublings


def widths_of(width: int, most: int, doublings: int) -> list[int]:
    """Channels at s, 2s, ..., 2^(k-1) s pixels: doubled towards the small ones, from ``width`` and up to ``most``."""
    return [min(width << step, most) for step in reversed(range(doublings))]


def require_positive(where: str, **sizes: int) -> None:
    """Refuse what is not a positive whole number.

    Raises:
        ConfigError: one is not.
    """
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            rule = "must be a whole number of at least 1"
            raise ConfigError(f"{where}({name})", rule, repr(size), f"give a positive {name}")


def begin_normal(network: nn.Module) -> None:
    """Draw the weights of all convolutions and dense layers anew: normal, standard deviation 0.02; biases are 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, _DEVIATION)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def refuse_labels(labels: Tensor | None, where: str) -> None:
    """Refuse labels, which these networks are not conditional on.

    Raises:
        ConfigError: there are some.
    """
    if labels is not None:
        mend = "train one network for each finding, or a conditional PGGAN"
        raise ConfigError(f"{where}(labels)", "not used", list(labels.shape), mend)


# --- generators ---


class Decoder(nn.Module):
    """Latents to images: a dense layer to s x s pixels, then transposed convolutions that double the side.

    Batch normalisation uses the batch's numbers in training and running averages in evaluation, where an image is a
    function of its latent alone. The border maps the hyperbolic tangent's [-1, 1] to the package's [0, 1].

    Args:
        layout: of the latents; the noise is put on the hypersphere here.
        resolution: side of the images in pixels.
        channels: of the images, 1 for grey, 3 for colour.
        width: channels at half the resolution; doubled at each smaller side ...
        most: ... up to this.
        where: the network to name in errors.

    Raises:
        ConfigError: an argument is out of range.
    """

    #: batches are normalised by statistics of their own.
    batch_statistics = True

    def __init__(self, layout: Layout, resolution: int, channels: int, width: int, most: int, where: str) -> None:
        super().__init__()
        self.side, doublings = doublings_of(resolution, where)
        require_positive(where, channels=channels, width=width, most=most)
        self.layout, self.resolution, self.channels = layout, resolution, channels
        self.latent_size = layout.size
        widths = widths_of(width, most, doublings)
        self.dense = nn.Linear(layout.size, widths[0] * self.side**2, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        blocks: list[nn.Module] = []
        for pair in pairwise(widths):
            blocks += [_up(*pair, bias=False), nn.BatchNorm2d(pair[1]), nn.ReLU()]
        self.blocks = nn.Sequential(*blocks)
        self.to_image = _up(widths[-1], channels, bias=True)
        begin_normal(self)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Make images.

        Args:
            z: latents ``[N, latent_size]``.
            labels: None.

        Returns:
            ``[N, channels, resolution, resolution]`` in [0, 1].

        Raises:
            ConfigError: there are labels.
        """
        refuse_labels(labels, type(self).__name__)
        x = self.dense(self.layout.normalise(z)).unflatten(1, (-1, self.side, self.side))  # [N, C, s, s]
        image = self.to_image(self.blocks(torch.relu(self.norm(x))))
        scaled: Tensor = (torch.tanh(image) + 1.0) / 2.0
        return scaled


class DcganGenerator(Decoder):
    """Noise to image, see :class:`Decoder`.

    Args:
        resolution: side in pixels, s * 2^k with s from 4 to 7.
        latent_size: length of a latent; the paper's is 100.
        channels: 1 for grey, 3 for colour.
        width: channels at half the resolution; the paper's is 128.
        most: most channels; the paper's is 1024.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self, resolution: int = 64, latent_size: int = 100, channels: int = 1, width: int = 128, most: int = 1024
    ) -> None:
        #: constructor arguments; ``DcganGenerator(**settings)`` rebuilds the network.
        settings = {"resolution": resolution, "latent_size": latent_size, "channels": channels}
        name = type(self).__name__
        require_positive(name, latent_size=latent_size)
        super().__init__(Layout(latent_size), resolution, channels, width, most, name)
        self.settings: dict[str, Any] = {**settings, "width": width, "most": most}


# --- discriminators ---


class Encoder(nn.Module):
    """Images in [0, 1] to features ``[N, width, s, s]``: convolutions that halve the side, down to s pixels.

    Args:
        resolution: side of the images in pixels.
        channels: of the images.
        width: channels at half the resolution; doubled at each smaller side ...
        most: ... up to this.
        where: the network to name in errors.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(self, resolution: int, channels: int, width: int, most: int, where: str) -> None:
        super().__init__()
        side, doublings = doublings_of(resolution, where)
        require_positive(where, channels=channels, width=width, most=most)
        widths = widths_of(width, most, doublings)[::-1]
        layers: list[nn.Module] = [_down(channels, widths[0], bias=True), nn.LeakyReLU(LEAK)]
        for pair in pairwise(widths):
            layers += [_down(*pair, bias=False), nn.BatchNorm2d(pair[1]), nn.LeakyReLU(LEAK)]
        self.layers = nn.Sequential(*layers)
        #: numbers in the features of an image.
        self.features = widths[-1] * side**2

    def forward(self, images: Tensor) -> Tensor:
        """Features of images ``[N, channels, resolution, resolution]``, flattened: ``[N, features]``."""
        features: Tensor = self.layers(images * 2.0 - 1.0).flatten(1)
        return features


class DcganDiscriminator(nn.Module):
    """Image to score, higher for real.

    Args:
        resolution: side of the images in pixels, s * 2^k with s from 4 to 7.
        channels: 1 for grey, 3 for colour.
        width: channels at half the resolution; the paper's is 128.
        most: most channels; the paper's is 1024.

    Raises:
        ConfigError: an argument is out of range.
    """

    batch_statistics = True

    def __init__(self, resolution: int = 64, channels: int = 1, width: int = 128, most: int = 1024) -> None:
        super().__init__()
        self.resolution, self.channels = resolution, channels
        self.encoder = Encoder(resolution, channels, width, most, type(self).__name__)
        self.score = nn.Linear(self.encoder.features, 1)
        begin_normal(self)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Score images: the first part of :meth:`judge`, which takes the same arguments."""
        return self.judge(images, labels)[0]

    def judge(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, None]:
        """Score images.

        Args:
            images: ``[N, channels, resolution, resolution]`` in [0, 1].
            labels: None.

        Returns:
            Scores ``[N]``, unbounded, and None.

        Raises:
            ConfigError: there are labels.
        """
        refuse_labels(labels, type(self).__name__)
        return self.score(self.encoder(images)).squeeze(1), None


def _up(in_width: int, width: int, bias: bool) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(in_width, width, 4, stride=2, padding=1, bias=bias)


def _down(in_width: int, width: int, bias: bool) -> nn.Conv2d:
    return nn.Conv2d(in_width, width, 4, stride=2, padding=1, bias=bias)
