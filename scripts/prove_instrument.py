"""Does the instrument tell the truth? python scripts/prove_instrument.py [--part PART] [--simulations N] [--out FILE]

Plays comparisons whose true answer is known, counts how often the verdict is false, how often a planted effect is found
and how often intervals hold the truth, and prints a table in Markdown. The table of ``docs/instrument.md`` is made by
it. Every case has its random seed, fixed before the first run: its place in the list.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

from monai_cxraug.artifacts import atomic_path
from monai_cxraug.metrics.comparison import compare, estimate
from monai_cxraug.metrics.power import Assumptions, planned_effect

Floats = NDArray[np.float64]

_AUROC: Final = 0.8
_COMPARISONS: Final = 3
_PILOTS: Final = 200


@dataclass(frozen=True)
class Case:
    """Networks that do not exist: what their scores are made of. Variances are shares of the score's variance of 1.

    Args:
        name: what the table calls it.
        patients: how many.
        images: mean number of images a patient, geometric; 1 for exactly one.
        positives: positive images of each finding. Illness belongs to the patient by 70 %, so that a patient with
            several images often has positive and negative ones.
        seeds: training seeds of each arm.
        findings: averaged to a macro mean where more than 1.
        unknown: share of labels that are unknown.
        recipe: variance that all networks of an arm share and the other arm has not: the arms find different patients
            hard, though neither is better.
        network: variance that each trained network has of its own.
        resemblance: share of each of these, and of what all networks share, that belongs to the patient.
        seed_sd: standard deviation over seeds of the true AUROC of an arm's networks.
        effect: the truth: ``none``, the ``planned`` detectable effect, or the one ``printed`` after a run.
        bootstrap: replicates of the bootstrap over patients and seeds, judged in place of the interval; 0 for none.
    """

    name: str
    patients: int = 200
    images: float = 1.0
    positives: int = 30
    seeds: int = 3
    findings: int = 1
    unknown: float = 0.0
    recipe: float = 0.1
    network: float = 0.3
    resemblance: float = 0.5
    seed_sd: float = 0.01
    effect: str = "none"
    bootstrap: int = 0


@dataclass(frozen=True)
class Cohort:
    """Who is judged: labels ``[n, K]`` before any is forgotten, those that are known, patient of each image ``[n]``."""

    truth: Floats
    labels: Floats
    patients: NDArray[np.intp]

    @property
    def names(self) -> list[str]:
        """The patients' names."""
        return [str(number) for number in self.patients]


