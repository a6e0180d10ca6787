"""DICOM as a hospital exports it: a folder tree, a zip archive or a DICOMDIR, and labels in a table by identifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar, Final, Literal

import numpy as np

from monai_cxraug.data.columns import Labels
from monai_cxraug.data.files import FileRef, Tree
from monai_cxraug.data.readers.header import Header, read_header
from monai_cxraug.data.readers.policy import Choice, DicomPolicy, DroppedImage, judge
from monai_cxraug.data.sources.cells import Blank, Uncertainty, read_labels, read_splits
from monai_cxraug.data.sources.dicomdir import referenced_files
from monai_cxraug.data.sources.listing import Listing, Progress, require_images
from monai_cxraug.data.sources.options import Names, read_names
from monai_cxraug.data.sources.table import find_findings
from monai_cxraug.data.sources.tables import Table, read_table
from monai_cxraug.errors import ConfigError, InputError, nearest

#: attributes that a table of labels may be keyed by, the most specific first, and what the reader calls them.
KEYS: Final[Mapping[str, str]] = {
    "SOPInstanceUID": "sop_instance_uid",
    "StudyInstanceUID": "study_instance_uid",
    "AccessionNumber": "accession_number",
}
DICOMDIR: Final = "DICOMDIR"
_SUFFIXES = frozenset({"", ".dcm", ".dicom", ".dic", ".ima"})


@dataclass(frozen=True, kw_only=True)
class Dicom:
    """DICOM files at any depth, in a folder, a zip archive, or as a DICOMDIR lists them; labels from a table.

    The table has a column SOPInstanceUID, StudyInstanceUID or AccessionNumber; a study's labels go to each of its
    images. What is no chest radiograph for the eye is left out by a policy. Of the patient, only the attribute that
    ``patient_key`` names leaves the files, as it is or hashed with ``--salt``.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "--images export --labels labels.csv --patient-key PatientID --salt private/salt --out data/hospital",
        "--images media/DICOMDIR --patient-key PatientID --lateral keep --out data/unlabelled",
    )

    images: Annotated[str, "folder, zip archive or DICOMDIR", "PATH"]
    patient_key: Annotated[str, "attribute that tells patients apart, such as PatientID", "KEYWORD"]
    labels: Annotated[str | None, "table of labels; without it, every image is kept without findings", "CSV"] = None
    key: Annotated[str | None, "what the table is keyed by, if its name does not say it", "ATTRIBUTE[=COLUMN]"] = None
    findings: Annotated[Names, "columns that are findings; default every column that is nothing else"] = ""
    unlabelled: Annotated[Literal["drop", "keep"], "images without a row: left out, or kept as unknown"] = "drop"
    uncertainty: Annotated[Uncertainty, "what -1 becomes: unknown, absent or present"] = "ignore"
    blank: Annotated[Blank, "what an empty label becomes"] = "unknown"
    lateral: Annotated[Choice, "lateral views"] = DicomPolicy.lateral
    for_processing: Annotated[Choice, "raw values of the detector, FOR PROCESSING"] = DicomPolicy.for_processing
    inverse: Annotated[Choice, "black and white contradict each other, by Presentation LUT Shape"] = DicomPolicy.inverse
    burned_in: Annotated[Choice, "pictures that carry writing, by Burned In Annotation"] = DicomPolicy.burned_in
    body_part: Annotated[Choice, "body parts other than the chest"] = DicomPolicy.body_part
    multi_frame: Annotated[Choice, "several frames; the first is kept"] = DicomPolicy.multi_frame

    def __post_init__(self) -> None:
        attribute = (self.key or next(iter(KEYS))).partition("=")[0]
        if attribute not in KEYS:
            raise ConfigError("--key", "unknown attribute", repr(attribute), nearest(attribute, KEYS))

    @property
    def policy(self) -> DicomPolicy:
        """What happens to images that may not belong here."""
        return DicomPolicy(**{question.name: getattr(self, question.name) for question in fields(DicomPolicy)})

    def list(self, out: Path, progress: Progress | None = None) -> Listing:
        """List one row an image that the policy keeps and the table labels.

        Raises:
            InputError: a file or column is missing, or a key is listed twice.
            LabelError: a label is none of 1, 0, -1 and empty.
        """
        labels = _read_labels(self)
        files, missing, left_out = _find_files(Path(self.images))
        scan = _Scan(self.patient_key, self.policy)
        for number, (name, file) in enumerate(files.items(), start=1):
            scan.read(name, file)
            if progress:
                progress(number, len(files))
        rows = [labels.row_of(header) for header in scan.kept.values()]
        names = list(scan.kept)
        wanted = [
            place for place, row in enumerate(rows) if row >= 0 or self.labels is None or self.unlabelled == "keep"
        ]
        unlabelled = sorted(set(names) - {names[place] for place in wanted})
        listing = Listing(
            [{**_row(names[place], scan.kept[names[place]]), "split": labels.splits[rows[place]]} for place in wanted],
            [files[names[place]] for place in wanted],
            labels.findings,
            labels.values[[rows[place] for place in wanted]],
            16,
            {"name": "DICOM export", "uncertainty": f"{self.uncertainty}, empty is {self.blank}"},
            {**missing, **labels.missing(scan.headers)},
            {**scan.dropped, **dict.fromkeys(unlabelled, "no row in the table of labels")},
            {**left_out, **scan.refused},
            self.policy,
        )
        return require_images(listing, self.images)


