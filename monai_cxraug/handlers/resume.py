"""One checkpoint that holds everything that resumes, so that a killed training continues as if it never stopped."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import signal
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from ignite.engine import Engine, Events

from monai_cxraug.artifacts import atomic_path, sweep
from monai_cxraug.engines.processes import largest, rank, wait_for_all
from monai_cxraug.errors import ConfigError, StateError

SCHEMA = "cxraug.checkpoint/1"
#: the checkpoint's entry that is not an object's state.
CLOCK = "resume"
_UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, LookupError, pickle.UnpicklingError, zipfile.BadZipFile)
_log = logging.getLogger(__name__)


class DamagedCheckpointError(StateError):
    """A checkpoint that cannot be read, or not as it was written."""


class Resume:
    """Loads the checkpoint when training starts and writes it after epochs, at the end and when asked to stop.

    The file holds the state of each object under its name — so MONAI's ``CheckpointLoader`` reads it too — and under
    ``"resume"`` the clock, torch's random state, the fingerprint and each object's ``settings`` if it has any.
    An engine's own ``resumables`` (see ``ProgressiveGanTrainer``) are held without being named.

    On SIGINT and SIGTERM the running iteration is finished and the checkpoint written before the signal takes its
    course; a second signal takes it at once. List this handler first: others then see the loaded state, and it saves
    after them.

    Resuming is exact when batch k depends on k alone, and the loader's own draws do not touch torch's global random
    state between epochs (a sampler over the whole training, or a loader with its own ``generator``).

    The checkpoint before the newest stays as ``previous_path``. Where the newest one is damaged, training goes on from
    there, says so, and ends as it would have ended.

    Where something judges the training (see ``Recovery``), a file ``good_path`` keeps the last checkpoint that it let
    pass, and :meth:`roll_back` returns to it.

    Args:
        path: the checkpoint file.
        objects: what resumes, by name: anything with ``state_dict`` and ``load_state_dict``, or a ``torch.Generator``.
        every: epochs between checkpoints.
        sampler: its ``skip`` is set to the number of batches already consumed.
        fingerprint: identifies the settings; a checkpoint of other settings is refused.
        last: whether the state at the end is written too; who removes it at once can save the time.

    Raises:
        ConfigError: ``every`` is below 1 or an object has the reserved name.
        StateError: when training starts, if the file is unreadable and so is the one before it, of other settings, or
            does not fit the objects.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        objects: Mapping[str, Any],
        every: int = 1,
        sampler: Any = None,
        fingerprint: str = "",
        last: bool = True,
    ) -> None:
        if every < 1:
            raise ConfigError("Resume(every)", "must be at least 1", every, "give a number of epochs")
        if CLOCK in objects:
            raise ConfigError("Resume(objects)", f"the name {CLOCK!r} is reserved", mend="choose another name")
        self.path, self.objects, self.every = Path(path), dict(objects), every
        self.sampler, self.fingerprint, self.last = sampler, fingerprint, last
        self._saved_at = self._promoted_at = -1
        self._rng: dict[str, Any] | None = None
        self._signals = _StopSignals()

    @property
    def good_path(self) -> Path:
        """The last checkpoint that proved good, beside the newest one."""
        return self.path.with_name(f"{self.path.stem}.good{self.path.suffix}")

    @property
    def previous_path(self) -> Path:
        """The checkpoint before the newest one, beside it."""
        return self.path.with_name(f"{self.path.stem}.previous{self.path.suffix}")

    def attach(self, engine: Engine) -> None:
        """Register on the engine."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._failed)

    def is_attached(self, engine: Engine) -> bool:
        """Whether it is registered on this engine."""
        return engine.has_event_handler(self._start, Events.STARTED)

    def _start(self, engine: Engine) -> None:
        self._saved_at = self._promoted_at = -1
        if not rank():
            sweep(self.path.parent)
        if self.path.exists():
            self._load_newest(engine)
        elif not rank():
            for rest in (self.good_path, self.previous_path):
                rest.unlink(missing_ok=True)  # of an earlier training
        wait_for_all()
        self._signals.watch()
        if not engine.has_event_handler(self._completed, Events.COMPLETED):
            # registered only now, so that they run after the handlers that change what is saved
            engine.add_event_handler(Events.GET_BATCH_STARTED, self._restore_rng)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._stop_if_asked)
            engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.every), self._epoch_completed)
            engine.add_event_handler(Events.COMPLETED, self._completed)

    def _epoch_completed(self, engine: Engine) -> None:
        if self.last or engine.state.epoch != engine.state.max_epochs:
            self.save(engine)

    def _completed(self, engine: Engine) -> None:
        if self.last:
            self.save(engine)
        self._signals.release()

    def _failed(self, engine: Engine, error: BaseException) -> None:
        # nothing is saved: the failure may lie in the middle of a step
        self._signals.release()
        raise error

    def _stop_if_asked(self, engine: Engine) -> None:
        # processes that stopped at different iterations would wait for each other for ever
        if number := largest(self._signals.received or 0):
            self.save(engine)
            wait_for_all()
            self._signals.release()
            signal.raise_signal(number)

    def _restore_rng(self, engine: Engine) -> None:
        # as late as this because making the loader's iterator draws from torch's random state
        if self._rng is not None:
            _set_rng(self._rng)
            self._rng = None
            if rank():
                torch.manual_seed(torch.initial_seed() + rank())  # the checkpoint knows rank 0's alone

    # --- the files ---

    def save(self, engine: Engine) -> None:
        """Write the checkpoint atomically, unless it holds this iteration already; on rank 0 only."""
        if engine.state.iteration == self._saved_at:
            return
        if rank():
            self._saved_at = engine.state.iteration
            return
        objects = self.all_objects(engine)
        clock = {
            "schema": SCHEMA,
            "fingerprint": self.fingerprint,
            "iteration": engine.state.iteration,
            "images_seen": getattr(engine.state, "images_seen", None),
            "rng": self._rng or _get_rng(),
            "settings": {name: item.settings for name, item in objects.items() if hasattr(item, "settings")},
        }
        states = {name: _state_of(item) for name, item in objects.items()}
        with atomic_path(self.path) as temporary:
            with temporary.open("wb") as stream:  # given a path, torch says nothing of a full disk but "iostream error"
                torch.save({CLOCK: clock, **states}, stream)
            if self.path.exists():
                _place(self.path, self.previous_path)
        self._saved_at = engine.state.iteration

    def promote(self, engine: Engine) -> None:
        """Keep the newest checkpoint as the good one, unless it was written in the middle of an epoch.

        A training can be set back to an epoch's end only, since an engine counts its epochs itself.
        """
        if rank() or self._saved_at == self._promoted_at or self._saved_at % _epoch_length(engine):
            return
        _place(self.path, self.good_path)
        self._promoted_at = self._saved_at

    def roll_back(self, engine: Engine) -> None:
        """Set objects, clock and loader back to the good checkpoint, in the middle of a run; to be saved afterwards.

        Every ``torch.Generator`` goes on from where it is: the same draws would lead to the same end.

        Raises:
            StateError: there is no good checkpoint, or it does not fit.
        """
        wait_for_all()  # the first process may be about to write it
        self._load(engine, self.good_path, read_checkpoint(self.good_path), redraw=True)
        wait_for_all()
        self._saved_at = self._promoted_at = -1
        engine.terminate_epoch(skip_epoch_completed=True)  # makes a new iterator over the loader

    def _load_newest(self, engine: Engine) -> None:
        """Load the newest checkpoint, or where that is damaged the one before it, which then takes its place."""
        try:
            self._load(engine, self.path, read_checkpoint(self.path))
            return
        except DamagedCheckpointError as damage:
            if not self.previous_path.exists():
                raise
            checkpoint = read_checkpoint(self.previous_path)
            self._load(engine, self.previous_path, checkpoint)
            _log.warning("%s; training goes on from %s, iteration %d", damage, self.previous_path.name, self._saved_at)
        wait_for_all()  # until every process has read both
        if not rank():
            _place(self.previous_path, self.path)
            if self.good_path.exists() and not self._is_sound(self.good_path):
                _place(self.previous_path, self.good_path)  # what came after it has passed a check

    def _is_sound(self, path: Path) -> bool:
        """Whether a file can be gone back to: whole, and not of a later time than now."""
        try:
            return bool(read_checkpoint(path)[CLOCK]["iteration"] <= self._saved_at)
        except StateError:
            return False

    def _load(self, engine: Engine, path: Path, checkpoint: Mapping[str, Any], redraw: bool = False) -> None:
        """Load a checkpoint into the objects and the engine's clock."""
        clock = checkpoint[CLOCK]
        if clock["fingerprint"] != self.fingerprint:
            found = f"{clock['fingerprint']!r}, expected {self.fingerprint!r}"
            mend = "restore the settings it was made with, or remove the file to start anew"
            raise StateError(path, "checkpoint was made with other settings", found, mend)
        objects = self.all_objects(engine)
        if missing := sorted(set(objects) - set(checkpoint)):
            raise StateError(path, "checkpoint must hold every object", f"no {', '.join(missing)}", _ANEW)
        for name, item in objects.items():
            if redraw and isinstance(item, torch.Generator):
                continue
            try:
                _load_into(item, checkpoint[name])
            except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise StateError(path, f"state of {name!r} does not fit", error, _ANEW) from None
        self._set_clock(engine, clock)

    def _set_clock(self, engine: Any, clock: Mapping[str, Any]) -> None:
        state = engine.state
        state.iteration = self._saved_at = clock["iteration"]
        state.epoch = state.iteration // _epoch_length(engine)
        if clock["images_seen"] is not None:
            state.images_seen = clock["images_seen"]
        if self.sampler is not None:
            self.sampler.skip = state.iteration
        self._rng = clock["rng"]

    def all_objects(self, engine: Engine) -> dict[str, Any]:
        """Everything that a checkpoint holds, by name, clock aside."""
        return {**getattr(engine, "resumables", {}), **self.objects}


