"""Training of networks that distort images, as a MONAI engine: denoising autoencoders and conditional GANs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from ignite.engine import Events
from monai.engines import Trainer
from monai.inferers import Inferer, SimpleInferer
from torch import Tensor, nn
from torch.optim import Optimizer

from monai_cxraug.engines.allocator import keep_memory
from monai_cxraug.engines.freezing import frozen
from monai_cxraug.engines.gan import as_unit
from monai_cxraug.engines.health import require_finite
from monai_cxraug.engines.precision import Precision, exact
from monai_cxraug.engines.processes import average_buffers, average_gradients, copy_from_first, own_share, share_of
from monai_cxraug.engines.schedule import whole_epochs
from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.keys import IMAGE
from monai_cxraug.losses.adversarial import AdversarialLoss, NonSaturatingLoss
from monai_cxraug.losses.reconstruction import ReconstructionLoss

#: seeds lie below, so that they fit every generator of random numbers.
_SEEDS = 2**31


class Change(Protocol):
    """What is done to images, each by its own seed."""

    def __call__(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """Change images ``[N, C, H, W]`` in [0, 1]; the shape stays."""


@dataclass(frozen=True)
class Budget:
    """When a training ends.

    Args:
        total_images: images seen then.
    """

    total_images: int


@dataclass(frozen=True)
class Views:
    """The sides of one batch, each ``[N, C, H, W]`` in [0, 1].

    Args:
        original: as it came.
        given: what the network sees.
        wanted: what it should make of it.
    """

    original: Tensor
    given: Tensor
    wanted: Tensor


class DistortionTrainer(Trainer):
    """Trains a network that distorts images, for a fixed number of steps.

    Without ``distort`` the network learns to restore: it sees ``corrupt(original)`` and should give the original (a
    denoising autoencoder). With it the network learns to distort: it should give ``distort(original)``. With a
    discriminator, that one learns to tell pairs of what the network sees and what is wanted from pairs of the same and
    what it made; the network learns to mislead it (Isola et al. 2017, arXiv 1611.07004, equations 1 to 4). The
    discriminator is updated first, with the images that the network is updated with after.

    Each iteration takes one batch ``{"image": [N, C, H, W]}``, float32 in [0, 1] or uint8. Afterwards ``state.output``
    holds the losses as detached scalars, and ``state.images_seen`` the clock. Corruptions and distortions are drawn for
    each image; where several processes train, N is each one's share of the batch, the draws are those of one process,
    and batch normalisation looks at each share alone.

    Args:
        device: where to train.
        train_data_loader: gives the batches; it starts anew when exhausted.
        network: maps images to images of the same shape.
        optimizer: over its parameters; the paper uses Adam, lr 2e-4, betas (0.5, 0.999).
        loss: of its images beside those wanted; pixels alone by default.
        corrupt: what is done to the originals before the network sees them; None for nothing.
        distort: makes what is wanted of the originals; None wants the originals.
        discriminator: maps (given, images) to scores, higher for real; None for none.
        d_optimizer: over its parameters.
        adversarial: of the scores; the non-saturating logistic loss by default.
        adversarial_weight: of it in the network's loss; the paper's is 0.01 beside a pixel weight of 1.
        steps: updates of the network.
        batch_size: images of all processes in a step.
        amp: compute in 16 bits where autocast does.
        inferer: how the network is called; default as it is.
        seed: of corruptions and distortions, independent of the global random state.
        epoch_length: steps that ignite calls an epoch: the beat of checkpoints.
        max_epochs: as many as the steps need, for who reads it; another number is refused.
        train_handlers: handlers to attach.

    Raises:
        ConfigError: a setting is out of range, or a discriminator comes without optimiser or weight, or these without
            it.
    """

    def __init__(
        self,
        device: torch.device | str,
        train_data_loader: Iterable[Mapping[str, Tensor]],
        network: nn.Module,
        optimizer: Optimizer,
        loss: ReconstructionLoss | None = None,
        corrupt: Change | None = None,
        distort: Change | None = None,
        discriminator: nn.Module | None = None,
        d_optimizer: Optimizer | None = None,
        adversarial: AdversarialLoss | None = None,
        adversarial_weight: float = 0.0,
        steps: int = 1000,
        batch_size: int = 16,
        amp: bool = False,
        inferer: Inferer | None = None,
        seed: int = 0,
        epoch_length: int = 100,
        max_epochs: int | None = None,
        train_handlers: Sequence[Any] | None = None,
    ) -> None:
        _require_pair(discriminator, d_optimizer, adversarial_weight)
        epochs = whole_epochs(steps, epoch_length)
        if max_epochs not in (None, epochs):
            raise ConfigError("max_epochs", f"must be steps / epoch_length ({epochs})", max_epochs, "leave it out")
        device = torch.device(device)
        for module in (network, discriminator):
            if module is not None:
                module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network, self.optimizer = network, optimizer
        self.discriminator, self.d_optimizer = discriminator, d_optimizer
        self.loss = ReconstructionLoss() if loss is None else loss
        self.adversarial: AdversarialLoss = NonSaturatingLoss(r1=0.0) if adversarial is None else adversarial
        self.adversarial_weight = adversarial_weight
        self.corrupt, self.distort = corrupt, distort
        self.batch_size, self.schedule = batch_size, Budget(steps * batch_size)
        #: of corruptions and distortions; on the CPU, so that a seed means the same on every device.
        self.draws = torch.Generator().manual_seed(seed)
        self.precision, self.inferer = Precision(device, amp), inferer or SimpleInferer()
        if device.type == "cpu":
            keep_memory()
        super().__init__(
            device=device,
            max_epochs=epochs,
            data_loader=train_data_loader,
            epoch_length=epoch_length,
            handlers=train_handlers,
            decollate=False,
        )
        self.state.images_seen = 0
        self.add_event_handler(Events.STARTED, self._agree)
        self.add_event_handler(Events.EPOCH_COMPLETED, self._require_finite)

    @property
    def resumables(self) -> dict[str, Any]:
        """Everything of this trainer that a checkpoint must hold, by name, clock aside."""
        named = {"network": self.network, "optimizer": self.optimizer, "draws": self.draws, "precision": self.precision}
        if self.discriminator is None:
            return named
        return named | {"discriminator": self.discriminator, "d_optimizer": self.d_optimizer}

    def views(self, images: Tensor, seeds: Sequence[int]) -> Views:
        """What the network sees of images ``[N, C, H, W]`` in [0, 1] and what is wanted, by a seed for each."""
        given = images if self.corrupt is None else self.corrupt(images, seeds)
        wanted = images if self.distort is None else self.distort(images, seeds)
        return Views(images, given, wanted)

    def make(self, given: Tensor) -> Tensor:
        """The network's images ``[N, C, H, W]`` of what it sees, in at least float32."""
        with self.precision.autocast():
            made: Tensor = self.inferer(given, self.network)
        return exact(made)

    def _agree(self) -> None:
        """Begin with the same weights in every process; a checkpoint, if there is one, is loaded by now."""
        for module in filter(None, (self.network, self.discriminator)):
            copy_from_first(module.state_dict().values())

    def _iteration(self, engine: Any, batchdata: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One update of the discriminator, if there is one, and of the network; returns the losses."""
        images = self._images(batchdata)
        # every process draws for the whole batch, so that an image's seed does not depend on how many they are
        drawn = torch.randint(_SEEDS, (self.batch_size,), generator=self.draws)
        views = self.views(images, own_share(drawn).tolist())
        self.network.train()
        made = self.make(views.given)
        values: dict[str, Tensor] = {}
        if self.discriminator is not None and self.d_optimizer is not None:  # they go together
            values |= self._judge(
                self.discriminator.train(), self.d_optimizer, views, made.detach(), engine.state.iteration
            )
        values |= self._improve(views, made)
        if self.state.device.type == "cpu":  # where looking costs nothing
            self._require_finite(values)
        self.state.images_seen += self.batch_size
        return values

    def _judge(
        self, discriminator: nn.Module, optimizer: Optimizer, views: Views, made: Tensor, iteration: int
    ) -> dict[str, Tensor]:
        """Update the discriminator."""
        optimizer.zero_grad(set_to_none=True)
        real, fake = (self._scores(discriminator, views.given, images) for images in (views.wanted, made))
        loss = self.adversarial.critic(real, fake)
        if (iteration - 1) % self.adversarial.interval == 0:
            mix = own_share(torch.rand(self.batch_size, generator=self.draws)).to(made)
            loss = loss + self.adversarial.regulariser(
                lambda images: self._scores(discriminator, views.given, images).reshape(len(mix), -1).mean(dim=1),
                views.wanted,
                made,
                mix,
            )
        self._step(loss, optimizer)
        return {"critic_loss": loss.detach(), "real_score": real.detach().mean(), "fake_score": fake.detach().mean()}

    def _improve(self, views: Views, made: Tensor) -> dict[str, Tensor]:
        """Update the network."""
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision.autocast():
            loss, parts = self.loss(made, views.wanted)
        if self.discriminator is not None:
            with frozen(self.discriminator):
                parts["adversarial"] = self.adversarial.generator(self._scores(self.discriminator, views.given, made))
            loss = loss + self.adversarial_weight * parts["adversarial"]
        self._step(loss, self.optimizer)
        average_buffers(self.network)
        return {"loss": loss.detach(), **{name: value.detach() for name, value in parts.items()}}

    def _scores(self, discriminator: nn.Module, given: Tensor, images: Tensor) -> Tensor:
        """Scores of all patches, ``[N * h * w]``, in at least float32."""
        with self.precision.autocast():
            scores: Tensor = discriminator(given, images)
        return exact(scores).flatten()

    def _step(self, loss: Tensor, optimizer: Optimizer) -> None:
        self.precision.backward(loss)
        average_gradients(optimizer)
        self.precision.step(optimizer)

    def _images(self, batchdata: Mapping[str, Tensor]) -> Tensor:
        """The batch's images on the device, their number checked; the network checks their shape."""
        if IMAGE not in batchdata:
            raise InputError(f"batch key {IMAGE!r}", "a batch must hold images", f"keys {sorted(batchdata)}")
        images = as_unit(torch.as_tensor(batchdata[IMAGE]).to(self.state.device, non_blocking=True))
        if len(images) != (expected := share_of(self.batch_size)):
            where, mend = f"batch at {self.state.images_seen} images seen", "use a sampler that drops the last batch"
            raise InputError(where, f"must hold {expected} images", len(images), mend)
        return images.as_subclass(Tensor)  # a MetaTensor would carry its metadata through every operation

    def _require_finite(self, values: Mapping[str, Any] | Any = None) -> None:
        """Refuse to go on with losses that are not finite; this waits for the device."""
        output = values if isinstance(values, Mapping) else self.state.output
        if isinstance(output, Mapping):
            require_finite(output, self.state.images_seen)


def _require_pair(discriminator: nn.Module | None, optimizer: Optimizer | None, weight: float) -> None:
    """A discriminator, its optimiser and its weight go together."""
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
        raise ConfigError("adversarial_weight", "must be at least 0 and finite", repr(weight), "mend it")
    if (discriminator is None) != (optimizer is None) or (discriminator is None) != (weight == 0):
        found = f"{type(discriminator).__name__}, {type(optimizer).__name__}, {weight}"
        rule = "discriminator, d_optimizer and adversarial_weight above 0 go together"
        raise ConfigError("DistortionTrainer", rule, found, "give all of them or none")
