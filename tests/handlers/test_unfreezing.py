"""Which weights learn when, and which do not."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine
from torch import Tensor

from monai_cxraug.engines.groups import parameter_groups
from monai_cxraug.errors import ConfigError
from monai_cxraug.handlers.unfreezing import Unfreeze
from monai_cxraug.losses.imbalance import AUCMarginLoss, MaskedBCE
from monai_cxraug.networks.classifiers import Classifier


def snapshot(network: Classifier) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.body.state_dict().items()}


@pytest.mark.parametrize("resumed_at", [0, 2])
def test_the_body_learns_only_after_its_time(resumed_at: int) -> None:
    torch.manual_seed(0)
    network, loss = Classifier(2, "small_cnn"), MaskedBCE()
    optimizer = torch.optim.SGD(parameter_groups(network, loss, 0.1, 0.5))
    seen = []

    def step(engine: Engine, batch: Tensor) -> None:
        network.train()  # as trainers do in every step
        before = snapshot(network)
        optimizer.zero_grad()
        loss(network(batch), torch.tensor([[1.0, 0.0]] * 4)).backward()
        optimizer.step()
        after = snapshot(network)
        changed = {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])}
        seen.append(changed)

    engine = Engine(step)
    Unfreeze(network, 3).attach(engine)
    engine.load_state_dict({"iteration": resumed_at, "max_epochs": 1, "epoch_length": 5})
    engine.run([torch.rand(4, 1, 16, 16)] * 5)
    everything = {"features", "hidden", "out"}
    assert seen == [{"out"}] * (3 - resumed_at) + [everything] * 2  # the normalisations' statistics stand still too


def test_groups_have_their_rates_and_every_weight_once() -> None:
    network = Classifier(2, "efficientnet_b1")
    loss = AUCMarginLoss([3, 4], [5, 6])
    groups = parameter_groups(network, loss, 0.01, 0.1)
    assert [group["lr"] for group in groups] == [0.01, pytest.approx(0.001), 0.01]
    assert len(groups[0]["params"]) == 4  # system A's two dense layers
    assert groups[2]["weight_decay"] == 0
    given = [id(parameter) for group in groups for parameter in group["params"]]
    wanted = {id(parameter) for module in (network, loss) for parameter in module.parameters()}
    assert len(given) == len(set(given))
    assert set(given) == wanted


@pytest.mark.parametrize(("rate", "body"), [(0.0, 1.0), (0.1, 0.0), (0.1, 1.5), (float("nan"), 1.0)])
def test_bad_rates_are_refused(rate: float, body: float) -> None:
    with pytest.raises(ConfigError, match="learning rates"):
        parameter_groups(Classifier(1, "small_cnn"), MaskedBCE(), rate, body)


def test_negative_times_are_refused() -> None:
    with pytest.raises(ConfigError, match="after"):
        Unfreeze(Classifier(1, "small_cnn"), -1)
