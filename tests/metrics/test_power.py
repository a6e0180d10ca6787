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
