from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the customary name)

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.networks.esrgan import EnlargedDiscriminator, EnlargingNetwork

SMALL: dict[str, Any] = {"features": 4, "blocks": 1, "growth": 2}


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("unshuffle", [1, 2])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sides", [(8, 8), (7, 10), (1, 3)])
def test_sides_are_multiplied_whatever_they_are(
    scale: int, unshuffle: int, channels: int, sides: tuple[int, int]
) -> None:
    network = EnlargingNetwork(channels, scale, **SMALL, unshuffle=unshuffle).eval()
    made = network(images(2, channels, *sides)).detach()
    assert made.shape == (2, channels, scale * sides[0], scale * sides[1])
    assert made.dtype == torch.float32
    assert float(made.min()) >= 0
    assert float(made.max()) <= 1


def written_out(state: dict[str, Tensor], x: Tensor, blocks: int, doublings: int) -> Tensor:
    """Section 3.1 and figure 4, layer by layer, in the state's precision."""

    def convolve(name: str, x: Tensor) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    first = convolve("first", x)
    trunk = first
    for block in range(blocks):
        inner = trunk
        for dense in range(3):
            name = f"trunk.{block}.dense.{dense}.layers"
            one = F.leaky_relu(convolve(f"{name}.0", inner), 0.2)
            two = F.leaky_relu(convolve(f"{name}.1", torch.cat([inner, one], 1)), 0.2)
            three = F.leaky_relu(convolve(f"{name}.2", torch.cat([inner, one, two], 1)), 0.2)
            four = F.leaky_relu(convolve(f"{name}.3", torch.cat([inner, one, two, three], 1)), 0.2)
            five = convolve(f"{name}.4", torch.cat([inner, one, two, three, four], 1))
            inner = inner + 0.2 * five
        trunk = trunk + 0.2 * inner
    x = first + convolve("body", trunk)
    for k in range(doublings):
        x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        x = F.leaky_relu(convolve(f"doublings.{k}", x), 0.2)
    return convolve("last", F.leaky_relu(convolve("fine", x), 0.2))


@pytest.mark.parametrize(("scale", "doublings"), [(1, 0), (2, 1), (4, 2)])
def test_the_network_is_that_of_the_paper(scale: int, doublings: int) -> None:
    network = EnlargingNetwork(1, scale, features=6, blocks=2, growth=3).double().train()
    for parameter in network.parameters():  # so that no layer drowns in another
        nn.init.normal_(parameter, 0.0, 0.3)
    x = images(2, 1, 5, 6).double()
    expected = written_out(network.state_dict(), x, 2, doublings)
    torch.testing.assert_close(network(x), expected, rtol=1e-10, atol=1e-10)


def test_unshuffled_squares_are_channels() -> None:
    """The trunk works on a quarter of the places, and the doublings make up for it."""
    network = EnlargingNetwork(1, 2, **SMALL, unshuffle=2).double().train()
    assert network.first.weight.shape[1] == 4
    assert len(network.doublings) == 2
    x = images(1, 1, 4, 6).double()
    squares = torch.stack([x[0, 0, i::2, j::2] for i in range(2) for j in range(2)])[None]
    torch.testing.assert_close(network(x), written_out(network.state_dict(), squares, 1, 2), rtol=1e-10, atol=1e-10)


def test_a_filled_up_edge_changes_nothing_that_is_there() -> None:
    """An odd side is filled up by repeating the last row; the rest of the image sees the same as with it."""
    network = EnlargingNetwork(1, 1, **SMALL, unshuffle=2).eval()
    x = images(1, 1, 5, 6)
    longer = torch.cat([x, x[:, :, -1:]], dim=2)
    torch.testing.assert_close(network(x), network(longer)[:, :, :5])


def test_a_residual_network_begins_near_bicubic_interpolation() -> None:
    torch.manual_seed(0)
    x = F.interpolate(images(1, 1, 4, 4), scale_factor=4, mode="bicubic").clamp(0, 1)
    smooth = F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=False)
    network = EnlargingNetwork(**SMALL, residual=True).train()
    plain = EnlargingNetwork(**SMALL, residual=False).train()
    with torch.no_grad():
        far, near = (float((one(x) - smooth).abs().mean()) for one in (plain, network))
        network.last.weight.zero_()
    assert near < 0.1
    assert near < far
    torch.testing.assert_close(network(x), smooth)


def test_training_does_not_cut_off() -> None:
    network = EnlargingNetwork(**SMALL)
    with torch.no_grad():
        network.last.bias.fill_(3.0)  # type: ignore[union-attr]
    assert float(network.train()(images(1, 1, 4, 4)).max()) > 1
    assert float(network.eval()(images(1, 1, 4, 4)).max()) == 1


