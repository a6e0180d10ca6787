"""Classifiers of radiographs: MONAI's networks behind one border that maps [0, 1] to [-1, 1]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.networks.nets import DenseNet121
from torch import Tensor, nn

from monai_cxraug.errors import ConfigError, nearest

#: architecture name to its constructor ``(channels, outputs) -> network``.
ARCHITECTURES: dict[str, Callable[[int, int], nn.Module]] = {
    "densenet121": lambda channels, outputs: DenseNet121(spatial_dims=2, in_channels=channels, out_channels=outputs),
}


class Classifier(nn.Module):
    """Images to one logit per finding.

    Args:
        outputs: number of findings.
        architecture: ``densenet121`` (Huang et al., CVPR 2017; MONAI's implementation).
        channels: 1 for grey, 3 for colour.

    Attributes:
        settings: the arguments, from which a checkpoint rebuilds the network.

    Raises:
        ConfigError: the architecture is unknown, or there is no finding.
    """

    def __init__(self, outputs: int, architecture: str = "densenet121", channels: int = 1) -> None:
        super().__init__()
        if architecture not in ARCHITECTURES:
            hint = nearest(architecture, ARCHITECTURES)
            raise ConfigError("architecture", "unknown architecture", repr(architecture), hint)
        if outputs < 1:
            raise ConfigError("outputs", "a classifier needs at least one finding", outputs, "name the findings")
        self.settings: dict[str, Any] = {"outputs": outputs, "architecture": architecture, "channels": channels}
        self.body = ARCHITECTURES[architecture](channels, outputs)
        # the layout that convolutions prefer; torch's own annotations lack this form of the call
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Return logits.

        Args:
            images: float ``[N, C, H, W]`` in [0, 1].

        Returns:
            float32 ``[N, outputs]``.
        """
        scaled = (images * 2 - 1).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.body(scaled)
        return logits.float()
