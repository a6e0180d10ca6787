import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2, norm, t
from sklearn.metrics import roc_auc_score

from monai_cxraug.errors import InputError, LabelError
from monai_cxraug.metrics import auroc, bootstrap_auroc, compare, estimate, patient_weights, seed_weights
from monai_cxraug.metrics.comparison import Difference, Estimate, Spread
from monai_cxraug.metrics.delong import clustered_delong
from monai_cxraug.metrics.power import detectable_effect, hanley_mcneil

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
    interval = estimate(rows, truth, list(owner), replicates=4000).bootstrap_interval
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
    assert (same.standard_error, same.bootstrap_interval) == (0, (0, 0))


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
        assert result.bootstrap_interval == pytest.approx(plain.bootstrap_interval, abs=1e-12)
        assert (result.n, result.positives, result.skipped) == (plain.n, plain.positives, plain.skipped)
        assert (result.p, result.dof) == (pytest.approx(plain.p), pytest.approx(plain.dof))


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
        "skipped": 0,
        "standard_error": None,
        "dof": None,
        "detectable": None,
        "bootstrap_interval": None,
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
    assert found.bootstrap_interval == pytest.approx(expected)
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


def direct_spread(scores: Floats, labels: Floats, patients: list[str], signs: list[float]) -> tuple[float, float]:
    """Variance and M / S of a signed sum of arms [A, S, n], from the covariance matrix of all networks at once."""
    arms, seeds = scores.shape[:2]
    areas, covariance = clustered_delong(scores.reshape(arms * seeds, -1).T, labels, patients)
    table = np.zeros((seeds, arms * seeds))
    for s, a in np.ndindex(seeds, arms):
        table[s, a * seeds + s] = signs[a]
    between = table @ covariance @ table.T
    apart = between[~np.eye(seeds, dtype=bool)].mean()
    return max(0.0, float(apart)), float((table @ areas).var(ddof=1))


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_variance_is_obuchowskis_and_rocketts(seeds: int) -> None:
    scores, labels, patients = cohort(seeds=seeds, findings=1)
    other = scores + np.random.default_rng(3).normal(size=scores.shape)
    found = compare(other[..., 0], scores[..., 0], labels[:, 0], patients, 0)
    shared, between = direct_spread(np.stack([other, scores])[..., 0], labels[:, 0], patients, [1, -1])
    assert found.standard_error**2 == pytest.approx(shared + between / seeds, rel=1e-9)
    alone = estimate(scores[..., 0], labels[:, 0], patients, 0)
    shared, between = direct_spread(scores[None, ..., 0], labels[:, 0], patients, [1])
    assert alone.standard_error**2 == pytest.approx(shared + between / seeds, rel=1e-9)


def test_one_seed_is_clustered_delong() -> None:
    scores, labels, patients = cohort(seeds=1, findings=1)
    other = scores + np.random.default_rng(3).normal(size=scores.shape)
    pair = np.stack([other[0, :, 0], scores[0, :, 0]], axis=1)
    areas, covariance = clustered_delong(pair, labels[:, 0], patients)
    found = compare(other[..., 0], scores[..., 0], labels[:, 0], patients, 0)
    assert found.difference == pytest.approx(areas[0] - areas[1], abs=1e-14)
    assert found.standard_error**2 == pytest.approx(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])


def test_macro_of_a_finding_twice_is_that_finding() -> None:
    """The findings' spreads are added with what they have in common, also where labels are unknown."""
    scores, labels, patients = cohort(seeds=3, findings=1)
    other = scores + np.random.default_rng(3).normal(size=scores.shape)
    once = compare(other, scores, labels, patients, 0)
    twice = compare(*(np.repeat(arm, 2, axis=2) for arm in (other, scores)), np.repeat(labels, 2, axis=1), patients, 0)
    assert twice.standard_error == pytest.approx(once.standard_error)
    assert (twice.interval, twice.dof) == (pytest.approx(once.interval), pytest.approx(once.dof))
    assert (twice.skipped, twice.positives) == (2 * once.skipped, 2 * once.positives)


