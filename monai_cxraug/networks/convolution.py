"""Convolution whose second derivatives are fast.

Gradient penalties differentiate a gradient. For that, PyTorch writes the gradient of a convolution's weight as a
convolution with a kernel as large as the image, which no library is made for: several times as slow as the routine that
computes the same numbers in an ordinary backward pass. Here every derivative, of any order, is one of two operations
that have fast routines: a convolution (plain or transposed), or the gradient of its weight.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

_ONE, _NONE = (1, 1), (0, 0)


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, padding: int = 0, transposed: bool = False
) -> Tensor:
    """Convolve, like ``conv2d`` and ``conv_transpose2d``; under autocast in its precision.

    Args:
        x: ``[N, in, H, W]``.
        weight: ``[out, in, k, k]``, or ``[in, out, k, k]`` when transposed.
        bias: ``[out]``, or None.
        stride: of the convolution; of a transposed one, how far the kernel's copies lie apart. The kernel must reach
            every pixel: ``H + 2 * padding - k`` must be a multiple of the stride.
        padding: pixels of zeros around the input (around the output of a transposed one they are cut).
        transposed: transposed convolution.

    Returns:
        ``[N, out, H', W']``.
    """
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        x, weight = x.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    # without derivatives the plain operation, which can be exported too
    operation = _convolution if torch.is_grad_enabled() else _convolve
    result: Tensor = operation(x, weight, bias, stride, padding, transposed)
    return result


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Context in which autocast, if it is on, leaves a device's operations alone."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, transposed: bool) -> Tensor:
    pair = (stride, stride), (padding, padding)
    return torch.convolution(x, weight, bias, *pair, _ONE, transposed, _NONE, 1)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, transposed: bool
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.shape = stride, padding, transposed
        return _convolve(x, weight, bias, stride, padding, transposed)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, weight = ctx.saved_tensors
        stride, padding, transposed = ctx.shape
        wants_x, wants_weight, wants_bias = _wanted(ctx)[:3]
        # a convolution and its transpose are each other's derivatives, with the same weight
        of_x = _convolution(grad, weight, None, stride, padding, not transposed) if wants_x else None
        of_weight = _weight_gradient(grad, x, weight.shape, ctx.shape) if wants_weight else None
        return of_x, of_weight, grad.sum(dim=(0, 2, 3)) if wants_bias else None, None, None, None


class _WeightGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grad: Tensor, x: Tensor, size: torch.Size, shape: tuple[int, int, bool]) -> Tensor:
        ctx.save_for_backward(grad, x)
        ctx.shape = shape
        stride, padding, transposed = shape
        pair = (stride, stride), (padding, padding)
        weight = grad.new_empty(1).expand(size)  # only its size is looked at
        mask = (False, True, False)
        result = torch.ops.aten.convolution_backward(grad, x, weight, None, *pair, _ONE, transposed, _NONE, 1, mask)
        found: Tensor = result[1]
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (outer,) = grads
        grad, x = ctx.saved_tensors
        stride, padding, transposed = ctx.shape
        wants_grad, wants_x = _wanted(ctx)[:2]
        of_grad = _convolution(x, outer, None, stride, padding, transposed) if wants_grad else None
        of_x = _convolution(grad, outer, None, stride, padding, not transposed) if wants_x else None
        return of_grad, of_x, None, None


def _wanted(ctx: Any) -> list[bool]:
    """For each input, whether this backward pass asks for its gradient.

    ``needs_input_grad`` says only whether any pass may: a penalty, which differentiates with respect to images, would
    compute the gradient of every weight for nothing.
    """
    # tensors come first among the inputs, and next_functions holds nothing of the others
    return [needs and _will_run(ctx.next_functions[k][0]) for k, needs in enumerate(ctx.needs_input_grad)]


def _will_run(node: Any) -> bool:
    try:
        return bool(torch._C._will_engine_execute_node(node))
    except (AttributeError, RuntimeError):  # not in this version; or a leaf that torch.autograd.grad was asked for
        return True


_convolution: Any = _Convolution.apply
_weight_gradient: Any = _WeightGradient.apply
