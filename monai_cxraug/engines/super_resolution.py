"""Training of a network that enlarges images, as a MONAI engine, in the two stages of ESRGAN (arXiv 1809.00219)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from ignite.engine import Events
from monai.inferers import Inferer
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the customary name)
from torch.optim import Optimizer

from monai_cxraug.console import announce
from monai_cxraug.engines.distortion import DistortionTrainer, Views
from monai_cxraug.engines.ema import ExponentialMovingAverage
from monai_cxraug.engines.freezing import frozen
from monai_cxraug.engines.precision import exact
from monai_cxraug.engines.processes import copy_from_first, gather, own_share, rank, world_size
from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.keys import IMAGE
from monai_cxraug.losses.reconstruction import ReconstructionLoss
from monai_cxraug.losses.relativistic import RelativisticAverageLoss

#: seeds lie below, so that they fit every generator of random numbers.
_SEEDS = 2**31


def shrink(images: Tensor, scale: int) -> Tensor:
    """Average images over areas: what a network that enlarges is given.

    Args:
        images: ``[N, C, H, W]``; sides are multiples of the scale.
        scale: side of a square of pixels that becomes one.

    Returns:
        ``[N, C, H / scale, W / scale]``.
    """
    return F.avg_pool2d(images, scale) if scale > 1 else images


def blend(first: Mapping[str, Tensor], second: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Interpolate between two networks of one shape, weight by weight (section 3.4, equation 4).

    Args:
        first: state of the network that was trained for PSNR.
        second: state of the one that was trained on against a discriminator.
        share: of the second, in [0, 1]; the paper shows 0 to 1 and uses 0.8.

    Returns:
        The state in between.

    Raises:
        ConfigError: the share is out of range, or the states are of different networks.
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ConfigError("interpolation", "must be in [0, 1]", repr(share), "1 is the GAN, 0 the network before it")
    if first.keys() != second.keys() or any(first[name].shape != second[name].shape for name in first):
        raise ConfigError("interpolation", "needs two networks of one shape", "two different ones")
    return {name: torch.lerp(first[name], second[name], float(share)) for name in first}


class SuperResolutionTrainer(DistortionTrainer):
    """Trains a network that enlarges images: first for PSNR, then against a discriminator (section 3.4).

    Each step cuts a square out of every image at random, turns it to one of its eight symmetric views, and averages it
    over areas to what the network is given; the cut lies on the grid of that average, so that a small square is a cut
    of the small image. In the first stage the network learns by ``pixel_loss`` alone. The second begins with the
    averaged weights of the first, forgets the optimiser's moments, and minimises ``loss`` and the relativistic average
    loss of the discriminator, which is updated before with the same images. The average begins anew with it.

    Rates of both stages halve at given shares of the stage. Everything else is as in :class:`DistortionTrainer`.

    Args:
        device: where to train.
        train_data_loader: gives batches ``{"image": [N, C, H, W]}``, float32 in [0, 1] or uint8.
        network: enlarges images; has ``scale``.
        optimizer: over its parameters; its rate is that of the first stage. The paper uses Adam, 2e-4, betas (0.9,
            0.999).
        pixel_steps: updates in the first stage.
        gan_steps: updates in the second; 0 for none.
        discriminator: maps images to scores, one or more each; has ``least``, the smallest side it takes. None without
            a second stage.
        d_optimizer: over its parameters; the paper uses Adam, 1e-4.
        pixel_loss: of the first stage; mean absolute difference by default.
        loss: of the second, adversarial loss aside: pixels and features. The paper's weights are 0.01 and 1.
        adversarial_weight: of the adversarial loss in the second stage; the paper's is 0.005.
        gan_rate: learning rate of the network in the second stage.
        halvings: shares of a stage at which its rates halve, each in (0, 1).
        crop: side of the squares in pixels, a multiple of the scale; None for whole images.
        flips: whether squares are mirrored and turned.
        ema_half_life: half-life of the averaged network in images.
        interpolation: share of the second stage in the weights that come of it, in [0, 1]; see :func:`blend`.
        batch_size: images of all processes in a step.
        amp: compute in 16 bits where autocast does.
        inferer: how the network is called; default as it is.
        seed: of cuts and views, independent of the global random state.
        epoch_length: steps that ignite calls an epoch: the beat of checkpoints.
        max_epochs: as many as the steps need, for who reads it; another number is refused.
        train_handlers: handlers to attach.

    Attributes:
        ema: the average of the network in the stage at hand.
        before: the network as the first stage left it.

    Raises:
        ConfigError: a setting is out of range, or a second stage and what it needs do not come together.
    """

    def __init__(
        self,
        device: torch.device | str,
        train_data_loader: Iterable[Mapping[str, Tensor]],
        network: nn.Module,
        optimizer: Optimizer,
        pixel_steps: int,
        gan_steps: int = 0,
        discriminator: nn.Module | None = None,
        d_optimizer: Optimizer | None = None,
        pixel_loss: ReconstructionLoss | None = None,
        loss: ReconstructionLoss | None = None,
        adversarial_weight: float = 0.0,
        gan_rate: float = 1e-4,
        halvings: Sequence[float] = (),
        crop: int | None = None,
        flips: bool = True,
        ema_half_life: float = 1000,
        interpolation: float = 1.0,
        batch_size: int = 16,
        amp: bool = False,
        inferer: Inferer | None = None,
        seed: int = 0,
        epoch_length: int = 100,
        max_epochs: int | None = None,
        train_handlers: Sequence[Any] | None = None,
    ) -> None:
        self.scale = int(cast(Any, network).scale)
        _check(pixel_steps, gan_steps, discriminator, gan_rate, halvings)
        _check_crop(crop, self.scale, discriminator)
        blend({}, {}, interpolation)  # a share out of range is refused before hours of training
        self.interpolation = interpolation
        super().__init__(
            device,
            train_data_loader,
            network,
            optimizer,
            loss,
            discriminator=discriminator,
            d_optimizer=d_optimizer,
            adversarial_weight=adversarial_weight,
            steps=pixel_steps + gan_steps,
            batch_size=batch_size,
            amp=amp,
            inferer=inferer,
            seed=seed,
            epoch_length=epoch_length,
            max_epochs=max_epochs,
            train_handlers=train_handlers,
        )
        self.pixel_steps, self.gan_steps = pixel_steps, gan_steps
        self.pixel_loss = ReconstructionLoss() if pixel_loss is None else pixel_loss
        self.relativistic = RelativisticAverageLoss()
        self.gan_rate, self.halvings, self.crop, self.flips = gan_rate, sorted(halvings), crop, flips
        #: rates of both optimisers, before a checkpoint replaces them by halved ones.
        self._rates = [one.param_groups[0]["lr"] if one is not None else 0.0 for one in (optimizer, d_optimizer)]
        self.ema = ExponentialMovingAverage(network, ema_half_life)
        self.before: nn.Module = copy.deepcopy(self.ema.module)
        self.add_event_handler(Events.STARTED, self._say_what_is_off)

    @property
    def resumables(self) -> dict[str, Any]:
        """Everything of this trainer that a checkpoint must hold, by name, clock aside."""
        return super().resumables | {"ema": self.ema, "before": self.before}

    @property
    def competing(self) -> bool:
        """Whether the second stage has begun, or begins with the next step."""
        return bool(self.gan_steps) and self._step_number() >= self.pixel_steps

    def result(self, share: float | None = None) -> nn.Module:
        """What was trained, in evaluation mode: the average, and after a second stage the network between both.

        Args:
            share: of the second stage in the weights, in [0, 1]; default ``interpolation``. Without a second stage it
                says nothing.

        Raises:
            ConfigError: the share is out of range.
        """
        share = self.interpolation if share is None else share
        between = blend(self.before.state_dict(), self.ema.state_dict(), share)
        if not self.competing:
            return self.ema.module
        found = copy.deepcopy(self.ema.module)
        found.load_state_dict(between)
        return found

    def views(self, images: Tensor, seeds: Sequence[int]) -> Views:
        """Squares of images ``[N, C, H, W]``, cut and turned by a seed for each, and what the network is given."""
        cuts = torch.stack([self._cut(image, seed) for image, seed in zip(images, seeds, strict=True)])
        return Views(cuts, shrink(cuts, self.scale), cuts)

    def _cut(self, image: Tensor, seed: int) -> Tensor:
        """A square of an image ``[C, H, W]`` on the grid of the average; whole images are only turned."""
        draws = torch.Generator().manual_seed(seed)
        if self.crop is not None:
            height, width = image.shape[1:]
            top, left = (
                self.scale * int(torch.randint((side - self.crop) // self.scale + 1, (), generator=draws))
                for side in (height, width)
            )
            image = image[:, top : top + self.crop, left : left + self.crop]
        if self.flips:
            turns = int(torch.randint(4, (), generator=draws)) if image.shape[1] == image.shape[2] else 0
            image = torch.rot90(image, turns, (1, 2))
            image = image.flip(2) if torch.randint(2, (), generator=draws) else image
        return image

    def _say_what_is_off(self) -> None:
        if self.gan_steps and not self.loss.feature and not rank():
            announce("super-resolution: no network of features was given; the second stage has no perceptual term")

    # --- one step ---

    def _agree(self) -> None:
        super()._agree()
        for module in (self.ema.module, self.before):
            copy_from_first(module.state_dict().values())

    def _iteration(self, engine: Any, batchdata: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One update of the network, in the second stage one of the discriminator before; returns the losses."""
        images = self._whole(self._images(batchdata))
        if self.gan_steps and self._step_number() == self.pixel_steps:
            self._begin_to_compete()
        self._set_rates()
        # every process draws for the whole batch, so that an image's seed does not depend on how many they are
        drawn = torch.randint(_SEEDS, (self.batch_size,), generator=self.draws)
        views = self.views(images, own_share(drawn).tolist())
        self.network.train()
        made = self.make(views.given)
        values = self._compete(views.wanted, made) if self.competing else self._restore(views.wanted, made)
        if self.state.device.type == "cpu":  # where looking costs nothing
            self._require_finite(values)
        begun = self.pixel_steps * self.batch_size if self.competing else 0
        self.ema.update(self.batch_size, self.state.images_seen - begun)
        self.state.images_seen += self.batch_size
        return values

    def _restore(self, wanted: Tensor, made: Tensor) -> dict[str, Tensor]:
        """Update the network in the first stage."""
        self.optimizer.zero_grad(set_to_none=True)
        loss, parts = self.pixel_loss(made, wanted)
        self._step(loss, self.optimizer)
        return {"loss": loss.detach(), **{name: value.detach() for name, value in parts.items()}}

    def _compete(self, wanted: Tensor, made: Tensor) -> dict[str, Tensor]:
        """Update the discriminator, then the network."""
        discriminator, optimizer = cast(nn.Module, self.discriminator).train(), cast(Optimizer, self.d_optimizer)
        optimizer.zero_grad(set_to_none=True)
        real, fake = (self._judged(discriminator, images) for images in (wanted, made.detach()))
        d_loss = self.relativistic.critic(real, fake)
        self._step(d_loss * world_size(), optimizer)

        self.optimizer.zero_grad(set_to_none=True)
        with self.precision.autocast():
            loss, parts = self.loss(made, wanted)
        with frozen(discriminator):
            with torch.no_grad():
                aim = self._judged(discriminator, wanted)
            parts["adversarial"] = self.relativistic.generator(aim, self._judged(discriminator, made))
        self._step(loss + self.adversarial_weight * world_size() * parts["adversarial"], self.optimizer)
        loss = loss + self.adversarial_weight * parts["adversarial"]
        values = {"critic_loss": d_loss, "real_score": real.mean(), "fake_score": fake.mean(), "loss": loss, **parts}
        return {name: value.detach() for name, value in values.items()}

    def _judged(self, discriminator: nn.Module, images: Tensor) -> Tensor:
        """All scores ``[S]`` of the images of all processes, in at least float32, with gradients for this one's.

        The loss compares with means over the batch, so each process needs them all. It then computes the whole batch's
        loss, but the gradient of its own share only: that many times as much makes up for the average over processes.
        """
        with self.precision.autocast():
            scores = exact(discriminator(images)).flatten()
        if world_size() == 1:
            return scores
        parts = list(gather(scores.detach()).split(len(scores)))
        parts[rank()] = scores
        return torch.cat(parts)

    # --- stages ---

    def _step_number(self) -> int:
        """Updates done so far."""
        return int(self.state.images_seen) // self.batch_size

    def _begin_to_compete(self) -> None:
        """Keep the averaged network of the first stage, and go on from it with an optimiser that remembers nothing."""
        for module in (self.before, self.network):
            module.load_state_dict(self.ema.state_dict())
        self.optimizer.state.clear()

    def _set_rates(self) -> None:
        number = self._step_number()
        done, steps = (
            (number - self.pixel_steps, self.gan_steps) if self.competing else (number, max(1, self.pixel_steps))
        )
        factor = 0.5 ** sum(done >= share * steps for share in self.halvings)
        rates = self.gan_rate if self.competing else self._rates[0], self._rates[1]
        for optimizer, rate in zip((self.optimizer, self.d_optimizer), rates, strict=True):
            for group in [] if optimizer is None else optimizer.param_groups:
                group["lr"] = rate * factor

    def _whole(self, images: Tensor) -> Tensor:
        """Images that a square can be cut out of, or that the scale divides."""
        sides, least = images.shape[-2:], self.crop or int(getattr(self.discriminator, "least", 1))
        whole = self.crop is None and any(side % self.scale for side in sides)
        if images.ndim != 4 or min(sides) < least or whole:
            multiple = "" if self.crop else f", multiples of {self.scale}"
            rule = f"must be [N, C, H, W], sides of at least {least}{multiple}"
            raise InputError(f"batch key {IMAGE!r}", rule, list(images.shape), "choose another crop, or other images")
        return images