def test_interval_p_and_detectable_agree() -> None:
    scores, labels, patients = cohort(seeds=3, findings=1)
    found = compare(scores + 0.3 * np.nan_to_num(labels), scores, labels, patients, 0)
    assert found.interval is not None
    half = t.ppf(0.975, found.dof) * found.standard_error
    assert found.interval == pytest.approx((found.difference - half, found.difference + half))
    assert found.p == pytest.approx(2 * t.sf(found.difference / found.standard_error, found.dof))
    assert (found.p < 0.05) == (found.interval[0] > 0)
    assert found.detectable > half
    assert found.bootstrap_interval is None
    assert found.skipped == np.isnan(labels).sum()


def test_degrees_of_freedom_at_both_ends() -> None:
    """No patients' part: those of the seeds. No seeds' part: those of the patients, here all alike."""
    parts = np.zeros((3, 40, 3))
    values = np.array([0.1, 0.2, 0.6])
    assert Spread.over_patients_and_seeds(values, parts).dof == pytest.approx(2)
    parts[0] = np.random.default_rng(0).choice([-1.0, 1.0], (40, 1))
    spread = Spread.over_patients_and_seeds(np.full(3, 0.1), parts)
    assert spread.dof == pytest.approx(3 * 40)
    assert spread.standard_error == pytest.approx(math.sqrt(40))


def test_seeds_that_agree_by_luck_do_not_make_the_spread_certain() -> None:
    """Patients pull all seeds by 1, and each seed by 2 of its own: the degrees of freedom, put together by hand."""
    own = np.array([[2, -1, -1], [-1, 2, -1], [-1, -1, 2]], dtype=float)
    parts = np.zeros((3, 120, 3))
    parts[0] = np.tile(np.concatenate([1 + own, own - 1]), (20, 1))
    values = np.array([0.1, 0.2, 0.3])
    lucky = Spread.over_patients_and_seeds(values, parts)
    shared = 120 * 1 - 120 * 6 / 3 / 2  # mean product of two seeds: 1 from what they share, -1 from their own
    assert shared == 0
    assert lucky.dof == pytest.approx(2)
    parts[0] += 4 * np.tile([[1.0], [-1]], (60, 1))
    products = parts[0].T @ parts[0]
    shared, each = (products.sum() - np.trace(products)) / 6, np.trace(products) / 3
    squares = parts[0].mean(axis=1) ** 2
    steadied = (2 * 0.01 + each - shared) / 3 / 3
    doubt = shared**2 / (3 * squares.sum() ** 2 / (squares**2).sum()) + steadied**2 / 2
    found = Spread.over_patients_and_seeds(values, parts)
    assert found.dof == pytest.approx((shared + steadied) ** 2 / doubt)
    assert found.standard_error**2 == pytest.approx(shared + 0.01 / 3)


def test_perfect_order_has_an_interval_of_some_width() -> None:
    labels = np.r_[np.ones(12), np.zeros(40)]
    patients = [f"p{i}" for i in range(52)]
    found = estimate(labels[None], labels, patients, 0)
    assert found.interval is not None
    low, high = found.interval
    assert 0.7 < low < 0.95
    assert high == found.auroc == 1
    assert estimate(-labels[None], labels, patients, 0).interval == pytest.approx((0, 1 - low))
    fewer = estimate(labels[None, 8:], labels[8:], patients[8:], 0).interval
    assert fewer is not None
    assert fewer[0] < low


def test_intervals_of_an_arm_stay_within_the_unit_interval() -> None:
    rng = np.random.default_rng(0)
    labels = np.r_[np.ones(6), np.zeros(30)]
    for _ in range(50):
        found = estimate(3 * labels + rng.normal(size=(1, 36)), labels, [f"p{i}" for i in range(36)], 0)
        assert found.interval is not None
        assert 0 <= found.interval[0] < found.auroc <= found.interval[1] <= 1


