"""How far a network's image is from the one that was wanted: in pixels, and in the features of another network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from monai_cxraug.errors import ConfigError

#: so that the length of a feature vector of zeros can be divided by, and differentiated.
_EPSILON: Final = 1e-10
#: parts of red, green and blue in brightness (ITU-R BT.601).
_LUMA: Final = (0.299, 0.587, 0.114)


def pixel_distance(images: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute difference (Isola et al. 2017, arXiv 1611.07004, equation 3), a scalar of at least float32."""
    return (_exact(images) - _exact(wanted)).abs().mean()


class FeatureDistance(nn.Module):
    """Distance between images in the features of a network that stays as it is.

    At each place the vector over channels is brought to length one; squared differences are summed over channels,
    averaged over places and images, and averaged over layers (Zhang et al. 2018, arXiv 1801.03924, equation 1, all
    weights equal). It lies between 0 and 4 whatever the network.

    Args:
        network: images ``[N, C, H, W]`` in [0, 1] to anything; it is switched to evaluation and its weights are frozen.
        layers: names of the modules whose output is compared, as ``named_modules`` has them.

    Raises:
        ConfigError: no layer, or the network has none of this name.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str]) -> None:
        super().__init__()
        known = dict(network.named_modules())
        if not layers or any(name not in known for name in layers):
            found = [name for name in layers if name not in known] or "none"
            raise ConfigError("FeatureDistance(layers)", "must be modules of the network", found, "check the names")
        self.network, self.layers = network.eval().requires_grad_(False), tuple(layers)

    def train(self, mode: bool = True) -> FeatureDistance:
        """Stay in evaluation."""
        return super().train(False)

    def forward(self, images: Tensor, wanted: Tensor) -> Tensor:
        """Return the distance, a scalar of at least float32 with gradients for ``images``.

        Args:
            images: ``[N, C, H, W]`` in [0, 1].
            wanted: the same shape.
        """
        with torch.no_grad():
            aims = self._features(wanted)
        pairs = zip(self._features(images), aims, strict=True)
        return torch.stack([(made - aim).square().sum(dim=1).mean() for made, aim in pairs]).mean()

    def _features(self, images: Tensor) -> list[Tensor]:
        """Features of each layer with unit length over channels, ``[N, C, h, w]``."""
        return [_unit(features) for features in self._outputs(images)]

    def _outputs(self, images: Tensor) -> list[Tensor]:
        """What each layer gives, ``[N, C, h, w]``."""
        found: dict[str, Tensor] = {}
        with self._noted(found):
            self.network(images)
        return [found[name] for name in self.layers]

    @contextmanager
    def _noted(self, found: dict[str, Tensor]) -> Iterator[None]:
        modules = dict(self.network.named_modules())
        # a copy, because the next layer may rectify in place
        hooks = [
            modules[name].register_forward_hook(lambda *call, name=name: found.update({name: call[2].clone()}))
            for name in self.layers
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


class FeatureDifference(FeatureDistance):
    """Mean absolute difference of features as they are, averaged over layers: the perceptual loss of ESRGAN.

    The paper (Wang et al. 2018, arXiv 1809.00219, section 3.3) takes one layer of VGG-19 before its activation. The
    features of another network have another size, with which its weights of losses would mean something else; so by
    default each layer's difference is divided by the mean magnitude of its features of the wanted images.

    Args:
        network: images ``[N, C, H, W]`` in [0, 1] to anything; it is switched to evaluation and its weights are frozen.
        layers: names of the modules whose output is compared, as ``named_modules`` has them.
        relative: divide by the magnitude of the wanted features.
        channels: of the images that the network takes; grey ones are repeated, and of colours the luma is shown (ITU-R
            BT.601). None shows them as they are.

    Raises:
        ConfigError: no layer, or the network has none of this name.
    """

    def __init__(
        self, network: nn.Module, layers: Sequence[str], relative: bool = True, channels: int | None = None
    ) -> None:
        super().__init__(network, layers)
        self.relative, self.channels = relative, channels

    def forward(self, images: Tensor, wanted: Tensor) -> Tensor:
        """Return the difference, a scalar of at least float32 with gradients for ``images``.

        Args:
            images: ``[N, C, H, W]`` in [0, 1].
            wanted: the same shape.
        """
        with torch.no_grad():
            aims = [_exact(aim) for aim in self._outputs(self._shown(wanted))]
        pairs = zip(self._outputs(self._shown(images)), aims, strict=True)
        return torch.stack([(_exact(made) - aim).abs().mean() / self._size(aim) for made, aim in pairs]).mean()

    def _size(self, aim: Tensor) -> Tensor | float:
        return aim.abs().mean() + _EPSILON if self.relative else 1.0

    def _shown(self, images: Tensor) -> Tensor:
        if self.channels == 3 and images.shape[1] == 1:
            return images.expand(-1, 3, -1, -1)
        if self.channels == 1 and images.shape[1] == 3:
            return (images * images.new_tensor(_LUMA)[:, None, None]).sum(dim=1, keepdim=True)
        return images


@dataclass(frozen=True)
class ReconstructionLoss:
    """Weighted sum of the distances in pixels and in features.

    Args:
        pixel: weight of :func:`pixel_distance`.
        feature: weight of ``features``.
        features: distance in features; None where there is no network to take them from.

    Raises:
        ConfigError: a weight is negative or not finite, or features are wanted and there is no network.
    """

    pixel: float = 1.0
    feature: float = 0.0
    features: FeatureDistance | None = None

    def __post_init__(self) -> None:
        for name, value in (("pixel_weight", self.pixel), ("feature_weight", self.feature)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise ConfigError(name, "must be at least 0 and finite", repr(value), f"mend {name}")
        if self.feature and self.features is None:
            mend = "give feature_network, or 0"
            raise ConfigError("feature_weight", "needs a network to take features from", self.feature, mend)

    def __call__(self, images: Tensor, wanted: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Compare images ``[N, C, H, W]`` in [0, 1] with those that were wanted.

        Returns:
            The sum, and each distance that has a weight, without its weight: ``pixel``, ``feature``.
        """
        values = {"pixel": pixel_distance(images, wanted)}
        total = self.pixel * values["pixel"]
        if self.feature and self.features is not None:
            values["feature"] = self.features(images, wanted)
            total = total + self.feature * values["feature"]
        return total, values


def _unit(features: Tensor) -> Tensor:
    exact = _exact(features)
    return exact * torch.rsqrt(exact.square().sum(dim=1, keepdim=True) + _EPSILON)


def _exact(x: Tensor) -> Tensor:
    """In float32 where it comes in less; float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
