import math

import numpy as np
import pytest
from scipy.stats import chi2, norm, t

from monai_cxraug.errors import ConfigError, InputError, LabelError
from monai_cxraug.metrics.power import Assumptions, detectable_effect, hanley_mcneil, planned_effect


def cohort(positives: int = 60, negatives: int = 400) -> tuple[np.ndarray, list[str]]:
    """One image a patient."""
    labels = np.r_[np.ones(positives), np.zeros(negatives)]
    return labels, [f"p{i}" for i in range(len(labels))]


@pytest.mark.parametrize("dof", [1.0, 2.7, 9.0, 60.0])
@pytest.mark.parametrize("level", [0.05, 0.05 / 9])
def test_detectable_effect_has_the_power_asked_for(dof: float, level: float) -> None:
    """The power by its definition: the mean over the standard errors there may be."""
    apart, limit = detectable_effect(0.02, dof, level, 0.8) / 0.02, t.ppf(1 - level / 2, dof)
    chances = (np.arange(20_000) + 0.5) / 20_000
    power = norm.sf(limit * np.sqrt(chi2.ppf(chances, dof) / dof) - apart).mean()
    assert power == pytest.approx(0.8, abs=1e-4)


def test_detectable_effect_with_many_degrees_of_freedom_is_the_normal_one() -> None:
    assert detectable_effect(0.01, 1e7) == pytest.approx(0.01 * (norm.ppf(0.975) + norm.ppf(0.8)), rel=1e-5)
    assert math.isnan(detectable_effect(0.0, math.nan))


def test_hanley_mcneil_is_near_the_spread_of_simulated_areas() -> None:
    """Exact for scores whose negatives and positives are exponential: positives x, negatives y, P(x > y) = 0.8."""
    rng = np.random.default_rng(0)
    above, below = rng.exponential(4.0, (4000, 12)), rng.exponential(1.0, (4000, 30))
    areas = (above[:, :, None] > below[:, None]).mean(axis=(1, 2))
    assert areas.mean() == pytest.approx(0.8, abs=0.005)
    assert areas.var() == pytest.approx(hanley_mcneil(0.8, 12, 30), rel=0.08)


def test_planned_effect_of_one_seed_by_hand() -> None:
    labels, patients = cohort()
    error = math.sqrt(2 * (1 - 0.5) * hanley_mcneil(0.8, 60, 400))
    expected = detectable_effect(error, 59)
    assert planned_effect(labels, patients, seeds=1).effect == pytest.approx(expected)
    several = planned_effect(labels, patients, seeds=1, comparisons=4).effect
    assert several == pytest.approx(detectable_effect(error, 59, 0.05 / 4))


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_planned_effect_of_three_seeds_by_hand(share: float) -> None:
    labels, patients = cohort(300, 3000)
    variance = hanley_mcneil(0.8, 300, 3000)
    between = ((1 - share) * variance + 2 * 0.02**2) / 3
    size = share * variance + between
    dof = size**2 / ((share * variance) ** 2 / 299 + between**2 / 2)
    found = planned_effect(labels, patients, 3, assumed=Assumptions(seed_sd=0.02, shared=share))
    assert found.effect == pytest.approx(detectable_effect(math.sqrt(size), dof))


def test_planned_effect_moves_as_it_should() -> None:
    labels, patients = cohort(300, 2000)

    def effect(seeds: int = 3, comparisons: int = 1, **values: float) -> float:
        found = planned_effect(labels, patients, seeds, comparisons, Assumptions(**values)).effect
        assert found is not None
        return found

    assert effect(seeds=5) < effect(seeds=3)
    assert effect(comparisons=3) > effect()
    assert effect(correlation=0.8) < effect()
    assert effect(seed_sd=0.03) > effect()
    assert effect(seeds=8, shared=0.5) > effect(seeds=8, shared=0.1)
    assert effect(auroc=0.9, correlation=0.8) < effect(correlation=0.8)


def test_images_of_one_patient_are_worth_less() -> None:
    labels, patients = cohort(200, 2000)
    pairs = [f"p{i // 2}" for i in range(len(labels))]

    def effect(names: list[str], resemblance: float) -> float:
        found = planned_effect(labels, names, 1, assumed=Assumptions(resemblance=resemblance)).effect
        assert found is not None
        return found

    assert effect(pairs, 0.0) == pytest.approx(effect(patients, 0.0), rel=0.02)  # dof apart
    assert effect(pairs, 1.0) == pytest.approx(math.sqrt(2) * effect(patients, 1.0), rel=0.02)
    assert effect(pairs, 0.0) < effect(pairs, 0.5) < effect(pairs, 1.0)


