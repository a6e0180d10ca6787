from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_cxraug.engines.ema import ExponentialMovingAverage
from monai_cxraug.errors import ConfigError


def test_a_contribution_halves_over_the_half_life() -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    ema = ExponentialMovingAverage(net, half_life=40)
    nn.init.ones_(net.weight)
    for step in range(8):  # 8 updates of 5 images are one half-life
        ema.update(5, 10_000 + 5 * step)
    assert next(ema.module.parameters()).item() == pytest.approx(0.5)


def test_early_averages_forget_the_initial_weights() -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 100.0)
    ema = ExponentialMovingAverage(net, half_life=10_000)
    nn.init.ones_(net.weight)
    ema.update(10, 0)
    assert next(ema.module.parameters()).item() == 1.0
    slow = ExponentialMovingAverage(net, half_life=10_000, ramp=float("inf"))
    assert slow.decay(10, 1) == pytest.approx(0.5**0.001)
    assert ema.decay(10, 1000) == pytest.approx(0.5 ** (10 / 50))
    assert ema.decay(10, 10**9) == pytest.approx(0.5**0.001)


def test_buffers_are_averaged_and_whole_numbers_copied() -> None:
    net = nn.BatchNorm1d(2, momentum=None)
    ema = ExponentialMovingAverage(net, half_life=10)
    net.train()
    net(torch.tensor([[1.0, 3.0], [3.0, 5.0]]))
    ema.update(10, 1000)
    state = ema.module.state_dict()
    torch.testing.assert_close(state["running_mean"], torch.tensor([1.0, 2.0]))
    assert state["num_batches_tracked"].item() == 1


def test_the_copy_is_frozen_evaluating_and_separate() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    ema = ExponentialMovingAverage(net, half_life=10)
    assert not ema.module.training
    assert not any(p.requires_grad for p in ema.module.parameters())
    assert net.training
    assert all(p.requires_grad for p in net.parameters())


def test_state_is_the_plain_state_of_the_network() -> None:
    net = nn.Linear(2, 2)
    ema = ExponentialMovingAverage(net, half_life=10)
    other = ExponentialMovingAverage(nn.Linear(2, 2), half_life=10)
    other.load_state_dict(ema.state_dict())
    plain = nn.Linear(2, 2)
    plain.load_state_dict(other.state_dict())
    assert torch.equal(plain.weight, net.weight)


@pytest.mark.parametrize(("half_life", "ramp"), [(-1, 0.05), (10, -1)])
def test_bad_settings_are_refused(half_life: float, ramp: float) -> None:
    with pytest.raises(ConfigError):
        ExponentialMovingAverage(nn.Linear(1, 1), half_life, ramp)


def test_a_fixed_decay_keeps_its_share_whatever_the_clock() -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    ema = ExponentialMovingAverage(net, half_life=10, decay=0.999)
    nn.init.ones_(net.weight)
    for step, (count, seen) in enumerate([(1, 0), (128, 1), (3, 10**8)], 1):
        ema.update(count, seen)
        assert next(ema.module.parameters()).item() == pytest.approx(1 - 0.999**step, rel=1e-5)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5, float("nan")])
def test_a_share_that_never_learns_is_refused(decay: float) -> None:
    with pytest.raises(ConfigError, match=r"decay.*\[0, 1\)"):
        ExponentialMovingAverage(nn.Linear(1, 1), 10, decay=decay)
