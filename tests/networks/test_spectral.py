"""Spectral normalisation against singular values in float64, and what moves the power method on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from monai_cxraug.networks.spectral import SpectralConv2d, SpectralLinear, SpectralUpConv2d

LAYERS = {
    "dense": (lambda: SpectralLinear(7, 5), (3, 7)),
    "convolution": (lambda: SpectralConv2d(3, 4, 3, padding=1), (2, 3, 6, 6)),
    "halving": (lambda: SpectralConv2d(3, 4, 4, stride=2, padding=1), (2, 3, 6, 6)),
    "doubling": (lambda: SpectralUpConv2d(3, 4), (2, 3, 5, 5)),
}
layers = pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS.keys())


def settle(layer: Any, x: Tensor) -> Any:
    """Rounds until the power method stands."""
    for _ in range(400):
        layer(x)
    return layer


def plain(layer: Any, x: Tensor, weight: Tensor) -> Tensor:
    """The same layer with a given weight, by PyTorch's own operations."""
    if isinstance(layer, SpectralLinear):
        return F.linear(x, weight, layer.bias)
    if isinstance(layer, SpectralUpConv2d):
        return F.conv2d(x.repeat_interleave(2, 2).repeat_interleave(2, 3), weight, layer.bias, padding=1)
    return F.conv2d(x, weight, layer.bias, layer.stride, layer.padding)


@layers
def test_values_and_slopes_are_those_of_the_weight_over_its_largest_singular_value(
    make: Callable[[], Any], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    layer, x = make().double(), torch.randn(shape, dtype=torch.float64)
    nn.init.normal_(layer.bias)
    settle(layer, x)
    weight = layer.weight.detach().clone().requires_grad_()
    expected = plain(layer, x, weight / torch.linalg.svdvals(weight.flatten(1))[0])
    found = layer(x)
    torch.testing.assert_close(found, expected)
    pull = torch.randn_like(found)
    (found * pull).sum().backward()
    (expected * pull).sum().backward()
    torch.testing.assert_close(layer.weight.grad, weight.grad)


@layers
def test_a_new_layer_is_nearly_normalised_whatever_the_scale_of_its_weights(
    make: Callable[[], Any], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    layer = make()
    before = layer.normalised()
    assert torch.linalg.svdvals(before.flatten(1))[0].item() == pytest.approx(1, abs=0.05)
    with torch.no_grad():
        layer.weight.mul_(100)
    torch.testing.assert_close(layer.normalised(), before, rtol=0.02, atol=1e-3)


@layers
def test_only_training_with_gradients_moves_the_direction(make: Callable[[], Any], shape: tuple[int, ...]) -> None:
    layer, x = make(), torch.randn(shape)
    nn.init.normal_(layer.weight)
    start = layer.direction.clone()
    layer.eval()(x)
    with torch.no_grad():
        layer.train()(x)
    assert torch.equal(layer.direction, start)
    layer(x)
    assert not torch.equal(layer.direction, start)
    assert layer.direction.norm().item() == pytest.approx(1)


@layers
def test_the_length_of_the_direction_does_not_matter(make: Callable[[], Any], shape: tuple[int, ...]) -> None:
    """A moving average of directions is shorter than they are."""
    layer, x = make().eval(), torch.randn(shape)
    shorter = copy.deepcopy(layer)
    shorter.direction.mul_(0.25)
    torch.testing.assert_close(layer(x), shorter(x))


def test_a_pass_may_follow_another_before_the_gradient_is_taken() -> None:
    layer, x = SpectralConv2d(2, 3, 3, padding=1).double(), torch.randn(2, 2, 4, 4, dtype=torch.float64)
    first = layer(x)
    layer(2 * x)
    first.sum().backward()
    assert layer.weight.grad.isfinite().all()


def test_weights_of_zero_give_zero() -> None:
    layer = SpectralConv2d(2, 3, 3, padding=1)
    nn.init.zeros_(layer.weight)
    assert torch.equal(layer(torch.ones(1, 2, 4, 4)), torch.zeros(1, 3, 4, 4))


def test_second_derivatives() -> None:
    layer = settle(SpectralConv2d(2, 3, 3, padding=1).double(), torch.randn(1, 2, 4, 4, dtype=torch.float64)).eval()
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: layer(x).tanh(), x)
