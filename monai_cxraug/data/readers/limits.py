"""Sizes that a radiograph can have."""

from __future__ import annotations

from typing import Final

from monai_cxraug.errors import InputError

#: The largest detectors have 30 million pixels. Resizing is exact to 2^27 (134 million).
MAX_PIXELS: Final = 100_000_000
#: A smaller picture shows no chest: it is an icon, a spacer of a web page, or a broken header.
MIN_SIDE: Final = 8


def require_pixels(rows: int, columns: int, name: object) -> None:
    """Refuse a size that no radiograph has, before memory is asked for.

    Raises:
        InputError: a side is too short, or there are too many pixels.
    """
    if min(rows, columns) < MIN_SIDE or rows * columns > MAX_PIXELS:
        rule = f"must have at least {MIN_SIDE} pixels a side and at most {MAX_PIXELS // 10**6} million in all"
        raise InputError(name, rule, f"{columns} x {rows}", "leave the file out")
