"""Batch k is a pure function of (seed, k), whatever came before it."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_cxraug.data.samplers import Draw, SeededBatches, Shuffled, drawn_before
from monai_cxraug.errors import ConfigError


def take(batches: SeededBatches, count: int) -> list[list[Draw]]:
    return list(itertools.islice(batches, count))


@given(st.integers(1, 40), st.data(), st.integers(0, 2**31))
def test_every_image_once_a_pass(length: int, data: st.DataObject, seed: int) -> None:
    size = data.draw(st.integers(1, length))
    draws = list(itertools.chain(*take(SeededBatches(length, size, seed), 3 * length)))
    assert [draw.number for draw in draws] == list(range(len(draws)))
    for epoch in range(3):
        assert Counter(draw.index for draw in draws[epoch * length : (epoch + 1) * length]) == Counter(range(length))


@given(st.integers(0, 30), st.integers(0, 2**31))
def test_skipping_gives_the_tail(skip: int, seed: int) -> None:
    whole = take(SeededBatches(11, 4, seed), 40)
    resumed = SeededBatches(11, 4, seed)
    resumed.skip = skip
    assert take(resumed, 40 - skip) == whole[skip:]


def test_seeds_and_passes_differ() -> None:
    first = take(SeededBatches(50, 50, 0), 2)
    assert take(SeededBatches(50, 50, 0), 2) == first
    assert [draw.index for draw in first[0]] != [draw.index for draw in first[1]]
    assert [draw.index for draw in take(SeededBatches(50, 50, 1), 1)[0]] != [draw.index for draw in first[0]]


def test_what_is_not_said_is_nothing() -> None:
    assert not Draw(1, 2).again
    assert SeededBatches(4, 1).skip == 0
    assert take(SeededBatches(50, 50), 1) == take(SeededBatches(50, 50, 0), 1)


def test_iterating_twice_is_the_same() -> None:
    batches = SeededBatches(9, 4, 3, steps=5)
    assert list(batches) == list(batches)
    assert len(list(batches)) == len(batches) == 5
    assert len(SeededBatches(9, 4)) == 2


def test_the_batch_size_follows_the_images_drawn() -> None:
    batches = take(SeededBatches(20, lambda seen: 8 if seen < 16 else 3, 0), 5)
    assert [len(batch) for batch in batches] == [8, 8, 3, 3, 3]
    resumed = SeededBatches(20, lambda seen: 8 if seen < 16 else 3, 0)
    resumed.skip = 3
    assert take(resumed, 2) == batches[3:]
    assert [draw.index for draw in itertools.chain(*batches)] == [
        draw.index for draw in itertools.chain(*take(SeededBatches(20, 5, 0), 5))
    ]


@pytest.mark.parametrize("size", [0, -1, 5])
def test_too_few_images_are_refused(refuses, size: int) -> None:
    with refuses(ConfigError, "batch_size", "(4)", size, "lower the batch size or add images of this class"):
        SeededBatches(4, size)


def test_a_later_batch_that_is_too_large_is_refused(refuses) -> None:
    batches = iter(SeededBatches(4, lambda seen: 4 if seen < 8 else 5))
    assert len(next(batches)) == len(next(batches)) == 4
    with refuses(ConfigError, "batch_size", 5):
        next(batches)


def test_the_first_batch_is_refused_at_once(refuses) -> None:
    with refuses(ConfigError, "batch_size", 5):
        SeededBatches(4, lambda seen: 1 if seen else 5)
    SeededBatches(4, lambda seen: 5 if seen else 1)


def test_a_pass_has_the_batches_of_the_first_order_and_size() -> None:
    assert len(SeededBatches(4, 4)) == 1
    assert len(SeededBatches(9, 2, world=2)) == 2
    assert len(SeededBatches(9, 3, then=6, after=9)) == 3
    assert len(SeededBatches(9, lambda seen: 1 if seen else 3)) == 3


@pytest.mark.parametrize(("rank", "world"), [(1, 1), (2, 2), (-1, 2)])
def test_processes_are_numbered_from_0(rank: int, world: int) -> None:
    with pytest.raises(ConfigError, match=rf"rank.* at least 0 .*{rank} of {world}"):
        SeededBatches(8, 2, rank=rank, world=world)


def test_the_batches_of_all_processes_fit_into_a_pass(refuses) -> None:
    with refuses(ConfigError, "batch_size", "(5)", "3 in each of 2 processes"):
        SeededBatches(5, 3, world=2)
    assert len(SeededBatches(6, 3, world=2)) == 1


def test_a_row_was_drawn_before_where_it_stands_earlier() -> None:
    assert drawn_before(np.array([3, 0, 3, 1, 0, 3])).tolist() == [False, False, True, False, True, True]
    assert drawn_before(np.array([], dtype=np.int64)).tolist() == []


# --- another order from a draw on ---


def indices(batches: list[list[Draw]]) -> list[int]:
    return [draw.index for draw in itertools.chain(*batches)]


@given(st.integers(0, 60), st.integers(1, 5), st.integers(0, 1000))
def test_the_later_order_begins_its_first_pass_at_its_draw(after: int, size: int, seed: int) -> None:
    switched = take(SeededBatches(Shuffled(7), size, seed, then=11, after=after), 30)
    early, late = (indices(take(SeededBatches(rows, size, seed), 30)) for rows in (7, 11))
    assert indices(switched) == (early[:after] + late)[: 30 * size]
    assert [draw.number for draw in itertools.chain(*switched)] == list(range(30 * size))
    assert not any(draw.again for draw in itertools.chain(*switched))


@given(st.integers(0, 30), st.integers(0, 40))
def test_skipping_over_the_change_gives_the_tail(skip: int, after: int) -> None:
    whole = take(SeededBatches(5, 3, 1, then=8, after=after), 40)
    resumed = SeededBatches(5, 3, 1, then=8, after=after)
    resumed.skip = skip
    assert take(resumed, 40 - skip) == whole[skip:]


def test_processes_change_at_the_same_draw() -> None:
    alone = take(SeededBatches(12, 6, 1, then=8, after=21), 10)
    shares = [take(SeededBatches(12, 3, 1, rank=k, world=2, then=8, after=21), 10) for k in range(2)]
    assert [one + other for one, other in zip(*shares, strict=True)] == alone


@pytest.mark.parametrize("changes", [{"then": 5}, {"after": 5}, {"then": 5, "after": -1}, {"then": 5, "after": 1.0}])
def test_half_a_change_is_refused(refuses, changes) -> None:
    with refuses(ConfigError, "then, after", "both or neither"):
        SeededBatches(5, 1, **changes)


def test_both_orders_must_fill_a_batch(refuses) -> None:
    with refuses(ConfigError, "batch_size", "(3)", 4):
        SeededBatches(9, 4, then=3, after=20)
