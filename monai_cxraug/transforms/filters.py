"""The filters of :mod:`~monai_cxraug.transforms.functional.filters` as transforms."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

from monai.config import KeysCollection, NdarrayOrTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor

from monai_cxraug.transforms.functional.filters import FILTERS


class _RadiographFilter(Transform):
    backend = [TransformBackends.TORCH]  # noqa: RUF012 - MONAI's own way to declare it
    name: ClassVar[str]

    def __call__(self, image: NdarrayOrTensor) -> NdarrayOrTensor:
        """Filter one image, or a batch.

        Args:
            image: floating point ``[..., H, W]`` in [0, 1]; an array, a tensor or a ``MetaTensor``.

        Returns:
            The same kind, shape and type, metadata kept.

        Raises:
            InputError: another type, or an image too small for the filter.
        """
        filtered = FILTERS[self.name](convert_to_tensor(image, track_meta=False))
        result: NdarrayOrTensor = convert_to_dst_type(filtered, image)[0]
        return result


class _RadiographFilterd(MapTransform):
    backend = _RadiographFilter.backend
    filter: ClassVar[type[_RadiographFilter]]

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = self.filter()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Filter the images of a sample."""
        sample = dict(data)
        for key in self.key_iterator(sample):
            sample[key] = self.transform(sample[key])
        return sample


class RadiographBlur(_RadiographFilter):
    """Gaussian blur, 5 × 5 and sigma 1.1; see :func:`~monai_cxraug.transforms.functional.filters.gaussian_blur`."""

    name = "gaussian"


class RadiographUnsharpMask(_RadiographFilter):
    """Unsharp masking with sigma 2; see :func:`~monai_cxraug.transforms.functional.filters.unsharp_mask`."""

    name = "unsharp"


class RadiographMinimum(_RadiographFilter):
    """3 × 3 minimum; see :func:`~monai_cxraug.transforms.functional.filters.minimum_filter`."""

    name = "minimum"


class RadiographBlurd(_RadiographFilterd):
    """Dictionary version of :class:`RadiographBlur`.

    Args:
        keys: images.
        allow_missing_keys: whether an absent key is no error.
    """

    filter = RadiographBlur


class RadiographUnsharpMaskd(_RadiographFilterd):
    """Dictionary version of :class:`RadiographUnsharpMask`.

    Args:
        keys: images.
        allow_missing_keys: whether an absent key is no error.
    """

    filter = RadiographUnsharpMask


class RadiographMinimumd(_RadiographFilterd):
    """Dictionary version of :class:`RadiographMinimum`.

    Args:
        keys: images.
        allow_missing_keys: whether an absent key is no error.
    """

    filter = RadiographMinimum
