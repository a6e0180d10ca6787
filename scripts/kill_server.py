"""The study server, killed while readers answer: every answer that it acknowledged is there once, as it was meant."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
import shutil
import socket
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from monai_cxraug.cli import main as cxraug
from monai_cxraug.study.files import CHOICES, Trial, read_answers
from monai_cxraug.study.server.database import DATABASE
from monai_cxraug.study.serving import export_answers
from monai_cxraug.study.simulated import Opinion, Policy, SimulatedReaders
from scripts.kill_campaign import Tally
from scripts.kill_starts import PATIENCE, Ended, Moment, Starter, learn
from scripts.kill_trouble import Volume
from tests.study.server.small_study import write_study

_TOKEN: Final = "a token to kill by"
#: seconds of the server's work beyond its start, at most, before it is killed.
_SERVED: Final = 0.25


def policy(number: int) -> Policy:
    """A reader with opinions of its own, which can be computed again."""

    def decide(trial: Trial) -> Opinion:
        draw = hashlib.sha256(f"{number} {trial.trial}".encode()).digest()
        return Opinion(CHOICES[trial.task][draw[0] % 2], 1 + draw[1] % 4, 300.0 + draw[2])

    return decide


class ServerCampaign:
    """Kills a study server.

    Args:
        folder: to work in.
        seed: of the moments.
        readers: who answer at once.
        judged: trials of each of three tasks, beside those for training, repeats and sentinels.
        fresh: one start in so many is a fresh interpreter; 0 for none.
    """

    def __init__(self, folder: Path, seed: int, readers: int = 4, judged: int = 40, fresh: int = 0) -> None:
        self.folder, self.readers, self.fresh = folder, readers, fresh
        self.draw = random.Random(f"study {seed}")  # nosec B311: draws for a test
        self.tally, self.starts = Tally(), 0
        self.study = write_study(folder / "given", judged=judged, training=2, repeats=2, sentinels=2)
        self.port = _free_port()
        self.tally.seconds = self._measure()

    def run(self, kills: int, say: Callable[[str], None] = lambda line: None) -> Tally:
        """Kill so many times, and let the last readers come to their end."""
        while self.tally.kills < kills:
            self._run_once(kills, say)
        return self.tally

    def serve(self, answers: Path, moment: Moment | None = None, until: Callable[[], bool] | None = None) -> Ended:
        """Serve until a kill, or until it is no longer needed."""
        arguments = ["study", "serve", str(self.folder / "given"), "--answers", str(answers)]
        arguments += ["--port", str(self.port), "--token", _TOKEN, "--quiet"]
        self.starts += 1
        starter = Starter(self.folder / "server.log", answers)
        if moment and self.fresh and self.starts % self.fresh == 0:
            self.tally.fresh += 1
            return starter.run_fresh(["monai_cxraug.cli", *arguments], Moment(seconds=1 + moment.seconds))
        return starter.run(lambda: cxraug(arguments), moment, until)

    def answer(self, told: Path) -> BaseProcess:
        """Let readers answer, in a process of their own that outlives the server; it tells what was acknowledged."""
        process = multiprocessing.get_context("fork").Process(target=self._answer, args=(told,), daemon=True)
        process.start()
        return process

    def _answer(self, told: Path) -> None:
        job = SimulatedReaders(f"http://127.0.0.1:{self.port}", _TOKEN, self.study, patience=PATIENCE)
        done = job.run([policy(number) for number in range(self.readers)], self.readers)
        told.write_text(json.dumps([[one.code, *pair] for one in done for pair in one.acknowledged]))

    def _measure(self) -> float:
        """Seconds of work until the server answers; imports are learnt on the way."""
        seconds = 0.0
        for name in ("learnt", "measured"):
            ended = self.serve(self.folder / name, until=self._is_up)
            if ended.status:
                raise RuntimeError(f"the server cannot be started at all: {ended.said}")
            learn(ended.modules)
            seconds = ended.seconds
        return round(seconds, 2)

    def _is_up(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def _run_once(self, kills: int, say: Callable[[str], None]) -> None:
        """One study from its first answer to its last, through kills."""
        name = f"run{self.tally.runs}"
        answers, told = self.folder / name, self.folder / f"{name}.json"
        self.tally.runs += 1
        readers, kept = self.answer(told), 0
        while readers.is_alive():
            least = self.draw.random() * (self.tally.seconds + _SERVED)
            moment = Moment(seconds=0.01 + least) if self.tally.kills < kills else None
            ended = self.serve(answers, moment, until=lambda: not readers.is_alive())
            if not ended.killed:
                if ended.status:
                    self._fault("refused", f"{name}: status {ended.status}: {ended.said[-1000:]}")
                    readers.kill()
                continue
            self.tally.kills += 1
            kept = self._check_kept(answers, kept, name)
            say(f"study: {self.tally.kills} kills, {self.tally.runs} runs, {dict(self.tally.faults)}")
        readers.join()
        self._check_answers(answers, told, name)

    # --- other troubles ---

    def trouble(self, times: int, mounted: bool = True) -> Tally:
        """Meet a full disk, a read-only one and a damaged database, so many times each."""
        for number in range(times if mounted else 0):
            with Volume(self.folder / "disk") as volume:
                self._fill(volume, f"full{number}")
                self._forbid(volume)
        for number in range(times):
            self._spoil(self.folder / f"spoilt{number}")
        return self.tally

    def _fill(self, volume: Volume, name: str) -> None:
        """While the disk is full no answer is acknowledged; afterwards readers go on."""
        answers, told = volume.place / "answers", self.folder / f"{name}.json"
        volume.change("size=256k")
        readers = self.answer(told)
        self.serve(answers, until=lambda: volume.is_full or not readers.is_alive())
        self.tally.trouble["disk full"] += readers.is_alive()
        volume.change("size=1g")
        self.serve(answers, until=lambda: not readers.is_alive())
        readers.join()
        self._check_answers(answers, told, name)

    def _forbid(self, volume: Volume) -> None:
        volume.change("ro")
        ended = self.serve(volume.place / "answers", until=self._is_up)
        volume.change("rw")
        self._require_line(ended, "disk read-only")

    def _spoil(self, answers: Path) -> None:
        """A database that is none any more is refused, and left for whoever can mend it."""
        self.serve(answers, until=self._is_up)
        spoilt = self.draw.randbytes(5000)
        (answers / DATABASE).write_bytes(spoilt)
        self._require_line(self.serve(answers, until=self._is_up), "database damaged")
        if (answers / DATABASE).read_bytes() != spoilt:
            self._fault("lost", f"{answers.name}: a damaged database was changed")

    def _require_line(self, ended: Ended, name: str) -> None:
        self.tally.trouble[f"{name}: said in one line"] += ended.refused_in_one_line
        if not ended.refused_in_one_line:
            self._fault("no line", f"{name}: status {ended.status}: {ended.said[-1500:]}")

    # --- what must hold ---

    def _check_kept(self, answers: Path, before: int, name: str) -> int:
        now = count_answers(answers, self.folder / "copy")
        if now < before:
            self._fault("lost", f"{name}: {before} answers before the kill, {now} after it")
        self.tally.before_any += now <= 0
        return now

    def _check_answers(self, answers: Path, told: Path, name: str) -> None:
        """Every acknowledged answer is there exactly once, and nothing else is."""
        acknowledged = Counter(map(tuple, json.loads(told.read_text()))) if told.exists() else Counter()
        out = self.folder / f"{name}.tables"
        export_answers(answers / DATABASE, out)
        stored = Counter((one.reader, one.trial, one.answer) for one in read_answers(out)[0])
        whole = self.readers * len(self.study.trials)
        if stored != acknowledged or len(stored) != whole or set(stored.values()) != {1}:
            found = f"{stored.total()} stored, {acknowledged.total()} acknowledged, {whole} to be given"
            self._fault("different", f"{name}: {found}")
        else:
            self.tally.trouble["answers acknowledged and found once"] += whole
            shutil.rmtree(answers)

    def _fault(self, kind: str, story: str) -> None:
        self.tally.faults[kind] += 1
        self.tally.stories.append(f"{kind}: {story}")
        print(f"study: {kind}: {story}", file=sys.stderr, flush=True)


def count_answers(answers: Path, copy: Path) -> int:
    """Answers in what a killed server left, looked at in a copy so that nobody mends it but the next server."""
    if not (answers / DATABASE).exists():
        return 0
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(answers, copy)
    connection = sqlite3.connect(copy / DATABASE)
    try:
        if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            return -1
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return int(connection.execute("SELECT count(*) FROM answers").fetchone()[0]) if "answers" in tables else 0
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Wait for something; returns whether it came."""
    limit = time.monotonic() + seconds
    while not (come := condition()) and time.monotonic() < limit:
        time.sleep(0.005)
    return come
