"""A journal: one line for each thing that is done, on the disk before the next one begins."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from monai_cxraug.artifacts import atomic_path


class Journal:
    """Remembers what was done under which name; continued after a kill.

    A line that was cut off counts as not written, and whoever did the work finds out by looking.

    Args:
        path: file; made when missing. Only its owner reads it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, dict[str, Any]] = {}
        for line in self._lines():
            self.entries[str(line.pop("name"))] = line
        self._rewrite()

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def add(self, name: str, **facts: Any) -> None:
        """Write that something is done."""
        self.entries[name] = facts
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(_line(name, facts))
            stream.flush()
            os.fsync(stream.fileno())

    def _lines(self) -> list[dict[str, Any]]:
        try:
            texts = self.path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
        except FileNotFoundError:
            return []
        found = []
        for text in texts:
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue
            if isinstance(line, dict) and "name" in line:
                found.append(line)
        return found

    def _rewrite(self) -> None:
        """Leave whole lines only: the next one must not be joined to one that was cut off."""
        with atomic_path(self.path, private=True) as temporary:
            temporary.write_text("".join(_line(*entry) for entry in self.entries.items()), encoding="utf-8")


def _line(name: str, facts: dict[str, Any]) -> str:
    return json.dumps({"name": name, **facts}) + "\n"
