"""Starts of a job as processes of their own, killed at a moment that does not depend on how busy the machine is."""

from __future__ import annotations

import gc
import importlib
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

ROOT: Final = Path(__file__).resolve().parents[1]
#: seconds that a start may take, and that processes may live on which it has left behind.
PATIENCE, ORPHANS = 600.0, 30.0
#: an exit status that no command of ours has.
_CRASHED: Final = 70
#: what touches the folder: an audit event and which of its arguments are paths.
_STEPS: Final = {
    "open": (0,), "os.rename": (0, 1), "os.remove": (0,), "os.mkdir": (0,), "os.rmdir": (0,), "os.link": (0, 1),
    "os.truncate": (0,), "os.chmod": (0,), "shutil.copyfile": (0, 1), "sqlite3.connect": (0,),
}  # fmt: skip

Action = Callable[[], int]


@dataclass(frozen=True)
class Moment:
    """When a process is killed: after so many seconds of its own work, or at its N-th step in the watched folder.

    Both are measures of the work done, so that a busy machine kills where an idle one does.
    """

    seconds: float = 0.0
    step: int = 0


@dataclass(frozen=True)
class Ended:
    """How a start ended.

    Args:
        status: exit status; minus the signal of a process that was killed.
        seconds: of its own work, processor time of this process alone.
        steps: in the watched folder; 0 of a process that was killed, or of a fresh interpreter.
        said: the end of what it wrote.
        modules: that it had imported at its end.
        orphans: processes that it left behind and that did not end by themselves.
    """

    status: int
    seconds: float
    steps: int
    said: str
    modules: tuple[str, ...] = ()
    orphans: int = 0

    @property
    def killed(self) -> bool:
        """Whether the kill came before the end."""
        return self.status == -signal.SIGKILL

    @property
    def refused_in_one_line(self) -> bool:
        """Whether it ended as a command does that tells the user what to mend."""
        errors = [line for line in self.said.splitlines() if "error: " in line]
        return self.status == 2 and len(errors) == 1 and "Traceback" not in self.said


@dataclass(frozen=True)
class Starter:
    """Starts actions in forked processes, which need not import anything, and commands in fresh interpreters.

    Args:
        log: file for what they write.
        watched: folder whose steps are counted.
    """

    log: Path
    watched: Path

    def run(self, action: Action, moment: Moment | None = None, until: Callable[[], bool] | None = None) -> Ended:
        """Do something in a forked process, and kill that at a moment.

        Args:
            action: returns an exit status.
            moment: of the kill; None lets it come to its end.
            until: tells that it is no longer needed, and is to be interrupted as by Ctrl-C.
        """
        self._report.unlink(missing_ok=True)
        pid = os.fork()
        if not pid:
            self._be_child(action, moment)
        status, seconds = self._await(pid, moment, until)
        told = self._report.read_text().split() if self._report.exists() else []
        steps, *modules = told or ["0"]  # nothing of a process that was killed, be it while it told
        return Ended(status, seconds, int(steps), self._said(), tuple(modules), _count_orphans(pid))

    def run_fresh(self, arguments: Sequence[str], moment: Moment | None = None) -> Ended:
        """Run ``python -m`` with these arguments in a fresh interpreter, and kill it at a moment in seconds."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, env=environment, start_new_session=True,
            )  # fmt: skip
        status, seconds = self._await(process.pid, moment)
        process.returncode = status  # it has been waited for
        return Ended(status, seconds, 0, self._said(), (), _count_orphans(process.pid))

    def _be_child(self, action: Action, moment: Moment | None) -> NoReturn:
        """Never comes back into the code that forked."""
        status = _CRASHED
        try:
            os.setsid()
            self._redirect()
            _forget_random_state()
            steps = _watch(self.watched, moment.step if moment else 0)
            status = action()
            self._report.write_text(" ".join([str(steps[0]), *sys.modules]))
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    @property
    def _report(self) -> Path:
        """What a child tells at its end: its steps, and its modules."""
        return self.log.with_name(f"{self.log.name}.end")

    def _redirect(self) -> None:
        handle = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for stream in (1, 2):
            os.dup2(handle, stream)
        sys.stdout, sys.stderr = (os.fdopen(os.dup(stream), "w", buffering=1) for stream in (1, 2))

    @staticmethod
    def _await(pid: int, moment: Moment | None, until: Callable[[], bool] | None = None) -> tuple[int, float]:
        """Wait for a process and kill it when its moment has come; its status and its seconds of work."""
        seconds, limit = 0.0, time.monotonic() + PATIENCE
        while True:
            with suppress(OSError):
                seconds = _work_of(pid)
            if (moment and moment.seconds and seconds >= moment.seconds) or time.monotonic() > limit:
                os.kill(pid, signal.SIGKILL)
            elif until and until():
                os.kill(pid, signal.SIGINT)
                until = None
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status), seconds
            time.sleep(0.002)

    def _said(self) -> str:
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return text[-4000:]


def learn(modules: Sequence[str]) -> None:
    """Import what a forked process had to import, so that the next ones need not."""
    for name in modules:
        if name not in sys.modules and not name.startswith("__"):
            with suppress(Exception):
                importlib.import_module(name)
    gc.collect()
    gc.freeze()  # collections of the forked ones need not look at all this again


def _work_of(pid: int) -> float:
    """Processor time of a process: its clock's number is made of its own, see ``clock_getcpuclockid``."""
    return time.clock_gettime((~pid << 3) | 2)


def _forget_random_state() -> None:
    """No two starts begin alike: whatever must repeat exactly has to be seeded."""
    import numpy as np

    seed = int.from_bytes(os.urandom(4), "little")
    random.seed(seed)
    np.random.seed(seed)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)


def _watch(folder: Path, last: int, act: Callable[[], None] | None = None) -> list[int]:
    """Count steps in a folder from now on; at the last one, act: by default be killed."""
    steps, prefix = [0], str(folder)

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        places = _STEPS.get(event)
        if places is None or (event == "open" and not _writes(arguments)):
            return
        if any(str(arguments[place]).startswith(prefix) for place in places):
            steps[0] += 1
            if steps[0] == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    return steps


def _writes(arguments: tuple[Any, ...]) -> bool:
    return isinstance(arguments[2], int) and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))


def _count_orphans(session: int) -> int:
    """Processes of an ended one's session that go on living; they are killed then."""
    limit = time.monotonic() + ORPHANS
    while (left := _members(session)) and time.monotonic() < limit:
        time.sleep(0.01)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(left)


def _members(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                state, _, _, its_session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(its_session) == session and state not in "ZX":
                    found.append(int(entry.name))
    return found
