from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from monai_cxraug.networks.layers import EqualisedConv2d, EqualisedLinear, MinibatchStd, PixelNorm, double, halve


def test_equalised_layers_keep_the_variance_that_he_scaling_promises() -> None:
    torch.manual_seed(0)
    x = torch.randn(4096, 64)
    assert EqualisedLinear(64, 256)(x).var().item() == pytest.approx(2.0, rel=0.05)
    assert EqualisedLinear(64, 256, gain=1.0)(x).var().item() == pytest.approx(1.0, rel=0.05)
    image = torch.randn(8, 32, 16, 16)
    inner = EqualisedConv2d(32, 64, 3)(image)[..., 1:-1, 1:-1]  # the border sees padding
    assert inner.var().item() == pytest.approx(2.0, rel=0.05)


def test_equalised_convolution_equals_a_plain_one_with_scaled_weight() -> None:
    layer = EqualisedConv2d(3, 5, 3, gain=1.0)
    plain = torch.nn.Conv2d(3, 5, 3, padding=1)
    plain.load_state_dict({"weight": layer.weight.detach() / math.sqrt(27), "bias": layer.bias.detach()})
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(layer(x), plain(x))


def test_pixel_norm_makes_the_mean_square_over_channels_one() -> None:
    x = torch.randn(2, 7, 4, 4)
    y = PixelNorm()(x)
    torch.testing.assert_close(y.square().mean(dim=1), torch.ones(2, 4, 4))
    torch.testing.assert_close(y[0, :, 1, 2], x[0, :, 1, 2] / x[0, :, 1, 2].square().mean().sqrt())


def test_double_and_halve_are_nearest_and_average() -> None:
    x = torch.arange(4.0).reshape(1, 1, 2, 2)
    assert double(x)[0, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    assert halve(x).item() == 1.5
    torch.testing.assert_close(halve(double(x)), x)


def reference_deviation(x: Tensor, group: int) -> list[float]:
    """Float64, image by image, with NumPy's own partition."""
    values = []
    for part in np.array_split(x.double().numpy(), max(1, len(x) // group)):
        values += [float(np.sqrt(part.var(axis=0) + 1e-8).mean())] * len(part)
    return values


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 9, 13])
def test_minibatch_deviation_of_any_batch_size(n: int) -> None:
    x = torch.randn(n, 3, 4, 4, generator=torch.Generator().manual_seed(n))
    y = MinibatchStd(group=4)(x)
    assert y.shape == (n, 4, 4, 4)
    assert torch.equal(y[:, :3], x)
    expected = torch.tensor(reference_deviation(x, 4))
    torch.testing.assert_close(y[:, 3], expected[:, None, None].expand(n, 4, 4).float())


def test_minibatch_deviation_does_not_look_beyond_its_group() -> None:
    x = torch.randn(8, 3, 4, 4)
    changed = torch.cat([x[:4], x[4:] * 5])
    deviation, other = MinibatchStd(4)(x)[:, 3], MinibatchStd(4)(changed)[:, 3]
    assert torch.equal(deviation[:4], other[:4])
    assert not torch.allclose(deviation[4:], other[4:])


def test_minibatch_deviation_of_a_single_image_has_finite_gradients() -> None:
    x = torch.randn(1, 3, 4, 4, requires_grad=True)
    MinibatchStd(4)(x).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
