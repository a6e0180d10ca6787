"""Distortions of place as transforms, array and dictionary:
:mod:`~monai_cxraug.transforms.functional.distortions.spatial`.

Settings are those of the functions; nothing is drawn but by their seeds.
"""

from __future__ import annotations

from monai_cxraug.transforms.functional.distortions import spatial
from monai_cxraug.transforms.pairs import ImageTransform, ImageTransformd


class DistortShift(ImageTransform, function=spatial.shift):
    """Shift: :func:`~monai_cxraug.transforms.functional.distortions.spatial.shift`."""


class DistortShiftd(ImageTransformd, array=DistortShift):
    """Dictionary version of :class:`DistortShift`."""


class DistortAffineWarp(ImageTransform, function=spatial.affine_warp):
    """Turn, stretch and shear: :func:`~monai_cxraug.transforms.functional.distortions.spatial.affine_warp`."""


class DistortAffineWarpd(ImageTransformd, array=DistortAffineWarp):
    """Dictionary version of :class:`DistortAffineWarp`."""


class DistortHomography(ImageTransform, function=spatial.homography):
    """Another point of view: :func:`~monai_cxraug.transforms.functional.distortions.spatial.homography`."""


class DistortHomographyd(ImageTransformd, array=DistortHomography):
    """Dictionary version of :class:`DistortHomography`."""


class DistortLinearWarp(ImageTransform, function=spatial.linear_warp):
    """Warp by a field that is linear between nodes:
    :func:`~monai_cxraug.transforms.functional.distortions.spatial.linear_warp`.
    """


class DistortLinearWarpd(ImageTransformd, array=DistortLinearWarp):
    """Dictionary version of :class:`DistortLinearWarp`."""


class DistortCubicWarp(ImageTransform, function=spatial.cubic_warp):
    """Warp by a smooth field: :func:`~monai_cxraug.transforms.functional.distortions.spatial.cubic_warp`."""


class DistortCubicWarpd(ImageTransformd, array=DistortCubicWarp):
    """Dictionary version of :class:`DistortCubicWarp`."""


class DistortGhosting(ImageTransform, function=spatial.ghosting):
    """A shifted copy laid over the picture:
    :func:`~monai_cxraug.transforms.functional.distortions.spatial.ghosting`.
    """


class DistortGhostingd(ImageTransformd, array=DistortGhosting):
    """Dictionary version of :class:`DistortGhosting`."""


class DistortChromaticAberration(ImageTransform, function=spatial.chromatic_aberration):
    """Red magnified and blue shrunk, of an RGB image:
    :func:`~monai_cxraug.transforms.functional.distortions.spatial.chromatic_aberration`.
    """


class DistortChromaticAberrationd(ImageTransformd, array=DistortChromaticAberration):
    """Dictionary version of :class:`DistortChromaticAberration`."""
