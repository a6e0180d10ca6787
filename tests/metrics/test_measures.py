"""One finding's measures: scikit-learn's on the images, its weighted ones in replicates, intervals that cover."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    log_loss,
    roc_auc_score,
    roc_curve,
)

from monai_cxraug.errors import InputError, LabelError
from monai_cxraug.metrics.calibration import calibration_error, recalibrate
from monai_cxraug.metrics.measures import (
    NAMES,
    Measures,
    _Weighable,
    measure,
    measure_change,
    measure_groups,
    measure_seeds,
)
from monai_cxraug.metrics.ranks import Ladder
from monai_cxraug.metrics.resampling import patient_weights, percentile_interval, seed_weights


def sample(n: int = 500, seed: int = 0, digits: int = 2, share: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < share).astype(float)
    labels[:2] = 0, 1
    return np.clip(expit(1.5 * rng.normal(size=n) + 1.5 * labels - 1).round(digits), 0.02, 0.98), labels


def by_scikit_learn(probs: np.ndarray, labels: np.ndarray, cut: float, weights: np.ndarray) -> dict[str, float]:
    """The measures that scikit-learn has, weighted; and the best sensitivities on its ROC curve."""
    weighted = {"sample_weight": weights}
    false, true, _ = roc_curve(labels, probs, drop_intermediate=False, **weighted)
    return {
        "auroc": roc_auc_score(labels, probs, **weighted),
        "auprc": average_precision_score(labels, probs, **weighted),
        "sensitivity_90": true[1 - false >= 0.90 - 1e-9].max(),
        "sensitivity_95": true[1 - false >= 0.95 - 1e-9].max(),
        "accuracy": accuracy_score(labels, probs >= cut, **weighted),
        "all_negative": accuracy_score(labels, np.zeros_like(labels), **weighted),
        "balanced_accuracy": balanced_accuracy_score(labels, probs >= cut, **weighted),
        "brier": brier_score_loss(labels, probs, **weighted),
        "log_loss": log_loss(labels, probs, **weighted),
    }


@pytest.mark.parametrize("digits", [1, 2, 15])
@pytest.mark.parametrize("share", [0.03, 0.5, 0.9])
def test_equals_scikit_learn(digits: int, share: float) -> None:
    probs, labels = sample(digits=digits, share=share)
    found = asdict(measure(probs, labels, 0.35))
    for name, value in by_scikit_learn(probs, labels, 0.35, np.ones(len(labels))).items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
    assert found["ece"] == pytest.approx(calibration_error(probs, labels), abs=1e-12)
    assert (found["n"], found["positives"], found["skipped"]) == (500, labels.sum(), 0)
    line = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(logit(probs)[:, None], labels)
    assert found["slope"] == pytest.approx(line.coef_[0, 0], rel=1e-4)
    assert found["intercept"] == pytest.approx(line.intercept_[0], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_replicates_equal_scikit_learn_with_weights(share: float) -> None:
    probs, labels = sample(300, 1, share=share)
    weights = np.random.default_rng(2).poisson(1, (300, 20)).astype(float)
    drawn = dict(zip(NAMES, _Weighable(probs[None], labels, np.array([0.4])).weigh(weights)[0], strict=True))
    for b in range(20):
        for name, value in by_scikit_learn(probs, labels, 0.4, weights[:, b]).items():
            assert drawn[name][b] == pytest.approx(value, abs=1e-12), name
        repeated = np.repeat(np.arange(300), weights[:, b].astype(int))
        error = calibration_error(probs[repeated], labels[repeated])
        assert drawn["ece"][b] == pytest.approx(error, abs=1e-12)


def test_a_newton_step_is_near_the_refit() -> None:
    probs, labels = sample(2000, 3)
    weights = patient_weights([str(k) for k in range(2000)], 50, np.random.default_rng(0))
    slope, intercept = _Weighable(probs[None], labels, np.array([0.4])).weigh(weights.T.astype(float))[0, -2:]
    refits = [recalibrate(np.repeat(probs, row), np.repeat(labels, row)) for row in weights]
    for step, exact in ((slope, [fit.slope for fit in refits]), (intercept, [fit.intercept for fit in refits])):
        assert np.abs(step - exact).max() < 0.25 * np.std(exact)
        assert np.abs(step - exact).mean() < 0.05 * np.std(exact)
        assert np.std(step) == pytest.approx(np.std(exact), rel=0.05)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.0, 1.0])), min_size=1, max_size=12), st.floats(0, 1))
def test_ranked_measures_by_every_threshold(rows: list[tuple[int, float]], wanted: float) -> None:
    """Ties, missing classes and any specificity: the definitions, threshold after threshold."""
    scores, labels = np.array(rows).T
    found = Ladder(scores, labels).weigh(np.ones((len(scores), 1)))
    positive, negative = scores[labels == 1], scores[labels == 0]
    if not len(positive) or not len(negative):
        assert np.isnan([found.areas[0], found.precisions[0], found.sensitivities(wanted)[0]]).all()
        return
    cuts = [*np.unique(scores), 9]
    best = max((positive >= cut).mean() for cut in cuts if (negative < cut).mean() >= wanted - 1e-12)
    assert found.sensitivities(wanted)[0] == pytest.approx(best)
    steps = [((positive == cut).mean(), (positive >= cut).sum() / (scores >= cut).sum()) for cut in cuts[:-1]]
    assert found.precisions[0] == pytest.approx(sum(rise * precision for rise, precision in steps))


def test_unknown_labels_are_counted_and_left_out() -> None:
    probs, labels = sample()
    more, unknown = np.append(probs, [0.9, 0.1, 0.2]), np.append(labels, [np.nan] * 3)
    found, expected = measure(more, unknown), measure(probs, labels)
    assert found.skipped == 3
    assert asdict(found) == {**asdict(expected), "skipped": 3}


def test_a_right_line_and_ones_that_are_wrong_by_a_known_amount() -> None:
    rng = np.random.default_rng(5)
    odds = rng.normal(-1, 1.5, 200_000)
    labels = (rng.random(len(odds)) < expit(odds)).astype(float)
    assert recalibrate(expit(odds), labels) == pytest.approx((0, 1), abs=0.03)
    assert recalibrate(expit(2 * odds), labels) == pytest.approx((0, 0.5), abs=0.03)
    assert recalibrate(expit(odds + 0.7), labels) == pytest.approx((-0.7, 1), abs=0.03)
    assert np.isnan(recalibrate([0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1])).all()  # the likelihood grows without end


def test_what_cannot_be_known_is_nan_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lone = measure([0.2, 0.9], [0, 0])
        assert np.isnan([lone.auroc, lone.auprc, lone.sensitivity_90, lone.balanced_accuracy, lone.slope]).all()
        assert (lone.accuracy, lone.all_negative) == (0.5, 1)
        assert math.isnan(measure([0.2, 0.9], [1, 1]).auprc)
        assert all(math.isnan(getattr(measure([0.3], [np.nan]), name)) for name in NAMES)
        parted = measure([0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1])  # one threshold parts them but for a tie
        assert np.isnan([parted.slope, parted.intercept]).all()
        undecided = measure([0.2, 0.9, 0.3], [0, 1, 1], math.nan)
        assert np.isnan([undecided.accuracy, undecided.balanced_accuracy]).all()
        assert undecided.auroc == 1
        assert math.isfinite(measure([0.0, 1.0, 0.5, 1.0], [1, 0, 0, 1]).slope)


# --- intervals ---


def test_seeds_are_averaged_and_replicates_are_those_of_the_definitions() -> None:
    probs, labels = sample(240, 6)
    table = np.stack([probs, np.clip(probs + 0.08, 0, 0.98), 1 - probs])
    labels[::17] = np.nan
    patients = [f"P{k // 3}" for k in range(240)]
    cuts = (0.4, 0.5, 0.45)
    found = measure_seeds(table, labels, cuts, patients, 40, seed=3)
    each = [measure(row, labels, cut) for row, cut in zip(table, cuts, strict=True)]
    assert (found.n, found.skipped) == (each[0].n, each[0].skipped)
    known = ~np.isnan(labels)
    rng = np.random.default_rng(3)
    images = patient_weights([p for p, keep in zip(patients, known, strict=True) if keep], 40, rng)
    seeds = seed_weights(3, 40, rng)
    drawn = [
        [by_scikit_learn(row[known], labels[known], cut, weights) for row, cut in zip(table, cuts, strict=True)]
        for weights in images
    ]
    for name in drawn[0][0]:
        assert getattr(found, name) == pytest.approx(np.mean([getattr(one, name) for one in each]))
        samples = [
            sum(share * one[name] for share, one in zip(*pair, strict=True)) for pair in zip(seeds, drawn, strict=True)
        ]
        assert found.intervals[name] == pytest.approx(percentile_interval(samples), abs=1e-12)


def test_intervals_cover_the_truth() -> None:
    """100 draws of 80 patients with four like images each: at 95 %, fewer than 88 are rarer than one in 400."""
    truth = measure(*model(np.random.default_rng(0), 50_000), 0.5)
    inside = dict.fromkeys(("auroc", "accuracy", "brier", "log_loss", "slope"), 0)
    for seed in range(100):
        probs, labels = model(np.random.default_rng(seed + 1), 80)
        found = measure_seeds([probs], labels, [0.5], [str(k // 4) for k in range(320)], 150, seed)
        for name in inside:
            low, high = found.intervals[name] or (0.0, 0.0)
            inside[name] += low <= getattr(truth, name) <= high
    assert all(hits >= 88 for hits in inside.values()), inside


def model(rng: np.random.Generator, patients: int) -> tuple[np.ndarray, np.ndarray]:
    odds = np.repeat(rng.normal(-0.3, 1, patients), 4) + 0.5 * rng.normal(size=4 * patients)
    labels = np.repeat(rng.random(patients), 4) < expit(odds)
    return expit(1.3 * odds), labels.astype(float)


def test_blocks_change_nothing_and_no_interval_is_given_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    probs, labels = sample(100, 8)
    patients = [str(k) for k in range(100)]
    whole = measure_seeds([probs], labels, [0.5], patients, 50)
    monkeypatch.setattr("monai_cxraug.metrics.resampling._BLOCK", 700)
    assert measure_seeds([probs], labels, [0.5], patients, 50) == whole
    none = measure_seeds([[0.3, 0.6]], [0, 0], [0.5], ["a", "b"], 50)
    assert none.intervals["auroc"] is None
    assert none.intervals["accuracy"] is not None
    empty = measure_seeds([[0.3]], [np.nan], [0.5], ["a"], 50)
    assert set(empty.intervals.values()) == {None}


# --- small and by hand ---


def small(seeds: int = 2, n: int = 40) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Probabilities [S, n], labels [n] with unknowns, patients [n]."""
    rng = np.random.default_rng(seeds)
    labels = (np.arange(n) % 5 < 2).astype(float)
    probs = np.clip(0.3 + 0.25 * labels + 0.25 * rng.normal(size=(seeds, n)), 0.01, 0.99).round(2)
    labels[::13] = np.nan
    return probs, labels, [f"P{k // 2}" for k in range(n)]


