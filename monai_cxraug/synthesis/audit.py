"""The memorisation audit: are synthetic images more like training images than real images of other patients are?"""

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
from monai_cxraug.data.copies import COPIES
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.manifest import Manifest
from monai_cxraug.data.pack import channels_of
from monai_cxraug.data.resampling import resize_area
from monai_cxraug.errors import ConfigError
from monai_cxraug.synthesis.features import ClassifierFeatures
from monai_cxraug.synthesis.found import PIXELS, Found, Threshold
from monai_cxraug.synthesis.likeness import LikenessSearch, Match, describe
from monai_cxraug.synthesis.nearest import Beside, Images, TwinSearch, write_picture

#: share of real images that are nearer to another patient's image than the threshold, in pixels.
QUANTILE: Final = 0.01
#: the same by each other measure. An image is near by any of them: all shares together are 2.75 %, for images come in
#: clusters by patient, so that the share of near ones among new patients' varies by more than a binomial's would.
QUANTILES: Final = {"correlation": 0.0025, "ssim": 0.0025, "aligned": 0.01, "features": 0.0025}
#: share of near images beyond the expected one from which a set surely holds copies.
MOST_NEAR: Final = 0.05
#: side in pixels at which images are compared at most, and at least where there are many.
_SIDE, _LEAST_SIDE = 64, 16
#: pixels that all training images may have as they are compared: a gigabyte, with what the search keeps of them.
_NUMBERS: Final = 2**27
#: real images whose nearest other patient is looked for at most; a quantile of 1 % then rests on twenty of them.
_MOST_REAL: Final = 2000
_LISTED: Final = 10
_LEVEL: Final = 0.95

