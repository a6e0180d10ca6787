"""One loaded image as a pack would hold it: what a classifier sees where images come one by one, without a manifest."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Final

import numpy as np
import torch
from monai.config import KeysCollection, NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import MetaKeys, TransformBackends, convert_to_dst_type, convert_to_numpy
from numpy.typing import NDArray

from monai_cxraug.data.pack import channels_first, quantise, to_unit
from monai_cxraug.data.resampling import Fit, fit_square
from monai_cxraug.errors import ConfigError, InputError, nearest
from monai_cxraug.transforms.functional.contrast import CONTRASTS, change_contrast

#: bits in which images are packed that ``cxraug predict`` is asked about; the same here, for the same probabilities.
_DEPTH: Final = {2: 16, 3: 8}  # by the axes of a picture: grey, colour


def round_as_packed(square: NDArray[np.float32], contrast: str | None) -> torch.Tensor:
    """Round a fitted image as a pack does, and change its contrast.

    Args:
        square: ``[H, W]`` or ``[H, W, 3]`` in [0, 1].
        contrast: a key of :data:`~monai_cxraug.transforms.functional.contrast.CONTRASTS`, or None.

    Returns:
        float32 ``[1, H, W]`` or ``[3, H, W]`` in [0, 1].
    """
    rounded = to_unit(quantise(square[None], _DEPTH[square.ndim]))
    packed = torch.from_numpy(np.ascontiguousarray(channels_first(rounded)[0]))
    return packed if contrast is None else change_contrast(packed, contrast)


class AsPacked(Transform):
    """Fit an image into a square by area, round it as a pack does, and change its contrast as the model's images were.

    Args:
        size: side of the square in pixels.
        contrast: change of contrast; a key of :data:`~monai_cxraug.transforms.functional.contrast.CONTRASTS`, or None.
        fit: ``"pad"``, ``"squash"`` or ``"crop"``, as ``cxraug prepare`` knows them.
        channels: of the model: 1 grey, 3 red, green and blue, all equal where the image is grey.

    Raises:
        ConfigError: the change of contrast is unknown.
    """

    backend = [TransformBackends.NUMPY]  # noqa: RUF012 - MONAI's own way to declare it

    def __init__(self, size: int, contrast: str | None = None, fit: Fit = "pad", channels: int = 1) -> None:
        if contrast is not None and contrast not in CONTRASTS:
            hint = nearest(str(contrast), CONTRASTS)
            raise ConfigError("contrast", "unknown change of contrast", repr(contrast), hint)
        self.size, self.contrast, self.fit, self.channels = size, contrast, fit, channels

    def __call__(self, image: NdarrayOrTensor) -> NdarrayOrTensor:
        """Fit one image.

        Args:
            image: ``[H, W]``, or ``[H, W, 3]`` for a model of 3 channels, in [0, 1], row 0 at the top; pixels are as
                high and wide as its affine matrix says.

        Returns:
            The same kind of array, float32 ``[channels, size, size]`` in [0, 1].

        Raises:
            InputError: another shape.
        """
        pixels = convert_to_numpy(image).astype("float32")
        if pixels.ndim == 2 and self.channels == 3:
            pixels = np.repeat(pixels[:, :, None], 3, axis=2)
        if pixels.ndim < 2 or pixels.shape[2:] != (() if self.channels == 1 else (3,)):
            rule = "must be one grey picture [H, W]" + (" or one in colour [H, W, 3]" if self.channels == 3 else "")
            raise InputError("image", rule, list(pixels.shape), "give one image at a time")
        square = fit_square(pixels, self.size, self.fit, _aspect(image))
        changed = round_as_packed(square, self.contrast)
        result: NdarrayOrTensor = convert_to_dst_type(changed, image, dtype=changed.dtype)[0]
        return result


class AsPackedd(MapTransform):
    """Dictionary version of :class:`AsPacked`.

    Args:
        keys: images.
        size: see :class:`AsPacked`.
        contrast: likewise.
        fit: likewise.
        allow_missing_keys: whether an absent key is no error.
        channels: see :class:`AsPacked`.
    """

    backend = AsPacked.backend

    def __init__(
        self,
        keys: KeysCollection,
        size: int,
        contrast: str | None = None,
        fit: Fit = "pad",
        allow_missing_keys: bool = False,
        channels: int = 1,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.packed = AsPacked(size, contrast, fit, channels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Fit the images of a sample."""
        sample = dict(data)
        for key in self.key_iterator(sample):
            sample[key] = self.packed(sample[key])
        return sample


def _aspect(image: NdarrayOrTensor) -> float:
    """Height of a pixel over its width, from the affine matrix that our reader gives an image."""
    affine = image.meta.get(MetaKeys.AFFINE) if isinstance(image, MetaTensor) else None
    return 1.0 if affine is None else abs(float(affine[0, 0]) / float(affine[1, 1]))