def one_step(probs: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Slope and intercept: from the fit of all images one weighted Newton step, as a system of equations."""
    line, odds = np.array(recalibrate(probs, labels)), logit(probs)
    columns = np.stack([np.ones_like(odds), odds])
    mean = expit(line @ columns)
    gradient, hessian = columns @ (weights * (labels - mean)), (columns * weights * mean * (1 - mean)) @ columns.T
    intercept, slope = line + np.linalg.solve(hessian, gradient)
    return float(slope), float(intercept)


@pytest.mark.parametrize("seeds", [1, 3])
def test_few_replicates_are_those_of_repeated_images(seeds: int) -> None:
    probs, labels, patients = small(seeds)
    cuts = np.linspace(0.4, 0.5, seeds)
    found = measure_seeds(probs, labels, cuts, patients, 60, seed=4)
    each = [measure(row, labels, cut) for row, cut in zip(probs, cuts, strict=True)]
    known = ~np.isnan(labels)
    rng = np.random.default_rng(4)
    images = patient_weights([name for name, keep in zip(patients, known, strict=True) if keep], 60, rng)
    shares = seed_weights(seeds, 60, rng)
    drawn: dict[str, list[float]] = {name: [] for name in NAMES}
    for row, share in zip(images, shares, strict=True):
        repeated = np.repeat(np.flatnonzero(known), row)
        of_seeds = [asdict(measure(one[repeated], labels[repeated], cut)) for one, cut in zip(probs, cuts, strict=True)]
        for k, one in enumerate(probs):
            of_seeds[k]["slope"], of_seeds[k]["intercept"] = one_step(one[known], labels[known], row.astype(float))
        for name in NAMES:
            drawn[name].append(share @ [one[name] for one in of_seeds])
    assert (found.n, found.positives, found.skipped) == (each[0].n, each[0].positives, 4)
    for name in NAMES:
        assert getattr(found, name) == pytest.approx(np.mean([getattr(one, name) for one in each]))
        assert found.intervals[name] == pytest.approx(percentile_interval(drawn[name]), abs=1e-9), name
    assert set(measure_seeds(probs, labels, cuts, patients, 0).intervals.values()) == {None}


def test_a_change_has_the_interval_of_the_paired_differences() -> None:
    probs, labels, patients = small(3)
    ours, theirs = probs[:2], probs[1:]
    change = measure_change(ours, [0.5, 0.4], theirs, [0.45, 0.5], labels, patients, 60, seed=2)
    known = ~np.isnan(labels)
    rng = np.random.default_rng(2)
    images = patient_weights([name for name, keep in zip(patients, known, strict=True) if keep], 60, rng)
    shares, drawn = seed_weights(2, 60, rng), []
    for row, share in zip(images, shares, strict=True):
        repeated = np.repeat(np.flatnonzero(known), row)
        pair = [[measure(one[repeated], labels[repeated]).auroc for one in arm] for arm in (ours, theirs)]
        drawn.append(share @ pair[0] - share @ pair[1])
    assert change["auroc"][1] == pytest.approx(percentile_interval(drawn), abs=1e-12)
    assert change["auroc"][0] == pytest.approx(
        np.mean([measure(one, labels).auroc for one in ours]) - np.mean([measure(one, labels).auroc for one in theirs])
    )
    assert list(change) == list(NAMES)
    one_class = measure_change(ours, [0.5] * 2, theirs, [0.5] * 2, np.zeros(40), patients, 50)
    assert math.isnan(one_class["auroc"][0])
    assert one_class["auroc"][1] is None
    assert one_class["brier"][1] is not None


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=15), st.sampled_from([0.25, 0.5, 1.0])
)
def test_decisions_and_losses_by_counting(rows: list[tuple[int, bool]], cut: float) -> None:
    probs, labels = np.array([step / 20 for step, _ in rows]), np.array([float(ill) for _, ill in rows])
    found = measure(probs, labels, cut)
    said, ill = probs >= cut, labels == 1
    shares = [float(np.mean(part)) if len(part) else math.nan for part in (said[ill], ~said[~ill])]
    assert (found.sensitivity, found.specificity) == pytest.approx(shares, nan_ok=True)
    assert found.balanced_accuracy == pytest.approx(sum(shares) / 2, nan_ok=True)
    assert found.accuracy == pytest.approx(np.mean(said == ill))
    assert found.all_negative == pytest.approx(1 - ill.mean())
    assert found.brier == pytest.approx(np.mean((probs - labels) ** 2))
    inside = np.clip(probs, 1e-9, 1 - 1e-9)
    assert found.log_loss == pytest.approx(-np.mean(labels * np.log(inside) + (1 - labels) * np.log1p(-inside)))
    assert found.ece == pytest.approx(calibration_error(probs, labels))
    assert (found.n, found.positives, found.skipped, found.intervals) == (len(rows), ill.sum(), 0, {})
    assert repr(measure(probs, labels)) == repr(measure(probs, labels, 0.5))


def test_without_weight_of_a_class_there_is_no_line_and_small_weights_are_weights() -> None:
    probs, labels, _ = small()
    known = ~np.isnan(labels)
    probs, labels = probs[0, known], labels[known]
    weights = np.stack([labels, 1 - labels, np.full(len(labels), 1e-3), np.ones(len(labels))], axis=1)
    found = dict(zip(NAMES, _Weighable(probs[None], labels, np.array([0.5])).weigh(weights)[0], strict=True))
    for name in ("slope", "intercept", "auroc", "auprc", "sensitivity_90", "balanced_accuracy"):
        assert np.isnan(found[name]).tolist() == [True, True, False, False], name
        assert found[name][2] == pytest.approx(found[name][3])
    for name in ("accuracy", "brier", "log_loss", "ece", "all_negative"):
        assert np.isfinite(found[name]).all(), name


def test_subgroups_come_in_the_order_of_their_names_and_fit() -> None:
    probs, labels, _ = small()
    found = measure_groups(probs[0], labels, [9, 10] * 20)  # type: ignore[list-item]
    assert list(found) == ["10", "9"]
    with pytest.raises(InputError, match="both be"):
        measure_groups([0.5], [0, 1], ["a", "b"])


def test_numbers_and_names_of_any_kind() -> None:
    probs, labels, patients = small()
    cuts = [0.4, 0.5]
    numbers = [int(name[1:]) for name in patients]
    plain = measure_seeds(probs, labels, cuts, [str(one) for one in numbers], 50)
    objects = [np.array(part, dtype=object) for part in (probs, labels, cuts)]
    assert measure_seeds(*objects, numbers, 50) == plain  # type: ignore[arg-type]
    change = measure_change(objects[0], objects[2], objects[0], objects[2], objects[1], numbers, 50)  # type: ignore[arg-type]
    assert set(change.values()) == {(0.0, (0.0, 0.0))}
    groups = measure_groups(list(probs[0]), list(labels), [k % 2 for k in range(40)])  # type: ignore[misc]
    assert groups == {"0": measure(probs[0, ::2], labels[::2]), "1": measure(probs[0, 1::2], labels[1::2])}


@pytest.mark.parametrize(
    ("probs", "labels", "cuts", "patients"),
    [
        ([0.5, 0.5], [1, 0], [0.5], ["a", "b"]),
        ([[0.5, 0.5]], [1, 0], [0.5, 0.5], ["a", "b"]),
        ([[0.5, 0.5]], [1, 0], [0.5], ["a"]),
        ([[0.5, 0.5]], [[1, 0]], [0.5], ["a", "b"]),
        ([[0.5, 0.5]], [1], [0.5], ["a", "b"]),
        (np.empty((0, 2)), [1, 0], [], ["a", "b"]),
    ],
)
def test_arms_that_do_not_fit_are_refused(probs: object, labels: object, cuts: object, patients: list[str]) -> None:
    with pytest.raises(InputError, match="must fit labels"):
        measure_seeds(probs, labels, cuts, patients, 10)  # type: ignore[arg-type]


# --- subgroups and bad input ---


def test_subgroups_are_measured_alone() -> None:
    probs, labels = sample()
    sex = np.where(np.arange(500) % 3, "F", "M")
    found = measure_groups(probs, labels, list(sex), 0.4)
    assert list(found) == ["F", "M"]
    assert found["M"] == measure(probs[sex == "M"], labels[sex == "M"], 0.4)
    assert sum(one.n for one in found.values()) == 500


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
        measure([1.5], [1])
    with pytest.raises(LabelError):
        measure([0.5], [2])
    with pytest.raises(InputError, match="must fit labels"):
        measure_seeds([[0.5, 0.5]], [1], [0.5], ["a"])
    with pytest.raises(InputError, match="must fit labels"):
        measure_seeds(np.empty((0, 1)), [1], [], ["a"])
    with pytest.raises(InputError, match="one for each label"):
        measure_groups([0.5, 0.4], [0, 1], ["a"])


def test_the_record_holds_every_measure() -> None:
    fields = list(Measures.__dataclass_fields__)
    assert fields == ["n", "positives", "skipped", *NAMES, "intervals"]
    assert Measures(3, 1, 0, *[0.5] * len(NAMES)).intervals == {}


def test_two_thousand_replicates_of_seed_0_unless_told_otherwise() -> None:
    probs, labels, patients = small()
    cuts = [0.4, 0.5]
    assert measure_seeds(probs, labels, cuts, patients) == measure_seeds(probs, labels, cuts, patients, 2000, 0)
    pair = (probs[:1], cuts[:1], probs[1:], cuts[:1], labels, patients)
    assert measure_change(*pair) == measure_change(*pair, 2000, 0)


def test_the_interval_is_the_binomial_one_for_patients_of_one_image() -> None:
    rng = np.random.default_rng(3)
    n = 2000
    probs = (rng.random(n) < 0.8) * 0.8 + 0.1
    found = measure_seeds([probs], np.ones(n), [0.5], [str(k) for k in range(n)], 4000)
    assert found.sensitivity == pytest.approx((probs >= 0.5).mean())
    half = 1.96 * np.sqrt(found.sensitivity * (1 - found.sensitivity) / n)
    assert found.intervals["sensitivity"] == pytest.approx(
        (found.sensitivity - half, found.sensitivity + half), abs=0.002
    )


def test_a_change_is_the_difference_of_two_arms_on_the_same_draws() -> None:
    probs, labels = sample(400, 7)
    patients = [str(k // 2) for k in range(400)]
    ours, theirs = np.stack([probs**0.8, probs**0.7]), np.stack([probs, probs**1.1])
    change = measure_change(ours, [0.5, 0.4], theirs, [0.5, 0.5], labels, patients, 300)
    a, b = (measure_seeds(p, labels, cut, patients, 0) for p, cut in ((ours, [0.5, 0.4]), (theirs, [0.5, 0.5])))
    for name, (value, interval) in change.items():
        assert value == pytest.approx(getattr(a, name) - getattr(b, name), abs=1e-12), name
        assert interval is not None
    assert change["all_negative"] == (0.0, (0.0, 0.0))  # paired: what depends on the images alone does not move
    same = measure_change(ours, [0.5, 0.4], ours, [0.5, 0.4], labels, patients, 300)
    assert set(same.values()) == {(0.0, (0.0, 0.0))}
