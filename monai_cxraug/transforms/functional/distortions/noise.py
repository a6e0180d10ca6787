"""Noise: white, of any spectral slope, of counted photons, and the checkerboard of a transposed convolution.

Fields are added and the sum is cut to [0, 1]. They are drawn once for ``[H, W]``
(:mod:`~monai_cxraug.transforms.functional.distortions.draws`): images and channels of a batch get the same field.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from scipy import special
from torch import Tensor

from monai_cxraug.transforms.functional.distortions.draws import Field, leave, make_generator, require_within
from monai_cxraug.transforms.functional.filters import in_float

#: exponents of the power spectrum: brown falls with the square of the frequency, violet rises with it.
BROWN, PINK, BLUE, VIOLET = -2.0, -1.0, 1.0, 2.0
#: beyond a million photons the noise is below an 8-bit level.
_MOST_PHOTONS: Final = 1e6


def uniform_noise(images: Tensor, amplitude: float = 0.1, seed: int = 0) -> Tensor:
    """Add white noise, uniform between ``-amplitude`` and ``amplitude``: of variance ``amplitude^2 / 3``.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``.
        amplitude: in [0, 1]; 0 changes nothing.
        seed: of the field.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        ConfigError: a setting is out of range.
        InputError: another type.
    """
    rng = make_generator("uniform_noise", seed)
    require_within("uniform_noise(amplitude)", amplitude, 0, 1)
    return _add(images, lambda size: rng.uniform(-amplitude, amplitude, size))


def gaussian_noise(images: Tensor, std: float = 0.05, seed: int = 0) -> Tensor:
    """Add white Gaussian noise.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``.
        std: standard deviation in [0, 1], before the sum is cut; 0 changes nothing.
        seed: of the field.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        ConfigError: a setting is out of range.
        InputError: another type.
    """
    rng = make_generator("gaussian_noise", seed)
    require_within("gaussian_noise(std)", std, 0, 1)
    return _add(images, lambda size: std * rng.standard_normal(size))


def _add(images: Tensor, draw: Callable[[tuple[int, int]], Field]) -> Tensor:
    def add(unit: Tensor) -> Tensor:
        height, width = unit.shape[-2:]
        return (unit + torch.from_numpy(draw((height, width))).to(unit)).clamp(0, 1)

    return in_float(images, 0, add)


# --- a spectral slope ---


def coloured_noise(images: Tensor, std: float = 0.05, slope: float | None = None, seed: int = 0) -> Tensor:
    """Add Gaussian noise whose power is proportional to a power of the frequency, ``|f|^slope``.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``.
        std: standard deviation in [0, 1], of the very field that is added, whose mean is 0; 0 changes nothing.
        slope: from -2 (brown) over -1 (pink), 0 (white) and 1 (blue) to 2 (violet); None draws it.
        seed: of the field and the slope.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        ConfigError: a setting is out of range.
        InputError: another type.
    """
    rng = make_generator("coloured_noise", seed)
    return _add_coloured("coloured_noise", images, std, rng.uniform(BROWN, VIOLET) if slope is None else slope, seed)


def pink_noise(images: Tensor, std: float = 0.05, seed: int = 0) -> Tensor:
    """Add :func:`coloured_noise` of slope -1: cloudy, its power falls with the frequency."""
    return _add_coloured("pink_noise", images, std, PINK, seed)


def blue_noise(images: Tensor, std: float = 0.05, seed: int = 0) -> Tensor:
    """Add :func:`coloured_noise` of slope 1: grainy, its power rises with the frequency."""
    return _add_coloured("blue_noise", images, std, BLUE, seed)


def _add_coloured(name: str, images: Tensor, std: float, slope: float, seed: int) -> Tensor:
    rng = make_generator(name, seed)
    require_within(f"{name}(std)", std, 0, 1)
    require_within(f"{name}(slope)", slope, BROWN, VIOLET)
    return _add(images, lambda size: std * draw_coloured_field(size, slope, rng))


def draw_coloured_field(size: tuple[int, int], slope: float, rng: np.random.Generator) -> Field:
    """Shape white noise in the frequency domain (Timmer and König 1995, "On generating power law noise", section 4).

    The radial frequency ``|f|`` is in cycles a pixel, so that the slope is that of the power averaged over circles in
    the frequency plane. The field goes on at the opposite border.

    Args:
        size: (height, width).
        slope: exponent of the power.
        rng: what draws the white noise.

    Returns:
        ``[H, W]``, of mean 0 and standard deviation 1; zeros when there is but one pixel.
    """
    height, width = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = 1  # of the mean, which is taken away
    spectrum = np.fft.rfft2(rng.standard_normal(size)) * frequency ** (slope / 2)
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, s=size)
    return field / (field.std() or 1.0)


# --- photons ---


def poisson_noise(images: Tensor, photons: float = 200.0, seed: int = 0) -> Tensor:
    """Count photons: each pixel becomes a Poisson draw of mean ``photons * image``, divided by ``photons``, cut.

    The mean stays (but for what is cut at white), the variance becomes ``image / photons``. The displayed brightness is
    taken as proportional to a count; the darkening of a film is not modelled. Where images of a batch are alike they
    get the same count: one uniform field is drawn and each pixel takes the quantile of its own distribution.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``.
        photons: expected in a white pixel, from 1 to a million; fewer are noisier, infinity changes nothing.
        seed: of the field.

    Returns:
        The same shape, type and device, in [0, 1]; no gradient.

    Raises:
        ConfigError: a setting is out of range.
        InputError: another type.
    """
    rng = make_generator("poisson_noise", seed)
    if photons == math.inf:
        return leave(images)
    require_within("poisson_noise(photons)", photons, 1, _MOST_PHOTONS)
    return in_float(images, 0, lambda unit: _count(unit, photons, rng))


def _count(unit: Tensor, photons: float, rng: np.random.Generator) -> Tensor:
    mean = photons * unit.detach().cpu().double().clamp(0, 1).numpy()
    share = np.maximum(rng.random(mean.shape[-2:]), np.finfo(np.float64).tiny)
    return torch.from_numpy(poisson_quantile(share, mean) / photons).to(unit).clamp(0, 1)


def poisson_quantile(share: Field, mean: Field) -> Field:
    """The smallest count whose cumulative probability reaches a share.

    A Cornish-Fisher guess (Abramowitz and Stegun 1964, 26.2.49) is right but for one or two, and is then mended.

    Args:
        share: in (0, 1).
        mean: of the Poisson distributions, from 0.

    Returns:
        Whole numbers, of the shape that both have together.
    """
    normal = special.ndtri(share)
    count = np.maximum(np.rint(mean + np.sqrt(mean) * normal + (normal**2 - 1) / 6 - 0.5), 0)
    while (more := special.pdtr(count, mean) < share).any():
        count += more
    while (fewer := (count > 0) & (special.pdtr(count - 1, mean) >= share)).any():
        count -= fewer
    return np.asarray(count, np.float64)


# --- the mark of a network ---


def checkerboard(images: Tensor, unevenness: float = 0.1) -> Tensor:
    """Multiply every other row and column by ``1 - unevenness`` and those between by ``1 + unevenness``, cut to [0, 1].

    That is the uneven overlap of a transposed convolution of stride 2 and size 3 (Odena, Dumoulin and Olah 2016,
    "Deconvolution and checkerboard artifacts", section "Deconvolution & overlap"): with weights (w, 1, w) along each
    axis the unevenness is ``(2 w - 1) / (2 w + 1)``, 1/3 where all are equal, 0 where they interpolate linearly.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``.
        unevenness: in [0, 1]; 0 changes nothing.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        ConfigError: the unevenness is out of range.
        InputError: another type.
    """
    require_within("checkerboard(unevenness)", unevenness, 0, 1)
    return in_float(images, 0, lambda unit: _overlap(unit, unevenness).clamp(0, 1))


def _overlap(unit: Tensor, unevenness: float) -> Tensor:
    sides = (torch.arange(side, dtype=torch.float64) for side in unit.shape[-2:])
    rows, columns = (1 + unevenness * (2 * (places % 2) - 1) for places in sides)
    return unit * rows.to(unit)[:, None] * columns.to(unit)
