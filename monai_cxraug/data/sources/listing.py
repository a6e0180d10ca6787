"""What every source returns: rows of a manifest and the files behind them, nothing decoded yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from monai_cxraug.data.columns import Labels
from monai_cxraug.data.files import FileRef
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.readers.policy import DicomPolicy
from monai_cxraug.errors import InputError

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Listing:
    """Images of a source, before decoding.

    Args:
        rows: manifest columns of each image, findings left out.
        files: where each image lies, one a row.
        findings: names, in the source's order.
        labels: float32 ``[N, K]``: 1 present, 0 absent, NaN unknown.
        depth: bits per pixel worth keeping in a pack, 8 or 16.
        info: data-set name, licence and the like for ``manifest.json``.
        missing: images that the table lists and the folder lacks: name to reason.
        dropped: files left out on purpose, by a policy or an option: name to reason.
        refused: files that cannot be used, such as one with an unreadable header: name to reason.
        policy: what the decoder does with a DICOM image that may not belong here.
        provenance: content of ``provenance.json``, for synthetic images only.
        channels: of the pictures to be made: 1 grey, 3 red, green and blue.
    """

    rows: Sequence[Mapping[str, str]]
    files: Sequence[FileRef]
    findings: tuple[str, ...]
    labels: Labels
    depth: int
    info: Mapping[str, Any] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    policy: DicomPolicy = field(default_factory=DicomPolicy)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    channels: int = 1

    def manifest(self, tags: Sequence[Mapping[str, str]]) -> Manifest:
        """Make the manifest; a tag that the decoder found fills a column the source left empty."""
        merged = [_fill(row, found) for row, found in zip(self.rows, tags, strict=True)]
        return Manifest(make_columns(merged), self.findings, self.labels, self.info)


class Source(Protocol):
    """Where images and labels come from; its fields are its options.

    ``examples`` are the options of commands that the help shows, ``--out`` and all.
    """

    examples: ClassVar[tuple[str, ...]]

    def list(self, out: Path, progress: Progress | None = None) -> Listing:
        """List the images.

        Args:
            out: folder that is being prepared; a source that makes its images puts them below it.
            progress: called with (done, total) where it takes long.

        Returns:
            The listing, its splits as the source knows them.

        Raises:
            CxrAugError: the source is missing, unreadable or breaks a rule.
        """


def _fill(row: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    return {**row, **{name: row.get(name) or value for name, value in found.items()}}


def require_images(listing: Listing, where: object) -> Listing:
    """Refuse a listing without images."""
    if not listing.rows:
        raise InputError(where, "at least one listed image must be there", "none", "check --images and --labels")
    return listing


def in_colour(listing: Listing, colour: bool) -> Listing:
    """Return a listing whose pictures keep red, green and blue, where that is asked for.

    8 bits a channel are kept: that is what cameras write, and twice as many would double packs three times as large.
    """
    return replace(listing, channels=3, depth=8) if colour else listing


def depth_of(names: Iterable[str]) -> int:
    """Return 8 bits for pictures that are all JPEG, which has no more, and 16 for any others."""
    return 8 if all(name.lower().endswith((".jpg", ".jpeg")) for name in names) else 16


def empty_labels(rows: int, findings: int) -> Labels:
    """Return float32 ``[rows, findings]`` of zeros: every finding absent."""
    return np.zeros((rows, findings), dtype=np.float32)
