"""DCGAN: layers against a plain rewriting in float64, sides, and what evaluation depends on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from monai_cxraug.errors import ConfigError
from monai_cxraug.networks.dcgan import DcganDiscriminator, DcganGenerator, doublings_of

SMALL = {"width": 3, "most": 5}
EXACT = {"rtol": 1e-10, "atol": 1e-10}


def shake(network: nn.Module) -> nn.Module:
    """Give every number of a network, running statistics too, a value of its own; float64."""
    draws = torch.Generator().manual_seed(0)
    network.double()
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            drawn = torch.randn(tensor.shape, generator=draws, dtype=torch.float64) / 3
            tensor.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn)
    return network


def plain_norm(w: dict[str, Tensor], name: str, x: Tensor, training: bool) -> Tensor:
    dims = [d for d in range(x.ndim) if d != 1]
    mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    if training:
        mean, var = x.mean(dims), x.var(dims, correction=0)
    shape = [-1 if d == 1 else 1 for d in range(x.ndim)]
    scaled = (x - mean.reshape(shape)) / (var.reshape(shape) + 1e-5).sqrt()
    return scaled * w[f"{name}.weight"].reshape(shape) + w[f"{name}.bias"].reshape(shape)


def plain_up(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A transposed convolution written as one of an image with zeros between its pixels."""
    n, channels, height, width = x.shape
    spaced = x.new_zeros(n, channels, 2 * height - 1, 2 * width - 1)
    spaced[:, :, ::2, ::2] = x
    return F.conv2d(spaced, weight.flip(2, 3).transpose(0, 1), bias, padding=2)


def plain_images(w: dict[str, Tensor], z: Tensor, noise: int, side: int, doublings: int, training: bool) -> Tensor:
    z = torch.cat([z[:, :noise] / (z[:, :noise].pow(2).mean(1, keepdim=True) + 1e-8).sqrt(), z[:, noise:]], 1)
    x = (z @ w["dense.weight"].T).reshape(len(z), -1, side, side)
    x = plain_norm(w, "norm", x, training).clamp(min=0)
    for block in range(doublings - 1):
        x = plain_norm(w, f"blocks.{3 * block + 1}", plain_up(x, w[f"blocks.{3 * block}.weight"], None), training)
        x = x.clamp(min=0)
    x = plain_up(x, w["to_image.weight"], w["to_image.bias"])
    return (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()) / 2 + 0.5


def plain_features(w: dict[str, Tensor], images: Tensor, doublings: int, training: bool) -> Tensor:
    x = F.conv2d(2 * images - 1, w["encoder.layers.0.weight"], w["encoder.layers.0.bias"], stride=2, padding=1)
    x = torch.where(x > 0, x, 0.2 * x)
    for block in range(doublings - 1):
        x = F.conv2d(x, w[f"encoder.layers.{3 * block + 2}.weight"], stride=2, padding=1)
        x = plain_norm(w, f"encoder.layers.{3 * block + 3}", x, training)
        x = torch.where(x > 0, x, 0.2 * x)
    return x.flatten(1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("resolution", "side", "doublings"), [(8, 4, 1), (28, 7, 2), (40, 5, 3)])
def test_generator_equals_a_plain_one(resolution: int, side: int, doublings: int, training: bool) -> None:
    network = shake(DcganGenerator(resolution, 6, 1, **SMALL)).train(training)
    z = torch.randn(4, 6, dtype=torch.float64)
    w = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.testing.assert_close(network(z), plain_images(w, z, 6, side, doublings, training), **EXACT)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("resolution", "doublings", "channels"), [(8, 1, 1), (28, 2, 3), (40, 3, 1)])
def test_discriminator_equals_a_plain_one(resolution: int, doublings: int, channels: int, training: bool) -> None:
    network = shake(DcganDiscriminator(resolution, channels, **SMALL)).train(training)
    images = torch.rand(4, channels, resolution, resolution, dtype=torch.float64)
    w = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    expected = plain_features(w, images, doublings, training) @ w["score.weight"].T + w["score.bias"]
    scores, told = network.judge(images)
    assert told is None
    torch.testing.assert_close(scores, expected[:, 0], **EXACT)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resolution", [8, 10, 12, 14, 16, 28, 32, 56, 64, 112])