def test_a_difference_whose_spread_cannot_be_seen_has_no_interval() -> None:
    labels = np.r_[np.ones(5), np.zeros(9)]
    found = compare(labels[None], np.zeros((1, 14)), labels, [f"p{i}" for i in range(14)], 0)
    assert (found.difference, found.interval) == (0.5, None)
    assert math.isnan(found.p)


# --- parts put together by hand ---


def by_hand(values: Floats, parts: Floats) -> tuple[float, float, float]:
    """Standard error, degrees of freedom and detectable difference as the docstrings have them, by loops."""
    seeds = len(values)
    products = np.array([[(parts[..., s] * parts[..., r]).sum() for r in range(seeds)] for s in range(seeds)])
    shared = max(0.0, products[~np.eye(seeds, dtype=bool)].mean())
    squares = np.array([(parts[:, p].mean(axis=-1) ** 2).sum() for p in range(parts.shape[1])])
    patients = 3 * squares.sum() ** 2 / (squares**2).sum() if squares.any() else 3.0
    between, images = values.var(ddof=1), max(0.0, np.trace(products) / seeds - shared)

    def dof(apart: float) -> float:
        return (shared + apart / seeds) ** 2 / (shared**2 / patients + (apart / seeds) ** 2 / (seeds - 1))

    most = max(between * (seeds - 1) / chi2.median(seeds - 1), images)
    if shared + between == 0:
        return 0.0, math.nan, math.nan
    detectable = detectable_effect(math.sqrt(shared + most / seeds), dof(most))
    return math.sqrt(shared + between / seeds), dof(((seeds - 1) * between + images) / seeds), detectable


@settings(max_examples=40)
@given(
    st.integers(0, 10_000), st.sampled_from([2, 3, 5]), st.sampled_from([0.0, 0.3, 3.0]), st.sampled_from([0.0, 1.0])
)
def test_the_spread_is_that_of_the_formulae(seed: int, seeds: int, between: float, shared: float) -> None:
    rng = np.random.default_rng(seed)
    parts = shared * rng.normal(size=(3, 7, 1)) + 0.5 * rng.normal(size=(3, 7, seeds))
    values = between * rng.normal(size=seeds)
    found = Spread.over_patients_and_seeds(values, parts)
    assert (found.standard_error, found.dof, found.detectable) == pytest.approx(
        by_hand(values, parts), rel=1e-9, nan_ok=True
    )
    if found.standard_error:
        assert found.half_width() == pytest.approx(t.ppf(0.975, found.dof) * found.standard_error)
        assert found.p(-0.3) == pytest.approx(2 * t.sf(0.3 / found.standard_error, found.dof))
    alone = Spread.over_patients_and_seeds(values[:1], parts[..., :1])
    squares = (parts[..., 0] ** 2).sum(axis=0)
    assert alone.standard_error == pytest.approx(math.sqrt(squares.sum()))
    assert alone.dof == pytest.approx(3 * squares.sum() ** 2 / (squares**2).sum())
    assert alone.detectable == pytest.approx(detectable_effect(alone.standard_error, alone.dof))


@pytest.mark.parametrize("seeds", [1, 3])
def test_without_any_spread_there_is_none(seeds: int) -> None:
    found = Spread.over_patients_and_seeds(np.full(seeds, 0.25), np.zeros((3, 5, seeds)))
    assert found.standard_error == found.half_width() == 0
    assert math.isnan(found.dof)
    assert math.isnan(found.detectable)
    assert found.p(0.0) == 1
    assert math.isnan(found.p(0.1))


