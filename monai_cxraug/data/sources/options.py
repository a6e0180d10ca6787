"""Options of a source: the fields of its class, from which the command line and every check are made.

A field ``name: Annotated[type, "help", "METAVAR"] = default`` is an option; one that is not annotated so is none.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from functools import lru_cache
from typing import Annotated, Any, Literal

from monai_cxraug.errors import ConfigError, nearest

#: names as a list, or as text with commas between them.
Names = str | Sequence[str]
#: names to values as a mapping, or as text: ``a=b,c=d``.
Pairs = str | Mapping[str, str]
#: the option of sources whose pictures may be in colour.
Colour = Annotated[bool, "keep red, green and blue, 8 bits each; without it, colour becomes grey"]

_METAVARS: Mapping[Any, str] = {int: "N", float: "X", Names: "A,B", Pairs: "A=B,C=D"}


@dataclass(frozen=True)
class Option:
    """One option of a source.

    Args:
        name: the field's name.
        kind: its type: ``str``, ``int``, ``float``, ``bool``, :data:`Names` or :data:`Pairs`.
        choices: the values it may take; empty when it may take any.
        help: one line for the command line's help.
        metavar: what stands for the value in the help.
        required: whether there is no default.
        default: value when it is not given.
    """

    name: str
    kind: Any
    choices: tuple[str, ...]
    help: str
    metavar: str
    required: bool
    default: Any

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return f"--{self.name.replace('_', '-')}"

    def check(self, value: Any) -> None:
        """Refuse a value of another kind.

        Raises:
            ConfigError: the value is not one of the choices, or not of the option's kind.
        """
        if self.choices:
            if value not in self.choices:
                raise ConfigError(self.flag, "unknown choice", repr(value), nearest(str(value), self.choices))
            return
        wanted, fits = _KINDS[self.kind]
        if not fits(value):
            raise ConfigError(self.flag, f"must be {wanted}", repr(value), f"give {self.flag} {self.metavar}".strip())


@lru_cache
def options_of(source: type) -> dict[str, Option]:
    """Return the options of a source's class, by name."""
    hints = typing.get_type_hints(source, include_extras=True)
    known = {entry.name: (entry, hints[entry.name]) for entry in fields(source)}
    return {
        name: _describe(entry, hint) for name, (entry, hint) in known.items() if typing.get_origin(hint) is Annotated
    }


def read_names(value: Names | None) -> list[str]:
    """Return names given as a list, or as text with commas."""
    if value is None:
        return []
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else list(value)


def read_pairs(value: Pairs | None, where: str) -> dict[str, str]:
    """Return pairs given as a mapping, or as text: ``a=b,c=d``.

    Raises:
        ConfigError: a part of the text is no pair, or a name comes twice.
    """
    if isinstance(value, Mapping):
        return {str(name): str(other) for name, other in value.items()}
    pairs: dict[str, str] = {}
    for part in read_names(value):
        name, sign, other = (text.strip() for text in part.partition("="))
        if not (name and sign and other) or name in pairs:
            raise ConfigError(where, "must read NAME=VALUE,NAME=VALUE, each name once", repr(part), f"mend {where}")
        pairs[name] = other
    return pairs


def _describe(entry: Field[Any], hint: Any) -> Option:
    hint, text, *metavar = typing.get_args(hint)
    kind = _without_none(hint)
    choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
    shown = metavar[0] if metavar else _METAVARS.get(kind, "" if kind is bool else "TEXT")
    required = entry.default is MISSING
    return Option(entry.name, kind, choices, text, shown, required, None if required else entry.default)


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint
    kinds = [kind for kind in typing.get_args(hint) if kind is not types.NoneType]
    return typing.Union[tuple(kinds)]  # noqa: UP007  (the kinds are not known before)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_texts(values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


_KINDS: Mapping[Any, tuple[str, Any]] = {
    str: ("text", lambda value: isinstance(value, str) and value != ""),
    int: ("a whole number", _is_whole),
    float: ("a number", lambda value: _is_whole(value) or isinstance(value, float)),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    Names: ("names", lambda value: isinstance(value, str | list | tuple) and _are_texts(value)),
    Pairs: ("pairs NAME=VALUE", lambda value: isinstance(value, str | Mapping)),
}
