from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from torch import Tensor

from monai_cxraug.engines import precision
from monai_cxraug.engines.gan import ProgressiveGanTrainer, phase_images
from monai_cxraug.engines.gan_batch import GanBatch
from monai_cxraug.engines.schedule import Phase, ProgressiveSchedule
from monai_cxraug.engines.side_tasks import LabelTask
from monai_cxraug.errors import ConfigError, CxrAugError, InputError, StateError
from monai_cxraug.handlers.resume import Resume
from monai_cxraug.losses.adversarial import HingeLoss, LeastSquaresLoss, NonSaturatingLoss, WassersteinLoss
from monai_cxraug.networks.augmentation import AdaptiveAugmentation
from monai_cxraug.networks.pggan import ProgressiveDiscriminator, ProgressiveGenerator

SIZE = 8


class Batches:
    """Batch k of uniform images depends on k alone."""

    def __init__(self, schedule: ProgressiveSchedule, size: int = SIZE) -> None:
        self.schedule, self.size = schedule, size

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for k, n in enumerate(self.schedule.batch_sizes()):
            yield {"image": torch.rand(n, 1, self.size, self.size, generator=torch.Generator().manual_seed(k))}


def make_trainer(**changes: Any) -> ProgressiveGanTrainer:
    torch.manual_seed(0)
    schedule = changes.pop("schedule", ProgressiveSchedule(SIZE, 8, 8, 40, batch_size={4: 4, 8: 6}))
    generator = changes.pop("generator", None) or ProgressiveGenerator(SIZE, 4, fmap_base=32, fmap_max=8)
    critic = changes.pop("discriminator", None) or ProgressiveDiscriminator(SIZE, fmap_base=32, fmap_max=8)
    make = changes.pop("optimizer", lambda weights: torch.optim.Adam(weights, 1e-3, (0.0, 0.99)))
    g_optimizer, d_optimizer = (make(net.parameters()) for net in (generator, critic))
    loader = changes.pop("loader", Batches(schedule))
    return ProgressiveGanTrainer(
        "cpu", loader, generator, critic, g_optimizer, d_optimizer, schedule, **{"epoch_length": 3, **changes}
    )


@pytest.fixture
def trainer() -> ProgressiveGanTrainer:
    return make_trainer()


def make_batch(trainer: ProgressiveGanTrainer, n: int = 4, size: int = 4) -> GanBatch:
    draws = torch.Generator().manual_seed(3)
    real, mix = torch.rand(n, 1, size, size, generator=draws), torch.rand(n, generator=draws)
    return GanBatch(real, torch.randn(n, trainer.layout.size, generator=draws), mix)


def weights(module: torch.nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def test_it_follows_the_schedule_and_stops_at_the_total(trainer: ProgressiveGanTrainer) -> None:
    seen: list[tuple[int, float, float]] = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda: seen.append((trainer.state.images_seen, trainer.state.output["resolution"], trainer.state.phase.alpha)),
    )
    trainer.run()
    small = [(4, 4, 1.0), (8, 4, 1.0), (14, 8, 0.0), (20, 8, 0.75)]
    assert seen == [*small, (26, 8, 1.0), (32, 8, 1.0), (38, 8, 1.0), (44, 8, 1.0)]
    assert trainer.state.iteration == trainer.schedule.iterations()


def test_running_again_after_the_end_trains_no_further(trainer: ProgressiveGanTrainer) -> None:
    trainer.run()
    before = weights(trainer.generator)
    trainer.run()
    assert all(torch.equal(a, b) for a, b in zip(before, weights(trainer.generator), strict=True))


def test_same_seed_same_weights_whatever_the_global_random_state() -> None:
    results = []
    for noise in (1, 2):
        trainer = make_trainer(seed=5)
        torch.manual_seed(noise)
        trainer.run()
        results.append(weights(trainer.ema.module))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    other = make_trainer(seed=6)
    other.run()
    assert not torch.equal(results[0][0], weights(other.ema.module)[0])


def test_a_step_changes_the_stages_in_use_and_no_other(trainer: ProgressiveGanTrainer) -> None:
    before = weights(trainer.generator.blocks[1]) + weights(trainer.discriminator.blocks[1])
    stem = weights(trainer.generator.blocks[0])
    trainer._iteration(trainer, next(iter(trainer.data_loader)))
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            before, weights(trainer.generator.blocks[1]) + weights(trainer.discriminator.blocks[1]), strict=True
        )
    )
    assert not torch.equal(stem[0], weights(trainer.generator.blocks[0])[0])


