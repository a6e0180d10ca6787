"""What a MONAI configuration would run, told without running it, and whose configurations run without being asked.

A MONAI configuration is a program: ``"$..."`` is evaluated and a ``_target_`` is imported and called. Those of the
installed package and of the folder that one works in run as one's own; any other one only when it is trusted by name.
"""

from __future__ import annotations

import ast
import configparser
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from monai_cxraug.console import shown
from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.plain_yaml import MOST_BYTES, read_yaml
from monai_cxraug.resources import resource_root

#: first characters of texts that MONAI evaluates, and of those that it replaces by a part of another file.
_EXPRESSION, _MACRO = "$", "%"
#: a reference to another item inside of an expression.
_REFERENCE: Final = re.compile(r"@\w*(?:(?:::|#)\w*)*")
#: the file in a macro, as MONAI cuts it off.
_MACRO_FILE: Final = re.compile(r".*\.(?:json|yaml|yml)(?=::|$)", re.IGNORECASE)
#: files that one configuration may bring along, and letters of one expression that are looked through.
_MOST_FILES, _LONGEST = 50, 10_000
_SUFFIXES: Final = (".json", ".yaml", ".yml")
_THERE: Final = "_reference_"
#: names that turn texts into code or into other names: what they are given is not to be seen here.
_OPAQUE: Final = frozenset(
    {"__import__", "builtins", "compile", "delattr", "eval", "exec", "getattr", "globals", "importlib", "locals"}
    | {"locate", "runpy", "setattr", "vars"}
)


@dataclass
class Audit:
    """What some configuration files would run.

    Args:
        files: every file that is read, with symbolic links followed: the configurations, the metadata beside the first
            one, and what macros name.
        targets: classes and functions that are called, as ``_target_`` names them.
        imports: modules that import statements name.
        names: what expressions use besides, dotted as written.
        expressions: place to text, of everything that is evaluated.
        logging: classes and arguments in the ``logging.conf`` beside the first one, which MONAI applies and ``cxraug``
            does not.
        keys: of the configurations, at the top.
        unread: places of expressions that are no Python, or too long.
    """

    files: list[Path] = field(default_factory=list)
    targets: set[str] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    expressions: dict[str, str] = field(default_factory=dict)
    logging: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    unread: list[str] = field(default_factory=list)

    @property
    def opaque(self) -> list[str]:
        """Names in use that hide what is run, such as ``eval``: the rest of the list may then be incomplete."""
        called = self.names | self.targets | self.imports
        hiding = sorted(name for name in called if _OPAQUE & set(name.split(".")) or "__" in name)
        return [*hiding, *(f"{place}, which cannot be read" for place in self.unread)]

    def describe(self) -> str:
        """Lines for people: files, imports, targets, names."""
        lines = [f"file     {shown(path)}" for path in self.files]
        lines += [f"imports  {shown(name)}" for name in sorted(self.imports)]
        lines += [f"calls    {shown(name)}" for name in sorted(self.targets)]
        lines += [f"uses     {shown(name)}" for name in sorted(self.names)]
        lines += [
            f"logging  {shown(text)}; python -m monai.bundle applies it, cxraug does not" for text in self.logging
        ]
        if self.opaque:
            lines.append(f"hidden   {shown(', '.join(self.opaque))}: what these run cannot be told from outside")
        return "\n".join(lines)

    def as_values(self) -> dict[str, Any]:
        """The same as plain values, and the expressions."""
        return {
            "files": [str(path) for path in self.files],
            "imports": sorted(self.imports),
            "targets": sorted(self.targets),
            "names": sorted(self.names),
            "hidden": self.opaque,
            "logging": self.logging,
            "expressions": self.expressions,
        }


def audit(files: Sequence[str | Path]) -> Audit:
    """Read configurations and all that they bring along; nothing is imported or evaluated.

    Args:
        files: a configuration, or a base and its overlays in order.

    Raises:
        InputError: a file is missing, unreadable, or too large to be looked through.
    """
    found = Audit()
    for file in files:
        found.keys |= _add_file(found, Path(file))
    folder = Path(files[0]).parent
    if (metadata := folder / "metadata.json").is_file():
        _add_file(found, metadata)
    if (logging := folder / "logging.conf").is_file():
        found.logging += _read_logging(logging)
    return found


def require_trust(found: Audit, trusted: bool, project: Path | None = None) -> list[Path]:
    """Refuse configurations of others that nobody has said to be trusted.

    Args:
        found: what they are.
        trusted: whether somebody has.
        project: folder whose configurations are one's own; default the working folder, unless that is the root of the
            file system, the home folder or the folder of temporary files, where anything may lie.

    Returns:
        The files that are others'.

    Raises:
        ConfigError: there are some, and they are not trusted.
    """
    own = [resource_root().resolve(), *([_project()] if project is None else [project.resolve()])]
    foreign = [path for path in found.files if not any(home and path.is_relative_to(home) for home in own)]
    if foreign and not trusted:
        rule = "a configuration is a program, and this one lies outside of the package and of the working folder"
        runs = sorted(found.imports | found.targets)
        mend = "look at it with `cxraug bundles inspect`; --trust runs it"
        raise ConfigError(foreign[0], rule, f"one that calls {shown(', '.join(runs)) or 'nothing'}", mend)
    return foreign


