"""Mixup: a classifier learns from images that are part one, part another, with labels in the same proportion."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from monai_cxraug.errors import ConfigError
from monai_cxraug.keys import IMAGE, LABEL
from monai_cxraug.losses.imbalance import MaskedLoss

#: a share below this changes no picture of 8 bits by more than a grey level; the image is then left as it is.
_LEAST: Final = 1 / 256
#: last word of the seed, so that mixing shares no numbers with sampling and transforms.
_MIXUP: Final = 6


class MixUp:
    """Mixes every batch with itself in another order (Zhang et al. 2018, arXiv 1710.09412, equation 1).

    The share of the first image is drawn from Beta(alpha, alpha) for each batch, as in the paper's experiments, and the
    partners are a permutation; both are pure functions of the seed and the iteration, so a resumed training needs to
    know nothing more. Batches are mixed where the loader left them, before they go to the device.

    Args:
        loss: of the training; must take labels between 0 and 1.
        alpha: above 0: towards 0 images stay as they are, 1 makes every share as likely.
        seed: of shares and partners.

    Raises:
        ConfigError: alpha is not above 0, or the loss judges labels of 1 and 0 only.
    """

    def __init__(self, loss: Any, alpha: float = 0.2, seed: int = 0) -> None:
        if not alpha > 0:
            raise ConfigError("mixup", "alpha must be above 0", alpha, "0.2 is usual; null does not mix")
        if not isinstance(loss, MaskedLoss):
            mend = "use a loss with a term per label, such as MaskedBCE, or do not mix"
            raise ConfigError("mixup", "the loss must take labels between 0 and 1", type(loss).__name__, mend)
        self.alpha, self.seed = alpha, seed

    def attach(self, engine: Engine) -> None:
        """Register on the engine's iterations."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Mix the batch that the iteration is about to use; ignite counts the iteration that begins."""
        state: Any = engine.state
        share, partners = self.draw(state.iteration, len(state.batch[IMAGE]))
        images, labels = mix(state.batch[IMAGE], state.batch[LABEL], share, torch.from_numpy(partners))
        state.batch = {**state.batch, IMAGE: images, LABEL: labels}

    def draw(self, iteration: int, size: int) -> tuple[float, np.ndarray[Any, np.dtype[np.int64]]]:
        """Draw for one batch.

        Args:
            iteration: from 1.
            size: images in the batch.

        Returns:
            Share of each image in [0, 1], and its partner's place ``[size]``, which has the rest.
        """
        rng = np.random.default_rng([self.seed, iteration, _MIXUP])
        share = float(rng.beta(self.alpha, self.alpha))
        nearest = round(share)
        return float(nearest) if abs(share - nearest) < _LEAST else share, rng.permutation(size)


def mix(images: Tensor, labels: Tensor, share: float, partners: Tensor) -> tuple[Tensor, Tensor]:
    """Mix a batch with its partners.

    A mixed label is known where both labels are: of an unknown one no share can be told, and taking the known one alone
    for the mixture would teach that a part is the whole. Where an image has all of the share, or its partner has, the
    other's labels do not matter.

    Args:
        images: ``[N, C, H, W]``.
        labels: ``[N, K]`` of 1, 0, NaN.
        share: of each image in [0, 1].
        partners: place of each image's partner, ``[N]``.

    Returns:
        Images, and labels in [0, 1] with NaN where unknown.
    """
    if share == 1:
        return images, labels
    if share == 0:
        return images[partners], labels[partners]
    return tuple(share * one + (1 - share) * one[partners] for one in (images, labels))  # type: ignore[return-value]