def test_sides_of_four_to_seven_doubled(resolution: int, channels: int) -> None:
    generator = DcganGenerator(resolution, 4, channels, 2, 2)
    images = generator(torch.randn(2, 4))
    assert images.shape == (2, channels, resolution, resolution)
    assert DcganDiscriminator(resolution, channels, 2, 2)(images).shape == (2,)
    assert (generator.resolution, generator.channels, generator.latent_size) == (resolution, channels, 4)
    again = DcganGenerator(**generator.settings)
    again.load_state_dict(generator.state_dict())
    assert again.settings == generator.settings


@pytest.mark.parametrize(
    ("resolution", "side"), [(28, (7, 2)), (64, (4, 4)), (112, (7, 4)), (224, (7, 5)), (96, (6, 4))]
)
def test_sides_are_taken_apart(resolution: int, side: tuple[int, int]) -> None:
    assert doublings_of(resolution, "here") == side


@pytest.mark.parametrize("resolution", [0, -8, 4, 7, 9, 30, 100, 113, 4096, 28.0, True, "28"])
def test_other_sides_are_refused(resolution: Any) -> None:
    with pytest.raises(ConfigError, match="resolution must be 4, 5, 6 or 7 doubled"):
        DcganGenerator(resolution, 4)
    with pytest.raises(ConfigError, match="resolution must be 4, 5, 6 or 7 doubled"):
        DcganDiscriminator(resolution)


@pytest.mark.parametrize("name", ["latent_size", "channels", "width", "most"])
@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_bad_sizes_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        DcganGenerator(**{"resolution": 8, name: value})
    if name != "latent_size":
        with pytest.raises(ConfigError, match=name):
            DcganDiscriminator(**{"resolution": 8, name: value})


def test_widths_double_towards_small_sides_up_to_the_most() -> None:
    generator = DcganGenerator(64, 4, width=8, most=32)
    assert generator.dense.out_features == 32 * 16
    assert [layer.out_channels for layer in generator.blocks if isinstance(layer, nn.ConvTranspose2d)] == [32, 16, 8]
    critic = DcganDiscriminator(64, width=8, most=32)
    assert [layer.out_channels for layer in critic.encoder.layers if isinstance(layer, nn.Conv2d)] == [8, 16, 32, 32]


def test_weights_begin_as_published() -> None:
    torch.manual_seed(0)
    for network in (DcganGenerator(64, 32), DcganDiscriminator(64)):
        for name, weight in network.named_parameters():
            if weight.ndim > 1:
                assert weight.std().item() == pytest.approx(0.02, rel=0.05)
                assert abs(weight.mean().item()) < 0.002
            else:
                assert set(weight.tolist()) == {float("bias" not in name)}, name


def test_no_normalisation_at_the_borders() -> None:
    critic, generator = DcganDiscriminator(28, **SMALL), DcganGenerator(28, 4, **SMALL)
    assert isinstance(critic.encoder.layers[1], nn.LeakyReLU)
    assert critic.encoder.layers[1].negative_slope == 0.2
    assert isinstance(generator.to_image, nn.ConvTranspose2d)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in generator.modules()) == 2
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in critic.modules()) == 1


def test_in_evaluation_an_image_depends_on_its_latent_alone() -> None:
    network = shake(DcganGenerator(28, 6, **SMALL)).eval()
    z = torch.randn(5, 6, dtype=torch.float64)
    images = network(z)
    for k in range(5):
        torch.testing.assert_close(network(z[k : k + 1])[0], images[k], **EXACT)
    assert network.batch_statistics
    assert DcganDiscriminator.batch_statistics


def test_images_lie_in_the_package_s_range_and_latents_on_the_hypersphere() -> None:
    network = shake(DcganGenerator(28, 6, **SMALL))
    z = torch.randn(50, 6, dtype=torch.float64)
    images = network(z)
    assert images.min() >= 0
    assert images.max() <= 1
    torch.testing.assert_close(network(7 * z), images, atol=1e-6, rtol=0)


def test_labels_are_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"DcganGenerator\(labels\): not used; found \[2, 1\]"):
        DcganGenerator(8, 4, **SMALL)(torch.randn(2, 4), labels=torch.ones(2, 1))
    with pytest.raises(ConfigError, match=r"DcganDiscriminator\(labels\)"):
        DcganDiscriminator(8, **SMALL)(torch.rand(2, 1, 8, 8), labels=torch.ones(2, 1))
