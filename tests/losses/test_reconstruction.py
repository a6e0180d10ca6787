from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from monai_cxraug.errors import ConfigError
from monai_cxraug.losses.reconstruction import FeatureDifference, FeatureDistance, ReconstructionLoss, pixel_distance


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2), nn.ReLU())


def reference(network: nn.Sequential, images: Tensor, wanted: Tensor) -> float:
    """Zhang et al. 2018, equation 1 with unit weights, in float64 and numpy, averaged over the layers 1 and 3."""
    network = network.double()
    with torch.no_grad():
        fine = [network[:2](x.double()).numpy() for x in (images, wanted)]
        coarse = [network(x.double()).numpy() for x in (images, wanted)]
    per_layer = []
    for made, aim in (fine, coarse):
        lengths = [np.sqrt((x**2).sum(axis=1, keepdims=True) + 1e-10) for x in (made, aim)]
        per_layer.append(((made / lengths[0] - aim / lengths[1]) ** 2).sum(axis=1).mean())
    return float(np.mean(per_layer))


def test_feature_distance_is_that_of_the_paper() -> None:
    images, wanted = torch.rand(2, 3, 1, 9, 9).unbind()
    found = FeatureDistance(network(), ["1", "3"])(images, wanted)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(float(found), reference(network(), images, wanted), rtol=1e-5)


def test_equal_images_have_no_distance_and_no_endless_gradient() -> None:
    images = torch.zeros(1, 1, 9, 9, requires_grad=True)  # features of length zero among them
    distance = FeatureDistance(network(), ["1", "3"])(images, torch.zeros(1, 1, 9, 9))
    distance.backward()
    assert float(distance.detach()) == 0
    assert images.grad is not None
    assert images.grad.isfinite().all()


def test_the_gradient_is_that_of_differences() -> None:
    distance = FeatureDistance(network().double(), ["1", "3"])
    images, wanted = torch.rand(2, 1, 1, 7, 7, dtype=torch.float64).unbind()
    assert torch.autograd.gradcheck(lambda x: distance(x, wanted), (images.requires_grad_(),))


def test_the_feature_network_stays_as_it_is() -> None:
    body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    before = {name: value.clone() for name, value in body.state_dict().items()}
    distance = FeatureDistance(body, ["1"])
    assert not body.training
    distance.train()
    images = torch.rand(2, 1, 9, 9, requires_grad=True)
    distance(images, torch.rand(2, 1, 9, 9)).backward()
    assert not body.training
    assert all(torch.equal(before[name], value) for name, value in body.state_dict().items())
    assert all(parameter.grad is None for parameter in body.parameters())
    assert not body[1]._forward_hooks


def test_pixel_distance_is_the_mean_absolute_difference() -> None:
    images, wanted = torch.rand(2, 3, 1, 5, 5).unbind()
    np.testing.assert_allclose(
        float(pixel_distance(images, wanted)), np.abs(images.double() - wanted.double()).mean(), rtol=1e-6
    )
    assert pixel_distance(images.bfloat16(), wanted).dtype == torch.float32


def test_the_sum_is_weighted_and_the_parts_are_not() -> None:
    images, wanted = torch.rand(2, 3, 1, 9, 9).unbind()
    features = FeatureDistance(network(), ["3"])
    total, parts = ReconstructionLoss(0.3, 2.0, features)(images, wanted)
    torch.testing.assert_close(parts["pixel"], pixel_distance(images, wanted))
    torch.testing.assert_close(parts["feature"], features(images, wanted))
    torch.testing.assert_close(total, 0.3 * parts["pixel"] + 2.0 * parts["feature"])


