"""Fills small checked records from JSON objects."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Hashable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from monai_cxraug.errors import StateError, nearest

Interval = tuple[float, float]
#: the default of a key that must be there.
REQUIRED: Final = ...
T = TypeVar("T")


def build(record: type[T], content: object, where: object) -> T:
    """Fill a dataclass from a JSON object, checking that keys are there and values of the annotated kind.

    Args:
        record: dataclass to make; keys it does not know are left alone, so that files may grow.
        content: the JSON object.
        where: file and key to name in an error.

    Raises:
        StateError: not an object, a key is missing or a value is of another kind.
    """
    if not isinstance(content, Mapping):
        raise StateError(where, "must be an object", type(content).__name__, "remake the file")
    hints = _hints(cast("Hashable", record))
    values = {}
    for spec in dataclasses.fields(record):  # type: ignore[arg-type]  # T is always a dataclass here
        values[spec.name] = value_of(content, spec.name, hints[spec.name], where, _default(spec))
    return record(**values)


@cache
def _hints(record: Any) -> Mapping[str, Any]:
    """Annotations of a record, worked out once for all its rows."""
    return get_type_hints(record)


@cache
def _parts(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    return get_origin(hint), get_args(hint)


def _default(spec: dataclasses.Field[Any]) -> Any:
    if spec.default_factory is not dataclasses.MISSING:
        return spec.default_factory()
    return REQUIRED if spec.default is dataclasses.MISSING else spec.default


def build_all(record: type[T], document: Mapping[str, Any], key: str, path: Path) -> list[T]:
    """Fill a dataclass from each object of a list in a JSON document; without the list, none.

    Raises:
        StateError: as for :func:`build`.
    """
    rows = value_of(document, key, list[Any], path, [])
    return [build(record, row, f"{path} {key}[{index}]") for index, row in enumerate(rows)]


def value_of(content: Mapping[str, Any], key: str, hint: Any, where: object, default: Any = REQUIRED) -> Any:
    """Take one value, checked.

    Args:
        content: the JSON object.
        key: of the value.
        hint: annotation that it must fit.
        where: file and key to name in an error.
        default: where the key is not there.

    Raises:
        StateError: the key is missing and has no default, or the value is of another kind.
    """
    if key not in content:
        if default is REQUIRED:
            raise StateError(where, f"must have the key {key!r}", nearest(key, map(str, content)), "remake the file")
        return default
    if not _fits(content[key], hint):
        kind = getattr(hint, "__name__", str(hint)) if get_origin(hint) is None else str(hint)
        raise StateError(where, f"{key!r} must be {kind}", repr(content[key])[:80], "remake the file")
    value = content[key]
    return tuple(value) if isinstance(value, list) and Interval in (hint, *_parts(hint)[1]) else value


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value is of the annotated kind; a bool is no number and a float must be finite."""
    if hint is Any:
        return True
    origin, arguments = _parts(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in arguments)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        return isinstance(value, list) and len(value) == len(arguments) and all(map(_fits, value, arguments))
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if hint is bool:
        return isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, origin or hint) and not isinstance(value, bool)
