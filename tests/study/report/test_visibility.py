from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_cxraug.metrics.psychometric import Threshold
from monai_cxraug.study.files import Answer, Reader, Study, Trial, write_answers
from monai_cxraug.study.judgements import Judgements
from monai_cxraug.study.visibility import RATIO, place_of, thresholds
from monai_cxraug.transforms.functional.distortions.catalogue import CATALOGUE, Step, write_steps


def pair(number: int, made: str, role: str = "judged") -> Trial:
    """A pair whose second picture was made so, on either side."""
    sides = {"distortion_first": made} if number % 2 else {"distortion_second": made}
    return Trial(f"t{number}", "jnd", role, first="a", second="b", patient_id="p", **sides)


def judge(trials: list[Trial], different: list[bool], folder: Path) -> Judgements:
    """One reader's answers to pairs."""
    study = Study(folder, {}, tuple(trials))
    rows = [
        Answer(study.identity, "a", one.trial, "different" if yes else "same")
        for one, yes in zip(trials, different, strict=True)
    ]
    write_answers(folder, rows, [Reader("a")])
    return Judgements.collect(study, [folder])


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_the_range_goes_from_zero_to_one_both_ways(name: str) -> None:
    one = CATALOGUE[name]
    for share in (0, 0.3, 1):
        strength = one.at(share)
        assert place_of(one, strength) == pytest.approx(share, abs=0.02)
        assert place_of(one, one.opposite(strength)) == pytest.approx(share, abs=0.02)


def test_pairs_are_counted_by_group_and_by_distortion(tmp_path: Path) -> None:
    blurs = [f"gaussian_blur {sigma}" for sigma in (0.5, 0.7, 1, 1.5, 2, 3)]
    trials = [pair(k, text) for k, text in enumerate([*blurs, "motion_blur 4 ", "jpeg 30"])]
    trials += [pair(20, "", "sentinel"), pair(21, "", "sentinel"), pair(22, "", "training")]
    said = [False, False, False, True, True, True, True, True, False, True, True]
    judgements = judge(trials, said, tmp_path)
    found = thresholds(judgements, ["a"], trials[:8])
    assert [(one["name"], one["single"], one["pairs"]) for one in found] == [
        ("blur", False, 7),
        ("gaussian_blur", True, 6),
    ]
    assert found[0]["guesses"] == 0.5  # two sentinels, one of them called different; training does not count
    assert sum(point[2] for point in found[1]["points"]) == 6
    assert [point[1] for point in found[1]["points"]] == [0, 1, 2]
    assert found[1]["ends"] == [0.5, 3]


def test_the_true_threshold_is_found_in_the_unit_of_the_distortion(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    jpeg, truth = CATALOGUE["jpeg"], Threshold(RATIO**0.4, 3.0, 0.0)
    shares = rng.random(600)
    trials = [pair(k, write_steps([Step("jpeg", jpeg.at(share))])) for k, share in enumerate(shares)]
    places = np.array([place_of(jpeg, jpeg.at(share)) for share in shares])
    judgements = judge(trials, (rng.random(600) < truth.share(RATIO**places)).tolist(), tmp_path)
    single = thresholds(judgements, ["a"], trials)[1]
    assert single["name"] == "jpeg"
    assert single["threshold"] == pytest.approx(0.4, abs=0.05)
    assert single["strength"] == pytest.approx(jpeg.at(0.4), abs=2)
    assert single["guesses"] is None
    assert len(single["points"]) == 5


@pytest.mark.parametrize(
    "made",
    ["gaussian_blur 1 + jpeg 30", "network denoiser #7", "autoencoder", "gaussian_blur x", "lightness 0", "negative"],
)
def test_only_one_distortion_of_the_catalogue_counts(made: str, tmp_path: Path) -> None:
    trials = [pair(k, made) for k in range(8)]
    assert thresholds(judge(trials, [True] * 8, tmp_path), ["a"], trials) == []


def test_two_changed_pictures_do_not_count(tmp_path: Path) -> None:
    trials = [
        Trial(f"t{k}", "jnd", "judged", distortion_first="jpeg 30", distortion_second="jpeg 50") for k in range(8)
    ]
    assert thresholds(judge(trials, [True] * 8, tmp_path), ["a"], trials) == []


def test_readers_who_call_the_same_different_have_no_threshold(tmp_path: Path) -> None:
    trials = [pair(k, f"gaussian_blur {0.5 + 0.2 * k:g}") for k in range(10)] + [pair(10, "", "sentinel")]
    found = thresholds(judge(trials, [True] * 11, tmp_path), ["a"], trials[:10])
    assert found[0]["guesses"] == 1
    assert found[0]["threshold"] is None
