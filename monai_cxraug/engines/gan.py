"""Training of the progressive GAN as a MONAI engine. The number of images seen is the clock of everything."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from ignite.engine import Events
from monai.engines import Trainer
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the customary name)
from torch.optim import Optimizer

from monai_cxraug.engines.ema import ExponentialMovingAverage
from monai_cxraug.engines.schedule import Phase, ProgressiveSchedule
from monai_cxraug.errors import ConfigError, InputError, StateError
from monai_cxraug.keys import IMAGE
from monai_cxraug.losses.adversarial import WassersteinLoss
from monai_cxraug.networks.latents import sample_latent


def phase_images(images: Tensor, phase: Phase) -> Tensor:
    """Real images as the discriminator sees them in a phase.

    They are averaged over areas down to the phase's resolution and, while a stage fades in, blended with their own half
    resolution by the same alpha as the networks (Karras et al. 2017, figure 2).

    Args:
        images: ``[N, C, R, R]``, R the phase's resolution times a whole number.
        phase: where training stands.

    Returns:
        ``[N, C, r, r]`` with r the phase's resolution.
    """
    factor = images.shape[-1] // phase.resolution
    images = F.avg_pool2d(images, factor) if factor > 1 else images
    if phase.alpha == 1.0:
        return images
    coarse = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2, mode="nearest")
    return torch.lerp(coarse, images, phase.alpha)


class ProgressiveGanTrainer(Trainer):
    """Trains a progressive GAN; stops when the schedule's total number of images has been seen.

    Each iteration takes one batch ``{"image": [N, C, R, R]}``, float32 in [0, 1] at full resolution, with N the
    phase's batch size: ``critic_steps`` critic steps with fresh fakes each, then one generator step. Afterwards
    ``state.output`` holds the losses, ``state.phase`` the phase of this iteration and ``state.images_seen`` the clock.

    Args:
        device: where to train.
        train_data_loader: gives the batches; it starts anew when exhausted.
        generator: maps ``(latents, resolution, alpha)`` to images; has ``latent_size`` and ``resolution``.
        discriminator: maps ``(images, alpha)`` to scores ``[N]``.
        g_optimizer: over the generator's parameters; the paper uses Adam, lr 1e-3, betas (0, 0.99).
        d_optimizer: over the discriminator's parameters, likewise.
        schedule: gives the phase for the images seen.
        loss: WGAN-GP with drift by default.
        critic_steps: critic steps per generator step.
        ema_half_life: half-life of the averaged generator in images.
        amp: compute in bfloat16 where autocast does; the gradient penalty stays in float32.
        seed: of latents and of the penalty's mixing, independent of the global random state.
        epoch_length: iterations that ignite calls an epoch (the beat of epoch handlers).
        train_handlers: handlers to attach.

    Raises:
        ConfigError: schedule and generator differ in resolution, or a count is below 1.
    """

    def __init__(
        self,
        device: torch.device | str,
        train_data_loader: Iterable[Mapping[str, Tensor]],
        generator: nn.Module,
        discriminator: nn.Module,
        g_optimizer: Optimizer,
        d_optimizer: Optimizer,
        schedule: ProgressiveSchedule,
        loss: WassersteinLoss | None = None,
        critic_steps: int = 1,
        ema_half_life: float = 10_000,
        amp: bool = False,
        seed: int = 0,
        epoch_length: int = 100,
        train_handlers: Sequence[Any] | None = None,
    ) -> None:
        if critic_steps < 1 or epoch_length < 1:
            found = f"{critic_steps}, {epoch_length}"
            raise ConfigError("ProgressiveGanTrainer", "critic_steps and epoch_length must be at least 1", found)
        shape: Any = generator
        if schedule.resolution != shape.resolution:
            found = f"schedule {schedule.resolution}, generator {shape.resolution}"
            raise ConfigError("ProgressiveGanTrainer(schedule)", "must grow to the generator's resolution", found)
        self.generator, self.discriminator = generator, discriminator
        self.g_optimizer, self.d_optimizer = g_optimizer, d_optimizer
        self.schedule, self.critic_steps = schedule, critic_steps
        self.latent_size: int = shape.latent_size
        self.loss = WassersteinLoss() if loss is None else loss
        self.ema = ExponentialMovingAverage(generator, ema_half_life)
        #: of latents and mixing weights; on the CPU, so that a seed means the same on every device.
        self.latents = torch.Generator().manual_seed(seed)
        self.bfloat16 = amp
        # MONAI's own amp is a CUDA gradient scaler, which bfloat16 does not need
        super().__init__(
            device=device,
            max_epochs=math.ceil(schedule.iterations() / epoch_length),
            data_loader=train_data_loader,
            epoch_length=epoch_length,
            handlers=train_handlers,
            decollate=False,
        )
        self.state.images_seen = 0
        self.state.phase = schedule.at(0)
        self.add_event_handler(Events.EPOCH_STARTED, self._stop_at_the_end)
        self.add_event_handler(Events.ITERATION_COMPLETED, self._stop_at_the_end)

    @property
    def resumables(self) -> dict[str, Any]:
        """Everything of this trainer that a checkpoint must hold, by name, clock aside."""
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "ema": self.ema,
            "g_optimizer": self.g_optimizer,
            "d_optimizer": self.d_optimizer,
            "latents": self.latents,
        }

    def _stop_at_the_end(self) -> None:
        if self.state.images_seen >= self.schedule.total_images:
            self.terminate()

    def _iteration(self, engine: Any, batchdata: Mapping[str, Tensor]) -> dict[str, float]:
        """One critic and generator update; returns the losses and the phase as numbers."""
        phase = self.schedule.at(self.state.images_seen)
        real = phase_images(self._images(batchdata, phase), phase)
        self.generator.train()
        self.discriminator.train()
        for _ in range(self.critic_steps):
            critic = self._critic_step(real, phase)
        losses = {**critic, **self._generator_step(len(real), phase)}
        values = {name: float(value) for name, value in losses.items()}
        self._require_finite(values)
        self.ema.update(len(real), self.state.images_seen)
        self.state.images_seen += len(real)
        self.state.phase = phase
        return {**values, "resolution": float(phase.resolution), "alpha": phase.alpha}

    def _images(self, batchdata: Mapping[str, Tensor], phase: Phase) -> Tensor:
        """The batch's images on the device, their shape checked."""
        if IMAGE not in batchdata:
            raise InputError(f"batch key {IMAGE!r}", "a batch must hold images", f"keys {sorted(batchdata)}")
        full = self.schedule.resolution
        images = torch.as_tensor(batchdata[IMAGE], dtype=torch.float32, device=self.state.device)
        if images.ndim != 4 or tuple(images.shape[2:]) != (full, full):
            mend = f"resize the images to {full} px"
            raise InputError(f"batch key {IMAGE!r}", f"must be [N, C, {full}, {full}]", list(images.shape), mend)
        if len(images) != phase.batch_size:
            where, rule = f"batch at {self.state.images_seen} images seen", f"must hold {phase.batch_size} images"
            mend = "use a sampler that follows the schedule and drops the last batch"
            raise InputError(where, rule, len(images), mend)
        return images.as_subclass(Tensor)  # a MetaTensor would carry its metadata through every operation

    def _latents(self, n: int) -> Tensor:
        return sample_latent(n, self.latent_size, self.latents).to(self.state.device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.state.device.type, dtype=torch.bfloat16, enabled=self.bfloat16)

    def _critic_step(self, real: Tensor, phase: Phase) -> dict[str, Tensor]:
        """Update the discriminator once, on fakes of its own."""
        mix = torch.rand(len(real), generator=self.latents).to(real.device)
        with self._autocast():
            with torch.no_grad():
                fake = self.generator(self._latents(len(real)), phase.resolution, phase.alpha).float()
            # two calls, since the minibatch deviation must not mix real and fake images
            real_scores = self.discriminator(real, phase.alpha).float()
            fake_scores = self.discriminator(fake, phase.alpha).float()
        loss = self.loss.scores(real_scores, fake_scores)
        slope = self.loss.slope(lambda images: self.discriminator(images, phase.alpha), real, fake, mix)
        self.d_optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss + self.loss.penalty * slope)
        self.d_optimizer.step()
        distance = real_scores.detach().mean() - fake_scores.detach().mean()
        return {"critic_loss": loss.detach(), "penalty": slope.detach(), "wasserstein": distance}

    def _generator_step(self, n: int, phase: Phase) -> dict[str, Tensor]:
        """Update the generator once."""
        with _frozen(self.discriminator):
            with self._autocast():
                fake = self.generator(self._latents(n), phase.resolution, phase.alpha)
                scores = self.discriminator(fake, phase.alpha)
            loss = self.loss.generator(scores.float())
            self.g_optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
        self.g_optimizer.step()
        return {"generator_loss": loss.detach()}

    def _require_finite(self, values: Mapping[str, float]) -> None:
        if all(math.isfinite(value) for value in values.values()):
            return
        found = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        mend = "resume from the last checkpoint with a smaller learning rate, or without amp"
        raise StateError(f"training at {self.state.images_seen} images seen", "losses must be finite", found, mend)


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Pass gradients through a module without computing those of its weights."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
