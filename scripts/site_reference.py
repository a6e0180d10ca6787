"""The site's pages of settings, made from the code: keys of experiment files, keys of the bundles' configurations.

Sources are read, not imported: defaults come from the configurations and constructors, meanings from the docstrings of
dataclasses and from ``docs/guide/settings.yaml``.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[1]
MEANINGS: Final = ROOT / "docs" / "guide" / "settings.yaml"
EXPERIMENT: Final = ROOT / "monai_cxraug" / "experiments" / "experiment.py"
REQUEST: Final = ROOT / "monai_cxraug" / "data" / "request.py"
STAGES: Final = ("train", "evaluate", "inference")
#: classes of an experiment file, to the key that each stands under.
CLASSES: Final = {
    "Experiment": "",
    "Data": "data",
    "DataSpec": "data.train, data.validation, data.test",
    "Budget": "budget",
    "Endpoint": "endpoint",
    "Screening": "screening",
    "TopUp": "top_up",
    "Published": "published, a list of",
}
_EVERY: Final = "every bundle"
_FILES: Final = "experiment files"
_ROLE: Final = re.compile(r":\w+:`(~?)([^`]+)`")


def plain(text: str) -> str:
    """Return a docstring's text as Markdown on one line: roles become names in code."""
    named = _ROLE.sub(lambda match: f"`{match[2].rsplit('.', 1)[-1] if match[1] else match[2]}`", text)
    return " ".join(named.replace("``", "`").split())


def cell(text: str) -> str:
    """Return text that may stand in a cell of a table."""
    return text.replace("|", r"\|").replace("\n", " ")


def code(text: str) -> str:
    """Return text as code in a cell."""
    return f"`{cell(text)}`"


# --- experiment files ---


def arguments(docstring: str) -> dict[str, str]:
    """Return the meanings of a Google-style docstring's ``Args:``."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", docstring, flags=re.M | re.S)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8,}.*)*)", section[1] if section else "", flags=re.M)
    return {name: plain(text) for name, text in entries}


def classes(path: Path) -> dict[str, ast.ClassDef]:
    """Return the classes of a module by name."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return {node.name: node for node in body if isinstance(node, ast.ClassDef)}


def fields(node: ast.ClassDef) -> dict[str, tuple[str, str]]:
    """Return the fields of a dataclass: name to kind and default; no default where a key is required."""
    found = {}
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            found[line.target.id] = (_kind(ast.unparse(line.annotation)), _default(line.value))
    return found


def _kind(annotation: str) -> str:
    """A kind of value in words: who writes YAML need not know Python."""
    words = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "Fit": "text"}
    words |= {"Where": "mapping", "Count": "whole number or text"}
    one = annotation.removesuffix(" | None")
    if several := re.fullmatch(r"Sequence\[(\w+)\]", one):
        return "list of " + {"str": "texts", "int": "whole numbers", "float": "numbers"}.get(several[1], "mappings")
    return words.get(one, "mapping")


def _default(value: ast.expr | None) -> str:
    """A default as YAML has it, empty where the key is required."""
    if value is None:
        return ""
    if isinstance(value, ast.Name):
        return json.dumps(_constant(value.id))
    if isinstance(value, ast.Call):  # a factory of dataclasses.field: a mapping that says nothing yet
        return "{}"
    return json.dumps(ast.literal_eval(value), ensure_ascii=False)


