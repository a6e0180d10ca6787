"""How good the samples are while a GAN trains, measured beside the training, not in it."""

from __future__ import annotations

import csv
import logging
import os
import pickle
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from monai_cxraug.artifacts import read_json, write_csv
from monai_cxraug.errors import ConfigError, CxrAugError, StateError
from monai_cxraug.handlers.measuring import LOG, SCHEMA, Measure, MeasuringProcess

_CLOCK = "images_seen"
_COLUMNS = (_CLOCK, "resolution", "alpha", "seconds")
#: failures in a row after which no more is tried.
_TRIES = 3
_PAUSE = 0.05

_logger = logging.getLogger(__name__)


class FidelityLog:
    """Measures the averaged generator of a ``ProgressiveGanTrainer`` every so many images and at the end.

    Its weights and phase are written to a small file, and a process of the lowest priority and one thread measures
    them; finished figures come back at a later iteration, into the table and TensorBoard. While one measurement runs,
    those that become due are skipped (and counted at the end), but the last one: the end of training waits for it.

    A failure, or a process that dies, is said in one line, and the next measurement starts another process; after three
    in a row nothing more is tried. Training goes on in any case.

    After a resume the table's rows up to the checkpoint stay and none is measured twice; later rows are of a training
    that is lost, and are dropped. In distributed training rank 0 measures.

    Args:
        path: the table, one row a measurement; its folder also gets a working folder of the same name without suffix.
        measure: a picklable function that maps a snapshot (``settings`` and ``weights`` of the generator,
            and its ``growth``) to named figures; ``synthesis.fidelity.MeasureSnapshot`` is one.
        every: images seen between measurements.
        writer: TensorBoard ``SummaryWriter``, if wanted.
        wait: seconds that the end of training waits for measurements.

    Raises:
        ConfigError: a number is out of range, or the function cannot be sent to another process.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        measure: Measure,
        every: int = 50_000,
        writer: Any = None,
        wait: float = 900.0,
    ) -> None:
        if every < 1 or wait < 0:
            rule = "every must be at least 1 and wait at least 0"
            raise ConfigError("FidelityLog", rule, f"{every}, {wait}", "give images and seconds")
        self.table, self.every, self.writer, self.wait = FidelityTable(Path(path)), every, writer, wait
        self.folder = Path(path).with_suffix("")
        self._measure = _pickle(measure)
        self._process: MeasuringProcess | None = None
        self._job: dict[str, Any] | None = None  # the row that is being measured, without its figures
        self._last = -1
        self._skipped = self._failures = 0

    def attach(self, engine: Engine) -> None:
        """Register on the engine, on rank 0."""
        if idist.get_rank() == 0:
            engine.add_event_handler(Events.STARTED, self._register_end)
            engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)

    def _register_end(self, engine: Engine) -> None:
        # as late as this so that a Resume that is listed before has saved when the end is waited for
        self._last = -1
        if not engine.has_event_handler(self._end, Events.COMPLETED):
            engine.add_event_handler(Events.COMPLETED, self._end)

    def _begin(self, engine: Any) -> None:
        """Once, when a resumed clock is set: take the table up where the checkpoint stands."""
        if self._last >= 0:
            return
        self._last = engine.state.images_seen
        self._skipped = self._failures = 0
        self._stop()  # of an earlier run of this engine that failed
        self._job = None
        self.table.load(self._last)
        self.folder.mkdir(parents=True, exist_ok=True)
        for file in self.folder.iterdir():  # snapshots and half-written files of a training that was killed
            if file.name != LOG:
                file.unlink()

    def _step(self, engine: Any) -> None:
        seen = engine.state.images_seen
        self._collect()
        if seen // self.every > self._last // self.every:
            if self._job is None:
                self._submit(engine)
            else:
                self._skipped += 1
        self._last = seen

    def _end(self, engine: Any) -> None:
        self._begin(engine)  # a training that had ended before has no epoch
        until = time.monotonic() + self.wait
        self._wait(until)
        if engine.state.images_seen not in self.table and self._job is None:
            self._submit(engine)
            self._wait(until)
        self._stop()
        if self._job is not None:
            seen = self._clear()[_CLOCK]
            self._say(seen, f"not measured within {self.wait:g} s after the end of training; given up")
        if self._skipped:
            self._say(self._last, f"{self._skipped} measurements skipped: the one before was running; raise 'every'")
        _remove_if_silent(self.folder)

    def _wait(self, until: float) -> None:
        while self._job is not None and time.monotonic() < until:
            self._collect()
            time.sleep(_PAUSE if self._job is not None else 0)

    # --- one measurement ---

    def _submit(self, engine: Any) -> None:
        """Write a snapshot and hand it over."""
        if self._failures >= _TRIES:
            return
        seen = engine.state.images_seen
        phase, generator = engine.schedule.at(seen), engine.ema.module
        weights = {name: tensor.detach().cpu() for name, tensor in generator.state_dict().items()}
        self._job = {_CLOCK: seen, "resolution": phase.resolution, "alpha": phase.alpha}
        snapshot = {"settings": generator.settings, "weights": weights, "growth": phase.growth}
        try:
            torch.save(snapshot, self._file(".pt"))
            if self._process is None:
                self._process = MeasuringProcess(self._measure, self.folder)
            self._process.submit(str(seen))
        except (OSError, RuntimeError) as error:  # torch's writer knows no OSError
            self._fail(f"no snapshot could be handed over ({str(error).splitlines()[0]})")

    def _collect(self) -> None:
        """Take a finished measurement, or notice that there will be none."""
        if self._job is None or self._process is None:
            return
        death = self._process.death()  # asked first: a process may finish its last one between the two questions
        if self._file(".json").exists():
            self._take()
        elif death is not None:
            self._stop()
            self._fail(f"the measuring process ended ({death}); see {self.folder / LOG}")

    def _take(self) -> None:
        try:
            result = read_json(self._file(".json"), SCHEMA)
        except CxrAugError as error:
            return self._fail(str(error))
        if result["error"] is not None:
            return self._fail(result["error"])
        job = self._clear()
        self._failures = 0
        try:
            self.table.add({**job, "seconds": result["seconds"], **result["figures"]})
        except OSError as error:
            self._say(job[_CLOCK], f"the row could not be written ({error}); it will be with the next")
        if self.writer is not None:
            for name, value in result["figures"].items():
                self.writer.add_scalar(f"fidelity/{name}", value, job[_CLOCK])

    def _fail(self, reason: str) -> None:
        self._failures += 1
        more = "the next one is tried" if self._failures < _TRIES else f"given up after {_TRIES} in a row"
        self._say(self._clear()[_CLOCK], f"{reason}; training goes on, {more}")

    def _clear(self) -> dict[str, Any]:
        """Forget the job and its files."""
        job = self._job or {}
        for suffix in (".pt", ".json"):
            self._file(suffix).unlink(missing_ok=True)
        self._job = None
        return job

    def _file(self, suffix: str) -> Path:
        return self.folder / f"{(self._job or {}).get(_CLOCK)}{suffix}"

    def _stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None

    def _say(self, seen: int, text: str) -> None:
        line = f"fidelity at {seen} images seen: {text}"
        _logger.warning(line)
        if self.writer is not None:
            self.writer.add_text("fidelity", line, seen)


class FidelityTable:
    """The rows measured so far, and their CSV file, which is whole at any moment.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []

    def __contains__(self, images_seen: int) -> bool:
        return any(int(row[_CLOCK]) == images_seen for row in self.rows)

    def load(self, until: int) -> None:
        """Read the rows up to a number of images seen; later ones leave the file with the next row.

        Raises:
            StateError: the file is not such a table.
        """
        try:
            with self.path.open(encoding="utf-8", newline="") as stream:
                rows = list(csv.DictReader(stream))
            self.rows = [row for row in rows if int(row[_CLOCK]) <= until]
        except FileNotFoundError:
            self.rows = []
        except (KeyError, TypeError, ValueError) as error:
            rule = f"must be a table with a column {_CLOCK!r} of whole numbers"
            raise StateError(self.path, rule, error, "move it elsewhere") from None

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row and write the file; figures that other rows lack become empty cells of them."""
        self.rows.append(dict(row))
        columns = list(dict.fromkeys([*_COLUMNS, *(name for row in self.rows for name in row)]))
        write_csv(self.path, columns, ([_cell(row.get(name, "")) for name in columns] for row in self.rows))


def _cell(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def _remove_if_silent(folder: Path) -> None:
    """Remove the working folder with its log when nothing was said in it."""
    log = folder / LOG
    if log.exists() and log.stat().st_size == 0:
        log.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _pickle(measure: Measure) -> bytes:
    try:
        return pickle.dumps(measure)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        rule = "must be a function or object that can be sent to another process"
        raise ConfigError("FidelityLog(measure)", rule, error, "define it at the top of a module") from None
