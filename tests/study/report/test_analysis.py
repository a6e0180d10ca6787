from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_cxraug.metrics.forced_choice import forced_choice_score, one_of_others
from monai_cxraug.study.analysis import ALL, Analysis, Draws, find_primary, plain
from monai_cxraug.study.distances import Distance, Pictures, pixel_distances
from monai_cxraug.study.files import Answer, Reader, Study, write_answers
from monai_cxraug.study.judgements import Judgements
from monai_cxraug.study.observers import Observer
from tests.study.report.studies import answer, known_distance, make_study

DRAWS = Draws(200, 3)


@pytest.fixture(scope="module")
def distances(study: Study) -> list[Distance]:
    found, _ = pixel_distances(Pictures(study), study.trials)
    ruler = Distance("net", "plain", found[0].first, found[0].second)  # a classifier that sees as L1 does
    return [*found, ruler]


@pytest.fixture(scope="module")
def document(study: Study, answers: Path, distances: list[Distance]) -> dict[str, Any]:
    return Analysis(Judgements.collect(study, [answers]), DRAWS).document(distances)


def family(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in document["forced_choice"] if one["family"] == name)


def test_the_careless_reader_is_left_out_of_everything(document: dict[str, Any], study: Study) -> None:
    assert [one["reader"] for one in document["readers"] if one["excluded"]] == ["careless"]
    assert document["counts"]["readers"] == 3
    assert document["counts"]["excluded"] == 1
    assert family(document, ALL)["answers"] == 3 * 24
    assert [one["reader"] for one in document["turing"]["readers"]] == ["sim-0", "sim-1", "sim-2"]
    assert document["simulated"] == ["sim-0", "sim-1", "sim-2", "careless"]


def test_scores_are_those_of_the_metric(
    document: dict[str, Any], study: Study, answers: Path, distances: list[Distance]
) -> None:
    judgements = Judgements.collect(study, [answers])
    for name in (ALL, "traditional", "cnn", "mixed"):
        trials = [
            one for one in study.trials if one.role == "judged" and one.task == "2afc" and name in (ALL, one.family)
        ]
        votes = judgements.votes(["sim-0", "sim-1", "sim-2"], trials)
        found = family(document, name)
        assert found["trials"] == len(trials)
        assert found["one_of_others"] == pytest.approx(one_of_others(votes))
        for one, row in zip(distances, found["scores"], strict=True):
            assert row["score"] == pytest.approx(forced_choice_score(*one.pairs(trials), votes))
            assert row["interval"][0] <= row["score"] <= row["interval"][1]
            assert row["score"] <= found["oracle"] + 1e-12


def test_the_primary_comparison_is_the_first_classifier_less_ssim(document: dict[str, Any]) -> None:
    primary, scores = document["primary"], {one["distance"]: one["score"] for one in family(document, ALL)["scores"]}
    assert (primary["distance"], primary["reference"], primary["family"]) == ("net", "SSIM", ALL)
    assert primary["difference"] == pytest.approx(scores["net"] - scores["SSIM"])
    assert primary["interval"][0] < primary["difference"] < primary["interval"][1]
    assert len([one for one in document["comparisons"] if one["family"] == ALL]) == 6


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [([0.01, 0.2], "closer"), ([-0.2, -0.01], "farther"), ([-0.1, 0.1], "no evidence"), (None, "no evidence")],
)
def test_verdicts(interval: list[float] | None, verdict: str) -> None:
    rows = [{"distance": name, "family": ALL, "interval": interval} for name in ("other", "net")]
    found = find_primary([Distance("SSIM", "structure", {}, {}), Distance("net", "plain", {}, {})], rows)
    assert found is not None
    assert (found["distance"], found["verdict"]) == ("net", verdict)
    assert find_primary([Distance("SSIM", "structure", {}, {})], rows) is None


