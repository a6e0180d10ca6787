"""The phantom's own layout: ``images/*.dcm`` and ``images/*.png`` beside ``labels.csv``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from monai_cxraug.data.files import FileRef, Tree
from monai_cxraug.data.sources.cells import read_labels
from monai_cxraug.data.sources.listing import Listing, Progress, require_images
from monai_cxraug.data.sources.tables import read_table
from monai_cxraug.data.splits import split_patients
from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.labels import NIH_FINDINGS

_COLUMNS = ("image", "patient_id", "study_id", "view", "sex", "age")
_FRACTIONS = {"train": 0.6, "val": 0.2, "test": 0.2}


_LEAST_COUNT, _LEAST_SIZE = 20, 128


@dataclass(frozen=True, kw_only=True)
class Phantom:
    """Generated chest phantoms, half DICOM and half PNG: made below the output folder, or listed where they lie."""

    examples: ClassVar[tuple[str, ...]] = ("--count 600 --out data/phantom",)

    images: Annotated[str | None, "phantom set that is there; default one is generated", "DIR"] = None
    count: Annotated[int, "phantoms to generate"] = 1200
    seed: int = 0
    size: int = 64

    def __post_init__(self) -> None:
        if self.count < _LEAST_COUNT:
            rule = f"must be a whole number of at least {_LEAST_COUNT}"
            raise ConfigError("count", rule, repr(self.count), "mend count")

    def list(self, out: Path, progress: Progress | None = None) -> Listing:
        """List a phantom set: 60 % train, 20 % val, 20 % test by patient.

        Raises:
            InputError: the folder or its table is missing.
            LabelError: the table is not as it was generated.
        """
        folder = Path(self.images) if self.images else out / "phantom"
        if not self.images and not (folder / "labels.csv").exists():
            from monai_cxraug.data.sources.phantom.writers import write_native

            write_native(folder, self.count, max(self.size, _LEAST_SIZE), self.seed, progress=progress)
        return _list_folder(folder, self.seed)


def _list_folder(folder: Path, seed: int) -> Listing:
    tree, path = Tree(folder), folder / "labels.csv"
    if not path.is_file():
        raise InputError(path, "table of the phantom set must exist", "nothing there", "generate the set again")
    table = read_table(FileRef(path), (",",))
    findings = tuple(name for name in NIH_FINDINGS if name in table.columns)
    labels = read_labels(table, findings)
    columns = {name: table[name] for name in _COLUMNS}
    splits = split_patients(columns["patient_id"], labels, _FRACTIONS, seed)
    rows = [
        {**dict(zip(columns, cells, strict=True)), "split": split, "source": "real"}
        for *cells, split in zip(*columns.values(), splits, strict=True)
    ]
    info = {"name": "phantom radiographs", "licence": "generated, no restriction", "uncertainty": "none"}
    return require_images(Listing(rows, [tree.ref(row["image"]) for row in rows], findings, labels, 16, info), folder)
