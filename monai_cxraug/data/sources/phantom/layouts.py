"""Phantom data sets in the layouts that the sources read, for demonstrations and for tests without real data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from monai_cxraug.data.sources.listing import Progress
from monai_cxraug.data.sources.phantom.chexpert import write_chexpert_layout
from monai_cxraug.data.sources.phantom.hospital import write_hospital_layout
from monai_cxraug.data.sources.phantom.kermany import write_kermany_layout
from monai_cxraug.data.sources.phantom.skin import write_skin_layout
from monai_cxraug.data.sources.phantom.writers import write_native, write_nih_layout
from monai_cxraug.errors import ConfigError, nearest


class Writer(Protocol):
    """Writes a data set into a new folder."""

    def __call__(self, folder: Path, images: int, size: int, seed: int, *, progress: Progress | None = None) -> None:
        """Write it."""


#: a layout's name to what writes it.
LAYOUTS: Final[Mapping[str, Writer]] = {
    "native": write_native,
    "nih": write_nih_layout,
    "chexpert": write_chexpert_layout,
    "kermany": write_kermany_layout,
    "skin": write_skin_layout,
    "dicom": write_hospital_layout,
}


def write_layout(
    layout: str, folder: str | Path, images: int, size: int, seed: int = 0, progress: Progress | None = None
) -> Path:
    """Write a phantom data set.

    Args:
        layout: a name in :data:`LAYOUTS`.
        folder: new or empty folder; it appears only when everything is written.
        images: how many.
        size: pixels a side.
        seed: of everything drawn.
        progress: called with (images done, images in all).

    Returns:
        The folder.

    Raises:
        ConfigError: the layout is unknown, or a number is out of range.
        InputError: the folder holds something already.
    """
    if layout not in LAYOUTS:
        raise ConfigError("layout", "unknown layout", repr(layout), nearest(layout, LAYOUTS))
    LAYOUTS[layout](Path(folder), images, size, seed, progress=progress)
    return Path(folder)
