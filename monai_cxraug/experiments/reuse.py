"""Generators that travel with a bundle, in place of those that a plan would train.

A shipped generator is the one that the plan would train when it belongs to an experiment of the same name, was trained
with the same settings (finding, seed, fraction, images seen, layers, ... all that the training configuration was
given), and learnt from as many images. Whose images these were is looked at besides: each patient must be a training
patient of the plan, at that fraction and seed, and none an evaluation patient.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_cxraug.artifacts import atomic_path
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.files import inside
from monai_cxraug.data.mixing import declared_patients
from monai_cxraug.errors import InputError, LeakageError, StateError
from monai_cxraug.experiments.plan import GeneratorPlan, Plan, stage_folder
from monai_cxraug.experiments.provenance import describe_model
from monai_cxraug.experiments.shipped import INDEX, MODEL, Shipped, ShippedModel, read_shipped
from monai_cxraug.experiments.stage import Stage
from monai_cxraug.experiments.work import Work
from monai_cxraug.networks.weights import load_model
from monai_cxraug.resources import resource_root

_MEND = "leave --reuse-generators out, and they are trained"


@dataclass(frozen=True)
class Shelf:
    """The generators that bundles ship for one experiment.

    Args:
        experiment: its name.
        rows: the training images, of every patient.
        judged: role to the patients of its evaluation images.
        bundles: folder of the bundles; default those of the package.
    """

    experiment: str
    rows: PackRows
    judged: Mapping[str, frozenset[str]]
    bundles: Path = field(default_factory=lambda: resource_root() / "bundles")

    def find(self, one: GeneratorPlan, work: Work) -> dict[str, str]:
        """Find the file that is the generator of a plan.

        Args:
            one: the generator.
            work: how it would be trained.

        Returns:
            ``file``, below the folder of the bundles, and its ``sha256``.

        Raises:
            InputError: there is none.
            StateError: its file is not what was shipped, or the salt of its patients' names is another.
            LeakageError: it saw an evaluation patient, or one who is no training patient.
        """
        shipped = self._shipped(work.bundle)
        models = shipped.generators()
        found = next((model for model in models if not _differences(model, one, work)), None)
        if found is None:
            rule = f"must hold the generator of {_describe(one)}"
            raise InputError(shipped.folder / INDEX, rule, _nearest(models, one, work), _MEND)
        found.require_whole()
        self._check(found, one, shipped.salt)
        return {"file": found.model.relative_to(self.bundles).as_posix(), "sha256": found.files[found.model.name]}

    def _shipped(self, bundle: str) -> Shipped:
        folder = inside(self.bundles / bundle / "models", self.experiment)
        if not (folder / INDEX).is_file():
            raise InputError(folder, f"must hold the generators of {self.experiment!r}", "none", _MEND)
        return read_shipped(folder)

    def _check(self, model: ShippedModel, one: GeneratorPlan, salt: str | None) -> None:
        about, where = load_model(model.model).about, model.model
        if about.get("images") != one.images:
            rule = f"must have learnt from the {one.images} images that the plan's generator would learn from"
            raise StateError(where, rule, f"{about.get('images')} images", _MEND)
        if salt != self.rows.manifest.info.get("salt"):
            rule = "its patients' names must be hashed with the key of the training manifest"
            raise StateError(where, rule, f"salt {salt or 'none'}", "prepare the images with that salt")
        self._refuse_leaks(declared_patients(about, where), one, where)

    def _refuse_leaks(self, seen: frozenset[str], one: GeneratorPlan, where: Path) -> None:
        for role, patients in self.judged.items():
            if shared := sorted(seen & patients):
                rule = f"a generator may not have seen a patient of data.{role}"
                raise LeakageError(where, rule, f"{len(shared)}, for example {shared[0]!r}", "choose other images")
        part = self.rows.part(1.0 if one.limit else one.fraction, one.seed, one.limit or None)
        if others := sorted(seen - part.patients()):
            rule = "a generator may only have seen training patients of this experiment, at its fraction"
            raise LeakageError(where, rule, f"{len(others)} others, for example {others[0]!r}", _MEND)


def fetch(plan: Plan, run: Path, bundles: Path) -> str:
    """Put the generators that a plan takes into its run, as if they had been trained there.

    Args:
        plan: with generators that :class:`Shelf` found.
        run: folder of the run.
        bundles: folder of the bundles.

    Returns:
        What was taken, in one line; empty where nothing is.
    """
    taken = [one for one in plan.generators if one.reused]
    for one in taken:
        stage = Stage(stage_folder(run, one), one.key)
        if stage.done:
            continue
        source = bundles / one.reused["file"]
        shipped = {model.stage.id: model for model in read_shipped(source.parents[1]).generators()}
        trained = shipped[source.parent.name]
        with stage.work() as record:
            with atomic_path(stage.folder / MODEL) as temporary:
                shutil.copyfile(source, temporary)
            record |= {"settings": dict(trained.settings), "overlays": list(trained.overlays)}
            record |= {"about": describe_model(source), "reused": dict(one.reused)}
    folders = {one.reused["file"].rsplit("/", 2)[0] for one in taken}
    return f"generators: {len(taken)} taken from {', '.join(sorted(folders))}" if taken else ""


def _differences(model: ShippedModel, one: GeneratorPlan, work: Work) -> list[str]:
    """What tells a shipped generator from the one that would be trained; nothing where they are the same."""
    there, wanted = _plain(model.settings), _plain(work.settings)
    keys = sorted(key for key in {*there, *wanted} if there.get(key) != wanted.get(key))
    told = [f"{key} {there.get(key)!r}, not {wanted.get(key)!r}" for key in keys]
    if list(model.overlays) != list(work.overlays):
        told.append(f"overlays {list(model.overlays)}, not {list(work.overlays)}")
    stage = model.stage
    if not isinstance(stage, GeneratorPlan) or (stage.origin, stage.filtered) != (one.origin, one.filtered):
        told.append("another network, or other copies of the images")
    return told


def _plain(settings: Mapping[str, Any]) -> Any:
    """Settings as they come back from a file."""
    return json.loads(json.dumps(dict(settings)))


def _describe(one: GeneratorPlan) -> str:
    return f"{one.finding or 'all findings'} ({one.origin}), fraction {one.fraction:g}, seed {one.seed}"


def _nearest(models: Sequence[ShippedModel], one: GeneratorPlan, work: Work) -> str:
    """What is there instead: where the likeliest candidate differs."""
    told = [(model.stage.id, _differences(model, one, work)) for model in models]
    name, differences = min(told, key=lambda pair: len(pair[1]), default=("", []))
    return f"{name}: {'; '.join(differences)}" if name else "no generator"
