"""A process of low priority and one thread that measures snapshots of a training, and the training's end of it.

``python -m monai_cxraug.handlers.measuring FOLDER [PATH ...]`` appends the paths to those that Python searches, reads a
pickled function from standard input, then a name a line: it calls the function with the content of ``NAME.pt`` and
writes what it gave to ``NAME.json``. It ends when standard input does, so it never outlives the training, in whatever
way that ends.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

SCHEMA = "cxraug.measurement/1"
LOG = "measuring.log"
_NICEST = 19
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_LONGEST = 300

Measure = Callable[[Mapping[str, Any]], Mapping[str, float]]


class MeasuringProcess:
    """Starts the process, hands it snapshots and asks for results; no call waits for a measurement.

    Args:
        measure: the pickled function.
        folder: for snapshots, results and ``measuring.log``, what the process says.
    """

    def __init__(self, measure: bytes, folder: Path) -> None:
        self.folder = folder
        environment = {
            **os.environ,
            **dict.fromkeys(_THREAD_VARIABLES, "1"),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        # an interactive training finds modules in its working folder: so does the process, but after all others, since
        # a file there may bear the name of a module of Python
        last = [os.getcwd()] if "" in sys.path else []
        with (folder / LOG).open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(folder), *last],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # a Ctrl-C is for the training, whose end it then sees
                creationflags=getattr(subprocess, "IDLE_PRIORITY_CLASS", 0),
            )
        self._stdin = cast(BinaryIO, self._process.stdin)
        self._send(measure)

    @property
    def pid(self) -> int:
        """The operating system's number of the process."""
        return self._process.pid

    def submit(self, name: str) -> None:
        """Have ``NAME.pt`` measured; it may be removed once there is a result."""
        self._send(f"{name}\n".encode())

    def death(self) -> str | None:
        """How the process ended, or None while it lives."""
        status = self._process.poll()
        if status is None:
            return None
        return f"signal {-status}" if status < 0 else f"status {status}"

    def stop(self) -> None:
        """End the process now."""
        self._process.kill()
        self._process.wait()
        with suppress(OSError):
            self._stdin.close()

    def _send(self, data: bytes) -> None:
        with suppress(BrokenPipeError):  # of a dead process: `death` says so
            self._stdin.write(data)
            self._stdin.flush()


# --- inside the process ---


def main(folder: Path, paths: Sequence[str] = ()) -> None:
    """Measure until standard input ends."""
    sys.path.extend(paths)
    if hasattr(os, "nice"):
        os.nice(_NICEST)
    stream = sys.stdin.buffer
    measure: Measure = pickle.load(stream)  # nosec B301: of the training that started us, by its pipe
    names: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read_names, args=(stream, names), daemon=True).start()
    import torch

    torch.set_num_threads(1)
    while True:
        _measure(measure, folder, names.get())


def _read_names(stream: BinaryIO, names: queue.Queue[str]) -> None:
    for line in stream:
        names.put(line.decode().strip())
    os._exit(0)  # the training has ended: nobody waits for what is being measured


def _measure(measure: Measure, folder: Path, name: str) -> None:
    import torch

    from monai_cxraug.artifacts import write_json

    begun = time.monotonic()
    content: dict[str, Any]
    try:
        snapshot = torch.load(folder / f"{name}.pt", map_location="cpu", weights_only=True)
        content = {"figures": {key: float(value) for key, value in measure(snapshot).items()}, "error": None}
    except Exception as error:  # whatever it is: the training is told, and goes on
        content = {"figures": None, "error": " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST]}
    seconds = round(time.monotonic() - begun, 3)
    write_json(folder / f"{name}.json", SCHEMA, {"seconds": seconds, **content})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
