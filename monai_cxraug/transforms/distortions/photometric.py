"""Distortions of brightness and colour as transforms, array and dictionary:
:mod:`~monai_cxraug.transforms.functional.distortions.photometric`.

Settings are those of the functions; nothing is drawn but by their seeds.
"""

from __future__ import annotations

from monai_cxraug.transforms.functional.distortions import photometric
from monai_cxraug.transforms.pairs import ImageTransform, ImageTransformd


class DistortLightness(ImageTransform, function=photometric.lightness):
    """Lighter or darker: :func:`~monai_cxraug.transforms.functional.distortions.photometric.lightness`."""


class DistortLightnessd(ImageTransformd, array=DistortLightness):
    """Dictionary version of :class:`DistortLightness`."""


class DistortContrast(ImageTransform, function=photometric.contrast):
    """Grey levels spread about the mean:
    :func:`~monai_cxraug.transforms.functional.distortions.photometric.contrast`.
    """


class DistortContrastd(ImageTransformd, array=DistortContrast):
    """Dictionary version of :class:`DistortContrast`."""


class DistortGamma(ImageTransform, function=photometric.gamma):
    """A power of the grey levels: :func:`~monai_cxraug.transforms.functional.distortions.photometric.gamma`."""


class DistortGammad(ImageTransformd, array=DistortGamma):
    """Dictionary version of :class:`DistortGamma`."""


class DistortColourShift(ImageTransform, function=photometric.colour_shift):
    """One colour added to all of an RGB image:
    :func:`~monai_cxraug.transforms.functional.distortions.photometric.colour_shift`.
    """


class DistortColourShiftd(ImageTransformd, array=DistortColourShift):
    """Dictionary version of :class:`DistortColourShift`."""


class DistortSaturation(ImageTransform, function=photometric.saturation):
    """Stronger or weaker colours of an RGB image:
    :func:`~monai_cxraug.transforms.functional.distortions.photometric.saturation`.
    """


class DistortSaturationd(ImageTransformd, array=DistortSaturation):
    """Dictionary version of :class:`DistortSaturation`."""
