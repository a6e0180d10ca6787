from __future__ import annotations

import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from torch import nn

from monai_cxraug.engines.ema import ExponentialMovingAverage
from monai_cxraug.handlers.ema import AverageWeights


def test_the_average_follows_each_iteration_of_a_supervised_trainer() -> None:
    torch.manual_seed(0)
    net = nn.Linear(2, 1, bias=False)
    ema = ExponentialMovingAverage(net, half_life=2, ramp=float("inf"))
    expected, history = ema.module.state_dict()["weight"].clone(), []
    batches = [{"image": torch.randn(3, 2), "label": torch.randn(3, 1)} for _ in range(4)]

    class Remember:
        def attach(self, engine: SupervisedTrainer) -> None:
            engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: history.append(net.weight.detach().clone()))

    SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=batches,
        network=net,
        optimizer=torch.optim.SGD(net.parameters(), 0.1),
        loss_function=nn.MSELoss(),
        train_handlers=[AverageWeights(ema), Remember()],
    ).run()
    keep = 0.5**0.5
    for weight in history:
        expected = keep * expected + (1 - keep) * weight
    torch.testing.assert_close(ema.module.state_dict()["weight"], expected)
