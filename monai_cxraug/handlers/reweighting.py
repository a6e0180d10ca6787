"""Deferred re-weighting: a loss that weighs its classes only in the last part of the training."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine, Events

from monai_cxraug.errors import ConfigError


class DeferReweighting:
    """Switches a loss's weights on after a number of iterations (Cao et al. 2019, arXiv 1906.07413, algorithm 1).

    A pure function of the iteration, so a resumed training needs to know nothing more.

    Args:
        loss: has an attribute ``reweighted``, such as :class:`~monai_cxraug.losses.imbalance.LDAMLoss`.
        after: iterations without weights.

    Raises:
        ConfigError: the loss has no such attribute, or ``after`` is negative.
    """

    def __init__(self, loss: Any, after: int) -> None:
        if not hasattr(loss, "reweighted"):
            mend = "use LDAMLoss, or remove reweight_after"
            raise ConfigError(
                "DeferReweighting(loss)", "must be a loss with deferred weights", type(loss).__name__, mend
            )
        if after < 0:
            raise ConfigError("DeferReweighting(after)", "must be at least 0", after)
        self.loss, self.after = loss, after

    def attach(self, engine: Engine) -> None:
        """Register on the engine's iterations."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Look where training stands; ignite counts the iteration that begins."""
        self.loss.reweighted = engine.state.iteration > self.after