class _Scan:
    """Reads headers, and keeps what becomes of each file."""

    def __init__(self, patient_key: str, policy: DicomPolicy) -> None:
        self.patient_key, self.policy = patient_key, policy
        self.headers: list[Header] = []  # of every image, left out by the policy or not
        self.kept: dict[str, Header] = {}
        self.dropped: dict[str, str] = {}
        self.refused: dict[str, str] = {}

    def read(self, name: str, file: FileRef) -> None:
        """Read one header and judge it."""
        try:
            header = read_header(file.read() if file.member else file.path, name, self.patient_key)
            self.headers.append(header)
            judge(header, name, self.policy)
            if not header.patient_key:
                rule = f"needs {self.patient_key}, by which patients are told apart"
                raise InputError(name, rule, "none", "choose another --patient-key")
        except DroppedImage as error:
            self.dropped[name] = _reason(error)
        except InputError as error:
            self.refused[name] = _reason(error)
        else:
            self.kept[name] = header


@dataclass(frozen=True)
class _Labels:
    """Labels by identifier. The last row stands for an image without any: all unknown, in no split."""

    attribute: str
    findings: tuple[str, ...]
    values: Labels
    splits: Sequence[str]
    rows: Mapping[str, int]

    def row_of(self, header: Header) -> int:
        return self.rows.get(getattr(header, KEYS[self.attribute]), -1)

    def missing(self, headers: Sequence[Header]) -> dict[str, str]:
        """Keys of the table that no image has."""
        found = {getattr(header, KEYS[self.attribute]) for header in headers}
        return dict.fromkeys(sorted(self.rows.keys() - found), f"{self.attribute} in the table, on no image")


def _read_labels(source: Dicom) -> _Labels:
    if source.labels is None:
        return _Labels(next(iter(KEYS)), (), np.zeros((1, 0), dtype=np.float32), [""], {})
    table = read_table(Path(source.labels))
    attribute, column = _find_key(table, source.key)
    keys = table[column]
    table.refuse_repeated([key or f"empty {number}" for number, key in enumerate(keys)], attribute)
    split = next((name for name in table.columns if name.lower() == "split"), None)
    taken = {column, split or "", *(name for name in table.columns if _attribute_named(name))}
    findings = find_findings(table, read_names(source.findings), taken)
    values = read_labels(table, findings, source.uncertainty, source.blank)
    unknown = np.full((1, len(findings)), np.nan, dtype=np.float32)
    return _Labels(
        attribute,
        tuple(findings),
        np.concatenate([values, unknown]),
        [*(read_splits(table, split) if split else [""] * len(table)), ""],
        {key: row for row, key in enumerate(keys) if key},
    )


def _find_key(table: Table, key: str | None) -> tuple[str, str]:
    """Attribute and column by which a table is keyed."""
    if key:
        attribute, _, column = key.partition("=")
        return attribute, column or _column_of(table, attribute) or attribute
    for attribute in KEYS:
        if column := _column_of(table, attribute):
            return attribute, column
    mend = "name a column so, or give --key ATTRIBUTE=COLUMN"
    raise InputError(table.where, f"needs a column {' or '.join(KEYS)}", ", ".join(table.columns), mend)


def _column_of(table: Table, attribute: str) -> str:
    return next((name for name in table.columns if _attribute_named(name) == attribute), "")


def _attribute_named(column: str) -> str:
    """Attribute that a column's name means: ``sop_instance_uid`` and ``SOP Instance UID`` alike; else nothing."""
    word = "".join(letter for letter in column.lower() if letter.isalnum())
    return next((attribute for attribute in KEYS if attribute.lower() == word), "")


def _find_files(path: Path) -> tuple[dict[str, FileRef], dict[str, str], dict[str, str]]:
    """Files that may be images by name; those that a DICOMDIR lists and nobody finds; and what is left out."""
    if path.is_file() and path.name.upper() == DICOMDIR:
        tree = Tree(path.parent)
        names = {name.upper(): name for name in tree.names()}  # media are often mounted in small letters
        wanted = referenced_files(path)
        files = {names[name.upper()]: tree.ref(names[name.upper()]) for name in wanted if name.upper() in names}
        return files, {name: "listed in the DICOMDIR, not there" for name in wanted if name.upper() not in names}, {}
    tree = Tree(path)
    return {name: tree.ref(name) for name in tree.names() if _may_be_dicom(name)}, {}, tree.left_out


def _may_be_dicom(name: str) -> bool:
    """Whether a name is one of a DICOM file: a usual suffix, none, or an identifier that ends in digits."""
    suffix = PurePosixPath(name).suffix.lower()
    return PurePosixPath(name).name.upper() != DICOMDIR and (suffix in _SUFFIXES or suffix[1:].isdigit())


def _row(name: str, header: Header) -> dict[str, str]:
    own = {"image": name, "patient_id": header.patient_key, "study_id": header.study_instance_uid, "source": "real"}
    return {**own, **header.tags}


def _reason(error: InputError) -> str:
    return f"{error.rule}; found {error.found}"
