"""What the stages of a study hand to each other: the locked folder of trials, and the tables of answers and readers."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

from monai_cxraug.artifacts import content_hash, file_hash, read_json, write_csv, write_json
from monai_cxraug.data.files import inside
from monai_cxraug.errors import InputError, StateError, nearest

SCHEMA: Final = "cxraug.study/1"
STUDY, TRIALS, IMAGES = "study.json", "trials.csv", "images"
ANSWERS, READERS = "answers.csv", "readers.csv"

Task = Literal["2afc", "jnd", "turing"]
Role = Literal["training", "judged", "repeat", "sentinel"]
#: what a reader may answer, by task.
CHOICES: Final[Mapping[str, tuple[str, str]]] = {
    "2afc": ("left", "right"),
    "jnd": ("same", "different"),
    "turing": ("real", "synthetic"),
}
ROLES: Final = ("training", "judged", "repeat", "sentinel")


@dataclass(frozen=True)
class Trial:
    """One question to a reader.

    Args:
        trial: its name.
        task: ``2afc``: which of two images looks closer to the reference; ``jnd``: whether two images, shown briefly
            one after the other, look the same; ``turing``: whether one image is real or synthetic.
        role: ``training`` trials teach and are not judged; ``repeat`` shows an earlier trial the other way round;
            a ``sentinel`` has a known answer and finds readers who do not look.
        reference: image, of a ``2afc`` trial.
        first: image on the left, or shown first, or the only one.
        second: image on the right, or shown second; "" for ``turing``.
        expected: the right answer of training and sentinel trials and of ``turing``; "" where opinions are asked.
        repeat_of: the trial that is repeated.
        family: ``traditional``, ``cnn``, ``mixed`` (one of each), ``turing``, or ``sentinel``.
        distortion_first: how the first image was made; "" is the reference itself.
        distortion_second: how the second was made.
        source: image of the manifest.
        patient_id: whose image it is.
        finding: stratum.
        view: stratum.
        left: of the patch in the image, pixels; 0 for whole images.
        top: of the patch in the image, pixels; 0 for whole images.
    """

    trial: str
    task: str
    role: str
    reference: str = ""
    first: str = ""
    second: str = ""
    expected: str = ""
    repeat_of: str = ""
    family: str = ""
    distortion_first: str = ""
    distortion_second: str = ""
    source: str = ""
    patient_id: str = ""
    finding: str = ""
    view: str = ""
    left: int = 0
    top: int = 0

    @property
    def shown(self) -> tuple[str, ...]:
        """Images that the trial shows: reference, first, second, as far as there are."""
        return tuple(image for image in (self.reference, self.first, self.second) if image)


@dataclass(frozen=True)
class Study:
    """A study as it was built.

    Args:
        folder: where it lies.
        info: the document: ``title``, ``seed``, ``tasks``, ``size``, ``display_ms``, ``gap_ms``, ``per_reader``, and
            hashes.
        trials: in the order of the table.
    """

    folder: Path
    info: Mapping[str, Any]
    trials: tuple[Trial, ...]

    @property
    def identity(self) -> str:
        """SHA-256 of the document, hence of everything in the folder."""
        return content_hash(dict(self.info))

    def image(self, name: str) -> Path:
        """File of an image."""
        return inside(self.folder / IMAGES, f"{name}.png")

    @classmethod
    def load(cls, folder: str | Path, images: bool = True) -> Study:
        """Read a study and check that nothing was changed since it was built.

        Args:
            folder: of the study.
            images: check the images too.

        Raises:
            InputError: a file is missing or unreadable.
            StateError: a file is not the one that was built.
        """
        folder = Path(folder)
        info = read_json(folder / STUDY, SCHEMA)
        _require_hash(folder / TRIALS, info["trials"])
        if images:
            for name, digest in info["images"].items():
                _require_hash(inside(folder / IMAGES, f"{name}.png"), digest)
        return cls(folder, info, tuple(_read_rows(folder / TRIALS, Trial)))

    @classmethod
    def write(cls, folder: Path, info: Mapping[str, Any], trials: Sequence[Trial]) -> Study:
        """Write the table and the document; the images lie in their folder already.

        Args:
            folder: of the study.
            info: the document without hashes of trials and images.
            trials: all of them.
        """
        _write_rows(folder / TRIALS, Trial, trials)
        names = sorted({image for trial in trials for image in trial.shown})
        hashes = {
            "trials": file_hash(folder / TRIALS),
            "images": {name: file_hash(folder / IMAGES / f"{name}.png") for name in names},
        }
        write_json(folder / STUDY, SCHEMA, {**info, **hashes})
        return cls.load(folder, images=False)


@dataclass(frozen=True)
class Answer:
    """What a reader answered.

    Args:
        study: identity of the study.
        reader: code.
        trial: name.
        answer: one of :data:`CHOICES` of the trial's task.
        confidence: 1 (guess) to 4 (certain) where it was asked, else 0.
        reaction_ms: from the moment the answer could be given to the key.
        position: of the trial in this reader's order, from 0.
        shown_utc: when the server handed the trial out, ISO 8601.
        answered_utc: when the answer was on disk, ISO 8601.
        display: what the reader looked at, as JSON: size in CSS pixels, pixel ratio, zoom, window, level.
    """

    study: str
    reader: str
    trial: str
    answer: str
    confidence: int = 0
    reaction_ms: float = 0.0
    position: int = 0
    shown_utc: str = ""
    answered_utc: str = ""
    display: str = ""


@dataclass(frozen=True)
class Reader:
    """Who answered, by a code.

    Args:
        reader: code, not a name.
        role: ``radiologist``, ``resident``, ``physician``, ``radiographer``, ``student``, ``other`` or ``simulated``.
        years: of experience; -1 unknown.
        language: of the page, ``en`` or ``ko``.
        simulated: 1 for a program, 0 for a person.
        started_utc: ISO 8601.
        finished_utc: ISO 8601; "" while not finished.
    """

    reader: str
    role: str = "other"
    years: int = -1
    language: str = "en"
    simulated: int = 0
    started_utc: str = ""
    finished_utc: str = ""


def write_answers(folder: Path, answers: Iterable[Answer], readers: Iterable[Reader]) -> None:
    """Write ``answers.csv`` and ``readers.csv`` into a folder."""
    _write_rows(folder / ANSWERS, Answer, answers)
    _write_rows(folder / READERS, Reader, readers)


def read_answers(folder: Path) -> tuple[list[Answer], list[Reader]]:
    """Read ``answers.csv`` and ``readers.csv`` of a folder.

    Raises:
        InputError: missing, or a column or value is not what it should be.
    """
    return _read_rows(folder / ANSWERS, Answer), _read_rows(folder / READERS, Reader)


def _require_hash(path: Path, digest: str) -> None:
    if not path.is_file():
        raise InputError(path, "file must exist", "nothing there", "restore the folder as it was built")
    if file_hash(path) != digest:
        raise StateError(path, "must be the file that was built", "another content", "restore it, or build a new study")


def _write_rows(path: Path, kind: type, rows: Iterable[Any]) -> None:
    write_csv(path, [one.name for one in fields(kind)], (list(asdict(row).values()) for row in rows))


def _read_rows(path: Path, kind: type) -> list[Any]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            table = csv.DictReader(stream)
            header = list(table.fieldnames or [])
            for one in fields(kind):
                if one.name not in header:
                    raise InputError(
                        path, f"column {one.name!r} is required", "no such column", nearest(one.name, header)
                    )
            return [_parse(kind, row, f"{path} line {number}") for number, row in enumerate(table, start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, "must be a readable table", error, "export it again") from None


def _parse(kind: type, row: Mapping[str, str], where: str) -> Any:
    converters = {"int": int, "float": float, "str": str}
    try:
        return kind(**{one.name: converters[str(one.type)](row[one.name]) for one in fields(kind)})
    except (ValueError, TypeError) as error:
        raise InputError(where, "must hold what its columns say", error, "export it again") from None