@dataclass(frozen=True)
class Row:
    """One line of the proof: how often something happened in many simulations, and how often it should.

    Attributes:
        part: of the proof.
        case: name of the case.
        question: what was counted.
        count: how often it happened.
        simulations: of how many.
        wanted: the rate it should have.
        at_least: whether a higher rate is as good.
    """

    part: str
    case: str
    question: str
    count: int
    simulations: int
    wanted: float
    at_least: bool = False

    @property
    def rate(self) -> float:
        """Share of the simulations in which it happened."""
        return self.count / self.simulations

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the rate (Clopper and Pearson 1934)."""
        found = binomtest(self.count, self.simulations).proportion_ci(0.95)
        return float(found.low), float(found.high)

    @property
    def holds(self) -> bool:
        """Whether the interval contains the wanted rate, or lies above it where that is as good."""
        low, high = self.interval
        return (self.at_least or low <= self.wanted) and high >= self.wanted


FALSE_VERDICT: Final = "false verdict"
COVERED: Final = "interval of the difference holds the truth"
AREA_COVERED: Final = "interval of the arm's AUROC holds the truth"
FOUND: Final = "effect found"
PLANNED_FOUND: Final = f"effect found at 5 % / {_COMPARISONS}"


def cases() -> list[Case]:
    """The cases of simulated predictions, in the order that gives them their seeds."""
    one, two, three, five = (Case(f"{seeds} seeds", seeds=seeds) for seeds in (1, 2, 3, 5))
    one = replace(one, name="1 seed", seed_sd=0)  # one seed speaks for its networks, so their AUROC is the truth
    rare, clustered = {"positives": 15}, {"images": 3.0, "positives": 60}
    macro = {"findings": 3, "images": 2.0, "unknown": 0.1}
    same = []
    for base in (one, two, three, five):
        same += [base, *_variants(base, rare=rare, clustered=clustered, macro=macro)]
        if base.seeds > 1:
            same += _variants(base, retrained={"recipe": 0, **clustered}, unsteady={"seed_sd": 0.03, **clustered})
    planted = []
    for effect in ("planned", "printed"):
        for base in (one, three, five):
            plain = replace(base, name=f"{base.name}, {effect} effect", effect=effect, patients=600, positives=150)
            planted += [plain, *_variants(plain, clustered={"images": 2.0}, retrained={"recipe": 0, "images": 2.0})]
    drawn = [replace(case, name=f"{case.name}, bootstrap", bootstrap=400) for case in (one, three, five)]
    return [*same, *planted, *drawn]


def _variants(base: Case, **changes: dict[str, Any]) -> list[Case]:
    return [replace(base, name=f"{base.name}, {name}", **change) for name, change in changes.items()]


def draw_cohort(case: Case, rng: np.random.Generator) -> Cohort:
    """Draw patients, their images and their illnesses."""
    sizes = rng.geometric(1 / case.images, case.patients)
    patients = np.repeat(np.arange(case.patients), sizes)
    ill = math.sqrt(0.7) * rng.normal(size=(case.patients, case.findings))[patients]
    ill += math.sqrt(0.3) * rng.normal(size=(len(patients), case.findings))
    truth = (np.argsort(np.argsort(-ill, axis=0), axis=0) < case.positives).astype(np.float64)
    known = rng.random(truth.shape) >= case.unknown
    return Cohort(truth, np.where(known, truth, np.nan), patients)


def draw_scores(
    case: Case, cohort: Cohort, effect: float, rng: np.random.Generator
) -> tuple[Floats, tuple[float, float]]:
    """Draw the scores of both arms' networks: normal, with what they share and what they do not.

    Returns:
        Scores ``[2, S, n, K]`` of the better arm and the reference, and their true AUROC: of the mean network, or
        with one seed of this network.
    """
    seeds, findings = case.seeds, case.findings
    pieces = [(1 - case.recipe - case.network, (1, 1)), (case.recipe, (2, 1)), (case.network, (2, seeds))]
    noise = sum(math.sqrt(share) * _field(case, cohort, shape, rng) for share, shape in pieces)
    height = norm.ppf(_AUROC)  # of the reference; the AUROC of a binormal score with distance d is Phi(d / sqrt 2)
    wander = math.sqrt(2) * case.seed_sd / norm.pdf(height)
    means = norm.ppf([_AUROC + effect, _AUROC]) * math.sqrt(2 + wander**2)
    distance = means[:, None, None] + wander * rng.normal(size=(2, seeds, findings))
    own = norm.cdf(distance / math.sqrt(2)).mean(axis=(1, 2))
    scores: Floats = noise + distance[:, :, None, :] * cohort.truth
    return scores, (float(own[0]), float(own[1])) if seeds == 1 else (_AUROC + effect, _AUROC)


def _field(case: Case, cohort: Cohort, shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    own = rng.normal(size=(*shape, case.patients, case.findings))[:, :, cohort.patients]
    each = rng.normal(size=(*shape, *cohort.truth.shape))
    field: Floats = math.sqrt(case.resemblance) * own + math.sqrt(1 - case.resemblance) * each
    return field


def simulate(case: Case, simulations: int, seed: int) -> list[Row]:
    """Play one case many times.

    Args:
        case: what is true.
        simulations: how many times.
        seed: of all that is drawn.

    Returns:
        A row for each question that the case answers.
    """
    rng = np.random.default_rng(seed)
    level = 0.05 / _COMPARISONS if case.effect == "planned" else 0.05
    printed = _printed_effect(case, rng) if case.effect == "printed" else 0.0
    verdicts, covered, area_covered = 0, 0, 0
    for _ in range(simulations):
        cohort = draw_cohort(case, rng)
        effect = _planned_effect(case, cohort) if case.effect == "planned" else printed
        scores, truth = draw_scores(case, cohort, effect, rng)
        labels, patients = cohort.labels, cohort.names
        found = compare(scores[0], scores[1], labels, patients, case.bootstrap, seed)
        area = estimate(scores[0], labels, patients, case.bootstrap, seed)
        interval, area_interval = found.interval, area.interval
        if case.bootstrap:
            interval, area_interval = found.bootstrap_interval, area.bootstrap_interval
        verdicts += _leaves_out(interval, 0) if case.bootstrap else found.p < level
        covered += not _leaves_out(interval, truth[0] - truth[1])
        area_covered += not _leaves_out(area_interval, truth[0])
    rows = [(AREA_COVERED, area_covered, 0.95, False)]
    if case.effect == "none":  # where a false verdict and an interval that misses the truth are one and the same
        rows.insert(0, (FALSE_VERDICT, verdicts, 0.05, False))
    else:
        found_at = PLANNED_FOUND if case.effect == "planned" else FOUND
        rows = [(found_at, verdicts, 0.8, True), (COVERED, covered, 0.95, False), *rows]
    return [
        Row("predictions", case.name, question, int(count), simulations, wanted, at_least)
        for question, count, wanted, at_least in rows
    ]


def _leaves_out(interval: tuple[float, float] | None, value: float) -> bool:
    """Whether an interval does not hold a value; one that could not be given leaves out nothing."""
    return interval is not None and not interval[0] <= value <= interval[1]


def _planned_effect(case: Case, cohort: Cohort) -> float:
    correlation = 1 - case.recipe - case.network
    shared = case.recipe / (case.recipe + case.network)
    assumed = Assumptions(_AUROC, correlation, case.resemblance, case.seed_sd, shared)
    planned = planned_effect(cohort.labels, cohort.names, case.seeds, _COMPARISONS, assumed)
    if planned.effect is None:
        raise SystemExit(f"{case.name}: {planned.reason}")
    return planned.effect


def _printed_effect(case: Case, rng: np.random.Generator) -> float:
    """Median of what runs print as their minimum detectable effect when the arms do not differ."""
    printed = []
    for _ in range(_PILOTS):
        cohort = draw_cohort(case, rng)
        scores, _ = draw_scores(case, cohort, 0.0, rng)
        printed.append(compare(scores[0], scores[1], cohort.labels, cohort.names, 0).detectable)
    return float(np.median(printed))


def prove_on_predictions(simulations: int) -> Iterable[Row]:
    """Play all cases of simulated predictions."""
    for seed, case in enumerate(cases()):
        yield from simulate(case, simulations, seed)


#: parts of the proof by name; each makes its rows from the number of simulations.
PARTS: Final[dict[str, Callable[[int], Iterable[Row]]]] = {"predictions": prove_on_predictions}


def as_markdown(rows: Sequence[Row]) -> str:
    """The table: one line a case and question, in the order they were played."""
    lines = ["| Case | Question | Rate | 95 % interval | Wanted | |", "|---|---|---|---|---|---|"]
    for row in rows:
        low, high = row.interval
        wanted = f"{'≥ ' if row.at_least else ''}{100 * row.wanted:.0f} %"
        rate = f"{100 * row.rate:.1f} % | {100 * low:.1f} – {100 * high:.1f} %"
        verdict = "holds" if row.holds else "**below**" if row.rate < row.wanted else "**above**"
        lines.append(f"| {row.case} | {row.question} | {rate} | {wanted} | {verdict} |")
    return "\n".join(lines) + "\n"


def read_rows(path: Path) -> list[Row]:
    """Rows of a file that this script wrote."""
    return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]


def main(arguments: Sequence[str]) -> int:
    """Run the parts asked for, print and write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=sorted(PARTS), action="append", help="default: all")
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--out", type=Path, help="JSON file to write; rows of other parts in it stay")
    options = parser.parse_args(arguments)
    rows = []
    for part in options.part or sorted(PARTS):
        for row in PARTS[part](options.simulations):
            rows.append(row)
            print(as_markdown([row]).splitlines()[-1], flush=True)
    if options.out:
        kept = read_rows(options.out) if options.out.exists() else []
        played = {row.part for row in rows}
        table = [asdict(row) for row in kept if row.part not in played] + [asdict(row) for row in rows]
        with atomic_path(options.out) as temporary:
            temporary.write_text(json.dumps({"rows": table}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
