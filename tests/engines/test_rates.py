"""A cycle of the learning rate for each part of a training."""

from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from monai_cxraug.engines.rates import cycle_each
from monai_cxraug.errors import ConfigError


def optimizer() -> torch.optim.Optimizer:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (0.1, 0.02)]
    return torch.optim.AdamW(groups)


def follow(used: torch.optim.Optimizer, scheduler: LRScheduler, steps: int) -> list[list[float]]:
    """Rates and first betas that each step is done with."""
    found = []
    for _ in range(steps):
        found.append([value for group in used.param_groups for value in (group["lr"], group["betas"][0])])
        used.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("lengths", [[7], [8, 2], [3, 1, 12]])
def test_each_part_has_the_cycle_that_it_would_have_alone(lengths: list[int]) -> None:
    wanted = []
    for length in lengths:
        alone = optimizer()
        wanted += follow(alone, OneCycleLR(alone, [0.1, 0.02], total_steps=length + 1, pct_start=0.1), length)
    together = optimizer()
    found = follow(together, cycle_each(together, lengths), sum(lengths))
    for one, other in zip(found, wanted, strict=True):
        assert one == pytest.approx(other)


def test_a_rise_of_exactly_one_step_is_no_division_by_zero() -> None:
    used = optimizer()
    rates = [row[0] for row in follow(used, cycle_each(used, [9, 9]), 18)]
    assert rates[:9] == pytest.approx(rates[9:])
    assert max(rates) == pytest.approx(0.1, rel=0.05)


def test_a_saved_state_goes_on() -> None:
    for stop in range(10):
        first, second = optimizer(), optimizer()
        whole = optimizer()
        wanted = follow(whole, cycle_each(whole, [6, 4]), 10)
        scheduler, resumed = cycle_each(first, [6, 4]), cycle_each(second, [6, 4])
        assert follow(first, scheduler, stop) == wanted[:stop]
        second.load_state_dict(first.state_dict())
        resumed.load_state_dict(scheduler.state_dict())
        assert follow(second, resumed, 10 - stop) == wanted[stop:]


@pytest.mark.parametrize("lengths", [[], [5, 0], [-1, 6]])
def test_parts_without_steps_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ConfigError, match="needs a step"):
        cycle_each(optimizer(), lengths)
