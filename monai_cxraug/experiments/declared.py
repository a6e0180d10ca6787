"""Was the endpoint declared before the run? A record that only grows says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from monai_cxraug.artifacts import read_json, write_json
from monai_cxraug.experiments.experiment import Experiment

SCHEMA: Final = "cxraug.declared/1"
FILE: Final = "declared.json"


def record_endpoint(run: Path, experiment: Experiment) -> None:
    """Add the endpoint to the run's record, unless it is the one that stands there last.

    Args:
        run: folder of the run.
        experiment: what is declared now, before anything of it is run.
    """
    entries = _read(run)
    endpoint = experiment.document()["endpoint"]
    if entries and entries[-1]["endpoint"] == endpoint:
        return
    cells = len(list(run.glob("cells/*/run.json")))
    write_json(run / FILE, SCHEMA, {"endpoints": [*entries, {"endpoint": endpoint, "cells_done": cells}]})


def describe_endpoint(run: Path) -> dict[str, Any] | None:
    """Tell whether the endpoint stood before any cell was done.

    Returns:
        ``before``, ``cells_done`` when it was declared, and ``earlier``, the number of endpoints before it; None where
        the run has no record, as those of version 0.1.
    """
    entries = _read(run)
    if not entries:
        return None
    cells = entries[-1]["cells_done"]
    return {"before": cells == 0, "cells_done": cells, "earlier": len(entries) - 1}


def _read(run: Path) -> list[dict[str, Any]]:
    path = run / FILE
    return list(read_json(path, SCHEMA)["endpoints"]) if path.exists() else []
