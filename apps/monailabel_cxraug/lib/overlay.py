"""Pictures of a map on the grid of the radiograph as it was stored, so that a viewer can lay one over the other."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import interpolate

from monai_cxraug.data.readers import Radiograph
from monai_cxraug.data.resampling import inner_size
from monai_cxraug.handlers.activation_maps import tint

#: ``overlay``: the radiograph under its map, in colour; ``map``: the map alone, grey; ``none``: no picture.
Picture = Literal["overlay", "map", "none"]
PICTURES: Final[tuple[Picture, ...]] = ("overlay", "map", "none")


def place_back(heat: NDArray[np.float32], shape: tuple[int, ...], aspect: float = 1.0) -> NDArray[np.float32]:
    """Undo what the reader did to fit a radiograph into a square: cut the black margins off, then enlarge.

    Args:
        heat: ``[size, size]``, on the padded square that the network saw.
        shape: rows and columns of the radiograph.
        aspect: height of one of its pixels over its width.

    Returns:
        ``[rows, columns]``, interpolated linearly.
    """
    size = len(heat)
    height, width = inner_size(shape, size, "pad", aspect)
    top, left = (size - height) // 2, (size - width) // 2
    inner = torch.from_numpy(np.ascontiguousarray(heat[top : top + height, left : left + width]))
    placed: NDArray[np.float32] = interpolate(inner[None, None], size=shape[:2], mode="bilinear")[0, 0].numpy()
    return placed


def draw(radiograph: Radiograph, heat: NDArray[np.float32], picture: Picture) -> Image.Image:
    """Draw a map.

    Args:
        radiograph: that it is of.
        heat: ``[size, size]`` in [0, 1], on the square that the network saw.
        picture: ``overlay`` or ``map``.

    Returns:
        Picture with the rows and columns of the radiograph: RGB, or 8-bit grey.
    """
    placed = place_back(heat, radiograph.stored.shape, radiograph.aspect)
    if picture == "map":
        return Image.fromarray(np.rint(np.clip(placed, 0, 1) * 255).astype(np.uint8))
    return Image.fromarray(tint(radiograph.pixels[None], placed))
