"""The side task of a discriminator that must be able to draw the real images it judges (Liu et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from monai_cxraug.engines.gan_batch import GanBatch, Judgement, Losses
from monai_cxraug.errors import ConfigError
from monai_cxraug.losses.edges import edge_distance
from monai_cxraug.losses.reconstruction import pixel_distance


class Redrawing(Protocol):
    """A discriminator that can draw images again."""

    def redraw(self, images: Tensor, encoding: Any, chance: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
        """Pairs of what was drawn and what it should be, each ``[N, C, h, w]`` in [0, 1].

        Args:
            images: ``[N, C, r, r]`` as the discriminator saw them.
            encoding: what its ``judge`` told of these images.
            chance: ``[N]`` in [0, 1), what is left to chance for each image.
        """


@dataclass(frozen=True)
class ReconstructionTask:
    """Reconstruction: the discriminator draws real images again from its features (arXiv 2101.04775, section 3.2).

    A discriminator of few images soon lives on some details that it knows by heart. One that must also draw them keeps
    looking at all of an image. Only real images are drawn, as it saw them, after augmentation.

    The paper compares what is drawn in the features of a network trained on photographs. This package has no such
    network, which would bring in what it learned elsewhere: pixels are compared, and edges if wanted.

    Args:
        discriminator: draws; its decoders are trained with it.
        weight: of the sum over what it draws; the paper's is 1.
        edges: weight of the distance of edges beside that of pixels.

    Raises:
        ConfigError: a weight is negative or not finite, or the discriminator cannot draw.
    """

    discriminator: Redrawing
    weight: float = 1.0
    edges: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("weight", self.weight), ("edges", self.edges)):
            if not 0 <= value < float("inf"):
                raise ConfigError(f"ReconstructionTask({name})", "must be at least 0 and finite", value, "0 is off")
        if not hasattr(self.discriminator, "redraw"):
            found, mend = type(self.discriminator).__name__, "use a FastDiscriminator"
            raise ConfigError("ReconstructionTask(discriminator)", "must be able to redraw images", found, mend)

    def critic(self, real: Judgement, fake: Judgement, batch: GanBatch) -> Losses | None:
        """``reconstruction``, of the real images: distances of all that is drawn, added."""
        if not self.weight:
            return None
        pairs = self.discriminator.redraw(real.images, real.told, batch.mix)
        total = sum((self._distance(*pair) for pair in pairs), batch.mix.new_zeros(()))
        return self.weight * total, {"reconstruction": total}

    def generator(self, fake: Judgement, batch: GanBatch) -> Losses | None:
        """The generator has no part in it."""
        return None

    def _distance(self, drawn: Tensor, wanted: Tensor) -> Tensor:
        pixels = pixel_distance(drawn, wanted)
        return pixels + self.edges * edge_distance(drawn, wanted) if self.edges else pixels
