"""One update of a discriminator and one of a generator, in as many parts as memory demands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import torch
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor, nn
from torch.optim import Optimizer

from monai_cxraug.engines.freezing import frozen
from monai_cxraug.engines.gan_batch import GanBatch, Judgement, Losses, Values
from monai_cxraug.engines.precision import Precision, exact
from monai_cxraug.engines.processes import average_gradients, gather, rank
from monai_cxraug.engines.schedule import Phase
from monai_cxraug.engines.side_tasks import SideTask
from monai_cxraug.errors import ConfigError
from monai_cxraug.losses.adversarial import AdversarialLoss

#: kinds of images, each augmented from a stream of its own.
_REAL, _FAKE = 0, 1


class Augmentation(Protocol):
    """What is done to real and fake images before the discriminator sees them."""

    def __call__(self, images: Tensor, draws: torch.Generator) -> Tensor:
        """Change images ``[N, C, H, W]``; differentiable."""

    def update(self, real_scores: Tensor, fake_scores: Tensor | None = None) -> None:
        """Learn from the scores ``[N]`` of one critic update."""


@dataclass
class GanUpdates:
    """Updates of both networks.

    The fake images of the last critic update serve the generator's update too: the generator has not changed in
    between, so nothing but time would come of drawing others.

    Parts smaller than the batch add up to the same gradients: every loss is a mean over images (or known labels), parts
    hold whole groups of the minibatch standard deviation, and each image is augmented by the same numbers. So do the
    shares of several processes, but for the augmentation: each draws its own.

    Networks that normalise by the statistics of a batch say so by an attribute ``batch_statistics``. Their batches stay
    whole, since parts have other statistics, and a discriminator's real and fake images are judged apart. Of several
    processes each normalises its own share.

    Args:
        generator: called with latents, the growth of the phase (``resolution`` and ``alpha``, if it grows) and
            ``labels``; gives images.
        discriminator: ``judge``, called with images, the fade of the phase (``alpha``, if it grows) and ``labels``,
            gives scores and what a side task looks at; may have ``group``.
        g_optimizer: over the generator's parameters.
        d_optimizer: over the discriminator's parameters.
        loss: of scores.
        precision: of the networks.
        draws: source of the augmentation's randomness.
        augment: changes real and fake images before they are judged.
        side_task: what the discriminator learns beside real and fake.
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
    side_task: SideTask | None = None
    part: int | None = None
    inferer: Inferer = field(default_factory=SimpleInferer)

    def __post_init__(self) -> None:
        self._group: int = getattr(self.discriminator, "group", 1)
        self._apart = _normalises_batches(self.discriminator)
        self._whole = self._apart or _normalises_batches(self.generator)
        if self._apart and self.loss.regularised:
            rule, mend = (
                "a discriminator that normalises over a batch has no slope at each image",
                "give r1 or penalty 0",
            )
            raise ConfigError("loss", rule, self.loss, mend)
        if self.part is not None and self._whole:
            mend = "leave part out; a smaller batch_size needs less memory"
            raise ConfigError("part", "networks that normalise over a batch take it whole", self.part, mend)
        if self.part is not None and (self.part < 1 or self.part % self._group):
            mend = f"give {self._group}, {2 * self._group}, ..."
            raise ConfigError(
                "part", f"must be a multiple of the discriminator's group ({self._group})", self.part, mend
            )
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
            (weighted, where regularised) and what the side task reports; detached scalars.
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
            ``generator_loss`` and what the side task reports; detached scalars.
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
        if self._whole:
            rule, mend = "a batch that networks normalise over must fit whole", "give a smaller batch_size or network"
            raise ConfigError("memory", rule, f"out of memory at {size} images", mend)
        half = size // 2 // self._group * self._group
        if half < 1:
            mend = "use a smaller network, or free the device"
            rule = "the smallest part of a batch, one group of the minibatch deviation, must fit"
            raise ConfigError("memory", rule, f"out of memory at {size} images", mend)
        torch.cuda.empty_cache()
        return half

    def _critic_part(self, batch: GanBatch, phase: Phase, regularise: bool, keep: bool) -> Losses:
        real, fake = self._shown(batch.real, _REAL), self._shown(self._fakes(batch, phase, keep).detach(), _FAKE)
        judged_real, judged_fake = self._judge_both(real, fake, phase, batch.labels)
        real_scores, fake_scores = judged_real.scores, judged_fake.scores
        total = loss = self.loss.critic(real_scores, fake_scores)
        means = [exact(scores).mean().detach() for scores in (real_scores, fake_scores)]
        values = {"critic_loss": loss, "wasserstein": means[0] - means[1]}
        values |= {"real_score": means[0], "fake_score": means[1]}
        self._scores.append((real_scores.detach(), fake_scores.detach()))
        if self.side_task is not None:
            with self.precision.autocast():
                beside = self.side_task.critic(judged_real, judged_fake, batch)
            total, values = _join(total, values, beside)
        if regularise:
            values["penalty"] = self.loss.regulariser(self._slope_of(phase, batch.labels), real, fake, batch.mix)
            total = total + values["penalty"]
        return total, values

    def _judge(self, images: Tensor, phase: Phase, labels: Tensor | None) -> Judgement:
        scores, told = cast(Any, self.discriminator).judge(images, **phase.fade, labels=labels)
        return Judgement(scores, told, images)

    def _judge_both(
        self, real: Tensor, fake: Tensor, phase: Phase, labels: Tensor | None
    ) -> tuple[Judgement, Judgement]:
        """What is said of real and of fake images, in one pass unless it would mix them."""
        n = len(real)
        with self.precision.autocast():
            if self._apart or n % self._group:  # statistics, or a group of the minibatch deviation, would be of both
                return self._judge(real, phase, labels), self._judge(fake, phase, labels)
            both = None if labels is None else labels.repeat(2, 1)
            scores, told, _ = self._judge(torch.cat([real, fake]), phase, both)
        of_real, of_fake = (None, None) if told is None else (told[:n], told[n:])
        return Judgement(scores[:n], of_real, real), Judgement(scores[n:], of_fake, fake)

    def _generator_part(self, batch: GanBatch, phase: Phase) -> Losses:
        fake = self._shown(self._fakes(batch, phase, keep=True), _FAKE)
        with self.precision.autocast():
            judged = self._judge(fake, phase, batch.labels)
            beside = None if self.side_task is None else self.side_task.generator(judged, batch)
        loss = self.loss.generator(judged.scores)
        return _join(loss, {"generator_loss": loss}, beside)

    def _fakes(self, batch: GanBatch, phase: Phase, keep: bool) -> Tensor:
        """Images of a batch's latents, those that were kept if they are of this batch; with their graph if kept."""
        if self._made is not None and self._made[0] is batch.latents:
            return self._made[1]
        with torch.set_grad_enabled(keep), self.precision.autocast():
            made: Tensor = self.inferer(batch.latents, self.generator, **phase.growth, labels=batch.labels)
        fake = exact(made)
        self._made = (batch.latents, fake) if keep else None
        return fake

    def _shown(self, images: Tensor, kind: int) -> Tensor:
        """Real or fake images as the discriminator sees them."""
        return images if self.augment is None else self.augment(images, self._streams[kind])

    def _slope_of(self, phase: Phase, labels: Tensor | None) -> Callable[[Tensor], Tensor]:
        def scores(images: Tensor) -> Tensor:
            with self.precision.autocast(self.precision.penalises_slopes):
                return self._judge(images, phase, labels).scores

        return scores


def _normalises_batches(network: nn.Module) -> bool:
    return bool(getattr(network, "batch_statistics", False))


def _join(total: Tensor, values: Values, beside: Losses | None) -> Losses:
    """Add what a side task minimises and reports, if it does."""
    return (total, values) if beside is None else (total + beside[0], values | beside[1])