def test_the_document_is_plain_and_repeats(
    document: dict[str, Any], study: Study, answers: Path, distances: list[Distance]
) -> None:
    again = Analysis(Judgements.collect(study, [answers]), DRAWS).document(distances)
    assert json.dumps(again, allow_nan=False) == json.dumps(document, allow_nan=False)
    assert plain({"a": [float("nan"), (1, float("inf"))]}) == {"a": [None, [1, None]]}


def test_disagreements_are_trials_on_the_other_side(document: dict[str, Any]) -> None:
    rows = document["disagreements"]
    assert rows
    for row in rows:
        assert (row["first"] > row["second"]) != (row["share_second"] > 0.5)
        assert len(row["shown"]) == 3
    sure = [abs(row["share_second"] - 0.5) for row in rows]
    assert sure == sorted(sure, reverse=True)


def test_the_score_recovers_the_rule_of_the_readers(tmp_path: Path) -> None:
    """Readers who see one distance agree with it as often as their noise allows, and less with any other."""
    study = make_study(tmp_path / "study", choices=150, pairs=0, singles=0, patients=30, side=24)
    known = known_distance(study, "SSIM")
    readers = [Observer(f"r{k}", known, noise=0.4, lapses=0.05, seed=k) for k in range(12)]
    answer(tmp_path, study, readers)
    found, _ = pixel_distances(Pictures(study), study.trials)
    analysis = Analysis(Judgements.collect(study, [tmp_path]), DRAWS)
    scores = {one["distance"]: one for one in analysis.document(found)["forced_choice"][0]["scores"]}
    chances = np.array([readers[0].chance_of_second(one) for one in analysis.choices])
    expected = np.maximum(chances, 1 - chances).mean()  # of siding with the distance that the readers see
    assert scores["SSIM"]["score"] == pytest.approx(expected, abs=0.02)
    assert scores["SSIM"]["interval"][0] < expected < scores["SSIM"]["interval"][1]
    assert scores["L1"]["score"] < scores["SSIM"]["score"]


# --- little, or nothing ---


def analyse(study: Study, folder: Path, distances: list[Distance]) -> dict[str, Any]:
    return Analysis(Judgements.collect(study, [folder]), DRAWS).document(distances)


def test_no_answers_at_all(study: Study, distances: list[Distance], tmp_path: Path) -> None:
    write_answers(tmp_path, [], [Reader("a")])
    found = analyse(study, tmp_path, distances)
    assert found["forced_choice"] == found["comparisons"] == found["thresholds"] == []
    assert found["jnd"] is found["turing"] is found["primary"] is None
    assert found["readers"][0]["excluded"] == "no answers"


def test_one_reader_has_intervals_over_patients_and_no_others(
    study: Study, observers: list[Observer], distances: list[Distance], tmp_path: Path
) -> None:
    found = analyse(study, answer(tmp_path, study, observers[:1]), distances)
    row = found["forced_choice"][0]
    assert row["one_of_others"] is row["majority_of_others"] is row["fleiss"] is None
    assert row["oracle"] == 1
    assert row["scores"][0]["interval"] is not None


def test_ties_everywhere_are_chance(study: Study, answers: Path) -> None:
    names = [one.trial for one in study.trials]
    flat = Distance("flat", "structure", dict.fromkeys(names, 1.0), dict.fromkeys(names, 1.0))
    found = analyse(study, answers, [flat])
    row = found["forced_choice"][0]["scores"][0]
    assert row["score"] == 0.5
    assert row["interval"] == [0.5, 0.5]
    assert found["jnd"]["scores"][0]["score"] == pytest.approx(found["jnd"]["same"])


def test_pairs_that_all_look_different_have_no_precision(
    study: Study, distances: list[Distance], tmp_path: Path
) -> None:
    asked = [one for one in study.trials if one.task == "jnd"]
    rows = [Answer(study.identity, "a", one.trial, "different") for one in asked]
    write_answers(tmp_path, rows, [Reader("a")])
    found = analyse(study, tmp_path, distances)
    assert {one["score"] for one in found["jnd"]["scores"]} == {None}
    assert {str(one["interval"]) for one in found["jnd"]["scores"]} == {"None"}
    assert found["forced_choice"] == []
