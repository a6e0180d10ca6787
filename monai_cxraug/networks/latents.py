"""Latent vectors: the one home for drawing them, so that training and sampling cannot drift apart."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-8


def normalise_latent(latent: Tensor) -> Tensor:
    """Put latents on the hypersphere of radius sqrt(size), as in Karras et al. 2017, appendix A.1.

    Args:
        latent: ``[N, size]``, any finite values.

    Returns:
        ``[N, size]``, each row with mean square 1. Applying it twice changes nothing.
    """
    return latent * torch.rsqrt(latent.square().mean(dim=1, keepdim=True) + EPSILON)


def sample_latent(n: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw latents uniformly from the hypersphere.

    Args:
        n: how many.
        size: length of one latent.
        generator: source of randomness; the result lies on its device.

    Returns:
        float32 ``[n, size]``, each row with mean square 1.
    """
    return normalise_latent(torch.randn(n, size, generator=generator, device=generator.device))
