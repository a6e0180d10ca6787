"""What TensorBoard shows of a training beside its losses: speed, learning rates, gradients, settings."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.optim import Optimizer

from monai_cxraug.errors import ConfigError
from monai_cxraug.handlers.progress import clock, scalars

_PLAIN = (bool, int, float, str)


class Watch:
    """Writes speed, learning rates and gradient norms now and then, and in the end the settings with the last losses.

    Everything is over images seen where the engine has that clock, else over steps. Speed counts the images of all
    processes, and the time of all that happened between two points.

    Args:
        writer: TensorBoard ``SummaryWriter``.
        optimizers: by name; of each, learning rates and the norm of the gradients that it used last.
        batch_size: images a step, where the engine does not count them.
        settings: of the training; plain values are shown as hyper-parameters.
        every: steps between points.

    Raises:
        ConfigError: ``every`` is below 1.
    """

    def __init__(
        self,
        writer: Any,
        optimizers: Mapping[str, Optimizer],
        batch_size: int = 1,
        settings: Mapping[str, Any] | None = None,
        every: int = 10,
    ) -> None:
        if every < 1:
            raise ConfigError("Watch(every)", "must be at least 1", every, "give a number of steps")
        self.writer, self.optimizers, self.every = writer, dict(optimizers), every
        self.batch_size, self.settings = batch_size, dict(settings or {})
        self._since: tuple[float, int] | None = None

    def attach(self, engine: Engine) -> None:
        """Register on the engine."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every), self._point)
        engine.add_event_handler(Events.COMPLETED, self._end)

    def _begin(self, engine: Engine) -> None:
        if self._since is None:
            self._since = time.monotonic(), self._images(engine)

    def _images(self, engine: Any) -> int:
        seen = getattr(engine.state, "images_seen", None)
        return int(engine.state.iteration * self.batch_size if seen is None else seen)

    def _point(self, engine: Engine) -> None:
        where, now, images = clock(engine)[0], time.monotonic(), self._images(engine)
        if self._since is not None and now > self._since[0]:
            self.writer.add_scalar("images/s", (images - self._since[1]) / (now - self._since[0]), where)
        self._since = now, images
        for name, optimizer in self.optimizers.items():
            rates = sorted({group["lr"] for group in optimizer.param_groups}, reverse=True)
            for number, rate in enumerate(rates):
                self.writer.add_scalar(f"learning rate/{name}{f' {number + 1}' * bool(number)}", rate, where)
            self.writer.add_scalar(f"gradient norm/{name}", gradient_norm(optimizer), where)

    def _end(self, engine: Any) -> None:
        shown = {name: value for name, value in self.settings.items() if isinstance(value, _PLAIN)}
        found = {f"last/{name}": value for name, value in scalars(engine.state.output).items()}
        if shown and found:
            from torch.utils.tensorboard.summary import hparams

            for part in hparams(shown, found):  # the writer's own way opens a second file
                self.writer.file_writer.add_summary(part)
            for name, value in found.items():
                self.writer.add_scalar(name, value, clock(engine)[0])
        self._since = None


class WatchAuroc:
    """Writes each finding's AUROC when a validation ends, at the step where training stands.

    Args:
        writer: TensorBoard ``SummaryWriter``.
        metric: a ``MaskedAUROC`` that the validation has filled.
        findings: names behind its columns, in order.
        epoch_length: steps of one of the trainer's epochs, which the validator is told.
    """

    def __init__(self, writer: Any, metric: Any, findings: Sequence[str], epoch_length: int) -> None:
        self.writer, self.metric, self.findings, self.epoch_length = writer, metric, tuple(findings), epoch_length

    def attach(self, engine: Engine) -> None:
        """Register on a validator."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write; a finding that lacks a class has no AUROC."""
        areas = self.metric.aggregate("none").tolist()
        known = {name: area for name, area in zip(self.findings, areas, strict=True) if math.isfinite(area)}
        for name, area in known.items():
            self.writer.add_scalar(f"AUROC/{name}", area, engine.state.epoch * self.epoch_length)


def gradient_norm(optimizer: Optimizer) -> Tensor:
    """Euclidean norm of all gradients that an optimiser holds, as they are; 0 where it holds none."""
    weights = (weight for group in optimizer.param_groups for weight in group["params"])
    found = [weight.grad for weight in weights if weight.grad is not None]
    return nn.utils.get_total_norm(found) if found else torch.zeros(())
