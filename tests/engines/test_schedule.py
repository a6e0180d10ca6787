from __future__ import annotations

import itertools
import math
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_cxraug.engines.schedule import (
    FixedSchedule,
    Phase,
    ProgressiveSchedule,
    infogan_schedule,
    published_schedule,
    whole_epochs,
)
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
        {"fade_images": True},
        {"stable_images": -1, "total_images": 10_000},
        {"stable_images": 1.5},
        {"resolution": 16.0},
        {"start_resolution": 2},
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


@pytest.mark.parametrize("side", [2, 3])
def test_the_first_stage_has_four_pixels_a_side(side: int) -> None:
    with pytest.raises(ConfigError, match=r"start_resolution\): must be a whole number of at least 4"):
        ProgressiveSchedule(24, 10, 10, start_resolution=side)
    assert FixedSchedule(4, 10, 2).at(0).resolution == 4
    with pytest.raises(ConfigError, match=r"\(resolution\): must be a whole number of at least 4"):
        FixedSchedule(side, 10, 2)


def test_a_negative_clock_is_refused() -> None:
    with pytest.raises(ConfigError):
        ProgressiveSchedule(8, 10, 10).at(-1)


#: the published code's preset for one GPU (600,000 images a fade and a stable stretch), and the paper's appendix A.1
#: (800,000): side, batch, images seen when its fade begins, when it is whole and when the next one's fade begins.
TABLES: dict[str, list[tuple[int, int, int, int, int]]] = {
    "600k": [
        (4, 128, 0, 0, 600_000),
        (8, 128, 600_000, 1_200_000, 1_800_000),
        (16, 128, 1_800_000, 2_400_000, 3_000_000),
        (32, 64, 3_000_000, 3_600_000, 4_200_000),
        (64, 32, 4_200_000, 4_800_000, 5_400_000),
        (128, 16, 5_400_000, 6_000_000, 6_600_000),
        (256, 8, 6_600_000, 7_200_000, 7_800_000),
        (512, 4, 7_800_000, 8_400_000, 9_000_000),
    ],
    "800k": [
        (4, 16, 0, 0, 800_000),
        (8, 16, 800_000, 1_600_000, 2_400_000),
        (16, 16, 2_400_000, 3_200_000, 4_000_000),
        (32, 16, 4_000_000, 4_800_000, 5_600_000),
        (64, 16, 5_600_000, 6_400_000, 7_200_000),
        (128, 16, 7_200_000, 8_000_000, 8_800_000),
        (256, 14, 8_800_000, 9_600_000, 10_400_000),
        (512, 6, 10_400_000, 11_200_000, 12_000_000),
        (1024, 3, 12_000_000, 12_800_000, 13_600_000),
    ],
}


