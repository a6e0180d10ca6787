from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_cxraug.engines.schedule import Phase, ProgressiveSchedule
from monai_cxraug.errors import ConfigError


@pytest.mark.parametrize(
    ("seen", "resolution", "alpha"),
    [
        (0, 4, 1.0),
        (199, 4, 1.0),
        (200, 8, 0.0),
        (250, 8, 0.5),
        (300, 8, 1.0),
        (499, 8, 1.0),
        (500, 16, 0.0),
        (575, 16, 0.75),
        (600, 16, 1.0),
        (10_000, 16, 1.0),
    ],
)
def test_phases_of_a_small_schedule(seen: int, resolution: int, alpha: float) -> None:
    schedule = ProgressiveSchedule(16, fade_images=100, stable_images=200, total_images=900, batch_size=7)
    assert schedule.at(seen) == Phase(resolution, alpha, 7)


def test_the_default_total_ends_with_a_stable_stage() -> None:
    assert ProgressiveSchedule(16, 100, 200).total_images == 200 + 300 + 300


def test_one_stage_and_no_growth() -> None:
    single = ProgressiveSchedule(8, 100, 200, start_resolution=8)
    assert single.at(0) == Phase(8, 1.0, 32)
    assert single.total_images == 200
    assert ProgressiveSchedule(32, 0, 0, total_images=100).at(0) == Phase(32, 1.0, 32)


def test_batch_sizes_by_resolution_with_json_keys() -> None:
    schedule = ProgressiveSchedule(8, 10, 20, batch_size={"4": 16, "8": 6})
    # 0-31 at 4 px (two batches of 16), then 6 at a time from 32 to beyond 50
    assert list(schedule.batch_sizes()) == [16, 16, 6, 6, 6]
    assert schedule.iterations() == 5


@settings(max_examples=60, deadline=None)
@given(
    stages=st.integers(0, 3),
    fade=st.integers(0, 60),
    stable=st.integers(0, 60),
    extra=st.integers(1, 90),
    sizes=st.lists(st.integers(2, 50), min_size=4, max_size=4),
)
def test_batches_are_those_of_a_walk_through_the_schedule(
    stages: int, fade: int, stable: int, extra: int, sizes: list[int]
) -> None:
    resolutions = [4 * 2**stage for stage in range(stages + 1)]
    total = stages * (fade + stable) + extra
    schedule = ProgressiveSchedule(
        resolutions[-1], fade, stable, total, batch_size=dict(zip(resolutions, sizes, strict=False))
    )
    walked, seen = [], 0
    while seen < total:
        walked.append(schedule.at(seen).batch_size)
        seen += walked[-1]
    assert list(schedule.batch_sizes()) == walked
    assert schedule.iterations() == len(walked)


def test_growth_never_goes_back() -> None:
    schedule = ProgressiveSchedule(32, 37, 21)
    grown = [(phase.resolution, phase.alpha) for phase in map(schedule.at, range(schedule.total_images))]
    assert all(a <= b for a, b in itertools.pairwise(grown))


@pytest.mark.parametrize(
    "arguments",
    [
        {"resolution": 48},
        {"resolution": 2},
        {"start_resolution": 6, "resolution": 12},
        {"fade_images": -1},
        {"stable_images": 1.5},
        {"total_images": 500},
        {"total_images": 0},
        {"batch_size": 0},
        {"batch_size": {4: 8}},
        {"batch_size": {4: 8, 8: 8, 16: 0}},
        {"batch_size": {"small": 8}},
    ],
)
def test_bad_settings_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="ProgressiveSchedule"):
        ProgressiveSchedule(**{"resolution": 16, "fade_images": 150, "stable_images": 100, **arguments})


def test_a_negative_clock_is_refused() -> None:
    with pytest.raises(ConfigError):
        ProgressiveSchedule(8, 10, 10).at(-1)
