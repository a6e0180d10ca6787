"""What the readers said about every distance: scores, ceilings, differences and intervals, as one document."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.metrics import forced_choice as choice
from monai_cxraug.metrics.agreement import fleiss_kappa, pairwise_kappa
from monai_cxraug.metrics.crossed import Crossed, Replicates, Statistic, crossed_weights
from monai_cxraug.metrics.just_noticeable import bootstrap_same_precision, same_precision
from monai_cxraug.study.distances import Distance
from monai_cxraug.study.files import Trial
from monai_cxraug.study.judgements import Judgements, judged
from monai_cxraug.study.reader_records import ReaderRecord, describe_readers, kept, required_sentinels
from monai_cxraug.study.turing import judge_turing
from monai_cxraug.study.visibility import thresholds

Floats = NDArray[np.float64]
ALL: Final = "all"
#: families of distortions, in the order of the page.
FAMILIES: Final = ("traditional", "cnn", "mixed")
#: what the first classifier's plain distance is compared with; decided before any answer was seen.
REFERENCE: Final = "SSIM"
LEVEL: Final = 0.95
#: trials shown on which readers and the distance disagree most.
_SHOWN: Final = 12


@dataclass(frozen=True)
class Draws:
    """How intervals are made.

    Args:
        replicates: bootstrap samples.
        seed: of the draws.
    """

    replicates: int = 2000
    seed: int = 0

    def of(self, readers: int, trials: Sequence[Trial]) -> Crossed:
        """Draw readers, and patients with their trials; the same draws for every distance."""
        rng = np.random.default_rng(self.seed)
        return crossed_weights(readers, [trial.patient_id for trial in trials], self.replicates, rng)


@dataclass
class Analysis:
    """Answers and distances, ready to be compared.

    Args:
        judgements: of all sites.
        draws: how intervals are made.
    """

    judgements: Judgements
    draws: Draws = field(default_factory=Draws)

    def __post_init__(self) -> None:
        """Describe the readers, and leave out those who did not look."""
        self.records: list[ReaderRecord] = describe_readers(self.judgements)
        self.readers = kept(self.records)
        self.choices = self._answered("2afc")
        self.pairs = self._answered("jnd")
        self.votes = self.judgements.votes(self.readers, self.choices)

    @property
    def shares(self) -> Floats:
        """Share of the readers who chose the second image of each forced choice."""
        return choice.vote_shares(self.votes)

    def _answered(self, task: str) -> list[Trial]:
        """Judged trials with an answer of a reader who counts."""
        trials = judged(self.judgements.study, task)
        return [one for one in trials if any(self.judgements.of(reader, one.trial) for reader in self.readers)]

    def document(self, distances: Sequence[Distance]) -> dict[str, Any]:
        """Compare every distance with the readers.

        Args:
            distances: of all judged forced choices and pairs.

        Returns:
            The content of ``results.json`` but for provenance: plain values, None where there is no number.
        """
        study = self.judgements.study
        compared = self._compare(distances)
        document = {
            "title": str(study.info.get("title", "")),
            "study": study.identity,
            "simulated": [one.reader for one in self.records if one.simulated],
            "least_sentinels": required_sentinels(self.judgements),
            "interval": {"level": LEVEL, **asdict(self.draws)},
            "counts": self._counts(),
            "readers": [asdict(record) for record in self.records],
            "distances": [{"name": one.name, "kind": one.kind, "about": dict(one.about)} for one in distances],
            "primary": find_primary(distances, compared),
            "comparisons": compared,
            "forced_choice": self._forced_choice(distances),
            "jnd": self._just_noticeable(distances),
            "thresholds": thresholds(self.judgements, self.readers, self.pairs),
            "turing": judge_turing(self.judgements, self.readers, self.draws),
            "disagreements": self._disagreements(distances),
        }
        return dict(plain(document))

    def _counts(self) -> dict[str, Any]:
        trials = self.judgements.study.trials
        return {
            "readers": len(self.readers),
            "excluded": len(self.records) - len(self.readers),
            "patients": len({one.patient_id for one in [*self.choices, *self.pairs]}),
            "answers": sum(record.answers for record in self.records if not record.excluded),
            "trials": {
                task: sum(one.task == task and one.role == "judged" for one in trials)
                for task in ("2afc", "jnd", "turing")
            },
            "answered": {"2afc": len(self.choices), "jnd": len(self.pairs)},
        }

    # --- forced choice ---

    def _families(self) -> dict[str, list[int]]:
        """Rows of the forced choices of each family that there is, and of all."""
        found = {
            name: [k for k, trial in enumerate(self.choices) if trial.family == name]
            for name in [*FAMILIES, *sorted({trial.family for trial in self.choices} - set(FAMILIES))]
        }
        return {ALL: list(range(len(self.choices))), **found} if self.choices else {}

    def _forced_choice(self, distances: Sequence[Distance]) -> list[dict[str, Any]]:
        found = {name: rows for name, rows in self._families().items() if rows}
        return [self._family(name, rows, distances) for name, rows in found.items()]

    def _family(self, name: str, rows: list[int], distances: Sequence[Distance]) -> dict[str, Any]:
        trials, votes = [self.choices[k] for k in rows], self.votes[:, rows]
        chosen = _sides(distances, trials)
        credit = choice.vote_credits(chosen, choice.vote_shares(votes))
        drawn = self._replicate(chosen, votes, trials)
        return {
            "family": name,
            "trials": len(trials),
            "answers": int((~np.isnan(votes)).sum()),
            "patients": len({trial.patient_id for trial in trials}),
            "oracle": choice.oracle_score(votes),
            "majority_of_others": choice.majority_of_others(votes),
            "one_of_others": choice.one_of_others(votes),
            "fleiss": fleiss_kappa(votes),
            "cohen": pairwise_kappa(votes),
            "scores": [
                {"distance": one.name, "score": float(row.mean())}
                | {"interval": _interval(drawn, k, float(row.mean()))}
                for k, (one, row) in enumerate(zip(distances, credit, strict=True))
            ],
        }

    def _replicate(self, chosen: Floats, votes: Floats, trials: Sequence[Trial]) -> Replicates:
        drawn = self.draws.of(len(votes), trials)
        return drawn.replicate(lambda readers, weights: choice.bootstrap_scores(chosen, votes, readers, weights))

    def _compare(self, distances: Sequence[Distance]) -> list[dict[str, Any]]:
        """Every distance less SSIM, on the same trials and readers, for each family."""
        names = [one.name for one in distances]
        if REFERENCE not in names:
            return []
        against = names.index(REFERENCE)
        rows = []
        for family, places in self._families().items():
            if not places:
                continue
            trials, votes = [self.choices[k] for k in places], self.votes[:, places]
            chosen = _sides(distances, trials)
            scores = choice.vote_credits(chosen, choice.vote_shares(votes)).mean(axis=1)
            drawn = self._replicate(chosen, votes, trials)
            for k, name in enumerate(names):
                if k != against:
                    gap, gaps = float(scores[k] - scores[against]), drawn.map(_less(k, against))
                    rows.append(
                        {"distance": name, "reference": REFERENCE, "family": family, "difference": gap}
                        | {"scores": [float(scores[k]), float(scores[against])]}
                        | {"interval": gaps.interval(gap, LEVEL, -1, 1)}
                    )
        return rows

    def _disagreements(self, distances: Sequence[Distance]) -> list[dict[str, Any]]:
        """Forced choices in which the readers were of one mind and the first classifier, else SSIM, was of another."""
        judge = first_classifier(distances) or next((one for one in distances if one.name == REFERENCE), None)
        if judge is None or not self.choices:
            return []
        credit = choice.vote_credits(choice.sides(*judge.pairs(self.choices)), self.shares)
        gaps = [_gap(judge, trial) for trial in self.choices]
        # what the readers are surest of, then what the distance is surest of
        order = sorted((k for k in range(len(credit)) if credit[k] < 0.5), key=lambda k: (credit[k], -gaps[k]))
        return [
            {"trial": self.choices[k].trial, "distance": judge.name, "share_second": float(self.shares[k])}
            | {"first": judge.first[self.choices[k].trial], "second": judge.second[self.choices[k].trial]}
            | {"readers": int((~np.isnan(self.votes[:, k])).sum()), "family": self.choices[k].family}
            | {"shown": list(self.choices[k].shown)}
            | {"distortions": [self.choices[k].distortion_first, self.choices[k].distortion_second]}
            for k in order[:_SHOWN]
        ]

    # --- just-noticeable differences ---

    def _just_noticeable(self, distances: Sequence[Distance]) -> dict[str, Any] | None:
        if not self.pairs:
            return None
        different = self.judgements.votes(self.readers, self.pairs)
        same = 1 - choice.vote_shares(different)
        drawn = self.draws.of(len(self.readers), self.pairs)
        scores = []
        for one in distances:
            place = one.between(self.pairs)
            score = same_precision(place, same)
            found = drawn.replicate(_precision(place, different))
            scores.append({"distance": one.name, "score": score, "interval": found.interval(score, LEVEL)})
        return {
            "pairs": len(self.pairs),
            "same": choice.mean_known(same),
            "fleiss": fleiss_kappa(different),
            "scores": scores,
        }


def _interval(drawn: Replicates, column: int, estimate: float) -> tuple[float, float] | None:
    return drawn.map(lambda samples: samples[:, column]).interval(estimate, LEVEL)


def _less(one: int, other: int) -> Callable[[Floats], Floats]:
    return lambda samples: samples[:, one] - samples[:, other]


def _precision(place: Floats, different: Floats) -> Statistic:
    return lambda readers, trials: bootstrap_same_precision(place, 1 - choice.vote_shares(different, readers), trials)


def _sides(distances: Sequence[Distance], trials: Sequence[Trial]) -> Floats:
    return np.array([choice.sides(*one.pairs(trials)) for one in distances]).reshape(len(distances), len(trials))


def _gap(judge: Distance, trial: Trial) -> float:
    """How sure a distance is: the difference of both distances over their sum."""
    one, two = judge.first[trial.trial], judge.second[trial.trial]
    return abs(one - two) / (abs(one) + abs(two) or 1)


def first_classifier(distances: Sequence[Distance]) -> Distance | None:
    """The plain distance of the first classifier given."""
    return next((one for one in distances if one.kind == "plain"), None)


def find_primary(distances: Sequence[Distance], compared: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The comparison decided beforehand: the first classifier's plain distance less SSIM, over all families.

    Returns:
        Its row with a verdict: ``closer`` or ``farther`` when the interval leaves zero out, else ``no evidence``.
    """
    judge = first_classifier(distances)
    rows = [row for row in compared if judge and row["distance"] == judge.name and row["family"] == ALL]
    if not rows:
        return None
    interval = rows[0]["interval"]
    verdict = "no evidence"
    if interval and (interval[0] > 0 or interval[1] < 0):
        verdict = "closer" if interval[0] > 0 else "farther"
    return {**rows[0], "verdict": verdict}


def plain(value: Any) -> Any:
    """Turn NaN into None and tuples into lists, all the way down, for JSON."""
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
