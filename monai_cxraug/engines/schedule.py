"""Schedules of a GAN's training, growing or not: pure functions of the number of images seen."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from monai_cxraug.errors import ConfigError, nearest


@dataclass(frozen=True)
class Phase:
    """Where training stands.

    Args:
        resolution: side of the images in pixels.
        alpha: weight of the newest stage, in [0, 1]; below 1 while it fades in.
        batch_size: images in the next batch.
        growing: whether the networks grow: those of one size are not told where they stand.
    """

    resolution: int
    alpha: float
    batch_size: int
    growing: bool = True

    @property
    def growth(self) -> dict[str, Any]:
        """What a generator is called with besides latents and labels: ``resolution`` and ``alpha``, or nothing."""
        return {"resolution": self.resolution, **self.fade} if self.growing else {}

    @property
    def fade(self) -> dict[str, Any]:
        """What a discriminator, which sees the resolution, is called with: ``alpha``, or nothing."""
        return {"alpha": self.alpha} if self.growing else {}


class Schedule(Protocol):
    """What a trainer asks of a schedule."""

    #: full side in pixels.
    resolution: int
    #: images seen at the end.
    total_images: int

    def at(self, images_seen: int) -> Phase:
        """The phase after a number of images; beyond the end, the last phase."""

    def stage(self, images_seen: int) -> int:
        """Number of the stage; optimisers start anew in each."""

    def batch_sizes(self) -> Iterator[int]:
        """Sizes of all batches in order; the last one may go beyond ``total_images``."""

    def iterations(self) -> int:
        """Number of batches from the first to the one that reaches ``total_images``."""


class ProgressiveSchedule:
    """Stable at the start resolution, then for each doubling: fade in, stable. The last stage stays until the end.

    Args:
        resolution: full side in pixels, ``start_resolution`` times a power of two.
        fade_images: images over which alpha goes from 0 to 1; 0 switches at once.
        stable_images: images at alpha 1 before the next stage fades in.
        total_images: images seen at the end; by default ``stable_images`` after the last fade.
        start_resolution: side of the first stage, which has no fade.
        batch_size: one size, or one for each resolution, ``{4: 64, 8: 32, ...}`` (keys may be strings, as in JSON).

    Raises:
        ConfigError: an argument is out of range or the last fade would not finish.
    """

    def __init__(
        self,
        resolution: int,
        fade_images: int,
        stable_images: int,
        total_images: int | None = None,
        start_resolution: int = 4,
        batch_size: int | Mapping[int | str, int] = 32,
    ) -> None:
        self.resolutions = _doublings(start_resolution, resolution)
        _require_count("fade_images", fade_images, 0)
        _require_count("stable_images", stable_images, 0)
        self.resolution, self.fade_images = resolution, fade_images
        #: images seen when each resolution begins (to fade in).
        self.starts = [0] + [
            stable_images + stage * (fade_images + stable_images) for stage in range(len(self.resolutions) - 1)
        ]
        full_from = self.starts[-1] + (fade_images if len(self.starts) > 1 else 0)
        self.total_images = full_from + stable_images if total_images is None else total_images
        if self.total_images <= full_from:
            mend = f"give more than {full_from}, or shorten fade_images and stable_images"
            raise ConfigError(_name("total_images"), "training must go on after the last fade", self.total_images, mend)
        self.batch_size = _batch_sizes(batch_size, self.resolutions)

    def at(self, images_seen: int) -> Phase:
        """The phase after a number of images; beyond the end, the last phase.

        Raises:
            ConfigError: the number is negative.
        """
        _require_count("images_seen", images_seen, 0)
        stage = bisect.bisect_right(self.starts, images_seen) - 1
        resolution = self.resolutions[stage]
        into = images_seen - self.starts[stage]
        fading = stage > 0 and into < self.fade_images
        return Phase(resolution, into / self.fade_images if fading else 1.0, self.batch_size[resolution])

    def stage(self, images_seen: int) -> int:
        """Number of the stage: 0 at the start resolution, then one for each fade and each stable stretch after it."""
        phase = self.at(images_seen)
        doublings = self.resolutions.index(phase.resolution)
        return 2 * doublings - (phase.alpha < 1.0)

    def batch_sizes(self) -> Iterator[int]:
        """Sizes of all batches in order; the last one may go beyond ``total_images``."""
        for resolution, count in self._batches():
            yield from [self.batch_size[resolution]] * count

    def iterations(self) -> int:
        """Number of batches from the first to the one that reaches ``total_images``."""
        return sum(count for _, count in self._batches())

    def _batches(self) -> Iterator[tuple[int, int]]:
        """Each resolution with its number of batches."""
        seen = 0
        for resolution, end in zip(self.resolutions, [*self.starts[1:], self.total_images], strict=True):
            size = self.batch_size[resolution]
            count = max(0, -(-(end - seen) // size))
            seen += count * size
            yield resolution, count


#: images a fade and a stable stretch, and images a batch by resolution, of the runs in Karras et al. 2017.
_PUBLISHED: Final[dict[str, tuple[int, dict[int, int]]]] = {
    "600k": (600_000, {4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4}),
    "800k": (800_000, {4: 16, 8: 16, 16: 16, 32: 16, 64: 16, 128: 16, 256: 14, 512: 6, 1024: 3}),
}


def published_schedule(name: str, resolution: int, scale: float = 1.0) -> ProgressiveSchedule:
    """One of the two published schedules, up to a resolution.

    ``"600k"``: 600,000 images for each fade and each stable stretch, batches of 128 to 16 px, then 64, 32, 16, 8, 4 to
    512 px (the public code's preset for one GPU). ``"800k"``: 800,000 images, batches of 16, and 14, 6, 3 at 256, 512
    and 1024 px (the paper's appendix A.1).

    Args:
        name: of the schedule.
        resolution: full side in pixels, a power of two.
        scale: multiplies the images of every stretch, not the batches.

    Raises:
        ConfigError: no such schedule, or it does not reach the resolution.
    """
    where = "published_schedule"
    if name not in _PUBLISHED:
        raise ConfigError(f"{where}(name)", "must be a published schedule", name, nearest(name, _PUBLISHED))
    images, batches = _PUBLISHED[name]
    if resolution not in batches:
        found, rule = resolution, f"{name!r} has {', '.join(map(str, batches))} px"
        raise ConfigError(f"{where}(resolution)", rule, found, "give one of these, or a schedule of your own")
    if not 0 < scale < float("inf"):
        raise ConfigError(f"{where}(scale)", "must be above 0 and finite", scale, "1 is the published length")
    each = max(1, round(images * scale))
    sizes: dict[int | str, int] = {side: size for side, size in batches.items() if side <= resolution}
    return ProgressiveSchedule(resolution, each, each, batch_size=sizes)


# --- networks of one size ---


class FixedSchedule:
    """One resolution and one batch size from the first image to the last.

    Args:
        resolution: side of the images in pixels.
        total_images: images seen at the end.
        batch_size: images in a batch.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(self, resolution: int, total_images: int, batch_size: int = 32) -> None:
        name = type(self).__name__
        _require_count("resolution", resolution, 4, name)
        _require_count("total_images", total_images, 1, name)
        _require_count("batch_size", batch_size, 2, name)
        self.resolution, self.total_images, self.batch_size = resolution, total_images, batch_size

    def at(self, images_seen: int) -> Phase:
        """The same phase always.

        Raises:
            ConfigError: the number is negative.
        """
        _require_count("images_seen", images_seen, 0, type(self).__name__)
        return Phase(self.resolution, 1.0, self.batch_size, growing=False)

    def stage(self, images_seen: int) -> int:
        """There is but one stage, 0."""
        return 0

    def batch_sizes(self) -> Iterator[int]:
        """Sizes of all batches in order; the last one may go beyond ``total_images``."""
        yield from [self.batch_size] * self.iterations()

    def iterations(self) -> int:
        """Number of batches from the first to the one that reaches ``total_images``."""
        return -(-self.total_images // self.batch_size)


#: real images to batch size and epochs: what a published study of skin lesions trained an InfoGAN of 112 px with.
_INFOGAN: Final = {10: (8, 1000), 50: (16, 1500), 100: (64, 2000), 200: (128, 3000), 500: (128, 3500)}


def infogan_schedule(
    resolution: int,
    images: int,
    total_images: int | None = None,
    batch_size: int | None = None,
    scale: float = 1.0,
) -> FixedSchedule:
    """Batch size and length of training by the number of real images, as a published study chose them.

    It gives 10, 50, 100, 200 and 500 images: batches of 8, 16, 64, 128, 128 and 1000, 1500, 2000, 3000, 3500 epochs.
    Between them both are interpolated on logarithmic scales, since the numbers given follow each other by ratios, not
    by differences; the batch is rounded to the nearest power of two, as all of theirs are. Outside them the nearest
    one's hold. A batch never has more images than there are, so that none is drawn twice for it.

    Args:
        resolution: side of the images in pixels.
        images: real images to train on, at least 2.
        total_images: images seen at the end, instead of epochs.
        batch_size: images in a batch, instead of the published one.
        scale: multiplies the published number of epochs.

    Raises:
        ConfigError: an argument is out of range.
    """
    name = "infogan_schedule"
    _require_count("images", images, 2, name)
    if not 0 < scale < float("inf"):
        raise ConfigError(f"{name}(scale)", "must be above 0 and finite", scale, "1 is the published length")
    batch, epochs = _between_published(images)
    if total_images is None:
        total_images = max(1, round(images * epochs * scale))
    if batch_size is None:
        batch_size = min(2 ** round(math.log2(batch)), images)
    return FixedSchedule(resolution, total_images, batch_size)


def _between_published(images: int) -> tuple[float, float]:
    """Batch size and epochs at a number of images, by log-log interpolation."""
    counts = list(_INFOGAN)
    images = min(max(images, counts[0]), counts[-1])
    above = max(1, bisect.bisect_left(counts, images))
    low, high = counts[above - 1], counts[above]
    share = math.log(images / low) / math.log(high / low)
    batch, epochs = (a * (b / a) ** share for a, b in zip(_INFOGAN[low], _INFOGAN[high], strict=True))
    return batch, epochs


def whole_epochs(steps: int, epoch_length: int) -> int:
    """Number of epochs that make up exactly so many steps.

    Args:
        steps: optimiser steps in all.
        epoch_length: steps that the engine calls an epoch: the beat of checkpoints.

    Raises:
        ConfigError: the steps are not a positive multiple of the epoch length.
    """
    for name, value in (("steps", steps), ("epoch_length", epoch_length)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(name, "must be a whole number of at least 1", repr(value), f"mend {name}")
    if steps % epoch_length:
        mend = "change one of the two"
        raise ConfigError("steps", f"must be a multiple of epoch_length ({epoch_length})", steps, mend)
    return steps // epoch_length


def _name(argument: str, of: str = "ProgressiveSchedule") -> str:
    return f"{of}({argument})"


def _require_count(argument: str, value: int, least: int, of: str = "ProgressiveSchedule") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(_name(argument, of), f"must be a whole number of at least {least}", repr(value))


def _doublings(start: int, end: int) -> list[int]:
    """[start, 2 start, ..., end]."""
    _require_count("start_resolution", start, 4)
    _require_count("resolution", end, start)
    sizes = [start]
    while sizes[-1] < end:
        sizes.append(2 * sizes[-1])
    if sizes[-1] != end or start & (start - 1):
        mend = "use powers of two, for example 4 and 64"
        rule = "must be reached from start_resolution by doubling"
        raise ConfigError(_name("resolution"), rule, f"{start}, {end}", mend)
    return sizes


def _batch_sizes(given: int | Mapping[int | str, int], resolutions: list[int]) -> dict[int, int]:
    """One batch size for each resolution."""
    if not isinstance(given, Mapping):
        given = dict.fromkeys(resolutions, given)
    try:
        sizes = {int(resolution): size for resolution, size in given.items()}
    except ValueError:
        raise ConfigError(_name("batch_size"), "keys must be resolutions", list(given), "write {4: 32, ...}") from None
    if set(sizes) != set(resolutions):
        mend = f"give one batch size for each of {resolutions}"
        raise ConfigError(_name("batch_size"), "must name every resolution and no other", sorted(sizes), mend)
    for size in sizes.values():
        _require_count("batch_size", size, 2)  # the minibatch deviation of a single image says nothing
    return sizes
