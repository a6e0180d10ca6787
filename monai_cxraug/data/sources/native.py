"""The phantom's own layout: ``images/*.dcm`` and ``images/*.png`` beside ``labels.csv``."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from monai_cxraug.data.files import FileRef, Tree
from monai_cxraug.data.sources.listing import Listing, require_images
from monai_cxraug.data.splits import split_patients
from monai_cxraug.errors import InputError
from monai_cxraug.labels import NIH_FINDINGS

_COLUMNS = ("image", "patient_id", "study_id", "view", "sex", "age")
_FRACTIONS = {"train": 0.6, "val": 0.2, "test": 0.2}


def list_native(folder: Path, seed: int = 0) -> Listing:
    """List a phantom set.

    Args:
        folder: holds ``images/`` and ``labels.csv``.
        seed: of the split by patient, 60 % train, 20 % val, 20 % test.

    Returns:
        The listing.

    Raises:
        InputError: the folder or its table is missing.
    """
    tree, table = Tree(folder), folder / "labels.csv"
    if not table.is_file():
        raise InputError(table, "table of the phantom set must exist", "nothing there", "generate the set again")
    entries = list(csv.DictReader(io.StringIO(FileRef(table).read_text())))
    findings = tuple(name for name in NIH_FINDINGS if name in (entries[0] if entries else ()))
    for number, entry in enumerate(entries, start=2):
        complete = entry.keys() >= set(_COLUMNS) and None not in entry.values()
        if not complete or {entry[name] for name in findings} - {"0", "1"}:
            rule = f"needs {', '.join(_COLUMNS)}, and findings of 0 or 1"
            raise InputError(f"{table} line {number}", rule, list(entry.values()), "generate the set again")
    values = [[float(entry[name]) for name in findings] for entry in entries]
    labels = np.array(values, dtype=np.float32).reshape(len(entries), len(findings))
    splits = split_patients([entry["patient_id"] for entry in entries], labels, _FRACTIONS, seed)
    rows = [
        {**{name: entry[name] for name in _COLUMNS}, "split": split, "source": "real"}
        for entry, split in zip(entries, splits, strict=True)
    ]
    files = [tree.ref(entry["image"]) for entry in entries]
    info = {"name": "phantom radiographs", "licence": "generated, no restriction", "uncertainty": "none"}
    return require_images(Listing(rows, files, findings, labels, 16, info), folder)
