"""Adversarial losses behind one interface: what critic and generator minimise, and what keeps the critic smooth.

Images are in [0, 1] here and in [-1, 1] inside the critic, so one unit here is two units there. Slopes are stated in
the critic's own scale, that of the papers. Scores may be of lower precision; every mean is taken in at least float32.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the customary name)

from monai_cxraug.errors import ConfigError
from monai_cxraug.losses.imbalance import MaskedBCE

Critic = Callable[[Tensor], Tensor]

#: units of the critic's image scale [-1, 1] in one unit of [0, 1].
_UNITS: Final = 2.0


class AdversarialLoss(Protocol):
    """What a trainer needs of a loss. Scores are ``[N]``, higher for real, of any floating type."""

    @property
    def interval(self) -> int:
        """Critic steps between two regularised ones; the regulariser's weight makes up for the steps between."""

    @property
    def calibrated(self) -> bool:
        """Whether a score of zero lies between real and fake; else only differences of scores mean anything."""

    @property
    def regularised(self) -> bool:
        """Whether the regulariser has a weight; it needs scores that depend on their own image alone."""

    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """What the critic minimises, regulariser aside: a scalar from scores ``[N]`` and ``[M]``."""

    def generator(self, fake_scores: Tensor) -> Tensor:
        """What the generator minimises: a scalar from the scores ``[M]`` of its images."""

    def regulariser(self, critic: Critic, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
        """The weighted term that every ``interval`` critic steps is added to the critic's loss.

        Args:
            critic: maps images to scores ``[N]``, each by its own image (the sum is differentiated).
            real: images ``[N, C, H, W]`` in [0, 1].
            fake: images of the same shape; no gradient flows into them, nor into the real ones.
            mix: ``[N]`` in [0, 1], the weight of the fake image in each pair.

        Returns:
            A scalar that can be differentiated with respect to the critic's weights.
        """


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
    weight = mix.to(real.dtype).reshape(-1, *[1] * (real.ndim - 1))  # [N, 1, 1, 1]
    between = torch.lerp(real.detach(), fake.detach().to(real.dtype), weight)
    # the square root has no derivative at a slope of exactly zero, which a dead critic has
    norm = (_squared_slope(critic, between) + 1e-12).sqrt()  # [N]
    return ((norm - target) / target).square().mean()


def r1_penalty(critic: Critic, real: Tensor) -> Tensor:
    """Mean squared slope of the critic at real images: the expectation in Mescheder et al. 2018, equation 9.

    Args:
        critic: maps images to scores ``[N]``.
        real: images ``[N, C, H, W]``.

    Returns:
        Mean of ``|gradient|^2`` per squared unit of image value, a scalar that can be differentiated again.
    """
    return _squared_slope(critic, real.detach()).mean()


def auxiliary_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Loss of the discriminator's own classifier: AC-GAN (Odena et al. 2017) with one sigmoid a finding.

    Args:
        logits: ``[N, K]``.
        labels: ``[N, K]`` of 1, 0, NaN (unknown: neither loss nor gradient).

    Returns:
        Mean binary cross-entropy over the known labels, a scalar; 0 when none is known.
    """
    loss: Tensor = MaskedBCE()(_exact(logits), labels)
    return loss


@dataclass(frozen=True)
class WassersteinLoss:
    """Wasserstein loss with gradient penalty and drift (Gulrajani et al. 2017; Karras et al. 2017, appendix A.1).

    The defaults are the papers'. Scores have no natural zero: only differences between them matter.

    Args:
        penalty: weight of the gradient penalty.
        target: gradient norm wanted, per unit of the critic's own image scale [-1, 1].
        drift: weight of the squared real scores, which keeps them near zero.
        interval: critic steps between two penalties; the penalty's weight is multiplied by it.

    Raises:
        ConfigError: a weight is negative, the target is not positive or the interval is below 1.
    """

    penalty: float = 10.0
    target: float = 1.0
    drift: float = 0.001
    interval: int = 1
    calibrated: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _require_weights(self, self.interval, penalty=self.penalty, drift=self.drift)
        if not 0 < self.target < float("inf"):
            raise ConfigError("WassersteinLoss(target)", "must be above 0", self.target, "the paper uses 1")

    @property
    def regularised(self) -> bool:
        """Whether there is a penalty."""
        return self.penalty > 0

    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """``mean(fake) - mean(real) + drift * mean(real^2)``, from scores ``[N]`` and ``[M]``."""
        real, fake = _exact(real_scores), _exact(fake_scores)
        return fake.mean() - real.mean() + self.drift * real.square().mean()

    def generator(self, fake_scores: Tensor) -> Tensor:
        """Minus the mean score, from scores ``[M]``."""
        return -_exact(fake_scores).mean()

    def regulariser(self, critic: Critic, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
        """``interval * penalty *`` :func:`gradient_penalty`; arguments as in :class:`AdversarialLoss`."""
        if not self.regularised:
            return _nothing(real)
        return self.interval * self.penalty * gradient_penalty(critic, real, fake, mix, _UNITS * self.target)


@dataclass(frozen=True)
class _R1Regularised(ABC):
    """A loss of calibrated scores whose critic may be kept smooth by R1, lazily (Karras et al. 2020, appendix B)."""

    r1: float = 0.0
    interval: int = 16
    calibrated: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _require_weights(self, self.interval, r1=self.r1)

    @property
    def regularised(self) -> bool:
        """Whether R1 has a weight."""
        return self.r1 > 0

    @abstractmethod
    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """What the critic minimises, from scores ``[N]`` and ``[M]``."""

    @abstractmethod
    def generator(self, fake_scores: Tensor) -> Tensor:
        """What the generator minimises, from scores ``[M]``."""

    def regulariser(self, critic: Critic, real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
        """``interval * r1 / 2 * E|gradient|^2`` at the real images; arguments as in :class:`AdversarialLoss`."""
        if not self.regularised:
            return _nothing(real)
        return self.interval * self.r1 / 2 * (r1_penalty(critic, real) / _UNITS**2)


@dataclass(frozen=True)
class NonSaturatingLoss(_R1Regularised):
    """The logistic loss whose generator gradient does not vanish (Goodfellow et al. 2014, section 3), with R1.

    Args:
        r1: gamma, the weight of the squared slope at real images, in the critic's own image scale [-1, 1].
        interval: critic steps between two regularised ones; the weight is multiplied by it.

    Raises:
        ConfigError: r1 is negative or the interval is below 1.
    """

    r1: float = 10.0

    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """``mean(softplus(-real)) + mean(softplus(fake))``, from scores (logits) ``[N]`` and ``[M]``."""
        return F.softplus(-_exact(real_scores)).mean() + F.softplus(_exact(fake_scores)).mean()

    def generator(self, fake_scores: Tensor) -> Tensor:
        """``mean(softplus(-fake))``, from scores (logits) ``[M]``."""
        return F.softplus(-_exact(fake_scores)).mean()


@dataclass(frozen=True)
class HingeLoss(_R1Regularised):
    """The hinge loss (Lim and Ye 2017, "Geometric GAN", arXiv 1705.02894), with R1 if wanted.

    Args:
        r1: gamma, the weight of the squared slope at real images, in the critic's own image scale [-1, 1]; 0 is off.
        interval: critic steps between two regularised ones; the weight is multiplied by it.

    Raises:
        ConfigError: r1 is negative or the interval is below 1.
    """

    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """``mean(max(0, 1 - real)) + mean(max(0, 1 + fake))``, from scores ``[N]`` and ``[M]``."""
        return F.relu(1 - _exact(real_scores)).mean() + F.relu(1 + _exact(fake_scores)).mean()

    def generator(self, fake_scores: Tensor) -> Tensor:
        """Minus the mean score, from scores ``[M]``."""
        return -_exact(fake_scores).mean()


@dataclass(frozen=True)
class LeastSquaresLoss(_R1Regularised):
    """Least squares (Mao et al. 2017, equation 8: real 1, fake -1, generator 0), with R1 if wanted.

    Of the paper's two codings this one has its boundary at a score of zero, as the other losses here have.

    Args:
        r1: gamma, the weight of the squared slope at real images, in the critic's own image scale [-1, 1]; 0 is off.
        interval: critic steps between two regularised ones; the weight is multiplied by it.

    Raises:
        ConfigError: r1 is negative or the interval is below 1.
    """

    def critic(self, real_scores: Tensor, fake_scores: Tensor) -> Tensor:
        """``mean((real - 1)^2) / 2 + mean((fake + 1)^2) / 2``, from scores ``[N]`` and ``[M]``."""
        return ((_exact(real_scores) - 1).square().mean() + (_exact(fake_scores) + 1).square().mean()) / 2

    def generator(self, fake_scores: Tensor) -> Tensor:
        """``mean(fake^2) / 2``, from scores ``[M]``."""
        return _exact(fake_scores).square().mean() / 2


def _exact(x: Tensor) -> Tensor:
    """In float32 where it comes in less; float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _nothing(images: Tensor) -> Tensor:
    """A zero that may be differentiated: a trainer can add it or run it backwards like any other term."""
    return images.new_zeros((), dtype=torch.promote_types(images.dtype, torch.float32)).requires_grad_(True)


def _squared_slope(critic: Critic, images: Tensor) -> Tensor:
    """Squared norm ``[N]`` of each score's gradient with respect to its image, differentiable again."""
    images = images.requires_grad_(True)
    (slope,) = torch.autograd.grad(_exact(critic(images)).sum(), images, create_graph=True)
    return _exact(slope).flatten(1).square().sum(dim=1)


def _require_weights(loss: object, interval: int, **weights: float) -> None:
    name = type(loss).__name__
    for key, weight in weights.items():
        if not 0 <= weight < float("inf"):
            raise ConfigError(f"{name}({key})", "must be at least 0", weight, "use 0 to switch it off")
    if interval < 1:
        raise ConfigError(f"{name}(interval)", "must be at least 1 critic step", interval, "1 runs it in every step")