def _check(
    pixel_steps: int, gan_steps: int, discriminator: nn.Module | None, gan_rate: float, halvings: Sequence[float]
) -> None:
    for name, value in (("pixel_steps", pixel_steps), ("gan_steps", gan_steps)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ConfigError(name, "must be a whole number of at least 0", repr(value), f"mend {name}")
    if (discriminator is None) != (gan_steps == 0):
        found = f"{gan_steps} steps, {type(discriminator).__name__}"
        rule = "gan_steps above 0 and a discriminator go together"
        raise ConfigError("SuperResolutionTrainer", rule, found, "give both or neither")
    if not 0 < gan_rate < float("inf"):
        raise ConfigError("gan_rate", "must be above 0", gan_rate, "the paper's is 1e-4")
    if not all(0 < share < 1 for share in halvings):
        raise ConfigError("halvings", "must be shares of a stage, in (0, 1)", list(halvings), "for example [0.5, 0.8]")


def _check_crop(crop: int | None, scale: int, discriminator: nn.Module | None) -> None:
    if crop is None:
        return
    least = max(scale, int(getattr(discriminator, "least", 1)))
    if isinstance(crop, bool) or not isinstance(crop, int) or crop % scale or crop < least:
        rule = f"must be a multiple of the scale ({scale}), at least {least}"
        raise ConfigError("crop", rule, repr(crop), "mend crop, or give the discriminator fewer levels")
