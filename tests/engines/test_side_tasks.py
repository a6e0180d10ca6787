"""What a discriminator learns beside real and fake: codes against a plain rewriting, and networks that mix a batch."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from monai_cxraug.engines.gan import ProgressiveGanTrainer
from monai_cxraug.engines.gan_batch import GanBatch, Judgement
from monai_cxraug.engines.gan_updates import GanUpdates
from monai_cxraug.engines.precision import Precision
from monai_cxraug.engines.schedule import FixedSchedule
from monai_cxraug.engines.side_tasks import CodeTask, LabelTask
from monai_cxraug.errors import ConfigError, CxrAugError, InputError
from monai_cxraug.losses.adversarial import HingeLoss, NonSaturatingLoss, WassersteinLoss
from monai_cxraug.networks.augmentation import DiffAugment
from monai_cxraug.networks.dcgan import DcganDiscriminator, DcganGenerator
from monai_cxraug.networks.infogan import InfoDiscriminator, InfoGenerator
from monai_cxraug.networks.latents import Layout

SMALL: dict[str, Any] = {"width": 3, "most": 5}
LAYOUT = Layout(4, (3, 2), 2)
PHASE = FixedSchedule(8, 100, 6).at(0)
EXACT = {"rtol": 1e-9, "atol": 1e-9}


def make_updates(learned: bool = True, codes: bool = True, weight: float = 0.7, **changes: Any) -> GanUpdates:
    torch.manual_seed(0)
    if codes:
        generator = InfoGenerator(8, LAYOUT.noise, LAYOUT.categories, LAYOUT.continuous, **SMALL)
        kind = changes.pop("critic", InfoDiscriminator)
        critic = kind(8, LAYOUT.categories, LAYOUT.continuous, **SMALL, learned_deviation=learned)
        changes = {"side_task": CodeTask(generator.layout, weight), **changes}
    else:
        generator, critic = DcganGenerator(8, LAYOUT.size, **SMALL), DcganDiscriminator(8, **SMALL)
    networks = generator.double(), critic.double()
    optimizers = [torch.optim.Adam(network.parameters(), 0.01, (0.5, 0.999)) for network in networks]
    precision, draws = Precision(torch.device("cpu"), False), torch.Generator().manual_seed(1)
    loss = changes.pop("loss", NonSaturatingLoss(r1=0.0))
    return GanUpdates(*networks, *optimizers, loss, precision, draws, **changes)


def make_batch(n: int = 6, seed: int = 0) -> GanBatch:
    draws = torch.Generator().manual_seed(seed)
    real = torch.rand(n, 1, 8, 8, generator=draws, dtype=torch.float64)
    return GanBatch(real, LAYOUT.sample(n, draws).double(), torch.rand(n, generator=draws).double())


def plain_bound(told: Tensor, latents: Tensor) -> Tensor:
    """Mean of log Q(c|x) + H(c), written out code by code."""
    codes = latents[:, 4:]
    found = torch.zeros(len(told), dtype=torch.float64)
    for first, choices in ((0, 3), (3, 2)):
        logits, hot = told[:, first : first + choices], codes[:, first : first + choices]
        found += math.log(choices) + (logits * hot).sum(1) - logits.exp().sum(1).log()
    for code in (0, 1):
        deviation = told[:, 7 + code].exp() if told.shape[1] > 7 else torch.ones(len(told)).double()
        off = (codes[:, 5 + code] - told[:, 5 + code]) / deviation
        found += math.log(2) - deviation.log() - off**2 / 2 - math.log(2 * math.pi) / 2
    return found.mean()


@pytest.mark.parametrize("learned", [True, False])
def test_updates_equal_plain_ones(learned: bool) -> None:
    """Three rounds against copies of the networks, losses written out and an optimiser of PyTorch."""
    updates = make_updates(learned)
    generator, critic = copy.deepcopy(updates.generator), copy.deepcopy(updates.discriminator)
    adams = [torch.optim.Adam(network.parameters(), 0.01, (0.5, 0.999)) for network in (generator, critic)]
    for seed in range(3):
        batch = make_batch(seed=seed)
        fake = generator(batch.latents)
        (real_scores, _), (fake_scores, told) = critic.judge(batch.real), critic.judge(fake.detach())
        expected = {"critic_loss": -(F.logsigmoid(real_scores).mean() + F.logsigmoid(-fake_scores).mean())}
        expected["information"] = plain_bound(told, batch.latents)
        adams[1].zero_grad()
        (expected["critic_loss"] - 0.7 * expected["information"]).backward()
        adams[1].step()
        values = updates.critic(batch, PHASE, regularise=False, keep=True)

        scores, told = critic.judge(fake)
        expected["generator_loss"] = -F.logsigmoid(scores).mean()
        expected["generator_information"] = plain_bound(told, batch.latents)
        adams[0].zero_grad()
        (expected["generator_loss"] - 0.7 * expected["generator_information"]).backward()
        adams[0].step()
        values |= updates.generate(batch, PHASE)
        for name, value in expected.items():
            torch.testing.assert_close(values[name], value.detach(), **EXACT)
        for ours, plain in ((updates.generator, generator), (updates.discriminator, critic)):
            torch.testing.assert_close(ours.state_dict(), plain.state_dict(), **EXACT)


def test_without_a_side_task_what_q_says_teaches_nothing() -> None:
    updates = make_updates(side_task=None)
    values = updates.critic(make_batch(), PHASE, regularise=False, keep=True)
    values |= updates.generate(make_batch(), PHASE)
    assert not [name for name in values if "information" in name]
    assert updates.discriminator.read.weight.grad is None
    assert updates.discriminator.score.weight.grad is not None


def test_codes_are_learnt_by_both_networks() -> None:
    """With next to nothing else to learn, images come to tell more than any one code holds."""
    updates = make_updates(weight=50.0)
    for seed in range(60):
        batch = make_batch(24, seed)
        values = updates.critic(batch, PHASE, regularise=False, keep=True) | updates.generate(batch, PHASE)
    assert values["generator_information"].item() > math.log(3)
    assert values["information"].item() > math.log(3)


@pytest.mark.parametrize("codes", [True, False])
def test_real_and_fake_batches_are_judged_apart_and_whole(codes: bool) -> None:
    updates, seen = make_updates(codes=codes), list[int]()
    judge = updates.discriminator.judge
    updates.discriminator.judge = lambda images, **given: (seen.append(len(images)), judge(images, **given))[1]
    updates.critic(make_batch(8), PHASE, regularise=False, keep=True)
    updates.generate(make_batch(8), PHASE)
    assert seen == [8, 8, 8]
    with pytest.raises(ConfigError, match="part: networks that normalise over a batch take it whole; found 4"):
        make_updates(codes=codes, part=4)


@pytest.mark.parametrize("loss", [NonSaturatingLoss(), WassersteinLoss(), HingeLoss(r1=1.0)])
def test_penalties_of_slopes_are_refused_where_images_mix(loss: Any) -> None:
    with pytest.raises(ConfigError, match=r"loss: .*no slope at each image; found \w+Loss.*give r1 or penalty 0"):
        make_updates(loss=loss)
    make_updates(loss=WassersteinLoss(penalty=0.0))


class Narrow(InfoDiscriminator):
    def judge(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory.")


def test_a_batch_that_does_not_fit_is_one_clear_line() -> None:
    updates = make_updates(critic=Narrow)
    with pytest.raises(
        CxrAugError, match=r"^memory: .*must fit whole; found out of memory at 6 images; give a smaller"
    ):
        updates.critic(make_batch(), PHASE, regularise=False, keep=True)


def test_images_reach_a_side_task_as_the_discriminator_saw_them() -> None:
    class Looks:
        def critic(self, real: Judgement, fake: Judgement, batch: GanBatch) -> None:
            self.real, self.fake, self.batch = real, fake, batch

        def generator(self, fake: Judgement, batch: GanBatch) -> None:
            self.made = fake

    task = Looks()
    updates, batch = make_updates(side_task=task, augment=DiffAugment()), make_batch()
    updates.critic(batch, PHASE, regularise=False, keep=True)
    updates.generate(batch, PHASE)
    assert task.batch is batch
    assert not torch.equal(task.real.images, batch.real)
    twin = copy.deepcopy(updates.discriminator)
    assert task.real.images.shape == task.fake.images.shape == task.made.images.shape == batch.real.shape
    assert task.made.images.requires_grad
    assert not task.fake.images.requires_grad
    assert twin.judge(task.real.images)[1].shape == task.real.told.shape


def test_findings_are_nothing_to_networks_that_tell_none() -> None:
    updates = make_updates(codes=False, side_task=LabelTask())
    values = updates.critic(make_batch(), PHASE, regularise=False, keep=True)
    assert "auxiliary" not in values


@pytest.mark.parametrize("weight", [-1.0, float("inf"), float("nan")])
def test_bad_weights_are_refused(weight: float) -> None:
    with pytest.raises(ConfigError, match="code weight"):
        CodeTask(LAYOUT, weight)


def test_a_code_task_needs_codes() -> None:
    with pytest.raises(ConfigError, match="must hold codes; found noise alone"):
        CodeTask(Layout(8))


# --- the trainer with networks of one size ---


def make_trainer(side_task: bool = True, size: int = 28, **changes: Any) -> ProgressiveGanTrainer:
    torch.manual_seed(0)
    if side_task:
        generator, critic = InfoGenerator(size, 4, (3,), 1, **SMALL), InfoDiscriminator(size, (3,), 1, **SMALL)
        changes["side_task"] = CodeTask(generator.layout)
    else:
        generator, critic = DcganGenerator(size, 4, **SMALL), DcganDiscriminator(size, **SMALL)
    optimizers = [torch.optim.Adam(network.parameters(), 1e-3, (0.5, 0.999)) for network in (generator, critic)]
    schedule = changes.pop("schedule", FixedSchedule(size, 40, 4))
    loader = [{"image": torch.rand(4, 1, size, size, generator=torch.Generator().manual_seed(k))} for k in range(9)]
    return ProgressiveGanTrainer(
        "cpu", loader, generator, critic, *optimizers, schedule, HingeLoss(), epoch_length=3, **changes
    )


@pytest.mark.parametrize("side_task", [True, False])
def test_networks_of_one_size_are_trained_to_the_end(side_task: bool) -> None:
    trainer = make_trainer(side_task)
    before = [weight.clone() for weight in trainer.generator.parameters()]
    trainer.run()
    assert trainer.state.images_seen == 40
    assert trainer.state.phase.growth == {}
    assert {"resolution", "alpha"} & set(trainer.state.output) == set()
    assert ("information" in trainer.state.output) == side_task
    pairs = zip(before, trainer.generator.parameters(), strict=True)
    assert not any(torch.equal(old, new) for old, new in pairs)
    images = trainer.ema.module(trainer.layout.draw(0, 0, 2))
    assert images.shape == (2, 1, 28, 28)
    assert images.isfinite().all()


def test_the_same_seed_trains_the_same_networks() -> None:
    results = []
    for noise in (1, 2):
        trainer = make_trainer(seed=3)
        torch.manual_seed(noise)
        trainer.run()
        results.append(trainer.ema.state_dict())
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_running_statistics_are_averaged_with_the_weights() -> None:
    trainer = make_trainer(ema_half_life=0)
    trainer.run()
    torch.testing.assert_close(trainer.ema.module.state_dict(), trainer.generator.state_dict())
    assert trainer.generator.norm.num_batches_tracked.item() == 10
    assert trainer.discriminator.norm.num_batches_tracked.item() == 30  # real, fake; fake again for the generator


def test_processes_average_running_statistics_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    averaged: list[Any] = []
    monkeypatch.setattr("monai_cxraug.engines.gan.average_buffers", averaged.append)
    trainer = make_trainer()
    trainer.run()
    assert averaged == [trainer.generator, trainer.discriminator] * 10


def test_a_batch_of_another_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="must end at the generator's resolution"):
        make_trainer(schedule=FixedSchedule(32, 40, 4))
    trainer = make_trainer(schedule=FixedSchedule(28, 40, 8))
    with pytest.raises(InputError, match="must hold 8 images; found 4"):
        trainer.run()
