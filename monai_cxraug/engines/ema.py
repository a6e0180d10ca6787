"""Exponential moving average of a network's weights, with its half-life in the unit of the caller's clock."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from monai_cxraug.errors import ConfigError


class ExponentialMovingAverage:
    """Averaged copy of a network. It keeps no clock: each update is told where training stands.

    Early on the half-life is at most ``ramp`` times the clock, so that the random initial weights are soon forgotten
    (as in Karras et al. 2020, arXiv 2006.06676).

    Args:
        source: the network that is trained.
        half_life: images (or steps) after which a contribution has halved; 0 follows the source at once.
        ramp: largest half-life as a fraction of the clock; ``inf`` switches the warm start off.
        decay: share kept in every update, whatever the clock; replaces ``half_life`` and ``ramp``.

    Raises:
        ConfigError: half-life or ramp is negative, or decay is not in [0, 1).
    """

    def __init__(self, source: nn.Module, half_life: float, ramp: float = 0.05, decay: float | None = None) -> None:
        if half_life < 0 or ramp < 0:
            rule = "half_life and ramp must be at least 0"
            raise ConfigError("ExponentialMovingAverage", rule, f"{half_life}, {ramp}", "use 0.05 for ramp when unsure")
        if decay is not None and not 0 <= decay < 1:
            raise ConfigError("ExponentialMovingAverage(decay)", "must be in [0, 1)", decay, "the paper's is 0.999")
        self.source, self.half_life, self.ramp, self.fixed = source, half_life, ramp, decay
        #: the averaged copy, in evaluation mode, without gradients.
        self.module: nn.Module = copy.deepcopy(source).eval().requires_grad_(False)

    def decay(self, count: float, seen: float) -> float:
        """Weight that the old average keeps.

        Args:
            count: images (or steps) since the last update.
            seen: the clock before them.
        """
        if self.fixed is not None:
            return self.fixed
        half_life = self.half_life if seen >= self.half_life / max(self.ramp, 1e-12) else self.ramp * seen
        return float(0.5 ** (count / half_life)) if half_life > 0 else 0.0

    @torch.no_grad()
    def update(self, count: float, seen: float) -> None:
        """Move the average towards the source: parameters and floating buffers averaged, other buffers copied.

        Args:
            count: images (or steps) since the last update.
            seen: the clock before them.
        """
        weight = 1.0 - self.decay(count, seen)
        pairs = list(zip(_tensors(self.module), _tensors(self.source), strict=True))
        floating = [pair for pair in pairs if pair[0].is_floating_point()]
        averages, currents = [average for average, _ in floating], [current.detach() for _, current in floating]
        torch._foreach_lerp_(averages, currents, weight)  # one launch for all on an accelerator
        for averaged, current in pairs:
            if not averaged.is_floating_point():
                averaged.copy_(current)

    def state_dict(self) -> dict[str, Any]:
        """The averaged network's own state dict."""
        return self.module.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` gave."""
        self.module.load_state_dict(state)


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
