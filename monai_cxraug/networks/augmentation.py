"""Augmentation inside the discriminator, for small sets: it sees real and fake images only after random changes.

Every change leaves a radiograph a radiograph: no vertical flip, no quarter turn, no colour. All are differentiable
twice with respect to the images, wait for no device, and show no border that is not in the image: beyond the edge the
image is mirrored. Images are in [0, 1]; changed ones may leave that range, since clipping would hide gradients.

Random numbers come from the generator handed in: a few per image, drawn where that generator lives (in training on the
CPU) and moved at once. So a seed means the same on every device, and image k's are the same in whatever batches.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from monai_cxraug.errors import ConfigError, InputError, nearest
from monai_cxraug.networks.changes import Frame, cut_out, gaussian_field, warp

#: normal draws are cut at this many standard deviations: no image is pushed far from what can be recognised.
_CUT: Final = 3.0


class Augmentation(nn.Module, ABC):
    """Changes images before the discriminator, real and fake ones alike."""

    @abstractmethod
    def forward(self, images: Tensor, draws: torch.Generator) -> Tensor:
        """Change images ``[N, C, H, W]`` in [0, 1]; each by random numbers of its own."""

    def update(self, real_scores: Tensor, fake_scores: Tensor | None = None) -> None:
        """Learn from the scores ``[N]`` of one critic step's changed images; nothing to learn by default."""


class _Change(NamedTuple):
    """One number per image ``[N]`` each; zero leaves the image as it is."""

    mirror: Tensor  # 0 or 1
    jump_x: Tensor  # whole pixels, to the right
    jump_y: Tensor  # whole pixels, downwards
    slide_x: Tensor  # pixels, any part
    slide_y: Tensor
    zoom: Tensor  # octaves
    stretch: Tensor  # octaves of width over height
    turn: Tensor  # radians, clockwise
    contrast: Tensor  # octaves
    brightness: Tensor  # image units
    noise: Tensor  # standard deviation in image units
    key_high: Tensor  # two halves of the noise's key
    key_low: Tensor
    hole: Tensor  # side over image side
    hole_x: Tensor  # centre, as a part of the width
    hole_y: Tensor


#: which of the ten independent decisions "is it applied?" each number of a change belongs to.
_DECISION: Final = (0, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 8, 8, 9, 9, 9)
_DECISIONS: Final = max(_DECISION) + 1

#: largest setting that leaves a radiograph a radiograph.
_LIMITS: Final = {
    "translation": 0.25,
    "zoom": 0.5,
    "rotation": 15.0,
    "stretch": 0.3,
    "contrast": 1.0,
    "brightness": 0.25,
    "noise": 0.25,
    "cutout": 0.75,
}


