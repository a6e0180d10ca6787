"""One update of a discriminator and one of a generator, in as many parts as memory demands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, cast

import torch
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor, nn
from torch.optim import Optimizer

from monai_cxraug.engines.freezing import frozen
from monai_cxraug.engines.precision import Precision, exact
from monai_cxraug.engines.processes import average_gradients, average_numbers, gather, rank
from monai_cxraug.engines.schedule import Phase
from monai_cxraug.errors import ConfigError
from monai_cxraug.losses.adversarial import AdversarialLoss, auxiliary_loss

#: kinds of images, each augmented from a stream of its own.
_REAL, _FAKE = 0, 1
Values = dict[str, Tensor]
#: what is minimised, and what is reported.
Losses = tuple[Tensor, Values]
#: scores, and logits of an auxiliary classifier.
Judgement = tuple[Tensor, Tensor | None]
Judge = Callable[[Tensor, float, Tensor | None], Judgement]


class Augmentation(Protocol):
    """What is done to real and fake images before the discriminator sees them."""

    def __call__(self, images: Tensor, draws: torch.Generator) -> Tensor:
        """Change images ``[N, C, H, W]``; differentiable."""

    def update(self, real_scores: Tensor, fake_scores: Tensor | None = None) -> None:
        """Learn from the scores ``[N]`` of one critic update."""


@dataclass(frozen=True)
class GanBatch:
    """What one update works on.

    Args:
        real: images ``[N, C, r, r]`` in [0, 1].
        latents: ``[N, latent_size]``.
        mix: ``[N]`` in [0, 1], the weight of the fake image in the gradient penalty's pairs.
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


