"""Many simulated readers at once, on a server that is killed again and again."""

from __future__ import annotations

import hashlib
import statistics
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from monai_cxraug.study.files import CHOICES, Study, Trial, read_answers
from monai_cxraug.study.server.database import DATABASE
from monai_cxraug.study.serving import export_answers
from monai_cxraug.study.simulated import Attendance, Opinion, Policy, SimulatedReaders
from tests.study.server.process import ServerProcess
from tests.study.server.small_study import write_study


@pytest.fixture(autouse=True)
def needs_server() -> None:
    """These tests start servers."""
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")


def policy(number: int) -> Policy:
    """A reader with opinions of its own, which can be computed again."""

    def decide(trial: Trial) -> Opinion:
        draw = hashlib.sha256(f"{number} {trial.trial}".encode()).digest()
        return Opinion(CHOICES[trial.task][draw[0] % 2], 1 + draw[1] % 4, 300.0 + draw[2])

    return decide


def answer_while_killing(
    server: ServerProcess, study: Study, readers: int, together: int, kills: int, pause: float
) -> tuple[list[Attendance], int, float]:
    """Let readers answer, and kill the server so often, as long as they do; returns what they did, kills, seconds."""
    done: list[Attendance] = []
    job = SimulatedReaders(server.url, server.token, study)
    start = time.perf_counter()
    work = threading.Thread(target=lambda: done.extend(job.run([policy(k) for k in range(readers)], together)))
    work.start()
    killed = 0
    while killed < kills and work.is_alive():
        work.join(pause)
        if work.is_alive():
            server.kill()
            server.start()
            killed += 1
    work.join()
    return done, killed, time.perf_counter() - start


def check_every_answer(done: list[Attendance], study: Study, folder: Path, readers: int) -> None:
    """Every acknowledged answer is there exactly once, and as its reader meant it; nothing else is."""
    answers, attended = read_answers(folder)
    assert len(done) == len(attended) == readers
    stored = Counter((one.reader, one.trial, one.answer) for one in answers)
    acknowledged = Counter((one.code, *pair) for one in done for pair in one.acknowledged)
    assert stored == acknowledged
    assert set(stored.values()) == {1}
    assert len(stored) == readers * len(study.trials)
    assert all(one.simulated == 1 and one.role == "simulated" and one.finished_utc for one in attended)


@pytest.mark.e2e
def test_few_readers_and_two_kills(study: Study, tmp_path: Path) -> None:
    with ServerProcess(study.folder, tmp_path / "a") as server:
        done, _, _ = answer_while_killing(server, study, readers=4, together=4, kills=2, pause=0.3)
        export_answers(tmp_path / "a" / DATABASE, tmp_path / "out")
    check_every_answer(done, study, tmp_path / "out", readers=4)


@pytest.mark.slow
def test_fifty_readers_and_eight_kills(tmp_path: Path) -> None:
    study = write_study(
        tmp_path / "study", judged=53, training=4, repeats=6, sentinels=4, size=128, tasks=("2afc", "jnd", "turing")
    )
    study = Study.load(study.folder)
    assert len(study.trials) == 201
    with ServerProcess(study.folder, tmp_path / "a") as server:
        done, kills, seconds = answer_while_killing(server, study, readers=50, together=50, kills=8, pause=6.0)
        export_answers(tmp_path / "a" / DATABASE, tmp_path / "out")
    check_every_answer(done, study, tmp_path / "out", readers=50)
    times = sorted(second for one in done for second in one.seconds)
    answers, retries = sum(len(one.acknowledged) for one in done), sum(one.retries for one in done)
    print(
        f"\n{answers} answers of 50 readers in {seconds:.0f} s: {answers / seconds:.0f} answers/s, median"
        f" {1000 * statistics.median(times):.0f} ms, 95 % below {1000 * times[int(0.95 * len(times))]:.0f} ms,"
        f" slowest {1000 * times[-1]:.0f} ms; killed {kills} times, {retries} requests sent again, 0 answers lost"
    )
    assert kills >= 3
