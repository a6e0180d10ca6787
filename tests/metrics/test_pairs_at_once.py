"""The mean kappa of all pairs of readers is worked out at once, and is that of Cohen's for each pair."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from monai_cxraug.metrics import agreement
from monai_cxraug.metrics.agreement import cohen_kappa, pairwise_kappa


@pytest.mark.parametrize("seed", range(8))
def test_it_is_the_mean_over_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    votes = np.where(rng.random((9, 30)) < rng.random() * 0.9, np.nan, rng.random((9, 30)) < 0.6)
    votes[0], votes[1] = 1.0, np.nan  # always the same answer; none at all
    each = np.array([cohen_kappa(one, two) for one, two in combinations(votes, 2)])
    assert np.isnan(each).any()
    assert pairwise_kappa(votes) == each[~np.isnan(each)].mean()


def test_no_pair_is_taken_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(agreement, "cohen_kappa")
    assert np.isfinite(pairwise_kappa(np.random.default_rng(0).integers(0, 2, (40, 20)).astype(float)))
