"""What one update of a GAN works on, and what a discriminator says of images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor

from monai_cxraug.engines.processes import average_numbers

Values = dict[str, Tensor]
#: what is minimised, and what is reported.
Losses = tuple[Tensor, Values]


class Judgement(NamedTuple):
    """What a discriminator says of images, and the images as it saw them.

    Args:
        scores: ``[N]``, higher for real.
        told: what it tells its side task: a tensor ``[N, ...]`` or another object whose rows can be cut out like a
            tensor's, since real and fake images may be judged together; None without.
        images: ``[N, C, r, r]``, augmented.
    """

    scores: Tensor
    told: Any
    images: Tensor


@dataclass(frozen=True)
class GanBatch:
    """What one update works on.

    Args:
        real: images ``[N, C, r, r]`` in [0, 1].
        latents: ``[N, latent_size]``.
        mix: ``[N]`` in [0, 1), a random number for each image: the weight of the fake one in the gradient penalty's
            pairs. A side task that needs chance takes it from here, so that a batch means the same when done again.
        labels: ``[N, K]`` of the real images, which condition the fakes too; None without conditions.
        label_weight: of a mean over known labels, which may be more or fewer here than in the batch this is a part of.
    """

    real: Tensor
    latents: Tensor
    mix: Tensor
    labels: Tensor | None = None
    label_weight: Tensor | float = 1.0

    def __len__(self) -> int:
        return len(self.real)

    def shared(self) -> GanBatch:
        """Itself as the share of a batch that several processes work on, which may know more or fewer labels."""
        if self.labels is None:
            return self
        known = _known(self.real, self.labels)
        return replace(self, label_weight=known / average_numbers(known))

    def parts(self, size: int, group: int = 1) -> Iterator[GanBatch]:
        """Cut between groups of the minibatch standard deviation; itself when one part holds it.

        Args:
            size: most images in a part, unless a single group has more.
            group: images that the deviation puts into a group; a remainder is spread over the groups.
        """
        n = len(self)
        groups = max(1, n // group)
        each, rest = divmod(n, groups)
        together = max(1, size // (each + (rest > 0)))
        if together >= groups or size >= n:
            yield self
            return
        for first in range(0, groups, together):
            last = min(first + together, groups)
            yield self._cut(slice(first * each + min(first, rest), last * each + min(last, rest)))

    def _cut(self, cut: slice) -> GanBatch:
        part = replace(self, real=self.real[cut], latents=self.latents[cut], mix=self.mix[cut])
        if self.labels is None:
            return part
        known, total = _known(part.real, self.labels[cut]), _known(self.real, self.labels)
        weight = known / total * (len(self) / len(part)) * self.label_weight
        return replace(part, labels=self.labels[cut], label_weight=weight)


def _known(images: Tensor, labels: Tensor) -> Tensor:
    """Number of known labels, at least 1, in the images' type."""
    return (~labels.isnan()).sum().clamp(min=1).to(images.dtype)