def test_macro_mean_averages_standard_errors() -> None:
    labels, patients = cohort()
    one = planned_effect(labels, patients, 1).effect
    twice = planned_effect(np.stack([labels, labels], axis=1), patients, 1)
    assert twice.effect == pytest.approx(one)
    assert twice.positives == 120


@pytest.mark.parametrize(
    ("positives", "negatives", "words"),
    [(9, 400, "9 patients with positive"), (400, 9, "9 patients with negative"), (0, 400, "0 patients with positive")],
)
def test_too_few_patients_are_not_estimable(positives: int, negatives: int, words: str) -> None:
    found = planned_effect(*cohort(positives, negatives), seeds=3)
    assert found.effect is None
    assert words in found.reason
    assert found.positive_patients == positives


def test_patients_count_not_images() -> None:
    labels, _ = cohort(60, 400)
    owners = ["one"] * 60 + [f"p{i}" for i in range(400)]
    assert planned_effect(labels, owners, 3).reason.startswith("1 patients with positive")


def test_an_effect_that_no_arm_can_have_is_not_estimable() -> None:
    found = planned_effect(*cohort(12, 100), seeds=2, comparisons=9)
    assert found.effect is None
    assert "0.8 leaves 0.2" in found.reason


def test_unknown_labels_count_for_nothing() -> None:
    labels, patients = cohort()
    more = np.r_[labels, np.full(50, np.nan)]
    names = [*patients, *(f"q{i}" for i in range(50))]
    assert planned_effect(more, names, 3) == planned_effect(labels, patients, 3)


@pytest.mark.parametrize(
    "values",
    [{"auroc": 0.5}, {"auroc": 1.0}, {"correlation": 1.0}, {"resemblance": 1.1}, {"seed_sd": -0.1}, {"shared": 1.5}],
)
def test_assumptions_out_of_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        Assumptions(**values)


def test_bad_input_is_refused() -> None:
    labels, patients = cohort()
    with pytest.raises(ConfigError, match="seeds"):
        planned_effect(labels, patients, 0)
    with pytest.raises(ConfigError, match="comparisons"):
        planned_effect(labels, patients, 1, 0)
    with pytest.raises(ConfigError, match="power"):
        planned_effect(labels, patients, 1, power=1.0)
    with pytest.raises(InputError, match="must fit"):
        planned_effect(labels, patients[:-1], 1)
    with pytest.raises(LabelError):
        planned_effect(labels + 1, patients, 1)


# --- numbers by themselves ---


def test_what_is_assumed_unless_told_otherwise() -> None:
    assert Assumptions() == Assumptions(0.8, correlation=0.5, resemblance=0.5, seed_sd=0.01, shared=0.25)
    assert detectable_effect(0.02, 7) == detectable_effect(0.02, 7, 0.05, 0.8)
    labels, patients = cohort()
    default = planned_effect(labels, patients, 3)
    assert default == planned_effect(labels, patients, 3, 1, Assumptions(), 0.8)
    assert default.reason == ""
    assert (default.positives, default.positive_patients) == (60, 60)
    more = planned_effect(labels, patients, 1, power=0.9).effect
    assert more == pytest.approx(detectable_effect(math.sqrt(hanley_mcneil(0.8, 60, 400)), 59, power=0.9))


@pytest.mark.parametrize(("positives", "negatives"), [(1, 1), (3, 5), (12, 30)])
def test_without_skill_the_variance_is_mann_and_whitneys(positives: int, negatives: int) -> None:
    """(m + n + 1) / 12 m n, as for ranks drawn at random (1947)."""
    expected = (positives + negatives + 1) / (12 * positives * negatives)
    assert hanley_mcneil(0.5, positives, negatives) == pytest.approx(expected)


def test_hanley_and_mcneils_two_terms() -> None:
    """Q1 = A / (2 - A) with many positives, Q2 = 2 A^2 / (1 + A) with many negatives: 0.8 makes 2/3 and 32/45."""
    assert hanley_mcneil(0.8, 1e12, 1) == pytest.approx(2 / 3 - 0.64)
    assert hanley_mcneil(0.8, 1, 1e12) == pytest.approx(32 / 45 - 0.64)
    assert hanley_mcneil(0.8, 1, 1) == pytest.approx(0.16)


@pytest.mark.parametrize(
    "values",
    [
        {"auroc": 0.501},
        {"auroc": 0.999},
        {"correlation": 0.0},
        {"resemblance": 0.0},
        {"resemblance": 1.0},
        {"seed_sd": 0.0},
        {"seed_sd": 0.999},
        {"shared": 0.0},
        {"shared": 1.0},
    ],
)
def test_assumptions_at_the_ends_are_taken(values: dict[str, float]) -> None:
    assert Assumptions(**values) != Assumptions(0.7123)


