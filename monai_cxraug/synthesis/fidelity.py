"""Samples against held-out real images, and real ones against real ones at the same numbers: the figures' floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.manifest import Where
from monai_cxraug.data.mixing import refuse_seen
from monai_cxraug.data.pack import channels_last
from monai_cxraug.errors import InputError
from monai_cxraug.keys import IMAGE
from monai_cxraug.metrics.fidelity import (
    COARSEST,
    frechet_distance,
    kernel_distance,
    ms_ssim_diversity,
    sliced_wasserstein,
)
from monai_cxraug.metrics.manifold import DENSE_NEIGHBOURS, NEIGHBOURS, manifold
from monai_cxraug.networks.latents import layout_of
from monai_cxraug.networks.weights import KINDS, Model
from monai_cxraug.synthesis.features import ClassifierFeatures, Pretrained
from monai_cxraug.synthesis.synthetic_set import sample_images

#: the kernel distance's error needs subsets of two in halves of twice that.
_LEAST_HALF: Final = 4
_SUBSET: Final = 100
_DIRECTIONS: Final = 128
#: MS-SSIM's window.
_LEAST_SIDE: Final = 11

Images = NDArray[np.float32]
Features = NDArray[np.float32] | None


class RealReference:
    """Held-out real images in two halves without a common patient.

    Every distance is the mean of two: of as many samples to each half. Its floor is the distance between the halves,
    so that all three compare equally many images. The names of figures are ``frechet``, ``kernel`` (with
    ``kernel_error``), ``precision``, ``recall``, ``density``, ``coverage``, ``sliced_16``, ``sliced_32``, ... and
    ``ms_ssim``; the floor's end in ``_real``. Those in features are left out where there is no classifier, those of
    patches for images below 16 px, MS-SSIM below 11 px.

    Args:
        images: float32 ``[N, H, W]`` or ``[N, H, W, 3]`` in [0, 1].
        patients: ``[N]``; images without a patient ("") count as one patient each.
        features: of a classifier that saw none of these patients.
        seed: of halves, patches, subsets and pairs.

    Attributes:
        n: number of real images used, and of samples wanted: the two halves.

    Raises:
        InputError: the smaller half has fewer than two images, or four with a classifier.
    """

    def __init__(
        self, images: Images, patients: Sequence[str], features: ClassifierFeatures | None = None, seed: int = 0
    ) -> None:
        first, second = split_by_patient(patients, seed)
        least = 2 if features is None else _LEAST_HALF
        if len(first) < least:
            rule = f"held-out images must fall into two halves of at least {least}, no patient in both"
            raise InputError("held-out images", rule, f"{len(images)} in all", "use a larger split")
        self.seed, self.features = seed, features
        self.halves = images[first], images[second]
        self._real = tuple(self._see(half) for half in self.halves)

    @property
    def n(self) -> int:
        """Number of samples wanted, and of real images used."""
        return 2 * len(self.halves[0])

    def floor(self) -> dict[str, float]:
        """The figures of real images among themselves."""
        values = self._distances(self.halves[0], self._real[0], self.halves[1], self._real[1])
        values.update(self._diversity(np.concatenate(self.halves)))
        return {_real(name): value for name, value in values.items()}

    def measure(self, samples: Images) -> dict[str, float]:
        """The figures of samples.

        Args:
            samples: float32 ``[n, H, W]`` or ``[n, H, W, 3]`` in [0, 1], as the real images.

        Raises:
            InputError: they are not as many, or not of the size of the real images.
        """
        if samples.shape != (self.n, *self.halves[0].shape[1:]):
            raise InputError("samples", f"must be {self.n} of the real images' size", list(samples.shape))
        parts = [
            self._distances(part, self._see(part), real, seen)
            for part, real, seen in zip(np.split(samples, 2), self.halves, self._real, strict=True)
        ]
        values = {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}
        if "kernel_error" in values:  # of the mean of two that share no image
            values["kernel_error"] = float(np.hypot(parts[0]["kernel_error"], parts[1]["kernel_error"]) / 2)
        return {**values, **self._diversity(samples)}

    def _see(self, images: Images) -> Features:
        return None if self.features is None else self.features(images)

    def _distances(self, a: Images, seen_a: Features, b: Images, seen_b: Features) -> dict[str, float]:
        values = {}
        if seen_a is not None and seen_b is not None:
            values["frechet"] = frechet_distance(seen_a, seen_b)
            subset = min(_SUBSET, len(a) // 2)
            values["kernel"], values["kernel_error"] = kernel_distance(seen_a, seen_b, subset, seed=self.seed)
            few = len(seen_b) - 1  # neighbours that an image of the smallest sets has
            found = manifold(seen_b, seen_a, min(NEIGHBOURS, few), min(DENSE_NEIGHBOURS, few))
            values.update(found._asdict())
        if min(a.shape[1:3]) >= COARSEST:
            levels = sliced_wasserstein(a, b, self.seed, directions=_DIRECTIONS)
            values.update({f"sliced_{side}": value for side, value in levels.items()})
        return values

    def _diversity(self, images: Images) -> dict[str, float]:
        if min(images.shape[1:3]) < _LEAST_SIDE:
            return {}
        return {"ms_ssim": ms_ssim_diversity(images, seed=self.seed).value}


def _real(name: str) -> str:
    return "kernel_real_error" if name == "kernel_error" else f"{name}_real"


def split_by_patient(patients: Sequence[str], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split images into two random halves of equal size without a common patient; what is over is left out.

    Args:
        patients: ``[N]``; "" stands for a patient of its own.
        seed: of the split.

    Returns:
        Positions of the images of each half, in random order.
    """
    rng = np.random.default_rng(seed)
    names = np.array([name or f"\0{k}" for k, name in enumerate(patients)])
    halves: tuple[list[int], list[int]] = ([], [])
    order = rng.permutation(len(names))
    _, first, owner = np.unique(names[order], return_index=True, return_inverse=True)
    for patient in np.argsort(first):  # patients as they come in the random order
        min(halves, key=len).extend(order[owner == patient].tolist())
    n = min(map(len, halves))
    return np.array(halves[0][:n], dtype=np.int64), np.array(halves[1][:n], dtype=np.int64)


