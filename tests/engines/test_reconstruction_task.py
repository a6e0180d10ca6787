"""Redrawing as a side task: its loss in float64, what learns by it, and the same end after an interruption."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from torch import Tensor

from monai_cxraug.engines.gan import ProgressiveGanTrainer
from monai_cxraug.engines.gan_batch import GanBatch, Judgement
from monai_cxraug.engines.gan_updates import GanUpdates
from monai_cxraug.engines.precision import Precision
from monai_cxraug.engines.reconstruction_task import ReconstructionTask
from monai_cxraug.engines.schedule import FixedSchedule
from monai_cxraug.errors import ConfigError
from monai_cxraug.handlers.resume import Resume
from monai_cxraug.losses.adversarial import HingeLoss
from monai_cxraug.networks.augmentation import DiffAugment
from monai_cxraug.networks.fastgan import FastDiscriminator, FastGenerator
from monai_cxraug.networks.pggan import ProgressiveDiscriminator

SIZE, LATENT = 16, 4


def make_batch(n: int) -> GanBatch:
    draws = torch.Generator().manual_seed(n)
    real = torch.rand(n, 1, SIZE, SIZE, generator=draws)
    return GanBatch(real, torch.randn(n, LATENT, generator=draws), torch.rand(n, generator=draws))


def judged(critic: FastDiscriminator, images: Tensor) -> Judgement:
    return Judgement(*critic.judge(images), images)


@pytest.fixture
def critic() -> FastDiscriminator:
    torch.manual_seed(0)
    return FastDiscriminator(SIZE, width=2)


class Copying:
    """Draws the images themselves, a bit darker, and their first row and column as a part."""

    def redraw(self, images: Tensor, encoding: Tensor, chance: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        self.given = encoding, chance
        yield 0.9 * images, images
        yield 0.5 * images[:, :, :2], images[:, :, :2]


# --- values ---


@pytest.mark.parametrize(("weight", "edges"), [(1.0, 0.0), (0.3, 2.0)])
def test_the_loss_is_what_numpy_says(weight: float, edges: float) -> None:
    discriminator, batch = Copying(), make_batch(3)
    real = Judgement(torch.zeros(3), torch.ones(3, 2), batch.real.double())
    task = ReconstructionTask(discriminator, weight, edges)
    loss, values = task.critic(real, Judgement(torch.zeros(3), None, batch.real), batch)  # type: ignore[misc]
    assert discriminator.given == (real.told, batch.mix)
    images = batch.real.double().numpy()
    expected = 0.0
    for part, missing in ((images, 0.1), (images[:, :, :2], 0.5)):
        across = np.abs(np.diff(part, axis=2)).mean() + np.abs(np.diff(part, axis=3)).mean()
        expected += missing * (np.abs(part).mean() + edges * across)
    assert values["reconstruction"].item() == pytest.approx(expected, rel=1e-12)
    assert loss.item() == pytest.approx(weight * expected, rel=1e-12)


def test_parts_add_up_to_the_whole(critic: FastDiscriminator) -> None:
    task, batch = ReconstructionTask(critic.eval(), edges=1.0), make_batch(6)
    with torch.no_grad():
        real = judged(critic, batch.real)
        whole = task.critic(real, real, batch)[0]  # type: ignore[index]
        parts = [task.critic(judged(critic, part.real), real, part)[0] for part in batch.parts(2)]  # type: ignore[index]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


def test_real_images_are_drawn_as_they_were_seen_and_fake_ones_are_not_looked_at(critic: FastDiscriminator) -> None:
    task, batch = ReconstructionTask(critic), make_batch(4)
    seen = 1 - batch.real
    with torch.no_grad():
        one = task.critic(judged(critic, seen), judged(critic, batch.real), batch)[0]  # type: ignore[index]
        other = task.critic(judged(critic, seen), Judgement(torch.zeros(4), None, seen), batch)[0]  # type: ignore[index]
        unseen = task.critic(judged(critic, batch.real), judged(critic, seen), batch)[0]  # type: ignore[index]
    assert torch.equal(one, other)
    assert not torch.equal(one, unseen)
    assert task.generator(judged(critic, seen), batch) is None
    assert ReconstructionTask(critic, weight=0.0).critic(judged(critic, seen), judged(critic, seen), batch) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"weight": -1.0}, r"\(weight\)"), ({"edges": float("inf")}, r"\(edges\)"), ({"weight": float("nan")}, "finite")],
)
def test_bad_weights_are_refused(critic: FastDiscriminator, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ReconstructionTask(critic, **changes)


def test_a_discriminator_that_cannot_draw_is_refused() -> None:
    with pytest.raises(ConfigError, match="found ProgressiveDiscriminator; use a FastDiscriminator"):
        ReconstructionTask(ProgressiveDiscriminator(8))  # type: ignore[arg-type]


# --- in training ---


def make_updates(weight: float) -> GanUpdates:
    torch.manual_seed(0)
    generator, critic = FastGenerator(SIZE, LATENT, width=2), FastDiscriminator(SIZE, width=2)
    optimizers = [torch.optim.Adam(network.parameters(), 5e-3, (0.5, 0.999)) for network in (generator, critic)]
    given = HingeLoss(), Precision(torch.device("cpu"), False), torch.Generator().manual_seed(0)
    task = ReconstructionTask(critic, weight)
    return GanUpdates(generator, critic, *optimizers, *given, DiffAugment(), task)


def test_it_learns_to_draw_a_handful_of_images() -> None:
    updates = make_updates(10.0)
    ramp = torch.linspace(0, 1, SIZE).expand(SIZE, SIZE)
    real = torch.stack([ramp, ramp.T, 1 - ramp, 1 - ramp.T])[:, None]
    phase, reported = FixedSchedule(SIZE, 100, 4).at(0), []
    for step in range(30):
        chance = torch.rand(4, generator=torch.Generator().manual_seed(step))
        batch = GanBatch(real, torch.randn(4, LATENT, generator=torch.Generator().manual_seed(step)), chance)
        values = updates.critic(batch, phase, regularise=False, keep=True) | updates.generate(batch, phase)
        reported.append(values["reconstruction"].item())
    assert np.mean(reported[-5:]) < np.mean(reported[:3]) / 2
    assert not values["reconstruction"].requires_grad


def test_the_decoders_learn_in_the_critics_update_alone() -> None:
    updates, batch = make_updates(1.0), make_batch(4)
    phase = FixedSchedule(SIZE, 100, 4).at(0)
    updates.critic(batch, phase, regularise=False, keep=True)
    decoders = [p for name, p in updates.discriminator.named_parameters() if name.startswith(("whole", "detail"))]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in decoders)
    before = [p.clone() for p in decoders]
    values = updates.generate(batch, phase)
    assert all(torch.equal(a, b) for a, b in zip(before, decoders, strict=True))
    assert set(values) == {"generator_loss"}


class Batches:
    """Batch k depends on k alone."""

    skip = 0

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for k in range(self.skip, 12):
            yield {"image": torch.rand(4, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(k))}


class StoppedError(Exception):
    pass


def train(folder: Path, stop_at: int | None = None) -> list[Tensor]:
    torch.manual_seed(0)
    generator, critic = FastGenerator(SIZE, LATENT, width=2), FastDiscriminator(SIZE, width=2)
    optimizers = [torch.optim.Adam(network.parameters(), 1e-3, (0.5, 0.999)) for network in (generator, critic)]
    loader = Batches()
    trainer = ProgressiveGanTrainer(
        "cpu",
        loader,
        generator,
        critic,
        *optimizers,
        FixedSchedule(SIZE, 48, 4),
        loss=HingeLoss(),
        ema_half_life=20,
        augment=DiffAugment(),
        side_task=ReconstructionTask(critic, edges=0.5),
        epoch_length=1,
        train_handlers=[Resume(folder / "checkpoint.pt", {}, sampler=loader)],
    )

    def stop(engine: Any) -> None:
        if engine.state.iteration == stop_at:
            raise StoppedError

    trainer.add_event_handler(Events.ITERATION_STARTED, stop)
    trainer.run()
    return [*trainer.ema.module.state_dict().values(), *trainer.discriminator.state_dict().values()]


def test_an_interrupted_training_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole")
    for stop_at in (4, 9):
        with pytest.raises(StoppedError):
            train(tmp_path / "broken", stop_at)
    assert all(torch.equal(a, b) for a, b in zip(whole, train(tmp_path / "broken"), strict=True))
