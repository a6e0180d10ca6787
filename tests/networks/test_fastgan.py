"""FastGAN's networks against plain formulas in float64, and what an image may and may not depend on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.networks.fastgan import (
    Encoding,
    FastDiscriminator,
    FastGenerator,
    SkipExcitation,
    cut_halves,
    links_of,
)
from monai_cxraug.networks.weights import load_model, save_model

Array = NDArray[np.float64]
Weights = dict[str, Tensor]
LATENT = 6


def make(resolution: int = 32, channels: int = 1, width: int = 2) -> tuple[FastGenerator, FastDiscriminator]:
    torch.manual_seed(0)
    networks = FastGenerator(resolution, LATENT, channels, width), FastDiscriminator(resolution, channels, width)
    for network in networks:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.1, 0.1)
                nn.init.uniform_(module.running_var, 0.5, 2)
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.uniform_(module.bias, -0.5, 0.5)
    return networks


# --- shapes ---


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resolution", [16, 28, 32, 40, 48, 64, 112])
def test_shapes(resolution: int, channels: int) -> None:
    generator, critic = make(resolution, channels)
    images = generator(torch.randn(2, LATENT))
    assert images.shape == (2, channels, resolution, resolution)
    assert images.min() > 0
    assert images.max() < 1
    scores, encoding = critic.judge(images)
    assert scores.shape == (2,)
    (whole, wanted), (part, wanted_part) = critic.redraw(images, encoding, torch.rand(2))
    assert whole.shape == wanted.shape == images.shape
    assert part.shape == wanted_part.shape == (2, channels, resolution // 2, resolution // 2)


@pytest.mark.parametrize("resolution", [128, 224, 256, 512])
def test_large_ones_are_drawn_at_sixteen_times_the_features(resolution: int) -> None:
    generator, critic = FastGenerator(resolution, LATENT, width=1), FastDiscriminator(resolution, width=1)
    with torch.no_grad():
        images = generator(torch.randn(2, LATENT))
        scores, encoding = critic.judge(images)
        pairs = critic.redraw(images, encoding, torch.zeros(2))
    assert images.shape == (2, 1, resolution, resolution)
    assert scores.shape == (2,)
    side = generator.side
    assert encoding.fine.shape[1:] == (4, 4 * side, 4 * side)
    assert encoding.coarse.shape[1:] == (8, 2 * side, 2 * side)
    for (drawn, wanted), most in zip(pairs, (resolution, resolution // 2), strict=True):
        assert drawn.shape == wanted.shape == (2, 1, min(32 * side, most), min(32 * side, most))


def test_links_are_the_papers_at_256_px_and_shorter_where_there_are_few() -> None:
    sides = [[(4 << low, 4 << high) for low, high in links_of(doublings, 4)] for doublings in (2, 3, 4, 6)]
    assert sides == [[(4, 16)], [(4, 16), (8, 32)], [(4, 32), (8, 64)], [(4, 64), (8, 128), (16, 256)]]
    assert FastGenerator(256, width=1).links == links_of(6, 4)
    # the discriminator's: from 256, 128 and 64 px to 32, 16 and 8 px
    assert [(256 >> high, 256 >> low) for high, low in FastDiscriminator(256, width=1).links] == [
        *((256, 32), (128, 16), (64, 8))
    ]
    assert FastDiscriminator(32, width=1).links == [(0, 2)]


def test_channels_are_the_papers() -> None:
    generator, critic = FastGenerator(1024), FastDiscriminator(256)
    widths = [block.norm.num_features // 2 for block in generator.blocks]
    assert [generator.norm.num_features // 2, *widths] == [1024, 512, 256, 128, 128, 64, 32, 16, 8]
    assert [block.direct.norm.num_features for block in critic.blocks] == [64, 128, 128, 256, 512]


# --- values ---


def singular(weight: Array) -> Array:
    """The weight over its largest singular value."""
    return weight / np.linalg.svd(weight.reshape(len(weight), -1), compute_uv=False)[0]


@torch.no_grad()
def settle(network: nn.Module) -> None:
    """Put the power method where it would end."""
    for module in network.eval().modules():
        if hasattr(module, "direction"):
            module.direction.copy_(torch.linalg.svd(module.weight.flatten(1)).U[:, 0])


@pytest.mark.parametrize("side", [4, 7])
def test_skip_excitation_is_the_formula(side: int) -> None:
    torch.manual_seed(0)
    early, late = torch.randn(2, 3, 2 * side, 2 * side).double(), torch.randn(2, 5, 3, 3).double()
    layer = SkipExcitation(side, 3, 5).double()
    settle(layer)
    first, second = (singular(weight.detach().numpy()) for weight in (layer.mix.weight, layer.weigh.weight))
    pooled = early.numpy().reshape(2, 3, side, 2, side, 2).mean(axis=(3, 5))  # [N, C, s, s]
    mixed = np.einsum("ncij,dcij->nd", pooled, first)
    mixed = np.where(mixed > 0, mixed, 0.2 * mixed)
    weights = 1 / (1 + np.exp(-mixed @ second[:, :, 0, 0].T))
    np.testing.assert_allclose(layer(early, late).detach().numpy(), late.numpy() * weights[:, :, None, None])


def state(network: nn.Module) -> Weights:
    return {name: tensor.detach() for name, tensor in network.state_dict().items()}


def conv(w: Weights, name: str, x: Tensor, **options: int) -> Tensor:
    weight = torch.from_numpy(singular(w[f"{name}.weight"].numpy()))
    return F.conv2d(x, weight, w.get(f"{name}.bias"), **options)


def by_batch(w: Weights, name: str, x: Tensor) -> Tensor:
    """Batch normalisation by running statistics."""
    mean, variance, weight, bias = (
        w[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (variance + 1e-5).sqrt() * weight + bias


def glu(x: Tensor) -> Tensor:
    half = x.shape[1] // 2
    return x[:, :half] * torch.sigmoid(x[:, half:])


def up(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def gate(w: Weights, name: str, early: Tensor, late: Tensor) -> Tensor:
    side = w[f"{name}.mix.weight"].shape[-1]
    factor = early.shape[-1] // side
    mixed = conv(w, f"{name}.mix", early.unflatten(3, (side, factor)).unflatten(2, (side, factor)).mean(dim=(3, 5)))
    return late * torch.sigmoid(conv(w, f"{name}.weigh", F.leaky_relu(mixed, 0.2)))


def test_the_generator_is_the_formula() -> None:
    generator = make(32)[0].double()
    z = torch.randn(5, LATENT, dtype=torch.float64)
    settle(generator)
    w = state(generator)
    x = z / z.square().mean(dim=1, keepdim=True).sqrt()
    dense = torch.from_numpy(singular(w["dense.weight"].numpy()))
    x4 = glu(by_batch(w, "norm", (x @ dense.T).reshape(5, -1, 4, 4)))
    x8 = glu(by_batch(w, "blocks.0.norm", conv(w, "blocks.0.conv", up(x4), padding=1)))
    x16 = gate(w, "gates.0", x4, glu(by_batch(w, "blocks.1.norm", conv(w, "blocks.1.conv", up(x8), padding=1))))
    x32 = gate(w, "gates.1", x8, glu(by_batch(w, "blocks.2.norm", conv(w, "blocks.2.conv", up(x16), padding=1))))
    expected = (torch.tanh(conv(w, "to_image", x32, padding=1)) + 1) / 2
    torch.testing.assert_close(generator(z), expected, rtol=1e-9, atol=1e-10)


def layer(w: Weights, name: str, x: Tensor, **options: int) -> Tensor:
    return F.leaky_relu(by_batch(w, f"{name}.norm", conv(w, f"{name}.conv", x, **options)), 0.2)


def down(w: Weights, name: str, x: Tensor) -> Tensor:
    main = layer(w, f"{name}.main.1", layer(w, f"{name}.main.0", x, stride=2, padding=1), padding=1)
    half = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean(dim=(3, 5))
    return (main + layer(w, f"{name}.direct", half)) / 2


def draw(w: Weights, name: str, x: Tensor, doublings: int) -> Tensor:
    for k in range(doublings):
        x = glu(by_batch(w, f"{name}.blocks.{k}.norm", conv(w, f"{name}.blocks.{k}.conv", up(x), padding=1)))
    return (torch.tanh(conv(w, f"{name}.to_image", x, padding=1)) + 1) / 2


def test_the_discriminator_and_its_decoders_are_the_formula() -> None:
    critic = make(32)[1].double()
    images = torch.rand(3, 1, 32, 32, dtype=torch.float64)
    settle(critic)
    w = state(critic)
    x32 = F.leaky_relu(conv(w, "entry.0", 2 * images - 1, padding=1), 0.2)
    x16 = down(w, "blocks.0", x32)
    x8 = gate(w, "gates.0", x32, down(w, "blocks.1", x16))
    expected = conv(w, "score", layer(w, "mix", x8)).mean(dim=(1, 2, 3))
    scores, encoding = critic.judge(images)
    torch.testing.assert_close(scores, expected, rtol=1e-9, atol=1e-10)
    chance = torch.tensor([0.0, 0.3, 0.999])  # of 9 x 9 places: the first, number 24, the last
    corners = [(0, 0), (2, 6), (8, 8)]
    (whole, wanted), (part, wanted_part) = critic.redraw(images, encoding, chance)
    assert torch.equal(wanted, images)
    torch.testing.assert_close(whole, draw(w, "whole", x8, 2), rtol=1e-9, atol=1e-10)
    cut = torch.stack([x16[k, :, i : i + 8, j : j + 8] for k, (i, j) in enumerate(corners)])
    torch.testing.assert_close(part, draw(w, "detail", cut, 1), rtol=1e-9, atol=1e-10)
    shown = [images[k, :, 2 * i : 2 * i + 16, 2 * j : 2 * j + 16] for k, (i, j) in enumerate(corners)]
    assert torch.equal(wanted_part, torch.stack(shown))


def test_what_is_wanted_is_averaged_over_areas() -> None:
    critic = make(256, width=1)[1]
    images = torch.rand(1, 1, 256, 256)
    (_, whole), (_, part) = critic.redraw(images, critic.judge(images)[1], torch.tensor([0.4999]))
    torch.testing.assert_close(whole, images.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean(dim=(3, 5)))
    row, column = divmod(int(0.4999 * 81), 9)
    assert torch.equal(part, images[:, :, 16 * row :, 16 * column :][:, :, :128, :128])


def test_halves_are_cut_where_the_corners_say() -> None:
    images = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
    cut = cut_halves(images, torch.tensor([[0, 2], [1, 0]]))
    assert torch.equal(cut, torch.stack([images[0, :, 0:2, 2:4], images[1, :, 1:3, 0:2]]))


def test_every_place_is_equally_likely_and_none_lies_outside() -> None:
    critic = make(16, width=1)[1]
    chances = torch.arange(900) / 900 + 1 / 1800
    ramp = torch.arange(256.0).reshape(1, 1, 16, 16).repeat(900, 1, 1, 1)
    encoding = Encoding(torch.zeros(900, 8, 8, 8), torch.zeros(900, 16, 4, 4))
    corners = critic.redraw(ramp, encoding, chances)[1][1][:, 0, 0, 0]
    found, counts = corners.unique(return_counts=True)
    assert found.tolist() == [float(2 * i * 16 + 2 * j) for i in range(5) for j in range(5)]
    assert (counts == 36).all()
    last = torch.full((900,), 1 - 2**-24)  # the largest that torch.rand gives
    assert (critic.redraw(ramp, encoding, last)[1][1][:, 0, 0, 0] == 8 * 16 + 8).all()


# --- what depends on what ---


def test_an_image_is_a_function_of_its_latent_in_evaluation() -> None:
    generator = make()[0].double().eval()
    z = torch.randn(6, LATENT, dtype=torch.float64)
    torch.testing.assert_close(generator(z)[2:4], generator(z[2:4]))
    torch.testing.assert_close(generator(z), generator(5 * z), rtol=1e-6, atol=1e-8)
    assert torch.equal(generator(z), generator(z))
    assert not torch.allclose(generator.train()(z)[2:4], generator(z[2:4])), "training normalises by the batch"
    assert generator.batch_statistics


def test_a_judgement_and_a_drawing_depend_on_their_own_image_in_evaluation() -> None:
    critic = make()[1].double().eval()
    images = torch.rand(6, 1, 32, 32, dtype=torch.float64)
    scores, encoding = critic.judge(images)
    some, few = critic.judge(images[2:4])
    torch.testing.assert_close(scores[2:4], some)
    torch.testing.assert_close(encoding.fine[2:4], few.fine)
    drawn = critic.redraw(images, encoding, torch.linspace(0, 0.9, 6))
    again = critic.redraw(images[2:4], few, torch.linspace(0, 0.9, 6)[2:4])
    for pair, other in zip(drawn, again, strict=True):
        for one, two in zip(pair, other, strict=True):
            torch.testing.assert_close(one[2:4], two)
    assert not torch.allclose(critic.train()(images)[2:4], some), "training normalises by the batch"
    assert critic.batch_statistics


def test_the_part_is_drawn_from_its_own_features_alone() -> None:
    critic = make()[1].eval()
    fine = torch.randn(1, 8, 16, 16, requires_grad=True)
    encoding = Encoding(fine, torch.randn(1, 16, 8, 8))
    part, _ = critic.redraw(torch.rand(1, 1, 32, 32), encoding, torch.tensor([0.3]))[1]  # row 2, column 6
    part.sum().backward()
    touched = fine.grad[0].abs().sum(dim=0) > 0
    assert touched[2:10, 6:14].all()
    assert touched.sum() == 64


def test_borders_map_between_zero_one_and_minus_one_one() -> None:
    generator, critic = make()
    for parameter in generator.to_image.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(generator(torch.randn(2, LATENT)), torch.full((2, 1, 32, 32), 0.5))
    grey = torch.full((2, 1, 32, 32), 0.5)  # zero inside, so that the first layer's weights cannot matter
    critic.eval()
    before = critic(grey)
    nn.init.ones_(critic.entry[0].weight)
    assert torch.equal(critic(grey), before)


def test_everything_learns() -> None:
    generator, critic = make(64)
    images = generator(torch.randn(4, LATENT))
    scores, encoding = critic.judge(images)
    scores.sum().backward(retain_graph=True)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.parameters())
    silent = {name for name, p in critic.named_parameters() if p.grad is None}
    assert silent == {name for name, _ in critic.named_parameters() if name.startswith(("whole", "detail"))}
    for network in (generator, critic):
        network.zero_grad()
    sum((drawn - wanted).abs().sum() for drawn, wanted in critic.redraw(images, encoding, torch.rand(4))).backward()
    silent = {name for name, p in critic.named_parameters() if p.grad is None or not p.grad.abs().sum()}
    assert silent == {name for name, _ in critic.named_parameters() if name.startswith(("mix", "score"))}


def test_half_precision_stays_near() -> None:
    generator, critic = (network.eval() for network in make())
    z = torch.randn(3, LATENT)
    with torch.no_grad():
        exact = generator(z)
        scores = critic(exact)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(generator(z).float(), exact, rtol=0, atol=0.05)
            torch.testing.assert_close(critic(exact).float(), scores, rtol=0, atol=0.1)


# --- files and errors ---


def test_settings_rebuild_both_networks() -> None:
    for network in make(28, 3):
        twin = type(network)(**network.settings)
        twin.load_state_dict(network.state_dict())
        assert twin.settings == network.settings


def test_a_model_file_gives_the_same_images(tmp_path: Path) -> None:
    generator = make(28)[0].eval()
    save_model(tmp_path / "model.pt", "fastgan", generator, {"finding": "Edema"})
    z = torch.randn(2, LATENT)
    assert torch.equal(load_model(tmp_path / "model.pt", "fastgan").network(z), generator(z))


@pytest.mark.parametrize("resolution", [8, 12, 14, 0, 33, 36, 2048, 32.0, True])
@pytest.mark.parametrize("network", [FastGenerator, FastDiscriminator])
def test_other_sides_are_refused(network: type[nn.Module], resolution: Any) -> None:
    with pytest.raises(ConfigError, match="resolution must be"):
        network(resolution)


@pytest.mark.parametrize("name", ["width", "channels", "latent_size"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_bad_sizes_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        FastGenerator(32, **{name: value})
    if name != "latent_size":
        with pytest.raises(ConfigError, match=name):
            FastDiscriminator(32, **{name: value})


def test_labels_and_other_images_are_refused() -> None:
    generator, critic = make()
    with pytest.raises(ConfigError, match="not used"):
        generator(torch.randn(2, LATENT), labels=torch.zeros(2, 3))
    with pytest.raises(ConfigError, match="not used"):
        critic(torch.rand(2, 1, 32, 32), labels=torch.zeros(2, 3))
    for shape in ((2, 3, 32, 32), (2, 1, 16, 16), (1, 32, 32)):
        with pytest.raises(InputError, match=r"must be \[N, 1, 32, 32\]"):
            critic(torch.rand(shape))
