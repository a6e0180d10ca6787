"""A GAN's training that may be left alone: a failure is noticed, said and undone, and given up in the end."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from numbers import Real
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.networks import eval_mode
from torch import Tensor
from torch.optim import Optimizer

from monai_cxraug.artifacts import write_json
from monai_cxraug.engines.gan import as_unit
from monai_cxraug.engines.health import Health, Limits, find_failure, largest_magnitude, reach, shrink, spread
from monai_cxraug.engines.processes import average_numbers, rank, wait_for_all
from monai_cxraug.errors import ConfigError, StateError
from monai_cxraug.handlers.resume import Resume
from monai_cxraug.keys import IMAGE, LABEL
from monai_cxraug.losses.adversarial import WassersteinLoss
from monai_cxraug.networks.latents import layout_of

SCHEMA = "cxraug.recovery/1"
#: its own entry in a checkpoint.
_NAME = "recovery"
_RECORD = "recovery.json"
_log = logging.getLogger(__name__)


class Recovery:
    """Checks a ``ProgressiveGanTrainer`` every so many iterations and rolls a failed training back.

    A failure is a loss or weight that is not finite, samples that look alike, or a saturated critic (see
    :class:`~monai_cxraug.engines.health.Limits`). Then networks, averages, optimisers and clock return to the last
    checkpoint that was followed by a check it passed; the learning rate of every parameter group is multiplied by
    ``factor``; the latents are drawn on from where they were, since the same draws would lead to the same end. After
    ``tries`` rollbacks the next failure ends the training. The number of rollbacks, the losses since the last check and
    the record of what happened are in the checkpoint, so that a training killed at any moment resumes exactly.

    Between checks nothing waits for the device. Each rollback is a warning in the log, an entry of ``recovery.json``
    beside the checkpoint and a text in TensorBoard, where the measurements of every check are too.

    List it right after its ``Resume``. It raises the engine's ``watched`` flag. Several processes judge the mean of
    what each measures, so that they agree.

    Args:
        resume: writes the checkpoints.
        every: iterations between checks.
        grace: images seen before samples and critic are judged; until then only numbers that are not finite count.
        limits: where training counts as failed.
        factor: of the learning rate, at each rollback.
        tries: rollbacks in one training.
        samples: images drawn for a check, always from the same latents. Diversity is relative to the images of one
            batch, and is not judged where a batch holds a single image.
        writer: TensorBoard ``SummaryWriter``, if wanted.

    Raises:
        ConfigError: a setting is out of range; when training starts, if ``resume`` was not listed before it.
        StateError: during training, when it is given up.
    """

    def __init__(
        self,
        resume: Resume,
        every: int = 200,
        grace: int = 10_000,
        limits: Limits | None = None,
        factor: float = 0.5,
        tries: int = 3,
        samples: int = 32,
        writer: Any = None,
    ) -> None:
        for name, value, least in (
            ("every", every, 1),
            ("grace", grace, 0),
            ("tries", tries, 0),
            ("samples", samples, 2),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"Recovery({name})", f"must be a whole number of at least {least}", repr(value))
        if not 0 < factor < 1:
            raise ConfigError("Recovery(factor)", "must be between 0 and 1", factor, "0.5 halves the learning rate")
        self.resume, self.every, self.grace, self.limits = resume, every, grace, limits or Limits()
        self.factor, self.tries, self.samples, self.writer = factor, tries, samples, writer
        self._window = _Window()
        self._made = 0
        self._events: list[dict[str, Any]] = []
        resume.objects[_NAME] = self

    def attach(self, engine: Any) -> None:
        """Register on the engine."""
        engine.watched = True
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._check_when_due)

    def state_dict(self) -> dict[str, Any]:
        """Rollbacks made, their record, and the losses since the last check."""
        return {"made": self._made, "events": list(self._events), "window": self._window.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what :meth:`state_dict` gave."""
        self._made, self._events = state["made"], list(state["events"])
        self._window.load_state_dict(state["window"])

    def _start(self, engine: Engine) -> None:
        if not self.resume.is_attached(engine):
            raise ConfigError(
                "Recovery(resume)", "must be a handler of the same trainer", mend="list it before Recovery"
            )
        if not self.resume.good_path.exists():
            self.resume.save(engine)  # where a training begins is the first state to go back to
            self.resume.promote(engine)
        wait_for_all()
        if self._events:
            self._write_record(self._events)  # a kill may have come between the checkpoint and the record

    def _check_when_due(self, engine: Any) -> None:
        self._window.add(engine.state.output)
        at_end = engine.state.images_seen >= engine.schedule.total_images
        if at_end or engine.state.iteration % self.every == 0:
            self.check(engine)

    def check(self, engine: Any) -> None:
        """Judge the training now: keep the newest checkpoint as the good one, or roll back.

        Raises:
            StateError: it failed once more than ``tries`` times, or the good checkpoint does not fit.
        """
        health = self.measure(engine)
        self._window.clear()
        self._show(health, engine.state.images_seen)
        settled = engine.state.images_seen >= self.grace
        reason = find_failure(health, self.limits, *_scale_of(engine.loss), settled)
        if not reason:
            self.resume.promote(engine)
        elif self._made < self.tries:
            self._roll_back(engine, reason, health)
        else:
            self._give_up(engine, reason, health)

    # --- measuring ---

    @torch.no_grad()
    def measure(self, engine: Any) -> Health:
        """Look at losses, weights and samples; everything comes from the device in one transfer."""
        device = engine.state.device
        real = as_unit(torch.as_tensor(engine.state.batch[IMAGE]).as_subclass(Tensor).to(device))
        fake = self._sample(engine, len(real))
        real = shrink(real, fake)
        states = [item.state_dict() for item in self._learned(engine)]
        measured = {
            "weights": largest_magnitude(states, device),
            "fake_spread": spread(fake),
            "real_spread": spread(real),
            "reach": reach(real, fake),
            "losses": self._window.total(device),
            "gap": self._window.mean("wasserstein"),
            "critic_loss": self._window.mean("critic_loss"),
            "penalty": self._window.mean("penalty"),
        }
        values = average_numbers(torch.stack([value.to(device) for value in measured.values()]))
        return Health(**dict(zip(measured, values.tolist(), strict=True)))

    def _sample(self, engine: Any, batch: int) -> Tensor:
        """The generator's images now; a conditional one is asked for the batch's labels.

        In evaluation mode, in which nothing moves the running statistics of batch normalisation.
        """
        generator, phase = engine.generator, engine.state.phase
        latents = layout_of(generator).sample(self.samples, torch.Generator().manual_seed(0))
        labels = None
        if getattr(generator, "findings", 0):
            labels = torch.as_tensor(engine.state.batch[LABEL]).as_subclass(Tensor).to(engine.state.device)
            labels = labels[torch.arange(self.samples, device=labels.device) % batch]
        with eval_mode(generator):
            images: Tensor = generator(latents.to(engine.state.device), **phase.growth, labels=labels)
        return images

    def _learned(self, engine: Any) -> list[Any]:
        """Networks, averages and optimisers."""
        objects = self.resume.all_objects(engine).values()
        return [item for item in objects if item is not self and not isinstance(item, torch.Generator)]

    def _optimizers(self, engine: Any) -> dict[str, Optimizer]:
        objects = self.resume.all_objects(engine).items()
        return {name: item for name, item in objects if isinstance(item, Optimizer)}

    # --- acting ---

    def _roll_back(self, engine: Any, reason: str, health: Health) -> None:
        event = self._describe(engine, reason, health)
        _log.warning("training at %d images seen: found %s", event["images_seen"], reason)
        made, events = self._made + 1, self._events
        self.resume.roll_back(engine)  # loads this handler too, as it was then
        self._lower(engine, self.factor ** (made - self._made))
        event |= {"action": "rolled back", "to": engine.state.images_seen, "after": self._rates(engine)}
        self._made, self._events = made, [*events, event]
        self.resume.save(engine)
        self._write_record(self._events)
        self._say(event)

    def _lower(self, engine: Any, factor: float) -> None:
        for optimizer in self._optimizers(engine).values():
            for group in optimizer.param_groups:
                group["lr"] = group["lr"] * factor

    def _give_up(self, engine: Any, reason: str, health: Health) -> None:
        event = {**self._describe(engine, reason, health), "action": "given up"}
        self._write_record([*self._events, event])
        times = ", ".join(str(past["images_seen"]) for past in self._events)
        rates = ", ".join(f"{rate:.3g}" for rates in event["before"].values() for rate in rates)
        tried = (
            f"rolled back {self._made} times (at {times}), learning rates now {rates}"
            if times
            else "no rollback allowed"
        )
        raise StateError(
            f"training at {event['images_seen']} images seen",
            "must stay healthy",
            f"{reason}; {tried}",
            f"change the settings; the last good state is {self.resume.good_path.name}, the story is {_RECORD}",
        )

    def _describe(self, engine: Any, reason: str, health: Health) -> dict[str, Any]:
        """What failed and when, in plain values."""
        measured = {name: value if math.isfinite(value) else None for name, value in asdict(health).items()}
        return {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "images_seen": engine.state.images_seen,
            "iteration": engine.state.iteration,
            "reason": reason,
            "measured": measured,
            "before": self._rates(engine),
        }

    def _rates(self, engine: Any) -> dict[str, list[float]]:
        """Learning rates by optimiser, one for each parameter group."""
        optimizers = self._optimizers(engine).items()
        return {name: [float(group["lr"]) for group in item.param_groups] for name, item in optimizers}

    # --- telling ---

    def _say(self, event: Mapping[str, Any]) -> None:
        if rank():
            return
        changes = ", ".join(
            f"{name} {old:.3g} to {new:.3g}"
            for name, rates in event["before"].items()
            for old, new in zip(rates, event["after"][name], strict=True)
        )
        where = f"from {event['images_seen']} to {event['to']} images seen"
        line = f"rolled back {where}, try {self._made} of {self.tries}; learning rate of {changes}"
        _log.warning("%s", line)
        if self.writer is not None:
            self.writer.add_text("recovery", f"{event['reason']}: {line}", event["images_seen"])

    def _show(self, health: Health, images_seen: int) -> None:
        """Write the measurements to TensorBoard."""
        values = {"diversity": health.diversity, "slope": health.slope, "weights": health.weights, "tries": self._made}
        for name, value in values.items():
            if self.writer is not None and math.isfinite(value):
                self.writer.add_scalar(f"health/{name}", value, images_seen)

    def _write_record(self, events: list[dict[str, Any]]) -> None:
        if not rank():
            write_json(self.resume.path.with_name(_RECORD), SCHEMA, {"events": events})


