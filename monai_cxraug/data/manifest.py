"""The manifest: the table that lists images, one row an image, findings by name."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.artifacts import read_json, write_csv, write_json
from monai_cxraug.data.columns import Labels, Text, parse_labels, read_table
from monai_cxraug.errors import ConfigError, InputError, LabelError, LeakageError, nearest
from monai_cxraug.keys import MANIFEST_COLUMNS, SOURCES, SPLITS
from monai_cxraug.labels import require_findings

SCHEMA = "cxraug.manifest/1"
_TEXT_OF_CODE = np.array(["0", "1", ""], dtype=object)
_UNKNOWN = 2
#: manifests that are kept once they were read: the roles of an experiment and its cells ask for the same few.
_KEPT: Final = 4
#: seconds that a file must have lain unchanged to be kept: a change within one tick of its clock cannot be seen.
_SETTLED: Final = 1.0

#: conditions on rows: column name to the value wanted, or to several of which one is.
Where = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True)
class Manifest:
    """Images, their patients and their findings.

    Args:
        columns: every column that is not a finding, name to ``[N]`` strings;
            :data:`~monai_cxraug.keys.MANIFEST_COLUMNS` are always among them.
        findings: names of the findings, in order.
        labels: float32 ``[N, K]``: 1 present, 0 absent, NaN unknown.
        info: what the JSON beside the table says: ``name``, ``licence``, ``uncertainty`` and so on.
        path: where the table was read from, for messages.
    """

    columns: Mapping[str, Text]
    findings: tuple[str, ...]
    labels: Labels
    info: Mapping[str, Any] = field(default_factory=dict)
    path: Path = Path("manifest.csv")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, column: str) -> Text:
        """Return the ``[N]`` strings of one column that is not a finding."""
        try:
            return self.columns[column]
        except KeyError:
            raise ConfigError(
                f"{self.path} column {column!r}", "unknown column", repr(column), nearest(column, self.columns)
            ) from None

    def label(self, finding: str) -> Labels:
        """Return float32 ``[N]`` labels of one finding."""
        require_findings([finding], self.findings, self.path)
        return self.labels[:, self.findings.index(finding)]

    def label_matrix(self, findings: Sequence[str]) -> Labels:
        """Return float32 ``[N, len(findings)]`` labels in the order asked for, whatever the table's order."""
        order = [self.findings.index(name) for name in require_findings(findings, self.findings, self.path)]
        return self.labels[:, order]

    def select(self, rows: NDArray[Any]) -> Manifest:
        """Keep the rows of a boolean mask or of an index array, in that order."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        return Manifest(columns, self.findings, self.labels[rows], self.info, self.path)

    def rows(self, split: str | None = None, where: Where | None = None) -> NDArray[np.int64]:
        """Find the rows of a split whose columns have the given values.

        Args:
            split: one of ``train``, ``val``, ``test``, or None for every row.
            where: column name to the value it must have, or to a list of values of which it must have one, compared
                as text: ``{"fold": ["1", "2", "3"]}``.

        Returns:
            Row numbers, ascending.

        Raises:
            ConfigError: the split or a column is unknown, or no row is left.
        """
        keep = np.ones(len(self), dtype=bool)
        for column, asked in {**({"split": split} if split is not None else {}), **(where or {})}.items():
            values = [str(value) for value in (asked if isinstance(asked, list | tuple) else [asked])]
            for value in values:
                self._require_value(column, value)
            keep &= np.isin(self[column], values)
        if not keep.any():
            found = f"split={split} where={dict(where or {})}"
            raise ConfigError(self.path, "at least one row must meet all conditions", found, "loosen split or where")
        return np.flatnonzero(keep)

    def _require_value(self, column: str, value: str) -> None:
        if not (self[column] == value).any():
            known = {text for text in self[column] if text}
            hint = nearest(value, known) if len(known) <= 20 else ""
            rule = "at least one row must have the value asked for"
            raise ConfigError(f"{self.path} column {column!r}", rule, repr(value), hint or "check the value")

    def patients(self, rows: NDArray[np.int64] | None = None) -> frozenset[str]:
        """Return the patients of the given rows (default: all), images without a patient left out."""
        values = self["patient_id"] if rows is None else self["patient_id"][rows]
        return frozenset(values) - {""}

    def hash(self) -> str:
        """SHA-256 of the content by column name: a permuted table has the same hash."""
        digest = hashlib.sha256()
        for name in sorted(self.columns):
            _digest_texts(digest, [name])
            _digest_texts(digest, self.columns[name].tolist())
        codes = _codes(self.labels)
        for name in sorted(self.findings):
            _digest_texts(digest, [f"label:{name}"])
            digest.update(codes[:, self.findings.index(name)].tobytes())
        return digest.hexdigest()

    def write(self, folder: Path, inputs: Mapping[str, str] | None = None) -> Path:
        """Write ``manifest.csv`` and ``manifest.json`` atomically.

        Args:
            folder: where to write.
            inputs: SHA-256 of what the manifest was made from, by name.

        Returns:
            Path of the CSV.
        """
        extra = [name for name in self.columns if name not in MANIFEST_COLUMNS]
        names = [*MANIFEST_COLUMNS, *extra]
        labels = [_TEXT_OF_CODE[codes] for codes in _codes(self.labels).T]
        path = folder / "manifest.csv"
        write_csv(path, [*names, *self.findings], zip(*(self.columns[name] for name in names), *labels, strict=True))
        document = {**self.info, "findings": list(self.findings), "rows": len(self), "content": self.hash()}
        write_json(folder / "manifest.json", SCHEMA, {**document, "inputs": dict(inputs or {})})
        return path


def read_manifest(path: str | Path) -> Manifest:
    """Read and check a manifest.

    One that was read before is not read again unless its files have changed.

    Args:
        path: ``manifest.csv``, or the folder that holds it; ``manifest.json`` lies beside it.

    Returns:
        The manifest, every rule below checked. Its columns of text are shared and cannot be written into.

    Raises:
        InputError: the file is missing, a required column is absent, or an image is listed twice.
        LabelError: a finding's column is missing or holds something else than 1, 0 or nothing.
        LeakageError: a patient is in two splits, or a synthetic, filtered or external image is outside training.
    """
    path = Path(path)
    path = path / "manifest.csv" if path.is_dir() else path
    if not path.is_file():
        raise InputError(path, "manifest must exist", "nothing there", "make one with 'cxraug prepare'")
    stamp = _stamp(path)
    if stamp is None:
        return _read(path)
    kept = _read_once(path, stamp)
    return replace(kept, columns=dict(kept.columns), labels=kept.labels.copy(), info=dict(kept.info))


@lru_cache(maxsize=_KEPT)
def _read_once(path: Path, stamp: tuple[float, ...]) -> Manifest:
    return _read(path)


def _stamp(path: Path) -> tuple[float, ...] | None:
    """What changes when the table or the JSON beside it does; None where that is missing or has just been written."""
    try:
        found = [file.stat() for file in (path, path.with_name("manifest.json"))]
    except OSError:
        return None
    if time.time() - max(one.st_mtime for one in found) < _SETTLED:
        return None
    return tuple(value for one in found for value in (one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns))


def _read(path: Path) -> Manifest:
    info = read_json(path.with_name("manifest.json"), SCHEMA)
    findings = _read_findings(info, path.with_name("manifest.json"))
    columns = read_table(path)
    for name in (*MANIFEST_COLUMNS, *findings):
        if name not in columns:
            refusal = LabelError if name in findings else InputError
            raise refusal(path, f"column {name!r} is required", "no such column", nearest(name, columns))
    labels = np.empty((len(columns["image"]), len(findings)), dtype=np.float32)
    for column, name in enumerate(findings):
        labels[:, column] = parse_labels(columns.pop(name), name, path)
    for texts in columns.values():
        texts.flags.writeable = False
    manifest = Manifest(columns, findings, labels, _own_info(info), path)
    check_manifest(manifest)
    return manifest


def check_manifest(manifest: Manifest) -> None:
    """Check the rules that hold for every manifest; see :func:`read_manifest` for the errors."""
    for column, allowed in (("split", SPLITS), ("source", SOURCES)):
        if unknown := set(manifest[column]) - set(allowed):
            value = sorted(unknown)[0]
            row = int(np.flatnonzero(manifest[column] == value)[0]) + 2
            raise InputError(f"{manifest.path} line {row}", f"unknown {column}", repr(value), nearest(value, allowed))
    images = manifest["image"]
    if len(set(images)) < len(images):
        found = f"{min(name for name, count in Counter(images).items() if count > 1)!r} twice"
        raise InputError(manifest.path, "an image may be listed once", found, "remove or rename one")
    refuse_unreal_evaluation(manifest, np.arange(len(manifest)))
    refuse_shared_patients(manifest)


def refuse_shared_patients(manifest: Manifest) -> None:
    """Refuse a patient in two of train, val and test (evidence rule 1)."""
    patients, splits = manifest["patient_id"], manifest["split"]
    home = {split: frozenset(patients[splits == split]) - {""} for split in SPLITS if split}
    for one, other in combinations(home, 2):
        if shared := home[one] & home[other]:
            found = f"patient {min(shared)!r} in {one} and {other}"
            raise LeakageError(manifest.path, "a patient may be in one split only", found, "split by patient")


def refuse_unreal_evaluation(
    manifest: Manifest, rows: NDArray[np.int64], evaluation: Iterable[str] = ("val", "test", "")
) -> None:
    """Refuse synthetic, filtered or external images outside training (evidence rule 1)."""
    unreal = rows[manifest["source"][rows] != "real"]
    wrong = unreal[np.isin(manifest["split"][unreal].astype(str), list(evaluation))]
    if len(wrong):
        row = wrong[0]
        raise LeakageError(
            f"{manifest.path} image {manifest['image'][row]!r}",
            "only real images may stand outside training",
            f"source {manifest['source'][row]!r} in split {manifest['split'][row]!r}",
            "move it to split 'train' or remove it",
        )


def make_columns(rows: Sequence[Mapping[str, str]]) -> dict[str, Text]:
    """Turn row dictionaries into columns; a value that a row lacks is the empty text."""
    names = dict.fromkeys((*MANIFEST_COLUMNS, *(name for row in rows for name in row)))
    return {name: np.array([row.get(name, "") for row in rows], dtype=object) for name in names}


def _read_findings(info: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    findings = info.get("findings")
    if not isinstance(findings, list) or not all(isinstance(name, str) for name in findings):
        raise InputError(path, "'findings' must be a list of names", repr(findings), "make the manifest again")
    return tuple(require_findings(findings, findings, path))


def _codes(labels: Labels) -> NDArray[np.uint8]:
    """uint8 ``[N, K]``: 0 absent, 1 present, 2 unknown."""
    return np.where(np.isnan(labels), _UNKNOWN, labels).astype(np.uint8)


def _digest_texts(digest: hashlib._Hash, texts: Sequence[str]) -> None:
    """Feed a hash with texts, their lengths first, so that no two different lists feed it the same."""
    digest.update(np.array([len(texts), *map(len, texts)], dtype="<i8").tobytes())
    digest.update("".join(texts).encode("utf-8", "surrogatepass"))


def _own_info(document: Mapping[str, Any]) -> dict[str, Any]:
    kept_elsewhere = {"schema", "version", "findings", "rows", "content", "inputs"}
    return {name: value for name, value in document.items() if name not in kept_elsewhere}
