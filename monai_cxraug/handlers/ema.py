"""Averages a network's weights while a supervised trainer runs."""

from __future__ import annotations

from ignite.engine import Engine, Events

from monai_cxraug.engines.ema import ExponentialMovingAverage


class AverageWeights:
    """Updates an average after every iteration; its half-life counts iterations.

    Args:
        ema: the average of the network that the engine trains.
        restart: iterations after which the average begins anew with the weights as they are; None never does.
    """

    def __init__(self, ema: ExponentialMovingAverage, restart: int | None = None) -> None:
        self.ema, self.restart = ema, restart

    def attach(self, engine: Engine) -> None:
        """Register on the engine's iterations."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Take one iteration into the average."""
        before = engine.state.iteration - 1
        begun = self.restart if self.restart is not None and before >= self.restart else 0
        self.ema.update(1, before - begun)
