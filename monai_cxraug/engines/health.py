"""Signs that a GAN's training has gone wrong, and the limits at which it counts as failed: numbers in, a reason out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the customary name)

from monai_cxraug.errors import ConfigError, StateError

#: units of the critic's image scale [-1, 1] in one unit of [0, 1].
_UNITS = 2.0


@dataclass(frozen=True)
class Health:
    """What one check measured; NaN where there was nothing to measure.

    Args:
        losses: a sum over all losses since the last check; finite only if each was.
        weights: largest magnitude over everything a checkpoint holds; finite only if all of it is.
        fake_spread: mean pairwise distance between samples.
        real_spread: mean pairwise distance between real images of the same resolution.
        reach: mean distance between a real image and a sample.
        gap: mean score of real images minus that of fakes, mean since the last check.
        critic_loss: mean since the last check.
        penalty: the regulariser as the trainer states it, mean since the last check.
    """

    losses: float = math.nan
    weights: float = math.nan
    fake_spread: float = math.nan
    real_spread: float = math.nan
    reach: float = math.nan
    gap: float = math.nan
    critic_loss: float = math.nan
    penalty: float = math.nan

    @property
    def diversity(self) -> float:
        """Spread of the samples relative to that of real images: 0 is one image for all latents."""
        return self.fake_spread / self.real_spread if self.real_spread > 0 else math.nan

    @property
    def slope(self) -> float:
        """Least mean slope, in the critic's scale, that explains the gap between real images and samples."""
        return self.gap / (_UNITS * self.reach) if self.reach > 0 else math.nan


@dataclass(frozen=True)
class Limits:
    """Where training counts as failed. A limit of 0 switches that sign off, but for ``slope`` and ``penalty``: ``inf``.

    *Collapse.* The samples' mean pairwise distance falls under ``diversity`` times that of real images (measured on
    radiographs of 16 and 32 px: 0.38 or more at learning rates of 1e-3 and 2e-3, 0.004 to 0.09 when 2e-2 breaks it).

    *Saturated critic of a calibrated loss* (logistic, hinge, least squares). It separates real from fake so well that
    its loss falls under ``critic`` times the loss of a critic that scores everything 0. Such a critic is constant
    around both sets of images and teaches nothing (Arjovsky and Bottou 2017, arXiv 1701.04862, theorem 2.4).

    *Saturated critic of WGAN-GP.* Its scores have no scale but the slope wanted. By the mean value theorem a score gap
    of ``g`` between images at a mean distance of ``d`` needs a mean slope of at least ``g / d`` on the straight lines
    between them — where the gradient penalty wants a slope of ``target`` (Gulrajani et al. 2017, equation 3). A critic
    that keeps to it never exceeds the target, however bad the generator is (measured: at most 0.6 in healthy training,
    0.9 against a generator that never learns). Above ``slope`` times the target the penalty has lost its hold, and the
    gap is no Wasserstein distance any more. So it has when the penalty itself stays above ``penalty``.

    Args:
        diversity: floor, relative to real images.
        critic: floor of the critic's loss, relative to that of a critic that cannot tell.
        slope: ceiling of the slope, relative to the target.
        penalty: ceiling of the gradient penalty, weighted.

    Raises:
        ConfigError: a limit is out of range.
    """

    diversity: float = 0.1
    critic: float = 0.01
    slope: float = 2.0
    penalty: float = 100.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            floor = field.name in ("diversity", "critic")
            if not (0 <= value < 1 if floor else value > 1):
                rule = "must be at least 0 and below 1" if floor else "must be above 1"
                raise ConfigError(f"Limits({field.name})", rule, value, f"use {field.default} when unsure")


def find_failure(health: Health, limits: Limits, chance: float, target: float, settled: bool) -> str:
    """Say what is wrong.

    Args:
        health: what was measured.
        limits: where it counts as failed.
        chance: loss of a critic that scores everything 0; 0 where scores have no natural zero (WGAN-GP).
        target: slope wanted of a WGAN-GP critic, in its own image scale.
        settled: whether training is old enough to judge more than numbers that are not finite: at the beginning all
            samples look alike and any critic can tell them from images.

    Returns:
        The reason in words, empty when nothing is wrong. What was not measured (NaN) is not judged.
    """
    if not math.isfinite(health.weights):
        return "weights that are not finite"
    if not math.isfinite(health.losses):
        return "losses that are not finite"
    if not settled:
        return ""
    if health.diversity < limits.diversity:
        return f"samples that look alike: diversity {health.diversity:.3g} of that of real images"
    if chance > 0 and health.critic_loss < limits.critic * chance:
        return f"a saturated critic: its loss {health.critic_loss:.3g} is {health.critic_loss / chance:.2g} of chance"
    if chance == 0 and health.slope > limits.slope * target:
        return f"a saturated critic: its slope {health.slope:.3g} is {health.slope / target:.2g} times the target"
    if chance == 0 and health.penalty > limits.penalty:
        return f"a saturated critic: its gradient penalty is {health.penalty:.3g}"
    return ""


def spread(images: Tensor) -> Tensor:
    """Mean pairwise Euclidean distance of images ``[N, C, H, W]``, a scalar on their device; NaN below two images."""
    return torch.pdist(images.flatten(1).float()).mean()


def reach(real: Tensor, fake: Tensor) -> Tensor:
    """Mean Euclidean distance between a real image ``[N, C, H, W]`` and a fake one ``[M, C, H, W]``, a scalar."""
    return torch.cdist(real.flatten(1).float(), fake.flatten(1).float()).mean()


def shrink(images: Tensor, like: Tensor) -> Tensor:
    """Average images ``[N, C, H, W]`` over areas to the size of others ``[M, C, h, w]``."""
    height, width = like.shape[-2:]
    return F.adaptive_avg_pool2d(images.float(), (height, width))


def largest_magnitude(states: Iterable[Any], device: torch.device | str) -> Tensor:
    """Largest magnitude of all floating tensors in states, a scalar on ``device``; NaN if one holds NaN.

    Args:
        states: state dicts, nested as they come. Numbers and tensors without dimensions (counters) are left out.
        device: where most tensors lie; nothing is brought from there to the host.
    """
    tensors = [tensor for tensor in _floating(states) if tensor.ndim and tensor.numel()]
    if not tensors:
        return torch.zeros((), device=device)
    return torch.stack([tensor.abs().amax().float().to(device, non_blocking=True) for tensor in tensors]).amax()


def _floating(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        if state.is_floating_point():
            yield state.detach()
    elif isinstance(state, Mapping):
        for item in state.values():
            yield from _floating(item)
    elif isinstance(state, (list, tuple)):
        for item in state:
            yield from _floating(item)


def require_finite(losses: Mapping[str, Any], images_seen: int) -> None:
    """Refuse to go on with losses that are not finite; this waits for the device.

    Args:
        losses: of a step, by name.
        images_seen: where the training stands.

    Raises:
        StateError: one is not finite.
    """
    numbers = {name: float(value) for name, value in losses.items()}
    if all(math.isfinite(number) for number in numbers.values()):
        return
    found = ", ".join(f"{name} {number:.4g}" for name, number in numbers.items())
    mend = "resume from the last checkpoint with a smaller learning rate, or without amp"
    raise StateError(f"training at {images_seen} images seen", "losses must be finite", found, mend)
