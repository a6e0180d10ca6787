from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from torch import Tensor, nn

from monai_cxraug.data.samplers import SeededBatches
from monai_cxraug.engines.distortion import DistortionTrainer
from monai_cxraug.errors import ConfigError, InputError, StateError
from monai_cxraug.handlers.resume import Resume
from monai_cxraug.losses.adversarial import HingeLoss, LeastSquaresLoss, NonSaturatingLoss, WassersteinLoss
from monai_cxraug.networks.corruption import Corruption
from monai_cxraug.networks.encoder_decoder import EncoderDecoder
from monai_cxraug.networks.patch_discriminator import PatchDiscriminator

IMAGES = torch.rand(32, 1, 16, 16, generator=torch.Generator().manual_seed(5))


class Batches:
    """Batches of the images above, as a sampler draws them."""

    def __init__(self, size: int = 4) -> None:
        self.sampler = SeededBatches(len(IMAGES), size)

    def __iter__(self) -> Any:
        return iter([{"image": IMAGES[[draw.index for draw in draws]]} for draws in self._some()])

    def _some(self) -> list[Any]:
        stream = iter(self.sampler)
        return [next(stream) for _ in range(200)]


def darken(images: Tensor, seeds: Sequence[int]) -> Tensor:
    """A distortion that is easy to learn."""
    return images * 0.3


def trainer(gan: bool = False, batches: Any = None, handlers: Sequence[Any] = (), **given: Any) -> DistortionTrainer:
    torch.manual_seed(0)
    network = EncoderDecoder(layers=2, width=4, skips=1, dropout_layers=1)
    settings: dict[str, Any] = {"steps": 8, "batch_size": 4, "epoch_length": 2, "corrupt": Corruption("white_noise")}
    if gan:
        judge = PatchDiscriminator(layers=1, width=4)
        settings |= {"discriminator": judge, "d_optimizer": torch.optim.Adam(judge.parameters(), 1e-2)}
        settings |= {"adversarial_weight": 0.1, "distort": darken, "corrupt": None}
    settings["optimizer"] = torch.optim.Adam(network.parameters(), 1e-2)
    return DistortionTrainer(
        "cpu", batches or Batches(), network, **{**settings, **given}, train_handlers=list(handlers)
    )


def weights(engine: DistortionTrainer) -> dict[str, Tensor]:
    modules = [engine.network, *([engine.discriminator] if engine.discriminator is not None else [])]
    return {f"{n}.{name}": value for n, module in enumerate(modules) for name, value in module.state_dict().items()}


@pytest.mark.parametrize("gan", [False, True])
def test_a_seed_repeats_and_another_one_does_not(gan: bool) -> None:
    given = {"corrupt": Corruption("white_noise")}
    engines = [trainer(gan, seed=seed, **given) for seed in (3, 3, 4)]
    for engine in engines:
        torch.manual_seed(1)  # of dropout
        engine.run()
    first, same, other = (weights(engine) for engine in engines)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert engines[0].state.images_seen == engines[0].schedule.total_images == 32


def test_an_autoencoder_learns_to_restore() -> None:
    engine = trainer(steps=120, epoch_length=120, corrupt=Corruption("null"))
    losses: list[float] = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda one: losses.append(float(one.state.output["loss"])))
    engine.run()
    assert np.mean(losses[-10:]) < 0.75 * np.mean(losses[:5])


def test_a_gan_learns_what_is_wanted() -> None:
    engine = trainer(gan=True, steps=120, epoch_length=120)
    engine.run()
    engine.network.eval()
    with torch.no_grad():
        made = engine.make(IMAGES)
    assert float((made - darken(IMAGES, [])).abs().mean()) < float((IMAGES - darken(IMAGES, [])).abs().mean()) / 2
    assert set(engine.state.output) == {"critic_loss", "real_score", "fake_score", "loss", "pixel", "adversarial"}


