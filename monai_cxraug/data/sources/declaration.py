"""The declaration of a generator that was trained elsewhere: above all, whose images it saw."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from monai_cxraug.artifacts import file_hash
from monai_cxraug.data.files import FileRef
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.sources.tables import read_table
from monai_cxraug.errors import ConfigError, InputError, LeakageError, nearest
from monai_cxraug.plain_yaml import parse_yaml

_KEYS: Final = ("generator", "patients_seen", "seed", "filters", "notes")
_MANIFEST_KEYS: Final = ("manifest", "split")


@dataclass(frozen=True)
class Declaration:
    """What is said about a generator.

    Args:
        generator: its name.
        patients_seen: patients whose images trained it, sorted.
        salt: fingerprint of the salt by which they are hashed already; None for plain names.
        about: everything else that was declared, and the file's hash.
    """

    generator: str
    patients_seen: tuple[str, ...]
    salt: str | None
    about: Mapping[str, Any]


def read_declaration(path: Path) -> Declaration:
    """Read a declaration.

    Args:
        path: JSON or YAML: ``generator``, a name; ``patients_seen``, a list of texts, or the path of a table with a
            column ``patient_id``, or ``{manifest: PATH, split: NAME}``; and ``seed``, ``filters`` and ``notes`` as
            wanted. Paths are relative to the file.

    Returns:
        The declaration.

    Raises:
        InputError: the file is missing or unreadable.
        ConfigError: a key is unknown, or the generator has no name.
        LeakageError: the patients seen are not declared, or not as text.
    """
    document = _read_document(path)
    for key in document:
        if key not in _KEYS:
            raise ConfigError(f"{path} key {key!r}", "unknown key", repr(key), nearest(str(key), _KEYS))
    generator = document.get("generator")
    if not isinstance(generator, str) or not generator.strip():
        raise ConfigError(f"{path} key 'generator'", "must name the generator", repr(generator), "add its name")
    patients, salt = _read_patients(document.get("patients_seen"), path)
    about = {key: document[key] for key in ("seed", "filters", "notes") if document.get(key) is not None}
    return Declaration(generator, tuple(sorted(patients)), salt, {**about, "declaration": file_hash(path)})


def _read_document(path: Path) -> Mapping[str, Any]:
    text = FileRef(path).read_text()
    try:
        document = parse_yaml(text, path)  # JSON is YAML, but for tabs
    except InputError:
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(path, "must be JSON or YAML", error, "mend the file") from None
    if not isinstance(document, Mapping):
        mend = "write generator: NAME and patients_seen: [...]"
        raise InputError(path, "must hold keys and values", type(document).__name__, mend)
    return document


def _read_patients(value: Any, path: Path) -> tuple[frozenset[str], str | None]:
    """Patients and the fingerprint of their salt."""
    where = f"{path} key 'patients_seen'"
    if isinstance(value, str):
        return _patients_of_table(path.parent / value), None
    if isinstance(value, Mapping):
        return _patients_of_manifest(value, path)
    # a number would never equal a manifest's text, and so hide a leak: 00012 reads as 10 in YAML
    if not isinstance(value, list) or not all(isinstance(patient, str) and patient for patient in value):
        rule = "must list the patients whose images trained the generator, as text"
        raise LeakageError(where, rule, repr(value)[:60], "quote each, or name a table; [] where none was seen")
    return frozenset(value), None


def _patients_of_table(path: Path) -> frozenset[str]:
    table = read_table(path)
    column = table.columns[0] if len(table.columns) == 1 else "patient_id"
    return frozenset(table[column]) - {""}


def _patients_of_manifest(value: Mapping[str, Any], path: Path) -> tuple[frozenset[str], str | None]:
    for key in value:
        if key not in _MANIFEST_KEYS:
            where = f"{path} key 'patients_seen.{key}'"
            raise ConfigError(where, "unknown key", repr(key), nearest(str(key), _MANIFEST_KEYS))
    if "manifest" not in value:
        raise ConfigError(f"{path} key 'patients_seen'", "needs 'manifest'", "none", "add 'manifest: PATH'")
    manifest = read_manifest(path.parent / str(value["manifest"]))
    return manifest.patients(manifest.rows(value.get("split"))), manifest.info.get("salt")
