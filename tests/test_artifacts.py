"""Two processes never write into one folder, and a dead one locks nobody out; what it left half-written is swept."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from monai_cxraug import artifacts
from monai_cxraug.artifacts import atomic_path, locked, sweep
from monai_cxraug.errors import StateError

HOLDER = """
import sys, time
from monai_cxraug.artifacts import atomic_path, locked, sweep
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def hold(path: Path) -> subprocess.Popen[str]:
    """A process that holds the lock until it is killed."""
    root = Path(artifacts.__file__).parents[1]
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], cwd=root, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    for _ in range(2):
        with locked(path):
            assert path.read_text() == str(os.getpid())
        assert not path.exists()
    with pytest.raises(KeyError), locked(path):
        raise KeyError
    assert not path.exists()


def test_the_second_process_is_refused_until_the_first_dies(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = hold(path)
    try:
        with pytest.raises(StateError) as caught, locked(path):
            pass
        assert f"process {holder.pid} at work" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert path.exists()
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert path.read_text() == str(holder.pid)  # left behind
    path.write_text("a longer text than any number of a process")
    with locked(path):
        assert path.read_text() == str(os.getpid())
    assert not path.exists()


def test_a_file_removed_by_the_last_holder_is_not_the_lock(tmp_path: Path, monkeypatch) -> None:
    """Between our opening and locking it, the last holder removes the file and a third process makes a new one."""
    path, lock = tmp_path / "lock", artifacts._lock
    taken: list[int] = []

    def lock_late(handle: int) -> None:
        if not taken:
            path.unlink()
        taken.append(handle)
        lock(handle)

    monkeypatch.setattr(artifacts, "_lock", lock_late)
    with locked(path):
        assert len(taken) == 2
        assert path.read_text() == str(os.getpid())


def test_a_file_system_without_locks_locks_nobody_out(tmp_path: Path, monkeypatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "lock"):
        assert (tmp_path / "lock").exists()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), locked(tmp_path / "none" / "lock"):
        pass


# --- temporary files of killed writers ---


@pytest.mark.parametrize("name", ["a.json", "checkpoint.good.pt", "two words.csv", "면역.png"])
def test_what_a_writer_leaves_is_swept(tmp_path: Path, name: str) -> None:
    for folder in (tmp_path, tmp_path / "below"):
        with atomic_path(folder / name) as temporary:
            kept = folder / "kept"
            os.link(temporary, kept)
        os.rename(kept, temporary)  # as if the process had been killed
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(["below", name, name])


@pytest.mark.parametrize(
    "name", [".key", ".prepare.lock", ".settings", ".bashrc.settings", "a.abcd1234.json", ".a.json"]
)
def test_what_others_keep_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("kept")
    (tmp_path / ".folder.abcd1234.pt").mkdir()
    sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_is_swept_far_below(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / ".x.json.abcd1234.json"
    file.parent.mkdir(parents=True)
    file.touch()
    sweep(tmp_path)
    assert file.exists()
