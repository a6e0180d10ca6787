"""A transform of your own: any callable on the dictionary of one image, here MONAI's way of writing a random one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable


class RandWindowd(Randomizable, MapTransform):
    """Draws a window of grey levels, as a reader at the screen does; what lies outside becomes black or white.

    Args:
        keys: of images ``[C, H, W]`` in [0, 1].
        prob: share of the images that are changed.
        most: how much of the range is cut off at each end, at most.
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.5, most: float = 0.2) -> None:
        super().__init__(keys)
        self.prob, self.most = prob, most

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the dictionary with the images under the keys changed by one draw."""
        changed = dict(data)
        # drawn in any case: then an image's draws do not depend on what happened to it before
        wanted, low, high = self.R.random() < self.prob, self.most * self.R.random(), 1 - self.most * self.R.random()
        for key in self.key_iterator(changed) if wanted else ():
            changed[key] = torch.clip((changed[key] - low) / (high - low), 0, 1)
        return changed
