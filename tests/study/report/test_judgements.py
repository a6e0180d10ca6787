from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from monai_cxraug.errors import CxrAugError, InputError, StateError
from monai_cxraug.study.files import Answer, Reader, Study, read_answers, write_answers
from monai_cxraug.study.judgements import Judgements, judged
from monai_cxraug.study.observers import Observer
from tests.study.report.studies import answer

Edit = Callable[[list[Answer], list[Reader]], None]


def test_votes_are_numbers_by_reader_and_trial(study: Study, answers: Path) -> None:
    judgements = Judgements.collect(study, [answers])
    trials = judged(study, "2afc")
    votes = judgements.votes(["sim-0", "sim-1", "nobody"], trials)
    assert votes.shape == (3, 24)
    assert np.isnan(votes[2]).all()
    for t, trial in enumerate(trials):
        assert votes[0, t] == (judgements.answers["sim-0", trial.trial].answer == "right")
    assert set(judgements.hashes) == {"0 answers.csv", "0 readers.csv"}


def test_answers_of_sites_are_put_together(study: Study, observers: list[Observer], tmp_path: Path) -> None:
    sites = [answer(tmp_path / name, study, some) for name, some in (("a", observers[:2]), ("b", observers[2:]))]
    together = Judgements.collect(study, sites)
    assert [one.reader for one in together.readers] == ["sim-0", "sim-1", "sim-2", "careless"]
    assert len(together.answers) == sum(len(one.answer(study)) for one in observers)
    assert len(together.hashes) == 4


HOSTILE: dict[str, tuple[Edit, type[CxrAugError], str]] = {
    "unknown trial": (lambda a, r: a.append(replace(a[0], trial="t9999")), InputError, "unknown trial"),
    "another study": (lambda a, r: a.append(replace(a[0], study="f" * 64)), StateError, "must answer this study"),
    "twice": (lambda a, r: a.append(a[0]), InputError, "answers a trial once"),
    "an answer of another task": (
        lambda a, r: a.insert(0, replace(a.pop(0), answer="same")),
        InputError,
        "left or right",
    ),
    "unknown reader": (lambda a, r: a.append(replace(a[0], reader="sim-9")), InputError, "must stand in readers.csv"),
    "confidence": (lambda a, r: a.insert(0, replace(a.pop(0), confidence=9)), InputError, "confidence must be"),
    "reader twice": (lambda a, r: r.append(r[0]), InputError, "stands once"),
}


@pytest.mark.parametrize(("edit", "error", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_tables_are_refused_in_one_line(
    edit: Edit, error: type[CxrAugError], message: str, study: Study, answers: Path, tmp_path: Path
) -> None:
    given, people = read_answers(answers)
    edit(given, people)
    write_answers(tmp_path, given, people)
    with pytest.raises(error, match=message) as caught:
        Judgements.collect(study, [tmp_path])
    assert "\n" not in str(caught.value)


def test_the_same_code_at_two_sites_is_refused(study: Study, answers: Path) -> None:
    with pytest.raises(InputError, match="codes of their own"):
        Judgements.collect(study, [answers, answers])


def test_no_folder_is_refused(study: Study) -> None:
    with pytest.raises(InputError, match="at least one folder"):
        Judgements.collect(study, [])
