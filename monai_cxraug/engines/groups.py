"""What an optimiser is given: groups of weights, each with a learning rate of its own."""

from __future__ import annotations

from typing import Any

from torch import nn

from monai_cxraug.errors import ConfigError


def parameter_groups(network: Any, loss: nn.Module, rate: float, body_rate: float = 1.0) -> list[dict[str, Any]]:
    """Group a classifier's weights.

    Args:
        network: has ``head_parameters`` and ``body_parameters``.
        loss: its own parameters, if it has any, learn as fast as the last layers and without weight decay.
        rate: learning rate of the last layers.
        body_rate: that of the body, as a share of it: below 1 for weights that have learnt already.

    Returns:
        Groups for an optimiser: last layers, body and, if there are any, the loss's.

    Raises:
        ConfigError: a rate is not above 0, or ``body_rate`` is above 1.
    """
    if not rate > 0 or not 0 < body_rate <= 1:
        raise ConfigError("learning rates", "must be above 0, body_rate at most 1", f"{rate}, {body_rate}")
    groups: list[dict[str, Any]] = [
        {"params": network.head_parameters, "lr": rate},
        {"params": network.body_parameters, "lr": rate * body_rate},
    ]
    if own := list(loss.parameters()):
        groups.append({"params": own, "lr": rate, "weight_decay": 0.0})
    return groups