def test_each_network_learns_from_its_own_step_alone(trainer: ProgressiveGanTrainer) -> None:
    phase = trainer.schedule.at(0)
    g_before, d_before = weights(trainer.generator), weights(trainer.discriminator)
    batch = make_batch(trainer)
    trainer.updates.critic(batch, phase, regularise=True, keep=True)
    assert all(p.grad is None for p in trainer.generator.parameters())
    assert all(torch.equal(a, b) for a, b in zip(g_before, weights(trainer.generator), strict=True))
    d_after = weights(trainer.discriminator)
    assert not all(torch.equal(a, b) for a, b in zip(d_before, d_after, strict=True))
    trainer.updates.generate(batch, phase)
    assert all(torch.equal(a, b) for a, b in zip(d_after, weights(trainer.discriminator), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(g_before, weights(trainer.generator), strict=True))
    assert all(p.requires_grad for p in trainer.discriminator.parameters())


def test_critic_steps_see_fresh_fakes_each() -> None:
    trainer = make_trainer(critic_steps=3)
    drawn: list[Tensor] = []
    original = trainer._latents

    def remember(n: int) -> Tensor:
        drawn.append(original(n))
        return drawn[-1]

    trainer._latents = remember  # type: ignore[method-assign]
    trainer._iteration(trainer, next(iter(trainer.data_loader)))
    assert len(drawn) == 3  # the generator's update takes those of the last
    assert len({tuple(z.flatten().tolist()) for z in drawn}) == 3


def test_reported_losses_are_those_of_the_formula() -> None:
    trainer = make_trainer(loss=WassersteinLoss(drift=0.5))
    batch, phase = make_batch(trainer), trainer.schedule.at(0)
    twin = make_trainer()
    with torch.no_grad():
        d_real, d_fake = twin.discriminator(batch.real), twin.discriminator(twin.generator(batch.latents, 4))
    values = trainer.updates.critic(batch, phase, regularise=False, keep=False)
    expected = d_fake.mean() - d_real.mean() + 0.5 * d_real.square().mean()
    torch.testing.assert_close(values["critic_loss"], expected)
    torch.testing.assert_close(values["wasserstein"], d_real.mean() - d_fake.mean())


def test_the_critic_learns_to_tell_and_the_generator_to_move() -> None:
    schedule = ProgressiveSchedule(SIZE, 0, 0, 600, batch_size=8)
    dark = [{"image": torch.full((8, 1, SIZE, SIZE), 0.1)}]
    trainer = make_trainer(schedule=schedule, loader=dark, ema_half_life=50)
    for optimizer in (trainer.g_optimizer, trainer.d_optimizer):
        optimizer.param_groups[0]["lr"] = 0.01
    z = trainer._latents(16)
    before = (trainer.generator(z) - 0.1).abs().mean().item()
    trainer.run()
    assert (trainer.ema.module(z) - 0.1).abs().mean().item() < before / 2


def test_bfloat16_runs_and_stays_near_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "pays", lambda device: True)  # on a processor without the units too
    values = []
    for amp in (False, True):
        trainer = make_trainer(amp=amp)
        batch = make_batch(trainer)
        values.append(trainer.updates.critic(batch, trainer.schedule.at(0), regularise=True, keep=True))
    assert values[0]["wasserstein"].item() != values[1]["wasserstein"].item()
    torch.testing.assert_close(values[0]["wasserstein"], values[1]["wasserstein"], rtol=0, atol=0.05)
    assert values[0]["penalty"].item() == pytest.approx(values[1]["penalty"].item(), rel=0.05)


def test_phase_images_are_area_averages() -> None:
    images = torch.rand(2, 1, 32, 32, dtype=torch.float64)
    mean = images.reshape(2, 1, 8, 4, 8, 4).mean(dim=(3, 5))
    torch.testing.assert_close(phase_images(images, Phase(8, 1.0, 2)), mean)
    assert torch.equal(phase_images(images, Phase(32, 1.0, 2)), images)


def test_fading_images_are_blended_with_their_half_resolution() -> None:
    images = torch.rand(2, 1, 16, 16, dtype=torch.float64)
    sharp = images.reshape(2, 1, 8, 2, 8, 2).mean(dim=(3, 5))
    coarse = images.reshape(2, 1, 4, 4, 4, 4).mean(dim=(3, 5)).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(phase_images(images, Phase(8, 0.3, 2)), 0.3 * sharp + 0.7 * coarse)


