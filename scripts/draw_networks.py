"""Draw what networks make of radiographs: python scripts/draw_networks.py NETWORKS MANIFEST OUT [COLUMN=VALUE].

NETWORKS holds ``autoencoder/``, ``conditional_gan/`` and ``drawn/networks.json``; originals are of the val split, those
whose COLUMN has this VALUE. The pictures and figures of ``docs/results/system-d-networks.md`` are made by it: three PNG
files, and ``figures.md`` with the table that the page holds.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from monai_cxraug.artifacts import atomic_path, read_json, write_text
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.errors import CxrAugError
from monai_cxraug.handlers.sample_grid import to_bytes
from monai_cxraug.study.networks import describe
from monai_cxraug.synthesis.distorter_evaluation import EvaluateDistorter
from monai_cxraug.synthesis.distorters import NETWORKS, SCHEMA, Distorter, load_distorters
from monai_cxraug.transforms.functional.drawn_distortion import DrawnDistortion

_CAPTION, _GAP, _SCALE, _COLUMNS, _SEED = 13, 3, 2, 6, 0
#: images of the val split that are shown, spread over it.
_SHOWN = 6


def draw(networks: Path, manifest: Path, out: Path, where: Mapping[str, str]) -> None:
    """Draw pictures and write figures.

    Args:
        networks: folder of networks.
        manifest: of the originals.
        out: folder to write.
        where: rows of the val split to take.
    """
    rows = PackRows(manifest, "val", where)
    shown = np.linspace(0, len(rows) - 1, _SHOWN).astype(int).tolist()
    originals = torch.from_numpy(np.stack([rows.picture(position) for position in shown]))[:, None]
    autoencoder, gan = (Distorter.load(networks / name) for name in ("autoencoder", "conditional_gan"))
    drawn = load_distorters(networks / "drawn")
    seeds = range(len(originals))
    given = autoencoder.corrupt(originals, _SEED)
    sides = {"original": originals, "given": given, "made": autoencoder(originals, _SEED)}
    save(rows_of(sides), out / "autoencoder.png")
    really = DrawnDistortion()(originals, seeds)
    save(rows_of({"original": originals, "GAN": gan(originals, _SEED), "really": really}), out / "conditional_gan.png")
    patch = originals[1:2]
    cells = {"original": patch[0], **{str(k): one(patch, _SEED)[0] for k, one in enumerate(drawn)}}
    save(cells_of(cells), out / "drawn.png")
    write_text(out / "figures.md", figures(networks, manifest, where, [autoencoder, gan, *drawn]))


def rows_of(sides: Mapping[str, Tensor]) -> Image.Image:
    """One row of images ``[N, 1, H, W]`` for each side, its name above."""
    strips = {name: torch.cat([_frame(image) for image in images], dim=2) for name, images in sides.items()}
    return cells_of(strips, columns=1)


def cells_of(cells: Mapping[str, Tensor], columns: int = _COLUMNS) -> Image.Image:
    """Images ``[1, H, W]`` in a grid, each with its name above."""
    tiles = [Image.fromarray(to_bytes(image)) for image in cells.values()]
    width, height = (_SCALE * side for side in tiles[0].size)
    lines = -(-len(tiles) // columns)
    sheet = Image.new("L", (columns * (width + _GAP) - _GAP, lines * (height + _CAPTION)), 255)
    pen = ImageDraw.Draw(sheet)
    for place, (name, tile) in enumerate(zip(cells, tiles, strict=True)):
        left, top = place % columns * (width + _GAP), place // columns * (height + _CAPTION)
        sheet.paste(tile.resize((width, height), Image.Resampling.NEAREST), (left, top + _CAPTION))
        pen.text((left + 1, top), name, fill=0, font_size=11)
    return sheet


def _frame(image: Tensor) -> Tensor:
    """A white line to the right of ``[1, H, W]``."""
    return torch.nn.functional.pad(image, (0, 1), value=1.0)


def save(sheet: Image.Image, path: Path) -> None:
    """Write a small PNG."""
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)


def figures(networks: Path, manifest: Path, where: Mapping[str, str], distorters: Sequence[Distorter]) -> str:
    """A table in Markdown: of each network what it is, and how far its images lie from the originals."""
    entries = read_json(networks / "drawn" / NETWORKS, SCHEMA)["networks"]
    names = ["denoising autoencoder", "conditional GAN", *(describe(entry["drawn"]) for entry in entries)]
    lines = ["| network | what it is | MAE | PSNR (dB) | SSIM | SSIM of what it saw |", "|---|---|---:|---:|---:|---:|"]
    for distorter, name in zip(distorters, names, strict=True):
        folder = distorter.model.path.parent
        EvaluateDistorter(folder, manifest, "val", dict(where), _SEED, folder).run()
        found = json.loads((folder / "metrics.json").read_text())
        seen = f"{found['ssim_given']:.3f}" if "ssim_given" in found else "–"
        shown = f"{found['mae']:.3f} | {found['psnr']:.1f} | {found['ssim']:.3f} | {seen}"
        lines.append(f"| `{distorter.name}` | {name} | {shown} |")
    return "\n".join([*lines, ""])


def main(arguments: Sequence[str]) -> int:
    """Draw; returns the exit status."""
    if len(arguments) not in (3, 4) or (len(arguments) == 4 and "=" not in arguments[3]):
        print(__doc__, file=sys.stderr)
        return CxrAugError.exit_status
    torch.set_num_threads(1)
    where = dict([arguments[3].split("=", 1)]) if len(arguments) == 4 else {}
    try:
        draw(Path(arguments[0]), Path(arguments[1]), Path(arguments[2]), where)
    except CxrAugError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
