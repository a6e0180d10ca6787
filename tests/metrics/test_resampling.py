import numpy as np
import pytest

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.metrics import bootstrap_p, patient_weights, percentile_interval, seed_weights
from monai_cxraug.metrics.resampling import patient_weight_blocks


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def test_images_go_with_their_patient() -> None:
    patients = ["b", "a", "b", "c", "a", "b"]
    weights = patient_weights(patients, 300, rng())
    assert weights.shape == (300, 6)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, 0], weights[:, 5])
    np.testing.assert_array_equal(weights[:, 1], weights[:, 4])
    np.testing.assert_array_equal(weights[:, [0, 1, 3]].sum(axis=1), 3)


def test_counts_are_multinomial() -> None:
    weights = patient_weights([f"p{i}" for i in range(20)], 20_000, rng())
    assert weights.mean() == 1
    assert weights[:, 3].var() == pytest.approx(20 * (1 / 20) * (19 / 20), rel=0.05)
    assert np.cov(weights[:, 0], weights[:, 1])[0, 1] == pytest.approx(-1 / 20, abs=0.02)


def test_order_of_images_changes_nothing() -> None:
    patients = [f"p{i % 7}" for i in range(30)]
    order = np.random.default_rng(0).permutation(30)
    shuffled = patient_weights([patients[i] for i in order], 50, rng())
    np.testing.assert_array_equal(shuffled, patient_weights(patients, 50, rng())[:, order])


@pytest.mark.parametrize("block", [1, 7, 50, 51, None])
def test_blocks_are_the_same_draws(block: int | None) -> None:
    patients = [f"p{i % 7}" for i in range(30)]
    whole, generator = patient_weights(patients, 50, rng()), rng()
    np.testing.assert_array_equal(np.concatenate([*patient_weight_blocks(patients, 50, generator, block)]), whole)
    after = rng()
    patient_weights(patients, 50, after)
    assert generator.random() == after.random()


def test_blocks_have_the_size_asked_for() -> None:
    patients = [f"p{i % 7}" for i in range(30)]
    assert [len(part) for part in patient_weight_blocks(patients, 50, rng(), 20)] == [20, 20, 10]
    assert [len(part) for part in patient_weight_blocks(patients, 50, rng())] == [50]
    assert all(part.dtype == np.int32 for part in patient_weight_blocks(patients, 5, rng(), 2))


def test_blocks_of_four_megabytes_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    patients = [str(i) for i in range(1000)]
    assert [len(part) for part in patient_weight_blocks(patients, 2500, rng())] == [1000, 1000, 500]
    monkeypatch.setattr("monai_cxraug.metrics.resampling._BLOCK", 999)
    assert [len(part) for part in patient_weight_blocks(patients, 3, rng())] == [1, 1, 1]


def test_one_replicate_is_enough_to_draw() -> None:
    assert patient_weights(["a", "b"], 1, rng()).shape == (1, 2)


def test_two_seeds_are_drawn() -> None:
    weights = seed_weights(2, 4000, rng())
    assert weights.shape == (4000, 2)
    assert (weights[:, 0] == 0.5).mean() == pytest.approx(0.5, abs=0.03)


def test_names_of_any_kind_are_patients() -> None:
    tens = [10, 9, 10, 2]  # as names 10 comes before 2
    np.testing.assert_array_equal(
        patient_weights(tens, 20, rng()),  # type: ignore[arg-type]
        patient_weights(["10", "9", "10", "2"], 20, rng()),
    )
    numbers = [3, 1, 3, 2]
    named = patient_weights([str(one) for one in numbers], 20, rng())
    np.testing.assert_array_equal(patient_weights(numbers, 20, rng()), named)  # type: ignore[arg-type]
    mixed = patient_weights([3, "3", 1, "1"], 20, rng())  # type: ignore[list-item]
    np.testing.assert_array_equal(mixed[:, 0], mixed[:, 1])


def test_no_replicates_or_images_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        patient_weights(["a"], 0, rng())
    with pytest.raises(InputError, match="at least one image"):
        patient_weights([], 10, rng())


def test_seeds_are_drawn_with_replacement() -> None:
    weights = seed_weights(3, 5000, rng())
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert weights.mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.02)
    assert (weights == 1).any(axis=1).mean() == pytest.approx(3 / 27, abs=0.02)


def test_one_seed_is_not_drawn() -> None:
    generator = rng()
    np.testing.assert_array_equal(seed_weights(1, 4, generator), np.ones((4, 1)))
    assert generator.random() == rng().random()


def test_interval_of_known_samples() -> None:
    assert percentile_interval(np.arange(1001.0)) == pytest.approx((25, 975))
    assert percentile_interval(np.arange(1001.0)[::-1], level=0.5) == pytest.approx((250, 750))


def test_interval_ignores_a_few_undefined_replicates() -> None:
    samples = np.concatenate([np.arange(1001.0), np.full(100, np.nan)])
    assert percentile_interval(samples) == pytest.approx((25, 975))
    assert percentile_interval(np.concatenate([samples, np.full(50, np.nan)])) is None


@pytest.mark.parametrize(("count", "given"), [(39, False), (40, True), (0, False)])
def test_interval_needs_enough_replicates(count: int, given: bool) -> None:
    assert (percentile_interval(np.arange(float(count))) is not None) is given


def test_intervals_of_other_levels_and_of_just_enough_replicates() -> None:
    assert percentile_interval(np.arange(19.0), 0.9) is None
    assert percentile_interval(np.arange(20.0), 0.9) == pytest.approx((0.95, 18.05))
    assert percentile_interval([1.0] * 39 + [np.nan]) is None
    assert percentile_interval([1.0] * 895 + [np.nan] * 105) is None
    assert percentile_interval([1.0] * 900 + [np.nan] * 100) == (1, 1)
    assert percentile_interval([1.0] * 45 + [np.nan] * 5) == (1, 1)
    assert percentile_interval([1.0] * 44 + [np.nan] * 5 + [np.inf]) is None
    assert percentile_interval([1, None] + [1] * 60) == (1, 1)  # type: ignore[list-item]


@pytest.mark.parametrize("level", [0, 1, 95])
def test_level_outside_its_range_is_refused(level: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        percentile_interval([1.0], level)


@pytest.mark.parametrize(
    ("samples", "p"),
    [
        (np.ones(999), 2 / 1000),
        (-np.ones(999), 2 / 1000),
        (np.concatenate([np.ones(989), -np.ones(10)]), 22 / 1000),
        (np.zeros(999), 1),
        ([1.0, -1.0], 1),
        (np.concatenate([np.ones(95), np.full(5, np.nan)]), 2 / 96),
    ],
)
def test_p_of_known_samples(samples: list[float], p: float) -> None:
    assert bootstrap_p(samples) == pytest.approx(p)


def test_p_is_withheld_with_the_interval() -> None:
    assert np.isnan(bootstrap_p([1.0] * 80 + [np.nan] * 20))
    assert np.isnan(bootstrap_p([]))


def test_p_below_level_exactly_when_interval_leaves_zero_out() -> None:
    generator = rng()
    for shift in np.linspace(0, 4, 60):
        samples = generator.normal(shift, 1, 1999)
        low, high = percentile_interval(samples) or (0, 0)
        p = bootstrap_p(samples)
        if abs(p - 0.05) > 0.003:
            assert (p < 0.05) == (low > 0 or high < 0)
