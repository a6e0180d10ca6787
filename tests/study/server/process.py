"""The server as a process of its own, which can be killed like one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

_CODE = """
import sys
from monai_cxraug.study.serving import ServeStudy
study, answers, port, token = sys.argv[1:]
ServeStudy(study, answers, port=int(port), token=token, open_enrolment=True).run()
"""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class ServerProcess:
    """``cxraug study serve`` on a study."""

    study: Path
    answers: Path
    token: str = "a token for this test"
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> ServerProcess:
        """Start, and wait until it answers."""
        arguments = [str(self.study), str(self.answers), str(self.port), self.token]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CODE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"the server did not start: {self.process.communicate(timeout=5)}")

    def kill(self) -> None:
        """End it without any warning."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate(timeout=20)

    def interrupt(self) -> tuple[int, str, str]:
        """Press Ctrl-C; return exit status, output and errors."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err

    def __enter__(self) -> ServerProcess:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