def test_the_interval_of_an_arm_is_symmetric_in_log_odds() -> None:
    scores, labels, patients = cohort(seeds=3, findings=1)
    found = estimate(scores[..., 0], labels[:, 0], patients, 0)
    odds = math.log(found.auroc / (1 - found.auroc))
    half = t.ppf(0.975, found.dof) * found.standard_error / (found.auroc * (1 - found.auroc))
    expected = tuple(1 / (1 + math.exp(-(odds + way * half))) for way in (-1, 1))
    assert found.interval == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("positives", "negatives"), [(3, 20), (20, 3), (5, 9)])
def test_newcombes_end_solves_his_equation(positives: int, negatives: int) -> None:
    labels = np.r_[np.ones(positives), np.zeros(negatives)]
    low, high = estimate(labels[None], labels, [str(k) for k in range(len(labels))], 0).interval or (0, 0)
    assert high == 1
    assert (1 - low) ** 2 == pytest.approx(1.96**2 * hanley_mcneil(low, positives, negatives), rel=1e-6)
    twice = estimate(np.tile(labels, 2)[None], np.tile(labels, 2), [str(k) for k in range(len(labels))] * 2, 0)
    assert twice.interval == pytest.approx((low, high))  # patients count, not images


def test_scores_that_say_nothing_have_an_area_of_one_half_and_no_spread() -> None:
    labels = np.r_[np.ones(5), np.zeros(9)]
    found = estimate(np.zeros((2, 14)), labels, [str(k) for k in range(14)], 0)
    assert (found.auroc, found.interval, found.standard_error) == (0.5, (0.5, 0.5), 0)
    assert math.isnan(found.dof)


