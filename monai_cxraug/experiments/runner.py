"""Runs an experiment: prepare, generators, synthetic sets, cells, results. What is done already is not done again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from monai_cxraug.artifacts import file_hash, load_json
from monai_cxraug.bundle_config import bundle_file, run_stage
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.pack import Progress
from monai_cxraug.errors import ConfigError, nearest
from monai_cxraug.experiments.arms import Additions, find_arm
from monai_cxraug.experiments.collect import write_results
from monai_cxraug.experiments.experiment import Experiment
from monai_cxraug.experiments.plan import CellPlan, GeneratorPlan, Plan, SyntheticPlan, data_spec, make_plan
from monai_cxraug.experiments.preparation import Preparation, smoke_experiment
from monai_cxraug.experiments.provenance import describe_model
from monai_cxraug.experiments.stage import Stage
from monai_cxraug.synthesis.synthetic_set import SyntheticSet

GENERATOR_BUNDLE, CLASSIFIER_BUNDLE = "chest_xray_pggan", "chest_xray_classification"
#: keys of a training configuration that the runner sets, so that a budget may not.
_OWN_KEYS = {
    "bundle_root", "output_dir", "manifest", "finding", "findings", "split", "where", "size", "resolution", "fraction",
    "fraction_seed", "seed", "synthetic", "duplicates", "held_out", "allow_synthetic_majority", "fingerprint",
    "threads", "keep_checkpoint",
}  # fmt: skip

#: class activation maps of each kind that the report shows, of the arms of the endpoint and the first seed.
MAPS = 3

Say = Callable[[str], None]
Settings = Mapping[str, Any]


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
        check_budget(self.experiment)
        experiment = smoke_experiment(self.experiment, self.run) if self.smoke else self.experiment
        plan = make_plan(experiment, Preparation(self.run, self.progress).manifests(experiment.data))
        plan.write(self.run)
        stages = list(self._stages(plan))
        for number, (name, stage) in enumerate(stages, start=1):
            begun = time.monotonic()
            worked = stage()
            took = f"{time.monotonic() - begun:.0f} s" if worked else "done before"
            self.say(f"[{number}/{len(stages)}] {name}: {took}")
        return write_results(self.run, plan)

    def _stages(self, plan: Plan) -> Iterator[tuple[str, Callable[[], bool]]]:
        """Every stage in order; each answers whether there was anything to do."""
        for generator in plan.generators:
            yield f"generator {generator.id}", partial(self._generator, plan, generator)
        for synthetic in plan.synthetic:
            yield f"synthetic set {synthetic.id}", partial(self._synthetic, plan, synthetic)
        for cell in plan.cells:
            yield f"cell {cell.id}", partial(self._cell, plan, cell)

    def _generator(self, plan: Plan, one: GeneratorPlan) -> bool:
        data = plan.experiment.data
        settings = {
            **plan.experiment.budget.generator,
            **data_spec(data.train, plan.manifests["train"]),
            "finding": one.finding,
            "fraction": one.fraction,
            "fraction_seed": one.seed,
            "seed": one.seed,
            "resolution": data.train.size,
        }
        return self._train(plan, GENERATOR_BUNDLE, self.run / "generators" / one.id, settings)

    def _synthetic(self, plan: Plan, one: SyntheticPlan) -> bool:
        folder, generator = self.run / "synthetic" / one.id, self.run / "generators" / one.generator
        work = [file_hash(generator / "model.pt"), one.finding, one.n, one.seed]
        stage = Stage.of(folder, *work, product="provenance.json")
        if stage.done:
            return False
        with stage.work() as record:
            SyntheticSet(generator, one.finding, one.n, one.seed, folder, plan.manifests["train"]).run()
            record["images"] = one.n
        return True

    def _cell(self, plan: Plan, cell: CellPlan) -> bool:
        experiment = plan.experiment
        role, judged = experiment.data.judged
        sets = [str((self.run / "synthetic" / name).resolve()) for name in cell.synthetic]
        settings = {
            **experiment.budget.classifier,
            **data_spec(experiment.data.train, plan.manifests["train"]),
            **find_arm(cell.arm).overrides(Additions(cell.counts, sets)),
            "findings": list(plan.classes),
            "size": experiment.data.train.size,
            "fraction": cell.fraction,
            "fraction_seed": cell.seed,
            "held_out": [data_spec(judged, plan.manifests[role])],
            "allow_synthetic_majority": experiment.allow_synthetic_majority,
            "seed": cell.seed,
        }
        folder = self.run / "cells" / cell.id
        recipe = experiment.budget.recipe
        overlays = [*([recipe] if recipe else []), *find_arm(cell.arm).overlays]
        return self._train(plan, CLASSIFIER_BUNDLE, folder, settings, overlays, partial(self._answer, plan, cell))

    def _answer(self, plan: Plan, cell: CellPlan, place: Settings) -> None:
        """Let a trained cell answer: first where its thresholds are chosen, if anywhere, then where it is judged."""
        experiment = plan.experiment
        evaluate, calibrate = (bundle_file(CLASSIFIER_BUNDLE, name) for name in ("evaluate", "calibrate"))
        common = {**place, "checkpoint": str(Path(place["output_dir"]) / "model.pt")}
        if (spec := experiment.data.calibration) is not None:
            images = data_spec(spec, plan.manifests["validation"])
            run_stage([evaluate, calibrate], {**common, **images, "summary#rule": experiment.threshold})
        role, judged = experiment.data.judged
        shown = cell.seed == experiment.seeds[0] and cell.arm in (
            experiment.endpoint.arm,
            experiment.endpoint.reference,
        )
        images = data_spec(judged, plan.manifests[role])
        run_stage(evaluate, {**common, **images, "maps": MAPS if shown else 0})

    def _train(
        self,
        plan: Plan,
        bundle: str,
        folder: Path,
        settings: Settings,
        overlays: Sequence[str] = (),
        then: Callable[[Settings], None] = lambda place: None,
    ) -> bool:
        """Train by a bundle, then do what belongs to the same stage."""
        stage = Stage.of(folder, bundle, overlays, _portable(settings), _inputs(settings), self.smoke)
        if stage.done:
            return False
        files = [bundle_file(bundle, name) for name in ("train", *overlays, *(["smoke"] if self.smoke else []))]
        threads = plan.experiment.budget.threads
        place = {"bundle_root": str(files[0].parents[1]), "output_dir": str(folder), "threads": threads}
        with stage.work() as record:
            run_stage(files, {**settings, **place, "fingerprint": stage.key, "keep_checkpoint": False})
            then(place)
            record["settings"] = _portable(settings)
            record["overlays"] = list(overlays)
            record["about"] = describe_model(folder / "model.pt")
            record["images"] = record["about"]["images_seen"]
            (folder / "checkpoint.pt").unlink(missing_ok=True)
        return True


def check_budget(experiment: Experiment) -> None:
    """Refuse a budget key that the bundle does not have, before hours of training.

    Raises:
        ConfigError: the key is unknown, or one that the runner sets itself.
    """
    budgets = (("generator", GENERATOR_BUNDLE), ("classifier", CLASSIFIER_BUNDLE))
    for name, bundle in budgets:
        known = [key for key, value in load_json(bundle_file(bundle, "train")).items() if _is_setting(key, value)]
        for key in getattr(experiment.budget, name):
            if key not in known:
                raise ConfigError(f"budget.{name} key {key!r}", "unknown key", repr(key), nearest(key, known))
    recipes = [path.stem for path in bundle_file(CLASSIFIER_BUNDLE, "train").parent.glob("recipe_*.json")]
    if (recipe := experiment.budget.recipe) is not None and recipe not in recipes:
        raise ConfigError("budget.recipe", "unknown recipe", repr(recipe), nearest(str(recipe), recipes))


def _is_setting(key: str, value: Any) -> bool:
    """A plain value that the experiment may choose, rather than a component or a key of the runner's."""
    return key not in _OWN_KEYS and not key.startswith("_") and not isinstance(value, dict | list)


def _portable(settings: Settings) -> dict[str, Any]:
    """Return the settings without this machine's folders, so that a run that is moved stays done."""
    plain = {name: value for name, value in settings.items() if name not in ("manifest", "held_out")}
    return {**plain, "synthetic": [Path(path).name for path in plain.get("synthetic", ())]}


def _inputs(settings: Settings) -> dict[str, str]:
    """Hash what the paths in the settings stand for."""
    manifests = [settings["manifest"], *(spec["manifest"] for spec in settings.get("held_out", ()))]
    tables = {f"manifest {index}": read_manifest(path).hash() for index, path in enumerate(manifests)}
    packs = {f"pack {index}": file_hash(Path(path).parent / "pack.npy") for index, path in enumerate(manifests)}
    sets = {path.name: file_hash(path / "pack.npy") for path in map(Path, settings.get("synthetic", ()))}
    return {**tables, **packs, **sets}
