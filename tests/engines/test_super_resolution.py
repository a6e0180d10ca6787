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
from torch.nn import functional as F  # noqa: N812  (the customary name)

from monai_cxraug.data.samplers import SeededBatches
from monai_cxraug.engines.super_resolution import SuperResolutionTrainer, blend, shrink
from monai_cxraug.errors import ConfigError, InputError, StateError
from monai_cxraug.handlers.resume import Resume
from monai_cxraug.losses.reconstruction import FeatureDifference, ReconstructionLoss
from monai_cxraug.networks.esrgan import EnlargedDiscriminator, EnlargingNetwork


def smooth_images(n: int, side: int) -> Tensor:
    """Waves, which interpolation alone does not restore."""
    draws = torch.Generator().manual_seed(5)
    grid = torch.linspace(0, 6.3, side)
    phases = 6.3 * torch.rand(n, 2, generator=draws)
    rows = torch.sin(2 * grid[None] + phases[:, :1])[:, :, None]
    columns = torch.sin(3 * grid[None] + phases[:, 1:])[:, None]
    return (0.5 + 0.25 * rows + 0.25 * columns)[:, None].clamp(0, 1)


IMAGES = smooth_images(32, 24)


class Batches:
    """Batches of the images above, as a sampler draws them."""

    def __init__(self, size: int = 4) -> None:
        self.sampler = SeededBatches(len(IMAGES), size)

    def __iter__(self) -> Any:
        return iter([{"image": IMAGES[[draw.index for draw in draws]]} for draws in self._some()])

    def _some(self) -> list[Any]:
        stream = iter(self.sampler)
        return [next(stream) for _ in range(200)]


def trainer(gan_steps: int = 0, batches: Any = None, handlers: Sequence[Any] = (), **given: Any) -> Any:
    torch.manual_seed(0)
    network = EnlargingNetwork(features=4, blocks=1, growth=2, residual=True)
    settings: dict[str, Any] = {"pixel_steps": 4, "batch_size": 4, "epoch_length": 2, "crop": 16, "gan_rate": 1e-3}
    if gan_steps:
        judge = EnlargedDiscriminator(levels=2, width=4, normalisation="spectral")
        settings |= {"discriminator": judge, "d_optimizer": torch.optim.Adam(judge.parameters(), 1e-3)}
        settings |= {"adversarial_weight": 0.1}
    settings["optimizer"] = torch.optim.Adam(network.parameters(), 1e-3)
    return SuperResolutionTrainer(
        "cpu", batches or Batches(), network, gan_steps=gan_steps, **{**settings, **given}, train_handlers=[*handlers]
    )


def weights(engine: Any) -> dict[str, Tensor]:
    modules = [engine.network, engine.ema.module, engine.before, *filter(None, [engine.discriminator])]
    return {f"{n}.{name}": value for n, module in enumerate(modules) for name, value in module.state_dict().items()}


