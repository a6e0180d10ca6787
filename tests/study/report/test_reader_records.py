from __future__ import annotations

from pathlib import Path

import pytest

from monai_cxraug.errors import ConfigError
from monai_cxraug.study.files import Answer, Reader, Study, write_answers
from monai_cxraug.study.judgements import Judgements
from monai_cxraug.study.reader_records import ReaderRecord, describe_readers, kept, required_sentinels
from tests.study.report.studies import make_study


@pytest.fixture
def small(tmp_path: Path) -> Study:
    return make_study(tmp_path / "study", choices=6, pairs=2, singles=2, sentinels=5, repeats=3)


def describe(study: Study, folder: Path, given: dict[str, str], **about: object) -> ReaderRecord:
    """Record of one reader who gives the named answers."""
    rows = [
        Answer(study.identity, "r", trial, text, reaction_ms=100.0 * k) for k, (trial, text) in enumerate(given.items())
    ]
    write_answers(folder, rows, [Reader("r", **about)])  # type: ignore[arg-type]
    return describe_readers(Judgements.collect(study, [folder]))[0]


def sentinels(study: Study, right: int) -> dict[str, str]:
    """Answers to all sentinels, so many of them right, and one that counts."""
    asked = [one for one in study.trials if one.role == "sentinel"]
    other = {"left": "right", "right": "left"}
    given = {one.trial: one.expected if k < right else other[one.expected] for k, one in enumerate(asked)}
    return {study.trials[0].trial: "left", **given}


@pytest.mark.parametrize(("right", "reason"), [(5, ""), (4, ""), (3, "sentinels"), (0, "sentinels")])
def test_four_of_five_sentinels_are_enough(right: int, reason: str, small: Study, tmp_path: Path) -> None:
    record = describe(small, tmp_path, sentinels(small, right))
    assert (record.sentinels, record.sentinels_right, record.excluded) == (5, right, reason)
    assert kept([record]) == ([] if reason else ["r"])


def test_the_study_may_ask_for_more_or_less(tmp_path: Path) -> None:
    strict = make_study(tmp_path / "study", choices=2, sentinels=5, repeats=0, least_sentinels=1.0)
    assert describe(strict, tmp_path, sentinels(strict, 4)).excluded == "sentinels"
    odd = make_study(tmp_path / "odd", choices=2, least_sentinels=80)
    write_answers(tmp_path, [], [])
    with pytest.raises(ConfigError, match="share"):
        required_sentinels(Judgements.collect(odd, [tmp_path]))


def test_a_reader_without_answers_is_left_out_and_one_without_sentinels_counts(small: Study, tmp_path: Path) -> None:
    assert describe(small, tmp_path, {}).excluded == "no answers"
    only = next(one.trial for one in small.trials if one.role == "sentinel")
    assert describe(small, tmp_path, {only: "left"}).excluded == "no answers"
    assert describe(small, tmp_path, {small.trials[0].trial: "left"}).excluded == ""


def test_a_repeat_is_turned_back(small: Study, tmp_path: Path) -> None:
    repeats = [one for one in small.trials if one.role == "repeat"]
    given = {}
    for one, (first, again) in zip(repeats, [("left", "right"), ("right", "left"), ("left", "left")], strict=True):
        given |= {one.repeat_of: first, one.trial: again}
    record = describe(small, tmp_path, given)
    assert (record.repeats, record.repeats_same) == (3, 2)
    assert record.repeats_kappa == pytest.approx(0.4)  # agreed 2/3, chance 2/3 * 1/3 + 1/3 * 2/3 = 4/9


def test_sides_times_and_roles(small: Study, tmp_path: Path) -> None:
    given = {one.trial: "left" for one in small.trials if one.task == "2afc" and one.role == "judged"}
    record = describe(small, tmp_path, given, role="radiologist", years=7)
    assert (record.sides, record.left) == (6, 6)
    assert record.left_p == pytest.approx(2 / 64)
    assert record.reaction_ms == pytest.approx(300)  # 100 to 500; 0 is none
    assert (record.role, record.years, record.simulated) == ("radiologist", 7, False)
    assert describe(small, tmp_path, given, simulated=1).simulated
    assert describe(small, tmp_path, given, role="simulated").simulated
