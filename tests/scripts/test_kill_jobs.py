"""Every long job killed a few times at every change, and the harness itself: it sees what it is there to see."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.kill_campaign import Campaign
from scripts.kill_starts import Moment, Starter
from scripts.kill_work import Job, hashes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills by the clock of a process, which Linux has")
ROOT = Path(__file__).resolve().parents[2]
JOBS = ("prepare", "gan", "sampling", "classifier", "experiment", "study")
KILLS = 5


# --- the six jobs ---


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What came of all jobs, in one process that has imported everything once and that nothing else has run in."""
    folder = tmp_path_factory.mktemp("killed")
    options = ["--kills", str(KILLS), "--fresh", "0", "--troubles", "0", "--out", str(folder / "counts.json")]
    command = [sys.executable, "-m", "scripts.kill_jobs", *options, "--folder", str(folder / "work")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    print(done.stdout, done.stderr)
    return dict(json.loads((folder / "counts.json").read_text()))


@pytest.mark.slow  # a minute; each kind of stage has tests of its own that kill it
@pytest.mark.e2e
@pytest.mark.parametrize("job", JOBS)
def test_a_job_survives_its_kills(counts: dict[str, dict[str, Any]], job: str) -> None:
    found = counts[job]
    assert found["stories"] == []
    assert found["kills"] >= KILLS
    assert found["runs"] >= 1


# --- the harness ---

UNITS = 6


def work(folder: Path) -> int:
    """Write units one after the other, as a job does that goes on where it stopped."""
    folder.mkdir(exist_ok=True)
    for number in range(UNITS):
        if not (folder / f"{number}.txt").exists():
            (folder / "half.part").write_text(str(number))
            (folder / "half.part").rename(folder / f"{number}.txt")
    return 0


def refuse(folder: Path) -> int:
    """Does not go on where there is something."""
    return 2 if folder.exists() else work(folder)


def begin_anew(folder: Path) -> int:
    """Throws away what was done."""
    for file in folder.glob("*.txt"):
        file.unlink()
    return work(folder)


def differ(folder: Path) -> int:
    """Notes that it was interrupted."""
    again = folder.exists()
    work(folder)
    if again:
        (folder / "0.txt").write_text("again")
    return 0


def leave_child(folder: Path) -> int:
    """Leaves a process behind that outlives it."""
    subprocess.Popen(["sleep", "600"])
    return work(folder)


def leave_litter(folder: Path) -> int:
    folder.mkdir(exist_ok=True)
    (folder / f".{os.getpid()}.tmp").touch()
    return work(folder)


def products(folder: Path) -> dict[str, str]:
    litter = {path.name: "litter" for path in folder.glob(".*")}
    return hashes(folder, *(f"{number}.txt" for number in range(UNITS))) | (litter if len(litter) > 1 else {})


def campaign(folder: Path, start: Callable[[Path], int]) -> Campaign:
    job = Job(
        name="a job",
        make=lambda given: None,
        start=lambda given, out: start(out),
        command=lambda given, out: [],
        kept=lambda out: len(list(out.glob("*.txt"))),
        products=products,
        state=lambda out: (out / "none", None),
    )
    return Campaign(job, folder, seed=3, warm=False)


def test_a_job_that_goes_on_has_no_faults(tmp_path: Path) -> None:
    tally = campaign(tmp_path / "good", work).run(12)
    assert (tally.kills, tally.stories) == (12, [])
    assert tally.at_steps > 0
    assert tally.runs > 1
    assert not list((tmp_path / "good").glob("run*/"))


@pytest.mark.parametrize(
    ("start", "fault"),
    [(refuse, "refused"), (begin_anew, "lost"), (differ, "different"), (leave_litter, "different")],
)
def test_a_fault_is_seen(tmp_path: Path, start: Callable[[Path], int], fault: str) -> None:
    one = campaign(tmp_path / "bad", start)
    tally = one.run(12)
    assert set(tally.faults) == {fault}
    assert len(tally.stories) == tally.faults.total()


def test_a_process_left_behind_is_seen_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.kill_starts.ORPHANS", 0.2)
    tally = campaign(tmp_path / "bad", leave_child).run(2)
    assert set(tally.faults) == {"orphans"}


@pytest.mark.parametrize("step", [1, 2, 5, 2 * UNITS + 1])
def test_a_kill_comes_at_its_step(tmp_path: Path, step: int) -> None:
    out = tmp_path / "out"
    ended = Starter(tmp_path / "log", out).run(lambda: work(out), Moment(step=step))
    assert (ended.status, ended.killed) == (-signal.SIGKILL, True)
    # the folder is made first; then each unit is a file that is written and renamed
    assert len(list(out.glob("*.txt"))) == max(0, step - 2) // 2


def test_a_kill_comes_after_so_much_work(tmp_path: Path) -> None:
    def spin() -> int:
        while True:
            pass

    ended = Starter(tmp_path / "log", tmp_path / "out").run(spin, Moment(seconds=0.2))
    assert ended.killed
    assert 0.2 <= ended.seconds < 0.5


def test_what_fails_is_told_with_what_it_said(tmp_path: Path) -> None:
    def fail() -> int:
        raise RuntimeError("a reason")

    ended = Starter(tmp_path / "log", tmp_path / "out").run(fail)
    assert ended.status == 70
    assert "RuntimeError: a reason" in ended.said
    assert not ended.refused_in_one_line


@pytest.mark.parametrize(
    ("said", "status", "line"),
    [
        ("cxraug: error: a: b", 2, True),
        ("error: a: b\nerror: c", 2, False),
        ("Traceback (most recent call last)\nerror: a", 2, False),
        ("error: a", 1, False),
        ("", 2, False),
    ],
)
def test_one_line_is_one_line(tmp_path: Path, said: str, status: int, line: bool) -> None:
    def say() -> int:
        print(said)
        return status

    assert Starter(tmp_path / "log", tmp_path / "out").run(say).refused_in_one_line == line


def test_a_full_disk_without_a_line_is_a_fault(tmp_path: Path) -> None:
    tally = campaign(tmp_path / "bad", work).trouble(2, mounted=False)
    assert set(tally.faults) <= {"no line"}
    assert tally.faults["no line"] > 0


@pytest.mark.slow
def test_every_job_survives_a_full_and_a_read_only_disk(tmp_path: Path) -> None:
    options = ["--kills", "0", "--fresh", "0", "--troubles", "1", "--out", str(tmp_path / "counts.json")]
    command = [sys.executable, "-m", "scripts.kill_jobs", *options, "--folder", str(tmp_path / "work")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=2400)
    print(done.stdout, done.stderr)
    counts = json.loads((tmp_path / "counts.json").read_text())
    for job in JOBS:
        assert counts[job]["stories"] == []
        assert sum(counts[job]["trouble"].values()) >= 1
