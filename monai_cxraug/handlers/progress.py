"""One line of progress: a bar on a terminal, a plain line now and then elsewhere; and scalars over images seen."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from numbers import Real
from typing import Any, TextIO

from ignite.engine import Engine, Events
from torch import Tensor

from monai_cxraug.console import is_quiet

#: numbers that a line of progress leaves to TensorBoard.
_FOR_PLOTS = frozenset({"real_score", "fake_score"})


class Progress:
    """Shows how far training is, with its losses and phase.

    The unit is images seen where the engine has that clock, else iterations.

    Args:
        label: what is trained, shown first.
        interval: seconds between plain lines when the output is not a terminal.
        stream: where to write; standard error by default.
    """

    def __init__(self, label: str = "training", interval: float = 30.0, stream: TextIO | None = None) -> None:
        self.label, self.interval = label, interval
        self.stream = sys.stderr if stream is None else stream
        self._bar: Any = None
        self._begun = self._printed = 0.0
        self._from = 0

    def attach(self, engine: Engine) -> None:
        """Register on the engine, unless nothing is to be said."""
        if is_quiet():
            return
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.COMPLETED, self._end)

    def _begin(self, engine: Engine) -> None:
        """Open the bar in the first epoch, when a resumed clock is already set."""
        if self._begun:
            return
        self._begun = self._printed = time.monotonic()
        self._from, total, unit = clock(engine)
        if self.stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, initial=self._from, unit=unit, desc=self.label, file=self.stream, mininterval=0.5
            )

    def _step(self, engine: Engine) -> None:
        if self._bar is not None:
            # totals count whole batches at most: the last one may go beyond the end
            self._bar.update(min(clock(engine)[0], self._bar.total) - self._bar.n)
            self._bar.set_postfix_str(describe(engine.state.output), refresh=False)
        elif time.monotonic() - self._printed >= self.interval:
            self._print(engine)

    def _end(self, engine: Engine) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._begun:
            self._print(engine)
        self._bar, self._begun = None, 0.0

    def _print(self, engine: Engine) -> None:
        self._printed = time.monotonic()
        now, total, unit = clock(engine)
        rate = (now - self._from) / max(self._printed - self._begun, 1e-9)
        parts = [f"{self.label}: {now}/{total} {unit}", f"{rate:.3g} {unit}/s", describe(engine.state.output)]
        print(", ".join(part for part in parts if part), file=self.stream, flush=True)


def clock(engine: Any) -> tuple[int, int, str]:
    """Where an engine stands, where it ends, and the unit: images where it counts them, else steps."""
    if hasattr(engine.state, "images_seen"):
        return engine.state.images_seen, engine.schedule.total_images, "images"
    return engine.state.iteration, engine.state.max_epochs * engine.state.epoch_length, "steps"


def scalars(output: Any) -> dict[str, float]:
    """The numbers in an engine's output: of a mapping or of the first entry of a decollated list."""
    output = output[0] if isinstance(output, list) and output else output
    if not isinstance(output, Mapping):
        return {}
    pairs = {name: value.item() if _is_scalar(value) else value for name, value in output.items()}
    return {str(name): float(value) for name, value in pairs.items() if isinstance(value, Real)}


def _is_scalar(value: Any) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1


def describe(output: Any) -> str:
    """An engine's numbers as short text: ``"loss 0.31, alpha 0.5"``."""
    return ", ".join(f"{name} {value:.3g}" for name, value in scalars(output).items() if name not in _FOR_PLOTS)


def write_scalars(engine: Any, writer: Any) -> None:
    """Write the output's numbers over images seen.

    Use as ``iteration_event_writer`` of MONAI's ``TensorBoardStatsHandler``, whose own writer counts iterations.

    Args:
        engine: the trainer.
        writer: a TensorBoard ``SummaryWriter``.
    """
    for name, value in scalars(engine.state.output).items():
        writer.add_scalar(name, value, clock(engine)[0])
