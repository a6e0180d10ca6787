"""One job killed again and again, started again each time, and compared with an undisturbed run in the end."""

from __future__ import annotations

import errno
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from scripts.kill_starts import Ended, Moment, Starter, learn
from scripts.kill_trouble import Volume, damage, failing
from scripts.kill_work import Job

#: what a fresh interpreter spends on imports before the job begins, in seconds of work; only a guess is needed.
_IMPORTS: Final = 5.0


@dataclass
class Tally:
    """What happened to one job.

    Args:
        kills: in all.
        at_steps: of them, at a step in the folder; the others after a share of the work.
        before_any: of them, before anything was finished.
        fresh: starts in a fresh interpreter.
        runs: that came to their end and were compared.
        damaged: checkpoints damaged, by the way.
        trouble: full and read-only disks, by what came of them.
        faults: what must not happen, by kind: refused, lost, different, orphans.
        stories: one line a fault.
        seconds: of work of an undisturbed run.
        steps: in the folder of an undisturbed run.
    """

    kills: int = 0
    at_steps: int = 0
    before_any: int = 0
    fresh: int = 0
    runs: int = 0
    damaged: Counter[str] = field(default_factory=Counter)
    trouble: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    stories: list[str] = field(default_factory=list)
    seconds: float = 0.0
    steps: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}


