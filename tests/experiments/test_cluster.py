"""The same experiment on a cluster, one of whose workers is killed on the way."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from monai_cxraug.artifacts import file_hash
from monai_cxraug.errors import ConfigError, CxrAugError, InputError, LeakageError
from monai_cxraug.experiments.experiment import make_experiment
from monai_cxraug.experiments.plan import read_plan, stage_folder
from monai_cxraug.experiments.runner import Runner
from tests.experiments.conftest import document, smoke_run

pytest.importorskip("distributed")
pytestmark = pytest.mark.e2e


@contextmanager
def _cluster() -> Iterator[Any]:
    from distributed import LocalCluster

    settings = {"threads_per_worker": 1, "processes": True, "dashboard_address": None, "memory_limit": 0}
    with LocalCluster(n_workers=2, **settings) as cluster:
        yield cluster


def _kill_at_the_first_cell(run: Path, cluster: Any, killed: list[int]) -> None:
    """Kill the first worker once a cell has begun, which one or the other is at work on."""
    end = time.monotonic() + 300
    while not list(run.glob("cells/*/.key")) and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.5)
    pid = next(iter(cluster.workers.values())).pid
    os.kill(pid, signal.SIGKILL)
    killed.append(pid)


@pytest.mark.slow  # a minute and a half of starting workers; that killed stages go on is tried with every change
def test_a_cluster_that_loses_a_worker_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    killed: list[int] = []
    with _cluster() as cluster:
        hand = threading.Thread(target=_kill_at_the_first_cell, args=(tmp_path, cluster, killed))
        hand.start()
        _, lines = smoke_run(tmp_path, cluster.scheduler_address)
        hand.join()
    assert killed
    stages = list(read_plan(run).stages())
    assert len(lines) == len(stages)
    for one in stages:
        here, there = stage_folder(run, one), stage_folder(tmp_path, one)
        assert (here / "run.json").read_text() == (there / "run.json").read_text(), one.id
        for name in ("predictions.csv", "model.pt", "pack.npy"):
            assert (here / name).exists() == (there / name).exists()
            if (here / name).exists():
                assert file_hash(here / name) == file_hash(there / name), (one.id, name)
    _, lines = smoke_run(tmp_path)
    assert all(line.endswith("done before") for line in lines)


@pytest.mark.slow
def test_an_error_on_a_worker_is_the_same_one_line(tmp_path: Path) -> None:
    experiment = make_experiment(document(budget={"threads": 1, "generator": {"fade_images": -1}}), "x")
    with _cluster() as cluster, pytest.raises(ConfigError, match="fade_images") as caught:
        Runner(experiment, tmp_path, scheduler=cluster.scheduler_address).execute()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("scheduler", "kind", "words"),
    [
        ("locl[2]", ConfigError, "must be local"),
        ("local[0]", ConfigError, "must be local"),
        ("tcp://127.0.0.1:1", InputError, "a dask scheduler must answer"),
    ],
)
def test_what_is_no_scheduler_is_refused(
    run: Path, scheduler: str, kind: type[CxrAugError], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monai_cxraug.experiments.cluster.PATIENCE", "1s")
    with pytest.raises(kind, match=words):
        smoke_run(run, scheduler)


def test_our_errors_survive_the_way_between_processes() -> None:
    import pickle

    error = LeakageError("a.csv", "no patient may be shared", "7 of them", "split by patient")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (LeakageError, str(error), vars(error))
