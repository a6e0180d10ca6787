"""The plan: every generator, synthetic set and cell of an experiment, listed before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monai_cxraug.artifacts import read_json, write_json
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.mixing import evaluation_patients
from monai_cxraug.data.pseudonyms import refuse_different_salts
from monai_cxraug.errors import ConfigError, LeakageError
from monai_cxraug.experiments.arms import find_arm
from monai_cxraug.experiments.experiment import DataSpec, Experiment, make_experiment
from monai_cxraug.labels import require_findings

SCHEMA = "cxraug.plan/1"


@dataclass(frozen=True)
class GeneratorPlan:
    """One generator: a finding, on a fraction of the training patients, with a seed."""

    id: str
    finding: str
    fraction: float
    seed: int


@dataclass(frozen=True)
class SyntheticPlan:
    """One synthetic set: ``n`` samples of a generator."""

    id: str
    generator: str
    finding: str
    n: int
    seed: int


@dataclass(frozen=True)
class CellPlan:
    """One cell: arm x fraction x ratio x seed. ``ratio`` is None for an arm that adds no images."""

    id: str
    arm: str
    fraction: float
    ratio: float | None
    seed: int
    counts: Mapping[str, int]
    synthetic: Sequence[str]


@dataclass(frozen=True)
class Plan:
    """Everything an experiment will make.

    Args:
        experiment: what was declared.
        manifests: role to the path of its manifest.
        classes: findings that the classifiers learn.
    """

    experiment: Experiment
    manifests: Mapping[str, Path]
    classes: Sequence[str]
    generators: Sequence[GeneratorPlan]
    synthetic: Sequence[SyntheticPlan]
    cells: Sequence[CellPlan]

    def write(self, run: Path) -> None:
        """Write ``plan.json``; folders of prepared data are relative to the run."""
        experiment = self.experiment
        write_json(
            run / "plan.json",
            SCHEMA,
            {
                "name": experiment.name,
                "title": experiment.title or experiment.name,
                "experiment": experiment.document(),
                "data": {role: _relative(path.parent, run) for role, path in self.manifests.items()},
                "findings": list(experiment.findings),
                "classes": list(self.classes),
                "generators": [asdict(generator) for generator in self.generators],
                "synthetic": [asdict(one) for one in self.synthetic],
                "cells": [asdict(cell) for cell in self.cells],
            },
        )


def make_plan(experiment: Experiment, manifests: Mapping[str, Path]) -> Plan:
    """List the generators, synthetic sets and cells, and refuse what the evidence rules forbid.

    Args:
        experiment: what was declared.
        manifests: role to the path of its prepared manifest.

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
    require_findings(experiment.findings, rows.manifest.findings, f"{rows.manifest.path} (experiment key 'findings')")
    classes = experiment.classes or rows.manifest.findings
    require_findings(classes, rows.manifest.findings, "experiment key 'classes'")
    if missing := [finding for finding in experiment.findings if finding not in classes]:
        raise ConfigError("experiment key 'classes'", "must contain every studied finding", f"no {missing[0]}")
    _refuse_shared_patients(experiment, manifests, rows)
    _refuse_shared_thresholds(experiment, manifests)
    generators: dict[str, GeneratorPlan] = {}
    synthetic: dict[str, SyntheticPlan] = {}
    cells: dict[str, CellPlan] = {}
    for fraction in experiment.fractions:
        for seed in experiment.seeds:
            positives = _positives(experiment, manifests["train"], fraction, seed)
            for arm in experiment.arms:
                for ratio in experiment.ratios if find_arm(arm).adds_images else (None,):
                    counts = {name: max(1, round((ratio or 0) * n)) for name, n in positives.items()} if ratio else {}
                    sets = _synthetic(counts, fraction, ratio, seed) if find_arm(arm).uses_generator else []
                    for generator, one in sets:
                        generators[generator.id] = generator
                        synthetic[one.id] = one
                    ids = [one.id for _, one in sets]
                    name = _id(arm, fraction, ratio, seed)
                    cells[name] = CellPlan(name, arm, fraction, ratio, seed, counts, ids)
    stages = (list(generators.values()), list(synthetic.values()), list(cells.values()))
    return Plan(experiment, dict(manifests), list(classes), *stages)


def read_plan(run: Path) -> Plan:
    """Read the plan of a run.

    Raises:
        InputError: ``plan.json`` is missing.
        StateError: it is no plan of this version.
    """
    document = read_json(run / "plan.json", SCHEMA)
    experiment = make_experiment(document["experiment"], str(run / "plan.json"))
    return Plan(
        experiment,
        {role: run / folder / "manifest.csv" for role, folder in document["data"].items()},
        document["classes"],
        [GeneratorPlan(**entry) for entry in document["generators"]],
        [SyntheticPlan(**entry) for entry in document["synthetic"]],
        [CellPlan(**entry) for entry in document["cells"]],
    )


def data_spec(spec: DataSpec, manifest: Path) -> dict[str, Any]:
    """Return what names the images of a role to a bundle: manifest, split and where."""
    return {"manifest": str(manifest), "split": spec.split, "where": dict(spec.where)}


def _synthetic(
    counts: Mapping[str, int], fraction: float, ratio: float | None, seed: int
) -> list[tuple[GeneratorPlan, SyntheticPlan]]:
    pairs = []
    for finding, n in counts.items():
        generator = GeneratorPlan(_id(finding, fraction, None, seed), finding, fraction, seed)
        pairs.append((generator, SyntheticPlan(_id(finding, fraction, ratio, seed), generator.id, finding, n, seed)))
    return pairs


def _positives(experiment: Experiment, manifest: Path, fraction: float, seed: int) -> dict[str, int]:
    spec = experiment.data.train
    counts = {}
    for finding in experiment.findings:
        rows = PackRows(manifest, spec.split, spec.where, having=finding, fraction=fraction, fraction_seed=seed)
        counts[finding] = len(rows)
    return counts


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


def _id(name: str, fraction: float, ratio: float | None, seed: int) -> str:
    safe = "".join(letter if letter.isalnum() or letter == "_" else "-" for letter in name)
    return "-".join([safe, f"f{fraction:g}", *([f"r{ratio:g}"] if ratio is not None else []), f"s{seed}"])


def _relative(path: Path, run: Path) -> str:
    path, run = path.resolve(), run.resolve()
    return path.relative_to(run).as_posix() if path.is_relative_to(run) else str(path)
