"""Who answered what: the tables of one or several sites, checked against the study and put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.artifacts import file_hash
from monai_cxraug.errors import InputError, StateError, nearest
from monai_cxraug.study.files import ANSWERS, CHOICES, READERS, Answer, Reader, Study, Trial, read_answers

Floats = NDArray[np.float64]
#: what may stand in ``confidence``.
_CONFIDENCE = range(5)
_Value = Callable[[Answer, Trial], float]


@dataclass(frozen=True)
class Judgements:
    """All answers to one study.

    Args:
        study: what was asked.
        readers: who answered, in the order of the tables.
        answers: by reader and trial.
        hashes: of the tables.
    """

    study: Study
    readers: tuple[Reader, ...]
    answers: Mapping[tuple[str, str], Answer]
    hashes: Mapping[str, str]

    @classmethod
    def collect(cls, study: Study, folders: Sequence[str | Path]) -> Judgements:
        """Read and check the tables of one or several sites.

        Args:
            study: what was asked.
            folders: each with ``answers.csv`` and ``readers.csv``.

        Raises:
            InputError: a table is unreadable, names an unknown trial, reader or answer, or answers a trial twice; two
                sites use the same code for a reader; there is no folder.
            StateError: answers to another study.
        """
        if not folders:
            raise InputError("--answers", "at least one folder of answers is needed", "none")
        readers: dict[str, Reader] = {}
        answers: dict[tuple[str, str], Answer] = {}
        hashes: dict[str, str] = {}
        trials = {trial.trial: trial for trial in study.trials}
        identity = study.identity  # a hash of the whole document: once is enough
        for number, folder in enumerate(map(Path, folders)):
            given, people = read_answers(folder)
            _add_readers(readers, people, folder / READERS)
            local = {reader.reader for reader in people}
            for line, answer in enumerate(given, start=2):
                where = f"{folder / ANSWERS} line {line}"
                _check(answer, identity, trials, local, where)
                if answers.setdefault((answer.reader, answer.trial), answer) is not answer:
                    raise InputError(
                        where, "a reader answers a trial once", f"{answer.reader!r}, {answer.trial!r} again"
                    )
            for name in (ANSWERS, READERS):
                hashes[f"{number} {name}"] = file_hash(folder / name)
        return cls(study, tuple(readers.values()), answers, hashes)

    def of(self, reader: str, trial: str) -> Answer | None:
        """A reader's answer to a trial."""
        return self.answers.get((reader, trial))

    def votes(self, readers: Sequence[str], trials: Sequence[Trial]) -> Floats:
        """Answers as numbers ``[R, T]``: 1 for the second of :data:`CHOICES`, 0 for the first, NaN without one."""
        return self._table(readers, trials, _vote)

    def confidence(self, readers: Sequence[str], trials: Sequence[Trial]) -> Floats:
        """Confidence ``[R, T]``, 1 to 4; 0 where it was not asked or nothing was answered."""
        return np.nan_to_num(self._table(readers, trials, lambda answer, _: float(answer.confidence)))

    def _table(self, readers: Sequence[str], trials: Sequence[Trial], value: _Value) -> Floats:
        table = np.full((len(readers), len(trials)), np.nan)
        for r, reader in enumerate(readers):
            for t, trial in enumerate(trials):
                if answer := self.of(reader, trial.trial):
                    table[r, t] = value(answer, trial)
        return table


def judged(study: Study, task: str) -> list[Trial]:
    """Trials of a task whose answers count."""
    return [trial for trial in study.trials if trial.task == task and trial.role == "judged"]


def _vote(answer: Answer, trial: Trial) -> float:
    return float(CHOICES[trial.task].index(answer.answer))


def _add_readers(readers: dict[str, Reader], people: Sequence[Reader], where: Path) -> None:
    for reader in people:
        if reader.reader in readers:
            mend = "give the readers of each site codes of their own"
            raise InputError(where, "a reader's code stands once in all tables", repr(reader.reader), mend)
        readers[reader.reader] = reader


def _check(answer: Answer, identity: str, trials: Mapping[str, Trial], readers: set[str], where: str) -> None:
    if answer.study != identity:
        rule = f"must answer this study, {identity[:12]}"
        raise StateError(where, rule, f"study {answer.study[:12]!r}", "give the folder that these answers belong to")
    if answer.trial not in trials:
        raise InputError(where, "unknown trial", repr(answer.trial), nearest(answer.trial, trials))
    if answer.reader not in readers:
        raise InputError(where, f"reader must stand in {READERS}", repr(answer.reader), nearest(answer.reader, readers))
    choices = CHOICES[trials[answer.trial].task]
    if answer.answer not in choices:
        raise InputError(where, f"answer must be {' or '.join(choices)}", repr(answer.answer), "export it again")
    if answer.confidence not in _CONFIDENCE:
        raise InputError(where, "confidence must be 0 to 4", answer.confidence, "export it again")