def test_features_without_weight_are_not_computed() -> None:
    def fail(*given: Any) -> None:
        raise AssertionError("computed")

    features = FeatureDistance(network(), ["3"])
    features.network.register_forward_hook(fail)
    assert set(ReconstructionLoss(1.0, 0.0, features)(*torch.rand(2, 1, 1, 9, 9).unbind())[1]) == {"pixel"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pixel": -1.0}, "pixel_weight: must be at least 0 and finite; found -1.0"),
        ({"pixel": float("nan")}, "found nan"),
        ({"feature": float("inf")}, "feature_weight: must be at least 0 and finite"),
        ({"feature": 1.0}, "feature_weight: needs a network to take features from; found 1.0; give feature_network"),
    ],
)
def test_hostile_weights_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ReconstructionLoss(**given)


@pytest.mark.parametrize("layers", [[], ["1", "9"]])
def test_layers_that_are_not_there_are_refused(layers: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"FeatureDistance\(layers\): must be modules of the network"):
        FeatureDistance(network(), layers)


# --- differences of features as they are ---


def rectifying(channels: int = 1) -> nn.Sequential:
    """A network that overwrites its linear features, as VGG's in-place activations do."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3), nn.ReLU(inplace=True))


@pytest.mark.parametrize("relative", [False, True])
def test_features_are_compared_before_their_activation(relative: bool) -> None:
    images, wanted = torch.rand(2, 3, 1, 9, 9).unbind()
    found = FeatureDifference(rectifying(), ["0", "2"], relative)(images, wanted)
    body = rectifying().double()
    with torch.no_grad():
        fine = [body[:1](x.double()).numpy() for x in (images, wanted)]
        coarse = [body[:3](x.double()).numpy() for x in (images, wanted)]
    assert fine[0].min() < 0 < fine[0].max()
    per_layer = [np.abs(made - aim).mean() / (np.abs(aim).mean() if relative else 1) for made, aim in (fine, coarse)]
    np.testing.assert_allclose(float(found), np.mean(per_layer), rtol=1e-5)


def test_a_relative_difference_does_not_know_the_size_of_features() -> None:
    images, wanted = torch.rand(2, 3, 1, 9, 9).unbind()
    small, large = rectifying(), rectifying()
    with torch.no_grad():
        for parameter in large[:1].parameters():
            parameter.mul_(100)
    found = [float(FeatureDifference(body, ["0"])(images, wanted)) for body in (small, large)]
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    plain = [float(FeatureDifference(body, ["0"], relative=False)(images, wanted)) for body in (small, large)]
    assert plain[1] == pytest.approx(100 * plain[0], rel=1e-4)


def test_the_gradient_of_a_difference_is_that_of_differences() -> None:
    difference = FeatureDifference(rectifying().double(), ["0", "2"])
    images, wanted = torch.rand(2, 1, 1, 7, 7, dtype=torch.float64).unbind()
    assert torch.autograd.gradcheck(lambda x: difference(x, wanted), (images.requires_grad_(),))


def test_equal_images_do_not_differ() -> None:
    images = torch.zeros(1, 1, 9, 9, requires_grad=True)
    body = rectifying()
    with torch.no_grad():
        body[:1].get_parameter("0.bias").zero_()  # features of size zero
    value = FeatureDifference(body, ["0"])(images, torch.zeros(1, 1, 9, 9))
    value.backward()
    assert float(value.detach()) == 0
    assert images.grad is not None
    assert images.grad.isfinite().all()


def test_grey_and_colour_meet() -> None:
    grey, other = torch.rand(2, 2, 1, 9, 9).unbind()
    colour = FeatureDifference(rectifying(3), ["2"], channels=3)
    assert float(colour(grey, other)) == float(colour(grey.repeat(1, 3, 1, 1), other.repeat(1, 3, 1, 1)))
    single = FeatureDifference(rectifying(1), ["2"], channels=1)
    red, blue = torch.zeros(2, 2, 3, 9, 9).unbind()
    red[:, 0], blue[:, 2] = grey[:, 0], other[:, 0]
    np.testing.assert_allclose(float(single(red, blue)), float(single(0.299 * grey, 0.114 * other)), rtol=1e-5)
