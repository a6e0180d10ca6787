from __future__ import annotations

import json
import logging
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Events
from torch import Tensor, nn

from monai_cxraug.artifacts import read_json
from monai_cxraug.engines.health import Limits
from monai_cxraug.engines.schedule import FixedSchedule, Phase
from monai_cxraug.errors import ConfigError, StateError
from monai_cxraug.handlers.recovery import SCHEMA, Recovery, _scale_of, _Window
from monai_cxraug.handlers.resume import Resume, read_checkpoint
from monai_cxraug.losses.adversarial import WassersteinLoss
from tests.handlers import guarded_gan
from tests.handlers.guarded_gan import GOOD_AT, NOTICED_AT, SCHEDULE, SICK_AT, make, plant_nan_loss
from tests.handlers.test_resume import KilledError, StopAt, assert_equal_states


def events(folder: Path) -> list[dict[str, Any]]:
    record = folder / "recovery.json"
    return read_json(record, SCHEMA)["events"] if record.exists() else []


def rates(trainer: Any) -> list[float]:
    return [group["lr"] for optimizer in (trainer.g_optimizer, trainer.d_optimizer) for group in optimizer.param_groups]


def finite(trainer: Any) -> bool:
    weights = [*trainer.generator.parameters(), *trainer.discriminator.parameters(), *trainer.ema.module.parameters()]
    return all(bool(weight.isfinite().all()) for weight in weights)


def interrupt_at(trainer: Any, at: int) -> None:
    """Stop after so many iterations, those counted twice that a rollback repeats."""
    done: list[int] = []

    def count() -> None:
        done.append(1)
        if len(done) == at:
            raise KilledError

    trainer.add_event_handler(Events.ITERATION_COMPLETED, count)


def without_times(checkpoint: dict[str, Any]) -> dict[str, Any]:
    for event in checkpoint["recovery"]["events"]:
        del event["time"]
    return checkpoint


def assert_same_end(first: Path, second: Path) -> None:
    for name in ("checkpoint.pt", "checkpoint.good.pt"):
        assert_equal_states(*(without_times(read_checkpoint(folder / name)) for folder in (first, second)))


class Act:
    """Does something after an iteration, before ``Recovery`` looks."""

    trainer: Any
    recovery: Any

    def attach(self, engine: Any) -> None:
        self.trainer = engine
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.act)

    def act(self) -> None:
        raise NotImplementedError

    @property
    def is_time(self) -> bool:
        return self.trainer.state.images_seen >= SICK_AT and not self.recovery.state_dict()["made"]


class NanWeight(Act):
    def act(self) -> None:
        if self.is_time:  # in the average alone: no loss ever shows it
            next(self.trainer.ema.module.parameters()).data.flatten()[0] = torch.nan


class NanMoment(Act):
    def act(self) -> None:
        if self.is_time:
            next(iter(self.trainer.d_optimizer.state.values()))["exp_avg_sq"].flatten()[0] = torch.inf