class Campaign:
    """Kills one job.

    Args:
        job: what is killed.
        folder: to work in.
        seed: of the moments.
        fresh: one start in so many is a fresh interpreter; 0 for none.
        spoil: share of the kills after which the newest checkpoint is damaged.
        warm: whether this process learns to import what the job imports.
    """

    def __init__(
        self, job: Job, folder: Path, seed: int, fresh: int = 0, spoil: float = 0.1, warm: bool = True
    ) -> None:
        self.job, self.folder, self.fresh, self.spoil = job, folder, fresh, spoil
        self.draw = random.Random(f"{job.name} {seed}")  # nosec B311: draws for a test
        self.tally, self.starts = Tally(), 0
        self.given = folder / "given"
        self.given.mkdir(parents=True)
        self.job.make(self.given)
        self.whole = self._measure(warm)

    def _measure(self, warm: bool) -> dict[str, str]:
        """Run undisturbed; returns the products."""
        ended = self._undisturbed("whole")
        products = self.job.products(self.folder / "whole")
        if warm:
            learn(ended.modules)
            ended = self._undisturbed("again")
            self._compare(self.job.products(self.folder / "again"), products, "a second undisturbed run")
        self.tally.seconds, self.tally.steps = round(ended.seconds, 2), ended.steps
        return dict(products)

    def _undisturbed(self, name: str) -> Ended:
        out = self.folder / name
        ended = self._starter(out).run(lambda: int(self.job.start(self.given, out)))
        if ended.status:
            raise RuntimeError(f"{self.job.name} cannot be done at all: {ended.said}")
        return ended

    def _starter(self, out: Path) -> Starter:
        return Starter(self.folder / f"{out.name}.log", out)

    # --- kills ---

    def run(self, kills: int, say: Callable[[str], None] = lambda line: None) -> Tally:
        """Kill so many times, and let the last run come to its end."""
        while self.tally.kills < kills:
            self._run_once(kills, say)
        return self.tally

    def _run_once(self, kills: int, say: Callable[[str], None]) -> None:
        """One run from nothing to its end, through kills."""
        out = self.folder / f"run{self.tally.runs}"
        self.tally.runs += 1
        kept = 0
        while True:
            moment = self._moment() if self.tally.kills < kills else None
            ended = self._start(out, moment)
            if not ended.killed:
                break
            self.tally.kills += 1
            self.tally.at_steps += bool(moment and moment.step)
            kept = self._check_kept(out, kept)
            if self.draw.random() < self.spoil and self._damage(out):
                kept = 0
            say(f"{self.job.name}: {self.tally.kills} kills, {self.tally.runs} runs, {dict(self.tally.faults)}")
        self._conclude(out, ended)

    # --- other troubles ---

    def trouble(self, times: int, mounted: bool = True) -> Tally:
        """Meet a full disk and a read-only one, so many times each, and come to the same end afterwards.

        Args:
            times: of each.
            mounted: on a small file system of its own; else every write fails from a moment on.
        """
        for number in range(times):
            for name, act in (("full", self._fill), ("read-only", self._forbid)):
                if mounted:
                    with Volume(self.folder / "disk") as volume:
                        self._compare_after(volume.place / "out", name, act, volume)
                else:
                    self._compare_after(self.folder / f"{name}{number}", name, act, None)
        return self.tally

    def _compare_after(
        self, out: Path, name: str, act: Callable[[Path, Volume | None], Ended], volume: Volume | None
    ) -> None:
        ended = act(out, volume)
        if ended.status and not ended.refused_in_one_line:
            self._fault("no line", f"disk {name}: status {ended.status}: {ended.said[-1500:]}")
        self.tally.trouble[f"disk {name}: {'said in one line' if ended.status else 'nothing to be written'}"] += 1
        if volume is not None:
            volume.change("rw,size=1g")
        self._conclude(out, self._start(out, None))

    def _fill(self, out: Path, volume: Volume | None) -> Ended:
        """A disk that has room for a part of what the job writes."""
        if volume is None:
            return self._fail(out, errno.ENOSPC)
        bytes_of_all = sum(file.stat().st_size for file in (self.folder / "whole").rglob("*"))
        volume.change(f"size={max(8192, int(self.draw.random() * bytes_of_all))}")
        return self._start(out, None)

    def _forbid(self, out: Path, volume: Volume | None) -> Ended:
        """A disk that became read-only after the job was killed."""
        self._start(out, self._moment())
        if volume is None:
            return self._fail(out, errno.EROFS)
        volume.change("ro")
        return self._start(out, None)

    def _fail(self, out: Path, number: int) -> Ended:
        step = 1 + int(self.draw.random() * self.tally.steps)
        return self._starter(out).run(failing(lambda: int(self.job.start(self.given, out)), out, step, number))

    # --- what both need ---

    def _moment(self) -> Moment:
        share = self.draw.random() * self.job.share
        if self.draw.random() < 0.5 and self.tally.steps:
            return Moment(step=1 + int(share * self.tally.steps))
        return Moment(seconds=0.01 + share * self.tally.seconds)

    def _start(self, out: Path, moment: Moment | None) -> Ended:
        self.starts += 1
        starter = self._starter(out)
        if self.fresh and self.starts % self.fresh == 0:
            self.tally.fresh += 1
            late = moment and Moment(seconds=_IMPORTS + self.draw.random() * self.job.share * self.tally.seconds)
            ended = starter.run_fresh(self.job.command(self.given, out), late)
        else:
            ended = starter.run(lambda: int(self.job.start(self.given, out)), moment)
        if ended.orphans:
            self._fault("orphans", f"{out.name}: {ended.orphans} processes left behind")
        return ended

    def _check_kept(self, out: Path, before: int) -> int:
        now = int(self.job.kept(out))
        if now < before:
            self._fault("lost", f"{out.name}: {before} finished before the kill, {now} after it")
        self.tally.before_any += not now
        return now

    def _damage(self, out: Path) -> bool:
        """Damage the newest state if an older one is there to go on from; returns whether it was."""
        newest, older = self.job.state(out)
        if not newest.exists() or (older is not None and not (older.exists() and not older.samefile(newest))):
            return False
        self.tally.damaged[damage(newest, self.draw)] += 1
        return True

    def _conclude(self, out: Path, ended: Ended) -> None:
        if ended.status:
            self._fault("refused", f"{out.name}: status {ended.status}: {ended.said[-1000:]}")
        elif self._compare(self.job.products(out), self.whole, out.name):
            shutil.rmtree(out)

    def _compare(self, found: dict[str, str], wanted: dict[str, str], name: str) -> bool:
        differ = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
        if differ:
            self._fault("different", f"{name}: {', '.join(differ[:5])} and {max(0, len(differ) - 5)} more")
        return not differ

    def _fault(self, kind: str, story: str) -> None:
        self.tally.faults[kind] += 1
        self.tally.stories.append(f"{kind}: {story}")
        print(f"{self.job.name}: {kind}: {story}", file=sys.stderr, flush=True)
