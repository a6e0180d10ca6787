from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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


ROWS = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=12)


@settings(max_examples=80)
@given(ROWS, st.sampled_from([0.0, 0.25, 0.5, 0.75, 0.9, 1.0]))
def test_every_rule_by_trying_every_threshold(rows: list[tuple[int, bool]], share: float) -> None:
    """Ties in every place, probabilities of 0 and 1, and shares that are just reached."""
    probs, labels = np.array([step / 8 for step, _ in rows]), np.array([float(ill) for _, ill in rows])
    if len(set(labels)) < 2:
        return
    levels = sorted(set(probs))
    cuts = [0.0, *((one + two) / 2 for one, two in itertools.pairwise(levels)), 1.0]
    found = {cut: sum(labels[probs >= cut]) / labels.sum() for cut in cuts}
    cleared = {cut: sum(1 - labels[probs < cut]) / (1 - labels).sum() for cut in cuts}
    most = max(found[cut] + cleared[cut] for cut in cuts)
    best = next(cut for cut in cuts if found[cut] + cleared[cut] > most - 1e-9)
    assert choose_threshold(probs, labels, Rule("youden")) == best
    sensitive = choose_threshold(probs, labels, Rule("sensitivity", share))
    assert sensitive == max(cut for cut in cuts if found[cut] >= share - 1e-9)
    specific = choose_threshold(probs, labels, Rule("specificity", share))
    assert specific == min((cut for cut in cuts if cleared[cut] >= share - 1e-9), default=1.0)


@pytest.mark.parametrize("percent", [7, 14, 28, 29, 55, 56, 57, 58])
def test_a_share_that_rounding_spoils_is_reached(percent: int) -> None:
    """55 of 100 are 55 %, though 0.55 * 100 is more than 55, and 1 - 0.45 is more than 0.55."""
    probs = np.arange(100) / 200
    labels = np.ones(100)
    cut = choose_threshold([*probs, 0.9], [*labels, 0], Rule("sensitivity", percent / 100))
    assert (probs >= cut).sum() == percent
    cut = choose_threshold([*probs, 0.9], [*(1 - labels), 1], Rule("specificity", percent / 100))
    assert (probs < cut).sum() == percent


def test_of_equally_good_thresholds_the_lowest_is_taken() -> None:
    """0.9 + 0.2 and 0.4 + 0.7 differ in the last bit alone."""
    probs = np.array([0.1] * 1 + [0.3] * 5 + [0.7] * 4 + [0.1] * 2 + [0.3] * 5 + [0.7] * 3)
    labels = np.array([1.0] * 10 + [0.0] * 10)
    assert choose_threshold(probs, labels, Rule("youden")) == pytest.approx(0.2)


def test_numbers_at_the_ends_of_the_range_are_rules() -> None:
    for number in (0, 1):
        assert parse_rule(f"threshold={number}") == Rule("threshold", number)
    for text in ("threshold=-0.001", "threshold=1.001", "threshold=inf", "specificity=x"):
        with pytest.raises(ConfigError, match=r"my rule: .*one of youden, sensitivity=NUMBER"):
            parse_rule(text, "my rule")
    rule = parse_rule("youden")
    assert rule.name == "youden"
    assert math.isnan(rule.value)


def test_one_class_is_not_enough_for_any_rule_but_a_number() -> None:
    for labels in ([1, 1], [0, 0]):
        for rule in (Rule("youden"), Rule("sensitivity", 0.5), Rule("specificity", 0.5)):
            assert math.isnan(choose_threshold([0.2, 0.4], labels, rule))
        assert choose_threshold([0.2, 0.4], labels, Rule("threshold", 0.7)) == 0.7


def test_a_negative_that_is_sure_cannot_be_cleared() -> None:
    assert choose_threshold([0.2, 1.0, 1.0], [1, 0, 0], Rule("specificity", 0.5)) == 1.0
