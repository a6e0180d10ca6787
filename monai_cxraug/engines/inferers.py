"""Inferers: how an engine calls its network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

from monai_cxraug.engines.precision import pays


class FlipAveraging(Inferer):
    """Averages the logits of an image and of its mirror image, as if two readers agreed.

    A mirrored chest has its heart on the wrong side, so it helps only a classifier that was trained on mirrored images
    too, or for which the side says little; what it does to yours, validation images tell.

    Args:
        flips: whether to average at all.
    """

    def __init__(self, flips: bool = True) -> None:
        self.flips = flips

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Return the network's output for ``inputs`` ``[N, C, H, W]``."""
        logits = network(inputs, *args, **kwargs)
        return (logits + network(inputs.flip(-1), *args, **kwargs)) / 2 if self.flips else logits


class AutocastInferer(Inferer):
    """Calls the network under bfloat16 autocast on whatever device the images are on.

    MONAI's engines know CUDA's autocast only; this one is for CPUs with bfloat16 units too; those without compute in
    float32, as imitating takes several times as long. Whether it pays depends on
    the network and the image size. On one CPU core at 32 px, batch 64, a step of DenseNet-121 took 0.32 s and 0.39 s in
    float32; of EfficientNet-B1, whose convolutions are depthwise, 0.96 s and 0.51 s in float32 (other work ran beside).

    Args:
        mixed: whether to compute in 16 bits where autocast does.
    """

    def __init__(self, mixed: bool = True) -> None:
        self.mixed = mixed

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Return the network's output for ``inputs`` ``[N, C, H, W]``."""
        plain = inputs.as_subclass(Tensor)  # a MetaTensor costs time at every layer
        with torch.autocast(plain.device.type, dtype=torch.bfloat16, enabled=self.mixed and pays(plain.device.type)):
            return network(plain, *args, **kwargs)
