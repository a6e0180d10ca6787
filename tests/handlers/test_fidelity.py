"""The log of figures in real trainings of tiny GANs, with measuring processes that work, hang, fail and die."""

from __future__ import annotations

import csv
import importlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from torch import Tensor

from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.pack import write_pack
from monai_cxraug.engines.gan import ProgressiveGanTrainer
from monai_cxraug.engines.schedule import ProgressiveSchedule
from monai_cxraug.errors import ConfigError, StateError
from monai_cxraug.handlers import measuring
from monai_cxraug.handlers.fidelity import FidelityLog
from monai_cxraug.handlers.resume import Resume
from monai_cxraug.networks.pggan import ProgressiveDiscriminator, ProgressiveGenerator
from monai_cxraug.synthesis.fidelity import MeasureSnapshot

SCHEDULE = ProgressiveSchedule(8, 16, 16, 80, batch_size=4)  # 20 iterations of 4
Rows = list[dict[str, str]]


class Batches:
    """A loader whose batch k depends on k alone; ``skip`` batches are already consumed."""

    skip = 0

    def __init__(self, size: int = 8) -> None:
        self.size = size

    def __iter__(self) -> Any:
        for k in range(self.skip, 1000):
            yield {"image": torch.rand(4, 1, self.size, self.size, generator=torch.Generator().manual_seed(k))}


@pytest.fixture
def measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Makes a measuring function that another process can import."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return lambda act="count": importlib.import_module("measures").Measures(tmp_path, act)


class Here:
    """Stands for the measuring process where a test is about something else: measures at once, in this process."""

    pid = 0

    def __init__(self, measure: bytes, folder: Path) -> None:
        self.measure, self.folder = pickle.loads(measure), folder

    def submit(self, name: str) -> None:
        measuring._measure(self.measure, self.folder, name)

    def death(self) -> None:
        return None

    def stop(self) -> None:
        pass


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai_cxraug.handlers.fidelity.MeasuringProcess", Here)


def make_trainer(*handlers: Any, loader: Batches | None = None, size: int = 8) -> ProgressiveGanTrainer:
    torch.manual_seed(0)
    generator = ProgressiveGenerator(size, 4, fmap_base=32, fmap_max=8)
    critic = ProgressiveDiscriminator(size, fmap_base=32, fmap_max=8)
    optimizers = [torch.optim.Adam(net.parameters(), 1e-3, (0.0, 0.99)) for net in (generator, critic)]
    return ProgressiveGanTrainer(
        "cpu",
        loader or Batches(size),
        generator,
        critic,
        *optimizers,
        SCHEDULE if size == 8 else ProgressiveSchedule(size, 8, 8, 64, batch_size=4),
        ema_half_life=20,
        epoch_length=5,
        train_handlers=list(handlers),
    )


class At:
    """Calls a function after an iteration."""

    def __init__(self, iteration: int, act: Callable[[Any], None]) -> None:
        self.iteration, self.act = iteration, act

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=self.iteration), self.act)


def read(path: Path) -> Rows:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def clocks(path: Path) -> list[int]:
    return [int(row["images_seen"]) for row in read(path)]


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def settle(log: FidelityLog) -> Callable[[Any], None]:
    """Waits in the middle of a training until nothing is being measured: for tests alone."""
    return lambda engine: wait_for(lambda: log._collect() or log._job is None)


def total_of(module: torch.nn.Module) -> float:
    return sum(float(tensor.sum()) for tensor in module.state_dict().values())


