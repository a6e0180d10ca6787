"""Runs an experiment: prepare, generators, synthetic sets, cells, results. What is done already is not done again."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from monai_cxraug import __version__
from monai_cxraug.artifacts import content_hash, file_hash, load_json, read_json, write_json, write_text
from monai_cxraug.bundle_config import bundle_file, run_stage
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.pack import Progress
from monai_cxraug.data.prepare import Request, prepare
from monai_cxraug.errors import ConfigError, LeakageError, nearest
from monai_cxraug.experiments.arms import ARMS, Additions
from monai_cxraug.experiments.experiment import Budget, DataSpec, Experiment
from monai_cxraug.experiments.plan import CellPlan, GeneratorPlan, Plan, SyntheticPlan, data_spec, make_plan
from monai_cxraug.experiments.provenance import describe_model, environment
from monai_cxraug.experiments.results import SCHEMA as RESULTS_SCHEMA
from monai_cxraug.experiments.results import compute_results
from monai_cxraug.predictions import read_predictions
from monai_cxraug.synthesis.synthetic_set import SyntheticSet

GENERATOR_BUNDLE, CLASSIFIER_BUNDLE = "chest_xray_pggan", "chest_xray_classification"
RUN_SCHEMA, TIMING_SCHEMA = "cxraug.run/1", "cxraug.timing/1"
SMOKE_IMAGES, SMOKE_SIZE, SMOKE_REPLICATES = 240, 32, 200
#: keys of a training configuration that the runner sets, so that a budget may not.
_OWN_KEYS = {
    "bundle_root", "output_dir", "manifest", "finding", "findings", "split", "where", "size", "resolution", "fraction",
    "fraction_seed", "seed", "synthetic", "duplicates", "held_out", "allow_synthetic_majority", "fingerprint", "threads",
}  # fmt: skip

Say = Callable[[str], None]


@dataclass(frozen=True)
class Runner:
    """Runs one experiment in one folder.

    Args:
        experiment: what was declared.
        run: folder of the run.
        smoke: tiny budget on generated phantoms in the source's own layout.
        say: called with one line a stage.
        progress: called with (done, total) while data are prepared.
    """

    experiment: Experiment
    run: Path
    smoke: bool = False
    say: Say = print
    progress: Progress | None = None

    def execute(self) -> Path:
        """Run everything that is not done yet.

        Returns:
            Path of ``results.json``.

        Raises:
            CxrAugError: a reason the user can mend; finished stages stay, an unfinished one resumes next time.
        """
        self._check_budget()
        plan = self._plan()
        plan.write(self.run)
        stages: list[tuple[str, Callable[[], bool]]] = [
            *((f"generator {one.id}", lambda one=one: self._generator(plan, one)) for one in plan.generators),
            *((f"synthetic set {one.id}", lambda one=one: self._synthetic(plan, one)) for one in plan.synthetic),
            *((f"cell {one.id}", lambda one=one: self._cell(plan, one)) for one in plan.cells),
        ]
        for number, (name, stage) in enumerate(stages, start=1):
            begun = time.monotonic()
            did = stage()
            took = f"{time.monotonic() - begun:.0f} s" if did else "done before"
            self.say(f"[{number}/{len(stages)}] {name}: {took}")
        return self._results(plan)

    # --- data and plan ---

    def _plan(self) -> Plan:
        experiment = _smoke(self.experiment) if self.smoke else self.experiment
        manifests: dict[str, Path] = {}
        for role, spec in experiment.data.roles().items():
            manifests[role] = self._prepared(spec)
        return make_plan(experiment, manifests)

    def _prepared(self, spec: DataSpec) -> Path:
        if self.smoke:
            return self._prepared_phantoms(spec)
        if spec.manifest is not None:
            return read_manifest(spec.manifest).path
        settings = {
            name: getattr(spec, name) for name in ("source", "images", "labels", "lists", "size", "count", "seed")
        }
        return self._prepare(Request(**settings))

    def _prepared_phantoms(self, spec: DataSpec) -> Path:
        if spec.source == "phantom":
            return self._prepare(Request("phantom", size=SMOKE_SIZE, count=SMOKE_IMAGES, seed=spec.seed))
        from monai_cxraug.data.sources.phantom.writers import write_nih_layout

        native = self.run / "data" / "smoke"
        if not (native / "train_list.txt").exists():
            write_nih_layout(native, SMOKE_IMAGES, SMOKE_SIZE, 0)
        return self._prepare(Request("nih", str(native), size=SMOKE_SIZE))

    def _prepare(self, request: Request) -> Path:
        return prepare(request, self.run / "data" / content_hash(vars(request))[:12], self.progress)

    def _check_budget(self) -> None:
        budget = self.experiment.budget
        for name, bundle, settings in (
            ("generator", GENERATOR_BUNDLE, budget.generator),
            ("classifier", CLASSIFIER_BUNDLE, budget.classifier),
        ):
            known = [
                key
                for key, value in load_json(bundle_file(bundle, "train")).items()
                if key not in _OWN_KEYS and not key.startswith("_") and _is_plain(value)
            ]
            for key in settings:
                if key not in known:
                    raise ConfigError(f"budget.{name} key {key!r}", "unknown key", repr(key), nearest(key, known))

    # --- stages ---

    def _generator(self, plan: Plan, one: GeneratorPlan) -> bool:
        spec = plan.experiment.data.train
        overrides = {
            **plan.experiment.budget.generator,
            **data_spec(spec, plan.manifests["train"]),
            "finding": one.finding,
            "fraction": one.fraction,
            "fraction_seed": one.seed,
            "seed": one.seed,
            "resolution": self._size(plan),
        }
        return self._train(plan, GENERATOR_BUNDLE, self.run / "generators" / one.id, overrides)

    def _synthetic(self, plan: Plan, one: SyntheticPlan) -> bool:
        folder, generator = self.run / "synthetic" / one.id, self.run / "generators" / one.generator
        key = content_hash([file_hash(generator / "model.pt"), one.finding, one.n, one.seed, __version__])
        if _is_done(folder, key, "provenance.json"):
            return False
        with self._fresh(folder, key) as record:
            SyntheticSet(generator, one.finding, one.n, one.seed, folder, str(plan.manifests["train"])).run()
            record["images"] = one.n
        return True

    def _cell(self, plan: Plan, cell: CellPlan) -> bool:
        experiment = plan.experiment
        folder, train = self.run / "cells" / cell.id, experiment.data.train
        sets = [str((self.run / "synthetic" / name).resolve()) for name in cell.synthetic]
        _, judged = experiment.data.judged
        role = experiment.data.judged[0]
        overrides = {
            **experiment.budget.classifier,
            **data_spec(train, plan.manifests["train"]),
            **ARMS[cell.arm].overrides(Additions(cell.counts, sets)),
            "findings": list(plan.classes),
            "size": self._size(plan),
            "fraction": cell.fraction,
            "fraction_seed": cell.seed,
            "held_out": [data_spec(judged, plan.manifests[role])],
            "allow_synthetic_majority": experiment.allow_synthetic_majority,
            "seed": cell.seed,
        }
        evaluate = {**data_spec(judged, plan.manifests[role]), "checkpoint": str(folder / "model.pt")}
        return self._train(plan, CLASSIFIER_BUNDLE, folder, overrides, evaluate)

    def _train(
        self,
        plan: Plan,
        bundle: str,
        folder: Path,
        overrides: Mapping[str, Any],
        evaluate: Mapping[str, Any] | None = None,
    ) -> bool:
        """Train by a bundle, then evaluate when asked, unless the folder holds the same work already."""
        key = content_hash([bundle, self._portable(overrides), self._inputs(overrides), self.smoke, __version__])
        if _is_done(folder, key, "model.pt"):
            return False
        files = [bundle_file(bundle, "train"), *([bundle_file(bundle, "smoke")] if self.smoke else [])]
        threads = {"threads": plan.experiment.budget.threads} if plan.experiment.budget.threads else {}
        where = {"bundle_root": str(files[0].parents[1]), "output_dir": str(folder), **threads}
        with self._fresh(folder, key) as record:
            run_stage(files, {**overrides, **where, "fingerprint": key})
            if evaluate is not None:
                run_stage(bundle_file(bundle, "evaluate"), {**where, **evaluate})
            record["settings"] = self._portable(overrides)
            record["about"] = describe_model(folder / "model.pt")
            record["images"] = record["about"]["images_seen"]
            (folder / "checkpoint.pt").unlink(missing_ok=True)
        return True

    @contextmanager
    def _fresh(self, folder: Path, key: str) -> Iterator[dict[str, Any]]:
        """Give a stage its folder: continued after an interruption of the same work, else emptied. Record it at the end."""
        marker = folder / ".key"
        if not (marker.exists() and marker.read_text() == key):
            shutil.rmtree(folder, ignore_errors=True)
            write_text(marker, key)
        record: dict[str, Any] = {}
        begun = time.monotonic()
        yield record
        seconds = round(time.monotonic() - begun, 3)
        previous = load_json(folder / "timing.json")["seconds"] if (folder / "timing.json").exists() else 0
        write_json(folder / "timing.json", TIMING_SCHEMA, {"seconds": seconds + previous, **_take(record, "images")})
        write_json(folder / "run.json", RUN_SCHEMA, {"key": key, **record})

    # --- results ---

    def _results(self, plan: Plan) -> Path:
        predictions = {
            cell.id: read_predictions(self.run / "cells" / cell.id / "predictions.csv") for cell in plan.cells
        }
        role, _ = plan.experiment.data.judged
        found = compute_results(plan, predictions, role)
        document = {
            **found,
            "composition": [row for cell in plan.cells for row in self._composition(cell, plan)],
            "cost": self._cost(plan),
            "warnings": _warnings(plan, found),
            "provenance": {
                **environment(),
                "seeds": list(plan.experiment.seeds),
                "hashes": self._hashes(plan),
            },
        }
        write_json(self.run / "results.json", RESULTS_SCHEMA, document)
        return self.run / "results.json"

    def _composition(self, cell: CellPlan, plan: Plan) -> list[dict[str, Any]]:
        counts = read_json(self.run / "cells" / cell.id / "run.json", RUN_SCHEMA)["about"]["composition"]
        rows = []
        for finding in plan.experiment.findings:
            total = sum(counts[finding].values())
            share = counts[finding]["synthetic"] / total if total else 0.0
            group = {"arm": cell.arm, "fraction": cell.fraction, "ratio": cell.ratio, "seed": cell.seed}
            rows.append({**group, "finding": finding, **counts[finding], "share": share})
        return rows

    def _cost(self, plan: Plan) -> list[dict[str, Any]]:
        kinds = {"generator": ("generators", plan.generators), "sampling": ("synthetic", plan.synthetic)}
        rows = []
        for stage, (folder, items) in {**kinds, "cell": ("cells", plan.cells)}.items():
            for item in items:
                timing = read_json(self.run / folder / item.id / "timing.json", TIMING_SCHEMA)
                rows.append({"stage": stage, "id": item.id, **_take(timing, "seconds", "images")})
        return rows

    def _hashes(self, plan: Plan) -> dict[str, str]:
        manifests = {f"{role} manifest": read_manifest(path).hash() for role, path in plan.manifests.items()}
        tables = {
            f"predictions {cell.id}": file_hash(self.run / "cells" / cell.id / "predictions.csv") for cell in plan.cells
        }
        return {"experiment": content_hash(plan.experiment.document()), **manifests, **tables}

    # --- keys ---

    def _size(self, plan: Plan) -> int:
        return SMOKE_SIZE if self.smoke else plan.experiment.data.train.size

    def _inputs(self, overrides: Mapping[str, Any]) -> dict[str, str]:
        """Hash what the paths in the settings stand for."""
        manifests = [overrides["manifest"], *(spec["manifest"] for spec in overrides.get("held_out", ()))]
        packs = {f"manifest {index}": read_manifest(path).hash() for index, path in enumerate(manifests)}
        sets = {path.name: file_hash(path / "pack.npy") for path in map(Path, overrides.get("synthetic", ()))}
        return {**packs, **sets, "images": file_hash(Path(manifests[0]).parent / "pack.npy")}

    def _portable(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings without this machine's folders, so that a run that is moved stays done."""
        plain = {name: value for name, value in overrides.items() if name not in ("manifest", "held_out")}
        return {**plain, "synthetic": [Path(path).name for path in plain.get("synthetic", ())]}


