"""ChestX-ray14 in its own layout (Wang et al., CVPR 2017): ``images/*.png``, a table, and lists of files per split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar

from monai_cxraug.data.files import FileRef, Tree
from monai_cxraug.data.readers.header import whole_years
from monai_cxraug.data.sources.listing import Listing, Progress, empty_labels, require_images
from monai_cxraug.data.sources.tables import Table, read_table
from monai_cxraug.errors import InputError, LabelError, nearest
from monai_cxraug.labels import NIH_FINDINGS, NIH_NO_FINDING

TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
#: list file to the splits it fills; the official train_val list is one split until it is cut by patient.
LISTS = {
    "train_list.txt": "train",
    "val_list.txt": "val",
    "test_list.txt": "test",
    "train_val_list.txt": "train",
}
_EXTRA_TABLES = ("resample.csv",)
_INFO = {
    "name": "NIH ChestX-ray14",
    "licence": "no restriction on use; cite Wang et al., CVPR 2017, and acknowledge the NIH Clinical Center",
    "uncertainty": "none: the labels are text-mined, 1 or 0",
}


@dataclass(frozen=True, kw_only=True)
class Nih:
    """NIH ChestX-ray14: PNG files anywhere inside a folder or zip archive, NIH's table, and lists of files per split.

    The patient-wise ``train_list.txt``, ``val_list.txt`` and ``test_list.txt`` are kept. The official
    ``train_val_list.txt`` and ``test_list.txt`` leave val to be cut from train; without any list all is dealt.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "--images nih_64.zip --size 64 --out data/nih64",
        "--images nih --labels lists/Data_Entry_2017_v2020.csv --lists lists --out data/nih",
    )

    images: Annotated[str, "folder or zip archive; the table and the lists are looked for there too", "PATH"]
    labels: Annotated[str | None, "Data_Entry_2017_v2020.csv, when it lies elsewhere", "CSV"] = None
    lists: Annotated[str | None, "folder of the split lists, when they lie elsewhere", "DIR"] = None

    def list(self, out: Path, progress: Progress | None = None) -> Listing:
        """List one row an image that the table lists and the folder holds.

        Raises:
            InputError: the folder or table is missing, a column is, or an image occurs twice.
            LabelError: the table names a finding that ChestX-ray14 does not have.
        """
        tree = Tree(self.images)
        names = tree.names()
        pictures = _find_pictures(tree, names)
        table = read_table(FileRef(Path(self.labels)) if self.labels else _find(tree, names, TABLES), (",",))
        splits = _read_lists(Tree(self.lists) if self.lists else tree, required=self.lists is not None)
        extra = _read_extra(tree, names)
        entries = _entries(table)
        there = [entry for entry in entries if entry["Image Index"] in pictures]
        matrix = empty_labels(len(there), len(NIH_FINDINGS))
        for row, entry in enumerate(there):
            matrix[row, _findings(entry, table)] = 1
        rows = [_row(entry, splits, extra) for entry in there]
        files = [pictures[row["image"]] for row in rows]
        absent = [entry["Image Index"] for entry in entries if entry["Image Index"] not in pictures]
        missing = dict.fromkeys(absent, "listed in the table, not among the images")
        return require_images(
            Listing(rows, files, NIH_FINDINGS, matrix, 8, _INFO, missing, refused=tree.left_out), tree.path
        )


def _row(entry: Mapping[str, str], splits: Mapping[str, str], extra: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    name, patient, follow_up = entry["Image Index"], entry["Patient ID"], entry["Follow-up #"]
    return {
        **extra.get(name, {}),
        "image": name,
        "patient_id": patient,
        "study_id": f"{patient}_{follow_up}",
        "view": entry["View Position"],
        "sex": entry["Patient Gender"],
        "age": whole_years(entry["Patient Age"]),  # "58", or "058Y" in the table of 2017
        "split": splits.get(name, ""),
        "source": "real",
    }


def _findings(entry: Mapping[str, str], table: Table) -> list[int]:
    named = [name for name in entry["Finding Labels"].split("|") if name != NIH_NO_FINDING]
    for name in named:
        if name not in NIH_FINDINGS:
            where = f"{table.where} image {entry['Image Index']!r}"
            raise LabelError(where, "unknown finding", repr(name), nearest(name, NIH_FINDINGS))
    return [NIH_FINDINGS.index(name) for name in named]


def _entries(table: Table) -> list[dict[str, str]]:
    needed = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender")
    columns = {name: table[name] for name in (*needed, "View Position")}
    table.refuse_repeated(columns["Image Index"], "an image")
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _find_pictures(tree: Tree, names: list[str]) -> dict[str, FileRef]:
    places: dict[str, str] = {}
    for place in (name for name in names if name.lower().endswith(".png")):
        if (other := places.setdefault(PurePosixPath(place).name, place)) != place:
            mend = "leave one of them, or point --images at the folder that is meant"
            raise InputError(tree.path, "an image file name may occur once", f"{other!r} and {place!r}", mend)
    return {name: tree.ref(place) for name, place in places.items()}


def _read_lists(tree: Tree, required: bool) -> dict[str, str]:
    split_of: dict[str, str] = {}
    names = tree.names()
    for file, split in LISTS.items():
        for name in (name for name in names if PurePosixPath(name).name == file):
            for image in tree.ref(name).read_text().split():
                if split_of.setdefault(image, split) != split:
                    found = f"{image} in {split_of[image]} and {split}"
                    raise InputError(tree.path, "an image may be in one list only", found, "mend the lists")
    if required and not split_of:
        mend = f"give --lists DIR with {', '.join(LISTS)}"
        raise InputError(tree.path, "needs the lists that say which image is in which split", "none", mend)
    return split_of


def _read_extra(tree: Tree, names: list[str]) -> dict[str, dict[str, str]]:
    """Columns of tables that lie beside NIH's own, by image."""
    extra: dict[str, dict[str, str]] = {}
    for name in names:
        if PurePosixPath(name).name in _EXTRA_TABLES:
            table = read_table(tree.ref(name))
            others = [column for column in table.columns if column != "file"]
            for image, *cells in zip(table["file"], *(table[column] for column in others), strict=True):
                extra[image] = dict(zip(others, cells, strict=True))
    return extra


def _find(tree: Tree, names: list[str], wanted: tuple[str, ...]) -> FileRef:
    for file in wanted:
        for name in names:
            if PurePosixPath(name).name == file:
                return tree.ref(name)
    raise InputError(tree.path, f"needs {wanted[0]}", "no such file", "give it with --labels CSV")