@pytest.mark.parametrize("interactive", [False, True])
def test_figures_of_the_averaged_weights_come_back_from_one_process_of_low_priority(
    tmp_path: Path, measures, monkeypatch, interactive: bool
) -> None:
    written: list[tuple[str, float, int]] = []
    writer = SimpleNamespace(add_scalar=lambda *what: written.append(what))
    monkeypatch.chdir(tmp_path)
    others = [path for path in sys.path if path]
    # as `python -c` and `python file` have it
    monkeypatch.setattr(sys, "path", ["", *others] if interactive else others)
    (tmp_path / "queue.py").write_text("raise SystemExit('a file of the working directory was imported')")
    log = FidelityLog(tmp_path / "out" / "fidelity.csv", measures(), every=24, writer=writer, wait=60)
    totals: dict[int, float] = {}
    note = [
        At(k, lambda engine: totals.update({engine.state.images_seen: total_of(engine.ema.module)})) for k in (6, 20)
    ]
    trainer = make_trainer(log, *note, At(6, settle(log)), At(12, settle(log)), At(18, settle(log)))
    trainer.run()
    rows = read(tmp_path / "out" / "fidelity.csv")
    assert [int(row["images_seen"]) for row in rows] == [24, 48, 72, 80]
    assert [(row["resolution"], row["alpha"]) for row in rows] == [("8", "0.5")] + [("8", "1")] * 3
    for row in rows:
        if int(row["images_seen"]) in totals:
            assert float(row["total"]) == pytest.approx(totals[int(row["images_seen"])], rel=1e-5)
        assert float(row["seconds"]) >= 0
    assert [(name, step) for name, _, step in written if name == "fidelity/total"] == [
        ("fidelity/total", clock) for clock in (24, 48, 72, 80)
    ]
    assert not (tmp_path / "out" / "fidelity").exists()  # nothing was said in it
    assert {(row["nice"], row["threads"]) for row in rows} == {("19", "1")}
    (pid,) = {int(float(row["pid"])) for row in rows}  # one process for all, gone by now
    assert pid != os.getpid()
    assert not _alive(pid)


def test_training_does_not_wait_and_what_is_due_meanwhile_is_skipped(tmp_path: Path, measures, caplog) -> None:
    log = FidelityLog(tmp_path / "fidelity.csv", measures("wait"), every=8, wait=60)
    let_go = At(20, lambda engine: (tmp_path / "go").touch())
    make_trainer(log, let_go).run()
    assert clocks(tmp_path / "fidelity.csv") == [8, 80]  # the last one is measured whatever happens
    # 16, 24, ... 72 and the last, which then became the exception
    assert "fidelity at 80 images seen: 9 measurements skipped" in caplog.text


def test_the_same_training_with_and_without(tmp_path: Path, here, measures) -> None:
    plain, logged = make_trainer(), make_trainer(FidelityLog(tmp_path / "f.csv", measures(), every=8, wait=60))
    plain.run()
    logged.run()
    pairs = zip(plain.ema.module.parameters(), logged.ema.module.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert torch.equal(plain.latents.get_state(), logged.latents.get_state())


def test_a_killed_process_is_said_and_the_next_measurement_has_another(tmp_path: Path, measures, caplog) -> None:
    texts: list[tuple[str, str, int]] = []
    writer = SimpleNamespace(add_scalar=lambda *what: None, add_text=lambda *what: texts.append(what))
    log = FidelityLog(tmp_path / "fidelity.csv", measures("die once"), every=40, writer=writer, wait=60)
    make_trainer(log, At(10, settle(log))).run()
    assert clocks(tmp_path / "fidelity.csv") == [80]
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("monai_cxraug")]
    assert len(lines) == 1
    assert lines[0].startswith("fidelity at 40 images seen: the measuring process ended (signal 9); see ")
    assert lines[0].endswith("training goes on, the next one is tried")
    assert texts == [("fidelity", lines[0], 40)]


@pytest.mark.slow
def test_a_process_killed_from_outside_while_it_waits_for_work(tmp_path: Path, measures) -> None:
    log = FidelityLog(tmp_path / "fidelity.csv", measures(), every=20, wait=60)

    def kill(engine: Any) -> None:
        settle(log)(engine)
        os.kill(log._process.pid, signal.SIGKILL)
        wait_for(lambda: log._process.death() is not None)

    make_trainer(log, At(5, kill), At(10, settle(log)), At(15, settle(log))).run()
    assert clocks(tmp_path / "fidelity.csv") == [20, 60, 80]  # the one at 40 found it dead


def test_three_failures_in_a_row_end_the_trying_not_the_training(tmp_path: Path, here, measures, caplog) -> None:
    log = FidelityLog(tmp_path / "fidelity.csv", measures("raise"), every=16, wait=60)
    trainer = make_trainer(log, *(At(k, settle(log)) for k in (4, 8, 12, 16)))
    trainer.run()
    assert trainer.state.images_seen == 80
    assert not (tmp_path / "fidelity.csv").exists()
    assert len(list(tmp_path.glob("begun-*"))) == 3
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(lines) == 3
    assert all("\n" not in line for line in lines)
    assert lines[-1].endswith("training goes on, given up after 3 in a row")
    assert "RuntimeError: no such luck; training goes on, the next one is tried" in lines[0]