def test_one_step_of_the_gan_is_that_of_equations_1_to_4(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients of both networks in float64, written down from the paper."""
    descent = {"lr": 0.1}
    engine = trainer(gan=True)
    network, judge = engine.network.double(), engine.discriminator
    assert judge is not None
    judge.double()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    engine.optimizer = torch.optim.SGD(network.parameters(), **descent)
    engine.d_optimizer = torch.optim.SGD(judge.parameters(), **descent)
    expected_network, expected_judge = copy.deepcopy(network), copy.deepcopy(judge)
    x = IMAGES[:4].double()
    monkeypatch.setattr(engine, "_images", lambda batch: batch["image"])  # which makes them float32
    engine.state.iteration = 1
    values = engine._iteration(engine, {"image": x})

    y, made = darken(x, []), expected_network.train()(x)
    d_loss = -(
        torch.sigmoid(expected_judge(x, y)).log().mean()
        + (1 - torch.sigmoid(expected_judge(x, made.detach()))).log().mean()
    )
    gradients = torch.autograd.grad(d_loss, list(expected_judge.parameters()))
    with torch.no_grad():
        for weight, gradient in zip(expected_judge.parameters(), gradients, strict=True):
            weight -= 0.1 * gradient
    g_loss = (made - y).abs().mean() - 0.1 * torch.sigmoid(expected_judge(x, made)).log().mean()
    gradients = torch.autograd.grad(g_loss, list(expected_network.parameters()))
    with torch.no_grad():
        for weight, gradient in zip(expected_network.parameters(), gradients, strict=True):
            weight -= 0.1 * gradient
    torch.testing.assert_close(values["critic_loss"], d_loss.detach(), rtol=1e-10, atol=0)
    torch.testing.assert_close(values["loss"], g_loss.detach(), rtol=1e-10, atol=0)
    for ours, theirs in ((network, expected_network), (judge, expected_judge)):
        for weight, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(weight, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", [HingeLoss(), LeastSquaresLoss(r1=1.0), NonSaturatingLoss(), WassersteinLoss()])
def test_every_adversarial_loss_trains(loss: Any) -> None:
    engine = trainer(gan=True, adversarial=loss)
    engine.run()
    assert all(bool(torch.as_tensor(value).isfinite()) for value in engine.state.output.values())


@pytest.mark.parametrize("gan", [False, True])
def test_a_resumed_training_ends_as_an_uninterrupted_one(tmp_path: Path, gan: bool) -> None:
    def run(folder: Path, stop_after: int | None = None) -> DistortionTrainer:
        batches = Batches()
        resume = Resume(folder / "checkpoint.pt", {}, sampler=batches.sampler)
        engine = trainer(gan, batches, [resume], corrupt=Corruption("white_noise"))
        torch.manual_seed(7)
        if stop_after is not None:

            def stop(one: Any) -> None:
                if one.state.iteration == stop_after:
                    raise KeyboardInterrupt

            engine.add_event_handler(Events.ITERATION_COMPLETED, stop)
            with pytest.raises(KeyboardInterrupt):
                engine.run()
        else:
            engine.run()
        return engine

    whole = weights(run(tmp_path / "whole"))
    run(tmp_path / "broken", stop_after=5)
    resumed = run(tmp_path / "broken")
    assert resumed.state.images_seen == 32
    ended = weights(resumed)
    assert all(torch.equal(whole[name], ended[name]) for name in whole)


def test_the_discriminator_s_gradients_are_its_own() -> None:
    engine = trainer(gan=True)
    judge = engine.discriminator
    assert judge is not None
    assert engine.d_optimizer is not None
    held: list[Tensor] = []
    engine.d_optimizer.register_step_pre_hook(
        lambda *call: held.extend(parameter.grad.clone() for parameter in judge.parameters())
    )
    engine.state.iteration = 1
    engine._iteration(engine, {"image": IMAGES[:4]})
    assert all(torch.equal(a, b.grad) for a, b in zip(held, judge.parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in judge.parameters())


def test_bytes_are_images_too() -> None:
    engine = trainer(corrupt=None)
    engine.network.train()
    engine.state.iteration = 1
    values = engine._iteration(engine, {"image": (IMAGES[:4] * 255).round().to(torch.uint8)})
    assert 0 < float(values["pixel"]) < 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 7}, r"steps: must be a multiple of epoch_length \(2\); found 7"),
        ({"max_epochs": 3}, r"max_epochs: must be steps / epoch_length \(4\); found 3"),
        ({"adversarial_weight": 0.1}, "go together"),
        ({"adversarial_weight": -0.1}, "adversarial_weight: must be at least 0 and finite; found -0.1"),
        ({"discriminator": nn.Identity()}, "go together; found Identity, NoneType, 0.0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trainer(**given)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"label": IMAGES[:4]}, "batch key 'image': a batch must hold images"),
        ({"image": IMAGES[:3]}, "must hold 4 images; found 3"),
        ({"image": IMAGES[:4, :, :15]}, r"must be \[N, 1, H, W\]"),
    ],
)
def test_batches_that_do_not_fit_are_refused(batch: dict[str, Tensor], message: str) -> None:
    engine = trainer()
    with pytest.raises(InputError, match=message):
        engine._iteration(engine, batch)


def test_losses_that_are_not_finite_end_the_training() -> None:
    engine = trainer()
    with torch.no_grad():
        next(engine.network.parameters()).fill_(float("nan"))
    with pytest.raises(StateError, match=r"losses must be finite; found loss nan, pixel nan"):
        engine._iteration(engine, {"image": IMAGES[:4]})
