"""What starting costs: the command line, importing the package, and a second stage in the same process.

The figures are seconds of whole processes, of stages in the last row. The ratio is the extra time allowed divided by
the extra time measured.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from harness import Row, finish, race

_TWICE = """
import sys, time
from monai_cxraug.cli import main
for number in (1, 2):
    start = time.perf_counter()
    main(["prepare", "phantom", "--count", "24", "--size", "16", "--out", f"{sys.argv[1]}/{number}", "--quiet"])
    print(time.perf_counter() - start)
"""


def main() -> None:
    """Measure and write ``results/startup.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="timed runs of each side (%(default)s)")
    rounds = parser.parse_args().rounds
    python = f"python {platform.python_version()}"
    rows = [
        _extra(
            "cxraug --help over a bare interpreter, s",
            ["-m", "monai_cxraug", "--help"],
            ["-c", ""],
            python,
            0.3,
            rounds,
        ),
        _extra(
            "import monai_cxraug over import monai, s",
            ["-c", "import monai, monai_cxraug"],
            ["-c", "import monai"],
            f"monai {version('monai')}",
            0.1,
            rounds,
        ),
        _second_stage(),
    ]
    finish("startup", rows)


def _extra(case: str, ours: list[str], peer: list[str], peer_version: str, allowed: float, rounds: int) -> Row:
    mine, theirs = race(lambda: _start(ours), lambda: _start(peer), rounds)
    return Row(case, mine, theirs, peer_version, allowed / max(mine - theirs, 1e-3), 1.0)


def _start(arguments: list[str]) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


def _second_stage() -> Row:
    """The second of two equal stages in one process, beside the first, which loads everything."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-c", _TWICE, str(Path(folder))]
        told = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    first, second = map(float, told)
    return Row("second stage in a process, s", second, first, "the first", first / second, None)


if __name__ == "__main__":
    main()
