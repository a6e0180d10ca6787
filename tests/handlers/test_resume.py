from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from monai.handlers import CheckpointLoader
from torch import Tensor, nn

from monai_cxraug.engines.ema import ExponentialMovingAverage
from monai_cxraug.engines.gan import ProgressiveGanTrainer
from monai_cxraug.engines.schedule import ProgressiveSchedule
from monai_cxraug.errors import ConfigError, StateError
from monai_cxraug.handlers.ema import AverageWeights
from monai_cxraug.handlers.resume import SCHEMA, Resume, read_checkpoint
from monai_cxraug.networks.pggan import ProgressiveDiscriminator, ProgressiveGenerator

SCHEDULE = ProgressiveSchedule(8, 16, 16, 96, batch_size={4: 4, 8: 8})


class KilledError(Exception):
    """Stands for a kill: nothing after it is saved."""


class StopAt:
    def __init__(self, iteration: int, act: Callable[[], None]) -> None:
        self.iteration, self.act = iteration, act

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=self.iteration), self.act)


def kill() -> None:
    raise KilledError


class Batches:
    """A loader whose batch k depends on k alone; ``skip`` batches are already consumed."""

    skip = 0

    def __init__(self, make: Callable[[int], dict[str, Tensor]]) -> None:
        self.make, self.asked = make, list[int]()

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for k in range(self.skip, 1000):
            self.asked.append(k)
            yield self.make(k)


def gan_batch(k: int) -> dict[str, Tensor]:
    return {"image": torch.rand(4 if k < 4 else 8, 1, 8, 8, generator=torch.Generator().manual_seed(k))}