def test_dense_blocks_begin_small() -> None:
    torch.manual_seed(0)
    network = EnlargingNetwork(features=32, blocks=1, growth=16)
    inner, outer = network.trunk[0].dense[0].layers[0].weight, network.body.weight  # type: ignore[union-attr, index]
    assert 5 < float(outer.std() / inner.std()) < 20


def test_there_is_no_normalisation() -> None:
    names = {type(module).__name__ for module in EnlargingNetwork(**SMALL).modules()}
    assert not any("Norm" in name for name in names)


def test_settings_rebuild_the_network() -> None:
    network = EnlargingNetwork(3, 4, 8, 2, 4, 2, True).eval()
    again = EnlargingNetwork(**network.settings).eval()
    again.load_state_dict(network.state_dict())
    x = images(1, 3, 6, 6)
    assert torch.equal(network(x), again(x))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": 3}, r"EnlargingNetwork\(scale\): must be 1, 2 or 4; found 3"),
        ({"scale": True}, "found True"),
        ({"channels": 2}, r"\(channels\): must be 1 or 3; found 2"),
        ({"unshuffle": 8}, r"\(unshuffle\)"),
        ({"scale": 4, "unshuffle": 4}, r"scale \* unshuffle must be at most 8; found 4 \* 4"),
        ({"features": 0}, r"\(features\): must be a whole number from 1 to 1024; found 0"),
        ({"blocks": 1.5}, "found 1.5"),
        ({"growth": "4"}, "found '4'"),
        ({"residual": 1}, r"\(residual\): must be true or false"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EnlargingNetwork(**settings)


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 8, 8), (1, 1, 0, 8)])
def test_images_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"images: must be \[N, 1, H, W\]"):
        EnlargingNetwork(**SMALL)(torch.rand(shape))


# --- the discriminator ---


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sides", [(16, 16), (17, 30), (4, 4)])
@pytest.mark.parametrize("normalisation", ["spectral", "batch", "none"])
def test_a_score_for_each_patch_of_images_of_any_size(
    channels: int, sides: tuple[int, int], normalisation: str
) -> None:
    judge = EnlargedDiscriminator(channels, 2, 4, normalisation=normalisation)
    assert judge(images(3, channels, *sides)).shape == (3, sides[0] // 4, sides[1] // 4)


@pytest.mark.parametrize("normalisation", ["spectral", "none"])
def test_images_of_a_batch_do_not_meet(normalisation: str) -> None:
    judge = EnlargedDiscriminator(1, 2, 4, normalisation=normalisation).eval()
    x = images(5, 1, 16, 16)
    torch.testing.assert_close(judge(x)[3:4], judge(x[3:4]), atol=1e-6, rtol=0)


def test_each_level_keeps_and_then_halves() -> None:
    judge = EnlargedDiscriminator(1, 3, 4, 8, "none")
    layers = [module for module in judge.modules() if isinstance(module, nn.Conv2d)]
    assert [(layer.kernel_size[0], layer.stride[0], layer.out_channels) for layer in layers] == [
        *((3, 1, 4), (4, 2, 4), (3, 1, 8), (4, 2, 8), (3, 1, 8), (4, 2, 8)),
        *((1, 1, 8), (1, 1, 1)),
    ]


def test_spectral_norms_are_one() -> None:
    judge = EnlargedDiscriminator(1, 2, 8, normalisation="spectral").train()
    x = images(2, 1, 16, 16)
    for _ in range(30):  # each call is a step of the power method
        judge(x)
    for module in judge.modules():
        if isinstance(module, nn.Conv2d):
            largest = torch.linalg.svdvals(module.weight.flatten(1))[0]
            assert float(largest.detach()) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"levels": 9}, r"EnlargedDiscriminator\(levels\): must be a whole number from 1 to 8; found 9"),
        ({"width": 0}, r"\(width\)"),
        ({"channels": 2}, r"\(channels\): must be 1 or 3; found 2"),
        ({"normalisation": "layer"}, "unknown normalisation; found 'layer'"),
    ],
)
def test_a_discriminator_out_of_range_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EnlargedDiscriminator(**settings)


@pytest.mark.parametrize("shape", [(1, 1, 3, 8), (1, 3, 8, 8), (1, 8, 8)])
def test_images_that_cannot_be_judged_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"images to judge: must be \[N, 1, H, W\], sides of at least 4"):
        EnlargedDiscriminator(1, 2, 4)(torch.rand(shape))