_ANEW = "remove the file to start anew, or use the settings it was made with"


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint that :class:`Resume` wrote, onto the CPU, weights only.

    Returns:
        Object states by name, and under ``"resume"``: ``iteration``, ``images_seen``, ``fingerprint``, ``settings``
        and ``rng``.

    Raises:
        DamagedCheckpointError: the file is missing or unreadable, or its checksums tell that it changed.
        StateError: it is not such a checkpoint.
    """
    mend = "remove the file to start anew, or restore a whole copy"
    try:
        _require_checksums(Path(path))
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedCheckpointError(path, "checkpoint must be readable", reason, mend) from None
    clock = checkpoint.get(CLOCK) if isinstance(checkpoint, dict) else None
    if not isinstance(clock, dict) or clock.get("schema") != SCHEMA:
        raise StateError(path, f"must be a checkpoint with schema {SCHEMA!r}", "something else", mend)
    return dict(checkpoint)


def _require_checksums(path: Path) -> None:
    """Refuse what the disk changed: torch writes checksums of all that it stores, but does not look at them."""
    with zipfile.ZipFile(path) as archive:
        changed = archive.testzip() or next((one.filename for one in archive.infolist() if one.external_attr), None)
    if changed is not None:
        raise ValueError(f"{changed} is not what was written")


def _place(source: Path, target: Path) -> None:
    """Give a checkpoint a second name, in place of what bore it; a checkpoint is replaced, never written into."""
    with atomic_path(target) as temporary:
        temporary.unlink()
        try:
            os.link(source, temporary)
        except OSError:  # a file system without links
            shutil.copyfile(source, temporary)


def _epoch_length(engine: Any) -> int:
    length: int | None = engine.state.epoch_length
    if length is None:
        raise ConfigError("epoch_length", "must be known to resume", mend="give the engine an epoch_length")
    return length


def _state_of(item: Any) -> Any:
    return item.get_state() if isinstance(item, torch.Generator) else item.state_dict()


def _load_into(item: Any, state: Any) -> None:
    if isinstance(item, torch.Generator):
        item.set_state(state)
    else:
        item.load_state_dict(state)


def _get_rng() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_rng(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


class _StopSignals:
    """Remembers the first SIGINT or SIGTERM; from then on signals act as they did before."""

    numbers = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def watch(self) -> None:
        """Start listening; Python lets only the main thread do so."""
        self.received = None
        if not self._before and threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._remember) for number in self.numbers}

    def release(self) -> None:
        """Put the previous handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self.release()