def read_images(rows: PackRows) -> Images:
    """Images of a data set's rows, float32 ``[N, H, W]`` or ``[N, H, W, 3]`` in [0, 1]."""
    planes = np.stack([rows.sample(position)[IMAGE].numpy() for position in range(len(rows))])
    return np.ascontiguousarray(channels_last(planes))


def read_patients(rows: PackRows) -> list[str]:
    """Patient of each row, "" where none is known."""
    return [str(patient) for patient in rows.manifest["patient_id"][rows.rows]]


@dataclass(frozen=True)
class MeasureSnapshot:
    """Measures a generator in the midst of its training: what ``handlers.fidelity.FidelityLog`` calls in its process.

    Real images and classifier are read, and refused, when it is made; features and floor are computed once, in the
    process that measures. The seed fixes the latents, so that one and the same samples are followed.

    Args:
        manifest: real images.
        size: side of the images in pixels: the generator's full resolution.
        patients_seen: patients of the generator's training images.
        split: split that the generator does not see.
        where: keep rows whose columns have these values.
        finding: keep only images positive for this finding.
        findings: those that a conditional generator is conditional on, in order; default the manifest's.
        label_rows: how often its training images have each label vector, as :meth:`PackRows.label_rows` counts.
        classifier: model file, or another package's network, whose features to use; None for the figures that need
            none.
        seed: of samples, halves and pairs.
        most: at most so many real images are used, drawn at random.
        device: where the classifier computes.
        kind: of the generator, as its model file names it.

    Raises:
        LeakageError: the generator or the classifier sees a patient of the held-out images.
        InputError: there are too few of these, or a file is missing.
    """

    manifest: str | Path
    size: int
    patients_seen: Sequence[str]
    split: str = "val"
    where: Where | None = None
    finding: str | None = None
    findings: Sequence[str] | None = None
    label_rows: Mapping[str, int] | None = None
    classifier: str | Path | Pretrained | None = None
    seed: int = 0
    most: int = 2000
    device: str = "cpu"
    kind: str = "pggan"

    def __post_init__(self) -> None:
        rows = self._rows()
        refuse_seen(frozenset(self.patients_seen), rows.patients(), self.manifest)
        halves = split_by_patient(read_patients(rows), self.seed)
        least = 2 if self.classifier is None else _LEAST_HALF
        if len(halves[0]) < least:
            rule = f"needs two halves of at least {least} held-out images, no patient in both"
            raise InputError(rows.manifest.path, rule, f"{len(rows)} images", "use a larger split")
        if self.classifier is not None:
            features = ClassifierFeatures(self.classifier, channels=rows.channels)
            features.refuse_seen(rows.patients())
            features.require_side(self.size)

    def __call__(self, snapshot: Mapping[str, Any]) -> dict[str, float]:
        """Sample and measure.

        Args:
            snapshot: ``settings`` and ``weights`` of a generator, and its ``growth`` (``Phase.growth``).

        Returns:
            The figures of :class:`RealReference`, floor included.
        """
        network = KINDS[self.kind](**snapshot["settings"])
        network.load_state_dict(snapshot["weights"])
        grown = _Grown(network.eval(), snapshot["growth"])
        reference, floor = self._reference
        about = {"finding": self.finding, "findings": self._rows().findings, "label_rows": self.label_rows}
        model = Model(grown, self.kind, about, Path("snapshot"))
        return {**reference.measure(sample_images(model, reference.n, self.seed)), **floor}

    @cached_property
    def _reference(self) -> tuple[RealReference, dict[str, float]]:
        rows = self._rows()
        features = None
        if self.classifier is not None:
            features = ClassifierFeatures(self.classifier, self.device, channels=rows.channels)
        reference = RealReference(read_images(rows), read_patients(rows), features, self.seed)
        return reference, reference.floor()

    def _rows(self) -> PackRows:
        rows = PackRows(self.manifest, self.split, self.where, self.findings, self.size, self.finding)
        if len(rows) > self.most:
            chosen = np.random.default_rng(self.seed).choice(rows.rows, self.most, replace=False)
            rows.keep(np.isin(np.arange(len(rows.manifest)), chosen), "drawn")
        return rows


class _Grown(nn.Module):
    """A generator at one moment of its growth, if it grows: each pixel repeated up to the full resolution."""

    def __init__(self, generator: nn.Module, growth: Mapping[str, Any]) -> None:
        super().__init__()
        self.generator, self.growth = generator, dict(growth)
        self.settings, self.layout = cast(Any, generator).settings, layout_of(generator)

    def forward(self, z: Tensor, **conditions: Any) -> Tensor:
        images: Tensor = self.generator(z, **self.growth, **conditions)
        factor = cast(Any, self.generator).resolution // images.shape[-1]
        return torch.repeat_interleave(images.repeat_interleave(factor, dim=2), factor, dim=3)