class Constant(Act):
    def attach(self, engine: Any) -> None:
        super().attach(engine)
        engine.generator.register_forward_pre_hook(self.silence)

    def silence(self, module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return (torch.ones_like(arguments[0]), *arguments[1:]) if self.is_time else arguments

    def act(self) -> None:
        pass


class Steep(Act):
    def act(self) -> None:
        if self.is_time:
            list(self.trainer.discriminator.parameters())[-2].data.mul_(30.0)


# --- failures are noticed and undone ---


def test_a_healthy_training_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer, recovery = make(tmp_path)
    trainer.run()
    assert trainer.state.images_seen == 320
    assert trainer.watched
    assert events(tmp_path) == recovery.state_dict()["events"] == []
    assert not caplog.records
    assert rates(trainer) == [1e-3, 1e-3]


def test_watching_changes_nothing(tmp_path: Path) -> None:
    watched, _ = make(tmp_path / "a")
    alone, _ = make(tmp_path / "b", every=10**6)
    watched.run(), alone.run()
    assert_equal_states(watched.generator.state_dict(), alone.generator.state_dict())


def test_a_nan_loss_is_rolled_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer, _ = plant_nan_loss(tmp_path)
    with caplog.at_level(logging.WARNING):
        trainer.run()
    assert finite(trainer)
    assert trainer.state.images_seen == 320
    assert trainer.state.iteration == SCHEDULE.iterations()
    assert rates(trainer) == [5e-4, 5e-4]
    (event,) = events(tmp_path)
    assert event["action"] == "rolled back"
    assert "not finite" in event["reason"]
    assert event["before"] == {"g_optimizer": [1e-3], "d_optimizer": [1e-3]}
    assert event["after"] == {"g_optimizer": [5e-4], "d_optimizer": [5e-4]}
    assert (event["images_seen"], event["to"]) == (NOTICED_AT, GOOD_AT)
    assert any("rolled back from" in record.message and "1 of 3" in record.message for record in caplog.records)


@pytest.mark.parametrize(
    ("wound", "reason"),
    [
        (NanWeight, "weights"),
        (NanMoment, "weights"),
        (Constant, "samples that look alike"),
        (Steep, "saturated critic"),
    ],
)
def test_a_planted_failure_is_rolled_back(tmp_path: Path, wound: type[Act], reason: str) -> None:
    act = wound()
    trainer, act.recovery = make(tmp_path, handlers=[act])
    trainer.run()
    (event,) = events(tmp_path)
    assert reason in event["reason"]
    assert event["images_seen"] - SICK_AT <= 4 * 8  # the next check
    assert event["to"] <= GOOD_AT
    assert finite(trainer)
    assert trainer.state.images_seen == 320


def test_a_critic_that_nothing_holds_is_a_failure(tmp_path: Path) -> None:
    """No gradient penalty, and a generator that stands still: the gap grows for ever."""
    trainer, _ = make(tmp_path, loss=WassersteinLoss(penalty=0.0, drift=0.0), rate=0.03)
    trainer.g_optimizer.param_groups[0]["lr"] = 0.0
    with pytest.raises(StateError, match=r"saturated critic.*rolled back 3 times"):
        trainer.run()
    assert all("saturated critic" in event["reason"] for event in events(tmp_path))


def test_it_returns_to_a_state_that_a_later_check_passed(tmp_path: Path) -> None:
    """Checks at iterations 10, 20 and 30: the checkpoint of 20, written after the check, was followed by none."""
    trainer, _ = plant_nan_loss(tmp_path, every=10)
    clean: list[bool] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: clean.append(good(tmp_path)[1]))
    trainer.run()
    (event,) = events(tmp_path)
    assert (event["iteration"], event["to"]) == (30, images_at(15))
    assert all(clean)


def good(folder: Path) -> tuple[int, bool]:
    checkpoint = read_checkpoint(folder / "checkpoint.good.pt")
    return checkpoint["resume"]["iteration"], all(bool(x.isfinite().all()) for x in checkpoint["generator"].values())


def images_at(iteration: int) -> int:
    return sum(size for _, size in zip(range(iteration), SCHEDULE.batch_sizes(), strict=False))


def test_before_the_first_good_checkpoint_it_returns_to_the_beginning(tmp_path: Path) -> None:
    trainer, _ = plant_nan_loss(tmp_path, at=0)
    trainer.run()
    (event,) = events(tmp_path)
    assert event["to"] == 0
    assert trainer.state.images_seen == 320


def test_what_an_earlier_training_left_is_no_good_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.good.pt").write_bytes(b"of another training")
    trainer, _ = plant_nan_loss(tmp_path, at=0)
    trainer.run()
    assert [event["to"] for event in events(tmp_path)] == [0]


def test_a_file_system_without_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    trainer, _ = plant_nan_loss(tmp_path)
    trainer.run()
    assert [event["to"] for event in events(tmp_path)] == [GOOD_AT]


