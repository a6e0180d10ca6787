"""Palettes: stored values that are indices of colours (PS3.3 C.7.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.errors import InputError
from monai_cxraug.transforms.functional.attributes import raw_value, read_lut
from monai_cxraug.transforms.functional.greyscale import Depth

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_COLOURS: Final = {"Red": 0.299, "Green": 0.587, "Blue": 0.114}  # ITU-R BT.601
_PREFIX: Final = "PaletteColorLookupTable"
KEYWORDS: Final = tuple(f"{colour}{_PREFIX}{part}" for colour in _COLOURS for part in ("Descriptor", "Data")) + tuple(
    f"Segmented{colour}{_PREFIX}Data" for colour in _COLOURS
)


def palette_brightness(dataset: Dataset, depth: Depth, little_endian: bool) -> NDArray[np.float64]:
    """Grey of each stored value, ``[2**bits]`` in [0, 1].

    Args:
        dataset: the palette's attributes.
        depth: how values lie in a word.
        little_endian: byte order of the tables.

    Raises:
        InputError: a table is missing, segmented, or not as its descriptor says.
    """
    grey = np.zeros(1 << depth.bits)
    for colour, weight in _COLOURS.items():
        descriptor = dataset.get(f"{colour}{_PREFIX}Descriptor")
        data = raw_value(dataset, f"{colour}{_PREFIX}Data")
        if not descriptor or not data:
            found = "a segmented one" if f"Segmented{colour}{_PREFIX}Data" in dataset else "none"
            raise InputError(f"{colour}{_PREFIX}", "a palette image needs a plain palette", found, "convert the file")
        lut = read_lut(descriptor, data, depth.signed, little_endian, f"{colour}{_PREFIX}Descriptor")
        grey += weight * lut(depth.values()) / (2**lut.bits - 1)
    return np.clip(grey, 0, 1)
