"""Generator and discriminator of InfoGAN (Chen et al. 2016, arXiv 1606.03657): a DCGAN whose images can be read.

A latent holds codes beside its noise. The discriminator has a second end, Q, which reads the codes back from an image;
both ends share all convolutions, so Q costs nearly nothing (section 6; appendix C has the layers of Q).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the customary name)

from monai_cxraug.networks.dcgan import Decoder, Encoder, begin_normal, refuse_labels, require_positive
from monai_cxraug.networks.latents import Layout
from monai_cxraug.networks.layers import LEAK

#: neurons of Q's hidden layer (appendix C).
_HIDDEN = 128
#: natural logarithm of the least standard deviation that Q may claim, 0.1: where the range of a code, 2, has twenty
#: steps. Without it the bound on the information has no end, and Q's claims outgrow the adversarial loss.
_LEAST_LOG_DEVIATION = -2.3


class InfoGenerator(Decoder):
    """Noise and codes to image, see :class:`~monai_cxraug.networks.dcgan.Decoder`.

    Args:
        resolution: side in pixels, s * 2^k with s from 4 to 7.
        noise: numbers of noise in a latent; 62 in the paper's runs on digits, 128 on faces.
        categories: choices of each categorical code.
        continuous: number of continuous codes, uniform in [-1, 1].
        channels: 1 for grey, 3 for colour.
        width: channels at half the resolution.
        most: most channels.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        resolution: int = 64,
        noise: int = 62,
        categories: Sequence[int] = (10,),
        continuous: int = 2,
        channels: int = 1,
        width: int = 64,
        most: int = 512,
    ) -> None:
        layout = Layout(noise, tuple(categories), continuous)
        super().__init__(layout, resolution, channels, width, most, type(self).__name__)
        #: constructor arguments; ``InfoGenerator(**settings)`` rebuilds the network.
        self.settings: dict[str, Any] = {
            "resolution": resolution,
            "noise": noise,
            "categories": list(categories),
            "continuous": continuous,
            "channels": channels,
            "width": width,
            "most": most,
        }


class InfoDiscriminator(nn.Module):
    """Image to score, higher for real, and to what Q says of its codes.

    Q ends in logits of each categorical code, then the mean of each continuous one and, where it is learnt, the
    logarithm of its standard deviation (section 6 and appendix C); a fixed deviation is 1, as in the authors' code.

    Args:
        resolution: side of the images in pixels, s * 2^k with s from 4 to 7.
        categories: choices of each categorical code.
        continuous: number of continuous codes.
        channels: 1 for grey, 3 for colour.
        width: channels at half the resolution.
        most: most channels.
        learned_deviation: whether Q says how sure it is of each continuous code.

    Raises:
        ConfigError: an argument is out of range.
    """

    batch_statistics = True

    def __init__(
        self,
        resolution: int = 64,
        categories: Sequence[int] = (10,),
        continuous: int = 2,
        channels: int = 1,
        width: int = 64,
        most: int = 512,
        learned_deviation: bool = True,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        layout = Layout(1, tuple(categories), continuous)
        require_positive(f"{name}(categories, continuous)", codes=layout.code_size)
        self.resolution, self.channels = resolution, channels
        self.continuous, self.learned_deviation = continuous, learned_deviation
        self.encoder = Encoder(resolution, channels, width, most, name)
        self.score = nn.Linear(self.encoder.features, 1)
        self.hidden = nn.Linear(self.encoder.features, _HIDDEN, bias=False)
        self.norm = nn.BatchNorm1d(_HIDDEN)
        self.read = nn.Linear(_HIDDEN, layout.code_size + continuous * learned_deviation)
        begin_normal(self)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Score images: the first part of :meth:`judge`, which takes the same arguments."""
        return self.judge(images, labels)[0]

    def judge(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Score images and read their codes.

        Args:
            images: ``[N, channels, resolution, resolution]`` in [0, 1].
            labels: None.

        Returns:
            Scores ``[N]``, unbounded; and ``[N, codes]`` in the order of the latents' codes: logits of categories,
            means of continuous codes and, where they are learnt, as many logarithms of standard deviations.

        Raises:
            ConfigError: there are labels.
        """
        refuse_labels(labels, type(self).__name__)
        x = self.encoder(images)
        read = self.read(F.leaky_relu(self.norm(self.hidden(x)), LEAK))
        if self.learned_deviation:
            said, sure = read.split([read.shape[1] - self.continuous, self.continuous], dim=1)
            # a soft floor: below it the derivative fades, but never ends
            sure = _LEAST_LOG_DEVIATION + F.softplus(sure - _LEAST_LOG_DEVIATION)
            read = torch.cat([said, sure], dim=1)
        return self.score(x).squeeze(1), read
