"""Collects a run's files into ``results.json``, and asks its cells about other images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monai_cxraug.artifacts import content_hash, file_hash, write_json
from monai_cxraug.bundle_config import bundle_file, run_stage
from monai_cxraug.calibration import FILE, Calibration, read_calibration
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.errors import LeakageError
from monai_cxraug.experiments.experiment import DataSpec
from monai_cxraug.experiments.plan import CellPlan, Plan, data_spec
from monai_cxraug.experiments.provenance import environment
from monai_cxraug.experiments.results import SCHEMA, compute_results
from monai_cxraug.experiments.stage import read_record, read_timing
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
    composition = [row for cell in plan.cells for row in _composition(run, cell, plan)]
    hashes = {f"{role} manifest": read_manifest(path).hash() for role, path in plan.manifests.items()}
    role, _ = plan.experiment.data.judged
    return _write(run, run, plan, paths, role, hashes, {"composition": composition, "cost": _cost(run, plan)})


def evaluate_run(run: Path, plan: Plan, images: DataSpec, out: Path, say: Callable[[str], None] = print) -> Path:
    """Ask every cell of a finished run about images never seen before.

    Args:
        run: folder of the run.
        plan: its plan.
        images: manifest, split and where of the images.
        out: folder for ``results.json`` and ``predictions/<cell>.csv``.
        say: called with one line a cell.

    Returns:
        Path of ``out/results.json``.

    Raises:
        LeakageError: the images share patients with the training images, or are not real.
    """
    manifest = read_manifest(str(images.manifest))
    rows = manifest.rows(images.split, images.where)
    if (manifest["source"][rows] != "real").any():
        raise LeakageError(manifest.path, "only real images may be judged on", "other sources", "choose with --where")
    _refuse_seen_patients(run, plan, manifest.patients(rows), manifest.path)
    config = bundle_file("chest_xray_classification", "evaluate")
    paths = {cell.id: out / "predictions" / f"{cell.id}.csv" for cell in plan.cells}
    for number, (name, table) in enumerate(paths.items(), start=1):
        model = run / "cells" / name / "model.pt"
        settings = {"output_dir": str(out), "predictions": str(table), "checkpoint": str(model)}
        run_stage(config, {"bundle_root": str(config.parents[1]), **settings, **data_spec(images, manifest.path)})
        say(f"[{number}/{len(paths)}] cell {name}")
    (out / "metrics.json").unlink(missing_ok=True)  # of the last cell alone; results.json has them all
    return _write(run, out, plan, paths, "evaluation", {"manifest": manifest.hash()}, {"composition": [], "cost": []})


def _write(
    run: Path, folder: Path, plan: Plan, paths: Mapping[str, Path], split: str, hashes: Mapping[str, str], more: Row
) -> Path:
    tables: dict[str, Predictions] = {name: read_predictions(path) for name, path in paths.items()}
    found = compute_results(plan, tables, split, _calibrations(run, plan))
    hashes = {"experiment": content_hash(plan.experiment.document()), **hashes}
    hashes |= {f"predictions {name}": file_hash(path) for name, path in paths.items()}
    provenance = {**environment(), "seeds": list(plan.experiment.seeds), "hashes": hashes}
    document = {**found, **more, "warnings": _warnings(plan), "provenance": provenance}
    write_json(folder / "results.json", SCHEMA, document)
    return folder / "results.json"


def _calibrations(run: Path, plan: Plan) -> dict[str, Calibration]:
    files = {cell.id: run / "cells" / cell.id / FILE for cell in plan.cells}
    return {name: read_calibration(path) for name, path in files.items() if path.exists()}


def _refuse_seen_patients(run: Path, plan: Plan, patients: frozenset[str], where: Path) -> None:
    for cell in plan.cells:
        seen = read_record(run / "cells" / cell.id)["about"]["patients_seen"]
        if shared := sorted(patients & set(seen)):
            found = f"{len(shared)} patients that trained cell {cell.id}, for example {shared[0]!r}"
            raise LeakageError(where, "images must be of patients never seen in training", found, "choose with --split")


def _composition(run: Path, cell: CellPlan, plan: Plan) -> list[Row]:
    """Positives of each studied finding by origin, and the synthetic share among them."""
    counts = read_record(run / "cells" / cell.id)["about"]["composition"]
    rows = []
    for finding in plan.experiment.findings:
        total = sum(counts[finding].values())
        share = counts[finding]["synthetic"] / total if total else 0.0
        group = {"arm": cell.arm, "fraction": cell.fraction, "ratio": cell.ratio, "seed": cell.seed}
        rows.append({**group, "finding": finding, **counts[finding], "share": share})
    return rows


def _cost(run: Path, plan: Plan) -> list[Row]:
    stages = [("generator", "generators", one.id) for one in plan.generators]
    stages += [("sampling", "synthetic", one.id) for one in plan.synthetic]
    stages += [("cell", "cells", one.id) for one in plan.cells]
    rows = []
    for stage, folder, name in stages:
        timing = read_timing(run / folder / name)
        rows.append({"stage": stage, "id": name, "seconds": timing.get("seconds"), "images": timing.get("images")})
    return rows


def _warnings(plan: Plan) -> list[str]:
    """What the experiment allowed itself; the report finds few positives and few seeds by itself."""
    lines = []
    if plan.experiment.allow_synthetic_majority:
        lines.append("The experiment allows synthetic images to be the majority of the training set.")
    return lines
