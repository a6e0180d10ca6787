from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from monai_cxraug.errors import ConfigError
from monai_cxraug.metrics.operating import Rule, choose_threshold, parse_rule


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
