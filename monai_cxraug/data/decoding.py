"""Decode files in processes of their own: a crash, a hang or a flood of memory costs one file, never the run."""

from __future__ import annotations

import hashlib
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from queue import Empty, SimpleQueue
from typing import IO, Any, Literal, Protocol, cast

from numpy.typing import NDArray

from monai_cxraug import __version__
from monai_cxraug.artifacts import content_hash
from monai_cxraug.data.files import FileRef
from monai_cxraug.data.pack import picture_hash, quantise
from monai_cxraug.data.readers import read_radiograph
from monai_cxraug.data.readers.policy import DicomPolicy, DroppedImage
from monai_cxraug.data.readers.radiograph import Radiograph
from monai_cxraug.data.resampling import Fit
from monai_cxraug.errors import CxrAugError, StateError

State = Literal["packed", "dropped", "quarantined"]

#: files sent to a process at a time, and bytes of pictures that they may come back as.
_GROUP, _GROUP_BYTES = 64, 2**24
#: seconds between looks for a process that hangs, and seconds it may take to start.
_TICK, _START = 0.5, 120.0
#: programs with threads of their own would only compete with the other processes.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_MAIN = "from monai_cxraug.data.decoding import serve; serve()"


class Reader(Protocol):
    """What turns the bytes of a file into a picture; a function of a module, so that another process finds it."""

    def __call__(self, data: bytes, name: object, policy: DicomPolicy) -> Radiograph:
        """Decode, or raise one of our errors."""


