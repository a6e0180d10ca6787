from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor, nn

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.networks.encoder_decoder import NORMALISATIONS, UPSAMPLINGS, EncoderDecoder
from monai_cxraug.networks.weights import load_model, save_model


@st.composite
def architectures(draw: st.DrawFn) -> dict[str, Any]:
    layers = draw(st.integers(1, 4))
    return {
        "channels": draw(st.sampled_from([1, 3])),
        "layers": layers,
        "width": draw(st.integers(1, 4)),
        "widest": draw(st.integers(1, 9)),
        "first_stride": draw(st.sampled_from([1, 2, 4])),
        "skips": draw(st.integers(0, layers - 1)),
        "top_skip": draw(st.booleans()),
        "dropout_layers": draw(st.integers(0, layers - 1)),
        "upsampling": draw(st.sampled_from(UPSAMPLINGS)),
        "normalisation": draw(st.sampled_from(NORMALISATIONS)),
    }


@hypothesis_settings(max_examples=60)
@given(architectures(), st.integers(2, 3), st.integers(2, 3), st.integers(1, 3))
def test_any_architecture_keeps_shape_and_range(settings: dict[str, Any], rows: int, columns: int, n: int) -> None:
    network = EncoderDecoder(**settings).eval()
    images = torch.rand(n, settings["channels"], rows * network.stride, columns * network.stride)
    with torch.no_grad():
        made = network(images)
    assert made.shape == images.shape
    assert made.dtype == torch.float32
    assert ((made >= 0) & (made <= 1)).all()


@hypothesis_settings(max_examples=60)
@given(architectures())
def test_the_network_has_what_its_settings_say(settings: dict[str, Any]) -> None:
    network = EncoderDecoder(**settings)
    layers = settings["layers"]
    assert len(network.encoder) == len(network.decoder) == layers
    assert network.stride == settings["first_stride"] * 2 ** (layers - 1)
    expected = set(range(layers - settings["skips"], layers)) | ({1} if settings["top_skip"] and layers > 1 else set())
    assert set(network.connections) == expected
    assert count(network, nn.Dropout) == settings["dropout_layers"]
    norm = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}
    found = {kind: count(network, module) for kind, module in norm.items()}
    assert found == {kind: 2 * (layers - 1) if kind == settings["normalisation"] else 0 for kind in norm}
    enlarging = sum(stride > 1 for stride in [settings["first_stride"], *[2] * (layers - 1)])
    assert count(network, nn.ConvTranspose2d) == (enlarging if settings["upsampling"] == "transposed" else 0)
    assert count(network, nn.PixelShuffle) == (enlarging if settings["upsampling"] == "pixel_shuffle" else 0)


def count(network: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in network.modules())


@pytest.mark.parametrize("top_skip", [False, True])
@pytest.mark.parametrize("skips", range(4))
def test_the_decoder_hears_the_encoder_through_its_skips_alone(skips: int, top_skip: bool) -> None:
    """Silence the deepest level: what still depends on the image came through a skip connection."""
    network = EncoderDecoder(layers=4, width=4, skips=skips, top_skip=top_skip, normalisation="none").eval()
    nn.init.zeros_(network.encoder[-1][0].weight)
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        made = network(images)
    assert torch.allclose(made[0], made[1]) == (skips == 0 and not top_skip)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_each_skip_is_of_its_own_level(level: int) -> None:
    network = EncoderDecoder(layers=4, width=4, skips=3, normalisation="none").eval()
    seen: list[Tensor] = []
    network.decoder[4 - level].register_forward_hook(lambda module, given, made: seen.append(given[0]))
    made: list[Tensor] = []
    network.encoder[level - 1].register_forward_hook(lambda module, given, out: made.append(out))
    network(torch.rand(1, 1, 32, 32))
    torch.testing.assert_close(seen[0][:, -made[0].shape[1] :], made[0])


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_images_of_a_batch_do_not_meet_in_evaluation(normalisation: str) -> None:
    network = EncoderDecoder(layers=3, width=4, skips=1, normalisation=normalisation).eval()
    images = torch.rand(5, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(network(images)[2:3], network(images[2:3]), atol=1e-6, rtol=0)


def test_dropout_is_of_training_alone() -> None:
    network = EncoderDecoder(layers=3, width=8, dropout_layers=2)
    images = torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        assert not torch.equal(network.train()(images), network(images))
        assert torch.equal(network.eval()(images), network(images))


@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
def test_features_keep_their_size_through_deep_networks(upsampling: str) -> None:
    torch.manual_seed(0)
    network = EncoderDecoder(layers=5, width=32, upsampling=upsampling, normalisation="none").eval()
    sizes: list[float] = []
    network.decoder[-1].register_forward_hook(lambda module, given, made: sizes.append(float(made.detach().std())))
    network(torch.rand(2, 1, 64, 64))
    assert 0.1 < sizes[0] < 10


def test_a_model_file_gives_the_same_network(tmp_path: Path) -> None:
    network = EncoderDecoder(layers=2, width=3, skips=1, upsampling="transposed").eval()
    save_model(tmp_path / "model.pt", "distortion", network, {})
    images = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path, "distortion").network(images), network(images))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 0}, r"EncoderDecoder\(layers\): must be a whole number from 1 to 8; found 0"),
        ({"layers": True}, "from 1 to 8; found True"),
        ({"layers": 2.0}, "found 2.0"),
        ({"layers": 3, "skips": 3}, r"\(skips\): must be a whole number from 0 to 2; found 3"),
        ({"skips": -1}, "found -1"),
        ({"layers": 3, "dropout_layers": 3}, r"\(dropout_layers\): must be a whole number from 0 to 2"),
        ({"width": 0}, r"\(width\): must be a whole number from 1"),
        ({"channels": 2}, r"\(channels\): must be 1 or 3; found 2"),
        ({"first_stride": 3}, r"\(first_stride\): must be 1 or 2 or 4; found 3"),
        ({"upsampling": "neerest"}, "did you mean 'nearest'"),
        ({"normalisation": "layer"}, "must be batch or instance or none"),
        ({"dropout": 1.0}, r"\(dropout\): must be in \[0, 1\)"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        EncoderDecoder(**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(1, 1, 17, 16), (1, 1, 8, 16), (1, 3, 16, 16), (1, 16, 16), (1, 1, 0, 16)])
def test_images_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"must be \[N, 1, H, W\], H and W multiples of 8 and at least 16"):
        EncoderDecoder(layers=3)(torch.rand(shape))
