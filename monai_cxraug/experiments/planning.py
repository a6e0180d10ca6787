"""From what was declared to the plan: every stage listed and named, and refused what the evidence rules forbid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.mixing import evaluation_patients
from monai_cxraug.data.pseudonyms import refuse_different_salts
from monai_cxraug.errors import ConfigError, LeakageError
from monai_cxraug.experiments.arms import Making, find_arm
from monai_cxraug.experiments.experiment import Experiment
from monai_cxraug.experiments.plan import (
    CellPlan,
    GeneratorPlan,
    JudgePlan,
    Plan,
    StagePlan,
    SyntheticPlan,
    data_spec,
)
from monai_cxraug.experiments.work import Workshop
from monai_cxraug.labels import require_findings

#: characters of a stage's hash that its name bears.
_SHORT = 8

Named = TypeVar("Named", bound=StagePlan)


def make_plan(experiment: Experiment, manifests: Mapping[str, Path], smoke: bool = False) -> Plan:
    """List the generators, judges, synthetic sets and cells, and refuse what the evidence rules forbid.

    Args:
        experiment: what was declared.
        manifests: role to the path of its prepared manifest; ``filtered`` where generators learn from filtered copies.
        smoke: whether the bundles' smoke overlays are used.

    Returns:
        The plan.

    Raises:
        LabelError: a finding is not in the training manifest.
        LeakageError: training and evaluation share patients, or hash their names with different salts.
        InputError: a studied finding has no positive training image.
    """
    refuse_different_salts({str(path): read_manifest(path).info for path in manifests.values()})
    spec = experiment.data.train
    rows = PackRows(manifests["train"], spec.split, spec.where)
    classes = _require_classes(experiment, rows)
    _refuse_shared_patients(experiment, manifests, rows)
    _refuse_shared_thresholds(experiment, manifests)
    listing = _Listing(Workshop(experiment, dict(manifests), classes, smoke))
    for fraction in experiment.fractions:
        for seed in experiment.seeds:
            _require_both(experiment, manifests["train"], classes, fraction, seed)
            corner = _Corner(fraction, seed, count_positives(experiment, manifests["train"], fraction, seed))
            for arm in experiment.arms:
                for ratio in experiment.ratios if find_arm(arm).adds_images else (None,):
                    listing.add_cell(arm, corner, ratio)
    stages = ([*listing.generators.values()], [*listing.synthetic.values()], [*listing.cells.values()])
    return Plan(experiment, dict(manifests), classes, *stages, [*listing.judges.values()], smoke)


def needs_filtered(experiment: Experiment) -> bool:
    """Whether a generator of the experiment learns from filtered copies."""
    makings = [find_arm(arm).making for arm in experiment.arms]
    return any(making is not None and making.origin == "filtered_gan" for making in makings)


def count_positives(experiment: Experiment, manifest: Path, fraction: float, seed: int) -> dict[str, int]:
    """Count the training images of each studied finding in a fraction of the patients."""
    spec = experiment.data.train
    counts = {}
    for finding in experiment.findings:
        rows = PackRows(manifest, spec.split, spec.where, having=finding, fraction=fraction, fraction_seed=seed)
        counts[finding] = len(rows)
    return counts


@dataclass(frozen=True)
class _Corner:
    """A fraction of the training patients, a seed, and the positives of each studied finding among them."""

    fraction: float
    seed: int
    positives: Mapping[str, int]


@dataclass(frozen=True)
class _Listing:
    """Stages by id, each listed once however many cells need it."""

    shop: Workshop
    generators: dict[str, GeneratorPlan] = field(default_factory=dict)
    judges: dict[str, JudgePlan] = field(default_factory=dict)
    synthetic: dict[str, SyntheticPlan] = field(default_factory=dict)
    cells: dict[str, CellPlan] = field(default_factory=dict)

    def add_cell(self, arm: str, corner: _Corner, ratio: float | None) -> None:
        making = find_arm(arm).making
        counts = {name: max(1, round(ratio * n)) for name, n in corner.positives.items()} if ratio else {}
        sets: list[str] = []
        if making is not None and making.origin != "external":
            sets = [self._add_set(making, name, n, corner, ratio) for name, n in counts.items()]
        name = _id(arm, corner.fraction, ratio, corner.seed)
        cell = CellPlan(name, arm, corner.fraction, ratio, corner.seed, counts, sets)
        cell = _named(cell, self.shop.cell_key(cell, self._keys()))
        self.cells[cell.id] = cell

    def _add_set(self, making: Making, finding: str, n: int, corner: _Corner, ratio: float | None) -> str:
        judges = self._add_judges(corner.fraction, corner.seed) if making.screened else []
        generator = self._add_generator(finding, corner, making.origin == "filtered_gan")
        stem = _id("-".join([finding, *_origin(making)]), corner.fraction, ratio, corner.seed)
        one = SyntheticPlan(stem, generator, finding, n, corner.seed, judges)
        one = _named(one, self.shop.synthetic_key(one, self._keys()))
        self.synthetic[one.id] = one
        return one.id

    def _add_generator(self, finding: str, corner: _Corner, filtered: bool) -> str:
        stem = _id("-".join([finding, *["filtered"] * filtered]), corner.fraction, None, corner.seed)
        images = corner.positives[finding] * (1 + len(self.shop.experiment.filters) * filtered)
        one = GeneratorPlan(stem, finding, corner.fraction, corner.seed, filtered, images)
        one = _named(one, self.shop.generator_key(one))
        self.generators[one.id] = one
        return one.id

    def _add_judges(self, fraction: float, seed: int) -> list[str]:
        screening = self.shop.experiment.screening
        folds = screening.folds if screening else 1
        ids = []
        for fold in range(folds):
            one = JudgePlan(_id(f"judge{fold}of{folds}", fraction, None, seed), fraction, seed, fold, folds)
            one = _named(one, self.shop.judge_key(one))
            self.judges[one.id] = one
            ids.append(one.id)
        return ids

    def _keys(self) -> dict[str, str]:
        listed: Sequence[StagePlan] = [*self.generators.values(), *self.judges.values(), *self.synthetic.values()]
        return {one.id: one.key for one in listed}


def _named(one: Named, key: str) -> Named:
    """The same stage under a name that ends with its hash."""
    return replace(one, id=f"{one.id}-{key[:_SHORT]}", key=key)


def _origin(making: Making) -> list[str]:
    return ["filtered"] * (making.origin == "filtered_gan") + ["screened"] * making.screened


def _id(name: str, fraction: float, ratio: float | None, seed: int) -> str:
    safe = "".join(letter if letter.isalnum() or letter in "_-" else "-" for letter in name)
    return "-".join([safe, f"f{fraction:g}", *([f"r{ratio:g}"] if ratio is not None else []), f"s{seed}"])


# --- rules ---


def _require_classes(experiment: Experiment, rows: PackRows) -> list[str]:
    require_findings(experiment.findings, rows.manifest.findings, f"{rows.manifest.path} (experiment key 'findings')")
    classes = list(experiment.classes or rows.manifest.findings)
    require_findings(classes, rows.manifest.findings, "experiment key 'classes'")
    if missing := [finding for finding in experiment.findings if finding not in classes]:
        raise ConfigError("experiment key 'classes'", "must contain every studied finding", f"no {missing[0]}")
    if experiment.screening is not None:
        require_findings(experiment.screening.reject, classes, "experiment key 'screening.reject'")
    return classes


def _require_both(experiment: Experiment, manifest: Path, classes: Sequence[str], fraction: float, seed: int) -> None:
    """Losses that weigh classes by their sizes need images with and without each; say so before hours of training."""
    weighing = [arm for arm in experiment.arms if "loss" in find_arm(arm).kinds]
    if not weighing:
        return
    spec = experiment.data.train
    rows = PackRows(manifest, spec.split, spec.where, classes, fraction=fraction, fraction_seed=seed)
    for name, present, absent in zip(classes, rows.count(1), rows.count(0), strict=True):
        if not (present and absent):
            rule = f"arm {weighing[0]!r} needs images with and without each class in every fraction"
            found = f"{name!r}: {present} with and {absent} without, fraction {fraction:g}, seed {seed}"
            raise ConfigError("experiment key 'classes'", rule, found, f"list the classes without {name!r}")


def _refuse_shared_patients(experiment: Experiment, manifests: Mapping[str, Path], rows: PackRows) -> None:
    for role, spec in experiment.data.roles().items():
        if role == "train":
            continue
        shared = sorted(rows.patients() & evaluation_patients(**data_spec(spec, manifests[role])))
        if shared:
            found = f"{len(shared)} shared, for example {shared[0]!r}"
            rule = "no training patient may be among the evaluation images"
            raise LeakageError(f"{manifests[role]} (data.{role})", rule, found, "split by patient")
        table = PackRows(manifests[role], spec.split, spec.where)
        if (np.asarray(table.manifest["source"][table.rows]) != "real").any():
            raise LeakageError(manifests[role], "only real images may be judged on", "other sources", "set where")


def _refuse_shared_thresholds(experiment: Experiment, manifests: Mapping[str, Path]) -> None:
    """Thresholds are chosen on validation; a test patient among its images would have helped to choose them."""
    if experiment.data.calibration is None or experiment.data.test is None:
        return
    specs = {"validation": experiment.data.calibration, "test": experiment.data.test}
    patients = [evaluation_patients(**data_spec(spec, manifests[role])) for role, spec in specs.items()]
    if shared := sorted(patients[0] & patients[1]):
        rule = "no patient may be in both validation, where thresholds are chosen, and test"
        found = f"{len(shared)} shared, for example {shared[0]!r}"
        raise LeakageError(f"{manifests['test']} (data.test)", rule, found, "split by patient")
