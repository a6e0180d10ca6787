"""The geometric augmentation of system D: turns, shifts, shear, and cropping or padding."""

from __future__ import annotations

import numpy as np
import torch
from monai.config import NdarrayOrTensor
from monai.transforms import RandomizableTransform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor
from numpy.typing import NDArray
from torch import Tensor

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.transforms.functional.geometry import affine
from monai_cxraug.transforms.pairs import RandImageTransformd


class RandRadiographGeometry(RandomizableTransform):
    """Turns, shears, shifts, and crops or pads an image at random, in one bilinear resampling.

    First the image is sheared along x, turned about its centre and shifted; then each of its four sides is cropped or
    padded by itself and the rest is brought back to the old size. All draws are uniform; what was outside is black. The
    defaults are system D's. Each image of a batch ``[N, C, H, W]`` has draws of its own; that is how it runs on a
    device.

    Args:
        prob: probability of being applied, to each image by itself.
        rotation: largest turn in degrees, both ways.
        vertical_shift: largest shift as a part of the height, both ways.
        horizontal_shift: largest shift as a part of the width, both ways.
        shear: largest angle of the shear in degrees, both ways.
        crop_and_pad: largest part of the width or height that is cropped or added at a side; below 0.5.

    Raises:
        ConfigError: a setting is out of range.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - MONAI's own way to declare it

    def __init__(
        self,
        prob: float = 1.0,
        rotation: float = 45.0,
        vertical_shift: float = 0.2,
        horizontal_shift: float = 0.15,
        shear: float = 16.0,
        crop_and_pad: float = 0.25,
    ) -> None:
        super().__init__(prob)
        limits = {
            "rotation": 180.0,
            "vertical_shift": 1.0,
            "horizontal_shift": 1.0,
            "shear": 60.0,
            "crop_and_pad": 0.49,
        }
        values = (rotation, vertical_shift, horizontal_shift, shear, crop_and_pad)
        for (name, most), value in zip(limits.items(), values, strict=True):
            if not 0 <= value <= most:
                raise ConfigError(f"RandRadiographGeometry({name})", f"must be in [0, {most:g}]", value, "0 is off")
        #: largest values of turn, shear, shift (x, y) and the four sides (left, right, top, bottom).
        self.most = np.array([np.deg2rad(rotation), np.deg2rad(shear), horizontal_shift, vertical_shift])
        self.most = np.append(self.most, np.full(4, crop_and_pad))
        self.drawn = np.zeros((0, 8))

    def randomize(self, data: int = 1) -> None:
        """Draw for so many images."""
        self._do_transform = True
        draws = self.R.uniform(-1, 1, (data, 8)) * self.most
        draws[self.R.random_sample(data) >= self.prob] = 0
        self.drawn = draws

    def __call__(self, image: NdarrayOrTensor, randomize: bool = True) -> NdarrayOrTensor:
        """Change an image, or each of a batch.

        Args:
            image: floating point in [0, 1] or uint8, ``[C, H, W]`` or ``[N, C, H, W]``; array, tensor, ``MetaTensor``.
            randomize: draw; else as drawn last.

        Returns:
            The same kind, shape and type.

        Raises:
            InputError: another type or shape.
        """
        tensor = convert_to_tensor(image, track_meta=False)
        if tensor.ndim not in (3, 4):
            raise InputError("image", "must be [C, H, W] or [N, C, H, W]", list(tensor.shape))
        batch = tensor[None] if tensor.ndim == 3 else tensor
        if randomize:
            self.randomize(len(batch))
        changed = self._apply(batch)
        result: NdarrayOrTensor = convert_to_dst_type(changed[0] if tensor.ndim == 3 else changed, image)[0]
        return result

    def _apply(self, images: Tensor) -> Tensor:
        moved = (self.drawn != 0).any(axis=1)
        if not moved.any():
            return images
        changed = affine(images, torch.from_numpy(place_matrices(self.drawn, *images.shape[-2:])))
        kept = torch.from_numpy(moved).to(images.device)[:, None, None, None]
        return torch.where(kept, changed, images)  # resampling would round what does not move


class RandRadiographGeometryd(RandImageTransformd, array=RandRadiographGeometry):
    """Dictionary version of :class:`RandRadiographGeometry`, for images ``[C, H, W]``: one draw for all of a sample."""


def place_matrices(drawn: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Where each pixel of a changed image is taken from.

    Args:
        drawn: ``[N, 8]``: turn (radians, clockwise), shear (radians), shift to the right and down (parts of the side),
            and parts of the side that are added left, right, at the top and at the bottom (cropped where negative).
        height: of the images in pixels.
        width: of the images in pixels.

    Returns:
        ``[N, 2, 3]``, as :func:`~monai_cxraug.transforms.functional.geometry.affine` takes them.
    """
    turn, shear, right, down, *sides = drawn.T
    before = np.stack([sides[0] * width, sides[2] * height], axis=1)
    after = np.stack([sides[1] * width, sides[3] * height], axis=1)
    size = np.array([width, height])
    # the window that is left after cropping and padding, seen from the centre before
    scale = (size + before + after) / size  # [N, 2]
    centre = (after - before) / 2 - np.stack([right * width, down * height], axis=1)
    rotation = np.stack([np.cos(turn), np.sin(turn), -np.sin(turn), np.cos(turn)], axis=1).reshape(-1, 2, 2)
    shearing = np.zeros_like(rotation)
    shearing[:, 0, 0] = shearing[:, 1, 1] = 1
    shearing[:, 0, 1] = -np.tan(shear)
    back = shearing @ rotation  # of shearing first and turning then, undone
    return np.concatenate([back * scale[:, None, :], back @ centre[:, :, None]], axis=2)
