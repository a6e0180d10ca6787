"""All distortions by name, with the range of their strengths, and sequences of them as text.

A sequence is written ``pink_noise 0.08 #17 + jpeg 30``: name, strength, the seed where something is drawn, in the order
of their application. Text and image give the distorted image again, to the bit on the same machine.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from monai_cxraug.errors import ConfigError, InputError, nearest
from monai_cxraug.transforms.functional.distortions import blur, compression, noise, photometric, spatial

Group = Literal["photometric", "noise", "blur", "spatial", "compression"]
GROUPS: Final[tuple[Group, ...]] = get_args(Group)

#: drawn seeds are below this, to be short in the text.
_SEEDS: Final = 1_000_000
#: side of the image that strengths are tried on.
_TRIAL: Final = 32
_STEP: Final = re.compile(r"(?P<name>\S+) +(?P<strength>[^\s#]+)(?: +#(?P<seed>\d+))?")


@dataclass(frozen=True)
class Distortion:
    """A distortion, and the strengths that make sense for patches of 64 × 64 pixels of a radiograph.

    Strengths are drawn between the mildest, which a careful reader may find, and the strongest, which nobody overlooks.
    Others may be applied, as far as the function allows.

    Args:
        name: in texts and tables; that of the function.
        group: what kind of change it is.
        function: of images, strength and perhaps seed.
        strength: which argument of the function is the strength.
        unit: of the strength.
        mildest: end of the range.
        strongest: other end; below the mildest where less is stronger.
        both_ways: how the opposite change is written: by the other ``sign``, by the ``reciprocal``, or "" when there is
            none. The range is that of positive strengths, or of those above 1.
        whole: strengths are whole numbers.
        colour_only: needs RGB images.
    """

    name: str
    group: Group
    function: Callable[..., Tensor]
    strength: str
    unit: str
    mildest: float
    strongest: float
    both_ways: Literal["", "sign", "reciprocal"] = ""
    whole: bool = False
    colour_only: bool = False

    @cached_property
    def seeded(self) -> bool:
        """Whether anything is drawn."""
        return "seed" in inspect.signature(self.function).parameters

    def at(self, share: float) -> float:
        """The strength some way from the mildest to the strongest, in equal ratios.

        Args:
            share: from 0, the mildest, to 1.

        Returns:
            Three significant digits, so that it is the same number when it is written and read.
        """
        value = self.mildest * (self.strongest / self.mildest) ** share
        return float(round(value)) if self.whole else float(f"{value:.3g}")

    def opposite(self, strength: float) -> float:
        """The strength of the opposite change; the same where there is none."""
        if not self.both_ways:
            return strength
        return -strength if self.both_ways == "sign" else float(f"{1 / strength:.3g}")

    def apply(self, images: Tensor, strength: float, seed: int = 0) -> Tensor:
        """Distort images.

        Args:
            images: floating point in [0, 1] or uint8, ``[..., H, W]``; ``[..., 3, H, W]`` where colour is needed.
            strength: in the unit.
            seed: of what is drawn; of no effect where nothing is.

        Returns:
            The same shape, type and device, in [0, 1].

        Raises:
            ConfigError: the strength or the seed is out of range.
            InputError: another type or number of channels, or an image too small.
        """
        return self.function(images, **{self.strength: strength}, **({"seed": seed} if self.seeded else {}))


@dataclass(frozen=True)
class Step:
    """One distortion of a sequence.

    Args:
        name: in the catalogue.
        strength: in the distortion's unit.
        seed: of what is drawn; 0 where nothing is.
    """

    name: str
    strength: float
    seed: int = 0


_ALL: Final = (
    Distortion("lightness", "photometric", photometric.lightness, "offset", "of the grey scale", 0.03, 0.2, "sign"),
    Distortion("contrast", "photometric", photometric.contrast, "factor", "times", 1.1, 2, "reciprocal"),
    Distortion("gamma", "photometric", photometric.gamma, "exponent", "exponent", 1.1, 2, "reciprocal"),
    Distortion(
        "colour_shift",
        "photometric",
        photometric.colour_shift,
        "distance",
        "of the RGB cube's side",
        0.03,
        0.2,
        colour_only=True,
    ),
    Distortion(
        "saturation", "photometric", photometric.saturation, "factor", "times", 1.25, 3, "reciprocal", colour_only=True
    ),
    Distortion("uniform_noise", "noise", noise.uniform_noise, "amplitude", "of the grey scale", 0.03, 0.2),
    Distortion("gaussian_noise", "noise", noise.gaussian_noise, "std", "of the grey scale", 0.015, 0.12),
    Distortion("pink_noise", "noise", noise.pink_noise, "std", "of the grey scale", 0.015, 0.12),
    Distortion("blue_noise", "noise", noise.blue_noise, "std", "of the grey scale", 0.015, 0.12),
    Distortion("coloured_noise", "noise", noise.coloured_noise, "std", "of the grey scale", 0.015, 0.12),
    Distortion("poisson_noise", "noise", noise.poisson_noise, "photons", "photons in a white pixel", 2000, 40),
    Distortion("checkerboard", "noise", noise.checkerboard, "unevenness", "of the brightness", 0.02, 0.2),
    Distortion("gaussian_blur", "blur", blur.gaussian_blur, "sigma", "px", 0.5, 3),
    Distortion("bilateral_blur", "blur", blur.bilateral_blur, "sigma_value", "of the grey scale", 0.03, 0.5),
    Distortion("motion_blur", "blur", blur.motion_blur, "length", "px", 2, 12),
    Distortion("shift", "spatial", spatial.shift, "distance", "px", 0.5, 6),
    Distortion("affine_warp", "spatial", spatial.affine_warp, "amplitude", "px", 1, 8),
    Distortion("homography", "spatial", spatial.homography, "amplitude", "px", 1, 8),
    Distortion("linear_warp", "spatial", spatial.linear_warp, "amplitude", "px", 0.7, 6),
    Distortion("cubic_warp", "spatial", spatial.cubic_warp, "amplitude", "px", 0.7, 6),
    Distortion("ghosting", "spatial", spatial.ghosting, "opacity", "opacity", 0.05, 0.5),
    Distortion(
        "chromatic_aberration", "spatial", spatial.chromatic_aberration, "displacement", "px", 0.5, 4, colour_only=True
    ),
    Distortion("jpeg", "compression", compression.jpeg, "quality", "quality", 70, 8, whole=True),
    Distortion("jpeg2000", "compression", compression.jpeg2000, "ratio", "times smaller", 3, 14),
)
#: every distortion by its name.
CATALOGUE: Final[Mapping[str, Distortion]] = {one.name: one for one in _ALL}


def apply_steps(images: Tensor, steps: Sequence[Step]) -> Tensor:
    """Apply distortions one after the other.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``; 8-bit images are rounded after each step.
        steps: in order; none leaves the images as they are.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        ConfigError: a name is unknown, or a strength or seed is out of range.
        InputError: another type or number of channels, or an image too small.
    """
    for step in steps:
        images = find_distortion(step.name).apply(images, step.strength, step.seed)
    return images


def find_distortion(name: str) -> Distortion:
    """Look a distortion up.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in CATALOGUE:
        raise ConfigError("distortion", "must be in the catalogue", repr(name), nearest(name, CATALOGUE))
    return CATALOGUE[name]


