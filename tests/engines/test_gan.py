from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from ignite.engine import Events
from torch import Tensor

from monai_cxraug.engines.gan import ProgressiveGanTrainer, phase_images
from monai_cxraug.engines.gan_updates import GanBatch
from monai_cxraug.engines.schedule import Phase, ProgressiveSchedule
from monai_cxraug.errors import ConfigError, CxrAugError, InputError, StateError
from monai_cxraug.losses.adversarial import WassersteinLoss
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
    generator = ProgressiveGenerator(SIZE, 4, fmap_base=32, fmap_max=8)
    critic = changes.pop("discriminator", ProgressiveDiscriminator(SIZE, fmap_base=32, fmap_max=8))
    g_optimizer, d_optimizer = (torch.optim.Adam(net.parameters(), 1e-3, (0.0, 0.99)) for net in (generator, critic))
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
    return GanBatch(real, torch.randn(n, trainer.latent_size, generator=draws), mix)


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


def test_bfloat16_runs_and_stays_near_float32() -> None:
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
