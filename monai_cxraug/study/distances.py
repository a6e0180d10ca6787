"""Distances of the images of each trial: pixels, structure, features, and what networks see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from monai_cxraug.artifacts import file_hash
from monai_cxraug.console import Progress
from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.metrics.fsim import fsim
from monai_cxraug.networks.plain_tensors import read_plain
from monai_cxraug.study.files import Study, Trial

Floats = NDArray[np.float64]
#: pairs of images ``[N, 1, H, W]`` in [0, 1] to distances ``[N]``.
Compare = Callable[[Tensor, Tensor], Tensor]

#: side of SSIM's window, in pixels.
_WINDOW: Final = 11
#: weights of MS-SSIM's scales (Wang, Simoncelli and Bovik, Asilomar 2003, section 3.2), the finest first.
_SCALES: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
#: keeps PSNR finite for equal images, which then have 100 dB.
_TINY: Final = 1e-10
_BATCH: Final = 32


@dataclass(frozen=True)
class Distance:
    """One distance for all trials.

    Args:
        name: for tables.
        kind: ``pixels``, ``structure``, ``plain``, ``linear``, ``tuned`` or ``lpips``.
        first: by trial: between the reference and the first image of a forced choice; between both images of a pair.
        second: by trial of a forced choice: between the reference and the second image.
        about: where it comes from: plain values for the record.
    """

    name: str
    kind: str
    first: Mapping[str, float]
    second: Mapping[str, float]
    about: Mapping[str, Any] = field(default_factory=dict)

    def pairs(self, trials: Sequence[Trial]) -> tuple[Floats, Floats]:
        """Distances of first and of second images of forced choices, ``[T]`` each."""
        one, two = ([side[trial.trial] for trial in trials] for side in (self.first, self.second))
        return np.array(one, dtype=np.float64), np.array(two, dtype=np.float64)

    def between(self, trials: Sequence[Trial]) -> Floats:
        """Distances of the two images of each trial, ``[T]``."""
        return np.array([self.first[trial.trial] for trial in trials], dtype=np.float64)


@dataclass(frozen=True)
class Comparison:
    """Two images that a distance is wanted of; ``second`` says whose place in the trial it takes."""

    trial: Trial
    one: str
    two: str
    second: bool


@dataclass
class Pictures:
    """Images of a study as tensors, each read once.

    Args:
        study: whose images they are.
    """

    study: Study
    _read: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, name: str) -> Tensor:
        """Image ``[1, H, W]`` in [0, 1].

        Raises:
            InputError: the file is unreadable.
        """
        if name not in self._read:
            self._read[name] = torch.from_numpy(read_grey(self.study.image(name)))[None]
        return self._read[name]

    def batches(self, comparisons: Sequence[Comparison]) -> Iterator[tuple[list[Comparison], Tensor, Tensor]]:
        """Yield comparisons of one size of image together, with both images ``[N, 1, H, W]``.

        Raises:
            InputError: the images of a comparison differ in size.
        """
        sizes: dict[tuple[int, ...], list[Comparison]] = {}
        for one in comparisons:
            sizes.setdefault(self._size(one), []).append(one)
        for alike in sizes.values():
            for start in range(0, len(alike), _BATCH):
                part = alike[start : start + _BATCH]
                yield part, torch.stack([self(x.one) for x in part]), torch.stack([self(x.two) for x in part])

    def _size(self, pair: Comparison) -> tuple[int, ...]:
        one, two = self(pair.one).shape, self(pair.two).shape
        if one != two:
            where = f"trial {pair.trial.trial}"
            raise InputError(where, "its images must have one size", f"{tuple(one[1:])} and {tuple(two[1:])}")
        return tuple(one)


def read_grey(path: Path) -> NDArray[np.float32]:
    """Read a picture of 8 bits as grey ``[H, W]`` in [0, 1].

    Raises:
        InputError: it is unreadable.
    """
    try:
        with Image.open(path) as picture:
            return np.asarray(np.asarray(picture.convert("L"), dtype=np.float32) / np.float32(255), dtype=np.float32)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise InputError(path, "must be a readable picture", error, "restore the folder as it was built") from None


def wanted(trials: Sequence[Trial]) -> list[Comparison]:
    """List the comparisons that trials need: two for a forced choice, one for a pair."""
    found = []
    for trial in trials:
        if trial.task == "2afc":
            found.append(Comparison(trial, trial.reference, trial.first, False))
            found.append(Comparison(trial, trial.reference, trial.second, True))
        elif trial.task == "jnd":
            found.append(Comparison(trial, trial.first, trial.second, False))
    return found


def measure(
    name: str,
    kind: str,
    compare: Compare,
    pictures: Pictures,
    trials: Sequence[Trial],
    about: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Distance:
    """Compute one distance of all trials.

    Args:
        name: for tables.
        kind: see :class:`Distance`.
        compare: the distance.
        pictures: images of the study.
        trials: forced choices and pairs.
        about: where the distance comes from.
        progress: told (done, total) pairs of images.

    Raises:
        InputError: a distance is not finite, or an image is unreadable or of another size than its partner.
    """
    sides: tuple[dict[str, float], dict[str, float]] = ({}, {})
    todo, done = wanted(trials), 0
    for part, one, two in pictures.batches(todo):
        with torch.inference_mode():
            values = compare(one, two).double().cpu().tolist()
        for pair, value in zip(part, values, strict=True):
            if not np.isfinite(value):
                raise InputError(f"{name} of trial {pair.trial.trial}", "must be finite", value, "is it damaged?")
            sides[pair.second][pair.trial.trial] = value
        done += len(part)
        if progress:
            progress(done, len(todo))
    return Distance(name, kind, *sides, about or {})


# --- pixels and structure ---


def _l1(one: Tensor, two: Tensor) -> Tensor:
    return (one - two).abs().mean(dim=(1, 2, 3))


def _l2(one: Tensor, two: Tensor) -> Tensor:
    return (one - two).square().mean(dim=(1, 2, 3)).sqrt()


def _psnr(one: Tensor, two: Tensor) -> Tensor:
    """Negative, so that larger is farther; it orders images as L2 does."""
    return 10 * torch.log10((one - two).square().mean(dim=(1, 2, 3)) + _TINY)


def _ssim(one: Tensor, two: Tensor) -> Tensor:
    from monai.metrics import SSIMMetric

    return 1 - _each(SSIMMetric(2, data_range=1.0, win_size=_WINDOW), one, two)


def _ms_ssim(one: Tensor, two: Tensor) -> Tensor:
    from monai.metrics import MultiScaleSSIMMetric

    weights = np.array(_SCALES[: scales(min(one.shape[2:]))])
    metric = MultiScaleSSIMMetric(2, data_range=1.0, kernel_size=_WINDOW, weights=(weights / weights.sum()).tolist())
    return 1 - _each(metric, one, two)


def _each(metric: Any, one: Tensor, two: Tensor) -> Tensor:
    metric.reset()
    values: Tensor = metric(one, two)
    return values.reshape(len(one), -1).mean(dim=1)


def _fsim(one: Tensor, two: Tensor) -> Tensor:
    pairs = zip(one[:, 0].numpy(), two[:, 0].numpy(), strict=True)
    return torch.tensor([1 - fsim(first, second) for first, second in pairs])


def scales(side: int) -> int:
    """Scales of MS-SSIM that images have room for: five from 176 px up, three from 44 px, two from 22 px.

    Every scale needs more pixels than its window has; MONAI asks for ``side > 10 (scales - 1)^2``, which is stricter
    above three.

    Raises:
        ConfigError: not even one scale fits.
    """
    fits = [n for n in range(1, 6) if side // max(1, n - 1) ** 2 >= _WINDOW and side // 2 ** (n - 1) >= _WINDOW]
    if not fits:
        raise ConfigError("MS-SSIM", f"images must have at least {_WINDOW} px a side", side)
    return max(fits)


#: name to kind, distance, and the side in pixels that images need.
PIXEL_DISTANCES: Final[Mapping[str, tuple[str, Compare, int]]] = {
    "L1": ("pixels", _l1, 1),
    "L2": ("pixels", _l2, 1),
    "PSNR": ("pixels", _psnr, 1),
    "SSIM": ("structure", _ssim, _WINDOW),
    "MS-SSIM": ("structure", _ms_ssim, _WINDOW),
    "FSIM": ("structure", _fsim, 16),
}


def pixel_distances(
    pictures: Pictures, trials: Sequence[Trial], progress: Progress | None = None
) -> tuple[list[Distance], list[str]]:
    """Compute every distance that needs no network.

    Returns:
        The distances, and the names of those that the images are too small for.
    """
    smallest = min((min(pictures(pair.one).shape[1:]) for pair in wanted(trials)), default=0)
    fits = {name: entry for name, entry in PIXEL_DISTANCES.items() if smallest >= entry[2]}
    about = {"MS-SSIM": {"scales": scales(smallest)}} if "MS-SSIM" in fits else {}
    done = [
        measure(name, kind, compare, pictures, trials, about.get(name), progress)
        for name, (kind, compare, _) in fits.items()
    ]
    return done, [name for name in PIXEL_DISTANCES if name not in fits]


# --- LPIPS ---


def lpips_distance(weights: str, pictures: Pictures, trials: Sequence[Trial]) -> Distance:
    """Compute LPIPS 0.1 by its authors' package, which carries the channel weights, from a local file of the backbone.

    Args:
        weights: ``alex=FILE``, ``vgg=FILE`` or ``squeeze=FILE``: ImageNet weights of that network as torchvision names
            them.
        pictures: images of the study.
        trials: forced choices and pairs.

    Raises:
        ConfigError: the package is not installed, or the network is none of the three.
        InputError: the file is missing, or does not fill the network.
    """
    net, _, file = weights.partition("=")
    if net not in ("alex", "vgg", "squeeze") or not file:
        raise ConfigError("--lpips", "must be alex=FILE, vgg=FILE or squeeze=FILE", repr(weights))
    network = _load_lpips(net, Path(file))

    def compare(one: Tensor, two: Tensor) -> Tensor:
        values: Tensor = network(_colour(one), _colour(two))
        return values.reshape(-1)

    about = {"package": "lpips", "net": net, "weights": file_hash(file)}
    return measure(f"LPIPS ({net})", "lpips", compare, pictures, trials, about)


def _colour(images: Tensor) -> Tensor:
    """Grey in [0, 1] to what LPIPS takes: three channels in [-1, 1]."""
    return (2 * images - 1).expand(-1, 3, -1, -1)


def _load_lpips(net: str, file: Path) -> Any:
    try:
        lpips = import_module("lpips")
    except ImportError as error:
        mend = "install lpips and torchvision, or leave --lpips out"
        raise ConfigError("--lpips", "needs the package lpips", error, mend) from None
    network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
    mend = f"give torchvision's ImageNet weights of {net}"
    given = read_plain(file, f"must hold the weights of {net}", mend)
    try:
        # the package names a layer "slice2.3" where torchvision says "features.3"
        own = {name: f"features.{name.partition('.')[2]}" for name in network.net.state_dict()}
        network.net.load_state_dict({name: given[theirs] for name, theirs in own.items()})
    except (KeyError, RuntimeError, TypeError, AttributeError) as error:
        raise InputError(
            file, f"must hold the weights of {net}", f"{type(error).__name__}: {error}"[:200], mend
        ) from None
    return network
