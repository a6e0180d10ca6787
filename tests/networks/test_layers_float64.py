"""Layers in float64 against NumPy and SciPy, with first and second derivatives against finite differences.

The second derivatives matter: a gradient penalty differentiates the discriminator twice.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import signal
from torch import Tensor, nn

from monai_cxraug.networks.layers import (
    HE_GAIN,
    DownConv2d,
    EqualisedConv2d,
    EqualisedLinear,
    MinibatchStd,
    PixelNorm,
    UpConv2d,
    double,
    halve,
    leaky,
)

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filled(layer: nn.Module) -> nn.Module:
    """In float64, biases too drawn at random."""
    for seed, parameter in enumerate(layer.double().parameters()):
        parameter.data = randn(*parameter.shape, seed=seed)
    return layer


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("gain", [HE_GAIN, 1.0])
def test_convolution_equals_scipy(kernel: int, gain: float) -> None:
    layer = filled(EqualisedConv2d(3, 4, kernel, gain))
    weight, bias = (parameter.detach().numpy() for parameter in layer.parameters())
    x = randn(2, 3, 6, 7, seed=9)
    expected = np.zeros((2, 4, 6, 7))
    for n in range(2):
        for out in range(4):
            maps = [signal.correlate2d(x[n, i].numpy(), weight[out, i], mode="same") for i in range(3)]
            expected[n, out] = np.sum(maps, axis=0) * gain / np.sqrt(3 * kernel * kernel) + bias[out]
    torch.testing.assert_close(layer(x), torch.from_numpy(expected), **EXACT)


@pytest.mark.parametrize("gain", [HE_GAIN, 1.0, HE_GAIN / 4])
def test_dense_layer_equals_numpy(gain: float) -> None:
    layer = filled(EqualisedLinear(7, 5, gain))
    weight, bias = (parameter.detach().numpy() for parameter in layer.parameters())
    x = randn(3, 7, seed=9)
    expected = x.numpy() @ weight.T * gain / np.sqrt(7) + bias
    torch.testing.assert_close(layer(x), torch.from_numpy(expected), **EXACT)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
def test_pixel_norm_equals_numpy(scale: float) -> None:
    x = randn(2, 5, 3, 4) * scale
    expected = x.numpy() / np.sqrt((x.numpy() ** 2).sum(axis=1, keepdims=True) / 5 + 1e-8)
    torch.testing.assert_close(PixelNorm()(x), torch.from_numpy(expected), **EXACT)


@pytest.mark.parametrize("group", [1, 2, 3, 4, 16])
@pytest.mark.parametrize("n", [*range(1, 11), 17, 64])
def test_minibatch_deviation_equals_numpy(n: int, group: int) -> None:
    x = randn(n, 2, 3, 4, seed=n)
    groups = max(1, n // group)
    sizes = [n // groups + (g < n % groups) for g in range(groups)]
    assert max(sizes) - min(sizes) <= 1
    expected = []
    for part in np.split(x.numpy(), np.cumsum(sizes)[:-1]):
        deviation = np.sqrt(((part - part.mean(axis=0)) ** 2).mean(axis=0) + 1e-8).mean()
        expected += [np.full((1, 3, 4), deviation)] * len(part)
    y = MinibatchStd(group)(x)
    torch.testing.assert_close(y[:, 2:], torch.from_numpy(np.stack(expected)), **EXACT)
    assert torch.equal(y[:, :2], x)


def test_leak_doubling_and_halving_equal_numpy() -> None:
    x = randn(2, 3, 4, 6)
    values = x.numpy()
    expected = np.where(values > 0, values, 0.2 * values), np.kron(values, np.ones((2, 2)))
    torch.testing.assert_close(leaky(x), torch.from_numpy(expected[0]), **EXACT)
    torch.testing.assert_close(double(x), torch.from_numpy(expected[1]), **EXACT)
    mean = values.reshape(2, 3, 2, 2, 3, 2).mean(axis=(3, 5))
    torch.testing.assert_close(halve(x), torch.from_numpy(mean), **EXACT)


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "convolution": (EqualisedConv2d(2, 3, 3), (2, 2, 4, 3)),
    "doubling convolution": (UpConv2d(2, 3), (1, 2, 2, 3)),
    "halving convolution": (DownConv2d(2, 3), (1, 2, 4, 2)),
    "dense": (EqualisedLinear(5, 3), (2, 5)),
    "pixel norm": (PixelNorm(), (2, 3, 2, 2)),
    "deviation, even groups": (MinibatchStd(2), (4, 2, 2, 2)),
    "deviation, uneven groups": (MinibatchStd(2), (5, 2, 2, 2)),
    "deviation, one image": (MinibatchStd(4), (1, 2, 2, 2)),
}


@pytest.mark.parametrize(("layer", "shape"), LAYERS.values(), ids=LAYERS.keys())
def test_first_and_second_derivatives_agree_with_finite_differences(layer: nn.Module, shape: tuple[int, ...]) -> None:
    parameters = [parameter.detach().requires_grad_() for parameter in filled(layer).parameters()]
    names = [name for name, _ in layer.named_parameters()]

    def function(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    inputs = (randn(*shape, seed=9).requires_grad_(), *parameters)
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def unfused(layer: UpConv2d | DownConv2d, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Scaling and convolution one after the other, by PyTorch's own operations."""
    if isinstance(layer, UpConv2d):
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    y = torch.nn.functional.conv2d(x, weight * layer.scale, bias, padding=1)
    if isinstance(layer, DownConv2d):
        y = (y[..., ::2, ::2] + y[..., 1::2, ::2] + y[..., ::2, 1::2] + y[..., 1::2, 1::2]) / 4
    return y


@pytest.mark.parametrize("gain", [HE_GAIN, 1.0])
@pytest.mark.parametrize("kind", [UpConv2d, DownConv2d])
def test_fused_scaling_equals_two_operations_up_to_the_second_derivative(
    kind: type[UpConv2d] | type[DownConv2d], gain: float
) -> None:
    layer = filled(kind(3, 4, gain))
    weight, bias = (parameter.detach().requires_grad_() for parameter in (layer.weight, layer.bias))
    inputs = (randn(2, 3, 6, 4, seed=9).requires_grad_(), weight, bias)

    def fused(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    results = []
    for function in (fused, lambda *values: unfused(layer, *values)):
        value = function(*inputs)
        first = torch.autograd.grad(value.sin().sum(), inputs, create_graph=True)
        second = torch.autograd.grad(sum((slope**3).sum() for slope in first), inputs)
        results.append([value, *first, *second])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_stays_and_identical_images_have_finite_gradients(dtype: torch.dtype) -> None:
    x = randn(1, 3, 4, 4).expand(4, 3, 4, 4).to(dtype).requires_grad_()
    for layer in (PixelNorm(), MinibatchStd(4)):
        y = layer(x)
        assert y.dtype == dtype
        (slope,) = torch.autograd.grad(y.float().sum(), x)
        assert torch.isfinite(slope).all()


def test_gradients_keep_the_memory_order_of_the_features() -> None:
    x = randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    for layer in (PixelNorm(), filled(EqualisedConv2d(3, 4, 3))):
        (slope,) = torch.autograd.grad(layer(x).sin().sum(), x)
        assert slope.is_contiguous(memory_format=torch.channels_last)


def test_pixel_norm_is_the_same_with_and_without_derivatives() -> None:
    x = randn(2, 3, 4, 5)
    with torch.no_grad():
        plain = PixelNorm()(x)
    assert torch.equal(plain, PixelNorm()(x.requires_grad_()))
