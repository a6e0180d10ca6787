"""The growth schedule of the progressive GAN: a pure function of the number of images seen."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from monai_cxraug.errors import ConfigError, nearest


@dataclass(frozen=True)
class Phase:
    """Where training stands.

    Args:
        resolution: side of the images in pixels.
        alpha: weight of the newest stage, in [0, 1]; below 1 while it fades in.
        batch_size: images in the next batch.
    """

    resolution: int
    alpha: float
    batch_size: int


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


def _name(argument: str) -> str:
    return f"ProgressiveSchedule({argument})"


def _require_count(argument: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(_name(argument), f"must be a whole number of at least {least}", repr(value))


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
