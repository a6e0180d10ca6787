"""A/A comparisons whose arms are really retrained: python -m scripts.prove_on_phantoms [--workers W] [--out FILE]

Each simulation is a whole comparison: two arms of three networks each, trained from scratch on radiographs of phantom
patients, answer on fresh phantom patients with several images each, and the package compares them. Where both arms have
one recipe there is nothing to find, and every verdict is false. Where one trains for fewer steps, the true difference
is the mean of all simulations, and intervals should hold it.

A comparison speaks about the training images it had, as a real run does. For the A/A comparisons they are drawn anew in
every simulation, both arms and all seeds of it having the same; for the comparison of two recipes they are the same
throughout, so that there is one truth. All random seeds are fixed below.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monai_cxraug.artifacts import write_json
from monai_cxraug.data.sources.phantom.exposure import render
from monai_cxraug.data.sources.phantom.population import sample_population
from monai_cxraug.metrics.comparison import Difference, Estimate, compare, estimate
from scripts.prove_instrument import AREA_COVERED, COVERED, FALSE_VERDICT, Row, as_markdown
from scripts.train_many import Networks, Recipe, patches

Floats = NDArray[np.float64]

FINDINGS: Final = ("Cardiomegaly", "Effusion", "Emphysema")
SIDE: Final = 16
_PREVALENCE: Final = dict.fromkeys(FINDINGS, 0.2)
#: images from which training sets are drawn, those of one training set, and those of a test set.
_POOL, _TRAINING, _TEST = 3000, 300, 160
#: seeds: of the pool, the first test set, the draw of training sets, and the first network.
_POOL_SEED, _TEST_SEED, _DRAW_SEED, _NETWORK_SEED = 5_000_000, 6_000_000, 7, 80_000_000
SEEDS: Final = 3
_CHUNK: Final = 20
_REPLICATES: Final = 400
#: recipe of both arms, and that of the arm that trains for fewer steps.
RECIPE, SHORTER = Recipe(120), Recipe(80)


@dataclass(frozen=True)
class Cohort:
    """Images of patients.

    Args:
        seen: ``[n, HW / 4, 9]`` patches of the images.
        labels: ``[n, K]`` of 1 and 0.
        patients: ``[n]`` names.
    """

    seen: Tensor
    labels: Floats
    patients: list[str]


def draw_cohort(images: int, seed: int) -> Cohort:
    """Draw and radiograph new patients, one to six images each."""
    studies = sample_population(images, seed, FINDINGS, _PREVALENCE)
    pictures = torch.from_numpy(np.stack([render(study, SIDE, seed) for study in studies]))
    labels = np.array([[name in study.findings for name in FINDINGS] for study in studies], dtype=np.float64)
    return Cohort(patches(pictures), labels, [study.patient_id for study in studies])


def choose_training(pool: Cohort, simulation: int) -> Tensor:
    """Rows of the pool that one simulation trains on: whole patients, in random order, until there are enough."""
    rng = np.random.default_rng([_DRAW_SEED, simulation])
    names = np.array(pool.patients)
    order = {name: rank for rank, name in enumerate(rng.permutation(sorted(set(pool.patients))))}
    ranks = np.array([order[name] for name in names])
    return torch.from_numpy(np.argsort(ranks, kind="stable")[:_TRAINING])


def train_arm(pool: Cohort, rows: Sequence[Tensor], simulations: Sequence[int], arm: int, recipe: Recipe) -> Networks:
    """Train one arm of several simulations, ``SEEDS`` networks each, one simulation after the other.

    Args:
        pool: images to train on.
        rows: those of each simulation.
        simulations: their numbers; with ``arm`` they give the networks their seeds.
        arm: number of the arm; other arms, other seeds.
        recipe: how to train.

    Returns:
        The trained networks.
    """
    seeds = [_NETWORK_SEED + (simulation * 10 + arm) * 10 + s for simulation in simulations for s in range(SEEDS)]
    networks = Networks(seeds, SIDE, len(FINDINGS))
    labels = torch.from_numpy(pool.labels).float()
    networks.train(pool.seen, labels, torch.stack(rows).repeat_interleave(SEEDS, dim=0), recipe)
    return networks


@dataclass(frozen=True)
class Play:
    """One simulated comparison: scores ``[2, S, n, K]`` of its arms, labels ``[n, K]``, patient of each image."""

    scores: Floats
    truth: Floats
    patients: list[str]

    def arm(self, arm: int, seeds: int, finding: int | None) -> Floats:
        """Scores of one arm for the macro mean (None) or one finding."""
        chosen: Floats = self.scores[arm, :seeds]
        return chosen if finding is None else chosen[..., finding]

    def labels(self, finding: int | None) -> Floats:
        """Labels for the macro mean (None) or one finding."""
        return self.truth if finding is None else self.truth[:, finding]

    def compare(self, seeds: int, finding: int | None, replicates: int = 0) -> Difference:
        """Compare the arms as the package does."""
        pair = [self.arm(arm, seeds, finding) for arm in (0, 1)]
        return compare(pair[0], pair[1], self.labels(finding), self.patients, replicates)

    def estimate(self, arm: int, seeds: int, finding: int | None) -> Estimate:
        """Measure one arm as the package does."""
        return estimate(self.arm(arm, seeds, finding), self.labels(finding), self.patients, 0)


@cache
def _pool() -> tuple[Cohort, Tensor]:
    """Images to train on, and the rows of the training set that is the same throughout."""
    pool = draw_cohort(_POOL, _POOL_SEED)
    return pool, choose_training(pool, 0)


def play_some(numbers: range) -> list[tuple[Play, Play]]:
    """Play some simulations.

    Args:
        numbers: which; all that is drawn for one depends on its number alone.

    Returns:
        Of each, the A/A comparison (training images of its own), and the shorter recipe against the recipe (the one
        training set), judged on the same fresh patients.
    """
    torch.set_num_threads(1)
    pool, fixed = _pool()
    own, shared = [choose_training(pool, number) for number in numbers], [fixed] * len(numbers)
    arms = [train_arm(pool, own, numbers, arm, RECIPE) for arm in (0, 1)]
    arms += [train_arm(pool, shared, numbers, arm, recipe) for arm, recipe in ((2, SHORTER), (3, RECIPE))]
    played = []
    for place, number in enumerate(numbers):
        cohort = draw_cohort(_TEST, _TEST_SEED + number)
        mine = slice(place * SEEDS, (place + 1) * SEEDS)
        scores = np.stack([arm(cohort.seen, mine).double().numpy() for arm in arms])
        played.append(tuple(Play(pair, cohort.labels, cohort.patients) for pair in (scores[:2], scores[2:])))
    return played


def play(simulations: int, workers: int) -> Iterator[tuple[Play, Play]]:
    """Play simulations in several processes; how many changes nothing."""
    parts = [range(first, min(first + _CHUNK, simulations)) for first in range(0, simulations, _CHUNK)]
    with ProcessPoolExecutor(workers, get_context("spawn")) as processes:
        for done, part in enumerate(processes.map(play_some, parts), start=1):
            print(f"{done}/{len(parts)} parts", file=sys.stderr, flush=True)
            yield from part


# --- what is asked ---

_Judge = Callable[[Play, int | None], bool]


def _by_package(one: Play, finding: int | None, seeds: int) -> bool:
    return one.compare(seeds, finding).p < 0.05


def _by_bootstrap(one: Play, finding: int | None, seeds: int) -> bool:
    interval = one.compare(seeds, finding, _REPLICATES).bootstrap_interval
    return interval is not None and not interval[0] <= 0 <= interval[1]


def _by_images(one: Play, finding: int | None, ensemble: bool) -> bool:
    """DeLong's test as if every image were a patient: of the first seed, or of the mean of the seeds' probabilities."""
    chances = 1 / (1 + np.exp(-one.scores))
    kept = chances.mean(axis=1, keepdims=True) if ensemble else chances[:, :1]
    return Play(kept, one.truth, [str(number) for number in range(len(one.patients))]).compare(1, finding).p < 0.05


#: the package's interval, and what else is done in its place.
JUDGES: Final[dict[str, _Judge]] = {
    "3 seeds": partial(_by_package, seeds=3),
    "2 seeds": partial(_by_package, seeds=2),
    "instead: one seed, every image a patient (DeLong)": partial(_by_images, ensemble=False),
    "instead: mean of 3 seeds' probabilities, every image a patient (DeLong)": partial(_by_images, ensemble=True),
    "instead: one seed, images by patient": partial(_by_package, seeds=1),
    "instead: bootstrap over patients and 3 seeds": partial(_by_bootstrap, seeds=3),
}
QUESTIONS: Final[dict[str, int | None]] = {"macro mean of three findings": None, FINDINGS[0]: 0}


def count(plays: Sequence[tuple[Play, Play]]) -> tuple[list[Row], dict[str, Any]]:
    """Count, and describe what the networks were like."""
    null, effect = zip(*plays, strict=True)
    rows = []
    for judge, decide in JUDGES.items():
        for question, finding in QUESTIONS.items():
            false = sum(decide(one, finding) for one in null)
            rows.append(Row("retrained", f"{question}, {judge}", FALSE_VERDICT, false, len(null), 0.05))
    for question, finding in QUESTIONS.items():
        for seeds in (3, 2):
            rows += _covered(effect, f"{question}, {seeds} seeds, other recipe", finding, seeds)
    return rows, {question: _describe(null, effect, finding) for question, finding in QUESTIONS.items()}


def _covered(plays: Sequence[Play], case: str, finding: int | None, seeds: int) -> list[Row]:
    """How often intervals hold the mean of all simulations, which is the truth but for a hundredth of a width."""
    found = [one.compare(seeds, finding) for one in plays]
    areas = [one.estimate(1, seeds, finding) for one in plays]
    rows = []
    for question, values, intervals in (
        (COVERED, [one.difference for one in found], [one.interval for one in found]),
        (AREA_COVERED, [one.auroc for one in areas], [one.interval for one in areas]),
    ):
        truth = float(np.mean(values))
        holds = sum(interval is None or interval[0] <= truth <= interval[1] for interval in intervals)
        rows.append(Row("retrained", case, question, holds, len(plays), 0.95))
    return rows


def _describe(null: Sequence[Play], effect: Sequence[Play], finding: int | None) -> dict[str, float]:
    """Means over simulations: what the phantom's networks are like, for comparison with real ones."""
    areas = np.array([[one.estimate(0, 1, finding).auroc for one in (play, _second(play))] for play in null])
    differences = [one.compare(SEEDS, finding) for one in null]
    planted = [one.compare(SEEDS, finding) for one in effect]
    values = {
        "auroc": areas.mean(),
        "sd_between_two_seeds": np.sqrt(np.mean((areas[:, 0] - areas[:, 1]) ** 2) / 2),
        "mean_difference": np.mean([one.difference for one in differences]),
        "sd_of_difference": np.std([one.difference for one in differences], ddof=1),
        "printed_standard_error": np.sqrt(np.mean([one.standard_error**2 for one in differences])),
        "patients": np.mean([len(set(one.patients)) for one in null]),
        "positives": np.mean([one.positives for one in differences]),
        "other_recipe_difference": np.mean([one.difference for one in planted]),
        "other_recipe_found": np.mean([one.p < 0.05 for one in planted]),
        "other_recipe_detectable": np.median([one.detectable for one in planted]),
    }
    return {name: round(float(value), 4) for name, value in values.items()}


def _second(one: Play) -> Play:
    return Play(one.scores[:, 1:], one.truth, one.patients)


def main(arguments: Sequence[str]) -> int:
    """Play, print and write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    rows, about = count(list(play(options.simulations, options.workers)))
    print(as_markdown(rows))
    print("\n".join(f"{question}: {values}" for question, values in about.items()))
    if options.out:
        document = {"rows": [vars(row) for row in rows], "about": about}
        write_json(options.out, "cxraug.instrument/1", document)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
