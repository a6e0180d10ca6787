"""Side tasks: what the discriminator of a GAN learns beside telling real from fake, one object for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from monai_cxraug.engines.gan_batch import GanBatch, Judgement, Losses
from monai_cxraug.errors import ConfigError
from monai_cxraug.losses.adversarial import auxiliary_loss


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