def class_batch(k: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(k)
    return {"image": torch.rand(4, 1, 8, 8, generator=g), "label": torch.rand(4, 2, generator=g)}


def make_gan(path: Path, *handlers: Any, every: int = 1, fingerprint: str = "") -> ProgressiveGanTrainer:
    torch.manual_seed(0)
    generator = ProgressiveGenerator(8, 4, fmap_base=32, fmap_max=8)
    critic = ProgressiveDiscriminator(8, fmap_base=32, fmap_max=8)
    loader = Batches(gan_batch)
    resume = Resume(path, {}, every, sampler=loader, fingerprint=fingerprint)
    return ProgressiveGanTrainer(
        "cpu",
        loader,
        generator,
        critic,
        torch.optim.Adam(generator.parameters(), 1e-3, (0.0, 0.99)),
        torch.optim.Adam(critic.parameters(), 1e-3, (0.0, 0.99)),
        SCHEDULE,
        epoch_length=3,
        train_handlers=[resume, *handlers],
    )


def make_classifier(path: Path, *handlers: Any, scheduler: bool = True, **changes: Any) -> SupervisedTrainer:
    """A network with dropout (global random state), batch normalisation (buffers), momentum, averages and decay."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, changes.get("outputs", 2))
    )
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    ema = ExponentialMovingAverage(net, half_life=5)
    loader = Batches(class_batch)
    objects = {"network": net, "optimizer": optimizer, "decay": decay, "ema": ema}
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=4,
        epoch_length=5,
        train_data_loader=loader,
        network=net,
        optimizer=optimizer,
        loss_function=nn.MSELoss(),
        train_handlers=[Resume(path, objects, sampler=loader), AverageWeights(ema), *handlers],
    )
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: decay.step())
    trainer.held = objects
    return trainer


def assert_equal_states(first: Any, second: Any, where: str = "") -> None:
    if isinstance(first, Tensor):
        assert torch.equal(first, second), where
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_equal_states(first[key], second[key], f"{where}/{key}")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), where
        for k, pair in enumerate(zip(first, second, strict=True)):
            assert_equal_states(*pair, f"{where}/{k}")
    else:
        assert first == second, where


@pytest.mark.parametrize("at", [1, 5, 10])
def test_a_killed_gan_resumes_bit_for_bit(tmp_path: Path, at: int) -> None:
    make_gan(tmp_path / "straight.pt").run()
    with pytest.raises(KilledError):
        make_gan(tmp_path / "killed.pt", StopAt(at, kill)).run()
    torch.manual_seed(99)
    resumed = make_gan(tmp_path / "killed.pt")
    resumed.run()
    assert resumed.data_loader.asked[0] == at // 3 * 3
    assert resumed.state.images_seen == 96
    assert_equal_states(read_checkpoint(tmp_path / "straight.pt"), read_checkpoint(tmp_path / "killed.pt"))


@pytest.mark.parametrize("at", [7, 16])
def test_a_killed_classifier_resumes_bit_for_bit(tmp_path: Path, at: int) -> None:
    make_classifier(tmp_path / "straight.pt").run()
    with pytest.raises(KilledError):
        make_classifier(tmp_path / "killed.pt", StopAt(at, kill)).run()
    resumed = make_classifier(tmp_path / "killed.pt")
    resumed.run()
    assert resumed.data_loader.asked[0] == at // 5 * 5
    assert (resumed.state.epoch, resumed.state.iteration) == (4, 20)
    assert_equal_states(read_checkpoint(tmp_path / "straight.pt"), read_checkpoint(tmp_path / "killed.pt"))


@pytest.mark.parametrize("make", [make_gan, make_classifier])
def test_a_finished_training_runs_no_iteration(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    path = tmp_path / "model.pt"
    make(path).run()
    written = path.stat().st_mtime_ns
    again = make(path)
    ran: list[int] = []
    again.add_event_handler(Events.ITERATION_STARTED, lambda: ran.append(1))
    again.run()
    again.run()
    assert ran == []
    assert path.stat().st_mtime_ns == written
    objects = again.resumables if make is make_gan else again.held
    name = "generator" if make is make_gan else "network"
    assert_equal_states(objects[name].state_dict(), read_checkpoint(path)[name])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("make", [make_gan, make_classifier])
def test_a_signal_saves_after_the_running_iteration(
    tmp_path: Path, make: Callable[..., Any], number: signal.Signals
) -> None:
    def stopped(*_: Any) -> None:
        raise KilledError

    before = {n: signal.signal(n, stopped) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        make(tmp_path / "straight.pt").run()
        with pytest.raises(KilledError):
            make(tmp_path / "cut.pt", StopAt(7, lambda: os.kill(os.getpid(), number))).run()
        assert signal.getsignal(number) is stopped
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
    assert read_checkpoint(tmp_path / "cut.pt")["resume"]["iteration"] == 7
    make(tmp_path / "cut.pt").run()
    assert_equal_states(read_checkpoint(tmp_path / "straight.pt"), read_checkpoint(tmp_path / "cut.pt"))


def test_signals_are_released_when_training_ends_or_fails(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    make_gan(tmp_path / "a.pt").run()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    with pytest.raises(KilledError):
        make_gan(tmp_path / "b.pt", StopAt(2, kill)).run()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_it_saves_every_so_many_epochs(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        make_gan(tmp_path / "model.pt", StopAt(10, kill), every=2).run()
    assert read_checkpoint(tmp_path / "model.pt")["resume"]["iteration"] == 6


def test_the_checkpoint_rebuilds_the_generator_and_loads_with_monai(tmp_path: Path) -> None:
    trainer = make_gan(tmp_path / "model.pt")
    trainer.run()
    settings = read_checkpoint(tmp_path / "model.pt")["resume"]["settings"]["generator"]
    net = ProgressiveGenerator(**settings)
    loader = CheckpointLoader(str(tmp_path / "model.pt"), {"ema": net}, map_location="cpu")
    loader(trainer)
    z = trainer._latents(2)
    torch.testing.assert_close(net(z), trainer.ema.module(z))  # weights in another order of memory: not to the last bit
    for own, other in zip(net.parameters(), trainer.ema.module.parameters(), strict=True):
        assert torch.equal(own, other)


def test_other_settings_are_refused(tmp_path: Path) -> None:
    make_gan(tmp_path / "model.pt", fingerprint="one").run()
    with pytest.raises(StateError, match=r"other settings.*'one'.*remove"):
        make_gan(tmp_path / "model.pt", fingerprint="two").run()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04broken"])
def test_an_unreadable_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(StateError, match=r"readable.*remove"):
        make_gan(tmp_path / "model.pt").run()


# --- damaged checkpoints ---


def truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    """One bit of a weight, which torch would load without a word."""
    changed = bytearray(content)
    changed[content.index(b"data/1") + 200] ^= 4
    return bytes(changed)


DAMAGES = [truncate, flip, lambda content: b"", lambda content: bytes(len(content))]


@pytest.mark.parametrize("harm", DAMAGES)
@pytest.mark.parametrize("make", [make_gan, make_classifier])
def test_a_damaged_checkpoint_is_passed_over(
    tmp_path: Path, make: Callable[..., Any], harm: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path / "straight.pt").run()
    path = tmp_path / "killed.pt"
    with pytest.raises(KilledError):
        make(path, StopAt(11, kill)).run()
    newest = read_checkpoint(path)["resume"]["iteration"]
    path.write_bytes(harm(path.read_bytes()))
    resumed = make(path)
    resumed.run()
    assert resumed.data_loader.asked[0] == newest - resumed.state.epoch_length
    (said,) = [record.getMessage() for record in caplog.records if record.name == "monai_cxraug.handlers.resume"]
    assert "killed.pt: checkpoint must be readable" in said
    assert f"goes on from killed.previous.pt, iteration {newest - resumed.state.epoch_length}" in said
    assert_equal_states(read_checkpoint(tmp_path / "straight.pt"), read_checkpoint(path))


def test_two_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    make_gan(path).run()
    for file in (path, tmp_path / "model.previous.pt"):
        file.write_bytes(truncate(file.read_bytes()))
    with pytest.raises(StateError, match=r"previous.*readable.*remove"):
        make_gan(path).run()


def test_the_damaged_one_is_not_kept_in_place_of_the_good_one(tmp_path: Path) -> None:
    """Killed before it saved again, it must find its way a second time."""
    path = tmp_path / "model.pt"
    with pytest.raises(KilledError):
        make_gan(path, StopAt(7, kill)).run()
    path.write_bytes(truncate(path.read_bytes()))
    for at in (4, 5):
        with pytest.raises(KilledError):
            make_gan(path, StopAt(at, kill)).run()
        for name in ("model.pt", "model.previous.pt"):
            assert read_checkpoint(tmp_path / name)["resume"]["iteration"] == 3


def test_the_checkpoint_before_the_newest_stays(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        make_gan(tmp_path / "model.pt", StopAt(10, kill)).run()
    assert read_checkpoint(tmp_path / "model.pt")["resume"]["iteration"] == 9
    assert read_checkpoint(tmp_path / "model.previous.pt")["resume"]["iteration"] == 6


def test_who_removes_the_checkpoint_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    make_gan(path).run()
    path.unlink()
    with pytest.raises(KilledError):
        make_gan(path, StopAt(2, kill)).run()
    assert not (tmp_path / "model.previous.pt").exists()


def test_a_flipped_bit_anywhere_changes_nothing_or_is_noticed(tmp_path: Path) -> None:
    path, state = tmp_path / "model.pt", {"resume": {"schema": SCHEMA, "iteration": 3}, "net": {"w": torch.rand(40)}}
    torch.save(state, path)
    content = path.read_bytes()
    refused = 0
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            assert_equal_states(read_checkpoint(path), state)
        except StateError:
            refused += 1
    assert refused > len(content) // 3


def test_what_a_killed_writer_left_is_swept(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    (tmp_path / "samples").mkdir()
    left = [tmp_path / ".model.pt.ab_12xyz.pt", tmp_path / "samples" / ".000096.png.abcd1234.png"]
    others = [tmp_path / ".hidden", tmp_path / ".settings.json"]
    for file in (*left, *others):
        file.write_bytes(b"half")
    make_gan(path).run()
    assert not any(file.exists() for file in left)
    assert all(file.exists() for file in others)


@pytest.mark.parametrize("content", [{}, [1], {"resume": {"schema": "other/1"}}])
def test_another_file_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(StateError, match="schema"):
        make_gan(tmp_path / "model.pt").run()


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "harm"),)

    torch.save(Harm(), tmp_path / "model.pt")
    with pytest.raises(StateError, match="readable"):
        make_gan(tmp_path / "model.pt").run()
    assert not (tmp_path / "harm").exists()


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    make_classifier(tmp_path / "model.pt").run()
    with pytest.raises(StateError, match="'network' does not fit"):
        make_classifier(tmp_path / "model.pt", outputs=3).run()
    with pytest.raises(StateError, match="every object"):
        make_gan(tmp_path / "model.pt").run()


def test_bad_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Resume(tmp_path / "a.pt", {}, every=0)
    with pytest.raises(ConfigError, match="reserved"):
        Resume(tmp_path / "a.pt", {"resume": nn.Linear(1, 1)})


def test_the_last_state_is_left_out_when_it_is_not_wanted(tmp_path: Path) -> None:
    written: dict[bool, list[int]] = {}
    for last in (True, False):
        path, written[last] = tmp_path / f"{last}.pt", []
        engine = Engine(lambda engine, batch: None)
        handler = Resume(path, {"generator": torch.Generator()}, last=last)
        handler.attach(engine)
        engine.add_event_handler(
            Events.EPOCH_COMPLETED,
            lambda engine, path=path, last=last: written[last].append(int(path.exists())),
        )
        engine.run([0, 1], max_epochs=3)
        state = torch.load(path, weights_only=True)
        assert state["resume"]["iteration"] == (6 if last else 4)
