"""Orders and groups that are found without sorting all images are those that sorting finds."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_cxraug.data import balancing, samplers
from monai_cxraug.data.balancing import UnderSampling
from monai_cxraug.data.duplicates import _groups
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.samplers import drawn_before


@given(st.lists(st.integers(0, 12), max_size=40))
def test_what_was_drawn_before(rows: list[int]) -> None:
    expected = [row in rows[:place] for place, row in enumerate(rows)]
    assert drawn_before(np.array(rows, dtype=np.int64)).tolist() == expected


class Labels:
    """2,000 images, a few of them with findings."""

    findings = ("Edema", "Mass")

    def label_matrix(self) -> np.ndarray:
        return (np.random.default_rng(1).random((2000, 2)) < (0.1, 0.02)).astype(np.float32)

    def splits(self) -> frozenset[str]:
        return frozenset({"train"})


@pytest.mark.parametrize("seed", [0, 5])
def test_what_is_left_is_what_was_not_dropped(seed: int) -> None:
    order = UnderSampling(Labels(), ratio=0.5)
    rng = np.random.default_rng([seed, 3, balancing._UNDER])
    gone = [rng.choice(rows, order.dropped[name], replace=False) for name, rows in order._single.items()]
    expected = rng.permutation(np.setdiff1d(np.arange(2000), np.concatenate(gone)))
    np.testing.assert_array_equal(order.rows(seed, 3), expected)


def test_nothing_is_sorted_for_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    order = UnderSampling(Labels())
    monkeypatch.setattr(samplers.np, "unique", None)
    monkeypatch.setattr(samplers.np, "setdiff1d", None)
    batch = next(iter(samplers.SeededBatches(order, 16)))
    assert len({draw.index for draw in batch}) == 16


@given(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=30))
def test_groups_of_equal_pictures(contents: list[str]) -> None:
    rows = defaultdict(list)
    for row, content in enumerate(contents):
        rows[content].append(row)
    columns = make_columns([{"image": str(k), "content": content} for k, content in enumerate(contents)])
    found = _groups(Manifest(columns, (), np.zeros((len(contents), 0), dtype=np.float32)))
    assert [group.tolist() for group in found] == [group for group in rows.values() if len(group) > 1]
