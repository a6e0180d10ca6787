"""Any table of images and labels, with a map from the manifest's columns to the table's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar, Final

from monai_cxraug.data.files import Tree
from monai_cxraug.data.readers.header import whole_years
from monai_cxraug.data.sources.cells import Blank, Uncertainty, path_key, read_labels, read_splits, sex_letter
from monai_cxraug.data.sources.listing import Listing, Progress, depth_of, in_colour, require_images
from monai_cxraug.data.sources.options import Colour, Names, Pairs, read_names, read_pairs
from monai_cxraug.data.sources.tables import Table, read_table
from monai_cxraug.errors import ConfigError, InputError, LabelError, nearest
from monai_cxraug.keys import MANIFEST_COLUMNS

#: manifest columns that a table may give; the others say what no table knows.
COLUMNS: Final = ("image", "patient_id", "study_id", "view", "sex", "age", "split")


@dataclass(frozen=True, kw_only=True)
class TableSource:
    """Any CSV (commas, semicolons or tabs) or Parquet file: one row an image, a column for each finding.

    Without a column of patients, each image is a patient of its own.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "--labels chest.csv --images chest --columns image=path,patient_id=pid --findings Edema,Mass --out data/chest",
        "--labels labels.parquet --images images.zip --keep scanner --out data/hospital",
    )

    labels: Annotated[str, "the table", "FILE"]
    images: Annotated[
        str | None, "folder or zip archive that the table's paths begin in; default the table's", "PATH"
    ] = None
    columns: Annotated[Pairs, f"names in the table of {', '.join(COLUMNS)}, where they differ", "image=path,..."] = ""
    findings: Annotated[Names, "columns that are findings; default every column that is nothing else"] = ""
    keep: Annotated[Names, "other columns to carry into the manifest"] = ""
    uncertainty: Annotated[Uncertainty, "what -1 becomes: unknown, absent or present"] = "ignore"
    blank: Annotated[Blank, "what an empty label becomes"] = "unknown"
    colour: Colour = False

    def __post_init__(self) -> None:
        for name in read_pairs(self.columns, "--columns"):
            if name not in COLUMNS:
                raise ConfigError("--columns", "unknown manifest column", repr(name), nearest(name, COLUMNS))

    def list(self, out: Path, progress: Progress | None = None) -> Listing:
        """List one row an image that the table lists and the folder holds.

        Raises:
            InputError: a file or column is missing, an image is listed twice, or an image has no patient.
            LabelError: a label is none of 1, 0, -1 and empty.
        """
        path = Path(self.labels)
        table = read_table(path)
        tree = Tree(self.images) if self.images else Tree(path.parent)
        columns = self._columns(table)
        images = [path_key(cell) for cell in table[columns["image"]]]
        table.refuse_repeated(images, "an image")
        names = frozenset(tree.names())
        missing = {image: "listed in the table, not among the images" for image in images if image not in names}
        findings = find_findings(table, read_names(self.findings), {*columns.values(), *read_names(self.keep)})
        values = read_labels(table, findings, self.uncertainty, self.blank)
        rows = self._rows(table, columns, images)
        kept = [number for number, image in enumerate(images) if image not in missing]
        listing = Listing(
            [rows[number] for number in kept],
            [tree.ref(images[number]) for number in kept],
            tuple(findings),
            values[kept],
            depth_of(images),
            {"name": PurePosixPath(path.name).stem, "uncertainty": f"{self.uncertainty}, empty is {self.blank}"},
            missing,
            refused=tree.left_out,
        )
        return require_images(in_colour(listing, self.colour), f"{table.where} with {tree.path}")

    def _columns(self, table: Table) -> dict[str, str]:
        """Manifest column to the table's own, for those that the table has."""
        columns: dict[str, str] = {name: name for name in COLUMNS if name in table.columns}
        columns |= read_pairs(self.columns, "--columns")
        columns.setdefault("image", "image")
        for column in (*columns.values(), *read_names(self.keep)):
            _ = table[column]
        return columns

    def _rows(self, table: Table, columns: Mapping[str, str], images: Sequence[str]) -> Sequence[dict[str, str]]:
        cells: dict[str, Sequence[str]] = {
            name: table[column] for name, column in columns.items() if name not in ("image", "split")
        }
        if "split" in columns:
            cells["split"] = read_splits(table, columns["split"])
        for name, clean in (("sex", sex_letter), ("age", lambda text: whole_years(text.removesuffix(".0")))):
            cells[name] = [clean(cell) for cell in cells.get(name, [""] * len(table))]
        cells |= {name: table[name] for name in read_names(self.keep)}
        _require_patients(table, cells)
        cells = {"patient_id": images, **cells, "image": images}
        return [
            {**dict(zip(cells, values, strict=True)), "source": "real"} for values in zip(*cells.values(), strict=True)
        ]


def find_findings(table: Table, wanted: Sequence[str], taken: set[str]) -> list[str]:
    """Return the columns that are findings: those wanted, else every column that is not taken.

    Raises:
        InputError: there is none, or no such column.
        LabelError: a finding has the name of a manifest's own column.
    """
    for name in wanted:
        _ = table[name]
        if name in MANIFEST_COLUMNS:
            mend = "rename the column, or leave it out of the findings"
            raise LabelError(table.where, "a finding may not be called as a column of the manifest", name, mend)
    findings = list(wanted) or [name for name in table.columns if name and name not in taken]
    if not findings:
        found = ", ".join(table.columns)
        raise InputError(table.where, "needs a column for at least one finding", found, "add one, or give --findings")
    return findings


def _require_patients(table: Table, cells: Mapping[str, Sequence[str]]) -> None:
    """An image without a patient could be in two splits and nobody would know."""
    if "" in cells.get("patient_id", ()):
        row = list(cells["patient_id"]).index("")
        mend = "fill it in, or map no column to patient_id: each image is a patient of its own then"
        raise InputError(table.line(row), "a patient is required", "an empty cell", mend)
