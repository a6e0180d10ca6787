"""Collects a run's files into ``results.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_cxraug.artifacts import content_hash, file_hash, load_json, write_json
from monai_cxraug.calibration import FILE, Calibration, read_calibration
from monai_cxraug.data.additions import UNREAL
from monai_cxraug.data.manifest import Manifest, read_manifest
from monai_cxraug.experiments.cautions import (
    allowances,
    constant_answers,
    idle_screening,
    permuted_columns,
    reused_generators,
    same_pictures,
)
from monai_cxraug.experiments.declared import describe_endpoint
from monai_cxraug.experiments.plan import CellPlan, Plan, SyntheticPlan, stage_folder
from monai_cxraug.experiments.provenance import environment
from monai_cxraug.experiments.results import SCHEMA, compute_results
from monai_cxraug.experiments.shift import shift_rows
from monai_cxraug.experiments.stage import read_record, read_timing
from monai_cxraug.experiments.subgroups import group_images
from monai_cxraug.predictions import Predictions, read_predictions

Row = dict[str, Any]


def write_results(run: Path, plan: Plan) -> Path:
    """Compute ``results.json`` of a run whose cells are done.

    Args:
        run: folder of the run.
        plan: its plan.

    Returns:
        The path written.

    Raises:
        InputError: a cell is not done.
    """
    paths = {cell.id: run / "cells" / cell.id / "predictions.csv" for cell in plan.cells}
    hashes = {f"{role} manifest": read_manifest(path).hash() for role, path in plan.manifests.items()}
    role, _ = plan.experiment.data.judged
    more: Row = {
        "declared": describe_endpoint(run),
        "composition": [row for cell in plan.cells for row in _composition(run, cell, plan)],
        "synthetic": [_synthetic(run, one) for one in plan.synthetic],
        "cost": _cost(run, plan),
        "reused": [{"id": one.id, **one.reused} for one in plan.generators if one.reused],
        "warnings": reused_generators(plan),
    }
    hashes |= {f"generator {one.id}": one.reused["sha256"] for one in plan.generators if one.reused}
    folders = {cell.id: run / "cells" / cell.id for cell in plan.cells}
    judged = Judged(plan, read_manifest(plan.manifests[role]), role, read_calibrations(folders))
    return judged.write(run, paths, hashes, more)


@dataclass(frozen=True)
class Judged:
    """The images that classifiers answered on, and the way from their answers to ``results.json``.

    Args:
        plan: what was declared; all of its cells have answered.
        manifest: of the images.
        split: role of those images, for the record.
        calibrations: cell id to what was fitted for it on other images.
        before: rows ``operating`` of the same arms on their own images, where the images are others.
    """

    plan: Plan
    manifest: Manifest
    split: str
    calibrations: Mapping[str, Calibration]
    before: Sequence[Mapping[str, Any]] = ()

    def write(self, folder: Path, paths: Mapping[str, Path], hashes: Mapping[str, str], more: Row) -> Path:
        """Compute and write.

        Args:
            folder: for ``results.json``.
            paths: cell id to its table of predictions.
            hashes: SHA-256 of what went in, by name.
            more: further keys; lines under ``warnings`` come before those found here.

        Returns:
            The path written.
        """
        plan = self.plan
        tables: dict[str, Predictions] = {name: read_predictions(path) for name, path in paths.items()}
        images = next(iter(tables.values())).images
        groups = group_images(self.manifest, images)
        found = compute_results(plan, tables, self.split, self.calibrations, groups)
        hashes = {"experiment": content_hash(plan.experiment.document()), **hashes}
        hashes |= {f"predictions {name}": file_hash(path) for name, path in paths.items()}
        provenance = {**environment(), "seeds": list(plan.experiment.seeds), "hashes": hashes}
        shift = shift_rows(found["operating"], self.before, plan.experiment.findings)
        warnings = [
            *more.get("warnings", []),
            *allowances(plan),
            *constant_answers(tables, plan.experiment.findings),
            *idle_screening(plan, more.get("synthetic", [])),
            *permuted_columns(plan, tables),
            *same_pictures(plan, self.manifest, images),
        ]
        document = {**found, **more, "shift": shift, "warnings": warnings, "provenance": provenance}
        write_json(folder / "results.json", SCHEMA, document)
        return folder / "results.json"


def read_calibrations(folders: Mapping[str, Path]) -> dict[str, Calibration]:
    """What was fitted for classifiers, each in a folder, by their names; nothing where nothing was."""
    files = {name: folder / FILE for name, folder in folders.items()}
    return {name: read_calibration(path) for name, path in files.items() if path.exists()}


def _composition(run: Path, cell: CellPlan, plan: Plan) -> list[Row]:
    """Positives of each finding by origin, and the share of them that shows nobody."""
    counts = read_record(run / "cells" / cell.id)["about"]["composition"]
    rows = []
    for finding in plan.classes:
        total = sum(counts[finding].values())
        unreal = sum(counts[finding].get(origin, 0) for origin in UNREAL)
        share = unreal / total if total else 0.0
        group = {"arm": cell.arm, "fraction": cell.fraction, "ratio": cell.ratio, "seed": cell.seed}
        rows.append({**group, "finding": finding, **counts[finding], "share": share})
    return rows


def _synthetic(run: Path, one: SyntheticPlan) -> Row:
    """What a synthetic set says about its origin: how many were drawn, accepted, and near a training image."""
    provenance = load_json(stage_folder(run, one) / "provenance.json")
    audit = provenance.get("memorisation_audit") or {"not run": "made before there was an audit"}
    named = {"id": one.id, "generator": one.generator, "finding": one.finding, "seed": one.seed, "n": one.n}
    drawn = {"drawn": provenance.get("drawn", one.n), "acceptance_rate": provenance.get("acceptance_rate")}
    kept = (
        "verdict",
        "near",
        "share",
        "interval",
        "expected_share",
        "threshold",
        "copies",
        "training_images",
        "not run",
    )
    return {
        **named,
        **drawn,
        "rejected": provenance.get("rejected", {}),
        "audit": {key.replace(" ", "_"): audit.get(key) for key in kept},
    }


def _cost(run: Path, plan: Plan) -> list[Row]:
    rows = []
    for one in plan.stages():
        timing = read_timing(stage_folder(run, one))
        named = {"stage": one.kind, "id": one.id}
        rows.append({**named, "seconds": timing.get("seconds"), "images": timing.get("images")})
    return rows
