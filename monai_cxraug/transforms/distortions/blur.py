"""Blur as transforms, array and dictionary:
:mod:`~monai_cxraug.transforms.functional.distortions.blur`.

Settings are those of the functions; nothing is drawn but by their seeds.
"""

from __future__ import annotations

from monai_cxraug.transforms.functional.distortions import blur
from monai_cxraug.transforms.pairs import ImageTransform, ImageTransformd


class DistortGaussianBlur(ImageTransform, function=blur.gaussian_blur):
    """Gaussian blur: :func:`~monai_cxraug.transforms.functional.distortions.blur.gaussian_blur`."""


class DistortGaussianBlurd(ImageTransformd, array=DistortGaussianBlur):
    """Dictionary version of :class:`DistortGaussianBlur`."""


class DistortBilateralBlur(ImageTransform, function=blur.bilateral_blur):
    """Smoothing that keeps edges: :func:`~monai_cxraug.transforms.functional.distortions.blur.bilateral_blur`."""


class DistortBilateralBlurd(ImageTransformd, array=DistortBilateralBlur):
    """Dictionary version of :class:`DistortBilateralBlur`."""


class DistortMotionBlur(ImageTransform, function=blur.motion_blur):
    """Blur along a line: :func:`~monai_cxraug.transforms.functional.distortions.blur.motion_blur`."""


class DistortMotionBlurd(ImageTransformd, array=DistortMotionBlur):
    """Dictionary version of :class:`DistortMotionBlur`."""
