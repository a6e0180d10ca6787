"""What distortions have in common: draws that depend on a seed alone, ranges of settings, and what an image must be.

A field of random numbers is drawn once for ``[H, W]`` in float64 on the CPU, and serves every image and channel of a
batch: neither the size of a batch, nor its type or device, changes the draw, and no global random state is touched.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.transforms.functional.filters import require_images

Field = NDArray[np.float64]


def make_generator(name: str, seed: int) -> np.random.Generator:
    """A generator of random numbers of its own.

    Args:
        name: of the distortion, for the error.
        seed: 0 or above.

    Returns:
        The same draws for the same seed.

    Raises:
        ConfigError: the seed is no whole number, or negative.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ConfigError(f"{name}(seed)", "must be a whole number from 0", seed)
    return np.random.default_rng(int(seed))


def require_within(setting: str, value: float, low: float, high: float = math.inf) -> None:
    """Refuse a setting that is out of range, or no number at all.

    Args:
        setting: distortion and setting, as ``"jpeg(quality)"``.
        value: as given.
        low: smallest allowed.
        high: largest allowed; infinity is never allowed.

    Raises:
        ConfigError: it is out of range.
    """
    if not low <= value <= high or math.isinf(value):
        rule = f"must be in [{low:g}, {high:g}]" if math.isfinite(high) else f"must be finite, from {low:g}"
        raise ConfigError(setting, rule, value)


def require_colour(images: Tensor) -> None:
    """Refuse what is no RGB image.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., 3, H, W]``.

    Raises:
        InputError: another type or number of channels.
    """
    require_images(images)
    if images.ndim < 3 or images.shape[-3] != 3:
        found = " × ".join(map(str, images.shape))
        raise InputError(
            "image", "must have three channels, RGB, before height and width", found, "repeat the grey one"
        )


def leave(images: Tensor) -> Tensor:
    """A copy of images that a neutral strength leaves as they are.

    Raises:
        InputError: they are no images.
    """
    require_images(images)
    return images.clone()


def choose_direction(angle: float | None, rng: np.random.Generator) -> tuple[float, float]:
    """A direction in the picture.

    Args:
        angle: in degrees from the right, anticlockwise as a viewer sees it; None draws one.
        rng: what draws.

    Returns:
        The unit vector (x, y), x to the right and y downwards.
    """
    radians = math.radians(rng.uniform(0, 360) if angle is None else angle)
    return math.cos(radians), -math.sin(radians)
