"""What the reader returns: stored values, and one table that says how bright each of them is."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.data.resampling import Fit, fit_table

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Radiograph:
    """A decoded image.

    Every step from stored values to brightness (modality LUT, VOI LUT or window, inversion, padding) depends on the
    value alone, so that all of them together are one table.

    Args:
        stored: uint8 or uint16 ``[H, W]``, or red, green and blue ``[H, W, 3]``, row 0 at the top; signed values lie
            in two's complement.
        table: float32 ``[T]`` in [0, 1], brightness of each stored value; ``stored`` is below ``T`` everywhere.
        bits: bits stored per pixel in the file.
        greyscale: how stored values became [0, 1], for example ``"window 2048/4096 LINEAR"``; ``colour`` where red,
            green and blue are kept and differ.
        aspect: height of a pixel over its width; 1 is square.
        spacing: millimetres from row to row and from column to column; None where unknown.
        tags: facts about the image that name nobody: ``view``, ``sex``, ``age``; empty for pictures.
    """

    stored: NDArray[Any]
    table: Image
    bits: int
    greyscale: str
    aspect: float = 1.0
    spacing: tuple[float, float] | None = None
    tags: dict[str, str] = field(default_factory=dict)

    @cached_property
    def pixels(self) -> Image:
        """float32 ``[H, W]`` or ``[H, W, 3]`` in [0, 1]; of grey, bright is dense (MONOCHROME2)."""
        pixels: Image = self.table[self.stored]
        return pixels

    def resized(self, size: int, fit: Fit = "pad") -> Image:
        """Return float32 ``[size, size]`` or ``[size, size, 3]`` in [0, 1], area-averaged.

        Args:
            size: side of the square in pixels.
            fit: ``"pad"`` keeps the aspect ratio (of the body, where pixels are not square) on a black square,
                ``"squash"`` fills the square, ``"crop"`` keeps the middle.
        """
        return fit_table(self.stored, self.table, size, fit, self.aspect)
