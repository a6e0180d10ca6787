"""Drawing in centimetres: the frame of a picture, soft edges, strokes and smooth random texture."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

#: float32 in practice; plain numbers keep it so.
Array = npt.NDArray[np.floating[Any]]

#: side of the square detector, cm.
FIELD_CM = 36.0
#: strokes are drawn on a canvas of at least this many pixels and averaged down, so thin lines fade instead of breaking.
_STROKE_PIXELS = 256


def stream(seed: int, *names: str) -> np.random.Generator:
    """Make the random stream that belongs to a seed and some names; other names, other stream."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


@dataclass(frozen=True)
class Frame:
    """Square picture of a patient: pixel positions in the patient's own centimetres.

    ``x`` grows to the right of the picture (the patient's left), ``y`` downwards, from the middle of the field.

    Args:
        size: pixels a side.
        zoom: centimetres of patient per centimetre of detector; below 1 magnifies.
        tilt: rotation of the patient in the plane, radians.
        shift: where the field's middle lies in the patient, ``(x, y)`` cm.
    """

    size: int
    zoom: float = 1.0
    tilt: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    #: float32 ``[size, size]``, cm.
    x: Array = field(init=False, repr=False, compare=False)
    y: Array = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        axis = ((np.arange(self.size, dtype=np.float32) + 0.5) / self.size - 0.5) * (FIELD_CM * self.zoom)
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        right, down = axis[None, :], axis[:, None]
        object.__setattr__(self, "x", cos * right - sin * down + (self.shift[0]))
        object.__setattr__(self, "y", sin * right + cos * down + (self.shift[1]))

    @property
    def pitch(self) -> float:
        """Side of a pixel in the patient, cm."""
        return FIELD_CM * self.zoom / self.size

    def edge(self, distance: Array, soft: float = 0.2) -> Array:
        """Soft step: 0 where ``distance`` (cm) is far below zero, 1 far above, never sharper than a pixel."""
        ramp: Array = np.tanh(distance / max(soft, 0.6 * self.pitch))
        return 0.5 + 0.5 * ramp

    def line(self, distance: Array, width: float) -> Array:
        """Bright line where ``distance`` (cm) is zero; its integral over the distance does not depend on the pixel."""
        sigma = math.hypot(width / 2, 0.45 * self.pitch)
        profile: Array = np.exp(-np.square(distance) / (2 * sigma**2))
        return profile * (width / 2 / sigma)

    def ball(self, x: float, y: float, rx: float, ry: float | None = None) -> Array:
        """Relative path through an ellipsoid: 1 at its middle, 0 from its rim outwards."""
        squared = np.square((self.x - x) / rx)
        squared += np.square((self.y - y) / (ry or rx))
        path: Array = np.sqrt(np.maximum(1 - squared, 0))
        return path

    def spot(self, x: float, y: float, rx: float, ry: float | None = None) -> Array:
        """Gaussian spot with standard deviations ``rx`` and ``ry`` (cm) and peak 1."""
        squared = np.square((self.x - x) / rx)
        squared += np.square((self.y - y) / (ry or rx))
        peak: Array = np.exp(-0.5 * squared)
        return peak

    def to_pixels(self, points: npt.ArrayLike, size: int) -> npt.NDArray[np.float64]:
        """Map patient positions ``[..., 2]`` (cm) to pixel positions on a canvas of ``size`` pixels a side."""
        centred = np.asarray(points, dtype=np.float64) - np.asarray(self.shift)
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        turned = centred @ np.array([[cos, -sin], [sin, cos]])
        pixels: npt.NDArray[np.float64] = (turned / (FIELD_CM * self.zoom) + 0.5) * size - 0.5
        return pixels

    def strokes(self, paths: npt.ArrayLike, widths: Sequence[float]) -> Array:
        """Draw polylines; where two meet, the later one shows.

        Args:
            paths: ``[lines, points, 2]`` positions in cm.
            widths: thickness of each line, cm.

        Returns:
            float32 ``[size, size]``: path length through round tubes of these widths, cm.
        """
        factor = max(1, math.ceil(_STROKE_PIXELS / self.size))
        pixels = self.size * factor
        per_cm = pixels / (FIELD_CM * self.zoom)
        canvas = Image.new("F", (pixels, pixels))
        pen = ImageDraw.Draw(canvas)
        corners = self.to_pixels(paths, pixels).reshape(len(widths), -1).tolist()
        for corner, width in zip(corners, widths, strict=True):
            drawn = max(1, round(width * per_cm))
            # a line cannot be thinner than a pixel: keep its area by making it fainter
            pen.line(corner, fill=width * width * per_cm / drawn, width=drawn)
        return np.asarray(canvas.reduce(factor) if factor > 1 else canvas, dtype=np.float32)

    def texture(self, rng: np.random.Generator, grain: float) -> Array:
        """Smooth noise, mean 0 and deviation near 1, with structures of about ``grain`` cm; the same at every size."""
        cells = max(2, round(FIELD_CM / grain))
        coarse = rng.standard_normal((cells, cells), dtype=np.float32)
        return resample(coarse, self.size) * 1.3


def resample(image: Array, size: int) -> Array:
    """Resize a square float picture: smooth (bicubic) upwards, area average downwards."""
    method = Image.Resampling.BICUBIC if size >= image.shape[0] else Image.Resampling.BOX
    return np.asarray(
        Image.fromarray(np.asarray(image, dtype=np.float32)).resize((size, size), method), dtype=np.float32
    )


def diffuse(image: Array, cells: int) -> Array:
    """Blur strongly: average over ``cells`` by ``cells`` tiles and interpolate back."""
    return resample(resample(image, min(cells, image.shape[0])), image.shape[0])