@dataclass(frozen=True)
class Recipe:
    """How every file becomes a picture of the pack.

    Args:
        size: side of the square pictures in pixels.
        depth: 8 or 16 bits per pixel, in colour per channel.
        fit: ``"pad"`` keeps the proportions on a black square, ``"squash"`` fills it, ``"crop"`` keeps the middle.
        policy: what happens to DICOM images that may not belong here.
        read: the reader.
        seconds: that a file may take before it is quarantined.
        memory: bytes of address space that a decoding process may use, where the system can limit it.
        channels: of the pictures that the reader gives: 1 grey, 3 red, green and blue.
    """

    size: int
    depth: int = 8
    fit: Fit = "pad"
    policy: DicomPolicy = field(default_factory=DicomPolicy)
    read: Reader = read_radiograph
    seconds: float = 120.0
    memory: int = 2**33
    channels: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a picture: ``[size, size]`` or ``[size, size, 3]``."""
        return (self.size, self.size) if self.channels == 1 else (self.size, self.size, self.channels)

    @property
    def nbytes(self) -> int:
        """Of a picture."""
        return math.prod(self.shape) * self.depth // 8

    def key(self) -> str:
        """Hash of all that the pictures depend on beside the files."""
        coloured = [self.channels] if self.channels != 1 else []
        return content_hash([self.size, self.depth, self.fit, asdict(self.policy), __version__, *coloured])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file.

    Args:
        state: packed, dropped by the policy, or quarantined.
        reason: why it is not packed.
        sha256: of the file's bytes; empty where they could not be read.
        content: of the packed picture, see :func:`~monai_cxraug.data.pack.picture_hash`.
        height: rows of the original.
        width: columns of the original.
        bits: stored per pixel of the original.
        tags: facts about the image that name nobody, ``greyscale`` among them.
    """

    state: State
    reason: str = ""
    sha256: str = ""
    content: str = ""
    height: int = 0
    width: int = 0
    bits: int = 0
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task:
    """One file to decode.

    Args:
        number: of the file, for the caller.
        file: where it lies.
        known: SHA-256 of bytes whose outcome is known already; a file that still has them is not decoded.
    """

    number: int
    file: FileRef
    known: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a task.

    Args:
        number: of the file.
        outcome: None where the file's bytes are the known ones.
        picture: uint8 or uint16 ``[size, size]`` or ``[size, size, 3]`` of a packed file.
    """

    number: int
    outcome: Outcome | None
    picture: NDArray[Any] | None = None


def decode(task: Task, recipe: Recipe) -> Answer:
    """Decode one file in this process; whatever the reader raises is an outcome."""
    digest = ""
    try:
        content = task.file.read()
        digest = hashlib.sha256(content).hexdigest()
        if digest == task.known:
            return Answer(task.number, None)
        radiograph = recipe.read(content, task.file, recipe.policy)
        picture = quantise(radiograph.resized(recipe.size, recipe.fit), recipe.depth)
    except CxrAugError as error:
        state: State = "dropped" if isinstance(error, DroppedImage) else "quarantined"
        return Answer(task.number, Outcome(state, reason_of(error), digest))
    except MemoryError:
        reason = f"needs more memory than a decoding process may use ({recipe.memory / 2**30:g} GiB)"
        return Answer(task.number, Outcome("quarantined", reason, digest))
    except Exception as error:  # its text may hold a patient's name
        return Answer(task.number, Outcome("quarantined", f"the reader failed with {type(error).__name__}", digest))
    tags = {**radiograph.tags, "greyscale": radiograph.greyscale}
    height, width = radiograph.stored.shape[:2]
    outcome = Outcome("packed", "", digest, picture_hash(picture), height, width, radiograph.bits, tags)
    return Answer(task.number, outcome, picture)


def reason_of(error: CxrAugError) -> str:
    """One line that says why a file was left out, without its name."""
    found = f"found {error.found}" if error.found else ""
    return " ".join("; ".join(filter(None, (error.rule, found, error.mend))).split())


def decode_all(tasks: Sequence[Task], recipe: Recipe, workers: int | None = None) -> Iterator[Answer]:
    """Decode files in other processes.

    A process that dies or takes too long is replaced, and the file at fault is quarantined: at once for taking too
    long, on its second crash otherwise, for an earlier file may have done the harm.

    Args:
        tasks: the files.
        recipe: how to decode them.
        workers: processes; default one per core, fewer for few files.

    Yields:
        An answer a task, in the order in which they come.

    Raises:
        StateError: a process could not start.
    """
    crew = _Crew(tasks, recipe)
    try:
        crew.hire(workers or _cores())
        while crew.workers:
            yield from crew.wait()
    finally:
        crew.dismiss()


class _Worker:
    """A decoding process, a thread that listens to it, and the files it has in hand."""

    def __init__(self, recipe: Recipe, inbox: SimpleQueue[tuple[_Worker, Any]]) -> None:
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _MAIN],  # without -P, a folder of images that holds a numpy.py would be run
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
        )
        self.tasks, self.answers = cast("IO[bytes]", self.process.stdin), cast("IO[bytes]", self.process.stdout)
        self.recipe, self.inbox = recipe, inbox
        self.group: deque[Task] = deque()
        self.ready = self.retired = self.overdue = False
        self.since = time.monotonic()
        self.send(recipe)
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, message: object) -> None:
        with suppress(OSError):  # of a process that has died; the listener tells
            pickle.dump(message, self.tasks)
            self.tasks.flush()

    def hand(self, group: Sequence[Task]) -> None:
        self.group.extend(group)
        self.since = time.monotonic()
        self.send(list(group))

    def retire(self) -> None:
        """Let the process end: there is nothing left to do."""
        self.retired = True
        with suppress(OSError):
            self.tasks.close()

    def is_late(self) -> bool:
        limit = self.recipe.seconds if self.ready else _START
        return not self.retired and time.monotonic() - self.since > limit

    def end(self) -> int:
        """Kill what may be left of the process and return its status."""
        self.process.kill()
        for stream in (self.tasks, self.answers):
            with suppress(OSError):
                stream.close()
        return self.process.wait()

    def _listen(self) -> None:
        with suppress(Exception):  # the end of a process, in whatever way, ends the stream
            while True:
                message = pickle.load(self.answers)  # nosec B301: of a process that we started, by its pipe
                self.since = time.monotonic()
                self.inbox.put((self, message))
        self.inbox.put((self, None))


class _Crew:
    """Processes at work on a list of files."""

    def __init__(self, tasks: Sequence[Task], recipe: Recipe) -> None:
        self.recipe = recipe
        self.waiting = deque(tasks)
        self.workers: list[_Worker] = []
        self.inbox: SimpleQueue[tuple[_Worker, Any]] = SimpleQueue()
        self.crashes: Counter[int] = Counter()
        self.looked = time.monotonic()
        self.group = max(1, min(_GROUP, _GROUP_BYTES // recipe.nbytes))

    def hire(self, workers: int) -> None:
        for _ in range(min(workers, -(-len(self.waiting) // self.group))):
            self.workers.append(_Worker(self.recipe, self.inbox))

    def dismiss(self) -> None:
        for worker in self.workers:
            worker.end()

    def wait(self) -> Iterator[Answer]:
        """Wait for one message, or a moment."""
        if time.monotonic() - self.looked > _TICK:
            self._stop_late_ones()
        with suppress(Empty):
            worker, message = self.inbox.get(timeout=_TICK)
            if message is None:
                yield from self._bury(worker)
            else:
                yield from self._hear(worker, message)

    def _hear(self, worker: _Worker, message: Answer | Literal["ready"]) -> Iterator[Answer]:
        if isinstance(message, Answer):
            worker.group.popleft()
            yield message
        worker.ready = True
        if not worker.group:
            self._assign(worker)

    def _assign(self, worker: _Worker) -> None:
        if self.waiting:
            # small groups at the end, so that all processes end at about the same time
            size = min(self.group, -(-len(self.waiting) // (2 * len(self.workers))))
            worker.hand([self.waiting.popleft() for _ in range(size)])
        else:
            worker.retire()

    def _stop_late_ones(self) -> None:
        self.looked = time.monotonic()
        for worker in self.workers:
            if worker.is_late():
                worker.overdue = True
                worker.process.kill()

    def _bury(self, worker: _Worker) -> Iterator[Answer]:
        """Replace a process that has ended, and judge the file it had in hand."""
        self.workers.remove(worker)
        status = worker.end()
        if not worker.ready:
            mend = "see its message above; is there memory for another process?"
            raise StateError("decoding", "a process of its own must start", _describe(status), mend)
        if worker.group:
            task = worker.group.popleft()
            self.waiting.extendleft(reversed(worker.group))
            self.crashes[task.number] += 1
            if worker.overdue:
                reason = f"took longer than {self.recipe.seconds:g} seconds to decode"
                yield Answer(task.number, Outcome("quarantined", reason))
            elif self.crashes[task.number] > 1:
                yield Answer(task.number, Outcome("quarantined", f"the decoder {_describe(status)}"))
            else:
                self.waiting.appendleft(task)
        if self.waiting and not worker.retired:
            self.hire(1)


def _describe(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was stopped by {name}" + (", as when memory is short" if name == "SIGKILL" else "")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def serve() -> None:
    """Be a decoding process: a recipe and then groups of tasks on standard input, answers on standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us when it is interrupted
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what decoders print must not mix with answers
    recipe: Recipe = pickle.load(requests)  # nosec B301: of the process that started us, by its pipe
    _limit_memory(recipe.memory)
    pickle.dump("ready", answers)
    answers.flush()
    os.dup2(1, 2)
    with suppress(EOFError, BrokenPipeError):
        while True:
            for task in pickle.load(requests):  # nosec B301: likewise
                _limit_time(recipe.seconds)
                pickle.dump(decode(task, recipe), answers, protocol=5)
                answers.flush()
            _limit_time(0)


def _limit_memory(limit: int) -> None:
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_AS)
        if most == resource.RLIM_INFINITY or limit < most:
            with suppress(OSError, ValueError):  # not every system has this limit
                resource.setrlimit(resource.RLIMIT_AS, (limit, most))


def _limit_time(seconds: float) -> None:
    """End this process after the parent should have done so, in case the parent is no more; 0 takes the limit back."""
    if hasattr(signal, "alarm"):
        signal.alarm(int(seconds) + 60 if seconds else 0)
