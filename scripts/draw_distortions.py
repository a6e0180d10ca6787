"""Draw every distortion at three strengths: python scripts/draw_distortions.py FOLDER.

Writes ``distortions_GROUP.png`` into the folder, one for each group, from generated phantoms: a patch of 64 × 64 pixels
at twice its size. The pictures of ``docs/distortions.md`` are made by it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from monai_cxraug.artifacts import atomic_path
from monai_cxraug.data.sources.phantom import render, sample_population
from monai_cxraug.data.sources.phantom.skin import render_lesion
from monai_cxraug.errors import CxrAugError
from monai_cxraug.transforms.functional.distortions.catalogue import (
    CATALOGUE,
    GROUPS,
    Distortion,
    Group,
    Step,
    write_steps,
)

_SIDE, _TIMES, _TITLE, _CAPTION, _GAP = 64, 2, 16, 15, 6
_CELL = _SIDE * _TIMES
_SHARES = (0.0, 0.5, 1.0)


def draw(group: Group, target: Path) -> None:
    """Draw the distortions of a group: a row each, the original before three strengths.

    Args:
        group: of the catalogue.
        target: PNG to write.
    """
    rows = [one for one in CATALOGUE.values() if one.group == group]
    high = _TITLE + _CELL + _CAPTION + _GAP
    sheet = Image.new("RGB", ((len(_SHARES) + 1) * (_CELL + _GAP) - _GAP, len(rows) * high - _GAP), "white")
    for place, distortion in enumerate(rows):
        _draw_row(sheet, distortion, place * high)
    with atomic_path(target) as temporary:
        # few pictures need colours; the others are a third as large without them
        whole = sheet if any(one.colour_only for one in rows) else sheet.convert("L")
        whole.save(temporary, format="PNG", optimize=True)


def _draw_row(sheet: Image.Image, distortion: Distortion, top: int) -> None:
    pen = ImageDraw.Draw(sheet)
    pen.text((1, top), distortion.name, fill="black", font_size=12)
    original = make_colours() if distortion.colour_only else make_radiograph()
    cells = [(original, "original")]
    for seed, share in enumerate(_SHARES, start=1):
        step = choose_step(distortion, share, seed)
        cells.append((distortion.apply(original, step.strength, step.seed), write_steps([step]).partition(" ")[2]))
    for column, (image, caption) in enumerate(cells):
        left = column * (_CELL + _GAP)
        sheet.paste(_enlarge(image), (left, top + _TITLE))
        pen.text((left + 1, top + _TITLE + _CELL), caption, fill="black", font_size=11)


def choose_step(distortion: Distortion, share: float, seed: int) -> Step:
    """A strength for the picture; the one in the middle goes the other way where there is one."""
    strength = distortion.at(share)
    return Step(distortion.name, distortion.opposite(strength) if 0 < share < 1 else strength, seed)


def make_radiograph() -> Tensor:
    """A patch of a phantom radiograph with the border of the heart and ribs, uint8 ``[1, 64, 64]``."""
    picture = render(next(iter(sample_population(1, seed=4))), 160, seed=4)
    return torch.from_numpy(np.rint(255 * picture[52:116, 88:152]).astype(np.uint8))[None]


def make_colours() -> Tensor:
    """A phantom skin lesion, uint8 ``[3, 64, 64]``."""
    picture = render_lesion("malignant", _SIDE, np.random.default_rng(2))
    return torch.from_numpy(np.asarray(picture, np.uint8).transpose(2, 0, 1).copy())


def _enlarge(image: Tensor) -> Image.Image:
    pixels = image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(pixels).resize((_CELL, _CELL), Image.Resampling.NEAREST)


def main(arguments: Sequence[str]) -> int:
    """Draw; returns the exit status."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return CxrAugError.exit_status
    for group in GROUPS:
        draw(group, Path(arguments[0]) / f"distortions_{group}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
