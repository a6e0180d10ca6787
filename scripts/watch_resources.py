"""Run a command and watch what its processes hold: memory, open files, threads, checkpoints. Linux.

    python scripts/watch_resources.py --out watched --files output --warm-up 600 -- cxraug train data/nih64 --out output
    python scripts/watch_resources.py --judge watched/samples.csv --out watched --warm-up 900    # again, from the table

A sample is the sum over the command and all its descendants. Memory is the proportional set size (a page that several
processes share is counted once); ``anonymous`` is the part of it that no file backs, where leaks live: pages of a
memory-mapped pack come and go as the system likes. The exit status is 1 when, after the warm-up, memory, handles,
threads or the number of checkpoint files are not flat; the command's own status when it failed.
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from monai_cxraug.artifacts import write_json, write_text

SCHEMA = "cxraug.watched/1"
_PARTS = 10  # of the judged time, compared with each other
_MEMORY_LINES = {
    b"Rss:": "rss",
    b"Pss:": "pss",
    b"Pss_Anon:": "anonymous",
    b"Private_Clean:": "uss",
    b"Private_Dirty:": "uss",
}


@dataclass(frozen=True)
class Sample:
    """What all processes held at one moment; memory in MiB.

    Args:
        seconds: since the start.
        processes: alive.
        cpu: seconds of processor time, of ended and awaited processes too.
        rss: resident; shared pages counted once a process.
        pss: resident, a shared page counted once.
        uss: resident and not shared.
        anonymous: the part of ``pss`` without a file behind it.
        handles: open file descriptors.
        threads: of all processes.
        files: checkpoint files, half-written ones aside.
        newest: when the newest of them was written, seconds since the epoch; 0 without one.
    """

    seconds: float
    processes: int
    cpu: float
    rss: float
    pss: float
    uss: float
    anonymous: float
    handles: int
    threads: int
    files: int
    newest: float


COLUMNS = tuple(field.name for field in fields(Sample))


# --- looking ---


def descendants(root: int) -> list[int]:
    """A process and everything below it."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (parent := _parent(int(entry))) is not None:
            parents.setdefault(parent, []).append(int(entry))
    found = [root]
    for process in found:
        found.extend(parents.get(process, []))
    return found


def _parent(process: int) -> int | None:
    numbers = _stat(process)
    return int(numbers[1]) if numbers else None


def _stat(process: int) -> list[bytes]:
    """What follows the name in /proc/PID/stat; nothing when the process has ended."""
    try:
        # the name, in parentheses, may hold spaces and parentheses
        return Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []


def held_by(process: int) -> dict[str, float]:
    """Memory in MiB, handles and threads of one process; zeros when it has ended."""
    held: dict[str, float] = dict.fromkeys(("cpu", "rss", "pss", "uss", "anonymous", "handles", "threads"), 0)
    held["cpu"] = sum(map(int, _stat(process)[11:15])) / os.sysconf("SC_CLK_TCK")
    try:
        for line in Path(f"/proc/{process}/smaps_rollup").read_bytes().splitlines()[1:]:
            name, value = line.split()[:2]
            if name in _MEMORY_LINES:
                held[_MEMORY_LINES[name]] += int(value) / 1024
        held["handles"] = len(os.listdir(f"/proc/{process}/fd"))
        held["threads"] = len(os.listdir(f"/proc/{process}/task"))
    except OSError:
        pass
    return held


def checkpoints(folder: Path | None, patterns: Sequence[str]) -> list[tuple[str, float]]:
    """Names below a folder and when they were written; names that begin with a dot are half-written files."""
    found = []
    for path in (path for pattern in patterns for path in (folder.rglob(pattern) if folder else ())):
        try:
            if not path.name.startswith("."):
                found.append((path.name, path.stat().st_mtime))
        except OSError:  # replaced at this moment
            continue
    return sorted(found)


def look(root: int, seconds: float, files: Sequence[tuple[str, float]]) -> Sample:
    """One sample of a process tree."""
    processes = descendants(root)
    every = [held_by(process) for process in processes]
    total = {name: sum(one[name] for one in every) for name in every[0]}
    return Sample(
        seconds=round(seconds, 2),
        processes=len(processes),
        **{name: round(total[name], 2) for name in ("cpu", "rss", "pss", "uss", "anonymous")},
        handles=int(total["handles"]),
        threads=int(total["threads"]),
        files=len(files),
        newest=max((written for _, written in files), default=0.0),
    )


# --- judging ---


