"""Changes of contrast as transforms, array, dictionary and random: :mod:`~monai_cxraug.transforms.functional.contrast`.

Settings are those of the functions. The random versions draw a setting that is given as a pair ``(low, high)``. Each
channel is changed by itself; to keep the hues of pictures in colour, use
:func:`~monai_cxraug.transforms.functional.contrast.change_contrast`, as data sets do.
"""

from __future__ import annotations

from monai_cxraug.transforms.functional import contrast
from monai_cxraug.transforms.pairs import ImageTransform, ImageTransformd, RandImageTransform, RandImageTransformd


class RadiographStretch(ImageTransform, function=contrast.stretch):
    """Linear stretch between percentiles: :func:`~monai_cxraug.transforms.functional.contrast.stretch`."""


class RadiographStretchd(ImageTransformd, array=RadiographStretch):
    """Dictionary version of :class:`RadiographStretch`."""


class RandRadiographStretch(RandImageTransform, array=RadiographStretch):
    """Random version of :class:`RadiographStretch`."""


class RandRadiographStretchd(RandImageTransformd, array=RandRadiographStretch):
    """Dictionary version of :class:`RandRadiographStretch`."""


class RadiographGamma(ImageTransform, function=contrast.gamma):
    """Gamma: :func:`~monai_cxraug.transforms.functional.contrast.gamma`."""


class RadiographGammad(ImageTransformd, array=RadiographGamma):
    """Dictionary version of :class:`RadiographGamma`."""


class RandRadiographGamma(RandImageTransform, array=RadiographGamma, exponent=(0.7, 1.4)):
    """Random version of :class:`RadiographGamma`."""


class RandRadiographGammad(RandImageTransformd, array=RandRadiographGamma):
    """Dictionary version of :class:`RandRadiographGamma`."""


class RadiographEqualise(ImageTransform, function=contrast.equalise):
    """Histogram equalisation: :func:`~monai_cxraug.transforms.functional.contrast.equalise`."""


class RadiographEqualised(ImageTransformd, array=RadiographEqualise):
    """Dictionary version of :class:`RadiographEqualise`."""


class RandRadiographEqualise(RandImageTransform, array=RadiographEqualise):
    """Random version of :class:`RadiographEqualise`."""


class RandRadiographEqualised(RandImageTransformd, array=RandRadiographEqualise):
    """Dictionary version of :class:`RandRadiographEqualise`."""


class RadiographClahe(ImageTransform, function=contrast.clahe):
    """Contrast-limited adaptive histogram equalisation: :func:`~monai_cxraug.transforms.functional.contrast.clahe`."""


class RadiographClahed(ImageTransformd, array=RadiographClahe):
    """Dictionary version of :class:`RadiographClahe`."""


class RandRadiographClahe(RandImageTransform, array=RadiographClahe, clip=(1.0, 4.0)):
    """Random version of :class:`RadiographClahe`."""


class RandRadiographClahed(RandImageTransformd, array=RandRadiographClahe):
    """Dictionary version of :class:`RandRadiographClahe`."""


class RadiographMatch(ImageTransform, function=contrast.match):
    """Histogram matching with a reference: :func:`~monai_cxraug.transforms.functional.contrast.match`."""


class RadiographMatchd(ImageTransformd, array=RadiographMatch):
    """Dictionary version of :class:`RadiographMatch`."""


class RandRadiographMatch(RandImageTransform, array=RadiographMatch):
    """Random version of :class:`RadiographMatch`."""


class RandRadiographMatchd(RandImageTransformd, array=RandRadiographMatch):
    """Dictionary version of :class:`RandRadiographMatch`."""
