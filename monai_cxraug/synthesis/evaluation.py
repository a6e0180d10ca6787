"""How close are samples to real images nothing was trained on? Every distance is read beside real against real."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.metrics import MMDMetric, SSIMMetric
from numpy.typing import NDArray
from torch import Tensor

from monai_cxraug.artifacts import file_hash, write_json
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.manifest import Where
from monai_cxraug.data.mixing import refuse_seen
from monai_cxraug.data.pack import channels_first
from monai_cxraug.errors import InputError
from monai_cxraug.metrics.fidelity import count_scales
from monai_cxraug.networks.weights import Model, load_model
from monai_cxraug.synthesis.features import ClassifierFeatures
from monai_cxraug.synthesis.fidelity import RealReference, read_images, read_patients
from monai_cxraug.synthesis.generators import require_generator
from monai_cxraug.synthesis.nearest import NearestTraining
from monai_cxraug.synthesis.synthetic_set import sample_images

SCHEMA = "cxraug.fidelity/1"
_LEAST = 4


@dataclass(frozen=True)
class EvaluateGenerator:
    """Compares samples of a generator with held-out real images of its finding, and with its training images.

    Args:
        generator: model file or a folder that holds one.
        manifest: real images; where it has training images of the generator too, samples are compared with them.
        split: split that the generator did not see.
        where: keep rows whose columns have these values.
        seed: of the samples, halves and pairs.
        output_dir: folder for ``metrics.json`` and ``nearest.png``.
        classifier: model file of a classifier that did not see these patients, for distances in its features.
        device: where the classifier computes.
    """

    generator: str | Path
    manifest: str | Path
    split: str
    where: Where
    seed: int
    output_dir: str | Path
    classifier: str | Path | None = None
    device: str = "cpu"

    def run(self) -> dict[str, float]:
        """Compute and write the figures.

        Returns:
            ``mmd``: maximum mean discrepancy (Gretton et al., JMLR 2012; MONAI's, with the linear kernel on pixels)
            between samples and held-out images; ``mmd_real``: the same between one half of the held-out images and the
            other, its floor; ``ssim`` and ``ssim_real``: mean structural similarity of random pairs within samples and
            within real images (a generator that has lost variety scores far above the real value). Then the figures of
            :class:`RealReference` and, where there are training images, of :class:`NearestTraining`.

        Raises:
            InputError: too few held-out images of the finding: four, eight with a classifier.
            ConfigError: the generator's images are smaller than the classifier's.
            LeakageError: the generator or the classifier saw a patient of these images.
        """
        model = load_model(self.generator)
        require_generator(model)
        rows = self._held_out(model)
        features = self._features(rows)
        reference = RealReference(read_images(rows), read_patients(rows), features, self.seed)
        real = read_images(rows)[np.random.default_rng(self.seed).permutation(len(rows))]
        fake = sample_images(model, len(real), self.seed)
        values = {**_monai_figures(real, fake), **reference.measure(fake[: reference.n]), **reference.floor()}
        training = self._training(model)
        if training is not None:
            picture = Path(self.output_dir) / "nearest.png"
            values.update(NearestTraining(training, features).measure(fake, real, picture))
        about = {
            "finding": model.about["finding"],
            "n": len(real),
            "n_halves": reference.n // 2,
            "seed": self.seed,
            "generator": file_hash(model.path),
            "features": None if features is None else features.name,
            "ms_ssim_scales": count_scales(*real.shape[1:3]) if "ms_ssim" in values else None,
            "training_images": None if training is None else len(training),
        }
        write_json(Path(self.output_dir) / "metrics.json", SCHEMA, {**about, **values})
        return values

    def _held_out(self, model: Model) -> PackRows:
        size, finding = model.settings["resolution"], model.about["finding"]
        rows = PackRows(self.manifest, self.split, self.where, size=size, having=finding)
        rows.pack.require_channels(model.settings["channels"])
        refuse_seen(_patients_seen(model), rows.patients(), model.path)
        if len(rows) < _LEAST:
            found = f"{len(rows)} of {finding!r}"
            raise InputError(
                rows.manifest.path, f"needs at least {_LEAST} held-out images", found, "use a larger split"
            )
        return rows

    def _features(self, rows: PackRows) -> ClassifierFeatures | None:
        if self.classifier is None:
            return None
        features = ClassifierFeatures(self.classifier, self.device, channels=rows.channels)
        features.refuse_seen(rows.patients())
        return features

    def _training(self, model: Model) -> PackRows | None:
        """Images of the finding of the patients that the generator saw, if this manifest has any."""
        rows = PackRows(self.manifest, size=model.settings["resolution"])
        known = np.isin(rows.manifest["patient_id"].astype(str), sorted(_patients_seen(model)))
        if model.about["finding"] is not None:
            known &= rows.manifest.label(model.about["finding"]) == 1
        if not known.any():
            return None
        rows.keep(known, "of the generator's training patients")
        return rows


def _patients_seen(model: Model) -> frozenset[str]:
    return frozenset(model.about["patients_seen"])


def _monai_figures(real: NDArray[np.float32], fake: NDArray[np.float32]) -> dict[str, float]:
    left, right = (torch.from_numpy(np.ascontiguousarray(channels_first(images))) for images in (real, fake))
    half = len(left) // 2
    return {
        "mmd": _mmd(left, right),
        "mmd_real": _mmd(left[:half], left[half : 2 * half]),
        "ssim": _similarity(right),
        "ssim_real": _similarity(left),
    }


def _mmd(left: Tensor, right: Tensor) -> float:
    return float(MMDMetric()(left.flatten(1), right.flatten(1)))


def _similarity(images: Tensor) -> float:
    """Mean structural similarity of each image with the next; the order is random already."""
    measure = SSIMMetric(spatial_dims=2, data_range=1.0, win_size=7)
    return float(torch.as_tensor(measure(images, images.roll(1, dims=0))).mean())