@dataclass(frozen=True)
class Rule:
    """What counts as flat.

    Args:
        warm_up: seconds that are not judged.
        tolerance: of memory, as a share.
        handles: by which the most open files of the second half may exceed those of the first quarter.
        threads: likewise.
        keep: checkpoint files at most; None: not judged.
    """

    warm_up: float = 60.0
    tolerance: float = 0.05
    handles: int = 2
    threads: int = 2
    keep: int | None = None


def judge(samples: Mapping[str, np.ndarray], rule: Rule) -> dict[str, Any]:
    """Compare the second half of the judged time with its first quarter.

    Args:
        samples: columns of the table, by name.
        rule: what counts as flat.

    Returns:
        Figures by name and ``faults``, a list of sentences: empty when all is flat.
    """
    late = {name: column[samples["seconds"] >= rule.warm_up] for name, column in samples.items()}
    hours = late["seconds"] / 3600
    if len(hours) < 2 * _PARTS:
        return {"faults": [f"{len(hours)} samples after the warm-up are too few to judge"]}
    quarter, half = len(hours) // 4, len(hours) // 2
    figures: dict[str, Any] = {"hours": round(float(hours[-1] - hours[0]), 3), "samples": len(hours)}
    figures["cpu_hours"] = round(float(late["cpu"][-1] - late["cpu"][0]) / 3600, 3)
    faults = []
    for name in ("pss", "anonymous"):
        column = late[name]
        parts = [float(np.median(part)) for part in np.array_split(column, _PARTS)]
        begin, end, middle = np.median(column[:quarter]), np.median(column[half:]), np.median(parts)
        drift, swing = float(end / begin - 1), max(abs(part / middle - 1) for part in parts)
        figures[name] = {
            "first_quarter": round(float(begin), 1),
            "second_half": round(float(end), 1),
            "drift": round(drift, 4),
            "swing": round(float(swing), 4),
            "slope_per_hour": round(_slope(hours, column), 1),
            "most": round(float(column.max()), 1),
        }
        if max(abs(drift), swing) > rule.tolerance:
            faults.append(f"{name} drifts by {drift:+.1%} and swings by {swing:.1%}; {rule.tolerance:.0%} allowed")
    for name, allowed in (("handles", rule.handles), ("threads", rule.threads)):
        column = late[name]
        growth = int(column[half:].max() - column[:quarter].max())
        figures[name] = {"least": int(column.min()), "most": int(column.max()), "growth": growth}
        if growth > allowed:
            faults.append(f"{name} grow by {growth}; {allowed} allowed")
    figures["files"] = {"most": int(late["files"].max()), "written": len(set(late["newest"].tolist()) - {0.0})}
    if rule.keep is not None and late["files"].max() > rule.keep:
        faults.append(f"{int(late['files'].max())} checkpoint files lie there; {rule.keep} allowed")
    return {**figures, "faults": faults}


def _slope(hours: np.ndarray, column: np.ndarray) -> float:
    """Least squares, MiB an hour."""
    return float(np.polyfit(hours - hours.mean(), column, 1)[0])


