"""Latent vectors: the one home for drawing them, so that training and sampling cannot drift apart.

Training draws from a generator that moves on (:func:`sample_latent`). Sampling draws by counter: the numbers of image k
are a function of (seed, k), read from their own place in a stream of Philox 4x64-10 (Salmon et al., *Parallel random
numbers: as easy as 1, 2, 3*, SC 2011), whose words numpy promises to keep from version to version.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

EPSILON = 1e-8
#: streams of one seed, independent of each other: latents, label vectors, candidates for the centre of truncation.
LATENTS, LABELS, CENTRE = range(3)
#: 64-bit words that one value of Philox's counter gives.
_BLOCK = 4


def normalise_latent(latent: Tensor) -> Tensor:
    """Put latents on the hypersphere of radius sqrt(size), as in Karras et al. 2017, appendix A.1.

    Args:
        latent: ``[N, size]``, any finite values.

    Returns:
        ``[N, size]``, each row with mean square 1. Applying it twice changes nothing.
    """
    return latent * torch.rsqrt(latent.square().mean(dim=1, keepdim=True) + EPSILON)


def sample_latent(n: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw latents uniformly from the hypersphere, for training.

    Args:
        n: how many.
        size: length of one latent.
        generator: source of randomness; the result lies on its device.

    Returns:
        float32 ``[n, size]``, each row with mean square 1.
    """
    return normalise_latent(torch.randn(n, size, generator=generator, device=generator.device))


def draw_uniform(seed: int, start: int, n: int, size: int, stream: int) -> NDArray[np.float64]:
    """Draw the uniform numbers of images ``start`` to ``start + n - 1``.

    Args:
        seed: from 0 to 2^64 - 1.
        start: number of the first image, at least 0.
        n: number of images.
        size: numbers per image.
        stream: which of the seed's streams.

    Returns:
        ``[n, size]`` in (0, 1], multiples of 2^-53. Row i is a function of (seed, stream, size, start + i) alone.
    """
    blocks = -(-size // _BLOCK)
    words = np.random.Philox(key=np.array([seed, stream], dtype=np.uint64), counter=start * blocks)
    raw = np.asarray(words.random_raw(n * blocks * _BLOCK), dtype=np.uint64).reshape(n, -1)[:, :size]
    return ((raw >> np.uint64(11)) + np.uint64(1)).astype(np.float64) * 2.0**-53


def draw_latents(seed: int, start: int, n: int, size: int, stream: int = LATENTS) -> Tensor:
    """Draw the latents of images ``start`` to ``start + n - 1`` uniformly from the hypersphere.

    Normal numbers come from pairs of uniform ones (Box and Muller 1958), which always takes equally many of them.

    Args:
        seed: from 0 to 2^64 - 1.
        start: number of the first image, at least 0.
        n: number of images.
        size: length of one latent.
        stream: which of the seed's streams.

    Returns:
        float32 ``[n, size]`` on the CPU, each row with mean square 1. Row i is a function of (seed, start + i) alone.
    """
    pairs = draw_uniform(seed, start, n, size + size % 2, stream).reshape(n, -1, 2)  # [n, size / 2, 2]
    radius, angle = np.sqrt(-2.0 * np.log(pairs[..., 0])), 2.0 * np.pi * pairs[..., 1]
    normal = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=2).reshape(n, -1)[:, :size]
    return normalise_latent(torch.from_numpy(normal)).float()


def move_towards(latents: Tensor, centre: Tensor, share: float) -> Tensor:
    """Move latents along great circles of the hypersphere towards a centre.

    Args:
        latents: ``[N, size]``, each row with mean square 1.
        centre: ``[size]``, mean square 1.
        share: of each angle to the centre that stays: 1 changes nothing, 0 puts every latent on the centre.

    Returns:
        ``[N, size]``, each row with mean square 1.
    """
    cosine = (latents * centre).mean(dim=1, keepdim=True).clamp(-1.0, 1.0)  # [N, 1]
    away = normalise_latent(latents - cosine * centre)  # directions at a right angle to the centre
    angle = share * torch.acos(cosine)
    return normalise_latent(torch.cos(angle) * centre + torch.sin(angle) * away)
