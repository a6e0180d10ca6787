"""YAML that is data alone: nothing in it is run, and no few lines of it grow into gigabytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from monai_cxraug.errors import InputError

#: values that a document may have once every alias is written out; the largest of ours has some hundred.
MOST_VALUES: Final = 100_000
#: bytes that a file may have.
MOST_BYTES: Final = 2**22
_MEND: Final = "mend the file"


def read_yaml(path: str | Path) -> Any:
    """Read a file of one YAML document; see :func:`parse_yaml`.

    Raises:
        InputError: it is missing, too long, not UTF-8 or no plain YAML.
    """
    try:
        with Path(path).open("rb") as stream:  # a pipe that a shell has made is fine, and one that never ends too
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(path, "file must exist and be readable", error.strerror or error, "check the path") from None
    if len(content) > MOST_BYTES:
        raise InputError(path, f"must have at most {MOST_BYTES} bytes", "more", "is it the right file?")
    try:
        return parse_yaml(content.decode("utf-8"), path)
    except UnicodeDecodeError as error:
        raise InputError(path, "must be YAML in UTF-8", error, _MEND) from None


def parse_yaml(text: str, where: object) -> Any:
    """Read one YAML document of numbers, texts, dates, lists and mappings.

    Aliases are fine, as long as the document stays small with each of them written out: ten lines, each a list of ten
    aliases of the line before, are ten thousand million values.

    Args:
        text: the document.
        where: what to name in an error.

    Raises:
        InputError: it is no YAML; it has tags such as ``!!python/object``, an alias inside what it stands for, or more
            than :data:`MOST_VALUES` values.
    """
    try:
        return _load(text, where)
    except InputError:
        raise
    except RecursionError:
        raise InputError(where, "must be YAML", "brackets nested too deeply", _MEND) from None
    except (yaml.YAMLError, ValueError) as error:  # a day such as 2026-02-31 is no error of YAML's own
        raise InputError(where, "must be YAML", error, _MEND) from None


def _load(text: str, where: object) -> Any:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _count(node, {}, where) > MOST_VALUES:
            raise InputError(where, f"may hold at most {MOST_VALUES} values", "more, by aliases", _MEND)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _count(node: yaml.Node, known: dict[int, int], where: object) -> int:
    """Values in a node with every alias written out. Nodes that are shared are counted once: it takes no longer."""
    if id(node) in known:
        if known[id(node)] == 0:
            raise InputError(where, "an alias must stand outside of what it names", "one inside", _MEND)
        return known[id(node)]
    known[id(node)] = 0
    children: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        children = node.value
    elif isinstance(node, yaml.MappingNode):
        children = [child for pair in node.value for child in pair]
    known[id(node)] = 1 + sum(_count(child, known, where) for child in children)
    return known[id(node)]
