"""What each reader did: trials answered, sentinels, repeats, sides; and who is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from monai_cxraug.errors import ConfigError
from monai_cxraug.metrics.agreement import cohen_kappa, share_p
from monai_cxraug.study.files import Answer, Reader, Trial
from monai_cxraug.study.judgements import Judgements

#: share of sentinels that a reader must answer right, where the study does not say; decided before any answer was seen.
LEAST_SENTINELS: Final = 0.8
#: the key of the study's document that may say otherwise.
RULE: Final = "least_sentinels"


@dataclass(frozen=True)
class ReaderRecord:
    """One reader.

    Args:
        reader: code.
        role: as in the table of readers.
        years: of experience; -1 unknown.
        simulated: whether it is a program.
        answers: answers that count.
        sentinels: sentinels answered.
        sentinels_right: of those, right.
        repeats: trials answered twice.
        repeats_same: of those, with the same answer.
        repeats_kappa: Cohen's kappa of both answers; None where it has none.
        sides: forced choices, and among them ``left``.
        left: for the image on the left.
        left_p: two-sided exact p-value of "no side is preferred"; None without forced choices.
        reaction_ms: median time to answer; None without a time.
        excluded: why the reader is left out; "" for those who count: ``sentinels`` or ``no answers``.
    """

    reader: str
    role: str
    years: int
    simulated: bool
    answers: int
    sentinels: int
    sentinels_right: int
    repeats: int
    repeats_same: int
    repeats_kappa: float | None
    sides: int
    left: int
    left_p: float | None
    reaction_ms: float | None
    excluded: str


def required_sentinels(judgements: Judgements) -> float:
    """Share of sentinels that a reader must answer right: the study's own rule, else 80 %.

    Raises:
        ConfigError: the study's document asks for something outside [0, 1].
    """
    least = judgements.study.info.get(RULE, LEAST_SENTINELS)
    if not isinstance(least, int | float) or not 0 <= least <= 1:
        raise ConfigError(f"study.json key {RULE!r}", "must be a share in [0, 1]", repr(least))
    return float(least)


def describe_readers(judgements: Judgements) -> list[ReaderRecord]:
    """Describe every reader of the tables, those without answers too."""
    least = required_sentinels(judgements)
    return [_describe(judgements, reader, least) for reader in judgements.readers]


def kept(records: Sequence[ReaderRecord]) -> list[str]:
    """Codes of the readers who count."""
    return [record.reader for record in records if not record.excluded]


def _describe(judgements: Judgements, reader: Reader, least: float) -> ReaderRecord:
    answered = _answered(judgements, reader.reader)
    counted = [pair for pair in answered if pair[0].role == "judged"]
    sentinels = [trial.expected == answer.answer for trial, answer in answered if trial.role == "sentinel"]
    first, second = _repeats(judgements, reader.reader)
    left = [answer.answer == "left" for trial, answer in counted if trial.task == "2afc"]
    times = [answer.reaction_ms for _, answer in counted if answer.reaction_ms > 0]
    return ReaderRecord(
        reader=reader.reader,
        role=reader.role,
        years=reader.years,
        simulated=bool(reader.simulated) or reader.role == "simulated",
        answers=len(counted),
        sentinels=len(sentinels),
        sentinels_right=sum(sentinels),
        repeats=len(first),
        repeats_same=sum(one == two for one, two in zip(first, second, strict=True)),
        repeats_kappa=_known(cohen_kappa(first, second)),
        sides=len(left),
        left=sum(left),
        left_p=_known(share_p(sum(left), len(left))),
        reaction_ms=float(np.median(times)) if times else None,
        excluded=_reason(len(counted), sum(sentinels), len(sentinels), least),
    )


def _reason(answers: int, right: int, sentinels: int, least: float) -> str:
    if not answers:
        return "no answers"
    # in whole numbers: 0.8 of 5 sentinels are 4, whatever 4 / 5 is in floating point
    return "sentinels" if right < least * sentinels - 1e-9 else ""


def _answered(judgements: Judgements, reader: str) -> list[tuple[Trial, Answer]]:
    found = ((trial, judgements.of(reader, trial.trial)) for trial in judgements.study.trials)
    return [(trial, answer) for trial, answer in found if answer]


def _repeats(judgements: Judgements, reader: str) -> tuple[list[float], list[float]]:
    """Both votes of every trial answered twice; a repeat shows a pair the other way round, which is turned back."""
    asked = {trial.trial: trial for trial in judgements.study.trials}
    pairs = [
        (asked[again.repeat_of], again)
        for again in judgements.study.trials
        if again.role == "repeat" and again.repeat_of in asked
    ]
    votes = [(_vote(judgements, reader, one), _vote(judgements, reader, two)) for one, two in pairs]
    both = [
        (one, 1 - two if trial.task == "2afc" else two)
        for (one, two), (trial, _) in zip(votes, pairs, strict=True)
        if not np.isnan(one + two)
    ]
    return [one for one, _ in both], [two for _, two in both]


def _vote(judgements: Judgements, reader: str, trial: Trial) -> float:
    return float(judgements.votes([reader], [trial])[0, 0])


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
