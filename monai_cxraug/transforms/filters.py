"""The filters of :mod:`~monai_cxraug.transforms.functional.filters` as transforms: array, dictionary and random.

Settings are those of the functions. The random versions draw a setting that is given as a pair ``(low, high)``.
"""

from __future__ import annotations

from monai_cxraug.transforms.functional import filters
from monai_cxraug.transforms.pairs import ImageTransform, ImageTransformd, RandImageTransform, RandImageTransformd


class RadiographBlur(ImageTransform, function=filters.gaussian_blur):
    """Gaussian blur: :func:`~monai_cxraug.transforms.functional.filters.gaussian_blur`."""


class RadiographBlurd(ImageTransformd, array=RadiographBlur):
    """Dictionary version of :class:`RadiographBlur`."""


class RandRadiographBlur(RandImageTransform, array=RadiographBlur, sigma=(0.5, 1.5)):
    """Random version of :class:`RadiographBlur`."""


class RandRadiographBlurd(RandImageTransformd, array=RandRadiographBlur):
    """Dictionary version of :class:`RandRadiographBlur`."""


class RadiographUnsharpMask(ImageTransform, function=filters.unsharp_mask):
    """Unsharp masking: :func:`~monai_cxraug.transforms.functional.filters.unsharp_mask`."""


class RadiographUnsharpMaskd(ImageTransformd, array=RadiographUnsharpMask):
    """Dictionary version of :class:`RadiographUnsharpMask`."""


class RandRadiographUnsharpMask(RandImageTransform, array=RadiographUnsharpMask, sigma=(1.0, 3.0)):
    """Random version of :class:`RadiographUnsharpMask`."""


class RandRadiographUnsharpMaskd(RandImageTransformd, array=RandRadiographUnsharpMask):
    """Dictionary version of :class:`RandRadiographUnsharpMask`."""


class RadiographMinimum(ImageTransform, function=filters.minimum_filter):
    """Darkest of a square: :func:`~monai_cxraug.transforms.functional.filters.minimum_filter`."""


class RadiographMinimumd(ImageTransformd, array=RadiographMinimum):
    """Dictionary version of :class:`RadiographMinimum`."""


class RandRadiographMinimum(RandImageTransform, array=RadiographMinimum):
    """Random version of :class:`RadiographMinimum`."""


class RandRadiographMinimumd(RandImageTransformd, array=RandRadiographMinimum):
    """Dictionary version of :class:`RandRadiographMinimum`."""


class RadiographMaximum(ImageTransform, function=filters.maximum_filter):
    """Brightest of a square: :func:`~monai_cxraug.transforms.functional.filters.maximum_filter`."""


class RadiographMaximumd(ImageTransformd, array=RadiographMaximum):
    """Dictionary version of :class:`RadiographMaximum`."""


class RandRadiographMaximum(RandImageTransform, array=RadiographMaximum):
    """Random version of :class:`RadiographMaximum`."""


class RandRadiographMaximumd(RandImageTransformd, array=RandRadiographMaximum):
    """Dictionary version of :class:`RandRadiographMaximum`."""


class RadiographMedian(ImageTransform, function=filters.median_filter):
    """Median of a square: :func:`~monai_cxraug.transforms.functional.filters.median_filter`."""


class RadiographMediand(ImageTransformd, array=RadiographMedian):
    """Dictionary version of :class:`RadiographMedian`."""


class RandRadiographMedian(RandImageTransform, array=RadiographMedian):
    """Random version of :class:`RadiographMedian`."""


class RandRadiographMediand(RandImageTransformd, array=RandRadiographMedian):
    """Dictionary version of :class:`RandRadiographMedian`."""


class RadiographPercentile(ImageTransform, function=filters.percentile_filter):
    """Percentile of a square: :func:`~monai_cxraug.transforms.functional.filters.percentile_filter`."""


class RadiographPercentiled(ImageTransformd, array=RadiographPercentile):
    """Dictionary version of :class:`RadiographPercentile`."""


class RandRadiographPercentile(RandImageTransform, array=RadiographPercentile, percentile=(25.0, 75.0)):
    """Random version of :class:`RadiographPercentile`."""


class RandRadiographPercentiled(RandImageTransformd, array=RandRadiographPercentile):
    """Dictionary version of :class:`RandRadiographPercentile`."""


class RadiographBilateral(ImageTransform, function=filters.bilateral_filter):
    """Smoothing that keeps edges: :func:`~monai_cxraug.transforms.functional.filters.bilateral_filter`."""


class RadiographBilaterald(ImageTransformd, array=RadiographBilateral):
    """Dictionary version of :class:`RadiographBilateral`."""


class RandRadiographBilateral(RandImageTransform, array=RadiographBilateral, sigma_value=(0.05, 0.2)):
    """Random version of :class:`RadiographBilateral`."""


class RandRadiographBilaterald(RandImageTransformd, array=RandRadiographBilateral):
    """Dictionary version of :class:`RandRadiographBilateral`."""
