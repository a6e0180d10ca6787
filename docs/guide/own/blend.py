"""A generator of your own, as small as one can be: each image is the mean of two training images with the finding.

    python blend.py data/ours Effusion 40 made/effusion

It shows what any generator has to keep to: it learns from training rows alone, writes pictures, and says what it saw.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def main(data: Path, finding: str, count: int, out: Path) -> None:
    """Write ``count`` pictures and, in the working folder, ``blend.yaml``."""
    with (data / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    pack = np.load(data / "pack.npy", mmap_mode="r")  # the picture of row k is pack[k]
    shows = [k for k, row in enumerate(rows) if row["split"] == "train" and row[finding] == "1"]
    draws = np.random.default_rng(7)
    out.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        one, other = draws.choice(shows, 2, replace=False)
        Image.fromarray(((pack[one].astype(int) + pack[other]) // 2).astype(np.uint8)).save(out / f"{number:04}.png")
    Path("blend.yaml").write_text(
        f"generator: means of two training images\npatients_seen: {{manifest: {data}/manifest.csv, split: train}}\n"
        "seed: 7\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
