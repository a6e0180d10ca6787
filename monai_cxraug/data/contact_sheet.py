"""A sheet of small pictures: every split and finding is seen before anything is trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.artifacts import atomic_path
from monai_cxraug.data.manifest import Manifest
from monai_cxraug.data.pack import channels_of

if TYPE_CHECKING:
    from PIL import Image

_COLUMNS, _TILES = 10, 60
_TILE, _CAPTION = 96, 14
_LETTERS = 20  # that fit below a tile
_GREY = 200


def write_contact_sheet(folder: Path, manifest: Manifest) -> None:
    """Write ``contact_sheet.png``: at least one picture per split and finding, and sixty where there are as many.

    Args:
        folder: holds ``pack.npy``.
        manifest: of the same rows.
    """
    from PIL import Image, ImageDraw

    pack = np.load(folder / "pack.npy", mmap_mode="r", allow_pickle=False)
    shown = choose_rows(manifest)
    high = -(-len(shown) // _COLUMNS)
    sheet = Image.new("L" if channels_of(pack.shape) == 1 else "RGB", (_COLUMNS * _TILE, high * (_TILE + _CAPTION)))
    pen = ImageDraw.Draw(sheet)
    for place, (row, caption) in enumerate(shown.items()):
        left, top = place % _COLUMNS * _TILE, place // _COLUMNS * (_TILE + _CAPTION)
        sheet.paste(_tile(pack[row]), (left, top))
        # the built-in font has no other letters
        text = caption.encode("ascii", "replace").decode()[:_LETTERS]
        pen.text((left + 2, top + _TILE + 1), text, fill=_GREY if sheet.mode == "L" else (_GREY,) * 3, font_size=9)
    with atomic_path(folder / "contact_sheet.png") as temporary:
        sheet.save(temporary, format="PNG", optimize=True)


def choose_rows(manifest: Manifest) -> dict[int, str]:
    """Choose the rows of a contact sheet.

    Args:
        manifest: the images.

    Returns:
        Row to caption, in the order of splits: a positive image per split and finding, then rows evenly spread over the
        manifest until there are sixty.
    """
    captions: dict[int, str] = {}
    splits = manifest["split"]
    for split in sorted(set(splits), key=lambda name: ("train", "val", "test", "").index(name)):
        for finding, labels in zip(manifest.findings, manifest.labels.T, strict=True):
            rows = np.flatnonzero((splits == split) & (labels == 1))
            fresh = [row for row in rows[: len(captions) + 1].tolist() if row not in captions]
            if fresh:
                captions[fresh[0]] = f"{split} {finding}".strip()
    others = np.setdiff1d(np.arange(len(manifest)), list(captions))
    count = min(len(others), max(0, _TILES - len(captions)))
    spread = others[np.linspace(0, len(others) - 1, count).astype(int)] if count else others[:0]
    return captions | {row: _caption(manifest, row) for row in spread.tolist()}


def _caption(manifest: Manifest, row: int) -> str:
    present = [name for name, value in zip(manifest.findings, manifest.labels[row], strict=True) if value == 1]
    return " ".join(filter(None, [manifest["split"][row], *present]))


def _tile(stored: NDArray[np.uint8 | np.uint16]) -> Image.Image:
    from PIL import Image

    shown = (stored // (257 if stored.dtype == np.uint16 else 1)).astype(np.uint8)
    return Image.fromarray(shown).resize((_TILE, _TILE), Image.Resampling.BILINEAR)
