"""What an arm adds to the real training images: rows again, filtered copies, and synthetic sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.data.datasets import PackRows, Sample
from monai_cxraug.data.filtered import FilterAugment, filter_stored
from monai_cxraug.data.pack import to_unit
from monai_cxraug.data.resampling import resize_area
from monai_cxraug.errors import ConfigError, InputError, nearest
from monai_cxraug.keys import NAME, SOURCE
from monai_cxraug.labels import require_findings
from monai_cxraug.transforms.functional.filters import SYSTEM_B

#: what the positives of a training set can be.
ORIGINS: Final = ("real", "duplicate", "filtered", "synthetic", "external")
#: of these, images of nobody.
UNREAL: Final = ("synthetic", "external")

_SET_KEYS = frozenset({"folder", "n"})
#: last word of the seed, so that shuffling labels shares no numbers with repeating rows.
_SHUFFLE = 1


def repeat_rows(rows: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Draw ``count`` of the rows, each as often as any other give or take one."""
    rng = np.random.default_rng([seed, count])
    whole = [rng.permutation(rows) for _ in range(-(-count // len(rows)))]
    return np.concatenate([*whole, rows[:0]])[:count]


def repeat_positives(real: PackRows, finding: str, count: int, setting: str, part: PackRows) -> None:
    """Fill a part with real positives of a finding, drawn evenly.

    Args:
        real: the training images; of these, those of source ``real`` are drawn from.
        finding: that the images show.
        count: how many.
        setting: name of the setting that asked for them, for messages.
        part: a bare :class:`PackRows`, made without its constructor.

    Raises:
        ConfigError: the count is no whole number of at least 0.
        InputError: no real image shows the finding.
    """
    if type(count) is not int or count < 0:
        raise ConfigError(f"{setting} {finding!r}", "must be a whole number of at least 0", repr(count), "mend it")
    part.__dict__.update(real.__dict__)  # the same manifest and pack, other rows
    positive = (real.manifest.label(finding) == 1) & (real.manifest["source"] == "real")
    part.keep(positive, f"real and positive for {finding!r} to be added by {setting!r}")


class DuplicateRows(PackRows):
    """Real positives again.

    Args:
        real: the training images.
        finding: that the images show.
        count: how many.
        seed: of the choice.
    """

    origin = "duplicate"

    def __init__(self, real: PackRows, finding: str, count: int, seed: int) -> None:
        repeat_positives(real, finding, count, "duplicates", self)
        self.rows = repeat_rows(self.rows, count, seed)


class FilteredRows(PackRows):
    """Filtered copies of real positives, by several filters in turn; the pictures are those of ``FilterAugment``.

    Images are chosen as duplicates are. When an image comes again it comes through the next filter, so that a copy is
    repeated only after all of them have been used.

    Args:
        real: the training images.
        finding: that the images show.
        count: how many.
        seed: of the choice.
        names: of the filters; default system B's.

    Attributes:
        filters: name of each copy's filter, ``[count]``.

    Raises:
        ConfigError: a filter is unknown, or none is named.
        InputError: the images are too small for a filter.
    """

    origin = "filtered"

    def __init__(self, real: PackRows, finding: str, count: int, seed: int, names: Sequence[str] = SYSTEM_B) -> None:
        names = FilterAugment("", "", names).names  # refuses what is no filter
        repeat_positives(real, finding, count, "filtered", self)
        positives = self.rows
        self.rows = repeat_rows(positives, count, seed)
        self.filters = _in_turn(self.rows, len(positives), names)
        for position in range(min(count, len(names))):
            self._try(position)

    def picture(self, position: int) -> NDArray[np.float32]:
        """Return the filtered picture, ``[size, size]`` (``, 3``) in [0, 1], rounded as in a pack."""
        unit = to_unit(filter_stored(self.pack.batch([self.rows[position]]), self.filters[position]))[0]
        return unit if self.size == self.pack.size else resize_area(unit, self.size, self.size)

    def _try(self, position: int) -> None:
        """Refuse images that are too small now rather than in the middle of a training."""
        try:
            self.picture(position)
        except InputError as error:
            rule = f"filter {self.filters[position]!r}: image {error.rule}"
            raise InputError(self.pack.folder / "pack.npy", rule, error.found, "prepare larger images") from None

    def sample(self, position: int) -> Sample:
        """Return the sample dictionary, named as the copies of ``FilterAugment`` are."""
        sample = super().sample(position)
        return {**sample, NAME: f"{sample[NAME]}+{self.filters[position]}", SOURCE: "filtered"}


def _in_turn(rows: NDArray[np.int64], per_pass: int, names: Sequence[str]) -> list[str]:
    """Filter of each copy: in turn within the first pass over the rows, the next one for a row that comes again."""
    first = {int(row): rank for rank, row in enumerate(rows[:per_pass])}
    return [names[(first[int(row)] + number // per_pass) % len(names)] for number, row in enumerate(rows)]


def parse_set(entry: str | Path | Mapping[str, Any]) -> tuple[Path, int | None]:
    """Read an entry of ``synthetic``: a folder, or ``{"folder": ..., "n": ...}`` for its first n images.

    Returns:
        The folder, and how many images to take; None for all.

    Raises:
        ConfigError: another form or key, or n is no whole number of at least 1.
    """
    if isinstance(entry, str | Path):
        return Path(entry), None
    if not isinstance(entry, Mapping) or "folder" not in entry:
        rule = "must be a folder, or have the keys 'folder' and 'n'"
        raise ConfigError("synthetic", rule, repr(entry), "write {folder: PATH, n: 100} for the first 100 images")
    if unknown := sorted(set(entry) - _SET_KEYS):
        raise ConfigError("synthetic", "unknown key", repr(unknown[0]), nearest(unknown[0], _SET_KEYS))
    return Path(entry["folder"]), entry.get("n")


def keep_first(part: PackRows, count: int | None, where: object) -> None:
    """Keep the first images of a set; None keeps all.

    Raises:
        ConfigError: it does not hold as many, or the count is no whole number of at least 1.
    """
    if count is None:
        return
    if type(count) is not int or not 1 <= count <= len(part):
        rule = f"n must be a whole number from 1 to the number of images ({len(part)})"
        raise ConfigError(f"synthetic {where}", rule, repr(count), "lower n or make more images")
    part.rows = part.rows[:count]


def fill_up(real: PackRows, sets: Sequence[PackRows], totals: Mapping[str, int]) -> None:
    """Cut synthetic sets to what brings findings up to a total, the first images first.

    An image is taken while every topped-up finding that it shows is below its total; what shows none of them stays.

    Args:
        real: the training images.
        sets: synthetic sets in order; rows that are not taken leave them.
        totals: finding to the number of images that show it, real and synthetic together.

    Raises:
        LabelError: a finding is unknown.
        ConfigError: a total is no whole number, or below the number of real images.
        InputError: there are too few synthetic images.
    """
    columns = [real.findings.index(name) for name in require_findings(totals, real.findings, "top_up")]
    have = np.array(real.count(1))[columns]
    for (finding, total), least in zip(totals.items(), have.tolist(), strict=True):
        if type(total) is not int or total < least:
            rule = f"must be a whole number of at least the number of real images ({least})"
            raise ConfigError(f"top_up {finding!r}", rule, repr(total), "raise it, or keep fewer by 'limit'")
    counts, wanted = have.copy(), np.array([*totals.values()])
    for part in sets:
        part.rows = part.rows[_take(part.label_matrix()[:, columns] == 1, counts, wanted)]
    for finding, least, reached, total in zip(totals, have.tolist(), counts.tolist(), wanted.tolist(), strict=True):
        if reached < total:
            rule = f"needs {total - least} synthetic images that show it, beside {least} real ones"
            mend = "make more with 'cxraug sample', or lower the total"
            raise InputError(f"top_up {finding!r}", rule, f"{reached - least}", mend)


def _take(shown: NDArray[np.bool_], counts: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which images are taken, ``[n]``, of those that show the findings ``[n, F]``; ``counts`` goes on counting."""
    taken = np.ones(len(shown), dtype=bool)
    for position, row in enumerate(shown):
        taken[position] = (counts[row] < wanted[row]).all()
        counts += row & taken[position]
    return taken


def describe_composition(composition: Mapping[str, Mapping[str, int]]) -> str:
    """Say in a line a finding what the positives of a training set are, and how many of them show nobody.

    Args:
        composition: finding to the positives of each origin; see ``MixedDataset.composition``.
    """
    lines = []
    for finding, counts in composition.items():
        named = ", ".join(f"{number} {origin}" for origin, number in counts.items() if number) or "none"
        unreal = sum(counts.get(origin, 0) for origin in UNREAL)
        share = f"; {unreal / sum(counts.values()):.0%} show nobody" if unreal else ""
        lines.append(f"{finding}: {named}{share}")
    return "\n".join(lines)


def shuffle_labels(labels: NDArray[np.float32], seed: int, shares: Sequence[float]) -> NDArray[np.float32]:
    """Deal label vectors anew, so that a synthetic image's label says nothing about what it shows: the placebo.

    What is left of an arm's gain with shuffled labels is not owed to what the generator has learnt about a finding, but
    to more, or softer, training images. Vectors are permuted among all images, and chance says for each image whether
    what its new vector names is present, as often as it is in real images. The permutation alone would not do: of one
    finding's images it changes nothing, and of several findings' images it leaves each named as present where real
    images seldom are, which teaches what ill images look like.

    Args:
        labels: ``[N, K]`` of 1, 0, NaN, of all synthetic images.
        seed: of the permutation and of chance.
        shares: ``[K]`` share of the real training images that show each finding, in [0, 1].

    Returns:
        The new labels, ``[N, K]``.
    """
    rng = np.random.default_rng([seed, len(labels), _SHUFFLE])
    dealt = labels[rng.permutation(len(labels))]
    drawn = (rng.random((len(labels), 1)) < np.asarray(shares)).astype(np.float32)
    return np.where(dealt == 1, drawn, dealt)
