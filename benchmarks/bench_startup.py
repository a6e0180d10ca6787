"""What starting costs: the command line, importing the package, and a second stage in the same process.

The figures are seconds of whole processes in the first row, of imports and of stages within a process in the others: an
import of MONAI takes seconds and differs by tenths from process to process, more than what is to be seen. The ratio is
the extra time allowed divided by the extra time measured.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from harness import Row, finish, race

_IMPORTS = """
import json, time
start = time.perf_counter()
import monai
middle = time.perf_counter()
import monai_cxraug
print(json.dumps([time.perf_counter() - start, middle - start]))
"""

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
        _imports(rounds),
        _second_stage(),
    ]
    finish("startup", rows)


def _extra(case: str, ours: list[str], peer: list[str], peer_version: str, allowed: float, rounds: int) -> Row:
    mine, theirs = race(lambda: _start(ours), lambda: _start(peer), rounds)
    return Row(case, mine, theirs, peer_version, allowed / max(mine - theirs, 1e-3), 1.0)


def _start(arguments: list[str]) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


def _imports(rounds: int) -> Row:
    """Importing MONAI and then the package, beside importing MONAI, both in each of several processes."""
    pairs = [json.loads(_tell(_IMPORTS)) for _ in range(rounds)]
    both, alone = (statistics.median(one) for one in zip(*pairs, strict=True))
    extra = statistics.median(first - second for first, second in pairs)
    case = "import monai_cxraug after import monai, s"
    return Row(case, both, alone, f"monai {version('monai')}", 0.1 / max(extra, 1e-3), 1.0)


def _second_stage() -> Row:
    """The second of two equal stages in one process, beside the first, which loads everything."""
    with tempfile.TemporaryDirectory() as folder:
        told = _tell(_TWICE, str(Path(folder))).split()
    first, second = map(float, told)
    return Row("second stage in a process, s", second, first, "the first", first / second, None)


def _tell(code: str, *arguments: str) -> str:
    words = [sys.executable, "-c", code, *arguments]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
