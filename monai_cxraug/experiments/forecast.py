"""What an experiment will cost and what it will be able to find, before anything is trained."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from monai_cxraug.artifacts import load_json, write_json
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.experiments.arms import missing_controls
from monai_cxraug.experiments.plan import CellPlan, GeneratorPlan, Plan, StagePlan, SyntheticPlan
from monai_cxraug.experiments.stage import read_timing
from monai_cxraug.experiments.stages import Hand, Training
from monai_cxraug.metrics.power import Assumptions, PlannedEffect, planned_effect
from monai_cxraug.synthesis.lengths import planned_length

SCHEMA: Final = "cxraug.forecast/1"
FILE: Final = "forecast.json"
#: steps of the two rehearsals of a classifier, and what the second adds; an epoch has as many as the first.
_STEPS: Final = (3, 12)
#: images of the two rehearsals of a generator, in batches, after one batch a phase that leads to full resolution.
_BATCHES: Final = (8, 32)
#: a forward pass costs about a third of a training step.
_FORWARD: Final = 1 / 3


@dataclass(frozen=True)
class Share:
    """Stages of one kind.

    Attributes:
        kind: ``generators``, ``judges``, ``synthetic sets`` or ``cells``.
        pieces: how many there are.
        done: how many of them are done.
        images: images that all of them pass through a network in training, or make.
        seconds: expected time of those to be done; None where there is no telling.
    """

    kind: str
    pieces: int
    done: int
    images: int
    seconds: float | None


@dataclass(frozen=True)
class Prospect:
    """What the comparisons of one finding, or of the mean, will be able to find.

    Attributes:
        finding: its name, or ``macro``.
        training: positive training images, at the largest fraction.
        images: judged images with a known label.
        alone: smallest true difference in AUROC that one comparison finds in 80 of 100 repetitions.
        family: the same among all comparisons that Holm's correction runs over.
    """

    finding: str
    training: int
    images: int
    alone: PlannedEffect
    family: PlannedEffect


@dataclass(frozen=True)
class Forecast:
    """Cost and prospects of an experiment."""

    plan: Plan
    shares: Sequence[Share]
    prospects: Sequence[Prospect]
    assumed: Assumptions

    @property
    def seconds(self) -> float:
        """Expected time of all that is still to be done, one stage after the other."""
        return sum(share.seconds or 0.0 for share in self.shares)

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        experiment = self.plan.experiment
        cells = {arm: sum(cell.arm == arm for cell in self.plan.cells) for arm in experiment.arms}
        content = {
            "name": experiment.name,
            "title": experiment.title or experiment.name,
            "endpoint": asdict(experiment.endpoint),
            "missing": missing_controls(experiment.arms),
            "arms": cells,
            "fractions": list(experiment.fractions),
            "scale": self.plan.scale and self.plan.scale.document(),
            "ratios": list(experiment.ratios),
            "seeds": list(experiment.seeds),
            "threads": experiment.budget.threads,
            "shares": [asdict(share) for share in self.shares],
            "seconds": self.seconds,
            "prospects": [asdict(prospect) for prospect in self.prospects],
            "assumed": asdict(self.assumed),
        }
        write_json(path, SCHEMA, content)


def forecast(
    hand: Hand, assumed: Assumptions | None = None, say: Callable[[str], None] = lambda line: None
) -> Forecast:
    """Rehearse a few steps of each kind of training, and work out what can be found.

    Times come from stages of the run that are done, where there are any; else from two short rehearsals on this
    machine, whose difference is what training costs an image and whose rest is what it costs to begin.

    Args:
        hand: does the stages of the plan.
        assumed: what is assumed about networks not trained yet.
        say: called with one line before each kind of rehearsal.
    """
    assumed = assumed or Assumptions()
    plan = hand.plan
    kinds: dict[str, Sequence[StagePlan]] = {
        "generators": plan.generators,
        "judges": plan.judges,
        "synthetic sets": plan.synthetic,
        "cells": plan.cells,
    }
    shares = []
    for kind, stages in kinds.items():
        if stages:
            say(f"{kind}: {len(stages)}; how long does one take?")
            shares.append(_share(hand, kind, stages))
    return Forecast(plan, shares, list(_prospects(plan, assumed)), assumed)


# --- time ---


def _share(hand: Hand, kind: str, stages: Sequence[StagePlan]) -> Share:
    images = sum(_images(hand, one) for one in stages)
    done = {one.id for one in stages if hand.stage(one).done}
    networks: dict[str, list[StagePlan]] = {}
    for one in stages:
        networks.setdefault(one.origin if isinstance(one, GeneratorPlan) else "", []).append(one)
    times = [_seconds(hand, some, [one for one in some if one.id in done]) for some in networks.values()]
    seconds = None if None in times else sum(time for time in times if time is not None)
    return Share(kind, len(stages), len(done), images, seconds)


def _images(hand: Hand, one: StagePlan) -> int:
    if isinstance(one, SyntheticPlan):
        return one.n
    settings = _effective(hand, one)
    if isinstance(one, GeneratorPlan):
        return planned_length(settings, one.images)[0]
    return int(settings["steps"] * settings["batch_size"])


def _effective(hand: Hand, one: Training) -> Mapping[str, Any]:
    """Settings of a training, those that the bundle brings included."""
    work = hand.work(one)
    brought = [load_json(path) for path in work.files]
    return {**{key: value for content in brought for key, value in content.items()}, **work.settings}


def _seconds(hand: Hand, stages: Sequence[StagePlan], done: Sequence[StagePlan]) -> float | None:
    """Expected time of what is not done of stages that train one kind of network."""
    ready = {one.id for one in done}
    open_ = [one for one in stages if one.id not in ready]
    if not open_:
        return 0.0
    if done:
        return len(open_) * float(median(read_timing(hand.stage(one).folder).get("seconds", 0.0) for one in done))
    first = open_[0]
    if isinstance(first, SyntheticPlan):
        return None  # seconds beside minutes
    pace, judged = _rehearse(hand, first), _judged(hand) if isinstance(first, CellPlan) else 0
    return sum(pace.seconds(_images(hand, one), judged) for one in open_)


def _judged(hand: Hand) -> int:
    """Images that a cell answers on."""
    data = hand.plan.experiment.data
    roles = [data.judged[0], *["validation"] * (data.calibration is not None)]
    return sum(len(PackRows(**hand.images(role))) for role in roles)


@dataclass(frozen=True)
class _Pace:
    """Seconds to begin, and seconds an image in training."""

    begin: float
    image: float

    def seconds(self, images: int, judged: int) -> float:
        return self.begin + self.image * (images + _FORWARD * judged)


def _rehearse(hand: Hand, one: Training) -> _Pace:
    """Train a little, then a little more, in a folder of its own."""
    settings = _effective(hand, one)
    batch = settings["batch_size"]
    changes: list[dict[str, Any]]
    if isinstance(one, GeneratorPlan):
        batch = planned_length(settings, one.images)[1]
        lengths = [count * batch for count in _BATCHES]
        growing = "fade_images" in settings
        phases = {"fade_images": 0, "stable_images": batch} if growing else {"batch_size": batch}
        changes = [{"total_images": length + 4 * batch * growing, **phases} for length in lengths]
    else:
        lengths = [steps * batch for steps in _STEPS]
        changes = [{"steps": steps, "epoch_length": _STEPS[0]} for steps in _STEPS]
    with tempfile.TemporaryDirectory(prefix="cxraug-rehearsal-") as folder:
        short, long = (_time(hand, one, Path(folder) / str(k), change) for k, change in enumerate(changes))
    image = max(0.0, (long - short) / (lengths[1] - lengths[0]))
    return _Pace(max(0.0, short - image * lengths[0]), image)


def _time(hand: Hand, one: Training, folder: Path, changes: Mapping[str, Any]) -> float:
    begun = time.monotonic()
    with redirect_stderr(io.StringIO()):  # its progress would read as if the experiment had begun
        hand.train(one, folder, changes)
    return time.monotonic() - begun


# --- prospects ---


def _prospects(plan: Plan, assumed: Assumptions) -> Iterator[Prospect]:
    experiment = plan.experiment
    role, spec = experiment.data.judged
    judged = PackRows(plan.manifests[role], spec.split, spec.where, experiment.findings)
    train = experiment.data.train
    known = PackRows(plan.manifests["train"], train.split, train.where, experiment.findings)
    labels, patients = judged.label_matrix(), [str(one) for one in judged.manifest["patient_id"][judged.rows]]
    positives = dict(zip(experiment.findings, known.count(1), strict=True))
    family = len(experiment.findings) * len(_compared(plan))
    columns: dict[str, Any] = {name: labels[:, k] for k, name in enumerate(experiment.findings)}
    if len(experiment.findings) > 1:
        columns["macro"] = labels
    for name, column in columns.items():
        alone, among = (
            planned_effect(column, patients, len(experiment.seeds), count, assumed) for count in (1, family)
        )
        counted = int((~np.isnan(column.reshape(len(column), -1))).any(axis=1).sum())
        yield Prospect(name, positives.get(name, sum(positives.values())), counted, alone, among)


def _compared(plan: Plan) -> set[float]:
    """Fractions at which both arms of the endpoint are trained."""
    endpoint = plan.experiment.endpoint
    ours, theirs = (
        {cell.fraction for cell in plan.cells if cell.arm == arm} for arm in (endpoint.arm, endpoint.reference)
    )
    return ours & theirs
