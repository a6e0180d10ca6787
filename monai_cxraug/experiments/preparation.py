"""The images of an experiment, prepared into its run; for a smoke run, phantoms in the source's own layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from monai_cxraug.artifacts import content_hash
from monai_cxraug.data.filtered import FilterAugment
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.pack import Progress
from monai_cxraug.data.prepare import prepare
from monai_cxraug.experiments.experiment import ALL, Budget, Data, DataSpec, Experiment
from monai_cxraug.experiments.plan import FILTERED

#: source to the phantoms that imitate it; every other source is imitated in the layout of ChestX-ray14.
_LAYOUTS: Mapping[str, str] = {"nih": "nih", "chexpert": "chexpert", "kermany": "kermany", "folder": "skin"}
_PATTERN = "patient_pattern"
#: settings of the classifier that say what it is, rather than how long it is trained.
_SMOKE_KEEPS = frozenset({"architecture", "dropout", "flip_averaging", "start_at_prior"})
SMOKE_IMAGES, SMOKE_SIZE, SMOKE_REPLICATES = 240, 32, 200
#: real images of the smaller one of the two counts that are left of a grid over them.
_SMOKE_COUNT = 8


@dataclass(frozen=True)
class Preparation:
    """Prepares the images of every role.

    Args:
        run: folder of the run; prepared data go to ``data/<hash>/``.
        progress: called with (done, total).
    """

    run: Path
    progress: Progress | None = None

    def manifests(self, data: Data) -> Mapping[str, Path]:
        """Return the manifest of each role, made when it is not there yet."""
        return {role: self._manifest(spec) for role, spec in data.roles().items()}

    def filtered(self, manifest: Path, filters: Sequence[str]) -> Mapping[str, Path]:
        """Return, under its role, the manifest of the training images with their filtered copies.

        Args:
            manifest: of the training images.
            filters: one copy of each image a filter.
        """
        folder = self.run / "data" / content_hash([FILTERED, read_manifest(manifest).hash(), list(filters)])[:12]
        return {FILTERED: FilterAugment(manifest, folder, list(filters), self.progress).run()}

    def _manifest(self, spec: DataSpec) -> Path:
        if spec.manifest is not None:
            return read_manifest(spec.manifest).path
        request = spec.request()
        return prepare(request, self.run / "data" / content_hash(vars(request))[:12], self.progress)


def smoke_experiment(experiment: Experiment, run: Path) -> Experiment:
    """Shrink an experiment: phantoms instead of its images, one seed, its largest fraction and first ratio, the smoke
    overlays, few bootstrap replicates.

    The network and the recipe stay, so that what is declared is what runs, for a few steps.

    A source is imitated in its own layout where there is one, so that its reader runs too; a manifest by NIH's layout.
    A folder of two classes is imitated by skin lesions in folders of the same names. Of a grid over numbers of real
    images a small one and all of them are left; what others reported is about other numbers.

    Args:
        experiment: what was declared.
        run: folder of the run; the phantoms go to ``data/smoke/``.
    """
    place = run / "data" / "smoke"
    roles = {role: _phantoms(spec, place, experiment.findings[0]) for role, spec in experiment.data.roles().items()}
    counted = experiment.top_up and replace(experiment.top_up, real=[_SMOKE_COUNT, ALL], total=None)
    declared = experiment.budget
    network = {key: value for key, value in declared.classifier.items() if key in _SMOKE_KEEPS}
    budget = Budget({}, network, declared.recipe, declared.threads, SMOKE_REPLICATES)
    title = f"Smoke run on phantoms, its numbers mean nothing: {experiment.title or experiment.name}"
    return replace(
        experiment,
        title=title,
        data=replace(experiment.data, **roles),
        budget=budget,
        endpoint=replace(experiment.endpoint, fraction=None, ratio=None, real=None),
        seeds=experiment.seeds[:1],
        fractions=[max(experiment.fractions)],
        ratios=experiment.ratios[:1],
        published=() if counted else experiment.published,
        top_up=counted,
    )


def fit_smoke_counts(experiment: Experiment, manifest: Path) -> Experiment:
    """Of a smoke run's grid over numbers of real images, lower the small one where the phantoms show hardly more.

    Args:
        experiment: what :func:`smoke_experiment` gave.
        manifest: of its training images.
    """
    if experiment.top_up is None:
        return experiment
    table, train = read_manifest(manifest), experiment.data.train
    whole = int((table.label(experiment.top_up.finding)[table.rows(train.split, train.where)] == 1).sum())
    small = max(1, min(_SMOKE_COUNT, whole - 1))
    return replace(experiment, top_up=replace(experiment.top_up, real=[small, ALL]))


def _phantoms(spec: DataSpec, folder: Path, finding: str) -> DataSpec:
    if spec.source == "phantom":
        return replace(spec, size=SMOKE_SIZE, count=SMOKE_IMAGES)
    source = spec.source if spec.source in _LAYOUTS else None
    place = folder / (source or "nih")
    if not place.exists():
        from monai_cxraug.data.sources.phantom.layouts import write_layout

        write_layout(_LAYOUTS[source or "nih"], place, SMOKE_IMAGES, SMOKE_SIZE)
    if source == "folder":  # each time: the run that wrote it may have been killed before
        _name_classes(place, spec, finding)
    if source is None:
        spec = replace(spec, source="nih", manifest=None, options={})
    if source == "folder":  # every lesion is a patient of its own, whatever its name
        spec = replace(spec, options={key: value for key, value in spec.options.items() if key != _PATTERN})
    return replace(spec, images=str(place), labels=None, lists=None, size=SMOKE_SIZE)


def _name_classes(place: Path, spec: DataSpec, finding: str) -> None:
    """Give the folders of lesions the names of the classes that they stand for."""
    names = {"benign": str(spec.options.get("negative", "benign")), "malignant": finding}
    for lesions, name in names.items():
        for folder in place.glob(f"*/{lesions}"):
            folder.rename(folder.with_name(name))
