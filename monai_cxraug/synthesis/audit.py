"""The memorisation audit: are synthetic images nearer to training images than real images of other patients are?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from monai_cxraug.artifacts import write_csv
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.manifest import Manifest
from monai_cxraug.data.pack import channels_of
from monai_cxraug.data.resampling import resize_area
from monai_cxraug.errors import ConfigError
from monai_cxraug.synthesis.nearest import Beside, Images, Twins, TwinSearch, write_picture

#: share of real images that are nearer to another patient's image than the threshold.
QUANTILE: Final = 0.01
#: side in pixels at which images are compared at most, and at least where there are many.
_SIDE, _LEAST_SIDE = 64, 16
#: pixels that all training images may have as they are compared: a gigabyte, with what the search keeps of them.
_NUMBERS: Final = 2**27
#: real images whose nearest other patient is looked for at most; the quantile then rests on fifty of them.
_MOST_REAL: Final = 5000
#: what is nearer than this part of the threshold is called a copy, however few there are.
_COPY: Final = 0.5
_LISTED: Final = 10
_LEVEL: Final = 0.95

NO_MANIFEST: Final = "no manifest was given: the generator's training images were not at hand"


def choose_training(manifest: Manifest, about: Mapping[str, Any]) -> NDArray[np.int64]:
    """Choose the training images of a generator, filtered copies included.

    Args:
        manifest: the one it was trained on, or another with the same patients.
        about: what its model file says: ``patients_seen`` and ``finding``, None where it is conditional on several.

    Returns:
        Rows of the patients it saw that show its finding.
    """
    known = np.isin(manifest["patient_id"].astype(str), sorted(set(about["patients_seen"]) - {""}))
    if about.get("finding") is not None:
        known &= manifest.label(about["finding"]) == 1
    return np.flatnonzero(known)


@dataclass(frozen=True)
class MemorisationAudit:
    """Compares images with the training images of a generator, by the root mean squared difference of pixels.

    An image counts as near when it, or its mirror image, is nearer to a training image than real images of other
    patients are: than the k-th smallest of the n distances of the real training images to the nearest training image of
    *another* patient, either way round. A patient left out is a held-out patient that costs no evaluation patient: no
    val or test patient may set a threshold. For k = ``quantile`` (n + 1), rounded down but at least 1, a fresh real
    image is near with probability k / (n + 1), the *expected share*, as ranks of exchangeable numbers are uniform; the
    distances share images, so this holds about, not exactly. :meth:`find` takes any images of the generator's size:
    real held-out ones show in a report what the share is for images that nobody can have memorised.

    Args:
        images: training images as they are compared, float32 ``[M, side, side]`` or ``[M, side, side, 3]`` in [0, 1].
        names: ``[M]``.
        patients: ``[M]``.
        real: ``[M]``: not filtered copies; these set the threshold.
        about: of the manifest, for the record.
        quantile: share of real images that should count as near, in (0, 1).

    Raises:
        ConfigError: the quantile is out of range.
    """

    images: Images
    names: Sequence[str]
    patients: Sequence[str]
    real: NDArray[np.bool_]
    about: Mapping[str, Any] = field(default_factory=dict)
    quantile: float = QUANTILE

    def __post_init__(self) -> None:
        if not 0 < self.quantile < 1:
            raise ConfigError("quantile", "must be above 0 and below 1", self.quantile, "0.01 is usual")

    @classmethod
    def of(
        cls, about: Mapping[str, Any], manifest: str | Path, size: int, channels: int = 1
    ) -> MemorisationAudit | str:
        """Read the training images of a generator.

        They are compared at the generator's size, or at 64 px where that is larger, and coarser still where a
        gigabyte does not hold them all; larger ones are averaged over areas.

        Args:
            about: what the generator's model file says.
            manifest: where its training images are.
            size: side of its images in pixels.
            channels: of its images.

        Returns:
            The audit, or in words why there can be none.

        Raises:
            ConfigError: the manifest's images have other channels.
        """
        source = PackRows(manifest)
        source.pack.require_channels(channels)
        table = source.manifest
        if not about["patients_seen"]:
            return "the generator names no patient whose images it saw"
        if about.get("finding") not in (None, *table.findings):
            return f"the manifest does not know the generator's finding {about['finding']!r}"
        rows = choose_training(table, about)
        real = table["source"][rows] == "real"
        if len(table.patients(rows[real])) < 2:
            return "the manifest has not two patients with real training images of the generator"
        full = min(size, source.size)
        side = choose_side(full, len(rows) * channels)
        images = fit_all((source.pack.image(int(row), full) for row in rows), side, len(rows), channels)
        texts = {name: table[name][rows].astype(str).tolist() for name in ("image", "patient_id")}
        found = {"manifest": table.hash(), "same_manifest": table.hash() == about.get("manifest")}
        return cls(images, texts["image"], texts["patient_id"], real.astype(bool), found)

    @property
    def side(self) -> int:
        """Side in pixels at which images are compared."""
        return int(self.images.shape[1])

    @cached_property
    def real_distances(self) -> NDArray[np.float64]:
        """Distances of real training images to the nearest training image of another patient, ``[n]``, ascending."""
        asked = np.flatnonzero(self.real)
        if len(asked) > _MOST_REAL:
            asked = np.sort(np.random.default_rng(0).choice(asked, _MOST_REAL, replace=False))
        return np.sort(self._search(self.images[asked], self._owners[asked]).distances)

    @cached_property
    def _owners(self) -> NDArray[np.int64]:
        return np.unique(np.asarray(self.patients, dtype=str), return_inverse=True)[1].astype(np.int64)

    @cached_property
    def _search(self) -> TwinSearch:
        return TwinSearch(self.images, self._owners)

    @property
    def _rank(self) -> int:
        return max(1, int(self.quantile * (len(self.real_distances) + 1)))

    @property
    def threshold(self) -> float:
        """Distance below which an image counts as near."""
        return float(self.real_distances[self._rank - 1])

    @property
    def expected_share(self) -> float:
        """Probability that a fresh real image counts as near."""
        return self._rank / (len(self.real_distances) + 1)

    def find(self, images: Images) -> Twins:
        """Find the nearest training image of each image, float32 ``[N, H, W]`` or ``[N, H, W, 3]`` in [0, 1]."""
        return self._search(fit_all(images, self.side, len(images), channels_of(images.shape)))

    def report(self, names: Sequence[str], found: Twins, dropped: int = 0) -> dict[str, Any]:
        """Sum up what was found, as plain values.

        Args:
            names: of the images, ``[N]``.
            found: by :meth:`find`, ``[N]``.
            dropped: how many images were left out because they were near.

        Returns:
            What was compared and how; ``threshold`` and ``expected_share``; ``near``, ``share`` and its exact binomial
            ``interval`` (Clopper and Pearson 1934); ``copies``: those nearer than half the threshold; ``verdict`` in
            words; ``nearest``: the ten nearest pairs.
        """
        distances = found.distances
        near, copies = (int((distances < part * self.threshold).sum()) for part in (1, _COPY))
        interval = binomial_interval(near, len(distances))
        return {
            **self.about,
            "measure": "root mean squared difference of pixels in [0, 1], image or mirror image",
            "side": self.side,
            "training_images": len(self.images),
            "filtered_copies": int((~self.real).sum()),
            "training_patients": len(set(self.patients)),
            "threshold_from": "real training images to the nearest training image of another patient",
            "real_images": len(self.real_distances),
            "real_median": float(np.median(self.real_distances)),
            "quantile": self.quantile,
            "threshold": self.threshold,
            "expected_share": self.expected_share,
            "images": len(distances),
            "median": float(np.median(distances)),
            "near": near,
            "share": near / len(distances),
            "interval": list(interval),
            "copies": copies,
            "dropped": dropped,
            "verdict": _judge(copies, dropped, interval[0] > self.expected_share),
            "nearest": [self._pair(names, found, k) for k in nearest_of(found)],
        }

    def write_table(self, path: Path, names: Sequence[str], found: Twins) -> None:
        """Write the nearest training image of every image as a CSV."""
        columns = ["image", "training_image", "distance", "mirrored", "near"]
        lines = (
            [name, self.names[row], f"{distance:.6g}", int(mirrored), int(distance < self.threshold)]
            for name, row, mirrored, distance in zip(names, *found, strict=True)
        )
        write_csv(path, columns, lines)

    def draw(self, path: Path, images: Images, found: Twins) -> None:
        """Draw images, ``[N, H, W]`` or ``[N, H, W, 3]``, beside what was found for them, ``[N]``, turned likewise."""
        turned = [
            self.images[row][:, ::-1] if mirrored else self.images[row]
            for row, mirrored in zip(found.rows, found.mirrored, strict=True)
        ]
        captions = [
            [f"{distance:.3g}{' mirrored' if mirrored else ''}"]
            for distance, mirrored in zip(found.distances, found.mirrored, strict=True)
        ]
        beside = Beside("nearest training image", np.stack(turned)[:, None], captions)
        write_picture(path, fit_all(images, self.side, len(images), channels_of(images.shape)), [beside])

    def _pair(self, names: Sequence[str], found: Twins, k: int) -> dict[str, Any]:
        return {
            "image": names[k],
            "training_image": self.names[found.rows[k]],
            "distance": float(found.distances[k]),
            "mirrored": bool(found.mirrored[k]),
        }


def nearest_of(found: Twins) -> NDArray[np.int64]:
    """Positions of the ten nearest, nearest first."""
    return np.argsort(found.distances, kind="stable")[:_LISTED]


def choose_side(size: int, images: int) -> int:
    """Choose the side at which so many images, or channels of images, of a size are compared."""
    side = min(size, _SIDE)
    while side > _LEAST_SIDE and images * side**2 > _NUMBERS:
        side //= 2
    return side


def fit_all(images: Any, side: int, count: int, channels: int = 1) -> Images:
    """Average ``count`` images ``[H, W]`` or ``[H, W, 3]`` over areas to ``[count, side, side]`` (``, 3``)."""
    fitted = np.empty((count, side, side, *([channels] if channels != 1 else [])), dtype=np.float32)
    for place, image in enumerate(images):
        same = image.shape[:2] == (side, side)
        fitted[place] = image if same else resize_area(np.ascontiguousarray(image), side, side)
    return fitted


def binomial_interval(successes: int, trials: int, level: float = _LEVEL) -> tuple[float, float]:
    """Exact interval of a share (Clopper and Pearson, Biometrika 1934).

    Args:
        successes: of the trials.
        trials: at least 1.
        level: probability that it covers the share, at least.

    Returns:
        Its ends, in [0, 1].
    """
    tail = (1 - level) / 2
    low = betaincinv(successes, trials - successes + 1, tail) if successes else 0.0
    high = betaincinv(successes + 1, trials - successes, 1 - tail) if successes < trials else 1.0
    return float(low), float(high)


def _judge(copies: int, dropped: int, more: bool) -> str:
    if copies:
        return "copies of training images"
    if more:
        return "nearer to training images than real images of other patients are"
    if dropped:
        return "near images were dropped; none of the others is nearer than real images of other patients are"
    return "no sign of copies"
