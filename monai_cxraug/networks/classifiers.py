"""Classifiers of radiographs behind one border, which takes [0, 1] to what a network was made for."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, cast

import torch
from monai.networks.nets import DenseNet121, EfficientNetBN, resnet18, resnet50
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the customary name)

from monai_cxraug.errors import ConfigError, nearest

#: (channels, outputs, dropout) to a network that maps images to logits.
Builder = Callable[[int, int, float], nn.Module]

#: width of the dense layer in system A's head.
_DENSE: Final = 512


class DropoutLinear(nn.Linear):
    """A dense layer that drops some of what comes in while training; its weights are named as a dense layer's.

    Args:
        in_features: features coming in.
        out_features: features going out.
        dropout: share dropped.
    """

    def __init__(self, in_features: int, out_features: int, dropout: float = 0.0) -> None:
        super().__init__(in_features, out_features)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, in]`` to ``[N, out]``."""
        return super().forward(F.dropout(x, self.dropout, self.training))


def _densenet(channels: int, outputs: int, dropout: float) -> nn.Module:
    network = DenseNet121(spatial_dims=2, in_channels=channels, out_channels=outputs)
    layers = cast(Any, network.class_layers)
    layers.out = DropoutLinear(layers.out.in_features, outputs, dropout)
    return network


def _efficientnet(channels: int, outputs: int, dropout: float) -> nn.Module:
    network = EfficientNetBN("efficientnet-b1", False, spatial_dims=2, in_channels=channels, num_classes=outputs)
    body = cast(Any, network)
    body._dropout = nn.Identity()
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1  # as torchvision's: MONAI's 0.01 keeps 13 % of the initial variance after 200 steps
    body._fc = nn.Sequential(
        OrderedDict(
            dense=DropoutLinear(body._fc.in_features, _DENSE, dropout),
            activation=nn.ReLU(),
            out=DropoutLinear(_DENSE, outputs, dropout),
        )
    )
    return network


def _resnet(
    channels: int, outputs: int, dropout: float, make: Callable[..., nn.Module] = resnet50, widen: float = 1.0
) -> nn.Module:
    # MONAI's defaults are for volumes: no stride in the first layer, and biases before a normalisation
    network = make(
        spatial_dims=2,
        n_input_channels=channels,
        num_classes=outputs,
        conv1_t_stride=2,
        bias_downsample=False,
        widen_factor=widen,
    )
    body = cast(Any, network)
    body.fc = DropoutLinear(body.fc.in_features, outputs, dropout)
    return network


