"""What is worked out for many arms at once is, to the last bit, what each gives alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.metrics import auroc, compare, estimate, patient_weights, seed_weights
from monai_cxraug.metrics import panel as panel_module
from monai_cxraug.metrics.calibration import log_odds, recalibrate, recalibrate_rows
from monai_cxraug.metrics.comparison import compare_arms, estimate_arm
from monai_cxraug.metrics.panel import Panel, contrast
from monai_cxraug.metrics.ranks import Ladder
from monai_cxraug.metrics.resampling import Draws

RNG = np.random.default_rng(8)
PATIENTS = [f"P{number}" for number in RNG.integers(0, 50, 150)]
LABELS = np.where(RNG.random((150, 2)) < 0.1, np.nan, RNG.random((150, 2)) < 0.3)
ARMS = [(np.nan_to_num(LABELS) + 2 * RNG.random((3, 150, 2))).round(2) for _ in range(3)]  # with ties


@pytest.mark.parametrize("macro", [False, True])
def test_arms_of_one_panel_are_as_if_each_were_alone(macro: bool) -> None:
    part = slice(None) if macro else 0
    labels, tables = LABELS[:, part], [arm[..., part] for arm in ARMS]
    panel = Panel.build(labels, PATIENTS, 80)
    arms = [panel.judge(table) for table in tables]
    for table, arm in zip(tables, arms, strict=True):
        assert estimate_arm(arm) == estimate(table, labels, PATIENTS, 80)
        assert [estimate_arm(one, bootstrap=False) for one in arm.each()] == [
            estimate(table[[s]], labels, PATIENTS, 0) for s in range(3)
        ]
        for other, reference in zip(tables, arms, strict=True):
            assert compare_arms(arm, reference) == compare(table, other, labels, PATIENTS, 80)
    assert compare_arms(arms[0], arms[1], bootstrap=False) == compare(*tables[:2], labels, PATIENTS, 0)


def test_replicates_equal_areas_on_repeated_images() -> None:
    known = ~np.isnan(LABELS[:, 0])
    truth, scores = LABELS[known, 0], ARMS[0][:, known, 0]
    rng = np.random.default_rng(4)
    images = patient_weights([PATIENTS[k] for k in np.flatnonzero(known)], 30, rng)
    seeds = seed_weights(3, 30, rng)
    found = Panel.build(LABELS[:, 0], PATIENTS, 30, seed=4).judge(ARMS[0][..., 0]).replicates
    for b, row in enumerate(images):
        each = [auroc(np.repeat(scores[s], row), np.repeat(truth, row)) for s in range(3)]
        assert found[b] == pytest.approx(np.dot(seeds[b], each), abs=1e-12)


def test_an_arm_is_ranked_and_drawn_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    class Counted(Ladder):
        def __init__(self, scores: NDArray[np.float64], labels: NDArray[np.float64], merge: bool = False) -> None:
            calls.append(1)
            super().__init__(scores, labels, merge)

    monkeypatch.setattr(panel_module, "Ladder", Counted)
    panel = Panel.build(LABELS, PATIENTS, 40)
    arms = [panel.judge(table) for table in ARMS]
    kept = panel.draws._drawn
    for arm in arms:
        estimate_arm(arm)
        for other in arms:
            compare_arms(arm, other)
    assert len(calls) == 3 * 3 * 2  # arms, seeds, findings
    assert panel.draws._drawn is kept


def test_a_panel_without_classes_has_no_areas() -> None:
    panel = Panel.build(np.zeros(6), list("aabbcc"), 20)
    found = estimate_arm(panel.judge(np.random.default_rng(0).random((2, 6))))
    assert (found.interval, found.bootstrap_interval, found.n, found.positives) == (None, None, 6, 0)
    assert np.isnan(found.auroc)
    assert panel.left_out == (0,)


@pytest.mark.parametrize("shape", [(150,), (2, 149), (0, 150), (2, 150, 2)])
def test_scores_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="must fit"):
        Panel.build(LABELS[:, 0], PATIENTS).judge(np.zeros(shape))


def test_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="must fit"):
        Panel.build(LABELS[:-1], PATIENTS)
    with pytest.raises(InputError, match="must fit"):
        Panel.build(np.zeros((150, 1, 1)), PATIENTS)
    panel = Panel.build(LABELS, PATIENTS)
    with pytest.raises(InputError, match="must fit"):
        compare_arms(panel.judge(ARMS[0]), panel.judge(ARMS[1][:2]))


def test_a_contrast_is_the_signed_sum() -> None:
    panel = Panel.build(LABELS, PATIENTS)
    arms = [panel.judge(table) for table in ARMS[:2]]
    areas, parts = contrast(arms, [1.0, -1.0])
    np.testing.assert_array_equal(areas, arms[0].areas - arms[1].areas)
    np.testing.assert_array_equal(parts, arms[0].parts - arms[1].parts)


# --- what is drawn once ---


@pytest.mark.parametrize("block", [10**6, 700])
def test_draws_are_those_of_the_functions(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr("monai_cxraug.metrics.resampling._BLOCK", block)
    rng = np.random.default_rng(6)
    images, seeds = patient_weights(PATIENTS, 25, rng), seed_weights(4, 25, rng)
    draws = Draws(PATIENTS, 25, seed=6)
    for _ in range(2):  # asked again, they are the same
        weights = np.zeros((25, len(PATIENTS)))
        for part, block_weights in draws.blocks():
            assert block_weights.flags.c_contiguous
            weights[part] = block_weights.T
        np.testing.assert_array_equal(weights, images)
        np.testing.assert_array_equal(draws.seeds(4), seeds)


def test_nothing_is_drawn_before_it_is_asked_for() -> None:
    none = Draws(PATIENTS, 0)
    with pytest.raises(ConfigError, match="at least 1"):
        next(none.blocks())
    with pytest.raises(InputError, match="at least one image"):
        Draws([], 5).seeds(1)


# --- several networks at once ---


def test_lines_of_many_networks_are_those_of_each() -> None:
    truth = np.tile([0.0, 1.0, 0.0], 30)
    probs = RNG.random((5, 90))
    probs[1] = np.where(truth == 1, 0.9, 0.2)  # parted: no line
    probs[3] = 0.02 + 0.96 * (0.3 * truth + 0.7 * probs[3])
    probs[4] = 0.3  # one answer to all: no line
    found = recalibrate_rows(log_odds(probs), truth)
    np.testing.assert_array_equal(found, np.array([recalibrate(row, truth) for row in probs]))
    assert np.isnan(found).any(axis=1).tolist() == [False, True, False, False, True]
    assert np.isnan(recalibrate_rows(log_odds(probs), np.ones(90))).all()


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_counting_is_weighing_with_ones(merge: bool, share: float) -> None:
    labels = np.where(RNG.random(80) < 0.1, np.nan, RNG.random(80) < share)
    ladder = Ladder(RNG.random(80).round(1), labels, merge)
    for counted, weighed in zip(ladder.plain, ladder.weigh(np.ones((80, 1))), strict=True):
        np.testing.assert_array_equal(counted, weighed)
