"""What all distortions share."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.transforms.functional.distortions.draws import (
    choose_direction,
    leave,
    make_generator,
    require_colour,
    require_within,
)


def test_seeds_of_any_whole_type_draw_the_same() -> None:
    for seed in (0, 17, 2**70):
        assert make_generator("noise", seed).random() == np.random.default_rng(seed).random()
    assert make_generator("noise", np.int64(17)).random() == make_generator("noise", 17).random()


@pytest.mark.parametrize("seed", [-1, 0.0, 1.5, "1", None, False, float("nan")])
def test_seeds_that_are_none(seed: object) -> None:
    with pytest.raises(ConfigError, match=r"noise\(seed\): must be a whole number from 0; found"):
        make_generator("noise", seed)  # type: ignore[arg-type]


@pytest.mark.parametrize(("value", "low", "high"), [(0, 0, 1), (1, 0, 1), (5, 0, math.inf), (-0.0, 0, 1)])
def test_ends_are_within(value: float, low: float, high: float) -> None:
    require_within("a(b)", value, low, high)


@pytest.mark.parametrize("value", [-1e-9, 1.0000001, math.nan, math.inf, -math.inf])
def test_what_is_out_of_range(value: float) -> None:
    with pytest.raises(ConfigError, match=r"a\(b\): must be in \[0, 1\]; found"):
        require_within("a(b)", value, 0, 1)


@pytest.mark.parametrize(("angle", "expected"), [(0, (1, 0)), (90, (0, -1)), (180, (-1, 0)), (-90, (0, 1))])
def test_directions_are_anticlockwise_as_seen(angle: float, expected: tuple[float, float]) -> None:
    assert choose_direction(angle, np.random.default_rng(0)) == pytest.approx(expected, abs=1e-15)


def test_directions_are_drawn_all_around() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([choose_direction(None, rng) for _ in range(2000)])
    assert np.hypot(*drawn.T) == pytest.approx(1)
    assert drawn.mean(axis=0) == pytest.approx(0, abs=0.05)
    assert drawn.var(axis=0) == pytest.approx(0.5, abs=0.03)


def test_a_left_image_is_a_copy() -> None:
    image = torch.zeros(2, 2)
    leave(image).add_(1)
    assert image.sum() == 0
    with pytest.raises(InputError):
        leave(torch.zeros(2, 2, dtype=torch.int32))


def test_colour_is_three_channels() -> None:
    require_colour(torch.zeros(2, 3, 4, 5))
    with pytest.raises(InputError, match="three channels, RGB, before height and width; found 2 × 4 × 5"):
        require_colour(torch.zeros(2, 4, 5))
