"""Feature similarity of two grey images: phase congruency and gradients (Zhang et al. 2011)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from monai_cxraug.errors import InputError

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]

#: constants of the similarities of phase congruency and of gradients, for grey values up to 255 (section III).
_T_PHASE: Final = 0.85
_T_GRADIENT: Final = 160.0
_SCALES, _ORIENTATIONS = 4, 4
_SHORTEST, _FACTOR = 6.0, 2.0
#: widths of a filter along frequency (as a ratio) and across it (spacing of orientations over standard deviation).
_ALONG, _ACROSS = 0.55, 1.2
#: standard deviations of noise that are taken away, and the factor by which the estimate of the noise is too high.
_NOISE, _OVERESTIMATE = 2.0, 1.7
_TINY: Final = 1e-4
#: side in pixels to which larger images are brought.
_VIEWED: Final = 256
_SCHARR: Final = np.array([[3.0, 0, -3], [10, 0, -10], [3, 0, -3]]) / 16


def fsim(first: ArrayLike, second: ArrayLike) -> float:
    """Feature similarity index FSIM of two grey images.

    Zhang, Zhang, Mou and Zhang, IEEE Transactions on Image Processing 20(8), 2011, equations 3 to 7, with the
    parameters of its authors: phase congruency over four scales and four orientations of log-Gabor filters, Scharr
    gradients, and the larger phase congruency of both images as weight. Images of 384 px and more are averaged and
    thinned to about 256 px first, as the authors do.

    Args:
        first: ``[H, W]`` in [0, 1], at least 16 px a side.
        second: of the same shape; swapping both changes nothing.

    Returns:
        In (0, 1]; 1 for equal images.

    Raises:
        InputError: shapes differ, are too small, or a value is outside [0, 1].
    """
    images = [_thin(image) for image in _check(first, second)]
    phases = [phase_congruency(image) for image in images]
    slopes = [_gradient(image) for image in images]
    likeness = _similar(phases[0], phases[1], _T_PHASE) * _similar(slopes[0], slopes[1], _T_GRADIENT)
    weight = np.maximum(*phases)
    if not weight.any():  # neither image has a feature: flat images are told apart by gradients alone
        return float(likeness.mean())
    return float((likeness * weight).sum() / weight.sum())


def phase_congruency(image: Floats) -> Floats:
    """Phase congruency of an image: where the waves that make it up are in step.

    Kovesi, "Image features from phase congruency", Videre 1(3), 1999: energy along the mean phase less the energy
    across it, less the energy that noise would show, over the sum of amplitudes; without that paper's weight for the
    spread of frequencies, as in Zhang et al., equation 3.

    Args:
        image: ``[H, W]``.

    Returns:
        ``[H, W]`` in [0, 1].
    """
    spectrum = np.fft.fft2(image)
    energy, amplitude = np.zeros(image.shape), np.zeros(image.shape)
    for filters, gain in _banks(image.shape):
        responses: Complex = np.fft.ifft2(spectrum * filters)
        energy += np.maximum(_energy(responses) - gain * np.sqrt(np.median(np.abs(responses[0]) ** 2)), 0)
        amplitude += np.abs(responses).sum(axis=0)
    return np.divide(energy, amplitude, out=np.zeros(image.shape), where=amplitude > 0)


def _energy(responses: Complex) -> Floats:
    """Energy along the mean phase less that across it, ``[H, W]`` of ``[S, H, W]``."""
    total = responses.sum(axis=0)
    towards = total / (np.abs(total) + _TINY)
    turned = responses * towards.conj()
    return np.asarray((turned.real - np.abs(turned.imag)).sum(axis=0))


@lru_cache(maxsize=4)
def _banks(shape: tuple[int, ...]) -> list[tuple[Floats, float]]:
    """Filters ``[S, H, W]`` of each orientation, with the energy of noise for a finest median power of one."""
    radial = _radial_filters(shape)
    filters = [radial * spread for spread in _angular_filters(shape)]
    return [(bank, _noise_gain(bank)) for bank in filters]


def _noise_gain(filters: Floats) -> float:
    """Energy that noise alone would show, over the root of the median power of the finest scale, which is mostly noise.

    That median tells the power of the noise, which the filters pass on to the other scales; the energy is Rayleigh
    distributed, of which the mean and two standard deviations are taken (Kovesi 1999).
    """
    power = 1 / np.log(2) / (filters[0] ** 2).sum()
    impulses = np.fft.ifft2(filters).real * np.sqrt(filters[0].size)  # a unit impulse, as each scale answers it
    scale = np.sqrt(power * (impulses.sum(axis=0) ** 2).sum())
    return float(scale * (np.sqrt(np.pi / 2) + _NOISE * np.sqrt(2 - np.pi / 2)) / _OVERESTIMATE)


# --- filters in the frequency domain ---


def _frequencies(size: int) -> Floats:
    """Frequencies in cycles a pixel in the order of the discrete transform; odd sizes reach one half as well."""
    span = size if size % 2 == 0 else size - 1
    return np.fft.ifftshift(np.arange(-(size // 2), size - size // 2) / span)


def _radial_filters(shape: tuple[int, ...]) -> Floats:
    """Log-Gabor functions of the scales, without the corners of the spectrum: ``[S, H, W]``."""
    rows, columns = _frequencies(shape[0])[:, None], _frequencies(shape[1])
    radius = np.hypot(rows, columns)
    without_corners = 1 / (1 + (radius / 0.45) ** 30)
    radius[0, 0] = 1  # the mean is taken out below
    centres = 1 / (_SHORTEST * _FACTOR ** np.arange(_SCALES))[:, None, None]
    filters = np.exp(-(np.log(radius / centres) ** 2) / (2 * np.log(_ALONG) ** 2)) * without_corners
    filters[:, 0, 0] = 0
    return np.asarray(filters)


def _angular_filters(shape: tuple[int, ...]) -> list[Floats]:
    """Normal distributions about the angle of each orientation."""
    rows, columns = _frequencies(shape[0])[:, None], _frequencies(shape[1])
    angle = np.arctan2(-rows, columns)
    width = np.pi / _ORIENTATIONS / _ACROSS
    centres = np.pi * np.arange(_ORIENTATIONS) / _ORIENTATIONS
    return [np.exp(-(np.angle(np.exp(1j * (angle - centre))) ** 2) / (2 * width**2)) for centre in centres]


# --- gradients and similarity ---


def _gradient(image: Floats) -> Floats:
    from scipy.ndimage import convolve

    across, down = (convolve(image, kernel, mode="constant") for kernel in (_SCHARR, _SCHARR.T))
    return np.asarray(np.hypot(across, down))


def _similar(first: Floats, second: Floats, constant: float) -> Floats:
    return np.asarray((2 * first * second + constant) / (first**2 + second**2 + constant))


def _thin(image: Floats) -> Floats:
    """Average over squares and take every n-th pixel, for images of about 1.5 times 256 px and more."""
    step = max(1, int(min(image.shape) / _VIEWED + 0.5))  # a half is rounded up
    before = (step - 1) // 2
    padded = np.pad(image, (before, step - 1 - before))
    return np.asarray(sliding_window_view(padded, (step, step))[::step, ::step].mean(axis=(2, 3)))


def _check(first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != two.shape or one.ndim != 2 or min(one.shape) < 16:
        raise InputError("fsim", "images must both be [H, W] of at least 16 px", f"{one.shape} and {two.shape}")
    if not all(image.min() >= 0 and image.max() <= 1 for image in (one, two)):  # false for NaN too
        raise InputError("fsim", "grey values must be in [0, 1]", f"{one.min()} to {two.max()}")
    return one * 255, two * 255