def evaluate_run(run: Path, plan: Plan, spec: DataSpec, out: Path, say: Say = print) -> Path:
    """Ask every cell of a finished run about other images.

    Args:
        run: folder of the run.
        plan: its plan.
        spec: manifest, split and where of the images.
        out: folder for ``results.json`` and ``predictions/<cell>.csv``.
        say: called with one line a cell.

    Returns:
        Path of ``out/results.json``.

    Raises:
        LeakageError: the images share patients with the training images, or are not real.
    """
    manifest = read_manifest(str(spec.manifest))
    rows = manifest.rows(spec.split, spec.where)
    _refuse_seen_patients(run, plan, manifest.patients(rows), manifest.path)
    if (manifest["source"][rows] != "real").any():
        raise LeakageError(manifest.path, "only real images may be judged on", "other sources", "choose with --where")
    tables = {}
    for number, cell in enumerate(plan.cells, start=1):
        table = out / "predictions" / f"{cell.id}.csv"
        folder = run / "cells" / cell.id
        config = bundle_file(CLASSIFIER_BUNDLE, "evaluate")
        settings = {"output_dir": str(out), "predictions": str(table), "checkpoint": str(folder / "model.pt")}
        run_stage(config, {"bundle_root": str(config.parents[1]), **settings, **data_spec(spec, manifest.path)})
        tables[cell.id] = read_predictions(table)
        say(f"[{number}/{len(plan.cells)}] cell {cell.id}")
    (out / "metrics.json").unlink(missing_ok=True)  # of the last cell alone
    found = compute_results(plan, tables, "evaluation")
    hashes = {
        "manifest": manifest.hash(),
        **{f"predictions {name}": file_hash(out / "predictions" / f"{name}.csv") for name in tables},
    }
    provenance = {**environment(), "seeds": list(plan.experiment.seeds), "hashes": hashes}
    document = {**found, "composition": [], "cost": [], "warnings": _warnings(plan, found), "provenance": provenance}
    write_json(out / "results.json", RESULTS_SCHEMA, document)
    return out / "results.json"


