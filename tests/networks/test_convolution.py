"""The convolution with fast second derivatives against PyTorch's own, in float64 and under autocast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from monai_cxraug.networks import convolution
from monai_cxraug.networks.convolution import convolve

#: kernel, stride, padding, transposed
SHAPES = [(1, 1, 0, False), (3, 1, 1, False), (4, 2, 1, False), (1, 1, 0, True), (3, 1, 1, True), (4, 2, 1, True)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def randn(*size: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def make_inputs(shape: tuple[int, int, int, bool], dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Image of 3 channels, weight and bias of 2; height and width differ."""
    kernel, _, _, transposed = shape
    pair = (3, 2) if transposed else (2, 3)
    inputs = randn(2, 3, 6, 4, dtype=dtype), randn(*pair, kernel, kernel, seed=1, dtype=dtype), randn(2, seed=2)
    return tuple(tensor.to(dtype).requires_grad_() for tensor in inputs)


def ours(shape: tuple[int, int, int, bool]) -> Callable[..., Tensor]:
    return lambda x, weight, bias=None: convolve(x, weight, bias, *shape[1:])


def plain(shape: tuple[int, int, int, bool]) -> Callable[..., Tensor]:
    _, stride, padding, transposed = shape
    function = F.conv_transpose2d if transposed else F.conv2d
    return lambda x, weight, bias=None: function(x, weight, bias, stride=stride, padding=padding)


def derivatives(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """The value, first derivatives of a curved function of it, and derivatives of a curved function of those."""
    value = function(*inputs)
    first = torch.autograd.grad(value.sin().sum(), inputs, create_graph=True)
    second = torch.autograd.grad(sum((slope**3).sum() for slope in first), inputs)
    return [value, *first, *second]


@shapes
@pytest.mark.parametrize("biased", [True, False])
def test_value_and_two_derivatives_equal_pytorch(shape: tuple[int, int, int, bool], biased: bool) -> None:
    inputs = make_inputs(shape)[: 3 if biased else 2]
    for found, expected in zip(derivatives(ours(shape), inputs), derivatives(plain(shape), inputs), strict=True):
        torch.testing.assert_close(found, expected, **EXACT)


@shapes
def test_derivatives_agree_with_finite_differences(shape: tuple[int, int, int, bool]) -> None:
    inputs = tuple(
        tensor[:1].detach().requires_grad_() if k == 0 else tensor for k, tensor in enumerate(make_inputs(shape))
    )
    assert torch.autograd.gradcheck(ours(shape), inputs)
    assert torch.autograd.gradgradcheck(ours(shape), inputs)


@shapes
def test_third_derivatives_equal_pytorch(shape: tuple[int, int, int, bool]) -> None:
    inputs = make_inputs(shape)

    def thrice(function: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        (slope,) = torch.autograd.grad(function(*inputs).sin().sum(), inputs[0], create_graph=True)
        second = torch.autograd.grad((slope**3).sum(), inputs[:2], create_graph=True)
        return torch.autograd.grad(sum((s**2).sum() for s in second), inputs[:2])

    for found, expected in zip(thrice(ours(shape)), thrice(plain(shape)), strict=True):
        torch.testing.assert_close(found, expected, **EXACT)


@shapes
def test_under_autocast_it_is_pytorch_under_autocast(shape: tuple[int, int, int, bool]) -> None:
    inputs = make_inputs(shape, torch.float32)
    results = []
    for function in (ours(shape), plain(shape)):
        with torch.autocast("cpu", torch.bfloat16):
            value = function(*inputs)
        results.append([value, *torch.autograd.grad(value.float().sin().sum(), inputs)])
    assert results[0][0].dtype == torch.bfloat16
    assert [slope.dtype for slope in results[0][1:]] == [torch.float32] * 3
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)


@shapes
def test_channels_last_stays(shape: tuple[int, int, int, bool]) -> None:
    x, weight, bias = (tensor.detach() for tensor in make_inputs(shape, torch.float32))
    x, weight = (tensor.contiguous(memory_format=torch.channels_last).requires_grad_() for tensor in (x, weight))
    y = convolve(x, weight, bias, *shape[1:])
    assert y.is_contiguous(memory_format=torch.channels_last)
    (slope,) = torch.autograd.grad(y.square().sum(), x)
    assert slope.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, plain(shape)(x, weight, bias), rtol=1e-5, atol=1e-5)


@shapes
@pytest.mark.parametrize("biased", [True, False])
def test_it_has_a_shape_without_numbers(shape: tuple[int, int, int, bool], biased: bool) -> None:
    inputs = tuple(tensor.detach().to("meta") for tensor in make_inputs(shape))[: 3 if biased else 2]
    assert ours(shape)(*inputs).shape == plain(shape)(*inputs).shape


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []
    original = convolution._weight_gradient

    def count(*arguments: Any) -> Any:
        calls.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(convolution, "_weight_gradient", count)
    return calls


@shapes
def test_gradients_nobody_asks_for_are_not_computed(shape: tuple[int, int, int, bool], counted: list[Any]) -> None:
    x, weight, bias = make_inputs(shape)
    y = ours(shape)(x, weight * 2, bias)
    (slope,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
    assert counted == []  # a penalty wants the slope at the images only ...
    slope.square().sum().backward()
    assert len(counted) == 2  # ... and then what both passes owe to the weight
    assert weight.grad is not None
    counted.clear()
    ours(shape)(x.detach(), weight.detach(), bias).sum().backward()
    assert counted == []


@shapes
def test_each_input_alone_may_be_asked_for(shape: tuple[int, int, int, bool]) -> None:
    inputs = make_inputs(shape)
    for k in range(3):
        (found,) = torch.autograd.grad(ours(shape)(*inputs).sin().sum(), inputs[k])
        (expected,) = torch.autograd.grad(plain(shape)(*inputs).sin().sum(), inputs[k])
        torch.testing.assert_close(found, expected, **EXACT)


@shapes
@pytest.mark.parametrize("mixed", [True, False])
def test_without_derivatives_it_is_a_plain_operation_of_the_same_bits(
    shape: tuple[int, int, int, bool], mixed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = make_inputs(shape, torch.float32)
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        recorded = ours(shape)(*inputs)
        monkeypatch.setattr(convolution, "_convolution", None)  # a function of Python's cannot be exported
        with torch.no_grad():
            assert torch.equal(ours(shape)(*inputs), recorded)