def test_the_wait_at_the_end_has_a_limit(tmp_path: Path, measures, caplog) -> None:
    log = FidelityLog(tmp_path / "fidelity.csv", measures("wait"), every=40, wait=0.2)
    make_trainer(log).run()
    assert "fidelity at 40 images seen: not measured within 0.2 s after the end of training" in caplog.text
    assert log._process is None
    assert not (tmp_path / "fidelity.csv").exists()
    assert list((tmp_path / "fidelity").iterdir()) == [] if (tmp_path / "fidelity").exists() else True


def test_a_full_disk_does_not_end_the_training(tmp_path: Path, here, measures, caplog, monkeypatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("monai_cxraug.handlers.fidelity.torch.save", refuse)
    trainer = make_trainer(FidelityLog(tmp_path / "fidelity.csv", measures(), every=40, wait=60))
    trainer.run()
    assert trainer.state.images_seen == 80
    assert "No space left on device" in caplog.text


# --- resuming ---


class KilledError(Exception):
    """Stands for a kill: nothing after it is saved."""


def stop(engine: Any) -> None:
    raise KilledError


def train_with_checkpoint(out: Path, measure: Any, *handlers: Any, every: int = 20) -> FidelityLog:
    loader = Batches()
    log = FidelityLog(out / "fidelity.csv", measure, every=every, wait=60)
    resume = Resume(out / "checkpoint.pt", {}, sampler=loader)
    make_trainer(resume, log, *(At(k, settle(log)) for k in (5, 10, 15)), *handlers, loader=loader).run()
    return log


def test_a_resumed_training_has_each_row_once(tmp_path: Path, here, measures) -> None:
    train_with_checkpoint(tmp_path / "whole", measures())
    out = tmp_path / "broken"
    with pytest.raises(KilledError):  # rows at 20, 40, 60; the last checkpoint is of 60 images
        train_with_checkpoint(out, measures(), At(17, stop))
    assert clocks(out / "fidelity.csv") == [20, 40, 60]
    (out / "fidelity" / "60.pt").write_bytes(b"left behind")
    before = len(list(tmp_path.glob("begun-*")))
    train_with_checkpoint(out, measures())
    assert clocks(out / "fidelity.csv") == [20, 40, 60, 80]
    assert len(list(tmp_path.glob("begun-*"))) == before + 1
    assert not (out / "fidelity").exists()
    for one, other in zip(read(out / "fidelity.csv"), read(tmp_path / "whole" / "fidelity.csv"), strict=True):
        assert one["total"] == other["total"]
    train_with_checkpoint(out, measures())  # it has ended already
    assert clocks(out / "fidelity.csv") == [20, 40, 60, 80]
    assert len(list(tmp_path.glob("begun-*"))) == before + 1


def test_rows_of_a_training_that_is_lost_are_dropped(tmp_path: Path, here, measures) -> None:
    train_with_checkpoint(tmp_path, measures())
    (tmp_path / "checkpoint.pt").unlink()
    with pytest.raises(KilledError):
        train_with_checkpoint(tmp_path, measures(), At(6, stop))
    assert clocks(tmp_path / "fidelity.csv") == [20]


def test_an_ended_training_without_its_last_row_gets_it(tmp_path: Path, here, measures) -> None:
    log = train_with_checkpoint(tmp_path, measures())
    whole = read(tmp_path / "fidelity.csv")
    (tmp_path / "fidelity.csv").unlink()
    train_with_checkpoint(tmp_path, measures())
    last = read(tmp_path / "fidelity.csv")
    assert clocks(tmp_path / "fidelity.csv") == [80]
    assert last[0]["total"] == whole[-1]["total"]
    assert log.table.rows[-1]["alpha"] == 1.0


def test_other_figures_get_columns_of_their_own(tmp_path: Path, here, measures) -> None:
    (tmp_path / "fidelity.csv").write_text("images_seen,resolution,alpha,seconds,old\n0,4,1.0,2.5,7\n")
    log = FidelityLog(tmp_path / "fidelity.csv", measures(), every=80, wait=60)
    make_trainer(log).run()
    first, last = read(tmp_path / "fidelity.csv")
    assert (first["old"], first["total"], last["old"]) == ("7", "", "")
    assert last["total"] != ""


def test_a_file_that_is_no_table_is_refused(tmp_path: Path, measures) -> None:
    (tmp_path / "fidelity.csv").write_text("images_seen,total\nmany,7\n")
    with pytest.raises(StateError, match=r"fidelity\.csv: must be a table with a column 'images_seen'"):
        make_trainer(FidelityLog(tmp_path / "fidelity.csv", measures(), every=80)).run()


# --- the process outlives nobody ---

PARENT = """
import sys, time
from pathlib import Path
import measures
import pickle
from monai_cxraug.handlers.measuring import MeasuringProcess
import torch
folder = Path(sys.argv[1])
process = MeasuringProcess(pickle.dumps(measures.Measures(folder, "wait")), folder)
torch.save({"weights": {}}, folder / "1.pt")
process.submit("1")
print(process.pid, flush=True)
time.sleep(600)
"""


def test_the_process_ends_with_a_training_that_is_killed(tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_for(lambda: (tmp_path / "begun-0").exists())
        os.kill(pid, 0)
        parent.kill()
    wait_for(lambda: not _alive(pid))


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


# --- settings ---


@pytest.mark.parametrize("settings", [{"every": 0}, {"wait": -1}])
def test_bad_settings_are_refused(tmp_path: Path, measures, settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="every must be at least 1"):
        FidelityLog(tmp_path / "fidelity.csv", measures(), **settings)


def test_a_function_that_cannot_travel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"FidelityLog\(measure\).*another process"):
        FidelityLog(tmp_path / "fidelity.csv", lambda snapshot: {})


def test_only_rank_0_measures(tmp_path: Path, measures, monkeypatch) -> None:
    monkeypatch.setattr("monai_cxraug.handlers.fidelity.idist.get_rank", lambda: 1)
    make_trainer(FidelityLog(tmp_path / "fidelity.csv", measures(), every=8)).run()
    assert list(tmp_path.iterdir()) == []


def test_the_snapshot_says_where_growth_stands(tmp_path: Path, here, measures, monkeypatch) -> None:
    saved: list[dict[str, Any]] = []

    def keep(content: dict[str, Any], path: Path) -> None:
        saved.append({**content, "weights": {name: tensor.clone() for name, tensor in content["weights"].items()}})
        raise OSError("kept")

    monkeypatch.setattr("monai_cxraug.handlers.fidelity.torch.save", keep)
    trainer = make_trainer(FidelityLog(tmp_path / "fidelity.csv", measures(), every=24, wait=60))
    images: list[Tensor] = []
    z = torch.randn(2, 4)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED(once=6), lambda: images.append(trainer.ema.module(z, resolution=8, alpha=0.5))
    )
    trainer.run()
    network = ProgressiveGenerator(**saved[0]["settings"])
    network.load_state_dict(saved[0]["weights"])
    torch.testing.assert_close(network(z, **saved[0]["growth"]), images[0])


