"""ChestX-ray14 in its own layout (Wang et al., CVPR 2017): ``images/*.png``, a table, and lists of files per split."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from monai_cxraug.data.files import FileRef, Tree
from monai_cxraug.data.readers import whole_years
from monai_cxraug.data.sources.listing import Listing, empty_labels, require_images
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


def list_nih(images: Path, labels: Path | None = None, lists: Path | None = None) -> Listing:
    """List ChestX-ray14 images.

    Args:
        images: folder or zip archive; PNG files anywhere inside it. The table and the lists are looked for there too.
        labels: ``Data_Entry_2017_v2020.csv``, when it lies elsewhere.
        lists: folder of ``train_list.txt``, ``val_list.txt``, ``test_list.txt`` or the official
            ``train_val_list.txt`` and ``test_list.txt``, when it lies elsewhere.

    Returns:
        The listing: one row an image that the table lists and the folder holds.

    Raises:
        InputError: the folder, table or every list is missing, or a column is; an image occurs twice.
        LabelError: the table names a finding that ChestX-ray14 does not have.
    """
    tree = Tree(images)
    names = tree.names()
    pictures = _find_pictures(tree, names)
    table = FileRef(labels) if labels else _find(tree, names, TABLES)
    splits = _read_lists(Tree(lists) if lists else tree)
    extra = _read_extra(tree, names)
    rows, files, missing, values = [], [], {}, []
    for name, entry in _read_rows(table).items():
        if name not in pictures:
            missing[name] = "listed in the table, not among the images"
            continue
        rows.append({**extra.get(name, {}), **_row(entry), "split": splits.get(name, "")})
        files.append(pictures[name])
        values.append(_findings(entry, table))
    matrix = empty_labels(len(rows), len(NIH_FINDINGS))
    for row, present in enumerate(values):
        matrix[row, present] = 1
    return require_images(Listing(rows, files, NIH_FINDINGS, matrix, 8, _INFO, missing), images)


def _row(entry: Mapping[str, str]) -> dict[str, str]:
    patient, follow_up = entry["Patient ID"], entry["Follow-up #"]
    return {
        "image": entry["Image Index"],
        "patient_id": patient,
        "study_id": f"{patient}_{follow_up}",
        "view": entry["View Position"],
        "sex": entry["Patient Gender"],
        "age": whole_years(entry["Patient Age"]),  # "58", or "058Y" in the table of 2017
        "source": "real",
    }


def _findings(entry: Mapping[str, str], table: FileRef) -> list[int]:
    named = [name for name in entry["Finding Labels"].split("|") if name != NIH_NO_FINDING]
    for name in named:
        if name not in NIH_FINDINGS:
            where = f"{table} image {entry['Image Index']!r}"
            raise LabelError(where, "unknown finding", repr(name), nearest(name, NIH_FINDINGS))
    return [NIH_FINDINGS.index(name) for name in named]


def _read_rows(table: FileRef) -> dict[str, dict[str, str]]:
    """Rows by image."""
    rows = _read_csv(table)
    needed = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender")
    for column in (*needed, "View Position"):
        if not rows or column not in rows[0]:
            found = ", ".join(rows[0]) if rows else "an empty table"
            raise InputError(table, f"column {column!r} is required", found, "use NIH's own Data_Entry table")
    by_image: dict[str, dict[str, str]] = {}
    for row in rows:
        if by_image.setdefault(row["Image Index"], row) is not row:
            raise InputError(table, "an image may be listed once", f"{row['Image Index']!r} twice", "remove a line")
    return by_image


def _find_pictures(tree: Tree, names: list[str]) -> dict[str, FileRef]:
    places: dict[str, str] = {}
    for place in (name for name in names if name.lower().endswith(".png")):
        if (other := places.setdefault(PurePosixPath(place).name, place)) != place:
            mend = "leave one of them, or point --images at the folder that is meant"
            raise InputError(tree.path, "an image file name may occur once", f"{other!r} and {place!r}", mend)
    return {name: tree.ref(place) for name, place in places.items()}


def _read_lists(tree: Tree) -> dict[str, str]:
    split_of: dict[str, str] = {}
    names = tree.names()
    for file, split in LISTS.items():
        for name in (name for name in names if PurePosixPath(name).name == file):
            for image in tree.ref(name).read_text().split():
                if split_of.setdefault(image, split) != split:
                    found = f"{image} in {split_of[image]} and {split}"
                    raise InputError(tree.path, "an image may be in one list only", found, "mend the lists")
    if not split_of:
        mend = f"give --lists DIR with {', '.join(LISTS)}"
        raise InputError(tree.path, "needs the lists that say which image is in which split", "none", mend)
    return split_of


def _read_extra(tree: Tree, names: list[str]) -> dict[str, dict[str, str]]:
    extra: dict[str, dict[str, str]] = {}
    for name in names:
        if PurePosixPath(name).name in _EXTRA_TABLES:
            for row in _read_csv(tree.ref(name)):
                extra[row.pop("file", "")] = row
    return extra


def _read_csv(ref: FileRef) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(ref.read_text()))
    rows = []
    for row in reader:
        if None in row.values():
            where, rule = f"{ref} line {reader.line_num}", f"needs {len(reader.fieldnames or ())} fields"
            raise InputError(where, rule, sum(value is not None for value in row.values()), "fetch the table again")
        rows.append(row)
    return rows


def _find(tree: Tree, names: list[str], wanted: tuple[str, ...]) -> FileRef:
    for file in wanted:
        for name in names:
            if PurePosixPath(name).name == file:
                return tree.ref(name)
    raise InputError(tree.path, f"needs {wanted[0]}", "no such file", "give it with --labels CSV")
