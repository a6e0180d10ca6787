"""AUROC by sex, age band and view: who an arm helps, and who pays for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.data.manifest import Manifest
from monai_cxraug.metrics.comparison import estimate
from monai_cxraug.predictions import Predictions

#: upper ends of age bands in years, and their names.
_BANDS: Final = ((18, "under 18"), (40, "18 to 39"), (60, "40 to 59"), (80, "60 to 79"), (math.inf, "80 and over"))
COLUMNS: Final = ("sex", "age", "view")


def group_images(manifest: Manifest, images: Sequence[str]) -> dict[str, NDArray[np.str_]]:
    """Return each image's subgroup in every column that tells at least two apart; "" is unknown.

    Args:
        manifest: of the judged images.
        images: their names, in order.
    """
    place = {str(name): row for row, name in enumerate(manifest["image"])}
    rows = [place[name] for name in images if name in place]
    if len(rows) < len(images):
        return {}
    groups = {}
    for column in COLUMNS:
        if column not in manifest.columns:
            continue
        values = [str(value) for value in manifest[column][rows]]
        named = np.array([age_band(value) for value in values] if column == "age" else values, dtype=str)
        if len(set(named) - {""}) > 1:
            groups[column] = named
    return groups


def age_band(text: str) -> str:
    """Return the band of an age in years as text; "" where it is no age of a person."""
    try:
        years = float(text)
    except ValueError:
        return ""
    if not 0 <= years <= 120:
        return ""
    return next(name for end, name in _BANDS if years < end)


def subgroup_rows(
    tables: Sequence[Predictions], findings: Sequence[str], groups: Mapping[str, NDArray[np.str_]]
) -> list[dict[str, Any]]:
    """Estimate an arm's AUROC in every subgroup.

    Args:
        tables: its answers, one table a seed.
        findings: studied findings.
        groups: column to the subgroup of each image.

    Returns:
        Rows for ``results.json``: ``column``, ``group``, ``finding``, ``auroc``, ``interval``, ``n``, ``positives``.
    """
    first, rows = tables[0], []
    for column, names in groups.items():
        for group in sorted(set(names) - {""}):
            member = np.flatnonzero(names == group)
            owners = first.owners[member]
            for finding in findings:
                k = first.findings.index(finding)
                scores = np.stack([table.probs[member, k] for table in tables])
                found = estimate(scores, first.labels[member, k], owners, 0)
                rows.append(
                    {
                        "column": column,
                        "group": str(group),
                        "finding": finding,
                        "auroc": None if math.isnan(found.auroc) else found.auroc,
                        "interval": found.interval and list(found.interval),
                        "n": found.n,
                        "positives": found.positives,
                    }
                )
    return rows