def _project() -> Path | None:
    here = Path.cwd().resolve()
    everybodys = (Path(here.anchor), Path.home().resolve(), Path(tempfile.gettempdir()).resolve())
    return None if here in everybodys else here


# --- files ---


def _add_file(found: Audit, file: Path) -> set[str]:
    """Add a file, once, and return its keys."""
    path = _resolved(file)
    if path in found.files:
        return set()
    if len(found.files) == _MOST_FILES:
        raise InputError(shown(file), f"at most {_MOST_FILES} files may make one configuration", "more", "join them")
    document = _read(file)
    found.files.append(path)
    for place, value in _walk(document, file.name):
        if isinstance(value, Mapping):
            _add_component(found, value, place)
        elif isinstance(value, str) and value.startswith(_EXPRESSION):
            _add_expression(found, value[1:], place)
        elif (
            isinstance(value, str)
            and value.startswith(_MACRO)
            and (named := _MACRO_FILE.search(value[1:].replace("#", "::")))
        ):
            _add_file(found, Path(named[0]))
    return set(map(str, document))


def _resolved(file: Path) -> Path:
    try:
        return file.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:  # nothing there, a ring of links, a zero byte
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise InputError(shown(file), "must be a configuration", reason, "check the path") from None


def _read(file: Path) -> Any:
    if file.suffix.lower() not in _SUFFIXES:
        raise InputError(shown(file), f"must be a configuration: {', '.join(_SUFFIXES)}", file.suffix or "another file")
    if file.suffix.lower() != ".json":
        document = read_yaml(file)
    else:
        try:
            with file.open("rb") as stream:
                content = stream.read(MOST_BYTES + 1)
            if len(content) > MOST_BYTES:
                raise InputError(file, f"must have at most {MOST_BYTES} bytes", "more", "is it the right file?")
            document = json.loads(content)
        except InputError:
            raise
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(shown(file), "must be a readable configuration", error, "mend the file") from None
    if not isinstance(document, Mapping):
        raise InputError(shown(file), "must be a configuration", type(document).__name__, "write keys and values")
    return document


def _read_logging(file: Path) -> list[str]:
    parser = configparser.RawConfigParser()
    try:
        with file.open("rb") as stream:
            parser.read_string(stream.read(MOST_BYTES).decode("utf-8"))
    except (OSError, ValueError, configparser.Error) as error:
        return [f"{file.name} cannot be read: {type(error).__name__}"]
    options = ((section, name) for section in parser.sections() for name in ("class", "args", "kwargs"))
    return [
        f"{section} {name}={parser.get(*one)}" for one in options if parser.has_option(*one) for section, name in [one]
    ]


def _walk(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Everything in a document, with its place; keys too, for an overlay may hide behind them."""
    waiting = [(place, value)]
    while waiting:
        place, value = waiting.pop()
        yield place, value
        if isinstance(value, Mapping):
            waiting += [(f"{place}#{key}", item) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{place}#{number}", item) for number, item in enumerate(value)]


# --- code ---


def _add_component(found: Audit, section: Mapping[str, Any], place: str) -> None:
    """Add targets: of a component, and of an overlay's keys such as ``"train#trainer#_target_"``."""
    for key, value in section.items():
        if re.split("#|::", str(key))[-1] == "_target_" and not str(value).startswith(_EXPRESSION):
            found.targets.add(str(value))


def _add_expression(found: Audit, text: str, place: str) -> None:
    found.expressions[place] = text
    try:
        if len(text) > _LONGEST:
            raise ValueError("too long to be read")
        tree = ast.parse(_REFERENCE.sub(_THERE, text).strip())
        nodes = list(ast.walk(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        found.unread.append(place)
        return
    inner = {node.value for node in nodes if isinstance(node, ast.Attribute)}
    own = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    own |= {node.arg for node in nodes if isinstance(node, ast.arg)} | {_THERE}
    for node in nodes:
        if isinstance(node, ast.Import):
            found.imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.imports |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Name | ast.Attribute) and node not in inner:
            found.names |= {name for name in [_dotted(node)] if name.split(".")[0] not in own}


def _dotted(node: ast.expr) -> str:
    """Names as written, ``torch.nn.Linear``; what an attribute is taken of that has no name is a dot: ``.items``."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    root = node.id if isinstance(node, ast.Name) else ""
    return ".".join([root, *reversed(parts)])
