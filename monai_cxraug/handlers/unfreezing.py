"""Staged unfreezing: the last layers learn alone at first, so that their random weights do not spoil the body's."""

from __future__ import annotations

from typing import Protocol

from ignite.engine import Engine, Events

from monai_cxraug.errors import ConfigError


class Freezable(Protocol):
    """What can learn in stages."""

    def freeze(self, frozen: bool = True) -> None:
        """Let only the last layers learn, or all."""


class Unfreeze:
    """Keeps a network's body frozen for a number of iterations; a pure function of the iteration.

    Args:
        network: what learns, a classifier.
        after: iterations in which only the last layers learn; 0 freezes nothing.

    Raises:
        ConfigError: ``after`` is negative.
    """

    def __init__(self, network: Freezable, after: int) -> None:
        if after < 0:
            raise ConfigError("Unfreeze(after)", "must be at least 0", after, "0 freezes nothing")
        self.network, self.after = network, after

    def attach(self, engine: Engine) -> None:
        """Register on the engine's iterations."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Look where training stands; ignite counts the iteration that begins."""
        self.network.freeze(engine.state.iteration <= self.after)
