"""Draw one image of a filtered set beside its copies: python scripts/draw_filters.py FILTERED OUT.png [IMAGE].

Without the image's name, the first one that has copies. The picture of ``docs/filters.md`` is made by it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from monai_cxraug.artifacts import atomic_path
from monai_cxraug.data.filtered import FILTER, ORIGINAL
from monai_cxraug.data.manifest import Manifest, read_manifest
from monai_cxraug.data.pack import Pack, quantise
from monai_cxraug.errors import CxrAugError, InputError, nearest

_CAPTION, _GAP = 14, 4


def draw(folder: Path, target: Path, image: str | None = None) -> None:
    """Draw an image and its copies side by side, each with the name of its filter.

    Args:
        folder: a filtered set.
        target: PNG to write.
        image: name of the original; default the first with copies.

    Raises:
        InputError: the set has no copies of such an image.
    """
    manifest = read_manifest(folder)
    rows, pack = choose_rows(manifest, image), Pack(folder, manifest)
    width = pack.size + _GAP
    sheet = Image.new("L", (len(rows) * width - _GAP, pack.size + _CAPTION), 255)
    pen = ImageDraw.Draw(sheet)
    for place, row in enumerate(rows):
        sheet.paste(Image.fromarray(quantise(pack.image(row), 8)), (place * width, 0))
        pen.text((place * width + 2, pack.size + 1), manifest[FILTER][row] or "original", fill=0, font_size=10)
    with atomic_path(target) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)


def choose_rows(manifest: Manifest, image: str | None) -> list[int]:
    """Rows of an original and of its copies."""
    originals = manifest[ORIGINAL]
    copied = [name for name in dict.fromkeys(originals.tolist()) if name]
    if not copied or (image is not None and image not in copied):
        raise InputError(manifest.path, "must hold copies of the image", repr(image), nearest(str(image), copied[:20]))
    name = copied[0] if image is None else image
    return [*np.flatnonzero(manifest["image"] == name).tolist(), *np.flatnonzero(originals == name).tolist()]


def main(arguments: Sequence[str]) -> int:
    """Draw; returns the exit status."""
    if len(arguments) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return CxrAugError.exit_status
    try:
        draw(Path(arguments[0]), Path(arguments[1]), *arguments[2:])
    except CxrAugError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
