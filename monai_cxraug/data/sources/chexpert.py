"""CheXpert in its own layout (Irvin et al., AAAI 2019): ``train.csv``, ``valid.csv`` and folders of patients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar, Literal

import numpy as np

from monai_cxraug.data.files import Tree
from monai_cxraug.data.readers.header import whole_years
from monai_cxraug.data.sources.cells import Blank, Uncertainty, path_key, read_labels, sex_letter
from monai_cxraug.data.sources.listing import Listing, Progress, require_images
from monai_cxraug.data.sources.tables import Table, read_table
from monai_cxraug.errors import InputError
from monai_cxraug.labels import CHEXPERT_FINDINGS

_TABLES = ("train.csv", "valid.csv", "test.csv")
#: split, patient, study and file: what is left of a path whatever folder the set was put into.
_PATH_PARTS = 4
_LATERAL = "LATERAL"
_INFO = {
    "name": "CheXpert",
    "licence": "Stanford University School of Medicine CheXpert research use agreement; cite Irvin et al., AAAI 2019",
}
_UNCERTAINTY = {"ignore": "-1 is unknown", "zeros": "-1 is absent", "ones": "-1 is present"}
_BLANK = {"unknown": "not mentioned is unknown", "zeros": "not mentioned is absent"}


@dataclass(frozen=True, kw_only=True)
class Chexpert:
    """CheXpert: train.csv, valid.csv and, where it is there, test.csv; 14 observations, uncertain ones by a policy.

    Without ``test.csv`` the images of ``valid.csv`` are the test set; with it, they join the training images. Val is
    cut from train by patient, because ``valid.csv`` holds some two hundred images only. The column ``official`` says
    which table an image is from.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "--images CheXpert-v1.0-small --uncertainty ones --blank zeros --out data/chexpert",
        "--images chexpert.zip --views all --size 128 --out data/chexpert_all",
    )

    images: Annotated[str, "folder or zip archive with the tables and images, at any depth", "PATH"]
    labels: Annotated[str | None, "folder of the tables, when they lie elsewhere", "DIR"] = None
    uncertainty: Annotated[Uncertainty, "what -1 becomes: unknown, absent or present"] = "ignore"
    blank: Annotated[Blank, "what an empty cell becomes; published work takes it as absent (zeros)"] = "unknown"
    views: Annotated[Literal["frontal", "all"], "which views are kept"] = "frontal"

    def list(self, out: Path, progress: Progress | None = None) -> Listing:
        """List one row an image that a table lists and the folder holds.

        Raises:
            InputError: the folder or a table is missing, a column is, or an image is listed twice.
            LabelError: a label is none of 1, 0, -1 and empty.
        """
        tree = Tree(self.images)
        places = _index(tree)
        tables = _find_tables(Tree(self.labels) if self.labels else tree)
        rows = [row for name, table in tables.items() for row in _rows(table, name, _split(name, tables))]
        labels = [read_labels(one, CHEXPERT_FINDINGS, self.uncertainty, self.blank) for one in tables.values()]
        images = [row["image"] for row in rows]
        absent = [image for image in images if image not in places]
        lateral = [row["image"] for row in rows if row["view"] == _LATERAL and self.views == "frontal"]
        missing = dict.fromkeys(absent, "listed in the table, not among the images")
        dropped = dict.fromkeys(lateral, "a lateral view; --views all keeps it")
        kept = [number for number, image in enumerate(images) if image not in missing and image not in dropped]
        listing = Listing(
            [rows[number] for number in kept],
            [tree.ref(places[images[number]]) for number in kept],
            CHEXPERT_FINDINGS,
            np.concatenate(labels)[kept],
            8,
            self._info(tables),
            missing,
            dropped,
            tree.left_out,
        )
        return require_images(listing, tree.path)

    def _info(self, tables: dict[str, Table]) -> dict[str, str]:
        valid = "join the training images" if "test.csv" in tables else "are the test set, as there is no test.csv"
        splits = f"images of valid.csv {valid}" if "valid.csv" in tables else "train.csv alone"
        policy = f"{self.uncertainty}: {_UNCERTAINTY[self.uncertainty]}; {_BLANK[self.blank]}"
        return {**_INFO, "uncertainty": policy, "splits": splits}


def _split(name: str, tables: dict[str, Table]) -> str:
    if name == "train.csv":
        return "train"
    return "test" if name == "test.csv" or "test.csv" not in tables else "train"


def _find_tables(tree: Tree) -> dict[str, Table]:
    found: dict[str, str] = {}
    for name in tree.names():
        file = PurePosixPath(name).name
        if file in _TABLES and (other := found.setdefault(file, name)) != name:
            mend = "point --images or --labels at the one that is meant"
            raise InputError(tree.path, f"{file} may be there once", f"{other!r} and {name!r}", mend)
    if "train.csv" not in found and "valid.csv" not in found:
        mend = "point --images at the folder that holds CheXpert, or --labels at its tables"
        raise InputError(tree.path, "needs train.csv and valid.csv", "neither", mend)
    return {file: read_table(tree.ref(found[file])) for file in _TABLES if file in found}


def _index(tree: Tree) -> dict[str, str]:
    """Relative names by their last four parts."""
    places: dict[str, str] = {}
    for name in tree.names():
        key = _last_parts(name)
        if PurePosixPath(name).suffix.lower() != ".csv" and (other := places.setdefault(key, name)) != name:
            mend = "leave one of them, or point --images at the folder that is meant"
            raise InputError(tree.path, "an image may be there once", f"{other!r} and {name!r}", mend)
    return places


def _rows(table: Table, name: str, split: str) -> Iterator[dict[str, str]]:
    """Manifest columns of every row; ``test.csv`` has paths and labels only."""
    paths = [_last_parts(path_key(path)) for path in table["Path"]]
    table.refuse_repeated(paths, "an image")
    cells = [paths, table.get("Sex"), table.get("Age"), table.get("Frontal/Lateral"), table.get("AP/PA")]
    for image, sex, age, side, view in zip(*cells, strict=True):
        patient, study, file = (["", "", *image.split("/")])[-3:]
        yield {
            "image": image,
            "patient_id": patient,
            "study_id": f"{patient}/{study}",
            "view": _LATERAL if "lateral" in (side or file).lower() else view.upper(),
            "sex": sex_letter(sex),
            "age": whole_years(age),
            "split": split,
            "source": "real",
            "official": name.removesuffix(".csv"),
        }


def _last_parts(path: str) -> str:
    return "/".join(path.split("/")[-_PATH_PARTS:])
