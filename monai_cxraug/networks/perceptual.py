"""A classifier as a ruler: how far apart two images are in what its layers see."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monai_cxraug.errors import ConfigError, InputError, nearest
from monai_cxraug.networks.classifiers import STAGES, Classifier

#: keeps places without any activation from being divided by nothing.
_TINY = 1e-10
#: side in pixels that every architecture can take.
_LEAST = 32


class PerceptualDistance(nn.Module):
    """Differences of unit-normalised activations, averaged over places and summed over channels and layers.

    Zhang et al., CVPR 2018 (arXiv 1801.03924), equation 1: at every place of every layer the channels are scaled to
    unit length; the squared differences are weighted by channel, averaged over places and summed over layers. With
    weights of one this is each layer's cosine distance, twice. As in the authors' package, the weights multiply squared
    differences.

    Args:
        network: classifier; it is used in evaluation mode.
        layers: names in its body; default the ends of its stages.

    Attributes:
        weights: one vector of channel weights a layer, all one until they are learnt.

    Raises:
        ConfigError: a layer is unknown.
    """

    def __init__(self, network: Classifier, layers: Sequence[str] | None = None) -> None:
        super().__init__()
        self.network = network.eval()
        self.layers = tuple(layers or STAGES[network.settings["architecture"]])
        modules = dict(network.body.named_modules())
        if unknown := [name for name in self.layers if name not in modules]:
            raise ConfigError("PerceptualDistance(layers)", "unknown layer", unknown[0], nearest(unknown[0], modules))
        self._seen: dict[str, Tensor] = {}
        for name in self.layers:
            modules[name].register_forward_hook(lambda *call, name=name: self._seen.update({name: call[2]}))
        self.weights = nn.ParameterList(torch.ones(width) for width in self._widths())

    @property
    def channels(self) -> int:
        """Channels of the images that the classifier takes."""
        return int(self.network.settings["channels"])

    def train(self, mode: bool = True) -> PerceptualDistance:
        """Switch the weights to training; the classifier's normalisations and dropouts stay in evaluation."""
        super().train(mode)
        self.network.eval()
        return self

    def activations(self, images: Tensor) -> list[Tensor]:
        """Unit-normalised activations ``[N, C, H, W]`` of each layer.

        Args:
            images: float ``[N, 1, H, W]`` or with the classifier's channels, in [0, 1].

        Raises:
            InputError: the images have other channels.
        """
        if images.ndim != 4 or images.shape[1] not in (1, self.channels):
            raise InputError("perceptual distance", f"images must be [N, 1 or {self.channels}, H, W]", images.shape)
        self.network(images.expand(-1, self.channels, -1, -1))
        return [_unit(self._seen[name]) for name in self.layers]

    def differences(self, first: Tensor, second: Tensor) -> Tensor:
        """Squared differences averaged over places, all layers' channels side by side: ``[N, sum of C]``.

        Args:
            first: float ``[N, C, H, W]`` in [0, 1].
            second: of the same shape.
        """
        pairs = zip(self.activations(first), self.activations(second), strict=True)
        return torch.cat([(one - two).square().mean(dim=(2, 3)) for one, two in pairs], dim=1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Distances ``[N]`` of pairs of images.

        Args:
            first: float ``[N, C, H, W]`` in [0, 1].
            second: of the same shape; swapping both changes nothing.
        """
        return self.differences(first, second) @ torch.cat(list(self.weights))

    @torch.no_grad()
    def set_weights(self, weights: Tensor) -> None:
        """Set the channel weights of all layers.

        Args:
            weights: ``[sum of C]`` non-negative.

        Raises:
            ConfigError: a weight is negative or their number is another.
        """
        total = sum(len(layer) for layer in self.weights)
        if weights.shape != (total,) or not bool((weights >= 0).all()):
            raise ConfigError("perceptual weights", f"must be {total} numbers of 0 or more", tuple(weights.shape))
        for layer, part in zip(self.weights, weights.split([len(layer) for layer in self.weights]), strict=True):
            layer.copy_(part)

    def _widths(self) -> list[int]:
        place = next(self.network.parameters())
        with torch.no_grad():
            self.network(torch.zeros(1, self.channels, _LEAST, _LEAST, device=place.device))
        return [self._seen[name].shape[1] for name in self.layers]


def _unit(activations: Tensor) -> Tensor:
    """Scale the channels at every place to unit length; what is zero stays zero."""
    values = activations.float()
    # the square root has no gradient at zero, where a layer sees nothing
    length = values.square().sum(dim=1, keepdim=True).clamp_min(_TINY**2).sqrt()
    return values / (length + _TINY)