@pytest.mark.parametrize(
    "values", [{"correlation": -0.01}, {"resemblance": -0.01}, {"seed_sd": 1.0}, {"shared": -0.01}, {"auroc": math.nan}]
)
def test_assumptions_beyond_the_ends_are_not(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        Assumptions(**values)


def test_the_power_lies_above_the_level() -> None:
    labels, patients = cohort()
    assert planned_effect(labels, patients, 1, power=0.06).effect is not None
    assert planned_effect(labels, patients, 1, power=0.99).effect is not None
    for power in (0.05, 0.01, 1.0, 1.5):
        with pytest.raises(ConfigError, match="power"):
            planned_effect(labels, patients, 1, power=power)


def test_ten_patients_are_enough() -> None:
    generous = Assumptions(auroc=0.6, correlation=0.9)
    for shape in ((10, 400), (400, 10)):
        assert planned_effect(*cohort(*shape), seeds=1, assumed=generous).effect is not None


def test_every_image_of_a_patient_counts_less() -> None:
    """Kish's design effect by hand: patients of 1, 2 and 3 images, 10 of each, and negatives of 1 image."""
    sizes = [1, 2, 3] * 10
    patients = [f"p{k}" for k, size in enumerate(sizes) for _ in range(size)]
    labels = np.r_[np.ones(60), np.zeros(100)]
    patients += [f"q{k}" for k in range(100)]
    for resemblance in (0.0, 0.3, 1.0):
        met = 10 * (1 + 4 + 9) / 60
        worth = 60 / (1 + (met - 1) * resemblance)
        error = math.sqrt(2 * (1 - 0.6) * hanley_mcneil(0.75, worth, 100))
        found = planned_effect(labels, patients, 1, assumed=Assumptions(0.75, 0.6, resemblance))
        assert found.effect == pytest.approx(detectable_effect(error, 29))
        assert (found.positives, found.positive_patients) == (60, 30)


def test_a_macro_mean_has_the_mean_error_and_the_freedom_of_the_rarest_finding() -> None:
    labels, patients = cohort(300, 3000)
    rare = np.where(np.arange(3300) < 80, 1.0, 0.0)
    table = np.stack([labels, rare], axis=1)
    table[-30:, 1] = np.nan
    errors = [math.sqrt(hanley_mcneil(0.8, *counts)) for counts in ((300, 3000), (80, 3190))]
    found = planned_effect(table, patients, 1)
    assert found.effect == pytest.approx(detectable_effect(np.mean(errors), 79))
    assert (found.positives, found.positive_patients) == (380, 80)


def test_the_finding_with_the_fewest_patients_of_any_class_decides() -> None:
    labels, patients = cohort(300, 3000)
    common = np.where(np.arange(3300) < 40, 0.0, 1.0)  # 40 patients without it
    found = planned_effect(np.stack([labels, common], axis=1), patients, 1, assumed=Assumptions(correlation=0.9))
    errors = [math.sqrt(0.2 * hanley_mcneil(0.8, *counts)) for counts in ((300, 3000), (3260, 40))]
    assert found.effect == pytest.approx(detectable_effect(np.mean(errors), 39))
    rare = np.where(np.arange(3300) < 9, 0.0, 1.0)
    assert "9 patients with negative" in planned_effect(np.stack([labels, rare], axis=1), patients, 1).reason


def test_an_effect_as_large_as_the_room_is_estimable() -> None:
    labels, patients = cohort()
    auroc = 0.8
    for correlation in np.linspace(0, 0.9, 10):
        found = planned_effect(labels[::2], patients[::2], 1, 50, Assumptions(auroc, float(correlation)))
        error = math.sqrt(2 * (1 - correlation) * hanley_mcneil(auroc, 30, 200))
        effect = detectable_effect(error, 29, 0.05 / 50)
        if effect > 0.2:
            assert found.effect is None
            assert found.reason == f"an effect of {effect:.2f} would be needed, and 0.8 leaves 0.2"
            assert (found.positives, found.positive_patients) == (30, 30)
        else:
            assert found.effect == pytest.approx(effect)


def test_tables_that_do_not_fit_are_refused() -> None:
    labels, patients = cohort()
    for table, names in ((labels[:, None, None], patients), (np.empty(0), []), (np.empty((3, 0)), list("abc"))):
        with pytest.raises(InputError, match="must fit patients, and not be empty"):
            planned_effect(table, names, 1)
    objects = np.array([*labels, None], dtype=object)
    assert planned_effect(objects, [*patients, "q"], 1) == planned_effect(labels, patients, 1)
