"""Doing one stage of a plan in its folder: the same here and on any machine that sees the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from monai_cxraug.artifacts import file_hash
from monai_cxraug.bundle_config import run_stage
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.mixing import evaluation_patients
from monai_cxraug.errors import StateError
from monai_cxraug.experiments.plan import (
    FILTERED,
    CellPlan,
    GeneratorPlan,
    JudgePlan,
    Plan,
    StagePlan,
    SyntheticPlan,
    data_spec,
    stage_folder,
)
from monai_cxraug.experiments.provenance import describe_model
from monai_cxraug.experiments.stage import Stage
from monai_cxraug.experiments.work import Work, Workshop, classifier_file
from monai_cxraug.synthesis.samples import Samples
from monai_cxraug.synthesis.screening import Screening
from monai_cxraug.synthesis.synthetic_set import SyntheticSet

#: class activation maps of each kind that the report shows, of the arms of the endpoint and the first seed.
MAPS: Final = 3

Settings = Mapping[str, Any]
Training = GeneratorPlan | JudgePlan | CellPlan


@dataclass(frozen=True)
class Hand:
    """Does the stages of a plan.

    Args:
        plan: the plan.
        run: folder of the run.
    """

    plan: Plan
    run: Path

    def do(self, one: StagePlan) -> bool:
        """Do a stage unless it is done; an interrupted one goes on where it stopped.

        Returns:
            Whether there was anything to do.

        Raises:
            CxrAugError: a reason the user can mend.
        """
        stage = self.stage(one)
        if not (done := stage.done):
            if isinstance(one, GeneratorPlan) and one.reused:
                mend = "start the run again with --reuse-generators"
                raise StateError(stage.folder, "a generator that is taken must be there", "none", mend)
            with stage.work() as record:
                if isinstance(one, SyntheticPlan):
                    self._sample(one, record)
                else:
                    self._train(one, stage, record)
        # only now: a stage that was killed before it was done goes on from there
        for checkpoint in stage.folder.glob("checkpoint*.pt"):
            checkpoint.unlink()
        return not done

    def stage(self, one: StagePlan) -> Stage:
        """The folder of a stage, and what tells whether it is done."""
        product = "provenance.json" if isinstance(one, SyntheticPlan) else "model.pt"
        return Stage(stage_folder(self.run, one), one.key, product)

    def _sample(self, one: SyntheticPlan, record: dict[str, Any]) -> None:
        learnt = next(generator for generator in self.plan.generators if generator.id == one.generator)
        SyntheticSet(
            Samples(stage_folder(self.run, learnt), one.finding, one.n, one.seed),
            stage_folder(self.run, one),
            self.plan.manifests[FILTERED if learnt.filtered else "train"],
            screening=self._screening(one),
            held_out=self._held_out(),
        ).run()
        record["images"] = one.n

    def _held_out(self) -> frozenset[str]:
        """Whom no generator and no judge may have seen: everybody who is no training patient, whatever the splits."""
        table, train = read_manifest(self.plan.manifests["train"]), self.plan.experiment.data.train
        outside = table.patients() - table.patients(table.rows(train.split, train.where))
        roles = [role for role in self.plan.experiment.data.roles() if role != "train"]
        return outside.union(*(evaluation_patients(**self.images(role)) for role in roles))

    def _screening(self, one: SyntheticPlan) -> Screening | None:
        declared = self.plan.experiment.screening
        if declared is None or not one.judges:
            return None
        judges = [self.run / "judges" / judge for judge in one.judges]
        return Screening(judges, dict.fromkeys(declared.reject, declared.threshold), declared.accept_share)

    def train(self, one: Training, folder: Path, changes: Settings) -> Settings:
        """Train what a stage trains, into any folder.

        Args:
            one: the stage.
            folder: where to write.
            changes: settings that differ from the stage's.

        Returns:
            The settings, folders of this machine included.
        """
        work = self.work(one)
        threads = self.plan.experiment.budget.threads
        place = {"bundle_root": str(work.files[0].parents[1]), "output_dir": str(folder), "threads": threads}
        settings = {**work.settings, **self._places(one), **place, **changes}
        run_stage(work.files, settings)
        return settings

    def _train(self, one: Training, stage: Stage, record: dict[str, Any]) -> None:
        work = self.work(one)
        placed = self.train(one, stage.folder, {"fingerprint": stage.key, "keep_checkpoint": False})
        if isinstance(one, CellPlan):
            self._answer(one, {key: placed[key] for key in ("bundle_root", "output_dir", "threads")})
        record["settings"] = {
            **work.settings,
            "synthetic": [_name(entry) for entry in work.settings.get("synthetic", ())],
        }
        record["overlays"] = list(work.overlays)
        record["about"] = describe_model(stage.folder / "model.pt")
        record["images"] = record["about"]["images_seen"]
        record["inputs"] = self._inputs(placed)

    def work(self, one: Training) -> Work:
        """The training of a stage."""
        shop = Workshop(self.plan.experiment, self.plan.manifests, self.plan.classes, self.plan.smoke)
        if isinstance(one, GeneratorPlan):
            return shop.generator(one)
        return shop.judge(one) if isinstance(one, JudgePlan) else shop.cell(one)

    def images(self, role: str) -> dict[str, Any]:
        """What names the images of a role: manifest, split and where."""
        return data_spec(self.plan.experiment.data.roles()[role], self.plan.manifests[role])

    def _places(self, one: Training) -> Settings:
        """Settings that name folders of this machine."""
        role = FILTERED if isinstance(one, GeneratorPlan) and one.filtered else "train"
        places: dict[str, Any] = {"manifest": str(self.plan.manifests[role])}
        if isinstance(one, GeneratorPlan):
            return places
        roles = [role for role in self.plan.experiment.data.roles() if role != "train"]
        places["held_out"] = [self.images(role) for role in roles]
        if isinstance(one, CellPlan) and one.synthetic:
            places["synthetic"] = [str((self.run / "synthetic" / name).resolve()) for name in one.synthetic]
        return places

    def _answer(self, cell: CellPlan, place: Settings) -> None:
        """Let a trained cell answer: first where its thresholds are chosen, if anywhere, then where it is judged."""
        experiment = self.plan.experiment
        evaluate, calibrate = classifier_file("evaluate"), classifier_file("calibrate")
        common = {**place, "checkpoint": str(Path(place["output_dir"]) / "model.pt")}
        if experiment.data.calibration is not None:
            images = self.images("validation")
            run_stage([evaluate, calibrate], {**common, **images, "summary#rule": experiment.threshold})
        compared = (experiment.endpoint.arm, experiment.endpoint.reference)
        shown = cell.seed == experiment.seeds[0] and cell.arm in compared
        images = self.images(experiment.data.judged[0])
        maps = {"maps": MAPS if shown else 0, "maps_of": list(experiment.findings)}
        run_stage(evaluate, {**common, **images, **maps})

    @staticmethod
    def _inputs(placed: Settings) -> dict[str, str]:
        """Hashes of the synthetic images that were really read."""
        sets = [Path(entry["folder"] if isinstance(entry, Mapping) else entry) for entry in placed.get("synthetic", ())]
        return {folder.name: file_hash(folder / "pack.npy") for folder in sets}


def _name(entry: str | Mapping[str, Any]) -> Any:
    """A synthetic set as it may stand in a record that is equal on every machine."""
    return {**entry, "folder": Path(entry["folder"]).name} if isinstance(entry, Mapping) else entry
