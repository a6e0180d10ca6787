"""How close are samples to real images nothing was trained on? MONAI's distances, read beside real against real."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.metrics import MMDMetric, SSIMMetric
from torch import Tensor

from monai_cxraug.artifacts import file_hash, write_json
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.mixing import refuse_seen
from monai_cxraug.errors import InputError
from monai_cxraug.networks.weights import load_model
from monai_cxraug.synthesis.synthetic_set import sample_images

SCHEMA = "cxraug.fidelity/1"
_LEAST = 4


@dataclass(frozen=True)
class EvaluateGenerator:
    """Compares samples of a generator with held-out real images of its finding.

    Args:
        generator: model file or a folder that holds one.
        manifest: real images.
        split: split that the generator did not see.
        where: keep rows whose columns have these values.
        seed: of the samples and pairs.
        output_dir: folder for ``metrics.json``.
    """

    generator: str | Path
    manifest: str | Path
    split: str
    where: Mapping[str, str]
    seed: int
    output_dir: str | Path

    def run(self) -> dict[str, float]:
        """Compute and write the distances.

        Returns:
            ``mmd``: maximum mean discrepancy (Gretton et al., JMLR 2012; MONAI's, with the linear kernel on pixels)
            between samples and held-out images; ``mmd_real``: the same between one half of the held-out images and the
            other, its floor; ``ssim`` and ``ssim_real``: mean structural similarity of random pairs within samples and
            within real images (a generator that has lost variety scores far above the real value).

        Raises:
            InputError: fewer than four held-out images of the finding.
            LeakageError: the generator saw a patient of these images.
        """
        model = load_model(self.generator, "pggan")
        size, finding = model.settings["resolution"], model.about["finding"]
        rows = PackRows(self.manifest, self.split, self.where, size=size, having=finding)
        refuse_seen(frozenset(model.about["patients_seen"]), rows.patients(), model.path)
        if len(rows) < _LEAST:
            found = f"{len(rows)} of {finding!r}"
            raise InputError(
                rows.manifest.path, f"needs at least {_LEAST} held-out images", found, "use a larger split"
            )
        real = torch.stack([rows.sample(position)["image"] for position in range(len(rows))])
        order = np.random.default_rng(self.seed).permutation(len(real))
        real = real[torch.from_numpy(order)]
        fake = torch.from_numpy(sample_images(model, len(real), self.seed))[:, None]
        half = len(real) // 2
        values = {
            "mmd": _mmd(real, fake),
            "mmd_real": _mmd(real[:half], real[half : 2 * half]),
            "ssim": _similarity(fake),
            "ssim_real": _similarity(real),
        }
        about = {"finding": finding, "n": len(real), "seed": self.seed, "generator": file_hash(model.path)}
        write_json(Path(self.output_dir) / "metrics.json", SCHEMA, {**about, **values})
        return values


def _mmd(left: Tensor, right: Tensor) -> float:
    return float(MMDMetric()(left.flatten(1), right.flatten(1)))


def _similarity(images: Tensor) -> float:
    """Mean structural similarity of each image with the next; the order is random already."""
    measure = SSIMMetric(spatial_dims=2, data_range=1.0, win_size=7)
    return float(torch.as_tensor(measure(images, images.roll(1, dims=0))).mean())