@pytest.mark.parametrize("name", TABLES)
def test_published_schedules_equal_their_tables(name: str) -> None:
    full = TABLES[name][-1][0]
    schedule = published_schedule(name, full)
    assert schedule.total_images == TABLES[name][-1][-1]
    for index, (side, batch, begins, whole, ends) in enumerate(TABLES[name]):
        if side > 4:
            assert schedule.at(begins) == Phase(side, 0.0, batch)
            assert schedule.at((begins + whole) // 2) == Phase(side, 0.5, batch)
            assert schedule.at(whole - 1).alpha < 1
            assert schedule.stage(begins) == schedule.stage(whole - 1) == 2 * index - 1
        assert schedule.at(whole) == schedule.at(ends - 1) == Phase(side, 1.0, batch)
        assert schedule.stage(whole) == schedule.stage(ends - 1) == 2 * index


@pytest.mark.parametrize("name", TABLES)
def test_a_published_schedule_of_a_smaller_image_is_its_beginning(name: str) -> None:
    for side, _, _, _, ends in TABLES[name][1:]:
        small, full = published_schedule(name, side), published_schedule(name, TABLES[name][-1][0])
        assert (small.resolution, small.total_images) == (side, ends)
        moments = range(0, ends, 98_765)
        assert [small.at(seen) for seen in moments] == [full.at(seen) for seen in moments]


def test_a_scale_shortens_every_stretch_and_no_batch() -> None:
    schedule = published_schedule("600k", 16, scale=0.01)
    assert (schedule.fade_images, schedule.starts, schedule.total_images) == (6000, [0, 6000, 18_000], 30_000)
    assert schedule.batch_size == {4: 128, 8: 128, 16: 128}
    assert published_schedule("800k", 8, scale=1e-9).total_images == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("600", 64), "did you mean '600k'"),
        (("800K", 64), "did you mean '800k'"),
        (("paper", 64), "known: 600k, 800k"),
        (("600k", 1024), "4, 8, 16, 32, 64, 128, 256, 512 px; found 1024"),
        (("800k", 48), "found 48"),
        (("800k", 64, 0), "above 0 and finite; found 0"),
        (("800k", 64, float("nan")), "above 0 and finite; found nan"),
        (("800k", 64, float("inf")), "found inf"),
    ],
)
def test_what_was_not_published_is_refused_in_one_line(arguments: tuple[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        published_schedule(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [1, 0, -4, 2.5, True, "16"])
@pytest.mark.parametrize("where", ["one", "each"])
def test_batches_below_two_images_are_refused(size: object, where: str) -> None:
    with pytest.raises(ConfigError, match=r"batch_size.*at least 2"):
        ProgressiveSchedule(8, 10, 10, batch_size=size if where == "one" else {4: 8, 8: size})  # type: ignore[dict-item]
    assert ProgressiveSchedule(8, 10, 10, batch_size=2).at(0).batch_size == 2


@settings(max_examples=40, deadline=None)
@given(fade=st.integers(0, 30), stable=st.integers(0, 30), extra=st.integers(1, 20))
def test_the_stage_changes_where_a_fade_begins_or_ends_and_nowhere_else(fade: int, stable: int, extra: int) -> None:
    schedule = ProgressiveSchedule(16, fade, stable, 2 * (fade + stable) + extra, batch_size=2)
    phases = [schedule.at(seen) for seen in range(schedule.total_images)]
    for seen in range(1, len(phases)):
        before, now = phases[seen - 1], phases[seen]
        changes = (before.resolution, before.alpha < 1) != (now.resolution, now.alpha < 1)
        assert (schedule.stage(seen) != schedule.stage(seen - 1)) == changes


# --- networks of one size ---


def test_networks_that_grow_are_told_where_they_stand_and_others_are_not() -> None:
    growing = ProgressiveSchedule(8, 10, 20).at(25)
    assert (growing.growth, growing.fade) == ({"resolution": 8, "alpha": 0.5}, {"alpha": 0.5})
    fixed = FixedSchedule(112, 100, 8).at(25)
    assert (fixed.growth, fixed.fade) == ({}, {})
    assert (fixed.resolution, fixed.alpha, fixed.batch_size) == (112, 1.0, 8)


def test_a_fixed_schedule_has_batches_of_32_by_default() -> None:
    assert FixedSchedule(28, 100).at(0).batch_size == 32


@settings(max_examples=60, deadline=None)
@given(total=st.integers(1, 500), batch=st.integers(2, 70))
def test_a_fixed_schedule_is_one_phase_of_whole_batches(total: int, batch: int) -> None:
    schedule = FixedSchedule(28, total, batch)
    sizes = list(schedule.batch_sizes())
    assert set(sizes) == {batch}
    assert sum(sizes) - batch < total <= sum(sizes)
    assert schedule.iterations() == len(sizes)
    assert {schedule.stage(seen) for seen in range(total)} == {0}
    assert {schedule.at(seen) for seen in range(total)} == {schedule.at(10 * total)}


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((3, 10, 4), "resolution"),
        ((28, 0, 4), "total_images"),
        ((28, 10, 1), "batch_size"),
        ((28, 1e4, 4), "total_images"),
        ((28, 10, True), "batch_size"),
        ((28.0, 10, 4), "resolution"),
    ],
)
def test_a_bad_fixed_schedule_is_refused(arguments: tuple[Any, ...], name: str) -> None:
    with pytest.raises(ConfigError, match=rf"FixedSchedule\({name}\): must be a whole number"):
        FixedSchedule(*arguments)
    with pytest.raises(ConfigError, match="images_seen"):
        FixedSchedule(28, 10, 4).at(-1)