class RadiographAugmentation(nn.Module):
    """Changes a radiograph may suffer, each applied to each image with probability p independently.

    The pipeline of Karras et al. 2020 (arXiv 2006.06676, section 2.3 and appendix B) without what no radiograph shows.
    Changes of place come first, in one resampling (mirror, stretch and zoom, turn, shift), then those of value in
    one pass (contrast, brightness, noise), then the hole. Normal draws are cut at three deviations. There is no
    gamma: its slope is unbounded at black, and it means nothing outside [0, 1], where a generator's output may lie.

    Args:
        translation: longest shift by whole pixels, uniform, as a part of the side; and twice the standard deviation of
            a second, sub-pixel shift. At most 0.25.
        zoom: standard deviation of log2 of the scale. At most 0.5.
        rotation: largest turn in degrees, uniform both ways. At most 15.
        stretch: standard deviation of log2 of the change of width over height, at constant area. At most 0.3.
        contrast: standard deviation of log2 of the contrast about mid-grey. At most 1.
        brightness: standard deviation of the value added. At most 0.25.
        noise: scale of the half-normal standard deviation of white noise. At most 0.25.
        cutout: side of a mid-grey hole with its centre anywhere, as a part of the image's. At most 0.75.
        mirror: whether to swap left and right, half of the times it is drawn; it shows hearts on the wrong side.

    Raises:
        ConfigError: a setting is negative or above its limit. 0 switches a change off.
    """

    def __init__(
        self,
        translation: float = 0.125,
        zoom: float = 0.2,
        rotation: float = 10.0,
        stretch: float = 0.1,
        contrast: float = 0.5,
        brightness: float = 0.1,
        noise: float = 0.05,
        cutout: float = 0.5,
        mirror: bool = False,
    ) -> None:
        super().__init__()
        self.translation, self.zoom, self.rotation, self.stretch = translation, zoom, rotation, stretch
        self.contrast, self.brightness, self.noise, self.cutout = contrast, brightness, noise, cutout
        self.mirror = mirror
        for name, limit in _LIMITS.items():
            value: float = getattr(self, name)
            if not 0 <= value <= limit:
                raise ConfigError(f"{type(self).__name__}({name})", f"must be in [0, {limit}]", value, "0 is off")

    def forward(self, images: Tensor, draws: torch.Generator, p: Tensor | float = 1.0) -> Tensor:
        """Change images.

        Args:
            images: ``[N, C, H, W]``, nominally in [0, 1].
            draws: source of randomness; gives 26 numbers an image.
            p: probability of each change, a number or a scalar tensor on the images' device; in [0, 1].

        Returns:
            Images of the same shape and type. At p = 0 they are the same bit by bit.

        Raises:
            InputError: the images are not ``[N, C, H, W]`` of a floating type.
        """
        x = _exact(images)
        frame = Frame(*x.shape[2:])
        change = self._draw(len(x), frame, draws, p, x.device)
        x = cut_out(self._revalue(self._replace(x, frame, change), change), frame, *change[-3:])
        return x.to(images.dtype)

    def _draw(self, n: int, frame: Frame, draws: torch.Generator, p: Tensor | float, device: torch.device) -> _Change:
        """What happens to each of n images: drawn, moved to the device, and zeroed where it is not applied."""
        size = len(_Change._fields)
        uniform = torch.rand(n, _DECISIONS + size, generator=draws, device=draws.device)
        decisions, rest = uniform[:, list(_DECISION)], uniform[:, _DECISIONS:]
        moved = torch.cat([decisions, self._values(rest, frame)], dim=1).to(device, non_blocking=True)
        applied = moved[:, :size] < p
        return _Change(*(moved[:, size:] * applied).unbind(1))

    def _values(self, uniform: Tensor, frame: Frame) -> Tensor:
        """A change's numbers ``[N, 16]`` from as many uniform ones in [0, 1)."""
        u, z = _Change(*uniform.unbind(1)), _Change(*_normal(uniform).unbind(1))
        reach = 2 * self.translation
        change = _Change(
            mirror=(u.mirror < 0.5).to(uniform.dtype) * self.mirror,
            jump_x=((u.jump_x - 0.5) * reach * frame.width).round(),
            jump_y=((u.jump_y - 0.5) * reach * frame.height).round(),
            slide_x=z.slide_x * self.translation / 2 * frame.width,
            slide_y=z.slide_y * self.translation / 2 * frame.height,
            zoom=z.zoom * self.zoom,
            stretch=z.stretch * self.stretch,
            turn=(u.turn - 0.5) * math.radians(2 * self.rotation),
            contrast=z.contrast * self.contrast,
            brightness=z.brightness * self.brightness,
            noise=z.noise.abs() * self.noise,
            key_high=(u.key_high * 2**24).floor(),  # float32 holds 24 bits exactly
            key_low=(u.key_low * 2**24).floor(),
            hole=torch.full_like(u.hole, self.cutout),
            hole_x=u.hole_x,
            hole_y=u.hole_y,
        )
        return torch.stack(change, dim=1)

    def _replace(self, x: Tensor, frame: Frame, change: _Change) -> Tensor:
        """All changes of place by one resampling; an image without any keeps its bits."""
        if not (self.translation or self.zoom or self.rotation or self.stretch or self.mirror):
            return x
        places = torch.stack(change[: _Change._fields.index("contrast")])  # [changes of place, N]
        moved = (places != 0).any(dim=0)
        # from where in the image a pixel of the result comes: back along shift, turn, zoom and stretch, mirror
        wide = (1 - 2 * change.mirror) * torch.exp2(-change.zoom - change.stretch / 2)
        high = torch.exp2(-change.zoom + change.stretch / 2)
        cos, sin = change.turn.cos(), change.turn.sin()
        matrix = torch.stack([wide * cos, wide * sin, -high * sin, high * cos], dim=1).reshape(-1, 2, 2)
        shift = torch.stack([change.jump_x + change.slide_x, change.jump_y + change.slide_y], dim=1)
        return torch.where(_per_image(moved), warp(x, frame, matrix, shift), x)

    def _revalue(self, x: Tensor, change: _Change) -> Tensor:
        """All changes of value."""
        gain = torch.exp2(change.contrast)
        x = x * _per_image(gain) + _per_image((0.5 - 0.5 * gain) + change.brightness)
        if not self.noise:
            return x
        return x + _per_image(change.noise) * gaussian_field(change.key_high, change.key_low, x)


