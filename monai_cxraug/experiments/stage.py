"""One stage of a run in one folder: done once, continued after an interruption, made anew when its inputs changed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_cxraug.artifacts import read_json, sweep, write_json, write_text

RUN_SCHEMA, TIMING_SCHEMA = "cxraug.run/1", "cxraug.timing/1"
_MARKER = ".key"


@dataclass(frozen=True)
class Stage:
    """A folder and the hash of everything that determines its content.

    Args:
        folder: where the stage writes.
        key: equal for equal work.
        product: file that a finished stage has.
    """

    folder: Path
    key: str
    product: str = "model.pt"

    @property
    def done(self) -> bool:
        """Whether the folder holds the finished product of the same work."""
        record = self.folder / "run.json"
        if not (record.exists() and (self.folder / self.product).exists()):
            return False
        return bool(read_json(record, RUN_SCHEMA).get("key") == self.key)

    @contextmanager
    def work(self) -> Iterator[dict[str, Any]]:
        """Give the stage its folder: continued if the same work was interrupted, else emptied.

        Yields:
            A mapping to fill: ``images`` goes to ``timing.json``, the rest to ``run.json`` once the stage succeeds.
        """
        marker = self.folder / _MARKER
        if not (marker.exists() and marker.read_text() == self.key):
            shutil.rmtree(self.folder, ignore_errors=True)
            write_text(marker, self.key)
        sweep(self.folder)
        record: dict[str, Any] = {}
        begun = time.monotonic()
        try:
            yield record
        finally:
            images = record.pop("images", None)
            self._add_time(time.monotonic() - begun, images)
        write_json(self.folder / "run.json", RUN_SCHEMA, {"key": self.key, **record})

    def _add_time(self, seconds: float, images: int | None) -> None:
        """Clocks lie apart from what repeats exactly; an interrupted attempt counts too."""
        if not self.folder.exists():
            return
        before = read_timing(self.folder).get("seconds", 0.0)
        write_json(
            self.folder / "timing.json", TIMING_SCHEMA, {"seconds": round(before + seconds, 3), "images": images}
        )


def read_record(folder: Path) -> dict[str, Any]:
    """Read ``run.json`` of a finished stage."""
    return read_json(folder / "run.json", RUN_SCHEMA)


def read_timing(folder: Path) -> Mapping[str, Any]:
    """Read ``timing.json`` of a stage; empty when there is none yet."""
    path = folder / "timing.json"
    return read_json(path, TIMING_SCHEMA) if path.exists() else {}
