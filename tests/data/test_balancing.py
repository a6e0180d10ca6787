"""Resampling against imbalanced-learn on single-label data, and its promises on multi-label data."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from imblearn.over_sampling import RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler
from numpy.typing import NDArray

from monai_cxraug.data.balancing import Balancing, ClassBalanced, OverSampling, UnderSampling, label_classes
from monai_cxraug.data.samplers import SeededBatches
from monai_cxraug.errors import ConfigError, InputError, LeakageError

Labels = NDArray[np.float32]
KINDS: list[Callable[[Table], Balancing]] = [OverSampling, UnderSampling, ClassBalanced]


@dataclass(frozen=True)
class Table:
    labels: Labels
    of: frozenset[str] = frozenset({"train"})

    @property
    def findings(self) -> tuple[str, ...]:
        return tuple("abcdefg"[: self.labels.shape[1]])

    def label_matrix(self) -> Labels:
        return self.labels

    def splits(self) -> frozenset[str]:
        return self.of


def one_hot(classes: list[int]) -> Labels:
    return np.eye(max(classes) + 1, dtype=np.float32)[classes]


def binary(positives: int, negatives: int) -> Labels:
    return np.repeat(np.array([[1.0], [0.0]], dtype=np.float32), [positives, negatives], axis=0)


def multi_label(seed: int, n: int = 300) -> Labels:
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 4)) < [0.02, 0.1, 0.3, 0.05]).astype(np.float32)
    labels[0], labels[1] = [1, 0, 1, 0], [0, 0, 0, 0]
    labels[rng.random((n, 4)) < 0.1] = np.nan
    labels[2] = [0, 0, 0, 1]
    labels[3] = np.nan
    return labels


single_label = st.one_of(
    st.lists(st.integers(0, 3), min_size=8, max_size=60).map(lambda rest: one_hot([0, 1, 2, 3, *rest])),
    st.tuples(st.integers(1, 30), st.integers(1, 30)).map(lambda pair: binary(*pair)),
)


@given(single_label)
def test_over_and_under_sampling_count_as_imbalanced_learn_does(labels: Labels) -> None:
    table = Table(labels)
    classes = label_classes(labels, table.findings)
    y = np.empty(len(labels), dtype=int)
    for k, rows in enumerate(classes.values()):
        y[rows] = k
    for ours, theirs in ((OverSampling(table), RandomOverSampler), (UnderSampling(table), RandomUnderSampler)):
        _, found = theirs(random_state=0).fit_resample(y[:, None], y)
        assert list(ours.counts().values()) == list(np.bincount(found))


@given(st.integers(1, 60), st.integers(61, 200), st.integers(1, 10))
def test_ratios_count_as_imbalanced_learn_does(minority: int, majority: int, tenths: int) -> None:
    ratio = tenths / 10
    table, y = Table(binary(minority, majority)), np.repeat([1, 0], [minority, majority])
    for ours, theirs in ((OverSampling, RandomOverSampler), (UnderSampling, RandomUnderSampler)):
        try:
            _, found = theirs(sampling_strategy=ratio, random_state=0).fit_resample(y[:, None], y)
        except ValueError:  # it refuses a ratio that is reached already; nothing is to be done then
            found = y
        counts = ours(table, ratio).counts()
        assert (counts["a"], counts["none"]) == ((found == 1).sum(), (found == 0).sum())


def test_repeated_images_are_drawn_as_evenly_as_imbalanced_learn_draws_them() -> None:
    table = Table(binary(10, 1010))
    order = OverSampling(table)
    times = sum(np.bincount(order.rows(0, epoch), minlength=1020)[:10] for epoch in range(20))
    expected = 20 * 101
    assert abs(times - expected).max() < 5 * np.sqrt(20 * 1000 / 10)  # five standard deviations
    assert times.std() > 10  # with replacement, so not equally often


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", [multi_label(0), binary(7, 60), one_hot([0] * 30 + [1] * 4 + [2] * 9)])
def test_every_pass_is_of_one_length_another_order_and_repeatable(kind: type[Balancing], labels: Labels) -> None:
    order = kind(Table(labels))
    passes = [order.rows(3, epoch) for epoch in range(4)]
    assert {len(rows) for rows in passes} == {len(order)}
    for rows in passes:
        assert set(rows) <= set(range(len(labels)))
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(passes, 2))
    assert not np.array_equal(order.rows(4, 0), passes[0])
    np.testing.assert_array_equal(kind(Table(labels)).rows(3, 2), passes[2])


@pytest.mark.parametrize("seed", range(5))
def test_over_sampling_keeps_every_image_and_lifts_every_class(seed: int) -> None:
    labels = multi_label(seed)
    order = OverSampling(Table(labels), 0.5)
    assert set(order.rows(0, 0)) == set(range(len(labels)))
    largest = max(map(len, order.classes.values()))
    drawn = np.mean([list(order.counts(0, epoch).values()) for epoch in range(50)], axis=0)
    assert (drawn >= 0.5 * largest * 0.97).all()  # on average: repeated images bring others along
    unknown = np.flatnonzero(np.isnan(labels).all(axis=1))
    assert (np.bincount(order.rows(0, 0), minlength=len(labels))[unknown] == 1).all()


@pytest.mark.parametrize("seed", range(5))
def test_under_sampling_repeats_nothing_and_starves_no_class(seed: int) -> None:
    labels = multi_label(seed)
    order = UnderSampling(Table(labels), 0.25)
    smallest = min(map(len, order.classes.values()))
    rows = order.rows(0, 0)
    assert len(set(rows)) == len(rows)
    for name, count in order.counts().items():
        assert count >= min(len(order.classes[name]), int(smallest / 0.25))
    several = np.flatnonzero((labels == 1).sum(axis=1) > 1)
    assert set(several) <= set(rows)
    seen = set().union(*(set(order.rows(0, epoch)) for epoch in range(60)))
    assert seen == set(range(len(labels)))


@pytest.mark.parametrize("labels", [multi_label(1), binary(3, 50), one_hot([0] * 9 + [1] * 40 + [2] * 5)])
def test_balanced_batches_hold_every_class_equally_often(labels: Labels) -> None:
    order = ClassBalanced(Table(labels))
    classes = len(order.classes)
    for batch in itertools.islice(SeededBatches(order, 2 * classes, seed=5), 40):
        drawn = [draw.index for draw in batch]
        for k, rows in enumerate(order.classes.values()):
            assert set(drawn[k::classes]) <= set(rows)
    for rows in order.classes.values():
        of_class = [row for k, row in enumerate(order.rows(0, 1)) if row in set(rows)]
        times = Counter(of_class)
        if all(len(set(rows) & set(other)) in (0, len(rows)) for other in order.classes.values()):
            assert max(times.values()) - min(times.values()) <= 1
    assert not set(np.flatnonzero(np.isnan(labels).all(axis=1))) & set(order.rows(0, 0))


def test_the_prior_is_that_of_what_is_drawn() -> None:
    order = ClassBalanced(Table(one_hot([0] * 30 + [1] * 4 + [2] * 9)))
    assert order.prior() == pytest.approx([30.5 / 91] * 3)
    assert OverSampling(Table(binary(5, 40))).prior() == [pytest.approx(0.5)]
    labels = np.float32([[1, np.nan], [0, 0], [0, 0], [np.nan, 1]])
    assert ClassBalanced(Table(labels)).prior() == pytest.approx([2.5 / 5, 2.5 / 5])


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_training_draws_what_it_would_have_drawn(kind: type[Balancing]) -> None:
    order = kind(Table(multi_label(2)))
    whole = list(itertools.islice(SeededBatches(order, 7, 1), 200))
    resumed = SeededBatches(order, 7, 1)
    resumed.skip = 123
    assert list(itertools.islice(resumed, 77)) == whole[123:]


def test_draws_know_which_images_come_again_in_a_pass() -> None:
    order = OverSampling(Table(binary(3, 20)))
    first, second = (list(itertools.islice(SeededBatches(order, 8, 1), 5 * k, 5 * (k + 1))) for k in (0, 1))
    for batches in (first, second):  # a pass each
        draws = list(itertools.chain(*batches))
        for index in range(23):
            mine = [draw.again for draw in draws if draw.index == index]
            assert mine == [False] + [True] * (len(mine) - 1)
        assert sum(draw.again for draw in draws) == 17
    plain = itertools.islice(SeededBatches(5, 2), 20)
    assert not any(draw.again for batch in plain for draw in batch)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_a_pass_without_overlap(kind: type[Balancing], world: int) -> None:
    order = kind(Table(multi_label(2)))
    alone = list(itertools.islice(SeededBatches(order, 4 * world, 1), 30))
    together = zip(
        *(itertools.islice(SeededBatches(order, 4, 1, rank=k, world=world), 30) for k in range(world)), strict=True
    )
    assert [list(itertools.chain(*batches)) for batches in together] == alone


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("splits", [{"val"}, {"train", "test"}, {"train", ""}])
def test_what_is_not_training_is_refused(kind: type[Balancing], splits: set[str]) -> None:
    with pytest.raises(LeakageError, match="only training images may be resampled, after the split"):
        kind(Table(binary(2, 5), frozenset(splits)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", [binary(5, 0), binary(0, 5), np.full((4, 2), np.nan, dtype=np.float32)])
def test_one_class_is_refused(kind: type[Balancing], labels: Labels) -> None:
    with pytest.raises(InputError, match="at least two classes"):
        kind(Table(labels))


@pytest.mark.parametrize("kind", [OverSampling, UnderSampling])
@pytest.mark.parametrize("ratio", [0, -1, 1.01, float("nan")])
def test_bad_ratios_are_refused(kind: type[OverSampling] | type[UnderSampling], ratio: float) -> None:
    with pytest.raises(ConfigError, match=r"\(ratio\)"):
        kind(Table(binary(2, 5)), ratio)


@pytest.mark.parametrize(("rank", "world"), [(1, 1), (-1, 2), (0, 0)])
def test_bad_ranks_are_refused(rank: int, world: int) -> None:
    with pytest.raises(ConfigError, match="rank"):
        SeededBatches(5, 1, rank=rank, world=world)
