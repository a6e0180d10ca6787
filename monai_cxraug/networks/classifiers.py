"""Classifiers of radiographs: MONAI's networks behind one border that maps [0, 1] to [-1, 1]."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.nets import DenseNet121
from torch import Tensor, nn

from monai_cxraug.errors import ConfigError, nearest

#: architecture name to its constructor ``(channels, outputs) -> network``.
ARCHITECTURES = {
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
        ConfigError: the architecture is unknown.
    """

    def __init__(self, outputs: int, architecture: str = "densenet121", channels: int = 1) -> None:
        super().__init__()
        if architecture not in ARCHITECTURES:
            hint = nearest(architecture, ARCHITECTURES)
            raise ConfigError("architecture", "unknown architecture", repr(architecture), hint)
        self.settings: dict[str, Any] = {"outputs": outputs, "architecture": architecture, "channels": channels}
        body = ARCHITECTURES[architecture](channels, outputs)
        self.body = body.to(memory_format=torch.channels_last)  # faster convolutions on CPU and GPU alike

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
