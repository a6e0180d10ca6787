"""Updates of a GAN whose discriminator sees real images through the Gaussian mechanism alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from monai_cxraug.engines.gan_batch import GanBatch, Values
from monai_cxraug.engines.gan_updates import _FAKE, _REAL, GanUpdates
from monai_cxraug.engines.privacy import Privacy
from monai_cxraug.engines.processes import world_size
from monai_cxraug.engines.schedule import Phase
from monai_cxraug.engines.side_tasks import LabelTask
from monai_cxraug.errors import ConfigError
from monai_cxraug.losses.adversarial import AdversarialLoss


@dataclass
class PrivateUpdates(GanUpdates):
    """Updates whose discriminator obeys DP-SGD (Abadi et al. 2016), as in DPGAN (Xie et al. 2018, arXiv 1802.06739).

    The gradient at each real image is taken by itself, clipped and summed; noise hides the sum. Fake images come of a
    generator that knows real ones through the discriminator alone, and of latents: their gradient is computed as usual
    and costs nothing. What follows from the discriminator, the generator, its average and its images among it, costs
    nothing more (post-processing). Real scores are neither reported nor learnt from.

    One image after another: a pass of one image each, as the layers' own derivatives know no batch of gradients. Only
    weights at which fake images have a gradient get noise; those of stages to come stay as they are.

    Raises:
        ConfigError: something would look at real images past the mechanism, or mix them.
    """

    privacy: Privacy = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for broken, name, rule, found, mend in self._rules():
            if broken:
                raise ConfigError(name, f"a private discriminator {rule}", found, mend)

    def _rules(self) -> Iterator[tuple[bool, str, str, Any, str]]:
        """What must hold, and how to mend it."""
        network, augment, task = self.discriminator, self.augment, self.side_task
        group = getattr(network, "group", 1)
        yield group != 1, "group", "judges each image by itself", f"groups of {group}", "give discriminator group 1"
        yield self._whole, "discriminator_def", "normalises no batch", type(network).__name__, "use the progressive one"
        findings = getattr(self.generator, "findings", 0)
        yield bool(findings), "condition", "is told no labels of real images", findings, "train one for each finding"
        mend = "give r1 or penalty 0"
        yield self.loss.regularised, "loss", "has no penalty, which looks at slopes at real images", self.loss, mend
        mend = "use NonSaturatingLoss, HingeLoss, LeastSquaresLoss or WassersteinLoss"
        rule = "needs a loss that is a mean over images"
        yield not is_mean(self.loss), "loss", rule, type(self.loss).__name__, mend
        learns = isinstance(augment, nn.Module) and any(True for _ in augment.buffers())
        rule, mend = "allows no augmentation that learns from real scores", "use DiffAugment, or none"
        yield learns, "augment", rule, type(augment).__name__, mend
        odd = task is not None and not isinstance(task, LabelTask)
        yield odd, "side_task", "learns nothing beside real and fake", type(task).__name__, "leave it out"
        mixed = self.precision.mixed
        yield mixed, "amp", "computes in full precision", mixed, "give amp false"
        yield world_size() > 1, "processes", "is trained by one process", world_size(), "start one"
        yield self.part is not None, "part", "takes one image at a time already", self.part, "leave it out"

    def critic(self, batch: GanBatch, phase: Phase, regularise: bool, keep: bool) -> Values:
        """Update the discriminator once.

        Args:
            batch: ``real`` as many as chance took, ``latents`` as many as a batch has.
            phase: where training stands.
            regularise: not looked at; there is no regulariser.
            keep: keep the fake images for the generator's update.

        Returns:
            ``fake_score`` and ``critic_fake_loss``: what tells of fake images alone.
        """
        self._made = None
        self.d_optimizer.zero_grad(set_to_none=True)
        self._streams = [torch.Generator(self.draws.device).manual_seed(seed) for seed in self._seeds()]
        fake = self._shown(self._fakes(batch, phase, keep).detach(), _FAKE)
        scores = self._judge(fake, phase, None).scores
        loss = self.loss.critic(scores.new_zeros(1), scores)
        torch.autograd.backward(loss)
        weights = [one for one in self.discriminator.parameters() if one.grad is not None]
        real = self._shown(batch.real, _REAL) if len(batch.real) else batch.real
        expected = phase.batch_size
        released = self.privacy.sanitise(self.gradients(real, phase, weights), weights, expected)
        for weight, part in zip(weights, released, strict=True):
            weight.grad = part if weight.grad is None else weight.grad + part
        self.privacy.account(expected)
        self.precision.step(self.d_optimizer)
        return {"critic_fake_loss": loss.detach(), "fake_score": scores.mean().detach()}

    def gradients(self, real: Tensor, phase: Phase, weights: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        """The gradient of each real image's part of the loss, as if it were a batch by itself.

        Args:
            real: as the discriminator sees them, ``[N, C, r, r]``.
            phase: where training stands.
            weights: with respect to which.
        """
        for image in real:
            score = self._judge(image[None], phase, None).scores
            yield torch.autograd.grad(self.loss.critic(score, score.new_zeros(1)), list(weights))

    def generate(self, batch: GanBatch, phase: Phase) -> Values:
        """Update the generator once; see :meth:`GanUpdates.generate`. It works on latents, whatever the real images."""
        return super().generate(replace(batch, real=batch.latents), phase)

    def _seeds(self) -> list[int]:
        return [] if self.augment is None else self._draw_seeds()


def is_mean(loss: AdversarialLoss) -> bool:
    """Whether what a critic minimises is a mean over real images plus one over fake ones, each by its own score."""
    values = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64, requires_grad=True)
    both = loss.critic(values, torch.tensor([0.7, -0.4], dtype=torch.float64))
    (together,) = torch.autograd.grad(both, values)
    alone = []
    for value in values.detach():
        one = value[None].clone().requires_grad_(True)
        alone.append(torch.autograd.grad(loss.critic(one, torch.zeros(1, dtype=torch.float64)), one)[0])
    return torch.allclose(together, torch.cat(alone) / len(values))