def test_a_failure_of_the_last_iterations_is_noticed(tmp_path: Path) -> None:
    trainer, _ = plant_nan_loss(tmp_path, at=312, every=1000)
    trainer.run()
    assert [event["images_seen"] for event in events(tmp_path)] == [320]
    assert finite(trainer)
    assert trainer.state.images_seen == 320


def test_the_draws_differ_after_a_rollback(tmp_path: Path) -> None:
    """A second NaN at the same place needs a second rollback; the latents were other ones each time."""
    states: list[Tensor] = []
    trainer, _ = plant_nan_loss(tmp_path, times=2)
    at_sick = Events.ITERATION_STARTED(event_filter=lambda engine, _: engine.state.images_seen == SICK_AT)
    trainer.add_event_handler(at_sick, lambda: states.append(trainer.latents.get_state()))
    trainer.run()
    assert len(states) == 3
    assert not torch.equal(states[0], states[1])
    assert not torch.equal(states[1], states[2])
    assert rates(trainer) == [2.5e-4, 2.5e-4]
    assert [event["after"]["g_optimizer"] for event in events(tmp_path)] == [[5e-4], [2.5e-4]]


def test_the_rate_falls_from_what_the_good_checkpoint_had(tmp_path: Path) -> None:
    """Rolled back twice to one checkpoint, whose rate is the original one: each time lower than the last."""
    trainer, _ = plant_nan_loss(tmp_path, times=2, every=1000, factor=0.1)  # one check, at the end
    trainer.run()
    assert [event["to"] for event in events(tmp_path)] == [0, 0]
    assert rates(trainer) == pytest.approx([1e-5, 1e-5])


def test_it_gives_up_and_says_why(tmp_path: Path) -> None:
    trainer, _ = plant_nan_loss(tmp_path, times=99, tries=2)
    with pytest.raises(StateError) as caught:
        trainer.run()
    line = str(caught.value)
    assert "\n" not in line
    times = f"rolled back 2 times (at {NOTICED_AT}, {NOTICED_AT})"
    for part in (f"{NOTICED_AT} images seen", "not finite", times, "now 0.00025", "checkpoint.good.pt"):
        assert part in line
    assert [event["action"] for event in events(tmp_path)] == ["rolled back", "rolled back", "given up"]
    assert good(tmp_path)[1]
    with pytest.raises(StateError, match="rolled back 2 times"):  # started again, it comes to the same end
        plant_nan_loss(tmp_path, times=99, tries=2)[0].run()


def test_no_tries_means_stop_at_once(tmp_path: Path) -> None:
    trainer, _ = plant_nan_loss(tmp_path, tries=0)
    with pytest.raises(StateError, match="no rollback allowed"):
        trainer.run()


def test_grace_spares_all_but_numbers_that_are_not_finite(tmp_path: Path) -> None:
    act = Constant()
    trainer, act.recovery = make(tmp_path / "a", handlers=[act], grace=10**6)
    trainer.run()
    assert not events(tmp_path / "a")
    trainer, _ = plant_nan_loss(tmp_path / "b", grace=10**6)
    trainer.run()
    assert len(events(tmp_path / "b")) == 1


@pytest.mark.parametrize("at", [13, 27, 36])
def test_a_damaged_checkpoint_ends_in_the_same_training(tmp_path: Path, straight: Path, at: int) -> None:
    """Before the failure, within its window and after the rollback; the good one may be the same file."""
    trainer, _ = plant_nan_loss(tmp_path)
    interrupt_at(trainer, at)
    with pytest.raises(KilledError):
        trainer.run()
    newest, good_one = tmp_path / "checkpoint.pt", tmp_path / "checkpoint.good.pt"
    assert newest.samefile(good_one) == (at != 27)
    newest.write_bytes(b"damaged")
    plant_nan_loss(tmp_path)[0].run()
    assert_same_end(straight, tmp_path)


