"""A training whose weights are no longer numbers ends before such weights are kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine, Events

from monai_cxraug.engines.health import largest_magnitude
from monai_cxraug.errors import StateError


class StayFinite:
    """Ends a training at the end of the epoch in which a weight, average or moment of an optimiser became no number.

    Nothing is changed and tried again, as ``Recovery`` does for a GAN: trainings that are compared must have had equal
    settings. ``Resume`` saves after this handler, so that its checkpoint stays the last state that was one.

    Args:
        objects: what must stay finite, by name: anything with ``state_dict``. An engine's own ``resumables`` are looked
            at without being named.

    Raises:
        StateError: during training.
    """

    def __init__(self, objects: Mapping[str, Any] | None = None) -> None:
        self.objects = dict(objects or {})

    def attach(self, engine: Engine) -> None:
        """Register on the engine."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.check)

    def check(self, engine: Any) -> None:
        """Look now; one number comes from the device.

        Raises:
            StateError: one is not finite.
        """
        objects = {**getattr(engine, "resumables", {}), **self.objects}
        states = {name: item.state_dict() for name, item in objects.items() if hasattr(item, "state_dict")}
        if math.isfinite(largest_magnitude(list(states.values()), engine.state.device).item()):
            return
        ill = [name for name, one in states.items() if not largest_magnitude([one], engine.state.device).isfinite()]
        raise StateError(
            f"training at step {engine.state.iteration}",
            "weights must stay finite numbers",
            f"others in {', '.join(ill)}",
            "lower the learning rate, or look for images that are all of one value; the last checkpoint is from before",
        )
