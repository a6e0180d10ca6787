"""Real beside synthetic: a picture of images drawn at random, every pixel as it is in the packs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from monai_cxraug.errors import CxrAugError
from monai_cxraug.reporting.prepared import Prepared
from monai_cxraug.reporting.records import Plan

COLUMNS: Final = 6
LINES: Final = 2
_TILE: Final = 96
_SPACE: Final = 3
_MIDDLE: Final = 26
_MARGIN: Final = 18
_CAPTION: Final = 34
_GROUND: Final = (14, 17, 20)
_INK: Final = (214, 221, 226)
_REAL: Final = (128, 142, 152)
_MADE: Final = (111, 180, 234)


@dataclass(frozen=True)
class Block:
    """Pictures of one finding: ``real`` and ``made`` uint8 ``[M, H, W]`` or ``[M, H, W, 3]``, and counts of all."""

    finding: str
    real: NDArray[np.uint8]
    made: NDArray[np.uint8]
    real_total: int
    made_total: int
    synthetic_id: str


def collect_blocks(run: Path, plan: Plan) -> list[Block]:
    """Draw real training images and synthetic ones of each studied finding, at random with a fixed seed.

    Of each finding the first synthetic set in the run folder is shown, those of the most data first. Findings without
    one are left out.

    Raises:
        InputError: a manifest or pack is unreadable.
        StateError: a pack does not fit its manifest.
    """
    if "train" not in plan.data:
        return []
    train = Prepared(run / plan.data["train"])
    blocks = (_block(run, plan, train, finding) for finding in plan.findings)
    return [block for block in blocks if block is not None]


def _block(run: Path, plan: Plan, train: Prepared, finding: str) -> Block | None:
    fractions = {one.id: one.fraction or 0 for one in plan.generators}
    sets = sorted(
        (made for made in plan.synthetic if made.finding == finding),
        key=lambda made: -fractions.get(made.generator, 0),
    )
    found = next((made for made in sets if (run / "synthetic" / made.id / "pack.npy").exists()), None)
    if found is None:
        return None
    made = Prepared(run / "synthetic" / found.id)
    real_rows = train.positives(finding, train.matching(plan.conditions("train")), "real")
    made_rows = list(range(len(made.rows)))
    return Block(
        finding=finding,
        real=train.pictures(_draw(real_rows)),
        made=made.pictures(_draw(made_rows)),
        real_total=len(real_rows),
        made_total=len(made_rows),
        synthetic_id=found.id,
    )


def _draw(rows: Sequence[int]) -> list[int]:
    order = np.random.default_rng(0).permutation(len(rows))
    return [rows[int(k)] for k in order[: COLUMNS * LINES]]


def mosaic(blocks: Sequence[Block]) -> Image.Image:
    """Draw each finding's real images on the left and its synthetic ones on the right, under captions.

    Args:
        blocks: one for each finding, at least one.

    Returns:
        RGB picture. Images are enlarged by a whole factor without interpolation, so no pixel value changes.

    Raises:
        CxrAugError: no blocks.
    """
    if not blocks:
        raise CxrAugError("mosaic", "needs at least one finding with synthetic images")
    tile = max(max(_enlarged(images)) for block in blocks for images in (block.real, block.made))
    half = COLUMNS * tile + (COLUMNS - 1) * _SPACE
    height = _CAPTION + LINES * tile + (LINES - 1) * _SPACE + _MARGIN
    sheet = Image.new("RGB", (2 * _MARGIN + 2 * half + _MIDDLE, height * len(blocks) + _MARGIN // 2), _GROUND)
    for k, block in enumerate(blocks):
        _place_block(sheet, block, tile, half, k * height)
    return sheet


def _place_block(sheet: Image.Image, block: Block, tile: int, half: int, top: int) -> None:
    sides = (
        (_MARGIN, block.real, f"real, {block.real_total} in training", _REAL),
        (_MARGIN + half + _MIDDLE, block.made, f"synthetic, {block.made_total} made", _MADE),
    )
    for left, images, note, colour in sides:
        _caption(sheet, (left, top), half, f"{block.finding.replace('_', ' ')}: {note}", colour)
        for k, image in enumerate(images):
            at = (k % COLUMNS * (tile + _SPACE), k // COLUMNS * (tile + _SPACE))
            sheet.paste(enlarge(image), (left + at[0], top + _CAPTION + at[1]))


def _caption(sheet: Image.Image, at: tuple[int, int], width: int, text: str, colour: tuple[int, int, int]) -> None:
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=15)
    while draw.textlength(text, font=font) > width - 10:
        text = text[:-2].rstrip("…") + "…"
    draw.text((at[0] + 10, at[1] + 10), text, font=font, fill=_INK)
    draw.rectangle((at[0], at[1] + 11, at[0] + 3, at[1] + 25), fill=colour)


def enlarge(image: NDArray[np.uint8]) -> Image.Image:
    """Enlarge ``[H, W]`` or ``[H, W, 3]`` by the whole factor that brings it nearest to a tile, at least 1."""
    factor = _factor(image.shape[:2])
    return Image.fromarray(image.repeat(factor, axis=0).repeat(factor, axis=1)).convert("RGB")


def _factor(size: tuple[int, ...]) -> int:
    return max(1, round(_TILE / max(size)))


def _enlarged(images: NDArray[np.uint8]) -> tuple[int, int]:
    height, width = images.shape[1:3]
    factor = _factor((height, width))
    return height * factor, width * factor