def read_samples(path: Path) -> dict[str, np.ndarray]:
    """The table's columns."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {name: np.array([float(row[name]) for row in rows]) for name in COLUMNS}


def summarise(verdict: Mapping[str, Any]) -> str:
    """One line."""
    head = f"not flat: {'; '.join(verdict['faults'])}" if verdict["faults"] else "flat"
    if "pss" not in verdict:
        return head
    pss, handles, files = verdict["pss"], verdict["handles"], verdict["files"]
    return (
        f"{head}: {verdict['hours']} h ({verdict['cpu_hours']} h of processor time) judged; "
        f"memory {pss['first_quarter']} -> {pss['second_half']} MiB "
        f"({pss['drift']:+.1%}, {pss['slope_per_hour']:+} MiB/h), "
        f"handles {handles['least']} to {handles['most']}, "
        f"checkpoint files {files['most']} at most, written {files['written']} times"
    )


# --- drawing ---

_WIDTH, _HEIGHT, _LEFT = 720, 130, 70
_SHOWN = {
    "pss": "memory, MiB",
    "anonymous": "of it anonymous, MiB",
    "handles": "open files",
    "files": "checkpoint files",
}


def draw(samples: Mapping[str, np.ndarray], warm_up: float) -> str:
    """An SVG: one strip a quantity over minutes, from 0; the warm-up is grey."""
    minutes = samples["seconds"] / 60
    strips = [
        _strip(minutes, samples[name], label, row, warm_up / 60) for row, (name, label) in enumerate(_SHOWN.items())
    ]
    height = _HEIGHT * len(strips) + 30
    foot = (
        f'<text x="{_LEFT}" y="{height - 10}">0</text>'
        f'<text x="{_WIDTH - 10}" y="{height - 10}" text-anchor="end">{minutes[-1]:.1f} min</text>'
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'style="font: 12px sans-serif; background: white">'
    )
    return "\n".join([head, *strips, foot, "</svg>"]) + "\n"


def _strip(minutes: np.ndarray, column: np.ndarray, label: str, row: int, warm_up: float) -> str:
    top, bottom = row * _HEIGHT + 28, (row + 1) * _HEIGHT
    x = _LEFT + (_WIDTH - _LEFT - 10) * minutes / max(minutes[-1], 1e-9)
    y = bottom - (bottom - top) * column / max(column.max() * 1.05, 1e-9)
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    grey = (_WIDTH - _LEFT - 10) * min(warm_up / max(minutes[-1], 1e-9), 1)
    return (
        f'<rect x="{_LEFT}" y="{top}" width="{grey:.1f}" height="{bottom - top}" fill="#eee"/>'
        f'<path d="M{_LEFT} {top}V{bottom}H{_WIDTH - 10}" fill="none" stroke="#999"/>'
        f'<polyline points="{line}" fill="none" stroke="#225ea8" stroke-width="1.5"/>'
        f'<text x="{_LEFT}" y="{top - 6}">{label}</text>'
        f'<text x="{_LEFT - 6}" y="{y[column.argmax()] + 4:.1f}" text-anchor="end">{column.max():,.0f}</text>'
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">0</text>'
    )


# --- running ---


def watch(command: Sequence[str], out: Path, every: float, files: Path | None, patterns: Sequence[str]) -> int:
    """Run a command; write ``samples.csv``, line by line, and ``checkpoints.txt``, the names that were there.

    Returns:
        The command's exit status.
    """
    out.mkdir(parents=True, exist_ok=True)
    began, names = time.monotonic(), set()
    with (out / "samples.csv").open("w", encoding="utf-8", newline="", buffering=1) as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        with subprocess.Popen(command) as process, _Forwarding(process):
            while process.poll() is None:
                there = checkpoints(files, patterns)
                sample = look(process.pid, time.monotonic() - began, there)
                names.update(name for name, _ in there)
                if sample.pss:  # else it has just ended
                    writer.writerow({name: getattr(sample, name) for name in COLUMNS})
                _wait(process, every)
    write_text(out / "checkpoints.txt", "".join(f"{name}\n" for name in sorted(names)))
    return process.returncode


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


class _Forwarding:
    """SIGTERM and SIGINT go to the command, which may want to write a checkpoint; its end is ours."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def __enter__(self) -> None:
        self.before = {number: signal.signal(number, self._pass_on) for number in (signal.SIGTERM, signal.SIGINT)}

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _pass_on(self, number: int, frame: object) -> None:
        self.process.send_signal(number)


def report(out: Path, table: Path, rule: Rule) -> int:
    """Judge a table, write ``summary.json`` and ``samples.svg``, print the line; 1 when it is not flat."""
    samples = read_samples(table)
    verdict = judge(samples, rule)
    write_json(out / "summary.json", SCHEMA, verdict)
    if len(samples["seconds"]):
        write_text(out / "samples.svg", draw(samples, rule.warm_up))
    print(summarise(verdict))
    return bool(verdict["faults"])


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of samples.csv, samples.svg, summary.json")
    parser.add_argument("--judge", type=Path, metavar="SAMPLES", help="a table to judge; nothing is run")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between samples")
    parser.add_argument("--files", type=Path, help="folder below which checkpoints lie")
    parser.add_argument("--pattern", action="append", help="their names; *.pt by default")
    parser.add_argument("--warm-up", type=float, default=Rule.warm_up, help="seconds that are not judged")
    parser.add_argument("--tolerance", type=float, default=Rule.tolerance, help="of memory")
    parser.add_argument("--handles", type=int, default=Rule.handles, help="growth of open files that is allowed")
    parser.add_argument("--threads", type=int, default=Rule.threads, help="growth of threads that is allowed")
    parser.add_argument("--keep", type=int, help="checkpoint files at most")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    parsed = parser.parse_args(arguments)
    parsed.command = parsed.command[1:] if parsed.command[:1] == ["--"] else parsed.command
    if bool(parsed.command) == bool(parsed.judge):
        parser.error("give a command after --, or --judge")
    return parsed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, watch, judge."""
    given = parse(arguments)
    rule = Rule(given.warm_up, given.tolerance, given.handles, given.threads, given.keep)
    if given.judge:
        return report(given.out, given.judge, rule)
    status = watch(given.command, given.out, given.every, given.files, given.pattern or ["*.pt"])
    flat = report(given.out, given.out / "samples.csv", rule)
    return status or flat


if __name__ == "__main__":
    sys.exit(main())
