"""Runs an experiment: prepare, plan, every stage, results. What is done already is not done again."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from monai_cxraug.artifacts import locked, sweep
from monai_cxraug.data.pack import Progress
from monai_cxraug.experiments.collect import write_results
from monai_cxraug.experiments.declared import record_endpoint
from monai_cxraug.experiments.experiment import Experiment
from monai_cxraug.experiments.plan import Plan, StagePlan
from monai_cxraug.experiments.planning import make_plan, needs_filtered
from monai_cxraug.experiments.preparation import Preparation, fit_smoke_counts, smoke_experiment
from monai_cxraug.experiments.reuse import fetch
from monai_cxraug.experiments.stages import Hand
from monai_cxraug.experiments.work import check_budget, check_overlays, check_sides

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
        scheduler: where the stages run: None for this process, ``local[N]`` for N processes of this machine, or the
            address of a dask scheduler whose workers see the run's folder.
        bundles: folder of bundles whose generators are taken instead of being trained; None trains them.
    """

    experiment: Experiment
    run: Path
    smoke: bool = False
    say: Say = print
    progress: Progress | None = None
    scheduler: str | None = None
    bundles: Path | None = None

    def execute(self) -> Path:
        """Run everything that is not done yet.

        Returns:
            Path of ``results.json``.

        Raises:
            CxrAugError: a reason the user can mend, or another process at work in the folder; finished stages stay, an
                unfinished one resumes next time.
        """
        self.run.mkdir(parents=True, exist_ok=True)
        try:
            with locked(self.run / ".lock"):
                sweep(self.run)
                return self._execute()
        finally:
            with suppress(OSError):  # it holds something, unless all was refused
                self.run.rmdir()

    def _execute(self) -> Path:
        plan = self.plan()
        record_endpoint(self.run, plan.experiment)
        plan.write(self.run)
        if self.bundles is not None and (taken := fetch(plan, self.run, self.bundles)):
            self.say(taken)
        if self.scheduler is None:
            self._here(plan)
        else:
            from monai_cxraug.experiments.cluster import run_on

            run_on(self.scheduler, Hand(plan, self.run.resolve()), self.say)
        return write_results(self.run, plan)

    def plan(self) -> Plan:
        """Prepare the images and list every stage; nothing is trained.

        Raises:
            CxrAugError: a reason the user can mend.
        """
        check_budget(self.experiment)
        check_overlays(self.experiment)
        experiment = smoke_experiment(self.experiment, self.run) if self.smoke else self.experiment
        check_sides(experiment)
        preparation = Preparation(self.run, self.progress)
        manifests = preparation.manifests(experiment.data)
        if self.smoke:
            experiment = fit_smoke_counts(experiment, manifests["train"])
        if needs_filtered(experiment):
            manifests = {**manifests, **preparation.filtered(manifests["train"], experiment.filters)}
        return make_plan(experiment, manifests, self.smoke, self.bundles)

    def _here(self, plan: Plan) -> None:
        hand, stages = Hand(plan, self.run), list(plan.stages())
        for number, one in enumerate(stages, start=1):
            begun = time.monotonic()
            worked = hand.do(one)
            took = f"{time.monotonic() - begun:.0f} s" if worked else "done before"
            self.say(f"[{number}/{len(stages)}] {title(one)}: {took}")


def title(one: StagePlan) -> str:
    """Name a stage for a reader."""
    return f"{one.kind} {one.id}"