def test_losses_that_are_not_finite_stop_training_with_the_clock_and_a_mend() -> None:
    schedule = ProgressiveSchedule(SIZE, 0, 0, 40, batch_size=4)
    good, bad = ({"image": torch.full((4, 1, SIZE, SIZE), value)} for value in (0.5, float("nan")))
    trainer = make_trainer(schedule=schedule, loader=[good, good, bad])
    with pytest.raises(StateError, match=r"8 images seen.*finite.*critic_loss nan.*learning rate"):
        trainer.run()
    assert all(torch.isfinite(p).all() for p in trainer.ema.module.parameters())


@pytest.mark.parametrize(
    ("batch", "error"),
    [
        (lambda: {"picture": torch.rand(4, 1, SIZE, SIZE)}, InputError),
        (lambda: {"image": torch.rand(4, 1, 4, 4)}, InputError),
        (lambda: {"image": torch.rand(4, SIZE, SIZE)}, InputError),
        (lambda: {"image": torch.rand(3, 1, SIZE, SIZE)}, InputError),
    ],
)
def test_batches_that_do_not_fit_are_refused(batch: Callable[[], Any], error: type[CxrAugError]) -> None:
    with pytest.raises(error):
        make_trainer(loader=[batch()]).run()


@pytest.mark.parametrize(
    "changes", [{"critic_steps": 0}, {"epoch_length": 0}, {"schedule": ProgressiveSchedule(16, 8, 8)}]
)
def test_bad_settings_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        make_trainer(**changes)


# --- Adam's moments ---


