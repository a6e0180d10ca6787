"""Pictures that occur twice: the same file, or files whose pictures are equal in the pack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np

from monai_cxraug.data.manifest import Manifest

CONTENT = "content"


@dataclass(frozen=True)
class Duplicate:
    """An image whose picture an earlier image has already.

    Args:
        image: name in the manifest.
        other: the first image with the same picture.
        same: ``file`` where the files have the same bytes, else ``picture``.
        patient_id: of the image.
        other_patient_id: of the other one.
        split: of the image.
        other_split: of the other one.
    """

    image: str
    other: str
    same: str
    patient_id: str
    other_patient_id: str
    split: str
    other_split: str

    def cells(self) -> tuple[str, ...]:
        """Values in the order of :data:`COLUMNS`."""
        return astuple(self)


COLUMNS = tuple(entry.name for entry in fields(Duplicate))


def find_duplicates(manifest: Manifest, digests: Sequence[str]) -> list[Duplicate]:
    """List every image but the first of each group with equal pictures.

    Args:
        manifest: has the column ``content``, the hash of the packed picture.
        digests: SHA-256 of each image's file.

    Returns:
        Duplicates in the order of the manifest.
    """
    columns = [manifest[name].tolist() for name in ("image", "patient_id", "split")]
    found = []
    for group in _groups(manifest):
        first = group[0]
        for row in group[1:]:
            same = "file" if digests[row] == digests[first] else "picture"
            (image, other), *pairs = ((column[row], column[first]) for column in columns)
            found.append((row, Duplicate(image, other, same, *pairs[0], *pairs[1])))
    return [duplicate for _, duplicate in sorted(found, key=lambda entry: entry[0])]


def count_duplicates(manifest: Manifest) -> dict[str, int]:
    """Count what :func:`find_duplicates` lists.

    Returns:
        ``images`` that an earlier one has already; ``pictures`` that occur more than once, and of these, how many with
        several patients (``across_patients``) and in several of train, val and test (``across_splits``).
    """
    patients, splits = manifest["patient_id"], manifest["split"]
    groups = _groups(manifest)
    return {
        "images": sum(len(group) - 1 for group in groups),
        "pictures": len(groups),
        "across_patients": sum(len(set(patients[group])) > 1 for group in groups),
        "across_splits": sum(len(set(splits[group]) - {""}) > 1 for group in groups),
    }


def _groups(manifest: Manifest) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Rows with equal pictures, in groups of two or more."""
    contents = manifest[CONTENT].tolist()
    rows: dict[str, list[int]] = {content: [] for content, count in Counter(contents).items() if count > 1}
    for row, content in enumerate(contents):
        if content in rows:
            rows[content].append(row)
    return [np.array(group) for group in rows.values()]
