from __future__ import annotations

import numpy as np
import pytest

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.metrics.crossed import crossed_weights
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
