"""Mixed precision for two networks that train against each other."""

from __future__ import annotations

import platform
from functools import cache
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
        mixed: compute in 16 bits where autocast does; on a processor that would only imitate bfloat16, in 32.
        dtype: of mixed precision; chosen by the device when None.
    """

    def __init__(self, device: torch.device, mixed: bool, dtype: torch.dtype | None = None) -> None:
        self.device, self.mixed = device, mixed and pays(device.type)
        self.dtype = dtype or _half(device)
        scaled = self.mixed and self.dtype == torch.float16
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


def exact(x: Tensor) -> Tensor:
    """In float32 where it comes in less; float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@cache
def pays(device: str) -> bool:
    """Whether 16 bits make a kind of device faster.

    A processor without units for bfloat16 imitates them: a step of ResNet-50 on 16 images of 64 px took 10.3 s instead
    of 1.1 s on one with AVX2 alone.

    Args:
        device: ``cpu``, ``cuda`` and so on.
    """
    if device != "cpu":
        return True
    if platform.machine().lower() in ("x86_64", "amd64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # of ARM it asks for the units; of x86 for AVX-512 alone


def _half(device: torch.device) -> torch.dtype:
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16