class Steps:
    """Remembers after each iteration how many updates the moments of always used weights hold."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self, engine)

    def __call__(self, engine: Any) -> None:
        pair = (engine.g_optimizer, engine.generator), (engine.d_optimizer, engine.discriminator)
        self.seen.append(tuple(int(o.state[net.blocks[0].conv.weight]["step"]) for o, net in pair))  # type: ignore[arg-type]


#: batches at 4 px, of the fade to 8 px, and after it, where 4 are 16 images: 0-15; 16-31; 32-47.
STAGES = ProgressiveSchedule(SIZE, 16, 16, 48, batch_size=4)
COUNTED = [1, 2, 3, 4] * 3


@pytest.mark.parametrize("critic_steps", [1, 2])
def test_moments_are_forgotten_at_the_beginning_of_each_stage_and_nowhere_else(critic_steps: int) -> None:
    steps = Steps()
    make_trainer(schedule=STAGES, train_handlers=[steps], critic_steps=critic_steps).run()
    assert steps.seen == [(count, count * critic_steps) for count in COUNTED]


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("at", range(1, 12))
def test_moments_are_forgotten_at_the_same_places_after_a_resume(tmp_path: Path, at: int) -> None:
    steps, loader = Steps(), Batches(STAGES)

    def stop(engine: Any) -> None:
        if engine.state.iteration == at + 1:
            raise StoppedError

    for handlers in ([stop], []):
        batches = list(loader)
        source = SkippingBatches(batches)
        resume = Resume(tmp_path / "checkpoint.pt", {}, sampler=source)
        trainer = make_trainer(schedule=STAGES, loader=source, epoch_length=1, train_handlers=[resume, steps])
        for handler in handlers:
            trainer.add_event_handler(Events.ITERATION_STARTED, handler)
        try:
            trainer.run()
        except StoppedError:
            assert len(steps.seen) == at
    assert steps.seen == [(count, count) for count in COUNTED]


def test_moments_without_a_mark_are_kept_and_marked() -> None:
    trainer = make_trainer(schedule=STAGES)
    trainer._iteration(trainer, next(iter(trainer.data_loader)))
    for optimizer in (trainer.g_optimizer, trainer.d_optimizer):
        del optimizer.param_groups[0]["stage"]  # as in a checkpoint of an earlier version
    trainer._iteration(trainer, next(iter(trainer.data_loader)))
    assert trainer.g_optimizer.state[trainer.generator.blocks[0].conv.weight]["step"] == 2
    assert trainer.g_optimizer.param_groups[0]["stage"] == 0


class SkippingBatches:
    skip = 0

    def __init__(self, batches: list[dict[str, Tensor]]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return iter(self.batches[self.skip :])


# --- lazy regularisation ---


@pytest.mark.parametrize(("critic_steps", "interval"), [(1, 3), (2, 3), (3, 4)])
def test_the_interval_counts_critic_steps_also_over_a_resume(tmp_path: Path, critic_steps: int, interval: int) -> None:
    flags: list[bool] = []
    for until in (5, 12):
        source = SkippingBatches(list(Batches(STAGES)))
        resume = Resume(tmp_path / "checkpoint.pt", {}, sampler=source)
        trainer = make_trainer(
            schedule=STAGES,
            loader=source,
            epoch_length=1,
            train_handlers=[resume],
            critic_steps=critic_steps,
            loss=NonSaturatingLoss(interval=interval),
        )
        original = trainer.updates.critic

        def critic(*arguments: Any, original: Any = original, **named: Any) -> Any:
            flags.append(arguments[2])
            return original(*arguments, **named)

        trainer.updates.critic = critic  # type: ignore[method-assign]
        trainer.add_event_handler(Events.EPOCH_COMPLETED(once=until), trainer.terminate)
        trainer.run()
    assert flags == [number % interval == 0 for number in range(12 * critic_steps)]


# --- batches ---


def test_uint8_batches_equal_float_ones() -> None:
    results = []
    for convert in (lambda images: images, lambda images: images.float() / 255, lambda images: images.double() / 255):
        images = torch.randint(0, 256, (4, 1, SIZE, SIZE), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
        trainer = make_trainer(schedule=ProgressiveSchedule(SIZE, 0, 0, 12, batch_size=4), loader=[])
        trainer._iteration(trainer, {"image": convert(images)})
        results.append(weights(trainer.generator))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_colour_and_arrays_are_taken() -> None:
    widths = {"channels": 3, "fmap_base": 32, "fmap_max": 8}
    networks = ProgressiveGenerator(SIZE, 4, **widths), ProgressiveDiscriminator(SIZE, **widths)
    batch = {"image": np.random.default_rng(0).random((4, 3, SIZE, SIZE), np.float32)}
    schedule = ProgressiveSchedule(SIZE, 0, 0, 8, batch_size=4)
    trainer = make_trainer(generator=networks[0], discriminator=networks[1], schedule=schedule, loader=[batch])
    trainer.run()
    assert trainer.ema.module(trainer._latents(2)).shape == (2, 3, SIZE, SIZE)


def test_grey_networks_refuse_colour_in_one_line() -> None:
    with pytest.raises(InputError, match=rf"must be \[N, 1, {SIZE}, {SIZE}\]; found \[4, 3, {SIZE}, {SIZE}\]"):
        make_trainer(loader=[{"image": torch.rand(4, 3, SIZE, SIZE)}]).run()


@pytest.mark.parametrize("name", ["findings", "channels"])
def test_networks_that_do_not_fit_each_other_are_refused(name: str) -> None:
    critic = ProgressiveDiscriminator(SIZE, fmap_base=32, fmap_max=8, **{name: 3})
    with pytest.raises(ConfigError, match=f"generator's {name}; found generator [01], discriminator 3"):
        make_trainer(discriminator=critic)


# --- findings ---

FOURTEEN = 14


def make_conditional(condition: str = "auxiliary", size: int = SIZE, **changes: Any) -> ProgressiveGanTrainer:
    torch.manual_seed(0)
    widths = {"fmap_base": 32, "fmap_max": 8, "findings": FOURTEEN}
    generator, critic = (
        ProgressiveGenerator(size, 4, **widths),
        ProgressiveDiscriminator(size, condition=condition, **widths),
    )
    return make_trainer(generator=generator, discriminator=critic, **changes)


class LabelledBatches(Batches):
    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for k, batch in enumerate(super().__iter__()):
            draws = torch.Generator().manual_seed(k)
            labels = torch.randint(0, 2, (len(batch["image"]), FOURTEEN), generator=draws).float()
            labels[torch.rand(labels.shape, generator=draws) < 0.5] = torch.nan
            yield batch | {"label": labels}


@pytest.mark.parametrize("loss", [WassersteinLoss(), NonSaturatingLoss(), HingeLoss(), LeastSquaresLoss()])
@pytest.mark.parametrize("condition", ["auxiliary", "projection"])
def test_fourteen_findings_train_a_little_with_everything_on(condition: str, loss: Any) -> None:
    trainer = make_conditional(
        condition,
        loader=LabelledBatches(STAGES),
        schedule=STAGES,
        loss=loss,
        amp=True,
        augment=AdaptiveAugmentation(),
        side_task=LabelTask(on="both"),
        part=4,
    )
    before = weights(trainer.generator)
    trainer.run()
    assert trainer.state.images_seen == 48
    assert all(torch.isfinite(w).all() for w in weights(trainer.generator) + weights(trainer.discriminator))
    assert not any(torch.equal(a, b) for a, b in zip(before, weights(trainer.generator), strict=True))
    assert ("auxiliary" in trainer.state.output) == (condition == "auxiliary")


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (None, "none"),
        (torch.zeros(4, 13), r"\[4, 13\]"),
        (torch.zeros(3, FOURTEEN), r"\[3, 14\]"),
        (torch.zeros(FOURTEEN), r"\[14\]"),
    ],
)
def test_labels_that_do_not_fit_are_refused_in_one_line(labels: Tensor | None, found: str) -> None:
    batch = {"image": torch.rand(4, 1, SIZE, SIZE)} | ({} if labels is None else {"label": labels})
    with pytest.raises(InputError, match=rf"'label'.*must be \[4, 14\]; found {found}"):
        make_conditional(loader=[batch]).run()


def test_256_px_trains_a_step_in_each_stage_s_way() -> None:
    widths = {"fmap_base": 256, "fmap_max": 8}
    generator, critic = ProgressiveGenerator(256, 8, **widths), ProgressiveDiscriminator(256, **widths)
    schedule = ProgressiveSchedule(256, 2, 2, 28, batch_size=2)
    batch = {"image": torch.randint(0, 256, (2, 1, 256, 256)).to(torch.uint8)}
    trainer = make_trainer(generator=generator, discriminator=critic, schedule=schedule, loader=[batch], amp=True)
    trainer.run()
    assert (trainer.state.phase.resolution, trainer.state.phase.alpha) == (256, 1.0)
    assert all(torch.isfinite(w).all() for w in weights(trainer.generator) + weights(trainer.discriminator))


# --- the rest ---


def test_the_average_keeps_999_parts_in_1000() -> None:
    trainer = make_trainer(ema_decay=0.999, schedule=ProgressiveSchedule(SIZE, 0, 0, 12, batch_size=4))
    expected = weights(trainer.generator)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda: expected.__setitem__(
            slice(None), [0.999 * a + 0.001 * w for a, w in zip(expected, weights(trainer.generator), strict=True)]
        ),
    )
    trainer.run()
    for found, wanted in zip(weights(trainer.ema.module), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-7)


def test_an_iteration_never_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_conditional(
        loader=[],
        schedule=STAGES,
        augment=AdaptiveAugmentation(interval=1),
        side_task=LabelTask(on="both"),
        amp=True,
        part=4,
        optimizer=lambda weights: torch.optim.SGD(weights, 1e-3),  # Adam counts its steps on the host
    )
    batch = next(iter(LabelledBatches(STAGES)))
    trainer._require_finite = lambda *_: None  # type: ignore[method-assign]  # the look at the losses on the CPU

    def wait(*_: Any) -> Any:
        pytest.fail("the host waited for a value")

    for name in ("item", "__bool__", "__float__", "__int__", "__index__", "numpy", "cpu", "nonzero"):
        monkeypatch.setattr(Tensor, name, wait)
    for _ in range(6):
        trainer._iteration(trainer, batch)


def test_networks_and_batches_are_brought_to_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    original = torch.nn.Module.to
    monkeypatch.setattr(
        torch.nn.Module, "to", lambda net, *a, **k: (asked.append((type(net), *a)), original(net, *a, **k))[1]
    )
    make_trainer()
    assert asked[:2] == [(ProgressiveGenerator, torch.device("cpu")), (ProgressiveDiscriminator, torch.device("cpu"))]


@pytest.mark.gpu
@pytest.mark.parametrize("amp", [False, True])
def test_on_a_gpu_no_iteration_waits_and_the_networks_learn(amp: bool) -> None:
    trainer = make_conditional(loader=LabelledBatches(STAGES), schedule=STAGES, amp=amp, augment=AdaptiveAugmentation())
    cuda = ProgressiveGanTrainer(
        "cuda",
        trainer.data_loader,
        trainer.generator,
        trainer.discriminator,
        trainer.g_optimizer,
        trainer.d_optimizer,
        STAGES,
        augment=AdaptiveAugmentation().cuda(),
        amp=amp,
    )
    batch = {name: value.cuda() for name, value in next(iter(LabelledBatches(STAGES))).items()}
    cuda._iteration(cuda, batch)  # libraries start
    torch.cuda.set_sync_debug_mode("error")
    try:
        values = cuda._iteration(cuda, batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    cuda._require_finite(values)