#: real images: batch, epochs; of the study of skin lesions.
STUDY = {10: (8, 1000), 50: (16, 1500), 100: (64, 2000), 200: (128, 3000), 500: (128, 3500)}


@pytest.mark.parametrize("images", STUDY)
def test_the_study_s_numbers_are_the_study_s(images: int) -> None:
    batch, epochs = STUDY[images]
    schedule = infogan_schedule(112, images)
    assert (schedule.resolution, schedule.batch_size, schedule.total_images) == (112, batch, images * epochs)


@pytest.mark.parametrize(
    ("images", "batch", "epochs"),
    [
        # half way on the scale of ratios: geometric means of 10 and 1000, of 64 and 128
        (math.isqrt(10 * 50), 8 * 2**0.5, (1000 * 1500) ** 0.5),
        (math.isqrt(200 * 500), 128, (3000 * 3500) ** 0.5),
    ],
)
def test_between_them_is_a_geometric_mean(images: int, batch: float, epochs: float) -> None:
    schedule = infogan_schedule(112, images)
    assert schedule.total_images == pytest.approx(images * epochs, rel=0.01)
    assert schedule.batch_size in (2 ** math.floor(math.log2(batch)), 2 ** math.ceil(math.log2(batch)))


@given(images=st.integers(2, 5000))
def test_more_images_train_longer_in_batches_no_smaller(images: int) -> None:
    now, more = (infogan_schedule(112, n) for n in (images, images + 1))
    assert now.total_images < more.total_images
    assert now.batch_size <= more.batch_size <= 128
    assert now.batch_size <= images
    assert now.batch_size == images or now.batch_size & (now.batch_size - 1) == 0


@pytest.mark.parametrize(("images", "following"), [(10, 50), (50, 100), (100, 200)])  # none doubles beyond
def test_a_batch_doubles_where_the_scale_of_ratios_says(images: int, following: int) -> None:
    """At ``images (following / images) ** share`` images, where ``low (high / low) ** share`` is 2 ** (k + 1/2)."""
    low, high = STUDY[images][0], STUDY[following][0]
    for lower in (2**k for k in range(low.bit_length() - 1, high.bit_length() - 1)):
        share = math.log(lower * math.sqrt(2) / low) / math.log(high / low)
        passed = images * (following / images) ** share
        last, first = (infogan_schedule(112, n).batch_size for n in (math.floor(passed), math.ceil(passed)))
        assert (last, first) == (lower, 2 * lower)


def test_one_image_fewer_than_the_study_s_most_trains_shorter() -> None:
    epochs = 3000 * (3500 / 3000) ** (math.log(499 / 200) / math.log(500 / 200))
    assert infogan_schedule(112, 499).total_images == round(499 * epochs) < 499 * 3500


def test_outside_the_study_the_nearest_number_holds() -> None:
    assert infogan_schedule(112, 1197).total_images == 1197 * 3500
    assert infogan_schedule(112, 1197).batch_size == 128
    assert infogan_schedule(112, 5).total_images == 5 * 1000
    assert infogan_schedule(112, 5).batch_size == 5


