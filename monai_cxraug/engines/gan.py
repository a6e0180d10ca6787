"""Training of GANs as a MONAI engine, growing or not. The number of images seen is the clock of everything."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from ignite.engine import Events
from monai.engines import Trainer
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the customary name)
from torch.optim import Optimizer

from monai_cxraug.console import announce
from monai_cxraug.engines.allocator import keep_memory
from monai_cxraug.engines.ema import ExponentialMovingAverage
from monai_cxraug.engines.gan_batch import GanBatch
from monai_cxraug.engines.gan_updates import Augmentation, GanUpdates
from monai_cxraug.engines.health import require_finite
from monai_cxraug.engines.precision import Precision
from monai_cxraug.engines.privacy import Privacy
from monai_cxraug.engines.private_updates import PrivateUpdates
from monai_cxraug.engines.processes import average_buffers, copy_from_first, own_share, share_of
from monai_cxraug.engines.schedule import Phase, Schedule
from monai_cxraug.engines.side_tasks import SideTask
from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.keys import IMAGE, LABEL
from monai_cxraug.losses.adversarial import AdversarialLoss, WassersteinLoss
from monai_cxraug.networks.latents import layout_of


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
    """Trains a GAN; stops when the schedule's total number of images has been seen.

    A progressive GAN and GANs of one size alike: the schedule says whether the networks grow, and so what they are
    called with (``Phase.growth``).

    Each iteration takes one batch ``{"image": [N, C, R, R]}``, float32 in [0, 1] or uint8 at full resolution, with N
    the phase's batch size, and for a conditional generator ``"label"`` ``[N, K]``: ``critic_steps`` critic steps with
    fresh fakes each, then one generator step. Afterwards ``state.output`` holds the losses as detached scalars on the
    device (reading one waits for it), ``state.phase`` the phase of this iteration and ``state.images_seen`` the clock.

    Adam's moments are forgotten at the beginning of every fade and every stable phase, as in Karras et al.'s code.

    Where several processes train, N is each one's share of the phase's batch, and the clock counts the images of all.

    Args:
        device: where to train.
        train_data_loader: gives the batches; it starts anew when exhausted.
        generator: called with latents, ``resolution`` and ``alpha`` if it grows, and ``labels``; gives images. It has
            ``latent_size`` (or a ``layout`` of noise and codes), ``resolution`` and, if conditional, ``findings``.
        discriminator: its ``judge``, called with images, ``alpha`` if it grows, and ``labels``, gives scores ``[N]``
            and what a side task looks at, or None.
        g_optimizer: over the generator's parameters; the paper uses Adam, lr 1e-3, betas (0, 0.99), eps 1e-8.
        d_optimizer: over the discriminator's parameters, likewise.
        schedule: gives the phase for the images seen.
        loss: WGAN-GP with drift by default.
        critic_steps: critic steps per generator step.
        ema_half_life: half-life of the averaged generator in images.
        ema_decay: share that the average keeps in every iteration, instead of a half-life; the paper's is 0.999.
        amp: compute in 16 bits where autocast does: bfloat16, or scaled float16 on devices without it.
        augment: changes real and fake images before the discriminator sees them; on the device.
        side_task: what the discriminator learns beside real and fake; nothing by default.
        part: most real images in one pass, with as many fake ones; None for all, until memory runs out.
        inferer: how the generator is called; default as it is.
        privacy: the discriminator sees real images through this mechanism alone, in batches of whatever size its
            sampling gives; None for an ordinary training.
        seed: of latents, mixing and augmentation, independent of the global random state.
        epoch_length: iterations that ignite calls an epoch (the beat of epoch handlers).
        max_epochs: end after so many of them, should the schedule not have ended; default as many as it needs.
        train_handlers: handlers to attach.

    Raises:
        ConfigError: schedule and generator differ in resolution, generator and discriminator in findings or channels,
            or a setting is out of range.
    """

    def __init__(
        self,
        device: torch.device | str,
        train_data_loader: Iterable[Mapping[str, Tensor]],
        generator: nn.Module,
        discriminator: nn.Module,
        g_optimizer: Optimizer,
        d_optimizer: Optimizer,
        schedule: Schedule,
        loss: AdversarialLoss | None = None,
        critic_steps: int = 1,
        ema_half_life: float = 10_000,
        ema_decay: float | None = None,
        amp: bool = False,
        augment: Augmentation | None = None,
        side_task: SideTask | None = None,
        part: int | None = None,
        inferer: Inferer | None = None,
        privacy: Privacy | None = None,
        seed: int = 0,
        epoch_length: int = 100,
        max_epochs: int | None = None,
        train_handlers: Sequence[Any] | None = None,
    ) -> None:
        if critic_steps < 1 or epoch_length < 1:
            found = f"{critic_steps}, {epoch_length}"
            raise ConfigError("ProgressiveGanTrainer", "critic_steps and epoch_length must be at least 1", found)
        shape = cast(Any, generator)
        if schedule.resolution != shape.resolution:
            found = f"schedule {schedule.resolution}, generator {shape.resolution}"
            raise ConfigError("ProgressiveGanTrainer(schedule)", "must end at the generator's resolution", found)
        for name in ("findings", "channels"):
            made = getattr(generator, name, None)
            if (judged := getattr(discriminator, name, made)) != made:
                found = f"generator {made}, discriminator {judged}"
                raise ConfigError("ProgressiveGanTrainer(discriminator)", f"must have the generator's {name}", found)
        device = torch.device(device)
        for network in (generator, discriminator):
            network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.generator, self.discriminator = generator, discriminator
        self.g_optimizer, self.d_optimizer = g_optimizer, d_optimizer
        self.schedule, self.critic_steps, self.augment = schedule, critic_steps, augment
        self.layout = layout_of(generator)
        self.findings: int = getattr(generator, "findings", 0)
        self.channels: int | None = getattr(generator, "channels", None)
        self.loss: AdversarialLoss = WassersteinLoss() if loss is None else loss
        self.ema = ExponentialMovingAverage(generator, ema_half_life, decay=ema_decay)
        #: of latents, mixing weights and augmentation; on the CPU, so that a seed means the same on every device.
        self.latents = torch.Generator().manual_seed(seed)
        self.precision = Precision(device, amp)
        parts = (generator, discriminator, g_optimizer, d_optimizer, self.loss, self.precision, self.latents)
        choices = (augment, side_task, part, inferer or SimpleInferer())
        self.privacy, self._spent = privacy, 0.0
        if privacy is not None and critic_steps > 1:
            rule, mend = "a private discriminator sees a batch once", "give critic_steps 1"
            raise ConfigError("critic_steps", rule, critic_steps, mend)
        self.updates = (
            GanUpdates(*parts, *choices) if privacy is None else PrivateUpdates(*parts, *choices, privacy=privacy)
        )
        #: set by a handler that looks after losses that are not finite; else they end the training.
        self.watched = False
        if device.type == "cpu":
            keep_memory()
        # MONAI's own amp is a CUDA gradient scaler for one loss
        super().__init__(
            device=device,
            max_epochs=max_epochs or math.ceil(schedule.iterations() / epoch_length),
            data_loader=train_data_loader,
            epoch_length=epoch_length,
            handlers=train_handlers,
            decollate=False,
        )
        self.state.images_seen = 0
        self.state.phase = schedule.at(0)
        self.add_event_handler(Events.STARTED, self._agree)
        self.add_event_handler(Events.EPOCH_STARTED, self._stop_at_the_end)
        self.add_event_handler(Events.ITERATION_COMPLETED, self._stop_at_the_end)
        self.add_event_handler(Events.EPOCH_COMPLETED, self._require_finite)
        if privacy is not None:
            self.add_event_handler(Events.STARTED, self._count_spent)
            self.add_event_handler(Events.EPOCH_COMPLETED, self._count_spent)
            self.add_event_handler(Events.COMPLETED, lambda: announce(privacy.describe()))

    @property
    def resumables(self) -> dict[str, Any]:
        """Everything of this trainer that a checkpoint must hold, by name, clock aside."""
        named = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "ema": self.ema,
            "g_optimizer": self.g_optimizer,
            "d_optimizer": self.d_optimizer,
            "latents": self.latents,
            "precision": self.precision,
        }
        chosen = {"augment": self.augment, "privacy": self.privacy}
        return named | {name: item for name, item in chosen.items() if item is not None}

    def example_labels(self, n: int) -> Tensor | None:
        """Labels ``[n, K]`` for samples to look at: one finding alone each, in turn; None without conditions."""
        if not self.findings:
            return None
        return torch.eye(self.findings, device=self.state.device)[torch.arange(n) % self.findings]

    def _agree(self) -> None:
        """Begin with the same weights in every process; a checkpoint, if there is one, is loaded by now."""
        for network in (self.generator, self.discriminator, self.ema.module):
            copy_from_first(network.state_dict().values())

    def _stop_at_the_end(self) -> None:
        if self.state.images_seen >= self.schedule.total_images:
            self.terminate()

    def _iteration(self, engine: Any, batchdata: Mapping[str, Tensor]) -> dict[str, Tensor | float]:
        """One critic and generator update; returns the losses and the phase."""
        phase = self.schedule.at(self.state.images_seen)
        self._forget_moments()
        real, labels = phase_images(self._images(batchdata, phase), phase), self._labels(batchdata, phase)
        self.generator.train()
        self.discriminator.train()
        values: dict[str, Tensor] = {}
        for step in range(self.critic_steps):
            number = max(0, engine.state.iteration - 1) * self.critic_steps + step
            batch = GanBatch(real, self._latents(phase.batch_size), self._mix(phase.batch_size), labels).shared()
            last = step == self.critic_steps - 1
            values |= self.updates.critic(batch, phase, number % self.loss.interval == 0, keep=last)
        values |= self.updates.generate(batch, phase)
        for network in (self.generator, self.discriminator):
            if getattr(network, "batch_statistics", False):
                average_buffers(network)
        if self.state.device.type == "cpu":  # where looking costs nothing
            self._require_finite(values)
        self.ema.update(phase.batch_size, self.state.images_seen)
        self.state.images_seen += phase.batch_size
        self.state.phase = phase
        spent = {} if self.privacy is None else {"epsilon": self._spent}
        return {**values, **{name: float(value) for name, value in phase.growth.items()}, **spent}

    def _count_spent(self) -> None:
        """What privacy has cost by now; the sum takes too long for every iteration."""
        if self.privacy is not None:
            self._spent = self.privacy.epsilon()

    def _forget_moments(self) -> None:
        """Start the optimisers anew in a new stage; each carries the number of the stage its moments are of."""
        stage = self.schedule.stage(self.state.images_seen)
        for optimizer in (self.g_optimizer, self.d_optimizer):
            group = optimizer.param_groups[0]
            if group.setdefault("stage", stage) != stage:
                optimizer.state.clear()
                group["stage"] = stage

    def _images(self, batchdata: Mapping[str, Tensor], phase: Phase) -> Tensor:
        """The batch's images on the device, their shape checked."""
        if IMAGE not in batchdata:
            raise InputError(f"batch key {IMAGE!r}", "a batch must hold images", f"keys {sorted(batchdata)}")
        full = self.schedule.resolution
        images = as_unit(torch.as_tensor(batchdata[IMAGE]).to(self.state.device, non_blocking=True))
        channels = images.shape[1] if self.channels is None and images.ndim == 4 else self.channels
        if images.ndim != 4 or tuple(images.shape[1:]) != (channels, full, full):
            mend = f"resize the images to {full} px, of as many channels as the networks"
            rule = f"must be [N, {channels or 'C'}, {full}, {full}]"
            raise InputError(f"batch key {IMAGE!r}", rule, list(images.shape), mend)
        if self.privacy is None and len(images) != (expected := share_of(phase.batch_size)):
            where, rule = f"batch at {self.state.images_seen} images seen", f"must hold {expected} images"
            mend = "use a sampler that follows the schedule and drops the last batch"
            raise InputError(where, rule, len(images), mend)
        return images.as_subclass(Tensor)  # a MetaTensor would carry its metadata through every operation

    def _labels(self, batchdata: Mapping[str, Tensor], phase: Phase) -> Tensor | None:
        """The batch's labels on the device, for a conditional generator."""
        if not self.findings:
            return None
        expected = [share_of(phase.batch_size), self.findings]
        labels = None if LABEL not in batchdata else torch.as_tensor(batchdata[LABEL])
        if labels is None or list(labels.shape) != expected:
            found = "none" if labels is None else list(labels.shape)
            mend = "list as many findings in the data set as the generator has"
            raise InputError(f"batch key {LABEL!r}", f"must be {expected}", found, mend)
        return labels.to(self.state.device, torch.float32, non_blocking=True).as_subclass(Tensor)

    # every process draws for the whole batch, so that the numbers of an image do not depend on how many they are

    def _latents(self, n: int) -> Tensor:
        return own_share(self.layout.sample(n, self.latents)).to(self.state.device, non_blocking=True)

    def _mix(self, n: int) -> Tensor:
        return own_share(torch.rand(n, generator=self.latents)).to(self.state.device, non_blocking=True)

    def _require_finite(self, values: Mapping[str, Any] | Any = None) -> None:
        """Refuse to go on with losses that are not finite; this waits for the device."""
        output = values if isinstance(values, Mapping) else self.state.output
        if not self.watched and isinstance(output, Mapping):
            require_finite(output, self.state.images_seen)


def as_unit(images: Tensor) -> Tensor:
    """Images as float32 in [0, 1], from uint8 or from what is in [0, 1] already."""
    return images / 255 if images.dtype == torch.uint8 else images.to(torch.float32)
