"""The plan: every stage of an experiment by name, as a file. What names a stage is the hash of all that decides it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

from monai_cxraug.artifacts import content_hash, file_hash, load_json, write_json
from monai_cxraug.data.files import inside
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.errors import StateError
from monai_cxraug.experiments.axis import Scale
from monai_cxraug.experiments.experiment import DataSpec, Experiment, make_experiment

SCHEMA: Final = "cxraug.plan/2"
#: plans of version 0.1, whose stages were named by arm, fraction, ratio and seed alone.
_OLDER: Final = "cxraug.plan/1"

#: role of the training images with their filtered copies.
FILTERED: Final = "filtered"


@dataclass(frozen=True)
class GeneratorPlan:
    """One generator: a finding, on a fraction of the training patients, with a seed; no finding stands for all classes.

    ``filtered``: on filtered copies too. ``images`` counts what it is trained on; 0 where an older plan does not say.
    ``limit`` is the number of real images of the finding that stay, in a grid over such numbers; the fraction is then
    their share. ``origin`` says what network it is: a key of :data:`~monai_cxraug.experiments.arms.GENERATORS`.
    ``reused`` names the ``file``, below the folder of the bundles, that it is taken from instead of being trained, and
    its ``sha256``.
    """

    kind: ClassVar[str] = "generator"
    #: of a run, that holds such stages
    folder: ClassVar[str] = "generators"

    id: str
    finding: str
    fraction: float
    seed: int
    filtered: bool = False
    images: int = 0
    key: str = ""
    limit: Mapping[str, int] = field(default_factory=dict)
    origin: str = "gan"
    reused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class JudgePlan:
    """One judge of synthetic images: trained on a fraction of the training patients without one fold of ``folds``."""

    kind: ClassVar[str] = "judge"
    folder: ClassVar[str] = "judges"

    id: str
    fraction: float
    seed: int
    fold: int
    folds: int
    key: str = ""
    limit: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SyntheticPlan:
    """One synthetic set: ``n`` samples of a generator, of those that the judges accept where there are any."""

    kind: ClassVar[str] = "sampling"
    folder: ClassVar[str] = "synthetic"

    id: str
    generator: str
    finding: str
    n: int
    seed: int
    judges: Sequence[str] = ()
    key: str = ""
    limit: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class CellPlan:
    """One cell: arm x fraction x ratio x seed. ``ratio`` is None for an arm that adds no images.

    ``synthetic`` names synthetic sets of the run; images made elsewhere are named by the experiment.
    """

    kind: ClassVar[str] = "cell"
    folder: ClassVar[str] = "cells"

    id: str
    arm: str
    fraction: float
    ratio: float | None
    seed: int
    counts: Mapping[str, int]
    synthetic: Sequence[str]
    key: str = ""
    limit: Mapping[str, int] = field(default_factory=dict)


StagePlan = GeneratorPlan | JudgePlan | SyntheticPlan | CellPlan


@dataclass(frozen=True)
class Plan:
    """Everything an experiment will make.

    Args:
        experiment: what was declared.
        manifests: role to the path of its manifest.
        classes: findings that the classifiers learn.
        smoke: whether the bundles' smoke overlays are used.
        scale: how many real images each fraction stands for, in a grid over such numbers.
    """

    experiment: Experiment
    manifests: Mapping[str, Path]
    classes: Sequence[str]
    generators: Sequence[GeneratorPlan]
    synthetic: Sequence[SyntheticPlan]
    cells: Sequence[CellPlan]
    judges: Sequence[JudgePlan] = field(default=())
    smoke: bool = False
    scale: Scale | None = None

    def stages(self) -> Iterator[StagePlan]:
        """Every stage, each after those that it needs."""
        yield from self.generators
        yield from self.judges
        yield from self.synthetic
        yield from self.cells

    def needs(self, one: StagePlan) -> list[str]:
        """Ids of the stages whose files a stage reads."""
        if isinstance(one, SyntheticPlan):
            return [one.generator, *one.judges]
        return list(one.synthetic) if isinstance(one, CellPlan) else []

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
                "smoke": self.smoke,
                **({"scale": self.scale.document()} if self.scale else {}),
                "generators": [_values(one) for one in self.generators],
                "judges": [_values(one) for one in self.judges],
                "synthetic": [_values(one) for one in self.synthetic],
                "cells": [_values(one) for one in self.cells],
            },
        )


def _values(one: StagePlan) -> dict[str, Any]:
    """A stage as plain values; later keys are left out where they say nothing, so that older plans stay as they are."""
    silent: tuple[tuple[str, Any], ...] = (("limit", {}), ("origin", "gan"), ("reused", {}))
    return {key: value for key, value in asdict(one).items() if (key, value) not in silent}


def stage_folder(run: Path, one: StagePlan) -> Path:
    """Folder of a stage in a run.

    Raises:
        InputError: the stage's name leads out of the run.
    """
    return inside(run / one.folder, one.id)


def read_plan(run: Path) -> Plan:
    """Read the plan of a run; one of an older version is understood as far as a report or an evaluation needs it.

    Raises:
        InputError: ``plan.json`` is missing, or a stage's name leads out of the run.
        StateError: it is no plan of a version that is known.
    """
    path = run / "plan.json"
    document = load_json(path)
    found = document.get("schema") if isinstance(document, dict) else None
    if found not in (SCHEMA, _OLDER):
        mend = "report it with the version that made it, or run the experiment again into a new folder"
        raise StateError(path, f"must be a plan of schema {SCHEMA!r} or {_OLDER!r}", repr(found), mend)
    experiment = make_experiment(document["experiment"], str(path))
    plan = Plan(
        experiment,
        {role: run / folder / "manifest.csv" for role, folder in document["data"].items()},
        document["classes"],
        [GeneratorPlan(**entry) for entry in document["generators"]],
        [SyntheticPlan(**entry) for entry in document["synthetic"]],
        [CellPlan(**entry) for entry in document["cells"]],
        [JudgePlan(**entry) for entry in document.get("judges", [])],
        bool(document.get("smoke", False)),
        Scale.parse(document.get("scale")),
    )
    for one in plan.stages():
        stage_folder(run, one)  # whose run it is may have written any name
    return plan


def data_spec(spec: DataSpec, manifest: Path) -> dict[str, Any]:
    """Return what names the images of a role to a bundle: manifest, split and where."""
    return {"manifest": str(manifest), "split": spec.split, "where": dict(spec.where)}


def read_data_hash(manifest: Path) -> str:
    """Hash of a manifest's content and of its pictures."""
    return content_hash([read_manifest(manifest).hash(), file_hash(manifest.parent / "pack.npy")])


def _relative(path: Path, run: Path) -> str:
    path, run = path.resolve(), run.resolve()
    return path.relative_to(run).as_posix() if path.is_relative_to(run) else str(path)