# --- as text ---


def write_steps(steps: Sequence[Step]) -> str:
    """Write a sequence, as ``pink_noise 0.08 #17 + jpeg 30``; no steps are "".

    Args:
        steps: in order.

    Returns:
        What :func:`parse_steps` reads as the same steps.

    Raises:
        ConfigError: a name is unknown, or a strength or seed is out of range.
    """
    return " + ".join(_write_step(step) for step in steps)


def _write_step(step: Step) -> str:
    distortion = _require_step(step)
    short = f"{step.strength:g}"
    strength = short if float(short) == step.strength else repr(float(step.strength))
    return f"{step.name} {strength}{f' #{step.seed}' if distortion.seeded else ''}"


def parse_steps(text: str) -> tuple[Step, ...]:
    """Read a sequence that :func:`write_steps` has written, or a person.

    Args:
        text: ``name strength #seed``, more of them after `` + ``; without ``#seed`` the seed is 0.

    Returns:
        The steps in order.

    Raises:
        ConfigError: a step does not read so, a name is unknown, a strength is out of range, or a seed is given where
            nothing is drawn.
    """
    return tuple(_parse_step(part) for part in re.split(r"\s+\+\s+", text.strip())) if text.strip() else ()


def _parse_step(text: str) -> Step:
    found = _STEP.fullmatch(text)
    if not found:
        raise ConfigError("distortion", "must be a name, a strength and perhaps #seed", repr(text), "as 'jpeg 30'")
    distortion = find_distortion(found["name"])
    if found["seed"] and not distortion.seeded:
        raise ConfigError(
            "distortion", f"{distortion.name} draws nothing and takes no seed", repr(text), "leave it out"
        )
    try:
        strength = float(found["strength"])
    except ValueError:
        raise ConfigError("distortion", "the strength must be a number", repr(text), "as 'jpeg 30'") from None
    step = Step(distortion.name, strength, int(found["seed"] or 0))
    _require_step(step)
    return step


def _require_step(step: Step) -> Distortion:
    """Refuse an unknown name, and what the function refuses."""
    distortion = find_distortion(step.name)
    if not math.isfinite(step.strength):
        raise ConfigError(f"{step.name}({distortion.strength})", "must be finite", step.strength)
    with suppress(InputError):  # of the size and colour of this image, which say nothing about the strength
        distortion.apply(torch.zeros(_TRIAL, _TRIAL), step.strength, step.seed)
    return distortion


# --- draws ---


def draw_steps(rng: np.random.Generator, count: int = 1, colour: bool = False) -> tuple[Step, ...]:
    """Draw one distortion, or two of different groups in sequence.

    Groups are equally likely, and so are the distortions of a group; strengths are spread over the range, and seeds are
    below a million.

    Args:
        rng: what draws.
        count: 1 or 2.
        colour: whether the images are RGB; else the distortions of colour are left out.

    Returns:
        The steps, whose strengths have three significant digits.

    Raises:
        ConfigError: another count.
    """
    if count not in (1, 2):
        raise ConfigError("draw_steps(count)", "must be 1 or 2", count)
    groups = rng.choice(len(GROUPS), count, replace=False)
    return tuple(_draw_step(rng, GROUPS[group], colour) for group in groups)


def _draw_step(rng: np.random.Generator, group: Group, colour: bool) -> Step:
    choice = [one for one in _ALL if one.group == group and (colour or not one.colour_only)]
    distortion = choice[rng.integers(len(choice))]
    share, turned, seed = rng.random(), rng.random() < 0.5, int(rng.integers(_SEEDS))
    strength = distortion.at(share)
    return Step(
        distortion.name, distortion.opposite(strength) if turned else strength, seed if distortion.seeded else 0
    )
