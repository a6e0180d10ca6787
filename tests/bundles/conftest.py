"""A tiny data set for both bundles, and a way to run them as a user does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.pack import write_pack

ROOT = Path(__file__).resolve().parents[2]
FINDINGS = ("Edema", "Fibrosis")
SIZE, COUNT = 32, 64

#: runs ``python -m`` with these arguments from the repository root.
Start = Callable[[Sequence[str]], "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 images of 32 patients, half of them for training. Edema is a bright lower half; every fourth is Fibrosis."""
    folder = tmp_path_factory.mktemp("radiographs")
    splits = ["train", "train", "val", "test"]
    rows = [
        {"image": f"{k:03d}.png", "patient_id": f"p{k // 2}", "split": splits[k // 2 % 4], "source": "real"}
        for k in range(COUNT)
    ]
    edema = np.arange(COUNT) // 8 % 2
    images = np.random.default_rng(0).integers(0, 128, (COUNT, SIZE, SIZE), dtype=np.uint8)
    images[edema == 1, SIZE // 2 :] += 100
    labels = np.stack([edema, np.arange(COUNT) % 4 == 0], axis=1).astype(np.float32)
    write_pack(folder, images, [row["image"] for row in rows])
    return Manifest(make_columns(rows), FINDINGS, labels, {"name": "tiny"}).write(folder, {})


def _take_interrupts() -> None:
    """A shell that starts tests in the background has them ignore Ctrl-C, and so their children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts ``python -m ...`` as a process; it is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(arguments: Sequence[str]) -> subprocess.Popen[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_take_interrupts,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
