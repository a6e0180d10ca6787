"""Classifiers: one logit a finding, one border, and MONAI's network behind it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from monai_cxraug.errors import ConfigError
from monai_cxraug.networks.classifiers import ARCHITECTURES, Classifier


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """An architecture that returns each picture's extremes and mean."""

    class Extremes(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.stack([images.amin((1, 2, 3)), images.amax((1, 2, 3)), images.mean((1, 2, 3))], dim=1)

    monkeypatch.setitem(ARCHITECTURES, "extremes", lambda channels, outputs, dropout: Extremes())


@pytest.mark.parametrize(("outputs", "channels"), [(14, 1), (3, 3)])
def test_one_logit_a_finding(outputs: int, channels: int) -> None:
    network = Classifier(outputs, channels=channels).eval()
    logits = network(torch.rand(2, channels, 32, 32))
    assert logits.shape == (2, outputs)
    assert logits.dtype == torch.float32
    assert (network.settings["outputs"], network.settings["channels"]) == (outputs, channels)
    rebuilt = Classifier(**network.settings)
    rebuilt.load_state_dict(network.state_dict())


def test_the_border_maps_to_minus_one_and_one(tiny: None) -> None:
    images = torch.rand(5, 1, 8, 8)
    images[:, 0, 0, 0], images[:, 0, 7, 7] = 0, 1
    scaled = images.double() * 2 - 1
    seen = Classifier(3, "extremes")(images)
    assert torch.equal(seen[:, :2], torch.tensor([[-1.0, 1.0]]).expand(5, 2))
    assert torch.allclose(seen[:, 2].double(), scaled.mean((1, 2, 3)), atol=1e-6)


def test_logits_are_float32_under_autocast() -> None:
    network = Classifier(2).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        assert network(torch.rand(1, 1, 32, 32)).dtype == torch.float32


def test_memory_format_changes_no_result() -> None:
    network = Classifier(2).eval()
    plain = Classifier(2)
    plain.load_state_dict(network.state_dict())
    plain = plain.to(memory_format=torch.contiguous_format).eval()
    images = torch.rand(2, 1, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(network(images), plain.body(images * 2 - 1), atol=1e-4)
    assert network.body.features.conv0.weight.is_contiguous(memory_format=torch.channels_last)


def test_an_unknown_architecture_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"architecture: .*'densnet121'; did you mean 'densenet121'\?"):
        Classifier(2, "densnet121")


def test_no_findings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"outputs: .*at least one finding; found 0"):
        Classifier(0)


@pytest.mark.parametrize("architecture", ["densenet121", "efficientnet_b1", "resnet50", "resnet18_half", "small_cnn"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_architecture_learns_and_is_rebuilt(architecture: str, channels: int) -> None:
    torch.manual_seed(0)
    network = Classifier(3, architecture, channels, dropout=0.5, prior=[0.5, 0.1, 0.01])
    images = torch.rand(4, channels, 64, 64)
    with torch.no_grad():
        network.head.weight.zero_()
    shares = torch.sigmoid(network.eval()(images))
    torch.testing.assert_close(shares, torch.tensor([[0.5, 0.1, 0.01]]).expand(4, 3))
    torch.nn.init.normal_(network.head.weight)
    network.train()
    torch.nn.functional.binary_cross_entropy_with_logits(network(images), torch.ones(4, 3)).backward()
    assert all(parameter.grad is not None and (parameter.grad != 0).any() for parameter in network.parameters())
    rebuilt = Classifier(**network.settings)
    rebuilt.load_state_dict(network.state_dict())
    assert torch.equal(rebuilt.eval()(images), network.eval()(images))


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (1, 28), (3, 28), (3, 33), (3, 112)])
def test_the_small_network_is_as_it_is_described_at_any_size(channels: int, size: int) -> None:
    network = Classifier(2, "small_cnn", channels)
    convolutions = sum(9 * a * b + b + 2 * b for a, b in ((channels, 32), (32, 64), (64, 128)))
    dense = 128 * 16 * 128 + 128 + 128 * 2 + 2
    assert sum(parameter.numel() for parameter in network.parameters()) == convolutions + dense
    assert network.eval()(torch.rand(2, channels, size, size)).shape == (2, 2)


@pytest.mark.parametrize("architecture", ["densenet121", "efficientnet_b1", "resnet50", "small_cnn"])
def test_normalisations_forget_what_they_began_with(architecture: str) -> None:
    """A network that was trained for few steps must not answer by statistics that nobody ever measured."""
    network = Classifier(2, architecture)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.running_var.fill_(1e6)
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        for _ in range(50):
            network(images)
    assert norms
    assert all(norm.running_var.max() < 1e4 for norm in norms)


def test_resnet18_has_the_published_size_and_its_half_a_quarter_of_that() -> None:
    def size(architecture: str) -> int:
        return sum(parameter.numel() for parameter in Classifier(1000, architecture, 3).parameters())

    assert size("resnet18") == 11_689_512  # of torchvision's documentation
    weights = sum(a * b * k * k for a, b, k in [(3, 32, 7), *_HALF])
    norms = 2 * sum(b for _, b, _ in [(3, 32, 7), *_HALF])
    assert size("resnet18_half") == weights + norms + 256 * 1000 + 1000


def _stage(before: int, after: int) -> list[tuple[int, int, int]]:
    """Convolutions (in, out, side) of two basic blocks; the first one's shortcut where the width changes."""
    shortcut = [(before, after, 1)] if before != after else []
    return [(before, after, 3), *[(after, after, 3)] * 3, *shortcut]


#: He et al. 2016, table 1, 18 layers, with half the features.
_HALF = [*_stage(32, 32), *_stage(32, 64), *_stage(64, 128), *_stage(128, 256)]


@pytest.mark.slow
def test_vgg_learns() -> None:
    network = Classifier(2, "vgg16", dropout=0.5)
    network(torch.rand(2, 1, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert sum(parameter.numel() for parameter in Classifier(1000, "vgg16", 3).parameters()) == 138_357_544


def test_dropout_is_active_in_training_alone() -> None:
    network = Classifier(2, "small_cnn", dropout=0.5)
    images = torch.rand(8, 1, 32, 32)
    assert torch.equal(network.eval()(images), network(images))
    network.freeze()
    network.train()  # the normalisations stand still, dropout does not
    assert not torch.equal(network(images), network(images))


@pytest.mark.parametrize(
    "settings",
    [
        *({"dropout": 1.0}, {"dropout": -0.1}, {"std": 0.0}, {"prior": [0.5]}, {"prior": [0.0, 0.5]}),
        *({"prior": [0.5, 1.0]}, {"channels": 3, "std": [1, 1, 0]}, {"mean": [0.5, 0.5]}, {"channels": 3, "mean": []}),
    ],
)
def test_bad_settings_are_one_line(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        Classifier(2, "small_cnn", **settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
