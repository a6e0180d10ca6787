"""Histograms of a prepared set, class by class, before and after a change of contrast."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from monai_cxraug.artifacts import write_json
from monai_cxraug.data.balancing import label_classes
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.manifest import Where
from monai_cxraug.data.pack import Progress
from monai_cxraug.keys import IMAGE
from monai_cxraug.transforms.functional.contrast import histogram, luma
from monai_cxraug.transforms.functional.levels import LEVELS

SCHEMA: Final = "cxraug.histograms/1"


@dataclass(frozen=True)
class Histograms:
    """Counts the levels of every image of a prepared set; of a picture in colour, those of its luma.

    Args:
        manifest: of the set, its pack beside it.
        contrast: a key of :data:`~monai_cxraug.transforms.functional.contrast.CONTRASTS`, or None for none.
        split: keep this split; None keeps every row.
        where: keep rows whose columns have these values.
        progress: called with (done, total) images.

    Raises:
        ConfigError: the change of contrast is unknown.
        InputError: there is no such image.
    """

    manifest: str | Path
    contrast: str | None = None
    split: str | None = "train"
    where: Where = field(default_factory=dict)
    progress: Progress | None = None

    def count(self) -> dict[str, dict[str, Any]]:
        """Count.

        Returns:
            Class (a finding, or ``none``) to ``images``, ``before`` and, where contrast is changed, ``after``: counts
            of 256 levels over all its images. An image with several findings counts in each.
        """
        rows = PackRows(self.manifest, self.split, self.where)
        changed = (
            None if self.contrast is None else PackRows(self.manifest, self.split, self.where, contrast=self.contrast)
        )
        classes = label_classes(rows.label_matrix(), rows.findings)
        member = {name: set(found.tolist()) for name, found in classes.items()}
        counts = {name: np.zeros((2, LEVELS), dtype=np.int64) for name in classes}
        for position in range(len(rows)):
            images = [one.sample(position)[IMAGE] for one in (rows, changed) if one is not None]
            levels = [histogram(luma(image) if len(image) == 3 else image)[0].numpy() for image in images]
            for name, found in member.items():
                if position in found:
                    counts[name][: len(levels)] += np.stack(levels)
            if self.progress is not None:
                self.progress(position + 1, len(rows))
        names = ("before", "after")[: 1 if changed is None else 2]
        return {
            name: {"images": len(member[name]), **{key: both[k].tolist() for k, key in enumerate(names)}}
            for name, both in counts.items()
        }

    def write(self, path: Path) -> dict[str, dict[str, Any]]:
        """Count, and write the counts as JSON."""
        found = self.count()
        write_json(path, SCHEMA, {"contrast": self.contrast, "split": self.split, "classes": found})
        return found
