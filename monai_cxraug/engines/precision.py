"""Mixed precision for two networks that train against each other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Precision:
    """Which numbers the networks compute with, and what their gradients need because of it.

    Mixed precision is bfloat16 where the device has it, which needs nothing more; else float16, whose small gradients
    are lost unless the loss is scaled up (Micikevicius et al. 2018, arXiv 1710.03740). Weights, optimisers, losses and
    averages stay in float32.

    Args:
        device: where the networks are.
        mixed: compute in 16 bits where autocast does.
        dtype: of mixed precision; chosen by the device when None.
    """

    def __init__(self, device: torch.device, mixed: bool, dtype: torch.dtype | None = None) -> None:
        self.device, self.mixed = device, mixed
        self.dtype = dtype or _half(device)
        scaled = mixed and self.dtype == torch.float16
        #: scales losses of float16; it does nothing otherwise.
        self.scaler = torch.amp.GradScaler(device.type, enabled=scaled)

    def autocast(self, enabled: bool = True) -> torch.autocast:
        """Context in which networks run."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.mixed and enabled)

    @property
    def penalises_slopes(self) -> bool:
        """Whether the slope of a network, an unscaled gradient, may be taken in mixed precision."""
        return self.dtype != torch.float16

    def backward(self, loss: Tensor) -> None:
        """Add a loss's gradients to those of the weights."""
        torch.autograd.backward(self.scaler.scale(loss))

    def step(self, optimizer: Optimizer) -> None:
        """Update weights by the gradients collected, unless they overflowed float16; then adapt the scale.

        Scaled gradients are looked at on the host, which waits for the device, unless the optimiser is a fused one.
        """
        self.scaler.step(optimizer)
        if self.scaler.is_enabled():  # at once: an optimiser may step several times before the other does
            self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """The scale; empty where there is none."""
        return self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` gave."""
        if state:
            self.scaler.load_state_dict(state)


def _half(device: torch.device) -> torch.dtype:
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16
