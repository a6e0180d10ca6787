"""Noise as transforms, array and dictionary:
:mod:`~monai_cxraug.transforms.functional.distortions.noise`.

Settings are those of the functions; nothing is drawn but by their seeds.
"""

from __future__ import annotations

from monai_cxraug.transforms.functional.distortions import noise
from monai_cxraug.transforms.pairs import ImageTransform, ImageTransformd


class DistortUniformNoise(ImageTransform, function=noise.uniform_noise):
    """Uniform white noise: :func:`~monai_cxraug.transforms.functional.distortions.noise.uniform_noise`."""


class DistortUniformNoised(ImageTransformd, array=DistortUniformNoise):
    """Dictionary version of :class:`DistortUniformNoise`."""


class DistortGaussianNoise(ImageTransform, function=noise.gaussian_noise):
    """Gaussian white noise: :func:`~monai_cxraug.transforms.functional.distortions.noise.gaussian_noise`."""


class DistortGaussianNoised(ImageTransformd, array=DistortGaussianNoise):
    """Dictionary version of :class:`DistortGaussianNoise`."""


class DistortColouredNoise(ImageTransform, function=noise.coloured_noise):
    """Noise of any spectral slope: :func:`~monai_cxraug.transforms.functional.distortions.noise.coloured_noise`."""


class DistortColouredNoised(ImageTransformd, array=DistortColouredNoise):
    """Dictionary version of :class:`DistortColouredNoise`."""


class DistortPinkNoise(ImageTransform, function=noise.pink_noise):
    """Pink noise: :func:`~monai_cxraug.transforms.functional.distortions.noise.pink_noise`."""


class DistortPinkNoised(ImageTransformd, array=DistortPinkNoise):
    """Dictionary version of :class:`DistortPinkNoise`."""


class DistortBlueNoise(ImageTransform, function=noise.blue_noise):
    """Blue noise: :func:`~monai_cxraug.transforms.functional.distortions.noise.blue_noise`."""


class DistortBlueNoised(ImageTransformd, array=DistortBlueNoise):
    """Dictionary version of :class:`DistortBlueNoise`."""


class DistortPoissonNoise(ImageTransform, function=noise.poisson_noise):
    """Counted photons: :func:`~monai_cxraug.transforms.functional.distortions.noise.poisson_noise`."""


class DistortPoissonNoised(ImageTransformd, array=DistortPoissonNoise):
    """Dictionary version of :class:`DistortPoissonNoise`."""


class DistortCheckerboard(ImageTransform, function=noise.checkerboard):
    """The mark of a transposed convolution:
    :func:`~monai_cxraug.transforms.functional.distortions.noise.checkerboard`.
    """


class DistortCheckerboardd(ImageTransformd, array=DistortCheckerboard):
    """Dictionary version of :class:`DistortCheckerboard`."""
