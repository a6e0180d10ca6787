"""Hundreds of small networks trained at once, each from scratch with its own weights and batches. No tool by itself.

Every operation works on a stack of networks ``[R, ...]``; nothing is shared between them, so each is the network that
it would be if it were trained alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, pad, relu, unfold

#: channels after each of the two convolutions (3x3, stride 2).
_CHANNELS: Final = (8, 12)
_RATE: Final = 0.015


@dataclass(frozen=True)
class Recipe:
    """How one arm trains.

    Args:
        steps: of Adam, rate falling to 0 along a cosine.
        batch_size: images a step.
    """

    steps: int
    batch_size: int = 16


def patches(images: Tensor) -> Tensor:
    """Neighbourhoods that the first convolution sees: ``[N, H, W]`` in [0, 1] to ``[N, HW / 4, 9]``, about 0."""
    return unfold(2 * images[:, None] - 1, 3, padding=1, stride=2).transpose(1, 2).contiguous()


class Networks:
    """A stack of networks: convolution, convolution, one linear layer.

    Args:
        seeds: one a network; of its weights and of the order of its images.
        side: of the images, in pixels.
        outputs: findings.
    """

    def __init__(self, seeds: Sequence[int], side: int, outputs: int) -> None:
        first, second = _CHANNELS
        shapes = [(9, first), (9 * first, second), ((side // 4) ** 2 * second, outputs)]
        self.random = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.weights = [
            torch.stack([torch.randn(shape, generator=one) for one in self.random]) * math.sqrt(2 / shape[0])
            for shape in shapes
        ]
        self.biases = [torch.zeros(len(seeds), 1, shape[1]) for shape in shapes]

    def __call__(self, inputs: Tensor, which: slice = slice(None)) -> Tensor:
        """Logits of some networks: ``[R, B, K]`` of patches ``[R, B, HW / 4, 9]``, or ``[B, HW / 4, 9]`` for all."""
        weights, biases = [one[which] for one in self.weights], [one[which] for one in self.biases]
        stack, side = len(weights[0]), math.isqrt(inputs.shape[-2])
        shared = inputs.expand(stack, *inputs.shape[-3:])
        seen = relu(torch.baddbmm(biases[0], shared.flatten(1, 2), weights[0]))
        grid = seen.view(stack, -1, side, side, _CHANNELS[0])
        grid = pad(grid, (0, 0, 1, 1, 1, 1)).unfold(2, 3, 2).unfold(3, 3, 2)  # [R, B, S/2, S/2, C, 3, 3]
        seen = relu(torch.baddbmm(biases[1], grid.flatten(4).flatten(1, 3), weights[1]))
        return torch.baddbmm(biases[2], seen.view(stack, shared.shape[1], -1), weights[2])

    def train(self, seen: Tensor, labels: Tensor, rows: Tensor, recipe: Recipe) -> None:
        """Train every network on its own images, in its own order.

        Args:
            seen: ``[N, HW / 4, 9]`` patches of all images there are.
            labels: ``[N, K]`` of 1 and 0.
            rows: ``[R, n]`` the training images of each network.
            recipe: how.
        """
        parameters = [*self.weights, *self.biases]
        for parameter in parameters:
            parameter.requires_grad_(True)
        optimizer = torch.optim.Adam(parameters, lr=_RATE)
        for step in range(recipe.steps):
            optimizer.param_groups[0]["lr"] = _RATE * (1 + math.cos(math.pi * step / recipe.steps)) / 2
            drawn = [torch.randint(rows.shape[1], (recipe.batch_size,), generator=one) for one in self.random]
            batch = rows.gather(1, torch.stack(drawn))
            errors = binary_cross_entropy_with_logits(self(seen[batch]), labels[batch], reduction="none")
            optimizer.zero_grad()
            errors.mean(dim=(1, 2)).sum().backward()  # a sum: the gradient of a network does not know the others
            optimizer.step()
        for parameter in parameters:
            parameter.requires_grad_(False)
