"""Classifier re-training: in the last part of a training the last layers begin anew on a body that has learnt."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.optim import Optimizer

from monai_cxraug.engines.ema import ExponentialMovingAverage
from monai_cxraug.errors import ConfigError


class Retrainable(Protocol):
    """A network whose last layers can learn alone."""

    def freeze(self, frozen: bool = True) -> None:
        """Let only the last layers learn, or all."""

    def start_at(self, prior: Sequence[float] | None) -> object:
        """Let the last bias begin at the logit of each finding's share."""

    @property
    def head_parameters(self) -> list[nn.Parameter]:
        """Weights of the last layers."""

    @property
    def body_parameters(self) -> list[nn.Parameter]:
        """All other weights."""


class RetrainHead:
    """Freezes the body, with its normalisations' statistics, and lets the last layers begin anew (cRT).

    The second stage of Kang et al. 2020 (arXiv 1910.09217, section 4.1): a body learns best from images as they come,
    the last layer from balanced batches. The batches change where the sampler is told so.

    What the first stage has learnt is its averaged weights, as everywhere; so the body freezes at the average, and the
    average of the last layers begins with the new ones (``AverageWeights(restart=...)``). The optimiser forgets what it
    knew of the old ones. Everything is a function of the iteration and of what a checkpoint holds, so a resumed
    training needs to know nothing more. List it after whatever freezes or unfreezes.

    Args:
        network: what learns, a classifier.
        ema: the average of its weights.
        optimizer: of its weights.
        after: iterations of the first stage.
        prior: share of positives of each finding in the second stage's batches; None leaves the last bias random.
        seed: of the new weights, which are the same on every device.

    Raises:
        ConfigError: ``after`` is no whole number of at least 1.
    """

    def __init__(
        self,
        network: Retrainable,
        ema: ExponentialMovingAverage,
        optimizer: Optimizer,
        after: int,
        prior: Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        if type(after) is not int or after < 1:
            raise ConfigError(
                "RetrainHead(after)", "must be a whole number of at least 1", after, "a body must learn something first"
            )
        self.network, self.ema, self.optimizer = network, ema, optimizer
        self.after, self.prior, self.seed = after, prior, seed

    def attach(self, engine: Engine) -> None:
        """Register on the engine's iterations."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Look where training stands; ignite counts the iteration that begins."""
        if engine.state.iteration == self.after + 1:
            self.begin_anew()
        if engine.state.iteration > self.after:
            self.network.freeze()

    def begin_anew(self) -> None:
        """Put the averaged body in place, forget the last layers and what the optimiser knew."""
        self.ema.source.load_state_dict(self.ema.module.state_dict())
        draw_weights(self.network.head_parameters, self.seed)
        self.network.start_at(self.prior)
        for parameter in self.network.head_parameters:
            self.optimizer.state.pop(parameter, None)
        for parameter in self.network.body_parameters:
            parameter.grad = None  # a gradient of zero would let momentum and weight decay move it on


@torch.no_grad()
def draw_weights(parameters: Iterable[Tensor], seed: int) -> None:
    """Draw weights and biases of dense layers as torch does, uniform within 1 / sqrt(inputs), from a seed.

    Args:
        parameters: of dense layers: each weight ``[out, in]``, and after it its bias ``[out]``.
        seed: the same numbers come on every device.
    """
    draws, bound = torch.Generator().manual_seed(seed), 1.0
    for parameter in parameters:
        bound = 1 / math.sqrt(parameter.shape[1]) if parameter.ndim == 2 else bound
        parameter.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=draws))
