"""The forecast of an experiment, for a terminal: what it will cost, and what it will be able to find."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from monai_cxraug.artifacts import read_json
from monai_cxraug.console import deliver
from monai_cxraug.reporting import words
from monai_cxraug.reporting.fields import build
from monai_cxraug.reporting.records import Scale
from monai_cxraug.reporting.tables import amount_of, finding_title, number, text_table

SCHEMA: Final = "cxraug.forecast/1"
FILE: Final = "forecast.json"


@dataclass(frozen=True)
class ForecastReport:
    """Second half of ``cxraug plan``: prints ``forecast.json`` of a run.

    Args:
        run_folder: folder of the run.
    """

    run_folder: str | Path

    def run(self) -> None:
        """Read and print."""
        deliver("\n".join(describe(read_json(Path(self.run_folder) / FILE, SCHEMA))))


def describe(forecast: dict[str, Any]) -> Iterator[str]:
    """Write the lines of a forecast.

    Args:
        forecast: content of ``forecast.json``.
    """
    yield f"{forecast['name']}: {forecast['title']}"
    scale = build(Scale, forecast["scale"], "forecast.json scale") if forecast.get("scale") else None
    yield f"endpoint: {_endpoint(forecast['endpoint'], scale)}"
    grid = ", ".join(f"{arm} {count}" for arm, count in forecast["arms"].items())
    axis = "numbers of real images" if scale else "fractions"
    yield f"cells: {grid} ({len(forecast['seeds'])} seeds, {len(forecast['fractions'])} {axis})"
    if forecast["missing"]:
        yield f"a verdict still needs: {', '.join(forecast['missing'])}"
    yield ""
    yield from _cost(forecast)
    yield ""
    yield from _prospects(forecast)


def _endpoint(endpoint: dict[str, Any], scale: Scale | None) -> str:
    where = f", {amount_of(endpoint['fraction'], scale)}" if endpoint["fraction"] else ""
    finding = words.subject(endpoint["finding"])
    return f"{endpoint['metric'].upper()} of {finding}, {endpoint['arm']} less {endpoint['reference']}{where}"


def _cost(forecast: dict[str, Any]) -> Iterator[str]:
    rows = [
        [
            share["kind"],
            str(share["pieces"]),
            str(share["done"]),
            str(share["images"]),
            "seconds" if share["seconds"] is None else words.duration(share["seconds"]),
        ]
        for share in forecast["shares"]
    ]
    yield from text_table(["stages", "pieces", "done", "images in all", "still to take"], rows, left={0})
    total, threads = words.duration(forecast["seconds"]), forecast["threads"]
    yield f"expected time: {total}, one after the other with {threads} threads, from a rehearsal on this machine"


def _prospects(forecast: dict[str, Any]) -> Iterator[str]:
    rows = [
        [
            finding_title(row["finding"]),
            str(row["training"]),
            f"{row['alone']['positives']}/{row['images']}",
            str(row["alone"]["positive_patients"]),
            _effect(row["alone"]),
            _effect(row["family"]),
        ]
        for row in forecast["prospects"]
    ]
    head = ["finding", "training n+", "judged n+/n", "patients", "detectable", "after Holm"]
    yield from text_table(head, rows, left={0})
    assumed = ", ".join(f"{name} {value:g}" for name, value in forecast["assumed"].items())
    yield "detectable: smallest true difference in AUROC that is found in 80 of 100 repetitions, two-sided 5 %"
    yield f"assumed: {assumed} (--assume NAME=VALUE)"
    for row in forecast["prospects"]:
        if row["alone"]["reason"]:
            yield f"{finding_title(row['finding'])}: not estimable, {row['alone']['reason']}"


def _effect(planned: dict[str, Any]) -> str:
    return "not estimable" if planned["effect"] is None else number(planned["effect"])
