"""Collects a run's files into ``results.json``, and asks its cells about other images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_cxraug.artifacts import content_hash, file_hash, load_json, write_json
from monai_cxraug.bundle_config import run_stage
from monai_cxraug.calibration import FILE, Calibration, read_calibration
from monai_cxraug.data.additions import UNREAL
from monai_cxraug.data.manifest import Manifest, read_manifest
from monai_cxraug.errors import LeakageError
from monai_cxraug.experiments.cautions import (
    allowances,
    constant_answers,
    idle_screening,
    permuted_columns,
    same_pictures,
)
from monai_cxraug.experiments.declared import describe_endpoint
from monai_cxraug.experiments.experiment import DataSpec
from monai_cxraug.experiments.plan import CellPlan, Plan, SyntheticPlan, data_spec, stage_folder
from monai_cxraug.experiments.provenance import environment
from monai_cxraug.experiments.results import SCHEMA, compute_results
from monai_cxraug.experiments.shift import shift_rows
from monai_cxraug.experiments.stage import read_record, read_timing
from monai_cxraug.experiments.subgroups import group_images
from monai_cxraug.experiments.work import classifier_file
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
    }
    judged = _Judged(run, plan, read_manifest(plan.manifests[role]), role)
    return judged.write(run, paths, hashes, more)


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
    rows, config = manifest.rows(images.split, images.where), classifier_file("evaluate")
    if (manifest["source"][rows] != "real").any():
        raise LeakageError(manifest.path, "only real images may be judged on", "other sources", "choose with --where")
    _refuse_seen_patients(run, plan, manifest.patients(rows), manifest.path)
    paths = {cell.id: out / "predictions" / f"{cell.id}.csv" for cell in plan.cells}
    for number, (name, table) in enumerate(paths.items(), start=1):
        model = run / "cells" / name / "model.pt"
        settings = {"output_dir": str(out), "predictions": str(table), "checkpoint": str(model)}
        run_stage(config, {"bundle_root": str(config.parents[1]), **settings, **data_spec(images, manifest.path)})
        say(f"[{number}/{len(paths)}] cell {name}")
    (out / "metrics.json").unlink(missing_ok=True)  # of the last cell alone; results.json has them all
    more: Row = {"declared": describe_endpoint(run), "composition": [], "cost": []}
    return _Judged(run, plan, manifest, "evaluation").write(out, paths, {"manifest": manifest.hash()}, more)


@dataclass(frozen=True)
class _Judged:
    """The images that the cells of a run answered on, and the way from their answers to ``results.json``."""

    run: Path
    plan: Plan
    manifest: Manifest
    split: str

    def write(self, folder: Path, paths: Mapping[str, Path], hashes: Mapping[str, str], more: Row) -> Path:
        plan = self.plan
        tables: dict[str, Predictions] = {name: read_predictions(path) for name, path in paths.items()}
        images = next(iter(tables.values())).images
        groups = group_images(self.manifest, images)
        found = compute_results(plan, tables, self.split, _calibrations(self.run, plan), groups)
        hashes = {"experiment": content_hash(plan.experiment.document()), **hashes}
        hashes |= {f"predictions {name}": file_hash(path) for name, path in paths.items()}
        provenance = {**environment(), "seeds": list(plan.experiment.seeds), "hashes": hashes}
        shift = [] if folder == self.run else self._shift(found["operating"])
        warnings = [
            *allowances(plan),
            *constant_answers(tables, plan.experiment.findings),
            *idle_screening(plan, more.get("synthetic", [])),
            *permuted_columns(plan, tables),
            *same_pictures(plan, self.manifest, images),
        ]
        document = {**found, **more, "shift": shift, "warnings": warnings, "provenance": provenance}
        write_json(folder / "results.json", SCHEMA, document)
        return folder / "results.json"

    def _shift(self, here: Sequence[Row]) -> list[Row]:
        """Measures on other images beside those of the run; nothing where the run has none."""
        path = self.run / "results.json"
        there = load_json(path).get("operating", []) if path.exists() else []
        return shift_rows(here, there, self.plan.experiment.findings)


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
