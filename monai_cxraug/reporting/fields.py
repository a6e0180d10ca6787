"""Fills small checked records from JSON objects."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from monai_cxraug.errors import StateError, nearest

Interval = tuple[float, float]
#: the default of a key that must be there.
REQUIRED: Final = ...
T = TypeVar("T")
#: says whether a value is of some kind.
Check = Callable[[Any], bool]


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
    values = {}
    for spec, hint in _hints(cast("Hashable", record)):
        values[spec.name] = value_of(content, spec.name, hint, where, _default(spec))
    return record(**values)


@cache
def _hints(record: Any) -> Sequence[tuple[dataclasses.Field[Any], Any]]:
    """Fields of a record and their annotations, worked out once for all its rows."""
    hints = get_type_hints(record)
    return [(spec, hints[spec.name]) for spec in dataclasses.fields(record)]


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
    value = content[key]
    if not _check_of(hint)(value):
        kind = getattr(hint, "__name__", str(hint)) if get_origin(hint) is None else str(hint)
        raise StateError(where, f"{key!r} must be {kind}", repr(value)[:80], "remake the file")
    return tuple(value) if isinstance(value, list) and Interval in (hint, *_parts(hint)[1]) else value


@cache
def _check_of(hint: Any) -> Check:
    """Make what says whether a JSON value is of the annotated kind; a bool is no number and a float must be finite."""
    origin, arguments = _parts(hint)
    if hint is Any:
        return lambda value: True
    if origin in (Union, types.UnionType):
        return _any_of([_check_of(option) for option in arguments])
    if origin is Literal:
        return lambda value: value in arguments
    if origin in (tuple, list):
        return _list_of([_check_of(item) for item in arguments], repeated=origin is list)
    if hint is float:
        return _is_number
    kind = origin or hint
    if hint is bool:
        return lambda value: isinstance(value, bool)
    return lambda value: isinstance(value, kind) and not isinstance(value, bool)


def _any_of(checks: Sequence[Check]) -> Check:
    def fits(value: Any) -> bool:
        for check in checks:  # noqa: SIM110 - a generator would cost more than the checks
            if check(value):
                return True
        return False

    return fits


def _list_of(checks: Sequence[Check], repeated: bool) -> Check:
    """A list of things that all fit the one check, or as many things as there are checks."""
    if repeated:
        return lambda value: isinstance(value, list) and all(map(checks[0], value))
    return lambda value: (
        isinstance(value, list)
        and len(value) == len(checks)
        and all(check(item) for check, item in zip(checks, value, strict=True))
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