def _refuse_seen_patients(run: Path, plan: Plan, patients: frozenset[str], where: Path) -> None:
    for cell in plan.cells:
        seen = read_json(run / "cells" / cell.id / "run.json", RUN_SCHEMA)["about"]["patients_seen"]
        if shared := sorted(patients & set(seen)):
            found = f"{len(shared)} patients that trained cell {cell.id}, for example {shared[0]!r}"
            raise LeakageError(where, "images must be of patients never seen in training", found, "choose with --split")


def _smoke(experiment: Experiment) -> Experiment:
    budget = Budget(threads=experiment.budget.threads, replicates=SMOKE_REPLICATES)
    return replace(experiment, budget=budget)


def _warnings(plan: Plan, results: Mapping[str, Any]) -> list[str]:
    lines = []
    if len(plan.experiment.seeds) < 3:
        lines.append(
            f"Only {len(plan.experiment.seeds)} training seed(s): the spread between seeds is hardly measured."
        )
    if plan.experiment.allow_synthetic_majority:
        lines.append("The experiment allows synthetic images to be the majority of the training set.")
    few = {
        row["finding"]: row["positives"]
        for row in results["arms"]
        if row["finding"] in plan.experiment.findings and row["positives"] < 30
    }
    lines += [f"{finding}: only {count} positive evaluation images." for finding, count in few.items()]
    return lines


def _is_done(folder: Path, key: str, product: str) -> bool:
    if not ((folder / "run.json").exists() and (folder / product).exists()):
        return False
    return bool(read_json(folder / "run.json", RUN_SCHEMA).get("key") == key)


def _is_plain(value: Any) -> bool:
    """A setting, rather than a component, an expression or a list of them."""
    return not isinstance(value, dict | list) or value in ({}, [])


def _take(mapping: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: mapping[key] for key in keys if key in mapping}
