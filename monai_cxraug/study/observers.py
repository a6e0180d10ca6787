"""Simulated readers who answer by a known distance with noise and slips: they test the analysis, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from monai_cxraug.errors import ConfigError
from monai_cxraug.study.distances import Distance
from monai_cxraug.study.files import CHOICES, Answer, Reader, Study, Trial

#: confidence by how far the evidence is from undecided, in standard deviations.
_SURE = (0.5, 1.0, 1.5)


@dataclass(frozen=True)
class Observer:
    """A reader made of a rule.

    Forced choices follow a Thurstone model (Thurstone, Psychological Review 34, 1927, case V): the image of the smaller
    distance is chosen, normal noise added to the difference of logarithms of the distances. A pair is called different
    when the logarithm of its distance, with noise, exceeds that of the criterion. A radiograph is called synthetic when
    normal evidence about ``+d'/2`` (synthetic) or ``-d'/2`` (real) exceeds zero. On a share of the trials the reader
    slips and guesses.

    Args:
        reader: code.
        distance: what the reader sees; for forced choices and pairs.
        noise: standard deviation of the noise, in natural logarithms of the distance.
        lapses: share of trials answered by chance.
        left: chance of "left" in a slip, for readers who prefer a side.
        criterion: distance from which on a pair looks different; None is the median of all pairs.
        d_prime: of the visual Turing test.
        seed: of the reader's noise.

    Raises:
        ConfigError: a value is out of range.
    """

    reader: str
    distance: Distance
    noise: float = 0.3
    lapses: float = 0.02
    left: float = 0.5
    criterion: float | None = None
    d_prime: float = 1.0
    seed: int = 0
    _tiny: float = field(default=1e-9, repr=False)

    def __post_init__(self) -> None:
        """Check the values."""
        if not self.noise > 0 or not 0 <= self.lapses <= 1 or not 0 <= self.left <= 1:
            found = f"{self.noise}, {self.lapses}, {self.left}"
            raise ConfigError("Observer", "needs noise above 0, lapses and left in [0, 1]", found)

    @property
    def row(self) -> Reader:
        """The reader's row in the table of readers."""
        return Reader(self.reader, role="simulated", simulated=1)

    def chance_of_second(self, trial: Trial) -> float:
        """Probability of "right" in a forced choice: what the noise and the slips make of the distances."""
        right = float(ndtr(self._evidence(trial) / self.noise))
        return (1 - self.lapses) * right + self.lapses * (1 - self.left)

    def answer(self, study: Study, trials: Sequence[Trial] | None = None) -> list[Answer]:
        """Answer trials.

        Args:
            study: what is asked.
            trials: those to answer; None for all but the training trials.

        Returns:
            Answers; equal for equal seeds, whatever the order of the trials.
        """
        asked = [one for one in study.trials if one.role != "training"] if trials is None else list(trials)
        decided = (self.decide(trial) for trial in asked)
        return [replace(one, study=study.identity, position=k) for k, one in enumerate(decided)]

    def decide(self, trial: Trial) -> Answer:
        """Answer one trial; the study and the place in the order are left open."""
        rng = np.random.default_rng([self.seed, *f"{self.reader} {trial.trial}".encode()])
        evidence = self._seen(trial) + rng.normal()
        second = evidence > 0
        if rng.random() < self.lapses:
            second = bool(rng.random() < (1 - self.left if trial.task == "2afc" else 0.5))
        return Answer(
            study="",
            reader=self.reader,
            trial=trial.trial,
            answer=CHOICES[trial.task][int(second)],
            confidence=1 + int(np.searchsorted(_SURE, abs(evidence))) if trial.task == "turing" else 0,
            reaction_ms=float(np.round(rng.lognormal(np.log(1500), 0.4))),
        )

    def _seen(self, trial: Trial) -> float:
        """Evidence for the second answer without noise, in standard deviations of the noise."""
        if trial.task == "turing":
            return self.d_prime * (0.5 if trial.expected == "synthetic" else -0.5)
        if trial.task == "jnd":
            return float(np.log((self.distance.first[trial.trial] + self._tiny) / self._criterion)) / self.noise
        return self._evidence(trial) / self.noise

    def _evidence(self, trial: Trial) -> float:
        one, two = (side[trial.trial] + self._tiny for side in (self.distance.first, self.distance.second))
        return float(np.log(one) - np.log(two))

    @cached_property
    def _criterion(self) -> float:
        if self.criterion is not None:
            return self.criterion
        pairs = [value for name, value in self.distance.first.items() if name not in self.distance.second]
        return float(np.median(pairs)) + self._tiny if pairs else 1.0