class VGG16(nn.Module):
    """Thirteen 3 x 3 convolutions and three dense layers (Simonyan and Zisserman 2015, arXiv 1409.1556, table 1, D).

    Images of any size: what is left of them is averaged to 7 x 7 before the dense layers. Layers are numbered as in the
    common weight files.

    Args:
        channels: of the images.
        outputs: logits.
        dropout: share dropped before the last two dense layers.
    """

    #: channels of the convolutions; None halves the resolution.
    plan = (64, 64, None, 128, 128, None, 256, 256, 256, None, 512, 512, 512, None, 512, 512, 512, None)

    def __init__(self, channels: int, outputs: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in self.plan:
            if width is None:
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            OrderedDict(
                {
                    "0": nn.Linear(512 * 49, 4096),
                    "1": nn.ReLU(inplace=True),
                    "3": DropoutLinear(4096, 4096, dropout),
                    "4": nn.ReLU(inplace=True),
                    "6": DropoutLinear(4096, outputs, dropout),
                }
            )
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # without a normalisation it does not learn from torch's defaults
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(cast(Tensor, module.bias))

    def forward(self, images: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` of at least 32 px to logits ``[N, outputs]``."""
        # adaptive pooling keeps channels last, in whose order flattening would mix places and channels differently
        features = self.avgpool(self.features(images)).contiguous()
        logits: Tensor = self.classifier(features.flatten(1))
        return logits


class SmallCNN(nn.Module):
    """The small network of system C: three convolutions with pooling, one dense layer.

    Args:
        channels: of the images.
        outputs: logits.
        dropout: share dropped before both dense layers.
    """

    widths = (32, 64, 128)
    dense = 128

    def __init__(self, channels: int, outputs: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in self.widths:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
            channels = width
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.hidden = DropoutLinear(channels * 16, self.dense, dropout)
        self.out = DropoutLinear(self.dense, outputs, dropout)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` of at least 8 px to logits ``[N, outputs]``."""
        features = self.pool(self.features(images)).contiguous().flatten(1)
        logits: Tensor = self.out(F.relu(self.hidden(features)))
        return logits


#: architecture name to how it is built.
ARCHITECTURES: dict[str, Builder] = {
    "densenet121": _densenet,
    "efficientnet_b1": _efficientnet,
    "resnet50": _resnet,
    "resnet18": partial(_resnet, make=resnet18),
    # half the features, a quarter of the work: for images of 64 px on a CPU
    "resnet18_half": partial(_resnet, make=resnet18, widen=0.5),
    "vgg16": VGG16,
    "small_cnn": SmallCNN,
}

#: architecture name to the ends of its stages, the deepest first: what class activation maps are made from.
STAGES: Final[dict[str, tuple[str, ...]]] = {
    "densenet121": ("class_layers.relu", "features.denseblock3", "features.denseblock2", "features.denseblock1"),
    "efficientnet_b1": ("_bn1", "_blocks.4", "_blocks.2", "_blocks.1"),
    **dict.fromkeys(("resnet50", "resnet18", "resnet18_half"), ("layer4", "layer3", "layer2", "layer1")),
    "vgg16": ("features.30", "features.23", "features.16", "features.9"),
    "small_cnn": ("features.11", "features.7", "features.3"),
}
#: places a side that a class activation map needs at least.
_COARSEST: Final = 4


def _numbers(value: float | Sequence[float]) -> Sequence[float]:
    return [value] if isinstance(value, int | float) else value


def _spread(value: float | Sequence[float], images: Tensor) -> float | Tensor:
    """A number for all channels as it is, one a channel in the shape of these."""
    if isinstance(value, int | float):
        return value
    return torch.tensor(value, dtype=images.dtype, device=images.device)[:, None, None]


class Classifier(nn.Module):
    """Images to one logit per finding.

    Args:
        outputs: number of findings.
        architecture: ``densenet121`` (Huang et al., CVPR 2017), ``efficientnet_b1`` (Tan and Le, ICML 2019; with system
            A's head: pooling, dropout, dense 512, dropout, dense), ``resnet50`` (He et al., CVPR 2016) — MONAI's —,
            ``vgg16``, or ``small_cnn`` (system C).
        channels: 1 for grey, 3 for colour.
        dropout: share of the features dropped before the last dense layers; systems A and C use 0.5.
        mean: of the images that the weights were made for, in [0, 1]; subtracted first. One number, or one a channel.
        std: of those images, likewise; divided by. The defaults bring [0, 1] to [-1, 1].
        prior: share of positives of each finding in the training images: the last bias starts at its logit, so that
            training need not first learn how rare a finding is (Lin et al. 2017, arXiv 1708.02002, section 4.1).

    Attributes:
        settings: the arguments, from which a checkpoint rebuilds the network.
        frozen: whether only the last layers learn.

    Raises:
        ConfigError: the architecture is unknown, there is no finding, or a setting is out of range.
    """

    def __init__(
        self,
        outputs: int,
        architecture: str = "densenet121",
        channels: int = 1,
        dropout: float = 0.0,
        mean: float | Sequence[float] = 0.5,
        std: float | Sequence[float] = 0.5,
        prior: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if architecture not in ARCHITECTURES:
            hint = nearest(architecture, ARCHITECTURES)
            raise ConfigError("architecture", "unknown architecture", repr(architecture), hint)
        if outputs < 1:
            raise ConfigError("outputs", "a classifier needs at least one finding", outputs, "name the findings")
        if not 0 <= dropout < 1 or not min(_numbers(std)) > 0:
            raise ConfigError("Classifier", "dropout must be in [0, 1), std above 0", f"{dropout}, {std}")
        if not {len(_numbers(mean)), len(_numbers(std))} <= {1, channels}:
            rule = f"mean and std must be numbers, or {channels} for as many channels"
            raise ConfigError("Classifier", rule, f"{mean}, {std}", "give one number")
        self.settings: dict[str, Any] = {
            "outputs": outputs,
            "architecture": architecture,
            "channels": channels,
            "dropout": dropout,
            "mean": mean,
            "std": std,
        }
        self.mean, self.std, self.frozen = mean, std, False
        self.body = ARCHITECTURES[architecture](channels, outputs, dropout)
        self.start_at(prior)
        # the layout that convolutions prefer; torch's own annotations lack this form of the call
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def head(self) -> nn.Linear:
        """The last dense layer."""
        return [module for module in self.body.modules() if isinstance(module, nn.Linear)][-1]

    def start_at(self, prior: Sequence[float] | None) -> Classifier:
        """Let the last bias begin at the logit of each finding's share, so that nothing else has to learn it first.

        Args:
            prior: shares of positives; None leaves the bias as it is.

        Returns:
            This network.

        Raises:
            ConfigError: a share is not above 0 and below 1, or there are not as many as findings.
        """
        if prior is None:
            return self
        if len(prior) != self.settings["outputs"] or not all(0 < share < 1 for share in prior):
            rule = "must be a share above 0 and below 1 for each finding"
            raise ConfigError("prior", rule, list(prior), "leave out findings without positives or negatives")
        with torch.no_grad():
            self.head.bias.copy_(torch.tensor([math.log(share / (1 - share)) for share in prior]))
        return self

    @property
    def head_parameters(self) -> list[nn.Parameter]:
        """Weights of the last layers, which no other network's weights fill."""
        last = getattr(self.body, "_fc", self.head)  # EfficientNet's has two dense layers
        return list(last.parameters())

    @property
    def body_parameters(self) -> list[nn.Parameter]:
        """All other weights."""
        last = {id(parameter) for parameter in self.head_parameters}
        return [parameter for parameter in self.body.parameters() if id(parameter) not in last]

    def activation_layer(self, size: int) -> tuple[str, int]:
        """Choose the layer for class activation maps: the deepest stage that still tells places apart.

        Args:
            size: side of the images in pixels.

        Returns:
            Its name in this network, and its places a side: at least 4, or those of the shallowest stage.
        """
        images = torch.zeros(1, self.settings["channels"], size, size)
        places = self._places(images.to(self.head.weight.device))
        return next((entry for entry in places if entry[1] >= _COARSEST), places[-1])

    def _places(self, images: Tensor) -> list[tuple[str, int]]:
        """Places a side at the end of every stage, the deepest first."""
        sides: dict[str, int] = {}
        modules, training = dict(self.body.named_modules()), self.training
        hooks = [
            modules[name].register_forward_hook(lambda *call, name=name: sides.update({name: call[2].shape[-1]}))
            for name in STAGES[self.settings["architecture"]]
        ]
        self.eval()
        with torch.no_grad():
            self(images)
        self.train(training)
        for hook in hooks:
            hook.remove()
        return [(f"body.{name}", sides[name]) for name in STAGES[self.settings["architecture"]]]

    def freeze(self, frozen: bool = True) -> None:
        """Let only the last layers learn, or all; a frozen body does not adapt its normalisation either.

        Args:
            frozen: whether the body keeps its weights.
        """
        if frozen == self.frozen:
            return
        self.frozen = frozen
        for parameter in self.body_parameters:
            parameter.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> Classifier:
        """Switch to training, or to evaluation; the normalisations of a frozen body stay in evaluation."""
        super().train(mode)
        if self.frozen:
            for module in self.body.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return logits.

        Args:
            images: float ``[N, C, H, W]`` in [0, 1].

        Returns:
            float32 ``[N, outputs]``.
        """
        mean, std = (_spread(value, images) for value in (self.mean, self.std))
        scaled = ((images - mean) / std).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.body(scaled)
        return logits.float()
