"""What every source returns: rows of a manifest and the files behind them, nothing decoded yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from monai_cxraug.data.files import FileRef
from monai_cxraug.data.manifest import Labels, Manifest, make_columns
from monai_cxraug.errors import InputError


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
        missing: images that the table lists and the folder lacks: file name to reason.
    """

    rows: Sequence[Mapping[str, str]]
    files: Sequence[FileRef]
    findings: tuple[str, ...]
    labels: Labels
    depth: int
    info: Mapping[str, Any] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    def manifest(self, tags: Sequence[Mapping[str, str]]) -> Manifest:
        """Make the manifest; a tag that the decoder found fills a column the source left empty."""
        merged = [_fill(row, found) for row, found in zip(self.rows, tags, strict=True)]
        return Manifest(make_columns(merged), self.findings, self.labels, self.info)


def _fill(row: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    return {**row, **{name: row.get(name) or value for name, value in found.items()}}


def require_images(listing: Listing, where: object) -> Listing:
    """Refuse a listing without images."""
    if not listing.rows:
        raise InputError(where, "at least one listed image must be there", "none", "check --images and --labels")
    return listing


def empty_labels(rows: int, findings: int) -> Labels:
    """Return float32 ``[rows, findings]`` of zeros: every finding absent."""
    return np.zeros((rows, findings), dtype=np.float32)