@pytest.mark.parametrize(("patients", "given"), [(2, False), (3, True)])
@pytest.mark.parametrize("turned", [False, True])
def test_three_patients_of_each_class_are_needed(patients: int, given: bool, turned: bool) -> None:
    rng = np.random.default_rng(0)
    labels = np.r_[np.ones(2 * patients), np.zeros(40)]
    owners = [str(k // 2) for k in range(len(labels))]
    labels = 1 - labels if turned else labels
    scores = rng.normal(size=(2, 2, len(labels)))
    found = compare(*scores, labels, owners, 0)
    assert (found.interval is not None, not math.isnan(found.p)) == (given, given)
    assert math.isnan(found.standard_error) == math.isnan(found.detectable) == math.isnan(found.dof) == (not given)
    alone = estimate(scores[0], labels, owners, 0)
    assert (alone.interval is not None) == given
    assert math.isnan(alone.standard_error) == math.isnan(alone.dof) == (not given)
    full = np.stack([np.tile([0.0, 1], len(labels) // 2), labels], axis=1)  # the finding that has the fewest decides
    macro = compare(np.repeat(scores[0, ..., None], 2, 2), np.repeat(scores[1, ..., None], 2, 2), full, owners, 0)
    assert (macro.interval is not None) == given


def test_intervals_of_differences_end_at_one() -> None:
    labels = np.r_[np.ones(4), np.zeros(4)]
    good, bad = labels + np.array([0, 0, 0, -1.5, 0, 0, 0, 0]), -labels
    patients = [str(k) for k in range(8)]
    there, back = (
        compare(good[None], bad[None], labels, patients, 0),
        compare(bad[None], good[None], labels, patients, 0),
    )
    assert there.interval is not None
    assert back.interval is not None
    assert there.difference > 0.7
    assert there.interval[1] == -back.interval[0] == 1
    assert 0 < there.interval[0] == -back.interval[1]


def test_what_is_counted() -> None:
    """Images without any known label in a finding that counts are no images; a finding of one class counts nowhere."""
    nan = math.nan
    labels = np.array([[1, 0, nan], [0, 1, 0], [1, nan, nan], [nan, nan, 0], [nan, nan, nan], [0, 0, 0]])
    patients = ["a", "a", "b", "c", "d", "e"]
    scores = np.arange(18.0).reshape(1, 6, 3)
    found = estimate(scores, labels, patients, 0)
    assert (found.n, found.positives, found.patients, found.left_out, found.skipped) == (4, 3, 3, (2,), 5)
    assert (compare(scores, scores, labels, patients, 0).n, compare(scores, scores, labels, patients, 0).skipped) == (
        4,
        5,
    )
    none = estimate(scores, np.where(labels == 1, nan, labels), patients, 0)
    assert (none.n, none.positives, none.left_out, none.interval) == (4, 0, (0, 1, 2), None)


def test_a_finding_that_all_have_counts_nowhere() -> None:
    labels = np.array([[1, 1], [0, 1], [1, 1], [0, math.nan]])
    scores = np.arange(8.0).reshape(1, 4, 2)
    found = estimate(scores, labels, list("abcd"), 0)
    assert (found.left_out, found.n, found.positives, found.skipped) == ((1,), 4, 2, 0)
    assert found.auroc == auroc(scores[0, :, 0], labels[:, 0])
    alone = estimate(scores[..., 1], labels[:, 1], list("abcd"), 0)
    assert (alone.left_out, alone.n, alone.positives, alone.skipped) == ((0,), 3, 3, 1)
    assert math.isnan(alone.auroc)


@pytest.mark.parametrize("bad", [0, 1])
def test_every_arm_and_label_is_checked_without_replicates_too(bad: int) -> None:
    arms = np.zeros((2, 1, 4))
    arms[bad, 0, 2] = np.nan
    with pytest.raises(InputError, match="finite"):
        compare(*arms, [0, 1, 0, 1], list("abcd"), 0)
    with pytest.raises(LabelError, match=r"2\.0"):
        estimate(np.zeros((1, 4)), [0, 1, 2, 0], list("abcd"), 0)


def test_two_thousand_replicates_of_seed_0_unless_told_otherwise() -> None:
    scores, labels, patients = cohort(patients=12, seeds=1, findings=1)
    other = np.random.default_rng(0).normal(size=scores.shape)
    assert estimate(scores, labels, patients) == estimate(scores, labels, patients, 2000, 0)
    assert compare(scores, other, labels, patients) == compare(scores, other, labels, patients, 2000, 0)
    assert Estimate(0.5, None, 1, 1, 1).record()["skipped"] == Difference(0.0, None, 1.0, 1, 1).record()["skipped"] == 0


def test_replicates_mix_drawn_seeds_and_findings() -> None:
    scores, labels, patients = cohort(seeds=2, findings=2)
    labels = np.nan_to_num(labels)
    other = scores + np.random.default_rng(1).normal(size=scores.shape)
    rng = np.random.default_rng(7)
    images, seeds = patient_weights(patients, 200, rng), seed_weights(2, 200, rng)

    def drawn(arm: Floats) -> Floats:
        areas = [[bootstrap_auroc(arm[s, :, k], labels[:, k], images) for k in range(2)] for s in range(2)]
        return (seeds.T * np.mean(areas, axis=1)).sum(axis=0)

    expected = tuple(np.quantile(drawn(other) - drawn(scores), [0.025, 0.975]))
    assert compare(other, scores, labels, patients, 200, seed=7).bootstrap_interval == pytest.approx(expected)
    assert compare(other, scores, labels, patients, 200, seed=8).bootstrap_interval != pytest.approx(expected)


@pytest.mark.parametrize("kind", [object, np.float32])
def test_kinds_of_numbers_and_names(kind: type) -> None:
    scores, labels, patients = cohort(findings=2)
    scores = scores.astype(np.float32).astype(np.float64)
    other = np.ascontiguousarray(scores[::-1])
    numbers = [int(name.split()[1]) for name in patients]
    plain = compare(scores, other, labels, patients, 0)
    assert compare(scores.astype(kind), other.astype(kind), labels.astype(kind), numbers, 0) == plain  # type: ignore[arg-type]
    json.dumps(plain.record(), allow_nan=False)
    assert plain.record()["difference"] == plain.difference
    assert estimate(scores, labels, patients, 0).record()["n"] == plain.n
