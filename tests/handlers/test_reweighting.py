"""When the weights of a loss with deferred re-weighting apply."""

from __future__ import annotations

import pytest
from ignite.engine import Engine

from monai_cxraug.errors import ConfigError
from monai_cxraug.handlers.reweighting import DeferReweighting
from monai_cxraug.losses.imbalance import LDAMLoss, MaskedBCE


@pytest.mark.parametrize("after", [0, 3, 6, 10])
@pytest.mark.parametrize("resumed_at", [0, 4])
def test_weights_apply_after_so_many_iterations_also_when_resumed(after: int, resumed_at: int) -> None:
    loss = LDAMLoss([3], [9])
    seen: list[bool] = []
    engine = Engine(lambda engine, batch: seen.append(loss.reweighted))
    DeferReweighting(loss, after).attach(engine)
    engine.load_state_dict({"iteration": resumed_at, "max_epochs": 1, "epoch_length": 8})
    engine.run([0] * 8)
    assert seen == [number >= after for number in range(resumed_at, 8)]


def test_other_losses_are_refused() -> None:
    with pytest.raises(ConfigError, match="MaskedBCE"):
        DeferReweighting(MaskedBCE(), 5)
    with pytest.raises(ConfigError, match="after"):
        DeferReweighting(LDAMLoss([3], [9]), -1)