@pytest.mark.slow
def test_a_whole_training_with_the_figures_themselves(tmp_path: Path) -> None:
    """The package's own measure, in its own process, on 16 px images of eight held-out patients."""
    rows = [{"image": str(k), "patient_id": f"P{k}", "split": "val", "source": "real"} for k in range(8)]
    pictures = np.random.default_rng(0).integers(0, 256, (8, 16, 16), dtype=np.uint8)
    write_pack(tmp_path, pictures, [row["image"] for row in rows])
    manifest = Manifest(make_columns(rows), ("Edema",), np.ones((8, 1), dtype=np.float32)).write(tmp_path)
    log = FidelityLog(tmp_path / "fidelity.csv", MeasureSnapshot(manifest, 16, ["P9"]), every=64, wait=120)
    trainer = make_trainer(log, size=16)
    trainer.run()
    (row,) = read(tmp_path / "fidelity.csv")
    content = {"settings": trainer.generator.settings, "weights": trainer.ema.module.state_dict()}
    expected = MeasureSnapshot(manifest, 16, [])({**content, "growth": {"resolution": 16, "alpha": 1.0}})
    assert {name: float(row[name]) for name in expected} == pytest.approx(expected, rel=1e-4)
    assert set(expected) == {"sliced_16", "ms_ssim", "sliced_16_real", "ms_ssim_real"}
