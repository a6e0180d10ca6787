from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.metrics.crossed import Replicates, crossed_weights
from monai_cxraug.metrics.forced_choice import bootstrap_scores, forced_choice_score, sides


def test_readers_and_patients_are_drawn_whole_and_apart() -> None:
    patients = ["a", "b", "a", "c", "b"]
    drawn = crossed_weights(4, patients, 4000, np.random.default_rng(0))
    assert drawn.readers.shape == (4000, 4)
    np.testing.assert_array_equal(drawn.readers.sum(axis=1), 3)
    assert drawn.patients == 3
    np.testing.assert_array_equal(drawn.trials[:, 0], drawn.trials[:, 2])
    np.testing.assert_array_equal(drawn.trials[:, 1], drawn.trials[:, 4])
    assert drawn.readers[:, 1].var() == pytest.approx(3 * 0.25 * 0.75, rel=0.1)
    assert abs(np.corrcoef(drawn.readers[:, 0], drawn.trials[:, 0])[0, 1]) < 0.05


def test_equal_seeds_draw_alike() -> None:
    one, two = (crossed_weights(3, ["a", "b"], 20, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one.readers, two.readers)
    np.testing.assert_array_equal(one.trials, two.trials)


def test_nobody_is_refused() -> None:
    with pytest.raises(InputError, match="at least one reader"):
        crossed_weights(0, ["a"], 10, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="at least 1"):
        crossed_weights(2, ["a"], 0, np.random.default_rng(0))


def test_every_statistic_sees_who_is_drawn_and_who_is_not() -> None:
    drawn = crossed_weights(3, ["a", "b", "c", "a"], 50, np.random.default_rng(1))
    assert drawn.readers.dtype == drawn.trials.dtype == np.int32
    found = drawn.replicate(lambda readers, trials: readers @ np.array([1.0, 10, 100]) + 1e3 * trials.sum(axis=1))
    by_reader, by_trial = drawn.readers @ np.array([1.0, 10, 100]), 1e3 * drawn.trials.sum(axis=1)
    np.testing.assert_array_equal(found.both, by_reader + by_trial)
    np.testing.assert_array_equal(found.by_reader, by_reader + 4000)
    np.testing.assert_array_equal(found.by_patient, 111 + by_trial)
    assert (found.readers, found.patients) == (3, 3)
    changed = found.map(lambda part: -2 * part)
    np.testing.assert_array_equal(changed.both, -2 * found.both)
    np.testing.assert_array_equal(changed.by_reader, -2 * found.by_reader)
    np.testing.assert_array_equal(changed.by_patient, -2 * found.by_patient)
    assert (changed.readers, changed.patients) == (3, 3)


def test_one_reader_is_always_drawn() -> None:
    drawn = crossed_weights(1, ["a", "b"], 9, np.random.default_rng(1))
    np.testing.assert_array_equal(drawn.readers, np.ones((9, 1)))
    assert crossed_weights(2, ["a"], 9, np.random.default_rng(1)).readers.sum() == 9


def replicates(readers: int = 5, patients: int = 12, spread: float = 1.0) -> Replicates:
    rng = np.random.default_rng(3)
    by_reader, by_patient = rng.normal(0, 0.02 * spread, 400), rng.normal(0, 0.03 * spread, 400)
    by_reader[:7] = np.nan
    return Replicates(0.7 + by_reader + by_patient, by_reader, by_patient, readers, patients)


@pytest.mark.parametrize(("readers", "patients"), [(5, 12), (1, 12), (2, 1), (3, 2)])
def test_degrees_of_freedom_are_satterthwaites(readers: int, patients: int) -> None:
    found = replicates(readers, patients)
    v, w = np.nanvar(found.by_reader), found.by_patient.var()
    expected = (v + w) ** 2 / (v**2 / max(1, readers - 1) + w**2 / max(1, patients - 1))
    assert found.freedom == pytest.approx(expected)
    assert replicates(spread=0).freedom == np.inf
    nothing = np.full(400, np.nan)
    assert Replicates(nothing, nothing, nothing, 3, 4).freedom == np.inf


@pytest.mark.parametrize("level", [0.95, 0.8])
def test_the_interval_is_widened_as_students_distribution_is(level: float) -> None:
    found, share = replicates(), (1 + level) / 2
    low, high = np.nanquantile(found.both, [1 - share, share])
    wider = t.ppf(share, found.freedom) / norm.ppf(share)
    assert wider > 1.02
    ends = found.interval(0.71, level)
    assert ends == pytest.approx((0.71 + wider * (low - 0.71), 0.71 + wider * (high - 0.71)))
    assert found.interval(0.71, level, least=0.7, most=0.72) == (0.7, 0.72)
    assert found.map(lambda part: 0.5 + 50 * (part - 0.7)).interval(0.5) == (0, 1)
    assert replicates(spread=0).interval(0.7) == pytest.approx((0.7, 0.7))
    assert replicates(spread=0).interval(0.5) == pytest.approx((0.7, 0.7))  # nothing is known of how much to widen
    if level == 0.95:
        assert found.interval(0.71) == ends


def test_without_a_value_there_is_no_interval() -> None:
    assert replicates().interval(float("nan")) is None
    assert replicates().map(lambda part: np.where(np.arange(400) < 50, np.nan, part)).interval(0.7) is None


def coverage(reader_spread: float, patient_spread: float, noise: float, readers: int = 8, runs: int = 300) -> float:
    """Share of simulated studies whose interval holds the score over all readers and patients."""
    rng = np.random.default_rng(12)
    patients = np.repeat(np.arange(20), 4)
    names = [str(one) for one in patients]

    def study(readers: int, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Votes, and the side of a distance that agrees with readers more on some patients than on others."""
        side = rng.integers(0, 2, len(owners))
        skill = rng.normal(0.7, reader_spread, (readers, 1)) + rng.normal(0, patient_spread, owners.max() + 1)[owners]
        right = skill + rng.normal(0, noise, (readers, len(owners))) > 0
        return np.where(right, side, 1 - side).astype(float), side

    many, truth_side = study(400, np.arange(4000))
    truth = forced_choice_score(1.0 * truth_side, 1.0 - truth_side, many)
    held = 0
    for _ in range(runs):
        votes, side = study(readers, patients)
        drawn = crossed_weights(readers, names, 400, rng)
        chosen = sides(1.0 * side, 1.0 - side)[None]
        found = drawn.replicate(lambda r, t, c=chosen, v=votes: bootstrap_scores(c, v, r, t)[:, 0])  # type: ignore[misc]
        low, high = found.interval(forced_choice_score(1.0 * side, 1.0 - side, votes))  # type: ignore[misc]
        held += low <= truth <= high
    return held / runs


@pytest.mark.parametrize(
    ("reader_spread", "patient_spread", "noise", "least", "most"),
    [
        (0.3, 0.6, 1.0, 0.90, 0.99),  # readers and patients differ
        (0.0, 0.6, 1.0, 0.91, 1.0),  # patients only
        (0.0, 0.0, 1.0, 0.97, 1.0),  # neither: what is left over counts up to three times
        (0.6, 0.0, 0.5, 0.84, 0.98),  # mostly readers, of whom there are eight
    ],
)
def test_intervals_hold_the_truth_about_as_often_as_they_say(
    reader_spread: float, patient_spread: float, noise: float, least: float, most: float
) -> None:
    share = coverage(reader_spread, patient_spread, noise)
    print(f"\ncoverage of 95 % intervals at {reader_spread}, {patient_spread}, {noise}: {share:.3f}")
    assert least <= share <= most
