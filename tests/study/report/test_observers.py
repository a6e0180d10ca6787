from __future__ import annotations

import numpy as np
import pytest

from monai_cxraug.errors import ConfigError
from monai_cxraug.study.distances import Distance
from monai_cxraug.study.files import CHOICES, Study, Trial
from monai_cxraug.study.observers import Observer
from tests.study.report.studies import known_distance


def trials(task: str, count: int, **about: str) -> tuple[Trial, ...]:
    return tuple(Trial(f"t{k}", task, "judged", **about) for k in range(count))


def only(task: str, first: float, second: float = 0.0, count: int = 8000, **about: str) -> tuple[Study, Distance]:
    """A study of equal trials."""
    asked = trials(task, count, **about)
    names = [one.trial for one in asked]
    study = Study.__new__(Study)
    object.__setattr__(study, "info", {})
    object.__setattr__(study, "trials", asked)
    return study, Distance("d", "pixels", dict.fromkeys(names, first), dict.fromkeys(names, second))


def share(observer: Observer, study: Study) -> float:
    """Share of the second answer."""
    task = study.trials[0].task
    return float(np.mean([one.answer == CHOICES[task][1] for one in observer.answer(study)]))


@pytest.mark.parametrize(
    ("first", "second", "lapses"), [(2.0, 1.0, 0.0), (1.0, 1.3, 0.1), (1.0, 1.0, 0.0), (5, 1, 0.2)]
)
def test_forced_choices_are_as_frequent_as_the_rule_says(first: float, second: float, lapses: float) -> None:
    study, known = only("2afc", first, second)
    observer = Observer("a", known, noise=0.5, lapses=lapses)
    expected = observer.chance_of_second(study.trials[0])
    assert share(observer, study) == pytest.approx(expected, abs=0.02)
    assert (expected > 0.5) == (first > second) or first == second


def test_a_reader_who_only_slips_prefers_a_side() -> None:
    study, known = only("2afc", 9, 1)
    assert share(Observer("a", known, lapses=1.0, left=0.8), study) == pytest.approx(0.2, abs=0.02)


def test_pairs_beyond_the_criterion_look_different() -> None:
    for distance, expected in ((0.5, 0.0), (1.0, 0.5), (2.0, 1.0)):
        study, known = only("jnd", distance)
        assert share(Observer("a", known, noise=0.1, lapses=0, criterion=1.0), study) == pytest.approx(
            expected, abs=0.03
        )


def test_a_blind_reader_cannot_tell_synthetic_images() -> None:
    study, known = only("turing", 0, expected="synthetic")
    assert share(Observer("a", known, d_prime=0.0), study) == pytest.approx(0.5, abs=0.03)
    assert share(Observer("a", known, d_prime=4.0, lapses=0), study) > 0.95
    assert {one.confidence for one in Observer("a", known).answer(study)} == {1, 2, 3, 4}


def test_equal_seeds_answer_alike_and_others_do_not(study: Study) -> None:
    known = known_distance(study)
    one, two, other = (Observer("a", known, seed=k).answer(study) for k in (1, 1, 2))
    assert one == two
    assert one != other
    assert one != Observer("b", known, seed=1).answer(study)
    assert {answer.study for answer in one} == {study.identity}
    assert Observer("a", known).row.simulated == 1


def test_out_of_range_is_refused(study: Study) -> None:
    known = known_distance(study)
    for wrong in ({"noise": 0}, {"lapses": 1.5}, {"left": -1}):
        with pytest.raises(ConfigError, match="noise above 0"):
            Observer("a", known, **wrong)  # type: ignore[arg-type]
