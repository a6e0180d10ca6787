"""Distortions of place: shift, affine and projective warps, warps by a random field, ghosts, chromatic aberration.

Images are resampled by cubic convolution (Keys 1981, "Cubic convolution interpolation for digital image processing",
with a = -0.75 as OpenCV): bilinear resampling would blur as well, and the blur would be judged with the warp. Borders
are mirrored without repeating the outermost pixel, as everywhere in these transforms, for black corners would give a
warp away.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the customary name)

from monai_cxraug.transforms.functional.distortions.draws import (
    Field,
    choose_direction,
    leave,
    make_generator,
    require_colour,
    require_within,
)
from monai_cxraug.transforms.functional.filters import in_float

#: from a size (height, width): the rows and columns that the pixels of the result are taken from.
Places = Callable[[tuple[int, int]], tuple[Field, Field]]
_Mode = Literal["bilinear", "bicubic"]
#: corners may move by a quarter of the image's shorter side, so that the quadrilateral stays convex.
_CORNER_SHARE: Final = 4


def shift(images: Tensor, distance: float = 2.0, angle: float | None = None, seed: int = 0) -> Tensor:
    """Shift the picture.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``, larger than ``distance``.
        distance: in pixels; 0 changes nothing.
        angle: where the picture goes, in degrees from the right, anticlockwise as a viewer sees it; None draws it.
        seed: of the angle.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        ConfigError: a setting is out of range.
        InputError: another type, or an image too small.
    """
    x, y = choose_direction(angle, make_generator("shift", seed))
    require_within("shift(distance)", distance, 0)
    return _warp(images, distance, math.ceil(distance), lambda size: _moved(size, distance * x, distance * y))


def affine_warp(images: Tensor, amplitude: float = 2.0, seed: int = 0) -> Tensor:
    """Turn, stretch and shear the picture about its centre by a random matrix.

    The four parts of the matrix's difference from the identity are drawn from a normal distribution, and scaled so that
    the corner that moves most moves by ``amplitude``.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``, larger than 4 times the amplitude.
        amplitude: in pixels; 0 changes nothing.
        seed: of the matrix.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        ConfigError: a setting is out of range.
        InputError: another type, or an image too small.
    """
    difference = make_generator("affine_warp", seed).standard_normal((2, 2))
    require_within("affine_warp(amplitude)", amplitude, 0)

    def places(size: tuple[int, int]) -> tuple[Field, Field]:
        moved = (_corners(size) - _centre(size)) @ difference.T
        scale = amplitude / np.linalg.norm(moved, axis=1).max()
        matrix = np.eye(2) + scale * difference
        return _project(size, np.column_stack([matrix, _centre(size) - matrix @ _centre(size)]))

    return _warp(images, amplitude, math.ceil(_CORNER_SHARE * amplitude), places)


def homography(images: Tensor, amplitude: float = 2.0, seed: int = 0) -> Tensor:
    """See the picture from elsewhere: each corner is taken from a place ``amplitude`` away, in a random direction.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``, larger than 4 times the amplitude.
        amplitude: in pixels; 0 changes nothing.
        seed: of the directions.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        ConfigError: a setting is out of range.
        InputError: another type, or an image too small.
    """
    angles = make_generator("homography", seed).uniform(0, 2 * math.pi, 4)
    require_within("homography(amplitude)", amplitude, 0)

    def places(size: tuple[int, int]) -> tuple[Field, Field]:
        corners = _corners(size)
        return _project(
            size, find_homography(corners, corners + amplitude * np.stack([np.cos(angles), np.sin(angles)], 1))
        )

    return _warp(images, amplitude, math.ceil(_CORNER_SHARE * amplitude), places)


def find_homography(start: Field, end: Field) -> Field:
    """The projective map of a plane that takes four points to four others.

    Solves the eight equations of the direct linear transformation (Hartley and Zisserman 2004, "Multiple view geometry
    in computer vision", section 4.1) with the last element set to 1.

    Args:
        start: ``[4, 2]``, points (x, y), no three on a line.
        end: ``[4, 2]``, where they go.

    Returns:
        ``[3, 3]``, whose last element is 1.
    """
    ones, zeros = np.ones((4, 1)), np.zeros((4, 3))
    points = np.hstack([start, ones])
    rows = [np.hstack([points, zeros, -end[:, :1] * start]), np.hstack([zeros, points, -end[:, 1:] * start])]
    return np.append(np.linalg.solve(np.vstack(rows), end.T.ravel()), 1.0).reshape(3, 3)


# --- a random field ---


def linear_warp(images: Tensor, amplitude: float = 2.0, spacing: float = 16.0, seed: int = 0) -> Tensor:
    """Move the picture by a random field that is linear between the nodes of a coarse grid.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``, larger than ``amplitude``.
        amplitude: largest displacement of a node along each axis, in pixels; 0 changes nothing. At most half of the
            spacing, for more would fold the picture.
        spacing: of the nodes, in pixels, to be rounded so that they reach from border to border.
        seed: of the field.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        ConfigError: a setting is out of range.
        InputError: another type, or an image too small.
    """
    return _warp_by_field("linear_warp", images, amplitude, spacing, seed, "bilinear")


def cubic_warp(images: Tensor, amplitude: float = 2.0, spacing: float = 16.0, seed: int = 0) -> Tensor:
    """Move the picture by a random field that is smooth: cubic between the nodes of a coarse grid.

    Arguments, result and errors are those of :func:`linear_warp`; between nodes the field may exceed the amplitude.
    """
    return _warp_by_field("cubic_warp", images, amplitude, spacing, seed, "bicubic")


def _warp_by_field(name: str, images: Tensor, amplitude: float, spacing: float, seed: int, mode: _Mode) -> Tensor:
    rng = make_generator(name, seed)
    require_within(f"{name}(spacing)", spacing, 2)
    require_within(f"{name}(amplitude)", amplitude, 0, spacing / 2)

    def places(size: tuple[int, int]) -> tuple[Field, Field]:
        rows, columns = _moved(size, 0, 0)
        down, right = amplitude * draw_displacement(size, spacing, rng, mode)
        return rows + down, columns + right

    return _warp(images, amplitude, math.ceil(amplitude), places)


def draw_displacement(size: tuple[int, int], spacing: float, rng: np.random.Generator, mode: _Mode) -> Field:
    """Draw displacements of nodes uniformly between -1 and 1, and interpolate between them.

    Args:
        size: (height, width).
        spacing: of the nodes, in pixels.
        rng: what draws.
        mode: ``bilinear``, or ``bicubic``: Keys' cubic convolution with a = -0.75, outermost nodes repeated.

    Returns:
        ``[2, H, W]``: downwards, to the right.
    """
    nodes = [max(2, round((side - 1) / spacing) + 1) for side in size]
    coarse = torch.from_numpy(rng.uniform(-1, 1, (1, 2, *nodes)))
    return np.asarray(F.interpolate(coarse, size, mode=mode, align_corners=True)[0].numpy())


# --- second images ---


def ghosting(
    images: Tensor, opacity: float = 0.2, distance: float = 6.0, angle: float | None = None, seed: int = 0
) -> Tensor:
    """Lay a shifted copy over the picture: ``(1 - opacity) * image + opacity * shifted``, as after a double exposure.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., H, W]``, larger than ``distance``.
        opacity: of the copy, in [0, 1]; 0 changes nothing.
        distance: of the copy, in pixels.
        angle: where the copy lies, in degrees from the right, anticlockwise as a viewer sees it; None draws it.
        seed: of the angle.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        ConfigError: a setting is out of range.
        InputError: another type, or an image too small.
    """
    x, y = choose_direction(angle, make_generator("ghosting", seed))
    require_within("ghosting(opacity)", opacity, 0, 1)
    require_within("ghosting(distance)", distance, 0)

    def blend(unit: Tensor) -> Tensor:
        rows, columns = _moved((unit.shape[-2], unit.shape[-1]), distance * x, distance * y)
        return torch.lerp(unit, resample(unit, rows, columns), opacity)

    return in_float(images, math.ceil(distance), blend) if opacity else leave(images)


def chromatic_aberration(images: Tensor, displacement: float = 1.5) -> Tensor:
    """Magnify red and shrink blue about the centre of an RGB image, as a lens whose focal length depends on colour.

    Lateral chromatic aberration as a warp of each channel (Boult and Wolberg 1992, "Correcting chromatic aberrations
    using image warping"); green stays.

    Args:
        images: floating point in [0, 1] or uint8, ``[..., 3, H, W]``, larger than 4 times the displacement.
        displacement: of red and blue at the corners, in pixels; 0 changes nothing.

    Returns:
        The same shape, type and device, in [0, 1].

    Raises:
        ConfigError: the displacement is out of range.
        InputError: another type or number of channels, or an image too small.
    """
    require_within("chromatic_aberration(displacement)", displacement, 0)
    require_colour(images)
    if not displacement:
        return leave(images)
    return in_float(images, math.ceil(_CORNER_SHARE * displacement), lambda unit: _part_colours(unit, displacement))


def _part_colours(unit: Tensor, displacement: float) -> Tensor:
    size = unit.shape[-2], unit.shape[-1]
    change = displacement / math.hypot(*_centre(size))
    red, green, blue = unit.unbind(-3)
    scaled = [resample(one, *_scaled(size, scale)) for one, scale in ((red, 1 - change), (blue, 1 + change))]
    return torch.stack([scaled[0], green, scaled[1]], -3)


# --- places and values ---


def resample(unit: Tensor, rows: Field, columns: Field) -> Tensor:
    """Take each pixel of the result from a place in the image, by cubic convolution, cut to [0, 1].

    Args:
        unit: float32 or float64 in [0, 1], ``[..., H, W]``.
        rows: ``[H, W]``, in pixels from the middle of the uppermost.
        columns: ``[H, W]``, in pixels from the middle of the leftmost.

    Returns:
        The same shape, type and device.
    """
    height, width = unit.shape[-2:]
    # grid_sample counts from -1 to 1 between the middles of the outermost pixels
    places = np.stack([2 * columns / max(1, width - 1) - 1, 2 * rows / max(1, height - 1) - 1], -1)
    flat = unit.reshape(-1, 1, height, width)
    grid = torch.from_numpy(places).to(unit).expand(len(flat), -1, -1, -1)
    taken = F.grid_sample(flat, grid, mode="bicubic", padding_mode="reflection", align_corners=True)
    return taken.clamp(0, 1).reshape(unit.shape)


def _warp(images: Tensor, strength: float, reach: int, places: Places) -> Tensor:
    if not strength:
        return leave(images)
    return in_float(images, reach, lambda unit: resample(unit, *places((unit.shape[-2], unit.shape[-1]))))


def _moved(size: tuple[int, int], right: float, down: float) -> tuple[Field, Field]:
    """Places that the pixels of a shifted picture come from."""
    rows, columns = np.indices(size, dtype=np.float64)
    return rows - down, columns - right


def _scaled(size: tuple[int, int], scale: float) -> tuple[Field, Field]:
    x, y = _centre(size)
    rows, columns = np.indices(size, dtype=np.float64)
    return y + scale * (rows - y), x + scale * (columns - x)


def _project(size: tuple[int, int], matrix: Field) -> tuple[Field, Field]:
    """Places by an affine ``[2, 3]`` or projective ``[3, 3]`` matrix of points (x, y, 1)."""
    rows, columns = np.indices(size, dtype=np.float64)
    x, y, *rest = np.tensordot(matrix, np.stack([columns, rows, np.ones(size)]), 1)
    return (y / rest[0], x / rest[0]) if rest else (y, x)


def _centre(size: tuple[int, int]) -> Field:
    return np.array([size[1] - 1, size[0] - 1]) / 2


def _corners(size: tuple[int, int]) -> Field:
    right, bottom = size[1] - 1, size[0] - 1
    return np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], dtype=np.float64)
