"""From what was declared to the plan: every stage listed and named, and refused what the evidence rules forbid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.mixing import evaluation_patients
from monai_cxraug.data.pseudonyms import refuse_different_salts
from monai_cxraug.errors import ConfigError, InputError, LeakageError
from monai_cxraug.experiments.arms import CONDITIONAL, GENERATORS, Making, find_arm
from monai_cxraug.experiments.axis import Scale, place_counts, top_up_total
from monai_cxraug.experiments.experiment import ALL, Experiment
from monai_cxraug.experiments.plan import (
    CellPlan,
    GeneratorPlan,
    JudgePlan,
    Plan,
    StagePlan,
    SyntheticPlan,
    data_spec,
)
from monai_cxraug.experiments.reuse import Shelf
from monai_cxraug.experiments.work import Workshop
from monai_cxraug.labels import require_findings

#: characters of a stage's hash that its name bears.
_SHORT = 8

Named = TypeVar("Named", bound=StagePlan)


def make_plan(
    experiment: Experiment, manifests: Mapping[str, Path], smoke: bool = False, bundles: Path | None = None
) -> Plan:
    """List the generators, judges, synthetic sets and cells, and refuse what the evidence rules forbid.

    Args:
        experiment: what was declared.
        manifests: role to the path of its prepared manifest; ``filtered`` where generators learn from filtered copies.
        smoke: whether the bundles' smoke overlays are used.
        bundles: folder of bundles whose generators are taken instead of being trained; None trains them.

    Returns:
        The plan. Of a grid over numbers of real images, the experiment in it has their fractions.

    Raises:
        LabelError: a finding is not in the training manifest.
        LeakageError: training and evaluation share patients, or hash their names with different salts; or a generator
            that is taken saw a patient who is no training patient.
        InputError: a studied finding has no positive training image, or a generator that is to be taken is not there.
        ConfigError: a number of real images cannot be.
    """
    refuse_different_salts({str(path): read_manifest(path).info for path in manifests.values()})
    spec = experiment.data.train
    rows = PackRows(manifests["train"], spec.split, spec.where)
    classes = _require_classes(experiment, rows)
    _refuse_shared_patients(experiment, manifests, rows)
    _refuse_shared_thresholds(experiment, manifests)
    experiment, scale = place_counts(experiment, rows)
    shelf = None if bundles is None else Shelf(experiment.name, rows, _judged(experiment, manifests), bundles)
    listing = _Listing(Workshop(experiment, dict(manifests), classes, smoke), shelf)
    for fraction in experiment.fractions:
        for seed in experiment.seeds:
            corner = _Corner.of(experiment, scale, rows, fraction, seed)
            _require_both(experiment, classes, corner)
            for arm in experiment.arms:
                listing.add_cells(arm, corner)
    stages = ([*listing.generators.values()], [*listing.synthetic.values()], [*listing.cells.values()])
    return Plan(experiment, dict(manifests), classes, *stages, [*listing.judges.values()], smoke, scale)


def needs_filtered(experiment: Experiment) -> bool:
    """Whether a generator of the experiment learns from filtered copies."""
    makings = [find_arm(arm).making for arm in experiment.arms]
    return any(making is not None and making.origin == "filtered_gan" for making in makings)


@dataclass(frozen=True)
class _Corner:
    """What training images a part of the grid has.

    ``fraction`` of the patients and ``seed``; in a grid over numbers of real images, ``limit``, and ``total``, up to
    which a finding is filled up. ``positives`` counts the images of each studied finding, ``known`` those with and
    without each class, ``images`` all of them.
    """

    fraction: float
    seed: int
    known: Mapping[str, tuple[int, int]]
    positives: Mapping[str, int]
    limit: Mapping[str, int]
    total: int | None
    name: str
    images: int

    @classmethod
    def of(cls, experiment: Experiment, scale: Scale | None, rows: PackRows, fraction: float, seed: int) -> _Corner:
        if scale is None or experiment.top_up is None:
            part = rows.part(fraction, seed)
            counts = _count(part)
            positives = {finding: counts[finding][0] for finding in experiment.findings}
            for finding, count in positives.items():
                if not count:
                    rule = f"at least one image must be positive for {finding!r}"
                    raise InputError(part.manifest.path, rule, "none", "check split and labels")
            return cls(fraction, seed, counts, positives, {}, None, f"f{fraction:g}", len(part))
        limit, total = scale.limit(fraction), top_up_total(experiment.top_up, scale.total)
        positives = {scale.finding: dict(scale.images)[fraction]}
        part = rows.part(1.0, seed, limit)
        return cls(fraction, seed, _count(part), positives, limit, total, scale.name(fraction), len(part))

    @property
    def described(self) -> str:
        """The part in words."""
        place = f"fraction {self.fraction:g}" if self.total is None else f"limit {dict(self.limit) or ALL}"
        return f"{place}, seed {self.seed}"

    def counts(self, ratio: float | None) -> dict[str, int]:
        """Images that an arm adds to each finding: at a ratio, or up to the total."""
        if self.total is not None:
            return {name: self.total - n for name, n in self.positives.items() if self.total > n}
        return {name: max(1, round(ratio * n)) for name, n in self.positives.items()} if ratio else {}


@dataclass(frozen=True)
class _Listing:
    """Stages by id, each listed once however many cells need it; generators come from a shelf where there is one."""

    shop: Workshop
    shelf: Shelf | None = None
    generators: dict[str, GeneratorPlan] = field(default_factory=dict)
    judges: dict[str, JudgePlan] = field(default_factory=dict)
    synthetic: dict[str, SyntheticPlan] = field(default_factory=dict)
    cells: dict[str, CellPlan] = field(default_factory=dict)
    #: ids of all stages but the cells, to their keys.
    keys: dict[str, str] = field(default_factory=dict)

    def add_cells(self, arm: str, corner: _Corner) -> None:
        """Add an arm's cells of a corner: one for each ratio; none where it would add images and there is no room."""
        adds = find_arm(arm).adds_images
        for ratio in self.shop.experiment.ratios if adds and corner.total is None else (None,):
            counts = corner.counts(ratio) if adds else {}
            if counts or not adds:
                self._add_cell(arm, corner, ratio, counts)

    def _add_cell(self, arm: str, corner: _Corner, ratio: float | None, counts: Mapping[str, int]) -> None:
        making = find_arm(arm).making
        sets: list[str] = []
        if making is not None and making.origin != "external":
            sets = [self._add_set(making, name, n, corner, ratio) for name, n in counts.items()]
        name = _id(arm, corner, ratio)
        cell = CellPlan(name, arm, corner.fraction, ratio, corner.seed, counts, sets, limit=corner.limit)
        cell = _named(cell, self.shop.cell_key(cell, self.keys))
        self.cells[cell.id] = cell

    def _add_set(self, making: Making, finding: str, n: int, corner: _Corner, ratio: float | None) -> str:
        judges = self._add_judges(corner) if making.screened else []
        generator = self._add_generator(finding, corner, making.origin)
        stem = _id("-".join([finding, *_origin(making.origin), *["screened"] * making.screened]), corner, ratio)
        one = SyntheticPlan(stem, generator, finding, n, corner.seed, judges, limit=corner.limit)
        one = _named(one, self.shop.synthetic_key(one, self.keys))
        self.synthetic[one.id], self.keys[one.id] = one, one.key
        return one.id

    def _add_generator(self, finding: str, corner: _Corner, origin: str) -> str:
        filtered = origin == "filtered_gan"
        finding = "" if origin == CONDITIONAL else finding
        stem = _id("-".join([*filter(None, [finding]), *_origin(origin)]), corner, None)
        learnt = corner.positives[finding] if finding else corner.images
        images = learnt * (1 + len(self.shop.experiment.filters) * filtered)
        network = origin if origin in GENERATORS else GENERATORS[0]
        one = GeneratorPlan(
            stem, finding, corner.fraction, corner.seed, filtered, images, limit=corner.limit, origin=network
        )
        if self.shelf is not None:
            one = replace(one, reused=self.shelf.find(one, self.shop.generator(one)))
        one = _named(one, self.shop.generator_key(one))
        self.generators[one.id], self.keys[one.id] = one, one.key
        return one.id

    def _add_judges(self, corner: _Corner) -> list[str]:
        screening = self.shop.experiment.screening
        folds = screening.folds if screening else 1
        ids = []
        for fold in range(folds):
            stem = _id(f"judge{fold}of{folds}", corner, None)
            one = JudgePlan(stem, corner.fraction, corner.seed, fold, folds, limit=corner.limit)
            one = _named(one, self.shop.judge_key(one))
            self.judges[one.id], self.keys[one.id] = one, one.key
            ids.append(one.id)
        return ids


