"""Lossy compression as transforms, array and dictionary:
:mod:`~monai_cxraug.transforms.functional.distortions.compression`.

Settings are those of the functions; nothing is drawn but by their seeds.
"""

from __future__ import annotations

from monai_cxraug.transforms.functional.distortions import compression
from monai_cxraug.transforms.pairs import ImageTransform, ImageTransformd


class DistortJpeg(ImageTransform, function=compression.jpeg):
    """JPEG: :func:`~monai_cxraug.transforms.functional.distortions.compression.jpeg`."""


class DistortJpegd(ImageTransformd, array=DistortJpeg):
    """Dictionary version of :class:`DistortJpeg`."""


class DistortJpeg2000(ImageTransform, function=compression.jpeg2000):
    """JPEG 2000: :func:`~monai_cxraug.transforms.functional.distortions.compression.jpeg2000`."""


class DistortJpeg2000d(ImageTransformd, array=DistortJpeg2000):
    """Dictionary version of :class:`DistortJpeg2000`."""
