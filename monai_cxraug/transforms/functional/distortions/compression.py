"""Lossy compression and decompression in memory, by Pillow, of 8-bit pictures.

Floating-point images are rounded to the nearest of 256 levels first. Each channel is coded as a grey picture of its own
unless ``colour`` says that three channels are one RGB picture. Coding runs on the CPU and has no gradient.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from monai_cxraug.errors import ConfigError
from monai_cxraug.transforms.functional.distortions.draws import leave, require_colour, require_within
from monai_cxraug.transforms.functional.filters import require_images
from monai_cxraug.transforms.functional.levels import to_levels

#: what OpenJPEG divides an image into when nothing is said.
_RESOLUTIONS: Final = 6
_Eight = NDArray[np.uint8]


def jpeg(images: Tensor, quality: float = 30, colour: bool = False) -> Tensor:
    """Compress by JPEG (Recommendation ITU-T T.81, baseline) and decompress.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``.
        quality: whole number from 1 to 100, as libjpeg scales its tables; no quality leaves all images as they are.
        colour: code ``[..., 3, H, W]`` as RGB, chroma at half of the resolution.

    Returns:
        The same shape, type and device, of 256 levels in [0, 1].

    Raises:
        ConfigError: the quality is out of range.
        InputError: another type, or not three channels.
    """
    require_within("jpeg(quality)", quality, 1, 100)
    if quality != int(quality):
        raise ConfigError("jpeg(quality)", "must be a whole number", quality, f"use {quality:.0f}")
    return _code(images, colour, partial(encode, coding="JPEG", quality=int(quality), subsampling="4:2:0"))


def jpeg2000(images: Tensor, ratio: float = 10.0, colour: bool = False) -> Tensor:
    """Compress by JPEG 2000 (Recommendation ITU-T T.800, the irreversible 9-7 wavelet) and decompress.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``.
        ratio: bytes of the picture over bytes of the code, from 1, which changes nothing. A code's headers alone take
            some hundred bytes, so that 64 × 64 pixels come to a ratio of about 20 at most.
        colour: code ``[..., 3, H, W]`` as RGB.

    Returns:
        The same shape, type and device, of 256 levels in [0, 1].

    Raises:
        ConfigError: the ratio is below 1.
        InputError: another type, or not three channels.
    """
    require_within("jpeg2000(ratio)", ratio, 1)
    if ratio == 1:
        return leave(images)
    options = {"quality_mode": "rates", "quality_layers": [float(ratio)], "irreversible": True, "no_jp2": True}
    return _code(images, colour, lambda picture: encode(picture, "JPEG2000", **options, **_divide(picture)))


def _divide(picture: _Eight) -> dict[str, int]:
    """As many resolutions as a small picture can be halved to."""
    return {"num_resolutions": min(_RESOLUTIONS, 1 + int(math.log2(min(picture.shape[:2]))))}


def encode(picture: _Eight, coding: str, **options: Any) -> bytes:
    """Compress one picture.

    Args:
        picture: ``[H, W]`` grey or ``[H, W, 3]`` RGB.
        coding: Pillow's name of the format.
        options: Pillow's, of the format.

    Returns:
        The code.
    """
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format=coding, **options)
    return stream.getvalue()


def _code(images: Tensor, colour: bool, encoder: Callable[[_Eight], bytes]) -> Tensor:
    require_colour(images) if colour else require_images(images)
    levels = (images if images.dtype == torch.uint8 else to_levels(images.detach().float())).cpu()
    axes = 3 if colour else 2
    pictures = levels.reshape(-1, *levels.shape[-axes:]).numpy()
    decoded = np.empty_like(pictures)
    for place, picture in enumerate(pictures):
        found = _decode(encoder(np.ascontiguousarray(np.moveaxis(picture, 0, -1) if colour else picture)))
        decoded[place] = np.moveaxis(found, -1, 0) if colour else found
    result = torch.from_numpy(decoded).reshape(images.shape).to(images.device)
    return result if images.dtype == torch.uint8 else (result.double() / 255).to(images.dtype)


def _decode(code: bytes) -> _Eight:
    with Image.open(io.BytesIO(code)) as picture:
        return np.asarray(picture)
