"""Notebooks of ``docs/`` as pages of the site: text, code, and what the code printed or showed."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def notebook_files(path: Path) -> dict[str, str | bytes]:
    """Turn a notebook into a page and its pictures.

    Args:
        path: the notebook, with its outputs.

    Returns:
        Name beside the notebook to content: the page ``<stem>.md``, and ``<stem>_<number>.png`` for each picture.
    """
    pictures: dict[str, str | bytes] = {}
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            shown = [_shown(output, path.stem, pictures) for output in cell["outputs"]]
            parts += [_fenced(source, "python"), *filter(None, shown)]
        else:
            parts.append(source)
    return {f"{path.stem}.md": "\n\n".join([*parts, f"*The notebook: [{path.name}]({path.name}).*\n"]), **pictures}


def _shown(output: Mapping[str, Any], stem: str, pictures: dict[str, str | bytes]) -> str:
    """What an output looks like; progress on standard error is left out."""
    if output["output_type"] == "stream":
        return _fenced("".join(output["text"]), "text") if output["name"] == "stdout" else ""
    data = output["data"]
    if "image/png" not in data:
        return _fenced("".join(data["text/plain"]), "text")
    name = f"{stem}_{len(pictures) + 1}.png"
    pictures[name] = base64.b64decode("".join(data["image/png"]))
    return f"![What the cell shows]({name})"


def _fenced(text: str, language: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"
