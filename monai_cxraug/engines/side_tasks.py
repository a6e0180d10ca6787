"""Side tasks: what the discriminator of a GAN learns beside telling real from fake, one object for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, cast

import torch
from torch import Tensor

from monai_cxraug.engines.gan_batch import GanBatch, Judgement, Losses
from monai_cxraug.errors import ConfigError
from monai_cxraug.losses.adversarial import auxiliary_loss
from monai_cxraug.losses.mutual_information import categorical_information, gaussian_information
from monai_cxraug.networks.latents import Layout


class SideTask(Protocol):
    """What a discriminator learns, and perhaps the generator with it, beside real and fake.

    It keeps no state: an update may be done again in smaller parts when memory runs out. Losses are means over the
    images of the part (known labels aside, whose share the part knows), so that parts add up to the batch. Networks
    compute in mixed precision here; losses are taken in at least float32.

    What only one kind of images needs, and is dear, does not belong in ``judge``: let it tell the features, and give
    the task the part of the discriminator that goes on from there. That part's weights are the discriminator's, so they
    are moved, trained and saved with it.
    """

    def critic(self, real: Judgement, fake: Judgement, batch: GanBatch) -> Losses | None:
        """Add to what the discriminator minimises.

        Args:
            real: of the real images; ``real.images`` are as the discriminator saw them, after augmentation.
            fake: of the fake ones, through which nothing flows back into the generator.
            batch: the part of the batch in work.

        Returns:
            A weighted loss, and named values to report (detached later); None where there is nothing to learn.
        """

    def generator(self, fake: Judgement, batch: GanBatch) -> Losses | None:
        """Add to what the generator minimises, with the discriminator's weights frozen; as :meth:`critic`."""


@dataclass(frozen=True)
class LabelTask:
    """Findings: the discriminator's classifier names them (AC-GAN, Odena et al. 2017, arXiv 1610.09585).

    It learns from real images, or from both kinds; the generator is judged by it always. A discriminator without a
    classifier, or a batch without labels, has nothing to learn.

    Args:
        weight: of the classifier's loss.
        on: judged images that it learns from, ``"real"`` or ``"both"``.

    Raises:
        ConfigError: an argument is out of range.
    """

    weight: float = 1.0
    on: Literal["real", "both"] = "real"

    def __post_init__(self) -> None:
        if self.weight < 0 or self.on not in ("real", "both"):
            found = f"{self.weight}, {self.on!r}"
            raise ConfigError("auxiliary", "must be at least 0, on 'real' or 'both'", found)

    def critic(self, real: Judgement, fake: Judgement, batch: GanBatch) -> Losses | None:
        """``auxiliary``: of the real images, and of the fake ones by the labels they were made with."""
        if real.told is None or batch.labels is None:
            return None
        loss = _label_loss(real, batch.labels, batch.label_weight)
        if self.on == "both":
            loss = loss + _label_loss(fake, batch.labels, batch.label_weight)
        return self.weight * loss, {"auxiliary": loss}

    def generator(self, fake: Judgement, batch: GanBatch) -> Losses | None:
        """``generator_auxiliary``: of the fake images, by the labels they were made with."""
        if fake.told is None or batch.labels is None:
            return None
        loss = _label_loss(fake, batch.labels, batch.label_weight)
        return self.weight * loss, {"generator_auxiliary": loss}


def _label_loss(judged: Judgement, labels: Tensor, weight: Tensor | float) -> Tensor:
    return auxiliary_loss(judged.told, labels) * weight


@dataclass(frozen=True)
class CodeTask:
    """Codes: the discriminator reads from an image the codes it was made with (InfoGAN, Chen et al. 2016, equation 6).

    Both networks raise the lower bound on the mutual information of codes and images: the discriminator's second end,
    with the convolutions that it shares, in the critic's update, and the generator in its own.

    Args:
        layout: of the generator's latents.
        weight: lambda, of the bound in nats; the paper's is 1.

    Raises:
        ConfigError: an argument is out of range.
    """

    layout: Layout
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight < float("inf"):
            raise ConfigError("code weight", "must be at least 0 and finite", self.weight, "the paper's is 1")
        if not self.layout.code_size:
            mend = "give categories or continuous codes, or leave the task out"
            raise ConfigError("code task", "the generator's latents must hold codes", "noise alone", mend)

    def critic(self, real: Judgement, fake: Judgement, batch: GanBatch) -> Losses | None:
        """``information``, the bound in nats, of the fake images."""
        return self._losses("", fake, batch)

    def generator(self, fake: Judgement, batch: GanBatch) -> Losses | None:
        """``generator_information``, the same with the discriminator's new weights."""
        return self._losses("generator_", fake, batch)

    def _losses(self, prefix: str, fake: Judgement, batch: GanBatch) -> Losses:
        bound = self.bound(fake.told, batch.latents).mean()
        return -self.weight * bound, {f"{prefix}information": bound}

    def bound(self, told: Tensor, latents: Tensor) -> Tensor:
        """The bound in nats, ``[N]``.

        Args:
            told: ``[N, codes]``: logits of the categories, means of the continuous codes and, unless these have a
                standard deviation of 1, the logarithms of their deviations.
            latents: ``[N, size]`` of the images.
        """
        _, chosen, codes = self.layout.parts(latents)
        continuous = self.layout.continuous
        rest = told.shape[1] - self.layout.code_size
        *logits, means, deviations = told.split([*self.layout.categories, continuous, rest], dim=1)
        total = sum(categorical_information(one, hot) for one, hot in zip(logits, chosen, strict=True))
        if continuous:
            total = total + gaussian_information(means, deviations if rest else torch.zeros_like(means), codes)
        return cast(Tensor, total)
