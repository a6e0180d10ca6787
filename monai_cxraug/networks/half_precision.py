"""Weights in half the bytes: rounded to sixteen bits in a file, computed with in full precision."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def halve(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Round the matrices and filters of a state dict to float16 (IEEE 754 binary16).

    A rounded weight is off by a relative 2^-11 at most, and by 3e-8 where it is smaller than 6.1e-5. Biases, norms and
    their running statistics are few, may be tiny, and stay as they are; so does a tensor with a number that float16
    does not hold.

    Args:
        weights: a network's state dict.

    Returns:
        The state dict to store; ``load_state_dict`` gives a network of float32 its numbers back, rounded.
    """
    return {name: _round(tensor) for name, tensor in weights.items()}


def _round(tensor: Tensor) -> Tensor:
    if tensor.ndim < 2 or tensor.dtype != torch.float32:
        return tensor
    rounded = tensor.half()
    return rounded if bool(torch.isfinite(rounded).all()) else tensor
