"""Docstrings as the site shows them: Sphinx's roles become links, where what they name has a place in the site."""

from __future__ import annotations

import re
from typing import Any, Final

from griffe import Alias, Class, Extension, Function, GriffeLoader, Module, Object, Parameter, ParameterKind, Parameters

_ROLE: Final = re.compile(r":(?:class|func|mod|data|meth|attr|exc):`(~?)([\w.]+)`")


class Docstrings(Extension):
    """Turn ``:class:`~package.module.Name` `` into a link, and let named tuples have arguments."""

    def on_package(self, *, pkg: Module, loader: GriffeLoader, **kwargs: Any) -> None:
        """Go through all objects of a package that was read."""
        for one in _objects(pkg):
            if one.docstring is not None:
                one.docstring.value = _linked(one.docstring.value, one, pkg)
            if isinstance(one, Class) and any(str(base) == "NamedTuple" for base in one.bases):
                _give_arguments(one)


def _give_arguments(named_tuple: Class) -> None:
    """Add the constructor that Python makes, so that ``Args:`` of the docstring are arguments."""
    entries = [one for one in named_tuple.attributes.values() if one.annotation is not None]
    kind = ParameterKind.positional_or_keyword
    arguments = [Parameter(one.name, annotation=one.annotation, kind=kind, default=one.value) for one in entries]
    named_tuple.set_member("__init__", Function("__init__", parameters=Parameters(*arguments)))


def _linked(text: str, one: Object, package: Module) -> str:
    return _ROLE.sub(lambda match: _link(match, one, package), text)


def _objects(one: Object) -> list[Object]:
    inside = [member for member in one.members.values() if not isinstance(member, Alias)]
    return [one, *(each for member in inside for each in _objects(member))]


def _link(match: re.Match[str], one: Object, package: Module) -> str:
    shown = match[2].rsplit(".", 1)[-1] if match[1] else match[2]
    found = _find(match[2], one, package)
    return f"`{shown}`" if found is None else f"[`{shown}`][{found}]"


def _find(name: str, one: Object, package: Module) -> str | None:
    """Return the full path of what is meant, if it is shown: public, with a docstring."""
    for full in (name, *(f"{scope}.{name}" for scope in _scopes(one))):
        if not full.startswith(f"{package.name}."):
            continue
        try:
            found = package[full.removeprefix(f"{package.name}.")]
        except KeyError:
            continue
        shown = found.has_docstring and not any(part.startswith("_") for part in full.split("."))
        return found.canonical_path if shown else None
    return None


def _scopes(one: Object) -> list[str]:
    parts = one.path.split(".")
    return [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
