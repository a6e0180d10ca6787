"""A private discriminator: gradients image by image, one patient's influence bounded, nothing else seen, resumed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.device_batches import DeviceBatches
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.pack import write_pack
from monai_cxraug.data.poisson import PoissonPatients
from monai_cxraug.engines.gan import ProgressiveGanTrainer
from monai_cxraug.engines.gan_batch import GanBatch
from monai_cxraug.engines.privacy import Privacy
from monai_cxraug.engines.private_updates import PrivateUpdates, is_mean
from monai_cxraug.engines.schedule import Phase, ProgressiveSchedule
from monai_cxraug.errors import ConfigError
from monai_cxraug.handlers.resume import Resume
from monai_cxraug.losses.adversarial import HingeLoss, LeastSquaresLoss, NonSaturatingLoss, WassersteinLoss
from monai_cxraug.losses.relativistic import RelativisticAverageLoss
from monai_cxraug.networks.augmentation import AdaptiveAugmentation, DiffAugment
from monai_cxraug.networks.pggan import ProgressiveDiscriminator, ProgressiveGenerator

pytest.importorskip("opacus")

LOSS = NonSaturatingLoss(r1=0.0)
PATIENTS = 12


def make_trainer(
    loader: Any = (), privacy: Privacy | None = None, group: int = 1, findings: int = 0, **given: Any
) -> Any:
    torch.manual_seed(0)
    small = {"resolution": 8, "fmap_base": 32, "fmap_max": 8, "findings": findings}
    generator = ProgressiveGenerator(latent_size=8, **small)  # type: ignore[arg-type]
    discriminator = ProgressiveDiscriminator(group=group, **small)  # type: ignore[arg-type]
    g_optimizer, d_optimizer = (torch.optim.Adam(one.parameters(), 1e-3) for one in (generator, discriminator))
    return ProgressiveGanTrainer(
        "cpu",
        loader,
        generator,
        discriminator,
        g_optimizer,
        d_optimizer,
        ProgressiveSchedule(8, 16, 16, 48, batch_size=4),
        privacy=Privacy(PATIENTS, secret=5) if privacy is None else privacy,
        epoch_length=4,
        **{"loss": LOSS, **given},
    )


def make_batch(n: int, side: int = 8) -> GanBatch:
    draws = torch.Generator().manual_seed(1)
    images = torch.rand(n, 1, side, side, generator=draws)
    return GanBatch(images, torch.randn(4, 8, generator=draws), torch.rand(4, generator=draws))


# --- one update ---


@pytest.mark.parametrize("loss", [LOSS, HingeLoss(), LeastSquaresLoss(), WassersteinLoss(penalty=0.0)])
def test_gradients_are_those_of_each_image_in_a_batch(loss: Any) -> None:
    """In double precision: of one pass over all images, and all together that of the mean."""
    updates = make_trainer(loss=loss).updates
    network = updates.discriminator.double()
    real, phase = make_batch(5).real.double(), Phase(8, 0.4, 4)
    weights = [one for name, one in network.named_parameters() if "from_image.2" not in name]
    scores = network.judge(real, alpha=0.4)[0]
    zero = torch.zeros(1, dtype=torch.float64)
    together = torch.autograd.grad(loss.critic(scores, zero), weights, retain_graph=True, allow_unused=True)
    weights = [one for one, slope in zip(weights, together, strict=True) if slope is not None]
    found = list(updates.gradients(real, phase, weights))
    assert len(found) == 5
    for k, one in enumerate(found):
        expected = torch.autograd.grad(loss.critic(scores[k : k + 1], zero), weights, retain_graph=True)
        for left, right in zip(one, expected, strict=True):
            assert_allclose(left, right, rtol=1e-9, atol=1e-12)
    means = [torch.stack(parts).mean(dim=0) for parts in zip(*found, strict=True)]
    for left, right in zip(means, [slope for slope in together if slope is not None], strict=True):
        assert_allclose(left, right, rtol=1e-9, atol=1e-12)


CLIP = 1e-3


def released(real: torch.Tensor, clip: float = CLIP) -> torch.Tensor:
    """What the discriminator's weights are moved by, noise aside, as one vector."""
    updates = make_trainer(privacy=Privacy(PATIENTS, noise=1e-12, clip=clip, secret=5)).updates
    batch = GanBatch(real, make_batch(1).latents, make_batch(1).mix)
    updates.critic(batch, Phase(8, 1.0, 4), False, keep=True)
    return torch.cat([one.grad.flatten() for one in updates.discriminator.parameters() if one.grad is not None])


def test_one_patient_moves_the_gradient_by_the_clip_at_most() -> None:
    real = make_batch(4).real
    alone, both, nobody = released(real[:3]), released(real), released(real[:0])
    assert float((alone - both).norm()) == pytest.approx(CLIP / 4, rel=1e-2)
    assert float((alone - nobody).norm()) <= 3 * CLIP / 4 * 1.01