def test_length_and_batch_can_be_given() -> None:
    schedule = infogan_schedule(28, 50, total_images=640, batch_size=32)
    assert (schedule.total_images, schedule.batch_size) == (640, 32)
    assert infogan_schedule(28, 50, scale=0.01).total_images == 50 * 15
    assert infogan_schedule(28, 50, scale=1e-9).total_images == 1


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((112, 1), "infogan_schedule(images)"),
        ((112, 2.5), "infogan_schedule(images)"),
        ((112, 50, 0), "FixedSchedule(total_images)"),
        ((112, 50, None, 1), "FixedSchedule(batch_size)"),
    ],
)
def test_bad_numbers_are_refused(arguments: tuple[Any, ...], name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{re.escape(name)}: must be a whole number"):
        infogan_schedule(*arguments)


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_bad_scales_are_refused(scale: float) -> None:
    with pytest.raises(ConfigError, match="above 0 and finite"):
        infogan_schedule(112, 50, scale=scale)


# --- any schedule ---

STRETCHES = {"stages": st.integers(0, 4), "fade": st.integers(0, 50), "stable": st.integers(0, 50)}


def any_schedule(stages: int, fade: int, stable: int, extra: int = 1, batch: Any = 2) -> ProgressiveSchedule:
    return ProgressiveSchedule(4 * 2**stages, fade, stable, stages * (fade + stable) + extra, batch_size=batch)


@settings(max_examples=40)
@given(**STRETCHES, extra=st.integers(1, 50))
def test_the_stretches_tile_the_training_exactly(stages: int, fade: int, stable: int, extra: int) -> None:
    schedule = any_schedule(stages, fade, stable, extra)
    found = [
        (stage, phase.resolution, phase.alpha)
        for seen in range(schedule.total_images)
        for stage, phase in [(schedule.stage(seen), schedule.at(seen))]
    ]
    expected: list[tuple[int, int, float]] = [(0, 4, 1.0)] * stable
    for stage in range(1, stages + 1):
        side = 4 * 2**stage
        expected += [(2 * stage - 1, side, k / fade) for k in range(fade)] + [(2 * stage, side, 1.0)] * stable
    assert found[: len(expected)] == expected[: len(found)]
    assert found[-1] == (2 * stages, 4 * 2**stages, 1.0)
    assert len(found) == stages * (fade + stable) + extra


@given(**STRETCHES, seen=st.integers(0, 600), more=st.integers(1, 600))
def test_growth_and_stages_go_one_way_and_end(stages: int, fade: int, stable: int, seen: int, more: int) -> None:
    schedule = any_schedule(stages, fade, stable)
    now, later = schedule.at(seen), schedule.at(seen + more)
    assert 0 <= now.alpha <= 1
    assert (now.resolution, now.alpha) <= (later.resolution, later.alpha)
    assert schedule.stage(seen) <= schedule.stage(seen + more) <= 2 * stages
    assert schedule.at(schedule.total_images + more) == schedule.at(schedule.total_images - 1)
    assert now == schedule.at(seen)  # nothing is kept between questions


@settings(max_examples=60)
@given(
    **STRETCHES,
    extra=st.integers(1, 60),
    sizes=st.lists(st.integers(2, 40), min_size=5, max_size=5),
    killed=st.integers(0, 40),
)
def test_a_resumed_training_walks_as_an_undisturbed_one(
    stages: int, fade: int, stable: int, extra: int, sizes: list[int], killed: int
) -> None:
    """A new schedule, told only how many images were seen, goes on with the batches and phases that were left."""
    batch = {4 * 2**stage: sizes[stage] for stage in range(stages + 1)}
    whole, again = (any_schedule(stages, fade, stable, extra, batch) for _ in range(2))
    walked = list(whole.batch_sizes())
    killed = min(killed, len(walked))
    seen = sum(walked[:killed])
    rest = []
    while seen < again.total_images:
        assert again.at(seen) == whole.at(seen)
        rest.append(again.at(seen).batch_size)
        seen += rest[-1]
    assert walked[:killed] + rest == walked
    assert sum(walked) - walked[-1] < whole.total_images <= sum(walked)


@given(steps=st.integers(1, 10**6), length=st.integers(1, 10**4))
def test_whole_epochs_have_the_steps_asked_for_or_are_refused(steps: int, length: int) -> None:
    epochs = whole_epochs(steps * length, length)
    assert (epochs, type(epochs)) == (steps, int)
    if steps % length:
        with pytest.raises(ConfigError, match=rf"multiple of epoch_length \({length}\)"):
            whole_epochs(steps, length)
    else:
        assert whole_epochs(steps, length) * length == steps


@pytest.mark.parametrize("value", [0, -3, 1.0, True, "8", None])
@pytest.mark.parametrize("name", ["steps", "epoch_length"])
def test_epochs_that_are_none(value: Any, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}: must be a whole number of at least 1"):
        whole_epochs(**{"steps": 8, "epoch_length": 8, name: value})