# --- what the network is given ---


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_small_images_are_means_over_squares(scale: int) -> None:
    x = torch.rand(2, 3, 8, 12, dtype=torch.float64)
    expected = x.numpy().reshape(2, 3, 8 // scale, scale, 12 // scale, scale).mean(axis=(3, 5))
    np.testing.assert_allclose(shrink(x, scale).numpy(), expected, rtol=1e-12)


def test_a_cut_of_the_small_image_is_the_small_image_of_the_cut() -> None:
    engine = trainer(flips=False)
    views = engine.views(IMAGES[:6], range(6))
    assert views.given.shape == (6, 1, 8, 8)
    assert views.wanted.shape == (6, 1, 16, 16)
    for k in range(6):
        places = shrink(IMAGES[k : k + 1], 2).unfold(2, 8, 1).unfold(3, 8, 1)  # [1, 1, 5, 5, 8, 8]
        nearest = (places[0, 0] - views.given[k, 0]).abs().amax(dim=(2, 3)).min()
        assert float(nearest) < 1e-6


def test_cuts_differ_and_a_seed_repeats_them() -> None:
    engine = trainer()
    first, again, other = (
        engine.views(IMAGES[:4], seeds).wanted for seeds in ([1, 2, 3, 4], [1, 2, 3, 4], [5, 6, 7, 8])
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_all_eight_symmetric_views_are_seen() -> None:
    engine = trainer(crop=None)
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    seen = {tuple(engine.views(image, [seed]).wanted.flatten().tolist()) for seed in range(200)}
    assert len(seen) == 8


# --- training ---


def test_the_first_stage_learns_to_restore() -> None:
    engine = trainer(pixel_steps=150, epoch_length=150)
    given = shrink(IMAGES, 2)
    smooth = F.interpolate(given, scale_factor=2, mode="bicubic", align_corners=False)
    before = float((smooth - IMAGES).abs().mean())
    engine.run()
    with torch.no_grad():
        made = engine.result()(given)
    assert float((made - IMAGES).abs().mean()) < 0.7 * before
    assert set(engine.state.output) == {"loss", "pixel"}


def test_the_second_stage_begins_with_the_average_of_the_first() -> None:
    engine = trainer(gan_steps=4)
    seen: dict[int, Any] = {}

    def note(one: Any) -> None:
        seen[one.state.iteration] = (
            copy.deepcopy(one.ema.state_dict()),
            len(one.optimizer.state),
            set(one.state.output),
        )

    engine.add_event_handler(Events.ITERATION_COMPLETED, note)
    moments: list[int] = []
    begun: list[dict[str, Tensor]] = []
    engine.optimizer.register_step_pre_hook(lambda *call: moments.append(len(engine.optimizer.state)))
    engine.optimizer.register_step_pre_hook(lambda *call: begun.append(copy.deepcopy(engine.network.state_dict())))
    engine.run()
    for name, value in seen[4][0].items():
        assert torch.equal(engine.before.state_dict()[name], value)
        assert torch.equal(begun[4][name], value)
    assert moments[4] == 0
    assert all(moments[step] > 0 for step in (1, 2, 3, 5, 6, 7))
    assert seen[4][2] == {"loss", "pixel"}
    assert seen[5][2] == {"critic_loss", "real_score", "fake_score", "loss", "pixel", "adversarial"}
    assert any(not torch.equal(engine.before.state_dict()[name], value) for name, value in seen[8][0].items())


def test_one_step_against_the_discriminator_is_that_of_equations_1_to_3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients of both networks in float64, written down from the paper."""
    loss = ReconstructionLoss(pixel=0.25)
    engine = trainer(
        gan_steps=4, pixel_steps=0, loss=loss, gan_rate=0.1, ema_half_life=0,
        discriminator=(judge := EnlargedDiscriminator(levels=1, width=4, normalisation="none").double()),
        d_optimizer=torch.optim.SGD(judge.parameters(), lr=0.1),
    )  # fmt: skip
    network = engine.network.double()
    for module in (engine.ema.module, engine.before):
        module.double()
    engine.ema.module.load_state_dict(network.state_dict())
    engine.optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    expected_network, expected_judge = copy.deepcopy(network), copy.deepcopy(judge)
    x = IMAGES[:4].double()
    monkeypatch.setattr(engine, "_images", lambda batch: batch["image"])  # which makes them float32
    monkeypatch.setattr(engine, "views", lambda images, seeds: type(engine).views(engine, x, [0, 1, 2, 3]))
    views = engine.views(x, [])
    values = engine._iteration(engine, {"image": x})

    made = expected_network.train()(views.given)
    real, fake = (expected_judge(one).flatten() for one in (views.wanted, made.detach()))
    d_real, d_fake = torch.sigmoid(real - fake.mean()), torch.sigmoid(fake - real.mean())
    d_loss = -(d_real.log().mean() + (1 - d_fake).log().mean())
    gradients = torch.autograd.grad(d_loss, list(expected_judge.parameters()))
    with torch.no_grad():
        for weight, gradient in zip(expected_judge.parameters(), gradients, strict=True):
            weight.sub_(0.1 * gradient)
    real, fake = expected_judge(views.wanted).detach().flatten(), expected_judge(made).flatten()
    d_real, d_fake = torch.sigmoid(real - fake.mean()), torch.sigmoid(fake - real.mean())
    adversarial = -((1 - d_real).log().mean() + d_fake.log().mean())
    g_loss = 0.25 * (made - views.wanted).abs().mean() + 0.1 * adversarial
    gradients = torch.autograd.grad(g_loss, list(expected_network.parameters()))
    with torch.no_grad():
        for weight, gradient in zip(expected_network.parameters(), gradients, strict=True):
            weight.sub_(0.1 * gradient)
    torch.testing.assert_close(values["critic_loss"], d_loss.detach(), rtol=1e-10, atol=0)
    torch.testing.assert_close(values["loss"], g_loss.detach(), rtol=1e-10, atol=0)
    for ours, theirs in ((network, expected_network), (judge, expected_judge)):
        for weight, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(weight, expected, rtol=1e-9, atol=1e-12)


def test_rates_halve_at_their_shares_of_each_stage() -> None:
    engine = trainer(gan_steps=4, pixel_steps=8, epoch_length=4, halvings=[0.75, 0.5])
    rates: list[tuple[float, float]] = []
    engine.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda one: rates.append((one.optimizer.param_groups[0]["lr"], one.d_optimizer.param_groups[0]["lr"])),
    )
    engine.run()
    first = [1e-3] * 4 + [5e-4] * 2 + [2.5e-4] * 2
    second = [1e-3] * 2 + [5e-4] + [2.5e-4]
    assert [rate for rate, _ in rates] == pytest.approx(first + second)
    assert [rate for _, rate in rates[8:]] == pytest.approx(second)


@pytest.mark.parametrize("gan_steps", [0, 4])
def test_a_seed_repeats_and_another_one_does_not(gan_steps: int) -> None:
    engines = [trainer(gan_steps, seed=seed) for seed in (3, 3, 4)]
    for engine in engines:
        engine.run()
    first, same, other = (weights(engine) for engine in engines)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert engines[0].state.images_seen == engines[0].schedule.total_images == 4 * (4 + gan_steps)


@pytest.mark.parametrize("stop_after", [3, 4, 5, 7])
def test_a_resumed_training_ends_as_an_uninterrupted_one(tmp_path: Path, stop_after: int) -> None:
    """Stopped within a stage, and just before the second begins."""

    def run(folder: Path, stop: int | None = None) -> Any:
        batches = Batches()
        resume = Resume(folder / "checkpoint.pt", {}, sampler=batches.sampler)
        engine = trainer(4, batches, [resume], halvings=[0.5])
        if stop is not None:

            def interrupt(one: Any) -> None:
                if one.state.iteration == stop:
                    raise KeyboardInterrupt

            engine.add_event_handler(Events.ITERATION_COMPLETED, interrupt)
            with pytest.raises(KeyboardInterrupt):
                engine.run()
        else:
            engine.run()
        return engine

    whole = weights(run(tmp_path / "whole"))
    run(tmp_path / "broken", stop_after)
    resumed = run(tmp_path / "broken")
    assert resumed.state.images_seen == 32
    ended = weights(resumed)
    assert all(torch.equal(whole[name], ended[name]) for name in whole)


def test_a_second_stage_alone_goes_on_from_the_weights_it_is_given() -> None:
    engine = trainer(gan_steps=2, pixel_steps=0)
    given = copy.deepcopy(engine.network.state_dict())
    engine.run()
    assert all(torch.equal(engine.before.state_dict()[name], value) for name, value in given.items())


@pytest.mark.parametrize(("gan_steps", "feature", "said"), [(0, 0.0, False), (2, 0.0, True), (2, 1.0, False)])
def test_a_perceptual_term_that_is_off_is_said(
    gan_steps: int, feature: float, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    features = FeatureDifference(nn.Conv2d(1, 2, 3), [""]) if feature else None
    engine = trainer(gan_steps, pixel_steps=2, loss=ReconstructionLoss(0.01, feature, features))
    engine.run()
    assert ("the second stage has no perceptual term" in capsys.readouterr().err) == said
    assert ("feature" in engine.state.output) == bool(feature)


# --- network interpolation ---


def test_the_result_lies_between_both_stages() -> None:
    engine = trainer(gan_steps=4, interpolation=0.8)
    engine.run()
    assert all(
        torch.equal(engine.result().state_dict()[name], x) for name, x in engine.result(0.8).state_dict().items()
    )
    first, last = engine.before.state_dict(), engine.ema.state_dict()
    for share in (0.0, 0.8, 1.0):
        found = engine.result(share).state_dict()
        for name in first:
            torch.testing.assert_close(found[name], (1 - share) * first[name] + share * last[name])
    assert all(torch.equal(engine.result(0.0).state_dict()[name], first[name]) for name in first)
    assert all(torch.equal(engine.ema.state_dict()[name], last[name]) for name in last)
    assert not engine.result(0.5).training


def test_without_a_second_stage_the_result_is_the_average() -> None:
    engine = trainer()
    engine.run()
    assert engine.result(0.3) is engine.ema.module


@pytest.mark.parametrize("share", [-0.1, 1.1, True, "1", float("nan")])
def test_a_share_out_of_range_is_refused(share: Any) -> None:
    state = {"w": torch.zeros(2)}
    with pytest.raises(ConfigError, match=r"interpolation: must be in \[0, 1\]"):
        blend(state, state, share)


def test_different_networks_cannot_be_blended() -> None:
    with pytest.raises(ConfigError, match="two networks of one shape"):
        blend({"w": torch.zeros(2)}, {"w": torch.zeros(3)}, 0.5)


# --- refusals ---


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pixel_steps": 7}, r"steps: must be a multiple of epoch_length \(2\); found 7"),
        ({"pixel_steps": -1}, "pixel_steps: must be a whole number of at least 0; found -1"),
        ({"pixel_steps": 0}, "steps: must be a whole number of at least 1"),
        ({"gan_steps": 2, "discriminator": None, "d_optimizer": None}, "go together; found 2 steps, NoneType"),
        ({"gan_steps": 2, "adversarial_weight": 0.0}, "go together"),
        ({"interpolation": 1.5}, r"interpolation: must be in \[0, 1\]; found 1.5"),
        ({"gan_rate": 0.0}, "gan_rate: must be above 0; found 0.0"),
        ({"halvings": [1.0]}, r"halvings: must be shares of a stage, in \(0, 1\); found \[1.0\]"),
        ({"crop": 15}, r"crop: must be a multiple of the scale \(2\), at least 2; found 15"),
        ({"gan_steps": 2, "crop": 2}, r"crop: must be a multiple of the scale \(2\), at least 4; found 2"),
    ],
)
def test_settings_that_do_not_fit_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trainer(**given)


@pytest.mark.parametrize(
    ("given", "batch", "message"),
    [
        ({}, {"label": IMAGES[:4]}, "batch key 'image': a batch must hold images"),
        ({}, {"image": IMAGES[:3]}, "must hold 4 images; found 3"),
        ({}, {"image": IMAGES[:4, :, :14]}, r"must be \[N, C, H, W\], sides of at least 16"),
        ({"crop": None}, {"image": IMAGES[:4, :, :15]}, "sides of at least 1, multiples of 2"),
        ({}, {"image": IMAGES[:4].expand(-1, 3, -1, -1)}, r"must be \[N, 1, H, W\]"),
    ],
)
def test_batches_that_do_not_fit_are_refused(given: dict[str, Any], batch: dict[str, Tensor], message: str) -> None:
    engine = trainer(**given)
    with pytest.raises(InputError, match=message):
        engine._iteration(engine, batch)


def test_losses_that_are_not_finite_end_the_training() -> None:
    engine = trainer()
    with torch.no_grad():
        next(engine.network.parameters()).fill_(float("nan"))
    with pytest.raises(StateError, match=r"losses must be finite; found loss nan, pixel nan"):
        engine._iteration(engine, {"image": IMAGES[:4]})


def test_mixed_precision_trains_both_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16, as on processors and GPUs that have it; what is kept stays in float32."""
    monkeypatch.setattr("monai_cxraug.engines.precision.pays", lambda device: True)
    body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True))
    seen: list[torch.dtype] = []
    body[0].register_forward_hook(lambda *call: seen.append(call[2].dtype))
    loss = ReconstructionLoss(0.01, 1.0, FeatureDifference(body, ["0"]))
    engine = trainer(gan_steps=2, pixel_steps=2, loss=loss, amp=True)
    engine.run()
    assert set(seen) == {torch.bfloat16}
    assert all(value.dtype == torch.float32 for value in engine.state.output.values())
    assert all(value.dtype == torch.float32 for value in engine.network.state_dict().values())
    plain = trainer(gan_steps=2, pixel_steps=2, loss=loss)
    plain.run()
    for name, value in plain.network.state_dict().items():
        torch.testing.assert_close(engine.network.state_dict()[name], value, atol=0.02, rtol=0.1)


@pytest.mark.parametrize("channels", [1, 3])
def test_bytes_and_colours_are_images_too(channels: int) -> None:
    network = EnlargingNetwork(channels, features=4, blocks=1, growth=2)
    engine = SuperResolutionTrainer(
        "cpu", [], network, torch.optim.Adam(network.parameters()), 2, batch_size=4, epoch_length=2, crop=8
    )
    batch = (IMAGES[:4].expand(-1, channels, -1, -1) * 255).round().to(torch.uint8)
    values = engine._iteration(engine, {"image": batch})
    assert 0 < float(values["pixel"]) < 1


def test_the_discriminator_s_gradients_are_its_own() -> None:
    engine = trainer(gan_steps=4, pixel_steps=0)
    judge: nn.Module = engine.discriminator
    held: list[Tensor] = []
    engine.d_optimizer.register_step_pre_hook(
        lambda *call: held.extend(torch.as_tensor(parameter.grad).clone() for parameter in judge.parameters())
    )
    engine._iteration(engine, {"image": IMAGES[:4]})
    assert all(torch.equal(a, torch.as_tensor(b.grad)) for a, b in zip(held, judge.parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in judge.parameters())
