"""What the command line and the configurations of ``configs/`` run: each a few arguments and a ``run()``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path

from monai_cxraug.artifacts import load_json
from monai_cxraug.console import announce, deliver, progress_bar
from monai_cxraug.data.filtered import FilterAugment
from monai_cxraug.data.histograms import Histograms
from monai_cxraug.data.manifest import Where
from monai_cxraug.data.prepare import prepare
from monai_cxraug.data.request import Request
from monai_cxraug.data.summary import describe
from monai_cxraug.errors import ConfigError, nearest
from monai_cxraug.experiments.collect import write_results
from monai_cxraug.experiments.declaration import load_experiment
from monai_cxraug.experiments.endpoint import endpoint_only
from monai_cxraug.experiments.evaluation import evaluate
from monai_cxraug.experiments.experiment import DataSpec, Experiment
from monai_cxraug.experiments.forecast import FILE, forecast
from monai_cxraug.experiments.plan import read_plan
from monai_cxraug.experiments.runner import Runner
from monai_cxraug.experiments.stages import Hand
from monai_cxraug.metrics.power import Assumptions
from monai_cxraug.resources import resource_root


@dataclass(frozen=True)
class Prepare:
    """``cxraug prepare``: a source becomes a manifest and a pack.

    Args:
        out: folder to fill.
        request: what to prepare.
    """

    out: str | Path
    request: Request

    def run(self) -> Path:
        """Prepare, show progress and, on standard error, the summary; return the manifest's path."""
        manifest = prepare(self.request, Path(self.out), progress_bar(f"prepare {self.request.source}"))
        announce(describe(load_json(manifest.with_name("summary.json"))))
        deliver(manifest)
        return manifest


@dataclass(frozen=True)
class Filter:
    """``cxraug filter``: a prepared set with filtered copies of its training images.

    Args:
        manifest: of the prepared set.
        out: folder to fill.
        filters: names of filters; a single one may stand alone.
    """

    manifest: str | Path
    out: str | Path
    filters: Sequence[str] | str

    def run(self) -> Path:
        """Filter, show progress and return the new manifest's path."""
        manifest = FilterAugment(self.manifest, self.out, self.filters, progress_bar("filter")).run()
        deliver(manifest)
        return manifest


@dataclass(frozen=True)
class CountLevels:
    """First part of ``cxraug histogram``: how bright the images of each class are, before and after a change.

    Args:
        manifest: of the prepared set.
        out: JSON file to write.
        contrast: name of the change of contrast, or None.
        split: split to look at; None for every row.
        where: columns to the values they must have.
    """

    manifest: str | Path
    out: str | Path
    contrast: str | None = None
    split: str | None = "train"
    where: Where = field(default_factory=dict)

    def run(self) -> Path:
        """Count, show progress, and return the file's path."""
        counted = Histograms(self.manifest, self.contrast, self.split, self.where, progress_bar("histogram"))
        counted.write(Path(self.out))
        return Path(self.out)


@dataclass(frozen=True)
class RunExperiment:
    """``cxraug run``: everything that an experiment file declares.

    Args:
        file: the experiment file, or a list of it and its overlays.
        out: folder of the run; default ``runs/<name>``.
        settings: overrides, ``key.key=value`` each; a single one may stand alone.
        smoke: tiny budget on generated phantoms in the source's own layout.
        scheduler: where the stages run; see :class:`~monai_cxraug.experiments.runner.Runner`.
        reuse_generators: run the endpoint's cells alone, with the generators that the bundles ship for the experiment
            instead of new ones; the folder is then ``runs/<name>_reused`` by default, so that no run is written over.
    """

    file: str | Path | Sequence[str | Path]
    out: str | Path | None = None
    settings: Sequence[str] | str | None = None
    smoke: bool = False
    scheduler: str | None = None
    reuse_generators: bool = False

    @cached_property
    def experiment(self) -> Experiment:
        """The experiment, read and checked."""
        settings = [self.settings] if isinstance(self.settings, str) else self.settings or ()
        found = load_experiment(self.file, settings, substitute=not self.smoke)
        return endpoint_only(found) if self.reuse_generators else found

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        if self.out is not None:
            return Path(self.out)
        return Path("runs") / f"{self.experiment.name}{'_reused' * self.reuse_generators}"

    def run(self) -> Path:
        """Run what is not done yet and return the path of ``results.json``."""
        return self.runner.execute()

    @property
    def runner(self) -> Runner:
        """What runs it."""
        bundles = resource_root() / "bundles" if self.reuse_generators else None
        prepared = progress_bar("prepare")
        return Runner(self.experiment, self.folder, self.smoke, deliver, prepared, self.scheduler, bundles)


@dataclass(frozen=True)
class PlanExperiment:
    """First half of ``cxraug plan``: what an experiment will cost and what it will be able to find.

    Images are prepared, which the run needs anyway; nothing is trained but a few steps that tell the time.

    Args:
        file: the experiment file, or a list of it and its overlays.
        out: folder of the run; default ``runs/<name>``.
        settings: overrides, ``key.key=value`` each; a single one may stand alone.
        assume: what is assumed about networks not trained yet: values of
            :class:`~monai_cxraug.metrics.power.Assumptions`.
    """

    file: str | Path | Sequence[str | Path]
    out: str | Path | None = None
    settings: Sequence[str] | str | None = None
    assume: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def _job(self) -> RunExperiment:
        return RunExperiment(self.file, self.out, self.settings)

    @property
    def experiment(self) -> Experiment:
        """The experiment, read and checked."""
        return self._job.experiment

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self._job.folder

    def run(self) -> Path:
        """Forecast and return the path of ``forecast.json``."""
        names = [entry.name for entry in fields(Assumptions)]
        for name in self.assume:
            if name not in names:
                raise ConfigError(f"--assume {name}", "unknown assumption", repr(name), nearest(name, names))
        assumed = Assumptions(**{name: float(value) for name, value in self.assume.items()})
        runner = self._job.runner
        found = forecast(Hand(runner.plan(), self.folder), assumed, announce)
        found.write(self.folder / FILE)
        return self.folder / FILE


@dataclass(frozen=True)
class EvaluateRun:
    """``cxraug evaluate``: every cell of a run, or every classifier of a bundle, on images never seen before.

    Args:
        folder: the run; or a bundle that ships classifiers, or its folder ``models/<experiment>``.
        manifest: the images.
        out: folder for the results.
        split: keep this split; default every image.
        where: keep images whose columns have these values.
    """

    folder: str | Path
    manifest: str | Path
    out: str | Path
    split: str | None = None
    where: Where = field(default_factory=dict)

    def run(self) -> Path:
        """Evaluate and return the path of ``results.json``."""
        spec = DataSpec(manifest=str(self.manifest), split=self.split, where=self.where)
        return evaluate(Path(self.folder), spec, Path(self.out), deliver)


@dataclass(frozen=True)
class CollectRun:
    """First half of ``cxraug report``: the numbers of a run again, from the files of its cells.

    Args:
        folder: a run; of an evaluation's folder, which has no plan, the numbers stay as they are.
    """

    folder: str | Path

    def run(self) -> Path:
        """Compute and return the path of ``results.json``."""
        folder = Path(self.folder)
        if (folder / "plan.json").exists():
            return write_results(folder, read_plan(folder))
        return folder / "results.json"