class _Window:
    """Sums of a training's scalars since the last check, on whatever device they come on."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, output: Mapping[str, Any]) -> None:
        """Add one iteration's scalars, tensors or numbers."""
        for name, value in output.items():
            if isinstance(value, Tensor) and value.numel() == 1:
                number = value.detach().float().reshape(())
            elif isinstance(value, Real):
                number = torch.tensor(float(value))
            else:
                continue
            self._sums[name] = self._sums[name] + number if name in self._sums else number.clone()
            self._counts[name] = self._counts.get(name, 0) + 1

    def total(self, device: torch.device | str) -> Tensor:
        """The sum over everything: not finite if anything was not."""
        return torch.stack([torch.zeros((), device=device), *(value.to(device) for value in self._sums.values())]).sum()

    def mean(self, name: str) -> Tensor:
        """Mean of one scalar, NaN where it never came."""
        return self._sums[name] / self._counts[name] if name in self._sums else torch.tensor(math.nan)

    def state_dict(self) -> dict[str, Any]:
        """Sums on the CPU and counts."""
        return {"sums": {name: value.cpu() for name, value in self._sums.items()}, "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what :meth:`state_dict` gave."""
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])


def _scale_of(loss: Any) -> tuple[float, float]:
    """The loss of a critic that scores everything 0, 0 for WGAN-GP; and the slope that WGAN-GP wants."""
    if isinstance(loss, WassersteinLoss):
        return 0.0, loss.target
    scores = torch.zeros(2)
    return float(loss.critic(scores, scores)), 1.0
