"""Watching a command: a leak of memory, files, threads or checkpoints is seen; what is flat is called flat."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scripts.watch_resources import COLUMNS, Rule, checkpoints, descendants, held_by, judge, main, read_samples

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
_MIB = 2**20


def flat_table(count: int = 400) -> dict[str, np.ndarray]:
    """An hour in which nothing changes but what does by chance."""
    rng = np.random.default_rng(0)
    table = {name: np.full(count, 10.0) for name in COLUMNS}
    table["seconds"] = np.linspace(0, 3600, count)
    for name in ("rss", "pss", "anonymous"):
        table[name] = 800 + rng.normal(0, 8, count)
    table["files"], table["newest"] = np.full(count, 2.0), np.floor(np.arange(count) / 4) + 1
    return table


# --- judging ---


def test_what_is_flat_has_no_faults() -> None:
    verdict = judge(flat_table(), Rule(keep=2))
    assert verdict["faults"] == []
    assert verdict["files"] == {"most": 2, "written": 99}  # the first hundredth lies in the warm-up


@pytest.mark.parametrize("name", ["pss", "anonymous"])
@pytest.mark.parametrize("growth", [0.2, -0.2])
def test_memory_that_drifts_is_a_fault(name: str, growth: float) -> None:
    table = flat_table()
    table[name] = table[name] * np.linspace(1, 1 + growth, 400)
    (fault,) = judge(table, Rule())["faults"]
    assert fault.startswith(f"{name} drifts by {'+' if growth > 0 else '-'}")


def test_slope_is_that_of_a_line() -> None:
    table = flat_table()
    table["pss"] = 500 + 12 * table["seconds"] / 3600
    assert judge(table, Rule())["pss"]["slope_per_hour"] == pytest.approx(12, abs=0.05)


def test_memory_that_rises_and_falls_again_is_a_fault() -> None:
    table = flat_table()
    table["pss"][200:260] += 200  # the medians of quarter and half do not see it
    verdict = judge(table, Rule())
    assert abs(verdict["pss"]["drift"]) < 0.05
    assert len(verdict["faults"]) == 1


def test_a_single_peak_is_none() -> None:
    table = flat_table()
    table["pss"][300] += 4000
    assert judge(table, Rule())["faults"] == []


def test_the_warm_up_is_not_judged() -> None:
    table = flat_table()
    table["pss"][table["seconds"] < 900] /= 2
    assert judge(table, Rule(warm_up=900))["faults"] == []
    assert judge(table, Rule(warm_up=0))["faults"]


@pytest.mark.parametrize("name", ["handles", "threads"])
def test_handles_and_threads_that_grow_are_faults(name: str) -> None:
    table = flat_table()
    table[name][:] = 10 + np.arange(400) // 130
    (fault,) = judge(table, Rule())["faults"]
    assert fault == f"{name} grow by 3; 2 allowed"
    assert judge(table, Rule(handles=3, threads=3))["faults"] == []


def test_checkpoints_that_pile_up_are_a_fault() -> None:
    table = flat_table()
    table["files"][350:] = 3
    assert judge(table, Rule(keep=2))["faults"] == ["3 checkpoint files lie there; 2 allowed"]
    assert judge(table, Rule())["faults"] == []


def test_too_few_samples_are_not_called_flat() -> None:
    assert judge(flat_table(), Rule(warm_up=3500))["faults"] == ["12 samples after the warm-up are too few to judge"]


# --- looking ---


def test_children_and_grandchildren_are_counted() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()  # the grandchild lives
        found = descendants(os.getpid())
        below = descendants(child.pid)
        child.stdin.write("\n")
        child.stdin.close()
    assert below[0] == child.pid
    assert len(below) == 2
    assert {os.getpid(), *below} <= set(found)


def test_what_this_process_holds(tmp_path: Path) -> None:
    before = held_by(os.getpid())
    block = np.ones(64 * _MIB, dtype=np.uint8)
    with (tmp_path / "a").open("w"), (tmp_path / "b").open("w"):
        after = held_by(os.getpid())
    assert after["handles"] - before["handles"] == 2
    for name in ("rss", "pss", "uss", "anonymous"):
        assert after[name] - before[name] == pytest.approx(len(block) / _MIB, abs=4)
    assert after["uss"] <= after["pss"] <= after["rss"]


def test_a_process_that_ended_holds_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert set(held_by(child.pid).values()) == {0}
    assert descendants(child.pid) == [child.pid]


def test_half_written_files_are_no_checkpoints(tmp_path: Path) -> None:
    for name in (".checkpoint.pt.x1.pt", "checkpoint.pt", "deeper/model.pt", "log.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [name for name, _ in checkpoints(tmp_path, ["*.pt"])] == ["checkpoint.pt", "model.pt"]
    assert checkpoints(None, ["*.pt"]) == []


# --- the whole ---


PROGRAM = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
held = b"x" * 2**25
leaked = []
while (folder / "w" / "samples.csv").read_text().count("\\n") < 80:  # as many samples, however busy the machine
    new = bytearray(b"x" * 2**18), open(sys.executable)
    if sys.argv[2] == "leak":
        leaked.append(new)
    (folder / ".new.pt").write_text(str(time.time()))
    (folder / ".new.pt").replace(folder / "checkpoint.pt")
    time.sleep(0.02)
"""


def run(folder: Path, way: str) -> int:
    """Watch a small program; judge from the first sample in which it held all that it begins with."""
    command = [sys.executable, "-c", PROGRAM, str(folder), way]
    files = ["--files", str(folder), "--keep", "1"]
    assert main(["--out", str(folder / "w"), "--every", "0.02", "--warm-up", "1e9", *files, "--", *command]) == 1
    table = read_samples(folder / "w" / "samples.csv")
    begin = table["seconds"][table["pss"] > 32][0] + 0.05
    return main(["--out", str(folder), "--judge", str(folder / "w" / "samples.csv"), "--warm-up", str(begin), *files])


def test_a_program_that_leaks_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "leak") == 1
    line = capsys.readouterr().out.splitlines()[1]
    assert line.startswith("not flat: pss drifts by +")
    assert "anonymous drifts" in line
    assert "handles grow by" in line
    assert json.loads((tmp_path / "summary.json").read_text())["pss"]["slope_per_hour"] > 1000


def test_a_program_that_does_not_is_called_flat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "tidy") == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("flat: ")
    assert (np.diff(read_samples(tmp_path / "w" / "samples.csv")["seconds"]) > 0).all()
    assert (tmp_path / "w" / "checkpoints.txt").read_text() == "checkpoint.pt\n"
    assert (tmp_path / "samples.svg").read_text().count("<polyline") == 4


def test_a_program_that_fails_gives_its_status(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys, time; time.sleep(0.2); sys.exit(7)"]
    assert main(["--out", str(tmp_path), "--every", "0.02", "--", *command]) == 7


def test_a_table_is_judged_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = flat_table()
    table["pss"][table["seconds"] < 900] /= 2
    rows = zip(*(table[name] for name in COLUMNS), strict=True)
    text = "\n".join([",".join(COLUMNS), *(",".join(map(repr, map(float, row))) for row in rows)])
    (tmp_path / "samples.csv").write_text(text + "\n")
    judged = ["--out", str(tmp_path), "--judge", str(tmp_path / "samples.csv"), "--warm-up"]
    assert main([*judged, "0"]) == 1
    assert main([*judged, "900"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("flat: ")