def test_weights_of_stages_to_come_get_no_noise() -> None:
    trainer = make_trainer()
    before = {name: one.clone() for name, one in trainer.discriminator.named_parameters()}
    trainer.updates.critic(make_batch(3, 4), Phase(4, 1.0, 4), False, keep=True)
    moved = {name for name, one in trainer.discriminator.named_parameters() if not torch.equal(one, before[name])}
    assert moved
    assert not any(name.startswith(("blocks.1", "from_image.1")) for name in moved)


def test_nothing_is_told_of_real_images() -> None:
    batch, phase = make_batch(3), Phase(8, 1.0, 4)
    updates, other = make_trainer().updates, make_trainer().updates
    told = updates.critic(batch, phase, False, keep=True)
    assert set(told) == {"critic_fake_loss", "fake_score"}
    assert told == other.critic(replace(batch, real=torch.ones(2, 1, 8, 8)), phase, False, keep=True)
    assert set(updates.generate(make_batch(0), phase)) == {"generator_loss"}


def test_losses_that_are_no_mean() -> None:
    assert all(is_mean(loss) for loss in (LOSS, HingeLoss(), LeastSquaresLoss(), WassersteinLoss(penalty=0.0)))
    assert not is_mean(RelativisticAverageLoss())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"group": 4}, "group: a private discriminator judges each image by itself; found groups of 4"),
        ({"findings": 2}, "condition: a private discriminator is told no labels"),
        ({"loss": NonSaturatingLoss()}, "loss: a private discriminator has no penalty"),
        ({"loss": WassersteinLoss()}, "loss: a private discriminator has no penalty"),
        ({"augment": AdaptiveAugmentation()}, "augment: a private discriminator allows no augmentation that learns"),
        ({"side_task": object()}, "side_task: a private discriminator learns nothing beside"),
        ({"part": 2}, "part: a private discriminator takes one image at a time"),
        ({"critic_steps": 2}, "critic_steps: a private discriminator sees a batch once; found 2"),
    ],
)
def test_what_would_see_real_images_otherwise_is_refused(given: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        make_trainer(**given)
    assert "\n" not in str(caught.value)


def test_an_augmentation_without_memory_is_welcome() -> None:
    updates = make_trainer(augment=DiffAugment()).updates
    assert isinstance(updates, PrivateUpdates)
    updates.critic(make_batch(3), Phase(8, 1.0, 4), False, keep=True)
    updates.critic(make_batch(0), Phase(8, 1.0, 4), False, keep=True)


# --- a training ---


@pytest.fixture
def rows(tmp_path: Path) -> PackRows:
    """Two images of each patient."""
    table = [
        {"image": f"{k}.png", "patient_id": f"P{k // 2}", "split": "train", "source": "real"}
        for k in range(2 * PATIENTS)
    ]
    images = np.random.default_rng(0).integers(0, 256, (2 * PATIENTS, 8, 8)).astype(np.uint8)
    write_pack(tmp_path / "real", images, [row["image"] for row in table])
    labels = np.ones((2 * PATIENTS, 1), np.float32)
    return PackRows(Manifest(make_columns(table), ("Mass",), labels).write(tmp_path / "real"))


def train(rows: PackRows, folder: Path, secret: int | None, epochs: int | None = None) -> ProgressiveGanTrainer:
    privacy = Privacy(PATIENTS, secret=secret)
    sampler = PoissonPatients(rows, 4, privacy)
    resume = Resume(folder / "checkpoint.pt", {}, sampler=sampler)
    loader = DeviceBatches(rows, sampler, "cpu")
    trainer: ProgressiveGanTrainer = make_trainer(loader, privacy, train_handlers=[resume], max_epochs=epochs)
    trainer.run()
    return trainer


def weights(trainer: ProgressiveGanTrainer) -> Iterator[torch.Tensor]:
    for network in (trainer.generator, trainer.discriminator, trainer.ema.module):
        yield from network.state_dict().values()


def test_it_resumes_to_the_last_bit(rows: PackRows, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = train(rows, tmp_path / "whole", 5)
    assert whole.privacy is not None
    assert whole.privacy.describe() in capsys.readouterr().err
    train(rows, tmp_path / "parts", 5, epochs=2)
    parts = train(rows, tmp_path / "parts", 5)
    assert all(torch.equal(left, right) for left, right in zip(weights(whole), weights(parts), strict=True))
    assert parts.privacy is not None
    assert whole.privacy.history == parts.privacy.history == [(1.0, 4 / PATIENTS, 12)]
    assert whole.state.output["epsilon"] > 0


def test_the_secret_comes_back_from_the_checkpoint(rows: PackRows, tmp_path: Path) -> None:
    train(rows, tmp_path / "one", None, epochs=2)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    one, two = (train(rows, tmp_path / name, None) for name in ("one", "two"))
    assert all(torch.equal(left, right) for left, right in zip(weights(one), weights(two), strict=True))
    other = train(rows, tmp_path / "other", None)
    assert not all(torch.equal(left, right) for left, right in zip(weights(one), weights(other), strict=True))
    assert one.privacy is not None
    assert one.privacy.record()["holds"]
