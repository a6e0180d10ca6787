"""The images of an experiment, prepared into its run; for a smoke run, phantoms in the source's own layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from monai_cxraug.artifacts import content_hash
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.pack import Progress
from monai_cxraug.data.prepare import Request, prepare
from monai_cxraug.experiments.experiment import Budget, Data, DataSpec, Experiment

SMOKE_IMAGES, SMOKE_SIZE, SMOKE_REPLICATES = 240, 32, 200


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

    def _manifest(self, spec: DataSpec) -> Path:
        if spec.manifest is not None:
            return read_manifest(spec.manifest).path
        names = ("images", "labels", "lists", "size", "count", "seed")
        request = Request(str(spec.source), **{name: getattr(spec, name) for name in names})
        return prepare(request, self.run / "data" / content_hash(vars(request))[:12], self.progress)


def smoke_experiment(experiment: Experiment, run: Path) -> Experiment:
    """Shrink an experiment: phantoms instead of its images, few bootstrap replicates, the bundles' smoke overlays.

    A source is imitated in its own layout, so that its reader runs too; a manifest is imitated by NIH's layout.

    Args:
        experiment: what was declared.
        run: folder of the run; the phantoms go to ``data/smoke/``.
    """
    roles = {role: _phantoms(spec, run / "data" / "smoke") for role, spec in experiment.data.roles().items()}
    budget = Budget(threads=experiment.budget.threads, replicates=SMOKE_REPLICATES)
    title = f"Smoke run on phantoms, its numbers mean nothing: {experiment.title or experiment.name}"
    return replace(experiment, title=title, data=replace(experiment.data, **roles), budget=budget)


def _phantoms(spec: DataSpec, folder: Path) -> DataSpec:
    if spec.source == "phantom":
        return replace(spec, size=SMOKE_SIZE, count=SMOKE_IMAGES)
    if not (folder / "train_list.txt").exists():
        from monai_cxraug.data.sources.phantom.writers import write_nih_layout

        write_nih_layout(folder, SMOKE_IMAGES, SMOKE_SIZE, 0)
    return replace(spec, source="nih", manifest=None, images=str(folder), labels=None, lists=None, size=SMOKE_SIZE)
