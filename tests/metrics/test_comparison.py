import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from monai_cxraug.errors import InputError, LabelError
from monai_cxraug.metrics import auroc, bootstrap_auroc, compare, estimate, holm, patient_weights

Floats = NDArray[np.float64]


def cohort(seed: int = 0, patients: int = 60, seeds: int = 2, findings: int = 3) -> tuple[Floats, Floats, list[str]]:
    """Scores [S, n, K], labels [n, K] with unknowns, patients [n]."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    labels = (rng.random((len(owner), findings)) < 0.3).astype(np.float64)
    scores = labels + rng.normal(size=(seeds, *labels.shape))
    labels[rng.random(labels.shape) < 0.1] = np.nan
    return scores, labels, [f"patient {i}" for i in owner]


def clustered(rng: np.random.Generator, patients: int = 80, images: int = 5) -> tuple[Floats, Floats, list[str]]:
    """Labels and most of the noise belong to the patient, so images of one patient hardly add information."""
    sick = (rng.random(patients) < 0.4).astype(np.float64)
    own = rng.normal(scale=math.sqrt(0.8), size=patients)
    scores = np.repeat(sick + own, images) + rng.normal(scale=math.sqrt(0.2), size=patients * images)
    return scores, np.repeat(sick, images), [f"p{i}" for i in range(patients) for _ in range(images)]


def test_point_estimates_are_means_over_seeds_and_findings() -> None:
    scores, labels, patients = cohort()
    areas = [
        [roc_auc_score(labels[known, k], row[known, k]) for k, known in enumerate((~np.isnan(labels)).T)]
        for row in scores
    ]
    macro = estimate(scores, labels, patients, replicates=50)
    assert macro.auroc == pytest.approx(np.mean(areas), abs=1e-12)
    assert macro.positives == np.nansum(labels)
    one = estimate(scores[..., 1], labels[:, 1], patients, replicates=50)
    assert one.auroc == pytest.approx(np.mean(areas, axis=0)[1], abs=1e-12)
    known = ~np.isnan(labels[:, 1])
    assert (one.n, one.positives) == (known.sum(), np.nansum(labels[:, 1]))
    assert one.patients == len({p for p, k in zip(patients, known, strict=True) if k})


def test_interval_equals_a_slow_bootstrap() -> None:
    """Draw patients and seeds one after another, repeat their images, ask scikit-learn."""
    scores, labels, patients = cohort(seeds=3, findings=1)
    known = ~np.isnan(labels[:, 0])
    rows, truth, owner = scores[:, known, 0], labels[known, 0], np.array(patients)[known]
    rng = np.random.default_rng(1)
    names = sorted(set(owner))
    slow = []
    for _ in range(400):
        images = np.concatenate([np.flatnonzero(owner == name) for name in rng.choice(names, len(names))])
        slow.append(np.mean([roc_auc_score(truth[images], rows[s][images]) for s in rng.integers(0, 3, 3)]))
    interval = estimate(rows, truth, list(owner), replicates=4000).interval
    assert interval == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])), abs=0.015)


def test_macro_of_one_finding_is_that_finding() -> None:
    scores, labels, patients = cohort()
    assert estimate(scores[..., :1], labels[:, :1], patients, 100) == estimate(
        scores[..., 0], labels[:, 0], patients, 100
    )


def test_equal_arms_differ_by_nothing() -> None:
    scores, labels, patients = cohort()
    same = compare(scores, scores, labels, patients, 200)
    assert (same.difference, same.interval, same.p) == (0, (0, 0), 1)


def test_swapping_arms_turns_the_sign() -> None:
    scores, labels, patients = cohort()
    better = scores + 0.5 * np.nan_to_num(labels)
    there, back = compare(better, scores, labels, patients, 300), compare(scores, better, labels, patients, 300)
    assert there.interval is not None
    assert there.difference > 0
    assert back.difference == pytest.approx(-there.difference)
    assert back.interval == pytest.approx((-there.interval[1], -there.interval[0]))
    assert back.p == there.p


def test_pairing_narrows_the_interval() -> None:
    scores, labels, patients = cohort(patients=150, seeds=1, findings=1)
    nearly = scores + np.random.default_rng(5).normal(scale=0.05, size=scores.shape)
    paired = compare(nearly, scores, labels, patients, 400).interval
    alone = estimate(scores, labels, patients, 400).interval
    assert paired is not None
    assert alone is not None
    assert paired[1] - paired[0] < 0.2 * (alone[1] - alone[0])


def test_seeds_widen_the_interval_and_are_drawn_for_both_arms() -> None:
    scores, labels, patients = cohort(patients=200, seeds=1, findings=1)
    good, bad = scores, scores - 0.8 * np.nan_to_num(labels)
    mixed = estimate(np.concatenate([good, bad]), labels, patients, 400).interval
    alone = estimate(np.concatenate([good, good]), labels, patients, 400).interval
    assert mixed is not None
    assert alone is not None
    assert mixed[1] - mixed[0] > 1.5 * (alone[1] - alone[0])
    both = np.concatenate([good, bad])
    assert compare(both, both, labels, patients, 200).interval == (0, 0)


def test_order_of_images_seeds_and_columns_changes_nothing() -> None:
    scores, labels, patients = cohort()
    other = scores + np.random.default_rng(3).normal(size=scores.shape)
    order = np.random.default_rng(4).permutation(len(patients))
    moved = [patients[i] for i in order]
    plain = compare(scores, other, labels, patients, 300)
    shuffled = compare(scores[:, order], other[:, order], labels[order], moved, 300)
    columns = compare(scores[..., [2, 0, 1]], other[..., [2, 0, 1]], labels[:, [2, 0, 1]], patients, 300)
    for result in (shuffled, columns):
        assert result.difference == pytest.approx(plain.difference, abs=1e-12)
        assert result.interval == pytest.approx(plain.interval, abs=1e-12)
        assert (result.p, result.n, result.positives) == (plain.p, plain.n, plain.positives)


def test_findings_with_one_class_are_left_out_and_named() -> None:
    scores, labels, patients = cohort()
    labels[:, 1] = np.where(labels[:, 1] == 1, np.nan, labels[:, 1])
    macro = estimate(scores, labels, patients, 100)
    rest = estimate(scores[..., [0, 2]], labels[:, [0, 2]], patients, 100)
    assert macro.left_out == (1,)
    assert (macro.auroc, macro.interval, macro.n) == (rest.auroc, rest.interval, rest.n)
    assert compare(scores, scores, labels, patients, 100).left_out == (1,)


def test_nothing_to_compare_is_none_not_a_number() -> None:
    scores, _, patients = cohort(findings=1)
    empty = compare(scores, scores, np.zeros((len(patients), 1)), patients, 100)
    assert empty.record() == {
        "difference": None,
        "interval": None,
        "p": None,
        "n": len(patients),
        "positives": 0,
        "left_out": (0,),
    }
    nothing = estimate(scores[..., 0], np.full(len(patients), np.nan), patients, 100)
    assert math.isnan(nothing.auroc)
    assert (nothing.n, nothing.patients) == (0, 0)
    json.dumps(nothing.record(), allow_nan=False)


def test_one_positive_patient_gives_no_interval() -> None:
    scores, labels, patients = cohort(findings=1, seeds=1)
    labels[:] = 0
    labels[3] = 1
    alone = compare(scores, scores + 1, labels, patients, 300)
    assert alone.interval is None
    assert math.isnan(alone.p)


def coverage(interval: Callable[[Floats, Floats, list[str]], tuple[float, float] | None]) -> float:
    rng = np.random.default_rng(2024)
    truth = norm.cdf(1 / math.sqrt(2))  # sick and well scores differ by 1, each with variance 1
    found = [interval(*clustered(rng)) for _ in range(200)]
    return float(np.mean([low <= truth <= high for low, high in filter(None, found)]))


def test_interval_covers_only_when_patients_are_drawn() -> None:
    by_patient = coverage(lambda scores, labels, patients: estimate([scores], labels, patients, 300).interval)
    by_image = coverage(
        lambda scores, labels, patients: estimate([scores], labels, [str(i) for i in range(len(labels))], 300).interval
    )
    assert 0.90 <= by_patient <= 0.99
    assert by_image < 0.80


def test_p_is_uniform_enough_under_no_difference() -> None:
    rng = np.random.default_rng(9)
    rejected = 0
    for _ in range(200):
        scores, labels, patients = clustered(rng, patients=50, images=3)
        noise = rng.normal(scale=0.6, size=(2, len(scores)))
        rejected += compare([scores + noise[0]], [scores + noise[1]], labels, patients, 300).p < 0.05
    assert 0.01 <= rejected / 200 <= 0.10


def test_replicates_use_the_shared_draw() -> None:
    """The interval is that of the primitives, put together by hand for one seed."""
    scores, labels, patients = cohort(seeds=1, findings=1)
    known = ~np.isnan(labels[:, 0])
    kept = [p for p, k in zip(patients, known, strict=True) if k]
    weights = patient_weights(kept, 500, np.random.default_rng(42))
    areas = bootstrap_auroc(scores[0, known, 0], labels[known, 0], weights)
    expected = tuple(np.quantile(areas, [0.025, 0.975]))
    found = estimate(scores[..., 0], labels[:, 0], patients, 500, seed=42)
    assert found.interval == pytest.approx(expected)
    assert found.auroc == auroc(scores[0, :, 0], labels[:, 0])


@pytest.mark.parametrize(
    ("scores", "labels", "patients", "error", "words"),
    [
        (np.zeros(4), np.zeros(4), ["a"] * 4, InputError, "must fit"),
        (np.zeros((1, 4)), np.zeros(3), ["a"] * 4, InputError, "must fit"),
        (np.zeros((1, 4)), np.zeros(4), ["a"] * 3, InputError, "must fit"),
        (np.zeros((0, 4)), np.zeros(4), ["a"] * 4, InputError, "must fit"),
        (np.zeros((1, 4, 1, 1)), np.zeros((4, 1, 1)), ["a"] * 4, InputError, "must fit"),
        (np.full((1, 4), np.nan), np.zeros(4), ["a"] * 4, InputError, "finite"),
        (np.zeros((1, 4)), np.array([0, 1, 2, 0]), ["a"] * 4, LabelError, "2.0"),
    ],
)
def test_bad_input_is_refused(
    scores: Floats, labels: Floats, patients: list[str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        estimate(scores, labels, patients, 10)


def test_arms_of_different_seeds_are_refused() -> None:
    with pytest.raises(InputError, match="must fit"):
        compare(np.zeros((2, 4)), np.zeros((1, 4)), np.array([0, 1, 0, 1]), list("abcd"), 10)


def test_holm_by_hand() -> None:
    # sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04, and the last may not fall below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_keeps_undefined_comparisons_in_the_count() -> None:
    adjusted = holm([0.01, math.nan, None, 0.5])
    assert adjusted[0] == pytest.approx(0.04)
    assert adjusted[3] == 1
    assert all(map(math.isnan, adjusted[1:3]))


def test_holm_of_nothing_and_of_nonsense() -> None:
    assert holm([]) == []
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        holm([0.2, 1.2])