#: measures as they stand below a picture.
_SHORT: Final = {PIXELS: "RMS", "correlation": "r", "ssim": "SSIM", "aligned": "aligned r", "features": "features"}

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
    """Compares images with the training images of a generator, by several measures of likeness.

    ``pixels`` is the root mean squared difference, exact over all training images. A copy that was noised, changed in
    contrast, blurred or slightly warped is far in pixels; :class:`~monai_cxraug.synthesis.likeness.LikenessSearch` has
    the measures that see through that. For each one an image counts as near when it, or its mirror image, is nearer to
    a training image than real images of other patients are: than the k-th smallest of the n distances of the real
    training images to the nearest training image of *another* patient, either way round. A patient left out is a
    held-out patient that costs no evaluation patient: no val or test patient may set a threshold. For k = ``quantile``
    (n + 1), rounded down, a fresh real image is near by this measure with probability k / (n + 1), as ranks of
    exchangeable numbers are uniform; the distances share images, so this holds about, not exactly. An image is *near*
    if it is by any measure; the *expected share* is that of the real images which are. In pixels k is at least 1. By
    the others, where there are too few real images for the quantile, near is what is less than half as far as any.

    :meth:`find` takes any images of the generator's size: real held-out ones show in a report what the share is for
    images that nobody can have memorised.

    Args:
        images: training images as they are compared, float32 ``[M, side, side]`` or ``[M, side, side, 3]`` in [0, 1].
        names: ``[M]``.
        patients: ``[M]``.
        real: ``[M]``: not filtered copies; these set the thresholds.
        about: of the manifest, for the record.
        quantile: share of real images that should count as near in pixels, in (0, 1).
        quantiles: the same by each other measure.
        features: a classifier whose features are compared too.

    Raises:
        ConfigError: a quantile is out of range, or the classifier wants larger images.
    """

    images: Images
    names: Sequence[str]
    patients: Sequence[str]
    real: NDArray[np.bool_]
    about: Mapping[str, Any] = field(default_factory=dict)
    quantile: float = QUANTILE
    quantiles: Mapping[str, float] = field(default_factory=lambda: QUANTILES)
    features: ClassifierFeatures | None = None

    def __post_init__(self) -> None:
        for quantile in (self.quantile, *self.quantiles.values()):
            if not 0 < quantile < 1:
                raise ConfigError("quantile", "must be above 0 and below 1", quantile, "0.01 is usual")
        if self.features is not None:
            self.features.require_side(self.side)

    @classmethod
    def of(
        cls,
        about: Mapping[str, Any],
        manifest: str | Path,
        size: int,
        channels: int = 1,
        features: ClassifierFeatures | None = None,
    ) -> MemorisationAudit | str:
        """Read the training images of a generator.

        They are compared at the generator's size, or at 64 px where that is larger, and coarser still where a
        gigabyte does not hold them all; larger ones are averaged over areas.

        Args:
            about: what the generator's model file says.
            manifest: where its training images are.
            size: side of its images in pixels.
            channels: of its images.
            features: a classifier whose features are compared too.

        Returns:
            The audit, or in words why there can be none.

        Raises:
            ConfigError: the manifest's images have other channels, or the classifier wants larger images.
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
        return cls(images, texts["image"], texts["patient_id"], real.astype(bool), found, features=features)

    @property
    def side(self) -> int:
        """Side in pixels at which images are compared."""
        return int(self.images.shape[1])

    @property
    def real_distances(self) -> NDArray[np.float64]:
        """Of real training images to the nearest of another patient, in pixels, ``[n]``, ascending."""
        return self.thresholds[PIXELS].real

    @cached_property
    def thresholds(self) -> dict[str, Threshold]:
        """Measure to its threshold."""
        quantiles = {PIXELS: self.quantile, **self.quantiles}
        return {
            name: Threshold(quantiles[name], np.sort(match.distances), least=int(name == PIXELS))
            for name, match in self._left_out.by.items()
        }

    @property
    def threshold(self) -> float:
        """Distance in pixels below which an image counts as near."""
        return self.thresholds[PIXELS].near

    @cached_property
    def expected_share(self) -> float:
        """Probability that a fresh real image counts as near, by any measure."""
        at_most = [match.distances <= self.thresholds[name].near for name, match in self._left_out.by.items()]
        return int(np.any(at_most, axis=0).sum()) / (len(self._left_out) + 1)

    @cached_property
    def _owners(self) -> NDArray[np.int64]:
        return np.unique(np.asarray(self.patients, dtype=str), return_inverse=True)[1].astype(np.int64)

    @cached_property
    def _twins(self) -> TwinSearch:
        return TwinSearch(self.images, self._owners)

    @cached_property
    def _likeness(self) -> LikenessSearch:
        return LikenessSearch(self.images, self._owners, self.features)

    @cached_property
    def _left_out(self) -> Found:
        """Real training images, each beside those of the other patients alone."""
        asked = np.flatnonzero(self.real)
        if len(asked) > _MOST_REAL:
            asked = np.sort(np.random.default_rng(0).choice(asked, _MOST_REAL, replace=False))
        return self._look(self.images[asked], self._owners[asked])

    def _look(self, images: Images, owners: NDArray[np.int64] | None = None) -> Found:
        twins = self._twins(images, owners)
        return Found({PIXELS: Match(*twins, twins.distances), **self._likeness(images, owners)})

    def find(self, images: Images) -> Found:
        """Find the match of each image, float32 ``[N, H, W]`` or ``[N, H, W, 3]`` in [0, 1], by each measure."""
        return self._look(fit_all(images, self.side, len(images), channels_of(images.shape)))

    def near(self, found: Found) -> NDArray[np.bool_]:
        """Say which images are near a training image by any measure, ``[N]``."""
        flags = [match.distances < self.thresholds[name].near for name, match in found.by.items()]
        return np.asarray(np.any(flags, axis=0), dtype=np.bool_)

    def copies(self, found: Found) -> NDArray[np.bool_]:
        """Say which images are nearer than half a threshold, ``[N]``."""
        flags = [match.distances < self.thresholds[name].copy for name, match in found.by.items()]
        return np.asarray(np.any(flags, axis=0), dtype=np.bool_)

    def nearest(self, found: Found) -> NDArray[np.int64]:
        """Positions of the ten that are most alike, the most alike first."""
        return np.argsort(self._parts(found).min(axis=0), kind="stable")[:_LISTED]

    def _parts(self, found: Found) -> NDArray[np.float64]:
        """Distances as parts of the thresholds, ``[measures, N]``."""
        parts = np.full((len(found.by), len(found)), np.inf)
        for line, (name, match) in zip(parts, found.by.items(), strict=True):
            near = self.thresholds[name].near
            np.divide(match.distances, near, out=line, where=near > 0)
        return parts

    def verdict(self, found: Found, dropped: int = 0) -> str:
        """Judge in words.

        Copies are there if one is nearer in pixels than half the threshold, however few; or if, by any measure, copies
        are surely more than among real images (of which one more than were seen is allowed for), or near images surely
        more than are expected and 5 % beyond; "surely" by the 95 % interval.
        """
        share, copied = (binomial_interval(int(which.sum()), len(found))[0] for which in self._flags(found))
        known = (int(self.copies(self._left_out).sum()) + 1) / (len(self._left_out) + 1)
        in_pixels = bool((found.pixels.distances < self.thresholds[PIXELS].copy).any())
        if in_pixels or copied > known or share > self.expected_share + MOST_NEAR:
            return COPIES
        if share > self.expected_share:
            return "nearer to training images than real images of other patients are"
        if dropped:
            return "near images were dropped; none of the others is nearer than real images of other patients are"
        return "no sign of copies"

    def _flags(self, found: Found) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        return self.near(found), self.copies(found)

    def report(self, names: Sequence[str], found: Found, dropped: int = 0) -> dict[str, Any]:
        """Sum up what was found, as plain values.

        Args:
            names: of the images, ``[N]``.
            found: by :meth:`find`, ``[N]``.
            dropped: how many images were left out because they were near.

        Returns:
            What was compared and how; ``threshold``, ``median`` and ``real_median`` in pixels; by any measure
            ``expected_share``, ``near``, ``share`` and its exact binomial ``interval`` (Clopper and Pearson 1934), and
            ``copies``: those nearer than half a threshold; ``verdict`` in words; ``measures``: the same for each
            measure alone; ``nearest``: the ten pairs most alike, each by the measure that says so most clearly.
        """
        near, copies = (int(which.sum()) for which in self._flags(found))
        interval = binomial_interval(near, len(found))
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
            "images": len(found),
            "median": float(np.median(found.pixels.distances)),
            "near": near,
            "share": near / len(found),
            "interval": list(interval),
            "copies": copies,
            "dropped": dropped,
            "verdict": self.verdict(found, dropped),
            "measures": {name: self._measured(name, match) for name, match in found.by.items()},
            "nearest": [self._pair(names, found, int(k)) for k in self.nearest(found)],
        }

    def _measured(self, name: str, match: Match) -> dict[str, Any]:
        threshold = self.thresholds[name]
        near = int((match.distances < threshold.near).sum())
        classifier = {} if name != "features" or self.features is None else {"classifier": self.features.name}
        return {
            "measure": {PIXELS: "root mean squared difference", **describe(self.side)}[name],
            **classifier,
            "quantile": threshold.quantile,
            "threshold": threshold.near,
            "expected_share": threshold.rank / (len(threshold.real) + 1),
            "real_median": float(np.median(threshold.real)),
            "median": float(np.median(match.distances)),
            "near": near,
            "share": near / len(match.rows),
            "interval": list(binomial_interval(near, len(match.rows))),
            "copies": int((match.distances < threshold.copy).sum()),
        }

    def write_table(self, path: Path, names: Sequence[str], found: Found) -> None:
        """Write what was found for every image as a CSV.

        The nearest training image in pixels and its distance; whether the image is near, and by which measures; then
        the match by every other measure, its likeness, and the distance that is compared with the threshold.
        """
        others = [name for name in found.by if name != PIXELS]
        columns = ["image", "training_image", "distance", "mirrored", "near", "near_by"]
        columns += [text for name in others for text in (f"{name}_image", name, f"{name}_distance")]
        near = {name: match.distances < self.thresholds[name].near for name, match in found.by.items()}
        write_csv(path, columns, (self._line(names, found, near, others, k) for k in range(len(found))))

    def _line(
        self, names: Sequence[str], found: Found, near: Mapping[str, NDArray[np.bool_]], others: Sequence[str], k: int
    ) -> list[object]:
        row, mirrored, distance, _ = (column[k] for column in found.pixels)
        by = [name for name, which in near.items() if which[k]]
        more = [found.by[name].at(slice(k, k + 1)) for name in others]
        return [
            *(names[k], self.names[row], f"{distance:.6g}", int(mirrored), int(bool(by)), " ".join(by)),
            *(
                text
                for match in more
                for text in (self.names[match.rows[0]], f"{match.values[0]:.6g}", f"{match.distances[0]:.6g}")
            ),
        ]

    def draw(self, path: Path, images: Images, found: Found) -> None:
        """Draw images, ``[N, H, W]`` or ``[N, H, W, 3]``, beside the training image most like each, turned likewise.

        Below it stand the measure that says so most clearly, and the likeness by it.
        """
        shown, captions = [], []
        for k, name in enumerate(self._clearest(found)):
            row, mirrored, _, value = (column[k] for column in found.by[name])
            shown.append(self.images[row][:, ::-1] if mirrored else self.images[row])
            captions.append([f"{_SHORT[name]} {value:.3g}{' mirrored' if mirrored else ''}"])
        beside = Beside("training image most alike", np.stack(shown)[:, None], captions)
        write_picture(path, fit_all(images, self.side, len(images), channels_of(images.shape)), [beside])

    def _clearest(self, found: Found) -> list[str]:
        """The measure by which each image is nearest, as a part of the threshold."""
        names = list(found.by)
        return [names[k] for k in self._parts(found).argmin(axis=0)]

    def _pair(self, names: Sequence[str], found: Found, k: int) -> dict[str, Any]:
        (measure,) = self._clearest(found.at(slice(k, k + 1)))
        row, mirrored, distance, value = (column[k] for column in found.by[measure])
        return {
            "image": names[k],
            "training_image": self.names[row],
            "measure": measure,
            "distance": float(distance),
            "likeness": float(value),
            "mirrored": bool(mirrored),
        }


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
