"""Synthetic images first: what the two parts of the training hold."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from monai_cxraug.data.pretraining import RealAfterwards, SyntheticFirst
from monai_cxraug.data.samplers import SeededBatches
from monai_cxraug.errors import InputError, LeakageError

NAN = np.nan


@dataclass(frozen=True)
class Table:
    labels: NDArray[np.float32]
    sources: tuple[str, ...]
    of: frozenset[str] = frozenset({"train"})
    findings: tuple[str, ...] = ("Edema", "Fibrosis", "Mass")

    def label_matrix(self) -> NDArray[np.float32]:
        return self.labels

    def origins(self) -> NDArray[np.object_]:
        return np.array(self.sources, dtype=object)

    def splits(self) -> frozenset[str]:
        return self.of


def random_table(seed: int, real: int = 60) -> Table:
    rng = np.random.default_rng(seed)
    labels = (rng.random((real, 3)) < 0.3).astype(np.float32)
    labels[rng.random((real, 3)) < 0.1] = NAN
    labels[0] = 0
    made = np.array([[1, NAN, NAN]] * int(rng.integers(1, 40)) + [[NAN, 1, NAN]] * int(rng.integers(1, 40)))
    kinds = (
        rng.choice(["real", "duplicate", "filtered"], real).tolist()
        + rng.choice(["synthetic", "external"], len(made)).tolist()
    )
    return Table(np.concatenate([labels, made]).astype(np.float32), tuple(kinds))


@given(st.integers(0, 1000), st.integers(1, 8))
def test_all_positives_of_what_is_synthesised_are_synthetic_and_half_of_a_batch(seed: int, half: int) -> None:
    table = random_table(seed)
    order = SyntheticFirst(table)
    unreal = np.isin(table.origins().astype(str), ["synthetic", "external"])
    half = min(half, len(order) // 2)
    for batch in itertools.islice(SeededBatches(order, 2 * half, seed), 20):
        rows = np.array([draw.index for draw in batch])
        assert unreal[rows].sum() == half
        assert (table.labels[rows][~unreal[rows]][:, :2] == 0).all()
    drawn = Counter(order.rows(seed, 0).tolist())
    assert set(drawn) == set(np.flatnonzero(unreal | (table.labels[:, :2] == 0).all(axis=1)))
    for group in (order.synthetic, order.absent):
        times = [drawn[row] for row in group.tolist()]
        assert max(times) - min(times) <= 1


@given(st.integers(0, 1000))
def test_real_images_alone_come_afterwards_and_once_a_pass(seed: int) -> None:
    table = random_table(seed)
    order = RealAfterwards(table)
    for epoch in range(3):
        assert sorted(order.rows(seed, epoch)) == list(range(60))
        assert len(order) == 60
    assert not np.array_equal(order.rows(seed, 0), order.rows(seed, 1))
    np.testing.assert_array_equal(order.rows(seed, 1), RealAfterwards(table).rows(seed, 1))


def test_passes_are_repeatable_and_differ() -> None:
    order = SyntheticFirst(random_table(0))
    assert not np.array_equal(order.rows(0, 0), order.rows(0, 1))
    assert not np.array_equal(order.rows(0, 0), order.rows(1, 0))
    np.testing.assert_array_equal(order.rows(0, 1), SyntheticFirst(random_table(0)).rows(0, 1))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([([0, 0, 0], "real")], "needs synthetic images"),
        ([([0, 0, 0], "real"), ([0, NAN, NAN], "synthetic")], "needs synthetic images"),
        ([([1, 0, 0], "real"), ([NAN, 0, 0], "real"), ([1, NAN, NAN], "external")], r"\(Edema\) is known to be absent"),
    ],
)
def test_what_is_missing_is_named(rows: list[tuple[list[float], str]], words: str) -> None:
    labels, sources = zip(*rows, strict=True)
    with pytest.raises(InputError, match=words):
        SyntheticFirst(Table(np.float32(labels), sources))


@pytest.mark.parametrize("kind", [SyntheticFirst, RealAfterwards])
def test_only_training_images_are_drawn(kind: type[SyntheticFirst] | type[RealAfterwards]) -> None:
    table = random_table(0)
    with pytest.raises(LeakageError, match="only training images"):
        kind(Table(table.labels, table.sources, frozenset({"train", "val"})))
