"""Classifier re-training: a new head on a body that stands still."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from monai_cxraug.engines.ema import ExponentialMovingAverage
from monai_cxraug.engines.groups import parameter_groups
from monai_cxraug.errors import ConfigError
from monai_cxraug.handlers.ema import AverageWeights
from monai_cxraug.handlers.retraining import RetrainHead, draw_weights
from monai_cxraug.losses.imbalance import MaskedBCE
from monai_cxraug.networks.classifiers import Classifier

State = dict[str, Tensor]


def snapshot(network: nn.Module) -> State:
    return {name: value.clone() for name, value in network.state_dict().items()}


def differing(one: State, other: State) -> set[str]:
    return {name for name in one if not torch.equal(one[name], other[name])}


@pytest.mark.parametrize("architecture", ["small_cnn", "efficientnet_b1"])
@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_the_second_stage(architecture: str, kind: Any) -> None:
    torch.manual_seed(0)
    network, loss = Classifier(2, architecture), MaskedBCE()
    options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    optimizer = kind(parameter_groups(network, loss, 0.01), lr=0.01, weight_decay=0.1, **options)
    ema = ExponentialMovingAverage(network, half_life=5)
    head = {name for name, one in network.named_parameters() if any(one is other for other in network.head_parameters)}
    started: list[State] = []
    averages: list[State] = []
    slots: list[int] = []

    def step(engine: Engine, batch: Tensor) -> None:
        network.train()
        started.append(snapshot(network))
        slots.append(sum(parameter in optimizer.state for parameter in network.head_parameters))
        optimizer.zero_grad(set_to_none=False)  # as MONAI's trainers do
        loss(network(batch), torch.tensor([[1.0, 0.0]] * 4)).backward()
        optimizer.step()

    engine = Engine(step)
    AverageWeights(ema, restart=3).attach(engine)
    RetrainHead(network, ema, optimizer, 3, [0.5, 0.25], seed=7).attach(engine)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: averages.append(snapshot(ema.module)))
    engine.run([torch.rand(4, 1, 32, 32) for _ in range(6)], max_epochs=1)

    assert network.frozen
    assert differing(started[2], started[1]) - head
    assert differing(started[3], averages[2]) == head  # begins with the average of the first stage
    for later in (*started[4:], *averages[3:]):
        assert differing(later, started[3]) <= head
        assert differing(later, started[3])
    last = network.head
    bias = next(name for name, one in network.named_parameters() if one is last.bias)
    assert started[3][bias].tolist() == pytest.approx([0, math.log(1 / 3)], abs=1e-6)
    assert slots[2] > 0
    assert slots[3] == 0
    assert not differing(averages[3], started[4])  # the average of the head begins with what it is after one step


def test_the_new_weights_depend_on_the_seed_alone() -> None:
    found = []
    for seed, before in ((1, 0), (1, 5), (2, 0)):
        torch.manual_seed(before)
        network = Classifier(3, "efficientnet_b1")
        draw_weights(network.head_parameters, seed)
        found.append(torch.cat([one.flatten() for one in network.head_parameters]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_they_are_spread_as_those_of_a_dense_layer() -> None:
    layer, other = nn.Linear(400, 300), nn.Linear(400, 300)
    draw_weights(layer.parameters(), 0)
    for one, two in zip(layer.parameters(), other.parameters(), strict=True):
        assert one.abs().max().item() == pytest.approx(1 / 20, rel=0.02)
        assert one.abs().max() <= 1 / 20
        assert one.std().item() == pytest.approx(two.std().item(), rel=0.15)
        assert abs(one.mean().item()) < 0.01


@pytest.mark.parametrize("after", [0, -1, None, 2.5])
def test_a_body_must_learn_first(after: Any) -> None:
    network = Classifier(1, "small_cnn")
    with pytest.raises(ConfigError, match="after"):
        RetrainHead(network, ExponentialMovingAverage(network, 1), torch.optim.SGD(network.parameters()), after)
