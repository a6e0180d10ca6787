"""Keeps the copies of a network equal while several processes train it."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.optim import Optimizer

from monai_cxraug.engines.processes import average_buffers, average_gradients, copy_from_first, rank, world_size


class AverageProcesses:
    """Averages gradients and running statistics over the processes before each step of the optimiser.

    Gradients are those of one process that would compute batch statistics, and the mean over known labels, for each
    share of the batch alone. In one process it does nothing. List it after what loads a checkpoint.

    Args:
        network: what learns.
        optimizer: of its weights, and of the loss's if it has any.
    """

    def __init__(self, network: nn.Module, optimizer: Optimizer) -> None:
        self.network, self.optimizer = network, optimizer

    def attach(self, engine: Engine) -> None:
        """Register on the engine's start and on the optimiser."""
        if world_size() > 1:
            engine.add_event_handler(Events.STARTED, self._begin)
            self.optimizer.register_step_pre_hook(self._average)

    def _begin(self, engine: Engine) -> None:
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        copy_from_first([*(weight.data for weight in weights), *self.network.state_dict().values()])
        torch.manual_seed(torch.initial_seed() + rank())  # dropout differs from share to share

    def _average(self, optimizer: Optimizer, *given: Any) -> None:
        average_gradients(optimizer)
        average_buffers(self.network)
