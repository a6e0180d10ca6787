"""``prepare`` killed at any moment and started again: nothing lost, nothing corrupted, the same bytes in the end."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.data.pack import Pack
from monai_cxraug.data.prepare import ARTIFACTS
from monai_cxraug.errors import CxrAugError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")

SIDE, CHANGED, ADDED = 12, range(3, 300, 11), 20

#: Prepares a folder; dies at the N-th time that it opens a file to write, renames, removes or makes a folder below it.
PREPARE = """
import os, signal, sys
from pathlib import Path
from monai_cxraug.data import packing
from monai_cxraug.data.prepare import prepare
from monai_cxraug.data.request import Request

packing._SAVED, packing._SECONDS = 7, 0
images, out, last = sys.argv[1], sys.argv[2], int(sys.argv[3])
steps = 0

def count(event, arguments):
    global steps
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if writes or event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir"):
        if str(arguments[0]).startswith(out):
            steps += 1
            if steps == last:
                os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
prepare(Request("images", images, size=8), Path(out))
print(steps)
"""


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (SIDE, SIDE), dtype=np.uint8)


def write_pictures(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        Image.fromarray(picture(number)).save(folder / f"{number:04d}.png")
    (folder / "0005.png").write_bytes(b"broken")


def change_pictures(folder: Path, count: int) -> None:
    for number in (number for number in CHANGED if number < count):
        Image.fromarray(picture(10_000 + number)).save(folder / f"{number:04d}.png")
    for number in range(ADDED):
        Image.fromarray(picture(20_000 + number)).save(folder / f"new{number:02d}.png")
    (folder / "0002.png").unlink()


def run(images: Path, out: Path, last: int = 0, seconds: float | None = None) -> tuple[int, str]:
    """Prepare in a process of its own; kill it after so many seconds. Returns its status and what it printed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PREPARE, str(images), str(out), str(last)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        printed, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        printed, _ = process.communicate()
    return process.returncode, printed


def products(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ARTIFACTS}


def require_old_or_nothing(out: Path, old: Path, new: Path) -> None:
    """What a killed run leaves is the old set, the new one, or no set at all; never a mixture."""
    try:
        manifest = read_manifest(out)
    except CxrAugError:
        assert not (out / "manifest.json").exists()
        return
    stored = Pack(out, manifest).array
    assert any(
        (out / "manifest.json").read_bytes() == (folder / "manifest.json").read_bytes()
        and np.array_equal(stored, np.load(folder / "pack.npy"))
        for folder in (old, new)
        if (folder / "manifest.json").exists()
    )


class Case:
    """A source before and after a change, and what uninterrupted runs make of both."""

    def __init__(self, folder: Path, count: int) -> None:
        self.images, self.old, self.new = folder / "images", folder / "old", folder / "new"
        write_pictures(self.images, count)
        self.first_steps = self._prepare(self.old)
        shutil.copytree(self.images, folder / "images_before")
        self.before = folder / "images_before"
        shutil.copytree(self.old, folder / "update")
        change_pictures(self.images, count)
        self.update_steps = self._prepare(folder / "update")
        self._prepare(self.new)
        assert products(folder / "update") == products(self.new)

    def _prepare(self, out: Path) -> int:
        status, printed = run(self.images, out)
        assert status == 0
        return int(printed)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("case"), 40)


def survive_a_kill_at(case: Case, out: Path, step: int, update: bool) -> None:
    if update:
        shutil.copytree(case.old, out)
    status, _ = run(case.images, out, step)
    assert status == -signal.SIGKILL
    require_old_or_nothing(out, case.old if update else out / "none", case.new)
    assert run(case.images, out)[0] == 0
    assert products(out) == products(case.new)
    assert {file.name for file in out.iterdir()} == set(ARTIFACTS)


@pytest.mark.slow
@pytest.mark.parametrize("update", [False, True])
def test_killed_at_some_steps(tmp_path: Path, case: Case, update: bool) -> None:
    steps = case.update_steps if update else case.first_steps
    for step in random.Random(int(update)).sample(range(2, steps), 3):
        survive_a_kill_at(case, tmp_path / str(step), step, update)


@pytest.mark.slow
@pytest.mark.parametrize("update", [False, True])
def test_killed_at_many_steps(tmp_path: Path, case: Case, update: bool) -> None:
    steps = case.update_steps if update else case.first_steps
    for step in [*range(2, steps - 30, 4), *range(steps - 30, steps + 1)]:  # at the end, files take their names
        survive_a_kill_at(case, tmp_path / str(step), step, update)


@pytest.mark.slow
@pytest.mark.parametrize("update", [False, True])
def test_killed_at_random_moments_until_it_is_done(tmp_path: Path, update: bool) -> None:
    case = Case(tmp_path, 300)
    out, draw, kills = tmp_path / "out", random.Random(7 + update), 0
    if update:
        shutil.copytree(case.old, out)
    started = time.monotonic()
    run(case.images, tmp_path / "timed")
    whole = time.monotonic() - started
    while True:
        # after fifteen kills it may end
        status, _ = run(case.images, out, seconds=draw.uniform(0.3, 1.0) * whole if kills < 15 else None)
        if status == 0:
            if kills >= 15:
                break
            shutil.rmtree(out)  # it was faster this time: again from the start
            if update:
                shutil.copytree(case.old, out)
            continue
        assert status == -signal.SIGKILL
        kills += 1
        require_old_or_nothing(out, case.old if update else out / "none", case.new)
    assert products(out) == products(case.new)
    assert {file.name for file in out.iterdir()} == set(ARTIFACTS)
    names = list(read_manifest(out)["image"])
    row = names.index("0007.png")
    fresh = np.load(case.new / "pack.npy")
    assert_array_equal(np.load(out / "pack.npy")[row], fresh[row])