# --- killed ---


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was rolled back once and never killed."""
    folder = tmp_path_factory.mktemp("straight")
    plant_nan_loss(folder)[0].run()
    return folder


def run_killed(folder: Path, moment: str) -> int:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    command = [sys.executable, guarded_gan.__file__, str(folder), moment]
    return subprocess.run(command, env=environment, check=False, capture_output=True).returncode


def test_killed_right_after_a_rollback_it_resumes_bit_for_bit(tmp_path: Path, straight: Path) -> None:
    assert run_killed(tmp_path, "saved") == -signal.SIGKILL
    killed = read_checkpoint(tmp_path / "checkpoint.pt")
    assert killed["recovery"]["made"] == 1
    assert killed["g_optimizer"]["param_groups"][0]["lr"] == 5e-4
    assert not (tmp_path / "recovery.json").exists()  # the kill came before
    plant_nan_loss(tmp_path)[0].run()
    assert_same_end(straight, tmp_path)
    assert len(events(tmp_path)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["loaded", "said", *map(str, range(1, 40, 3))])
def test_killed_at_any_moment_it_resumes_bit_for_bit(tmp_path: Path, straight: Path, moment: str) -> None:
    assert run_killed(tmp_path, moment) in (-signal.SIGKILL, 0)
    plant_nan_loss(tmp_path)[0].run()
    assert_same_end(straight, tmp_path)


@pytest.mark.parametrize("at", [6, 27, 29, 34])
def test_interrupted_anywhere_it_resumes_bit_for_bit(tmp_path: Path, straight: Path, at: int) -> None:
    """Between checks, before the failure, within its window, after it and after the rollback."""
    trainer, _ = plant_nan_loss(tmp_path)
    interrupt_at(trainer, at)
    with pytest.raises(KilledError):
        trainer.run()
    torch.manual_seed(99)
    plant_nan_loss(tmp_path)[0].run()
    assert_same_end(straight, tmp_path)


@pytest.mark.parametrize("at", [18, 27])
def test_a_signal_between_checks_resumes_bit_for_bit(tmp_path: Path, straight: Path, at: int) -> None:
    """The checkpoint then lies within an epoch, and the losses since the last check are in it."""

    def stopped(*_: Any) -> None:
        raise KilledError

    before = signal.signal(signal.SIGTERM, stopped)
    try:
        stop = StopAt(at, lambda: os.kill(os.getpid(), signal.SIGTERM))
        trainer, _ = plant_nan_loss(tmp_path, handlers=[stop])
        with pytest.raises(KilledError):
            trainer.run()
    finally:
        signal.signal(signal.SIGTERM, before)
    cut = read_checkpoint(tmp_path / "checkpoint.pt")
    assert cut["resume"]["iteration"] == at
    assert cut["recovery"]["window"]["counts"]["wasserstein"] == at % 4
    resumed, recovery = plant_nan_loss(tmp_path)
    held: list[dict[str, int]] = []
    resumed.add_event_handler(Events.ITERATION_STARTED, lambda: held.append(recovery.state_dict()["window"]["counts"]))
    places: list[int] = []
    resumed.add_event_handler(Events.ITERATION_COMPLETED, lambda: places.append(good(tmp_path)[0]))
    resumed.run()
    assert held[0]["wasserstein"] == at % 4
    assert all(place % 5 == 0 for place in places)  # a training can be set back to the end of an epoch only
    assert_same_end(straight, tmp_path)


# --- telling ---


def test_tensorboard_gets_measurements_and_rollbacks(tmp_path: Path) -> None:
    scalars: list[tuple[str, float, int]] = []
    texts: list[tuple[str, str, int]] = []
    writer = SimpleNamespace(add_scalar=lambda *row: scalars.append(row), add_text=lambda *row: texts.append(row))
    plant_nan_loss(tmp_path, writer=writer)[0].run()
    assert {name for name, _, _ in scalars} == {f"health/{x}" for x in ("diversity", "slope", "weights", "tries")}
    assert all(math.isfinite(value) for _, value, _ in scalars)
    ((tag, text, seen),) = texts
    assert (tag, seen) == ("recovery", NOTICED_AT)
    assert "not finite" in text
    assert "0.001 to 0.0005" in text


def test_the_record_is_plain_json(tmp_path: Path) -> None:
    plant_nan_loss(tmp_path)[0].run()
    event = json.loads((tmp_path / "recovery.json").read_text())["events"][0]
    assert event["measured"]["losses"] is None
    assert event["measured"]["real_spread"] > 0
    assert event["time"].endswith("+00:00")


# --- measuring ---


class Stub(nn.Module):
    """A conditional generator whose image is its label, or its latent."""

    latent_size, resolution, findings = 3, 8, 1

    def forward(self, z: Tensor, resolution: int, alpha: float, labels: Tensor | None = None) -> Tensor:
        value = z[:, :1] if labels is None else labels.nan_to_num(0.0)
        return value[:, :, None, None].expand(-1, 1, resolution, resolution)


def stub_engine(folder: Path, images: Tensor, **batch: Tensor) -> tuple[Any, Recovery]:
    recovery = Recovery(Resume(folder / "checkpoint.pt", {}), samples=4)
    batch = {"image": images, **batch}
    state = SimpleNamespace(batch=batch, device=torch.device("cpu"), phase=Phase(4, 1.0, 2), images_seen=0)
    return SimpleNamespace(generator=Stub(), state=state, resumables={}), recovery


def test_distances_are_taken_at_the_phase_with_the_labels_of_the_batch(tmp_path: Path) -> None:
    images = torch.stack([torch.zeros(1, 8, 8), torch.full((1, 8, 8), 0.5)])
    engine, recovery = stub_engine(tmp_path, images, label=torch.tensor([[1.0], [torch.nan]]))
    health = recovery.measure(engine)
    # samples: 1, 0, 1, 0 on 4 x 4 pixels; four of six pairs differ by sqrt(16)
    assert health.fake_spread == pytest.approx(4 * 4 / 6)
    assert health.real_spread == pytest.approx(0.5 * 4)
    assert health.reach == pytest.approx((4 + 0 + 2 + 2) / 4)
    assert health.diversity == pytest.approx(4 / 3)


def test_a_batch_of_bytes_is_measured_as_one_of_numbers(tmp_path: Path) -> None:
    stored = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = []
    for images in (stored, stored / 255):
        engine, recovery = stub_engine(tmp_path, images, label=torch.ones(4, 1))
        health = recovery.measure(engine)
        found.append((health.real_spread, health.reach))
    assert found[0] == pytest.approx(found[1])


class Normalised(nn.Module):
    """A generator of one size with batch normalisation."""

    latent_size, resolution = 3, 8

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, z: Tensor, labels: None = None) -> Tensor:
        return self.norm(z)[:, :1, None, None].expand(-1, 1, 8, 8)


def test_a_check_leaves_running_statistics_alone(tmp_path: Path) -> None:
    engine, recovery = stub_engine(tmp_path, torch.rand(4, 1, 8, 8))
    engine.generator = Normalised().train()
    engine.state.phase = FixedSchedule(8, 10, 2).at(0)
    before = {name: tensor.clone() for name, tensor in engine.generator.state_dict().items()}
    assert math.isfinite(recovery.measure(engine).fake_spread)
    torch.testing.assert_close(engine.generator.state_dict(), before, rtol=0, atol=0)
    assert engine.generator.training


def test_a_batch_of_one_judges_no_diversity(tmp_path: Path) -> None:
    engine, recovery = stub_engine(tmp_path, torch.zeros(1, 1, 8, 8), label=torch.ones(1, 1))
    assert math.isnan(recovery.measure(engine).diversity)


def test_means_are_of_the_iterations_that_had_a_value() -> None:
    window = _Window()
    for number, penalty in enumerate([4.0, None, 8.0]):
        window.add(
            {"wasserstein": torch.tensor([float(number)]), "text": "x", **({"penalty": penalty} if penalty else {})}
        )
    assert window.mean("wasserstein").item() == 1.0
    assert window.mean("penalty").item() == 6.0
    assert math.isnan(window.mean("critic_loss").item())
    assert window.total("cpu").item() == 15.0
    window.add({"critic_loss": math.inf})
    window.add({"generator_loss": -math.inf})
    assert not math.isfinite(window.total("cpu").item())


def test_the_window_holds_copies() -> None:
    window, value = _Window(), torch.ones(())
    window.add({"x": value})
    value += 5
    assert window.mean("x").item() == 1.0


def test_nothing_is_brought_from_the_device_between_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Device(Tensor):
        """A tensor that may not be looked at."""

        def refuse(self, *_: Any) -> Any:
            raise AssertionError("brought to the host")

        item = tolist = cpu = numpy = __float__ = __bool__ = __int__ = refuse

    window = _Window()
    for _ in range(3):
        window.add({"wasserstein": torch.ones(()).as_subclass(Device), "penalty": torch.ones(1).as_subclass(Device)})
    assert isinstance(window._sums["penalty"], Device)
    with pytest.raises(AssertionError, match="host"):
        window.state_dict()


def test_one_transfer_a_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, recovery = stub_engine(tmp_path, torch.rand(2, 1, 8, 8), label=torch.ones(2, 1))
    engine.resumables = {"a": nn.Linear(3, 3), "b": nn.Conv2d(1, 1, 3)}
    taken: list[str] = []
    for name in ("item", "tolist", "__float__", "__bool__", "__int__", "cpu", "numpy"):
        original = getattr(Tensor, name)
        monkeypatch.setattr(Tensor, name, lambda self, *a, _n=name, _o=original: (taken.append(_n), _o(self, *a))[1])
    recovery.measure(engine)
    assert taken == ["tolist"]


def test_scale_of_a_calibrated_loss_is_its_value_at_zero() -> None:
    class Logistic:
        def critic(self, real: Tensor, fake: Tensor) -> Tensor:
            return nn.functional.softplus(-real).mean() + nn.functional.softplus(fake).mean()

    assert _scale_of(Logistic())[0] == pytest.approx(2 * math.log(2))
    assert _scale_of(WassersteinLoss(target=750.0)) == (0.0, 750.0)


# --- settings ---


@pytest.mark.parametrize(
    "setting",
    [
        {"every": 0},
        {"every": 1.5},
        {"every": True},
        {"grace": -1},
        {"tries": -1},
        {"samples": 1},
        {"factor": 0.0},
        {"factor": 1.0},
        {"factor": math.nan},
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, setting: dict[str, Any]) -> None:
    (name,) = setting
    with pytest.raises(ConfigError, match=f"{name}"):
        Recovery(Resume(tmp_path / "a.pt", {}), **setting)


def test_it_must_follow_its_resume(tmp_path: Path) -> None:
    trainer, _ = make(tmp_path)
    other, _ = make(tmp_path / "other")
    Recovery(Resume(tmp_path / "a.pt", {})).attach(other)
    with pytest.raises(ConfigError, match=r"list it before"):
        other.run()
    trainer.run()


def test_what_another_process_measured_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process judges the mean of all, so a loss that is not a number in one of them stops all."""
    name = "monai_cxraug.handlers.recovery.average_numbers"
    monkeypatch.setattr(name, lambda numbers: torch.full_like(numbers, torch.nan))
    with pytest.raises(StateError, match="must stay healthy"):
        make(tmp_path)[0].run()
    assert events(tmp_path)[-1]["action"] == "given up"


def test_limits_are_passed_on(tmp_path: Path) -> None:
    act = Constant()
    trainer, act.recovery = make(tmp_path, handlers=[act], limits=Limits(diversity=0.0))
    trainer.run()
    assert not events(tmp_path)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logger = logging.getLogger("ignite.engine.engine")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)