class AdaptiveAugmentation(Augmentation):
    """Adaptive discriminator augmentation (Karras et al. 2020, arXiv 2006.06676, section 3).

    The discriminator of a small set comes to know its images by heart, and then scores all of them as real. The mean
    sign of the real images' scores, r, says how far this has gone; every few critic steps p rises by a fixed amount if
    r is above the target and falls if it is below. The state lies in buffers: move it to the device, save and load it.

    Args:
        family: the changes; those of a radiograph by default.
        target: wanted r, in (-1, 1).
        images: real images seen while p moves from 0 to 1.
        interval: critic steps between two moves of p.
        ceiling: largest p. Above 0.8 the generator begins to imitate the changes (section 2.2 of the paper).

    Raises:
        ConfigError: an argument is out of range.
    """

    p: Tensor
    r: Tensor
    _tally: Tensor

    def __init__(
        self,
        family: RadiographAugmentation | None = None,
        target: float = 0.6,
        images: int = 500_000,
        interval: int = 4,
        ceiling: float = 0.8,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if not -1 < target < 1:
            raise ConfigError(f"{name}(target)", "must be in (-1, 1)", target, "the paper uses 0.6")
        if images < 1 or interval < 1:
            raise ConfigError(name, "images and interval must be at least 1", f"{images}, {interval}")
        if not 0 <= ceiling <= 1:
            raise ConfigError(
                f"{name}(ceiling)", "must be in [0, 1]", ceiling, "above 0.8 changes leak into the images"
            )
        self.family = RadiographAugmentation() if family is None else family
        self.target, self.images, self.interval, self.ceiling = target, images, interval, ceiling
        #: probability of each change.
        self.register_buffer("p", torch.zeros(()))
        #: mean sign of the real images' scores when p last moved.
        self.register_buffer("r", torch.zeros(()))
        self.register_buffer("_tally", torch.zeros(3))  # sum of signs, images, critic steps since p last moved

    def forward(self, images: Tensor, draws: torch.Generator) -> Tensor:
        """Change images ``[N, C, H, W]`` with the present p; see :meth:`RadiographAugmentation.forward`."""
        changed: Tensor = self.family(images, draws, self.p)
        return changed

    @torch.no_grad()
    def update(self, real_scores: Tensor, fake_scores: Tensor | None = None) -> None:
        """Count one critic step, and move p when it is time. A score that is no number counts as undecided.

        Args:
            real_scores: ``[N]``, of the changed real images.
            fake_scores: ``[M]``, of the changed fake ones. Give them for a loss whose scores have no natural zero
                (Wasserstein): real scores are then compared with the middle between the two means.
        """
        scores = real_scores.float()
        if fake_scores is not None:
            scores = scores - (scores.mean() + fake_scores.float().mean()) / 2
        self._tally[0] += (scores > 0).sum() - (scores < 0).sum()
        self._tally[1] += len(scores)
        self._tally[2] += 1
        self._move()

    def _move(self) -> None:
        """Move p if enough critic steps were counted, decided on the device."""
        signs, seen, steps = self._tally.unbind()
        due = steps >= self.interval
        r = signs / seen
        p = (self.p + (r - self.target).sign() * seen / self.images).clamp(0, self.ceiling)
        self.r.copy_(torch.where(due, r, self.r))
        self.p.copy_(torch.where(due, p, self.p))
        self._tally.masked_fill_(due, 0)


#: DiffAugment's changes, in the order in which they are applied.
POLICIES: Final = ("brightness-contrast", "translation", "cutout")


class DiffAugment(Augmentation):
    """Differentiable augmentation (Zhao et al. 2020, arXiv 2006.10738): every change on every image, always.

    Brightness moves by up to 0.25 and contrast about the image's mean by a factor in [0.5, 1.5], both uniform; the
    shift is up to an eighth of the side in whole pixels; the mid-grey hole has half the side. Unlike the paper's, the
    image is mirrored beyond its edge, and there is no saturation.

    Args:
        policy: which changes, of :data:`POLICIES`.

    Raises:
        ConfigError: a change is unknown.
    """

    def __init__(self, policy: Sequence[str] = POLICIES) -> None:
        super().__init__()
        for name in [policy] if isinstance(policy, str) else policy:
            if name not in POLICIES:
                mend = nearest(name, POLICIES)
                raise ConfigError("DiffAugment(policy)", f"must be a list from {', '.join(POLICIES)}", name, mend)
        self.policy = frozenset([policy] if isinstance(policy, str) else policy)

    def forward(self, images: Tensor, draws: torch.Generator) -> Tensor:
        """Change images.

        Args:
            images: ``[N, C, H, W]``, nominally in [0, 1].
            draws: source of randomness; gives 6 numbers an image.

        Returns:
            Images of the same shape and type.

        Raises:
            InputError: the images are not ``[N, C, H, W]`` of a floating type.
        """
        x = _exact(images)
        frame = Frame(*x.shape[2:])
        uniform = torch.rand(len(x), 6, generator=draws, device=draws.device).to(x.device, non_blocking=True)
        brightness, contrast, right, down, hole_x, hole_y = uniform.unbind(1)
        if "brightness-contrast" in self.policy:
            mean = x.mean(dim=(1, 2, 3), keepdim=True)  # [N, 1, 1, 1]
            x = (x - mean) * _per_image(contrast + 0.5) + mean + _per_image((brightness - 0.5) / 2)
        if "translation" in self.policy:
            shift = torch.stack([(right - 0.5) * (frame.width / 4), (down - 0.5) * (frame.height / 4)], dim=1).round()
            x = warp(x, frame, torch.eye(2, device=x.device).expand(len(x), 2, 2), shift)
        if "cutout" in self.policy:
            x = cut_out(x, frame, torch.full_like(hole_x, 0.5), hole_x, hole_y)
        return x.to(images.dtype)


def _exact(images: Tensor) -> Tensor:
    """Images checked, in float32 where they come in less."""
    if images.ndim != 4 or not images.is_floating_point():
        found = f"{images.dtype} {list(images.shape)}"
        raise InputError("images to augment", "must be [N, C, H, W] of a floating type", found)
    return images.to(torch.promote_types(images.dtype, torch.float32))


def _per_image(values: Tensor) -> Tensor:
    """``[N]`` beside images: ``[N, 1, 1, 1]``."""
    return values[:, None, None, None]


def _normal(uniform: Tensor) -> Tensor:
    """Standard normal numbers, cut at three deviations, from as many uniform ones (so that a draw has a fixed cost)."""
    normal: Tensor = torch.special.ndtri(uniform)
    return normal.clamp(-_CUT, _CUT)
