"""How far do a network's images lie from the originals? Beside how far what it saw lies from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from monai.metrics import SSIMMetric
from torch import Tensor

from monai_cxraug.artifacts import write_json
from monai_cxraug.data.datasets import PackRows, refuse_trained_on
from monai_cxraug.data.manifest import Where
from monai_cxraug.data.pack import channels_first
from monai_cxraug.synthesis.distorters import Distorter

SCHEMA: Final = "cxraug.distortion_figures/1"
_BLOCK: Final = 64
#: least mean square, so that equal images have a PSNR too: 100 dB.
_LEAST: Final = 1e-10


@dataclass(frozen=True)
class EvaluateDistorter:
    """Compares a network's images, and what it saw, with originals of patients that it did not train on.

    Args:
        distorter: model file, or a folder that holds one.
        manifest: of the originals.
        split: of the originals.
        where: keep rows whose columns have these values.
        seed: of the corruption.
        output_dir: folder for ``metrics.json``.
        device: where the network works.
    """

    distorter: str | Path
    manifest: str | Path
    split: str
    where: Where
    seed: int
    output_dir: str | Path
    device: str = "cpu"

    def run(self) -> dict[str, float]:
        """Compute and write the figures, means over images.

        Returns:
            ``mae`` (mean absolute difference), ``psnr`` (dB) and ``ssim`` (Wang et al. 2004; MONAI's, windows of 11
            px) between what the network made and the original; ``mae_given``, ``psnr_given`` and ``ssim_given`` between
            what it saw and the original, where the network sees a corrupted image.

        Raises:
            LeakageError: the network saw a patient of these images.
            InputError: the images do not fit the network.
        """
        distorter = Distorter.load(self.distorter, self.device)
        size = distorter.model.about["size"]
        rows = PackRows(self.manifest, self.split, self.where, size=size)
        rows.pack.require_channels(distorter.model.settings["channels"])
        refuse_trained_on(rows, distorter.patients_seen)
        sums: dict[str, float] = {}
        for start, images in _blocks(rows):
            for name, value in self._measure(distorter, images, start).items():
                sums[name] = sums.get(name, 0.0) + value
        values = {name: value / len(rows) for name, value in sums.items()}
        about = {"network": distorter.hash, "split": self.split, "n": len(rows), "seed": self.seed}
        write_json(Path(self.output_dir) / "metrics.json", SCHEMA, {**about, **values})
        return values

    def _measure(self, distorter: Distorter, images: Tensor, start: int) -> dict[str, float]:
        """Sums over the images ``[N, C, H, W]``."""
        found = _distances(distorter(images, self.seed, start), images)
        if distorter.corruption.kind != "null":
            given = _distances(distorter.corrupt(images, self.seed, start), images)
            found |= {f"{name}_given": value for name, value in given.items()}
        return found


def _blocks(rows: PackRows) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, len(rows), _BLOCK):
        positions = range(start, min(start + _BLOCK, len(rows)))
        pictures = channels_first(np.stack([rows.picture(position) for position in positions]))
        yield start, torch.from_numpy(np.ascontiguousarray(pictures))


def _distances(made: Tensor, images: Tensor) -> dict[str, float]:
    """Sums over images of each distance."""
    squared = (made - images).square().mean(dim=(1, 2, 3)).double().clamp(min=_LEAST)
    ssim = torch.as_tensor(SSIMMetric(spatial_dims=2, data_range=1.0)(made, images))
    return {
        "mae": float((made - images).abs().mean(dim=(1, 2, 3)).sum()),
        "psnr": float((-10 * squared.log10()).sum()),
        "ssim": float(ssim.sum()),
    }
