"""An inferer that changes images before a network in training sees them, by random numbers that resume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

from monai_cxraug.engines.gan import as_unit

#: from images ``[N, C, H, W]`` in [0, 1] and a source of randomness to changed images.
Augment = Callable[[Tensor, torch.Generator], Tensor]


class AugmentedInferer(Inferer):
    """Calls the network on changed images.

    Args:
        augment: changes images; on whatever device they are.
        seed: of the changes, independent of the global random state.

    Attributes:
        draws: source of randomness; on the CPU, so that a seed means the same on every device. To be resumed.
    """

    def __init__(self, augment: Augment, seed: int = 0) -> None:
        self.augment = augment
        self.draws = torch.Generator().manual_seed(seed)

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Return the network's output for ``inputs`` ``[N, C, H, W]``, uint8 or in [0, 1], changed."""
        images = as_unit(inputs.as_subclass(Tensor))
        return network(self.augment(images, self.draws), *args, **kwargs)
