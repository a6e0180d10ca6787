from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.networks.classifiers import ARCHITECTURES, STAGES, Classifier
from monai_cxraug.networks.perceptual import PerceptualDistance, _unit


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    one = torch.rand(3, 1, 32, 32, generator=generator)
    return one, (one + 0.1 * torch.randn(3, 1, 32, 32, generator=generator)).clamp(0, 1)


def small(seed: int = 0, **settings: int) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Classifier(2, "small_cnn", **settings)  # type: ignore[arg-type]


def reference(network: Classifier, one: Tensor, two: Tensor, weights: list[np.ndarray]) -> list[float]:
    """Equation 1 in float64, the network run layer after layer and every place on its own."""
    seen = []
    for images in (one, two):
        x, kept = (images - 0.5) / 0.5, {}
        for name, layer in network.body.features.named_children():  # type: ignore[union-attr]
            x = layer(x)
            kept[f"features.{name}"] = x.detach().double().numpy()
        seen.append(kept)
    found = []
    for n in range(len(one)):
        total = 0.0
        for name, weight in zip(STAGES["small_cnn"], weights, strict=True):
            first, second = seen[0][name][n], seen[1][name][n]
            _, rows, columns = first.shape
            for i in range(rows):
                for j in range(columns):
                    a, b = first[:, i, j], second[:, i, j]
                    a, b = (v / np.linalg.norm(v) if v.any() else v for v in (a, b))
                    total += float(weight @ (a - b) ** 2) / (rows * columns)
        found.append(total)
    return found


@pytest.mark.parametrize("weighted", [False, True])
def test_equals_the_equation(weighted: bool, pair: tuple[Tensor, Tensor]) -> None:
    network = small().eval()
    distance = PerceptualDistance(network)
    sizes = [len(layer) for layer in distance.weights]
    weights = np.random.default_rng(1).random(sum(sizes)) if weighted else np.ones(sum(sizes))
    distance.set_weights(torch.tensor(weights, dtype=torch.float32))
    with torch.no_grad():
        found = distance(*pair)
        expected = reference(network, *pair, np.split(weights, np.cumsum(sizes)[:-1]))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_with_weights_of_one_it_is_twice_the_cosine_distance(pair: tuple[Tensor, Tensor]) -> None:
    distance = PerceptualDistance(small())
    with torch.no_grad():
        layers = zip(distance.activations(pair[0]), distance.activations(pair[1]), strict=True)
        cosine = sum(
            (1 - (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-9)).mean((1, 2)) for a, b in layers
        )
        np.testing.assert_allclose(distance(*pair), 2 * cosine, rtol=1e-3)


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "vgg16"])
def test_every_architecture_is_a_ruler(architecture: str, pair: tuple[Tensor, Tensor]) -> None:
    distance = PerceptualDistance(Classifier(2, architecture))
    with torch.no_grad():
        one, back = distance(*pair), distance(pair[1], pair[0])
        assert (one > 0).all()
        np.testing.assert_allclose(one, back, rtol=1e-5)
        np.testing.assert_array_equal(distance(pair[0], pair[0]), 0)
        single = torch.cat([distance(pair[0][k : k + 1], pair[1][k : k + 1]) for k in range(3)])
    np.testing.assert_allclose(one, single, rtol=1e-4)  # batches change nothing


def test_grey_images_are_shown_to_a_network_of_colour(pair: tuple[Tensor, Tensor]) -> None:
    distance = PerceptualDistance(small(channels=3))
    with torch.no_grad():
        colour = distance(pair[0].expand(-1, 3, -1, -1), pair[1].expand(-1, 3, -1, -1))
        np.testing.assert_allclose(distance(*pair), colour)


def test_training_leaves_the_classifier_in_evaluation_and_reaches_its_weights(pair: tuple[Tensor, Tensor]) -> None:
    distance = PerceptualDistance(small()).train()
    assert not any(module.training for module in distance.network.modules())
    distance(pair[0], pair[0]).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in distance.parameters() if p.grad is not None)
    distance.zero_grad()
    distance(*pair).sum().backward()
    assert distance.network.body.features[0].weight.grad.abs().sum() > 0  # type: ignore[index,union-attr]


def test_images_without_any_activation_have_distances(pair: tuple[Tensor, Tensor]) -> None:
    network = small()
    with torch.no_grad():
        for name, parameter in network.body.features.named_parameters():  # type: ignore[union-attr]
            parameter.zero_() if "weight" in name else parameter.fill_(-1)
        np.testing.assert_array_equal(PerceptualDistance(network)(*pair), 0)


def test_places_without_activation_have_slopes() -> None:
    nothing = torch.zeros(1, 3, 2, 2, requires_grad=True)  # where a root has none
    _unit(nothing).sum().backward()
    assert nothing.grad is not None
    assert torch.isfinite(nothing.grad).all()


def test_what_does_not_fit_is_refused(pair: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ConfigError, match=r"features\.3"):
        PerceptualDistance(small(), ["features.33"])
    distance = PerceptualDistance(small())
    with pytest.raises(InputError, match=r"\[N, 1 or 1, H, W\]"):
        distance(pair[0].expand(-1, 3, -1, -1), pair[1])
    with pytest.raises(ConfigError, match="0 or more"):
        distance.set_weights(-torch.ones(224))
    with pytest.raises(ConfigError, match="224 numbers"):
        distance.set_weights(torch.ones(3))