@dataclass
class GanUpdates:
    """Updates of both networks.

    The fake images of the last critic update serve the generator's update too: the generator has not changed in
    between, so nothing but time would come of drawing others.

    Parts smaller than the batch add up to the same gradients: every loss is a mean over images (or known labels), parts
    hold whole groups of the minibatch standard deviation, and each image is augmented by the same numbers. So do the
    shares of several processes, but for the augmentation: each draws its own.

    Args:
        generator: maps ``(latents, resolution, alpha, labels)`` to images.
        discriminator: ``judge`` maps ``(images, alpha, labels)`` to scores and logits; has ``group``.
        g_optimizer: over the generator's parameters.
        d_optimizer: over the discriminator's parameters.
        loss: of scores.
        precision: of the networks.
        draws: source of the augmentation's randomness.
        augment: changes real and fake images before they are judged.
        auxiliary: weight of the auxiliary classifier's loss.
        auxiliary_on: judged images whose labels the classifier learns from: real ones, or both.
        part: most real images in one pass, with as many fake ones, unless a single group has more; halved for good
            when memory runs out.
        inferer: how the generator is called.
    """

    generator: nn.Module
    discriminator: nn.Module
    g_optimizer: Optimizer
    d_optimizer: Optimizer
    loss: AdversarialLoss
    precision: Precision
    draws: torch.Generator
    augment: Augmentation | None = None
    auxiliary: float = 1.0
    auxiliary_on: Literal["real", "both"] = "real"
    part: int | None = None
    inferer: Inferer = field(default_factory=SimpleInferer)

    def __post_init__(self) -> None:
        if self.auxiliary < 0 or self.auxiliary_on not in ("real", "both"):
            found = f"{self.auxiliary}, {self.auxiliary_on!r}"
            raise ConfigError("auxiliary", "must be at least 0, on 'real' or 'both'", found)
        self._group: int = getattr(self.discriminator, "group", 1)
        if self.part is not None and (self.part < 1 or self.part % self._group):
            mend = f"give {self._group}, {2 * self._group}, ..."
            raise ConfigError(
                "part", f"must be a multiple of the discriminator's group ({self._group})", self.part, mend
            )
        self._judge: Judge = cast(Any, self.discriminator).judge
        self._scores: list[tuple[Tensor, Tensor]] = []  # real and fake ones of each part of this update
        self._made: tuple[Tensor, Tensor] | None = None  # latents, and the images made of them with their graph
        self._streams: list[torch.Generator] = []  # of the augmentation of this update's real and fake images

    def critic(self, batch: GanBatch, phase: Phase, regularise: bool, keep: bool) -> Values:
        """Update the discriminator once.

        Args:
            batch: what it sees.
            phase: where training stands.
            regularise: with the loss's regulariser.
            keep: keep the fake images for the generator's update.

        Returns:
            ``critic_loss``, ``real_score`` and ``fake_score`` (means), ``wasserstein`` (their difference), ``penalty``
            (weighted, where regularised) and ``auxiliary`` (where there is a classifier); detached scalars.
        """
        self._made = None
        values = self._in_parts(
            batch, self.d_optimizer, lambda part: self._critic_part(part, phase, regularise, keep and part is batch)
        )
        if self.augment is not None:
            real, fake = map(torch.cat, zip(*self._scores, strict=True))
            self.augment.update(gather(real), None if self.loss.calibrated else gather(fake))
        self._scores = []
        return values

    def generate(self, batch: GanBatch, phase: Phase) -> Values:
        """Update the generator once.

        Args:
            batch: that of the discriminator's last update.
            phase: where training stands.

        Returns:
            ``generator_loss`` and, with a classifier, ``generator_auxiliary``; detached scalars.
        """
        with frozen(self.discriminator):
            values = self._in_parts(batch, self.g_optimizer, lambda part: self._generator_part(part, phase))
        self._made = None
        return values

    def _in_parts(self, batch: GanBatch, optimizer: Optimizer, losses: Callable[[GanBatch], Losses]) -> Values:
        """Collect gradients part by part, in smaller parts when memory runs out; then update."""
        seeds = [] if self.augment is None else self._draw_seeds()
        while True:
            optimizer.zero_grad(set_to_none=True)
            # two streams, so that the numbers of an image do not depend on how many others share its part
            self._streams = [torch.Generator(self.draws.device).manual_seed(seed + rank()) for seed in seeds]
            size = min(self.part or len(batch), len(batch))
            try:
                values = self._collect(batch, size, losses)
                break
            except torch.OutOfMemoryError:
                self._made = None
            # only here, where the error no longer holds on to the tensors of the pass that failed
            optimizer.zero_grad(set_to_none=True)
            self.part = self._smaller(size)
        average_gradients(optimizer)  # scaled ones too: what overflows in one process is then seen by all
        self.precision.step(optimizer)
        return values

    def _draw_seeds(self) -> list[int]:
        drawn = torch.randint(2**32, (2,), generator=self.draws, device=self.draws.device)
        return [int(seed) for seed in drawn.tolist()]

    def _collect(self, batch: GanBatch, size: int, losses: Callable[[GanBatch], Losses]) -> Values:
        sums: Values = {}
        self._scores = []
        for part in batch.parts(size, self._group):
            loss, values = losses(part)
            share = len(part) / len(batch)
            self.precision.backward(loss * share)
            sums = {name: sums.get(name, 0.0) + value.detach() * share for name, value in values.items()}
            if part is not batch:
                self._made = None  # of a part that is over
        return sums

    def _smaller(self, size: int) -> int:
        half = size // 2 // self._group * self._group
        if half < 1:
            mend = "use a smaller network, or free the device"
            rule = "the smallest part of a batch, one group of the minibatch deviation, must fit"
            raise ConfigError("memory", rule, f"out of memory at {size} images", mend)
        torch.cuda.empty_cache()
        return half

    def _critic_part(self, batch: GanBatch, phase: Phase, regularise: bool, keep: bool) -> Losses:
        real, fake = self._shown(batch.real, _REAL), self._shown(self._fakes(batch, phase, keep).detach(), _FAKE)
        (real_scores, real_logits), (fake_scores, fake_logits) = self._judge_both(real, fake, phase, batch.labels)
        total = loss = self.loss.critic(real_scores, fake_scores)
        means = [exact(scores).mean().detach() for scores in (real_scores, fake_scores)]
        values = {"critic_loss": loss, "wasserstein": means[0] - means[1]}
        values |= {"real_score": means[0], "fake_score": means[1]}
        self._scores.append((real_scores.detach(), fake_scores.detach()))
        if real_logits is not None and fake_logits is not None and batch.labels is not None:
            values["auxiliary"] = auxiliary_loss(real_logits, batch.labels) * batch.label_weight
            if self.auxiliary_on == "both":
                fakes = auxiliary_loss(fake_logits, batch.labels) * batch.label_weight
                values["auxiliary"] = values["auxiliary"] + fakes
            total = total + self.auxiliary * values["auxiliary"]
        if regularise:
            values["penalty"] = self.loss.regulariser(self._slope_of(phase, batch.labels), real, fake, batch.mix)
            total = total + values["penalty"]
        return total, values

    def _judge_both(
        self, real: Tensor, fake: Tensor, phase: Phase, labels: Tensor | None
    ) -> tuple[Judgement, Judgement]:
        """Scores and logits of real and of fake images, in one pass unless it would mix them."""
        n = len(real)
        with self.precision.autocast():
            if n % self._group:  # a group of the minibatch deviation would hold both
                return self._judge(real, phase.alpha, labels), self._judge(fake, phase.alpha, labels)
            both = None if labels is None else labels.repeat(2, 1)
            scores, logits = self._judge(torch.cat([real, fake]), phase.alpha, both)
        named = (None, None) if logits is None else (logits[:n], logits[n:])
        return (scores[:n], named[0]), (scores[n:], named[1])

    def _generator_part(self, batch: GanBatch, phase: Phase) -> Losses:
        fake = self._shown(self._fakes(batch, phase, keep=True), _FAKE)
        with self.precision.autocast():
            scores, logits = self._judge(fake, phase.alpha, batch.labels)
        total = loss = self.loss.generator(scores)
        values = {"generator_loss": loss}
        if logits is not None and batch.labels is not None:
            values["generator_auxiliary"] = auxiliary_loss(logits, batch.labels) * batch.label_weight
            total = total + self.auxiliary * values["generator_auxiliary"]
        return total, values

    def _fakes(self, batch: GanBatch, phase: Phase, keep: bool) -> Tensor:
        """Images of a batch's latents, those that were kept if they are of this batch; with their graph if kept."""
        if self._made is not None and self._made[0] is batch.latents:
            return self._made[1]
        with torch.set_grad_enabled(keep), self.precision.autocast():
            given = (phase.resolution, phase.alpha, batch.labels)
            made: Tensor = self.inferer(batch.latents, self.generator, *given)
        fake = exact(made)
        self._made = (batch.latents, fake) if keep else None
        return fake

    def _shown(self, images: Tensor, kind: int) -> Tensor:
        """Real or fake images as the discriminator sees them."""
        return images if self.augment is None else self.augment(images, self._streams[kind])

    def _slope_of(self, phase: Phase, labels: Tensor | None) -> Callable[[Tensor], Tensor]:
        def scores(images: Tensor) -> Tensor:
            with self.precision.autocast(self.precision.penalises_slopes):
                return self._judge(images, phase.alpha, labels)[0]

        return scores
