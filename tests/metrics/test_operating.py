from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, recall_score, roc_curve

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.metrics.operating import RATES, Rule, choose_threshold, parse_rule, rates


def sample(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.3).astype(float)
    probs = np.clip(0.35 + 0.2 * labels + 0.2 * rng.normal(size=n), 0, 1).round(2)
    return probs, labels, [f"P{k // 2}" for k in range(n)]


@pytest.mark.parametrize("text", ["youden", "sensitivity=0.95", "specificity=0.9", "threshold=0.5"])
def test_rules_are_read_as_they_are_written(text: str) -> None:
    assert str(parse_rule(text)) == text


@pytest.mark.parametrize("text", ["", "Youden", "youden=1", "sensitivity", "sensitivity=", "sensitivity=1.5", "f1=0.2"])
def test_other_rules_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="must name a rule for thresholds"):
        parse_rule(text)
    with pytest.raises(ConfigError):
        parse_rule(f"{text}=nan")


@pytest.mark.parametrize("seed", range(5))
def test_youden_reaches_the_best_point_of_scikit_learns_curve(seed: int) -> None:
    probs, labels, _ = sample(seed=seed)
    false, true, _ = roc_curve(labels, probs)
    cut = choose_threshold(probs, labels, Rule("youden"))
    found, cleared = (probs[labels == 1] >= cut).mean(), (probs[labels == 0] < cut).mean()
    assert found + cleared - 1 == pytest.approx((true - false).max(), abs=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 0.95, 1.0])
def test_the_highest_threshold_that_finds_enough_and_the_lowest_that_clears_enough(share: float) -> None:
    probs, labels, _ = sample()
    levels = np.unique(probs)
    cut = choose_threshold(probs, labels, Rule("sensitivity", share))
    assert (probs[labels == 1] >= cut).mean() >= share
    higher = [level for level in levels if level > cut]
    assert all((probs[labels == 1] >= (level + 1e-9)).mean() < share for level in higher) or share == 0
    cut = choose_threshold(probs, labels, Rule("specificity", share))
    assert (probs[labels == 0] < cut).mean() >= share or cut == 1.0
    lower = [level for level in levels if level < cut]
    assert all((probs[labels == 0] < level).mean() < share for level in lower) or share == 0


def test_thresholds_lie_between_images_and_unknown_labels_do_not_count() -> None:
    probs, labels = [0.1, 0.2, 0.6, 0.9, 0.5], [0, 0, 1, 1, np.nan]
    assert choose_threshold(probs, labels, Rule("youden")) == pytest.approx(0.4)
    assert choose_threshold(probs, labels, Rule("threshold", 0.3)) == 0.3


def test_a_rule_without_its_classes_has_no_threshold() -> None:
    assert math.isnan(choose_threshold([0.2, 0.4], [1, 1], Rule("youden")))
    assert math.isnan(choose_threshold([], [], Rule("sensitivity", 0.9)))


def test_rates_equal_scikit_learns_and_average_over_seeds() -> None:
    probs, labels, patients = sample()
    other = np.clip(probs + 0.1, 0, 1)
    found = rates([probs, other], [0.5, 0.45], labels, patients, 200)
    each = [(probs >= 0.5).astype(float), (other >= 0.45).astype(float)]
    assert found["accuracy"].value == pytest.approx(np.mean([accuracy_score(labels, e) for e in each]))
    assert found["sensitivity"].value == pytest.approx(np.mean([recall_score(labels, e) for e in each]))
    assert found["specificity"].value == pytest.approx(np.mean([recall_score(1 - labels, 1 - e) for e in each]))
    assert found["brier"].value == pytest.approx(np.mean([((p - labels) ** 2).mean() for p in (probs, other)]))
    for rate in found.values():
        assert rate.interval is not None
        assert rate.interval[0] <= rate.value <= rate.interval[1]


def test_the_interval_is_the_binomial_one_for_patients_of_one_image() -> None:
    rng = np.random.default_rng(3)
    n = 2000
    labels = np.ones(n)
    probs = (rng.random(n) < 0.8) * 0.8 + 0.1
    found = rates([probs], [0.5], labels, [str(k) for k in range(n)], 4000)["sensitivity"]
    assert found.interval is not None
    half = 1.96 * math.sqrt(found.value * (1 - found.value) / n)
    assert found.interval == pytest.approx((found.value - half, found.value + half), abs=0.002)


def test_images_of_one_patient_are_drawn_together() -> None:
    probs, labels, _ = sample(200)
    alone = rates([probs], [0.5], labels, [str(k) for k in range(200)], 500)["accuracy"].interval
    twice = rates([np.tile(probs, 4)], [0.5], np.tile(labels, 4), [str(k % 200) for k in range(800)], 500)
    wider = twice["accuracy"].interval
    assert alone is not None
    assert wider is not None
    assert wider[1] - wider[0] == pytest.approx(alone[1] - alone[0], rel=0.25)


def test_what_cannot_be_known_is_nan() -> None:
    found = rates([[0.2, 0.9]], [math.nan], [0, 1], ["a", "b"], 100)
    assert math.isnan(found["accuracy"].value)
    assert found["accuracy"].interval is None
    assert found["brier"].value == pytest.approx(0.025)
    found = rates([[0.2, 0.9]], [0.5], [1, 1], ["a", "b"], 100)
    assert math.isnan(found["specificity"].value)
    assert all(math.isnan(rate.value) for rate in rates([[0.5]], [0.5], [np.nan], ["a"], 100).values())
    assert tuple(found) == RATES


def test_shapes_must_fit() -> None:
    with pytest.raises(InputError, match="must fit thresholds"):
        rates([[0.5, 0.5]], [0.5], [1.0], ["a"])
    with pytest.raises(InputError, match="must fit thresholds"):
        rates([[0.5]], [0.5, 0.5], [1.0], ["a"])
    with pytest.raises(InputError, match="must fit thresholds"):
        rates([[0.5]], [0.5], [1.0], ["a", "b"])
