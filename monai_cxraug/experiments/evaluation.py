"""Asks classifiers about images never seen: every cell of a run, or every classifier that a bundle ships."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_cxraug.artifacts import load_json
from monai_cxraug.bundle_config import run_stage
from monai_cxraug.data.manifest import Manifest, read_manifest
from monai_cxraug.data.mixing import declared_patients
from monai_cxraug.errors import InputError, LeakageError, StateError
from monai_cxraug.experiments.cautions import unlike_salts
from monai_cxraug.experiments.collect import Judged, read_calibrations
from monai_cxraug.experiments.declared import describe_endpoint
from monai_cxraug.experiments.experiment import DataSpec
from monai_cxraug.experiments.plan import CellPlan, Plan, data_spec, read_plan
from monai_cxraug.experiments.shipped import INDEX, MODEL, Shipped, find_shipped
from monai_cxraug.experiments.stage import read_record
from monai_cxraug.experiments.work import classifier_file
from monai_cxraug.networks.weights import load_model

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """Classifiers to ask, and what is known of them.

    Args:
        plan: what was declared, with the cells that they are.
        folders: cell id to the folder of its model and its calibration.
        seen: cell id to the patients that trained it, or the generators behind its training images.
        salt: fingerprint of the key that hashes those patients' names; None where they bear their own.
        before: rows ``operating`` of the cells on their own images.
        declared: what is on record of the endpoint.
    """

    plan: Plan
    folders: Mapping[str, Path]
    seen: Mapping[str, frozenset[str]]
    salt: str | None
    before: Sequence[Row]
    declared: Row | None

    @classmethod
    def of_run(cls, run: Path) -> Asked:
        """The cells of a finished run."""
        plan = read_plan(run)
        folders = {cell.id: run / "cells" / cell.id for cell in plan.cells}
        for folder in folders.values():
            if not (folder / MODEL).is_file():
                raise InputError(folder / MODEL, "every cell of the run must be done", "no file", "finish the run")
        seen = {name: frozenset(read_record(folder)["about"]["patients_seen"]) for name, folder in folders.items()}
        results = run / "results.json"
        before = load_json(results).get("operating", []) if results.exists() else []
        salt = read_manifest(plan.manifests["train"]).info.get("salt")
        return cls(plan, folders, seen, salt, before, describe_endpoint(run))

    @classmethod
    def of_bundle(cls, shipped: Shipped) -> Asked:
        """The classifiers that a bundle ships; all of their files are looked at first."""
        cells = shipped.cells()
        if not cells:
            mend = "give the bundle of the classifiers, chest_xray_classification"
            raise InputError(shipped.folder, "must ship classifiers", "none", mend)
        for one in cells.values():
            one.require_whole()
        seen = {name: _patients_of(one.model, shipped.classes) for name, one in cells.items()}
        stages = [one.stage for one in cells.values() if isinstance(one.stage, CellPlan)]
        plan = Plan(shipped.experiment, {}, shipped.classes, [], [], stages)
        folders = {name: one.folder for name, one in cells.items()}
        return cls(plan, folders, seen, shipped.salt, shipped.operating, shipped.declared)

    def refuse_seen(self, images: frozenset[str], where: Path) -> None:
        """Refuse to judge a classifier by patients that it has seen (evidence rule 1).

        Args:
            images: patients of the images.
            where: their manifest, for the message.

        Raises:
            LeakageError: the two share a patient.
        """
        for name, seen in self.seen.items():
            if shared := sorted(images & seen):
                found = f"{len(shared)} patients that trained cell {name}, for example {shared[0]!r}"
                rule = "images must be of patients never seen in training"
                raise LeakageError(where, rule, found, "choose with --split")


def evaluate(folder: Path, images: DataSpec, out: Path, say: Callable[[str], None] = print) -> Path:
    """Ask every classifier of a run or of a bundle about images never seen before.

    Args:
        folder: a run; or a bundle that ships classifiers, or its folder ``models/<experiment>``.
        images: manifest, split and where of the images.
        out: folder for ``results.json`` and ``predictions/<cell>.csv``.
        say: called with one line a classifier.

    Returns:
        Path of ``out/results.json``.

    Raises:
        InputError: neither a run nor a bundle that ships classifiers, or a model is missing.
        StateError: a shipped model is not what it was.
        LeakageError: the images share patients with the training images, or are not real.
    """
    asked = Asked.of_run(folder) if (folder / "plan.json").exists() else Asked.of_bundle(find_shipped(folder))
    manifest = read_manifest(str(images.manifest))
    rows = manifest.rows(images.split, images.where)
    if (manifest["source"][rows] != "real").any():
        raise LeakageError(manifest.path, "only real images may be judged on", "other sources", "choose with --where")
    asked.refuse_seen(manifest.patients(rows), manifest.path)
    return _judge(asked, manifest, _answer(asked, data_spec(images, manifest.path), out, say), out)


def _patients_of(path: Path, classes: Sequence[str]) -> frozenset[str]:
    """Patients that a classifier's file names as seen; its findings must be those of the index."""
    about = load_model(path, "classifier").about
    if list(about.get("findings", ())) != list(classes):
        mend = "fetch model and index again"
        raise StateError(path, f"must know the findings of its {INDEX}", repr(about.get("findings")), mend)
    return declared_patients(about, path)


def _answer(asked: Asked, images: Row, out: Path, say: Callable[[str], None]) -> dict[str, Path]:
    """Cell id to the table of its answers."""
    config = classifier_file("evaluate")
    paths = {name: out / "predictions" / f"{name}.csv" for name in asked.folders}
    for number, (name, table) in enumerate(paths.items(), start=1):
        settings = {"output_dir": str(out), "predictions": str(table), "checkpoint": str(asked.folders[name] / MODEL)}
        run_stage(config, {"bundle_root": str(config.parents[1]), **settings, **images})
        say(f"[{number}/{len(paths)}] cell {name}")
    (out / "metrics.json").unlink(missing_ok=True)  # of the last cell alone; results.json has them all
    return paths


def _judge(asked: Asked, manifest: Manifest, paths: Mapping[str, Path], out: Path) -> Path:
    warnings = unlike_salts(asked.salt, manifest)
    more = {"declared": asked.declared, "composition": [], "cost": [], "warnings": warnings}
    judged = Judged(asked.plan, manifest, "evaluation", read_calibrations(asked.folders), asked.before)
    return judged.write(out, paths, {"manifest": manifest.hash()}, more)
