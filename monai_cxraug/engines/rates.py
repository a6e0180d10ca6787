"""Learning rates of a training in several parts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, SequentialLR

from monai_cxraug.errors import ConfigError


def cycle_each(optimizer: Optimizer, lengths: Sequence[int], warm_up: float = 0.1) -> SequentialLR:
    """A one-cycle learning rate for each part of a training, each up to the optimiser's own rates.

    Args:
        optimizer: its rates are the highest of every cycle.
        lengths: steps of the parts, at least 1 each.
        warm_up: share of each cycle in which the rate rises.

    Returns:
        A scheduler to be stepped after every step.

    Raises:
        ConfigError: a part has no step.
    """
    if not lengths or min(lengths) < 1:
        rule = "every part of the training needs a step"
        raise ConfigError("cycle_each(lengths)", rule, list(lengths), "give more steps, or another share")
    highest = [group["lr"] for group in optimizer.param_groups]  # before a cycle lowers them
    cycles: list[LRScheduler] = [
        OneCycleLR(optimizer, highest, total_steps=length + 1, pct_start=_share(warm_up, length + 1))
        for length in lengths
    ]
    return SequentialLR(optimizer, cycles, milestones=list(accumulate(lengths[:-1])))


def _share(warm_up: float, steps: int) -> float:
    """Torch (2.13) divides by zero where the rise is to take exactly one step."""
    return warm_up * 1.01 if math.isclose(warm_up * steps, 1) else warm_up
