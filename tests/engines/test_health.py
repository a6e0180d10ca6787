from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, pdist

from monai_cxraug.engines.health import Health, Limits, find_failure, largest_magnitude, reach, shrink, spread
from monai_cxraug.errors import ConfigError

#: a healthy WGAN-GP training: slope 0.5, diversity 0.8.
WELL = Health(
    losses=1.0, weights=3.0, fake_spread=0.8, real_spread=1.0, reach=2.0, gap=2.0, critic_loss=-2.0, penalty=0.2
)
CHANCE = 2 * math.log(2)


def judge(chance: float = 0.0, target: float = 1.0, settled: bool = True, **changes: float) -> str:
    return find_failure(replace(WELL, **changes), Limits(), chance, target, settled)


def test_a_healthy_training_has_no_failure() -> None:
    assert judge() == ""
    assert judge(chance=CHANCE, critic_loss=1.0, gap=1e6, penalty=1e6) == ""


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["losses", "weights"])
@pytest.mark.parametrize("settled", [True, False])
def test_numbers_that_are_not_finite_always_count(name: str, value: float, settled: bool) -> None:
    assert name in judge(settled=settled, **{name: value})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fake_spread": 0.099}, "look alike"),
        ({"fake_spread": 0.0}, "look alike"),
        ({"gap": 8.01}, "slope 2 "),
        ({"gap": 8.01 * 3, "target": 3.0}, "slope 6.01"),
        ({"penalty": 100.1}, "penalty"),
        ({"chance": CHANCE, "critic_loss": 0.0138}, "its loss"),
        ({"chance": CHANCE, "critic_loss": 0.0}, "its loss"),
    ],
)
def test_each_limit(changes: dict[str, float], reason: str) -> None:
    assert reason in judge(**changes)
    assert judge(**changes, settled=False) == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"fake_spread": 0.101},
        {"gap": 7.99},
        {"gap": 7.99 * 3, "target": 3.0},
        {"gap": -1e6},
        {"penalty": 99.9},
        {"chance": CHANCE, "critic_loss": 0.0139},
        {"critic_loss": 0.0},
    ],
)
def test_within_the_limits(changes: dict[str, float]) -> None:
    assert judge(**changes) == ""


def test_what_was_not_measured_is_not_judged() -> None:
    assert find_failure(Health(losses=0.0, weights=0.0), Limits(), 0.0, 1.0, True) == ""
    assert find_failure(Health(losses=0.0, weights=0.0), Limits(), CHANCE, 1.0, True) == ""
    assert math.isnan(Health(fake_spread=1.0, real_spread=0.0).diversity)
    assert math.isnan(Health(gap=1.0, reach=0.0).slope)


def test_a_critic_that_keeps_to_the_slope_stays_within_the_limit() -> None:
    """A linear critic of slope 1 in its own scale, against fakes as far away as can be."""
    real, fake = torch.rand(16, 1, 8, 8), torch.rand(16, 1, 8, 8) - 5
    direction = (real.mean(0) - fake.mean(0)).flatten()
    direction /= direction.norm()
    scores = [((2 * images - 1).flatten(1) @ direction).mean() for images in (real, fake)]
    health = Health(gap=float(scores[0] - scores[1]), reach=float(reach(real, fake)))
    assert 0.9 < health.slope <= 1.0


def test_distances_equal_scipy() -> None:
    first, second = (torch.rand(n, 2, 5, 4, generator=torch.Generator().manual_seed(n)) for n in (7, 5))
    flat = [images.flatten(1).double().numpy() for images in (first, second)]
    assert spread(first).item() == pytest.approx(pdist(flat[0]).mean(), rel=1e-5)
    assert reach(first, second).item() == pytest.approx(cdist(*flat).mean(), rel=1e-5)


def test_equal_images_have_no_spread_and_one_has_none_to_measure() -> None:
    assert spread(torch.rand(1, 1, 8, 8).expand(6, -1, -1, -1)).item() == 0.0
    assert math.isnan(spread(torch.rand(1, 1, 8, 8)).item())


def test_spread_works_in_half_precision() -> None:
    images = torch.rand(6, 1, 8, 8)
    assert spread(images.bfloat16()).item() == pytest.approx(spread(images).item(), rel=0.02)


def test_shrinking_averages_areas() -> None:
    images = torch.rand(3, 1, 8, 6)
    expected = images.numpy().reshape(3, 1, 4, 2, 3, 2).mean((3, 5))
    np.testing.assert_allclose(shrink(images, torch.empty(9, 1, 4, 3)).numpy(), expected, atol=1e-6)
    assert torch.equal(shrink(images, images), images)


def nested(value: Any) -> list[Any]:
    """States as optimisers and networks have them."""
    moments = {0: {"step": torch.tensor(1e9), "exp_avg": torch.tensor([-2.0, 1.0])}}
    return [
        {"weight": value},
        {"state": moments, "param_groups": [{"lr": 5.0, "params": [0]}]},
        {"n": torch.tensor([7])},
    ]


def test_largest_magnitude_looks_everywhere_but_at_counters() -> None:
    assert largest_magnitude(nested(torch.tensor([0.5, -3.0])), "cpu").item() == 3.0
    assert largest_magnitude(nested(torch.zeros(1)), "cpu").item() == 2.0
    assert largest_magnitude(nested(torch.empty(0)), "cpu").item() == 2.0
    assert largest_magnitude(nested(torch.tensor([1.0, -9.0], dtype=torch.float16)), "cpu").item() == 9.0
    assert largest_magnitude([{}], "cpu").item() == 0.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_largest_magnitude_is_finite_only_if_everything_is(value: float) -> None:
    assert not math.isfinite(largest_magnitude(nested(torch.tensor([1.0, value])), "cpu").item())


@pytest.mark.parametrize(
    "limit",
    [
        {"diversity": -0.1},
        {"diversity": 1.0},
        {"diversity": math.nan},
        {"critic": 1.0},
        {"slope": 1.0},
        {"slope": math.nan},
        {"penalty": 0.0},
    ],
)
def test_bad_limits_are_refused(limit: dict[str, float]) -> None:
    (name,) = limit
    with pytest.raises(ConfigError, match=name):
        Limits(**limit)


def test_a_sign_can_be_switched_off() -> None:
    off = Limits(diversity=0.0, critic=0.0, slope=math.inf, penalty=math.inf)
    sick = replace(WELL, fake_spread=0.0, gap=1e9, penalty=1e9, critic_loss=0.0)
    assert find_failure(sick, off, 0.0, 1.0, True) == find_failure(sick, off, CHANCE, 1.0, True) == ""