def _count(rows: PackRows) -> dict[str, tuple[int, int]]:
    """Images with and without each finding."""
    labels = rows.label_matrix()
    counts = ((labels == value).sum(axis=0).tolist() for value in (1, 0))
    return dict(zip(rows.findings, zip(*counts, strict=True), strict=True))


def _named(one: Named, key: str) -> Named:
    """The same stage under a name that ends with its hash."""
    return replace(one, id=f"{one.id}-{key[:_SHORT]}", key=key)


def _origin(origin: str) -> list[str]:
    """What tells generators of one finding apart in names; nothing for a PGGAN."""
    return [] if origin == GENERATORS[0] else [origin.removesuffix("_gan")]


def _id(name: str, corner: _Corner, ratio: float | None) -> str:
    safe = "".join(letter if letter.isalnum() or letter in "_-" else "-" for letter in name)
    return "-".join([safe, corner.name, *([f"r{ratio:g}"] if ratio is not None else []), f"s{corner.seed}"])


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


def _require_both(experiment: Experiment, classes: Sequence[str], corner: _Corner) -> None:
    """Losses that weigh classes by their sizes need images with and without each; say so before hours of training."""
    weighing = [arm for arm in experiment.arms if "loss" in find_arm(arm).kinds]
    if not weighing:
        return
    for name in classes:
        present, absent = corner.known[name]
        if not (present and absent):
            rule = f"arm {weighing[0]!r} needs images with and without each class in every fraction"
            found = f"{name!r}: {present} with and {absent} without, {corner.described}"
            raise ConfigError("experiment key 'classes'", rule, found, f"list the classes without {name!r}")


def _judged(experiment: Experiment, manifests: Mapping[str, Path]) -> dict[str, frozenset[str]]:
    """Role to the patients of its evaluation images."""
    roles = {role: spec for role, spec in experiment.data.roles().items() if role != "train"}
    return {role: evaluation_patients(**data_spec(spec, manifests[role])) for role, spec in roles.items()}


def _refuse_shared_patients(experiment: Experiment, manifests: Mapping[str, Path], rows: PackRows) -> None:
    for role, patients in _judged(experiment, manifests).items():
        spec = experiment.data.roles()[role]
        if shared := sorted(rows.patients() & patients):
            found = f"{len(shared)} shared, for example {shared[0]!r}"
            rule = "no training patient may be among the evaluation images"
            raise LeakageError(f"{manifests[role]} (data.{role})", rule, found, "split by patient")
        table = read_manifest(manifests[role])
        if (table["source"][table.rows(spec.split, spec.where)] != "real").any():
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