def _constant(name: str) -> Any:
    """Return the value of a constant that the module of experiment files imports."""
    tree = ast.parse(EXPERIMENT.read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    module = next(node.module for node in imports if node.module and any(one.name == name for one in node.names))
    for node in ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return ast.literal_eval(node.value)  # type: ignore[attr-defined]
    raise LookupError(name)


def experiment_keys() -> dict[str, dict[str, tuple[str, str, str]]]:
    """Return class to key to kind, default and meaning."""
    nodes = classes(EXPERIMENT)
    known = {name: node for name, node in nodes.items() if name in CLASSES}
    more = meanings().get(_FILES, {})
    prepared = arguments(ast.get_docstring(classes(REQUEST)["Request"]) or "")
    pages = {}
    for name, node in known.items():
        lines = {**more.get(name, {}), **arguments(ast.get_docstring(node) or "")}
        if name == "DataSpec":
            lines = {**prepared, **lines, "images": prepared["images"]}
        pages[name] = {key: (*kinds, lines.get(key, "")) for key, kinds in fields(node).items()}
    return pages


def experiment_page() -> str:
    """Return the page about keys of experiment files."""
    parts = [
        "# Keys of an experiment file",
        "An experiment file is YAML and data alone: no expressions, one substitution, `${CXRAUG_DATA}`. A misspelt key"
        " is refused with the nearest valid one. A null takes a key back to its default, so that an overlay can undo"
        " what the file before it says. This page is made from the docstrings of"
        " `monai_cxraug/experiments/experiment.py`.",
    ]
    nodes = classes(EXPERIMENT)
    for name, keys in sorted(experiment_keys().items(), key=lambda item: list(CLASSES).index(item[0])):
        above = CLASSES[name]
        title = f"## `{above}`" if above and "," not in above else f"## {_titled(above)}"
        first = plain((ast.get_docstring(nodes[name]) or "").split("\n\nArgs:")[0])
        rows = [
            f"| {code(key)} | {kind} | {code(default) if default else 'required'} | {cell(meaning)} |"
            for key, (kind, default, meaning) in keys.items()
        ]
        parts += [title, first, "\n".join(["| Key | Kind | Default | Meaning |", "|---|---|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


def _titled(above: str) -> str:
    if not above:
        return "Top level"
    keys = [f"`{part.strip()}`" if "." in part or part == "published" else part.strip() for part in above.split(",")]
    return ", ".join(keys)


# --- the bundles' configurations ---


def bundles() -> list[str]:
    """Return the names of the bundles."""
    return sorted(path.parents[1].name for path in ROOT.glob("bundles/*/configs/train.json"))


def configuration(bundle: str, name: str) -> dict[str, Any]:
    """Read a configuration of a bundle."""
    path = ROOT / "bundles" / bundle / "configs" / f"{name}.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def meanings() -> dict[str, dict[str, dict[str, str]]]:
    """Read what keys mean: bundle to stage to key to a line."""
    loaded: dict[str, dict[str, dict[str, str]]] = yaml.safe_load(MEANINGS.read_text(encoding="utf-8"))
    return loaded


def place_of_meaning(
    key: str, bundle: str, stage: str, known: Mapping[str, Mapping[str, Mapping[str, str]]]
) -> tuple[str, str] | None:
    """Return bundle and stage of the line that says what a key means; None where there is none."""
    places = ((bundle, stage), (bundle, "any"), (_EVERY, stage), (_EVERY, "any"))
    return next((place for place in places if key in known.get(place[0], {}).get(place[1], {})), None)


def keys(bundle: str, stage: str) -> list[str]:
    """Return the keys of a stage that have a meaning of their own."""
    return [key for key in configuration(bundle, stage) if not key.startswith("_")]


def bundle_page(bundle: str) -> str:
    """Return the page about the settings of a bundle."""
    known = meanings()
    parts = [
        f"# Settings of `{bundle}`",
        "Each top-level key is an option of `python -m monai.bundle run` and of `cxraug bundles run --set`; deeper"
        " ones go by their path, `--optimizer#betas`. An overlay is a second configuration file that states"
        " differences. Values that begin with `$` or `@` are computed from others. Commands: the bundle's"
        f" [README](../bundles/{bundle}.md). This page is made from the configurations.",
    ]
    for stage in STAGES:
        values = configuration(bundle, stage)
        rows = [_row(key, values[key], known, bundle, stage) for key in keys(bundle, stage)]
        parts += [f"## `{stage}.json`", cell(values["_desc_"]), *_tables(rows)]
    return "\n\n".join([*parts, "## Overlays", *_overlays(bundle)]) + "\n"


def _row(key: str, value: Any, known: Mapping[str, Any], bundle: str, stage: str) -> tuple[bool, str]:
    place = place_of_meaning(key, bundle, stage, known)
    meaning = known[place[0]][place[1]][key] if place else ""
    return _is_part(value), f"| {code(key)} | {shown(value)} | {cell(meaning)} |"


def _is_part(value: Any) -> bool:
    """Whether a value is built from others: a component, a section, an expression that builds."""
    inside = isinstance(value, dict) and ("_target_" in value or any(isinstance(one, dict) for one in value.values()))
    steps = isinstance(value, list) and any(isinstance(one, dict) or str(one).startswith("$") for one in value)
    return inside or steps


def shown(value: Any) -> str:
    """Return a default as it stands in a table: components by their class, sections by their parts."""
    if isinstance(value, dict) and "_target_" in value:
        return code(str(value["_target_"]).rsplit(".", 1)[-1])
    if isinstance(value, dict) and value:
        return ", ".join(code(key) for key in value if not key.startswith("_"))
    if _is_part(value):
        return f"{len(value)} {'item' if len(value) == 1 else 'items'}"
    return code(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _tables(rows: list[tuple[bool, str]]) -> Iterator[str]:
    for part, head in ((False, "Setting"), (True, "Part")):
        chosen = [row for is_part, row in rows if is_part is part]
        if chosen:
            middle = "Default" if not part else "Made of"
            yield "\n".join([f"| {head} | {middle} | Meaning |", "|---|---|---|", *chosen])


def _overlays(bundle: str) -> Iterator[str]:
    rows = []
    for path in sorted((ROOT / "bundles" / bundle / "configs").glob("*.json")):
        if path.stem not in (*STAGES, "metadata"):
            changes = configuration(bundle, path.stem)
            changed = ", ".join(code(key) for key in changes if not key.startswith("_"))
            rows.append(f"| {code(path.stem)} | {cell(str(changes.get('_desc_', '')))} | {changed} |")
    yield "\n".join(["| Overlay | What it is for | Changes |", "|---|---|---|", *rows])
