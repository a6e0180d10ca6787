"""Wasserstein loss with gradient penalty and drift (Gulrajani et al. 2017, arXiv 1704.00028; Karras et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from monai_cxraug.errors import ConfigError

Critic = Callable[[Tensor], Tensor]


def generator_loss(fake_scores: Tensor) -> Tensor:
    """What the generator minimises: minus the mean score ``[N]`` of its images."""
    return -fake_scores.mean()


def critic_loss(real_scores: Tensor, fake_scores: Tensor, drift: float = 0.001) -> Tensor:
    """What the critic minimises, gradient penalty aside.

    Args:
        real_scores: ``[N]``.
        fake_scores: ``[M]``.
        drift: weight of the squared real scores, which keeps them near zero (Karras et al. 2017, appendix A.1).

    Returns:
        ``mean(fake) - mean(real) + drift * mean(real^2)``, a scalar.
    """
    return fake_scores.mean() - real_scores.mean() + drift * real_scores.square().mean()


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, mix: Tensor, target: float = 1.0) -> Tensor:
    """How far the critic's slope is from the target between real and fake images (Gulrajani et al. 2017, equation 3).

    Args:
        critic: maps images to scores ``[N]``.
        real: images ``[N, C, H, W]``.
        fake: images of the same shape; no gradient flows into them.
        mix: ``[N]`` in [0, 1], the weight of the fake image in each pair.
        target: gradient norm wanted, per unit of image value.

    Returns:
        Mean over the pairs of ``(norm - target)^2 / target^2``, a scalar that can be differentiated again.
    """
    weight = mix.reshape(-1, *[1] * (real.ndim - 1))  # [N, 1, 1, 1]
    between = torch.lerp(real.detach(), fake.detach(), weight).requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    # the square root has no derivative at a slope of exactly zero, which a dead critic has
    norm = (slope.flatten(1).square().sum(dim=1) + 1e-12).sqrt()  # [N]
    return ((norm - target) / target).square().mean()


@dataclass(frozen=True)
class WassersteinLoss:
    """Weights of the loss. The defaults are the paper's.

    Args:
        penalty: weight of the gradient penalty.
        target: gradient norm wanted, per unit of the critic's own image scale [-1, 1].
        drift: weight of the squared real scores.

    Raises:
        ConfigError: a weight is negative or the target is not positive.
    """

    penalty: float = 10.0
    target: float = 1.0
    drift: float = 0.001

    def __post_init__(self) -> None:
        if self.penalty < 0 or self.drift < 0:
            raise ConfigError(
                "WassersteinLoss", "penalty and drift must be at least 0", self, "use 0 to switch one off"
            )
        if self.target <= 0:
            raise ConfigError("WassersteinLoss(target)", "must be above 0", self.target, "the paper uses 1")

    def scores(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """The critic's loss without the penalty, from scores ``[N]`` and ``[M]``."""
        return critic_loss(real_scores, fake_scores, self.drift)

    def slope(self, critic: Critic, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
        """The unweighted gradient penalty for images in [0, 1]; arguments as in :func:`gradient_penalty`."""
        # [0, 1] becomes [-1, 1] at the critic's border: one unit here is two units there
        return gradient_penalty(critic, real, fake, mix, 2.0 * self.target)

    def generator(self, fake_scores: Tensor) -> Tensor:
        """The generator's loss, from scores ``[N]``."""
        return generator_loss(fake_scores)
