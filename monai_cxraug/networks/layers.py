"""Layers of the progressive GAN (Karras et al. 2017, arXiv 1710.10196)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the customary name)

from monai_cxraug.networks.convolution import convolve, full_precision

#: gain of He initialisation before a leaky ReLU, as the paper's code uses it.
HE_GAIN = math.sqrt(2.0)
LEAK = 0.2


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.2."""
    return F.leaky_relu(x, LEAK)


def double(x: Tensor) -> Tensor:
    """Repeat each pixel 2 x 2: ``[N, C, H, W]`` to ``[N, C, 2H, 2W]``."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def halve(x: Tensor) -> Tensor:
    """Average each 2 x 2 square: ``[N, C, H, W]`` to ``[N, C, H/2, W/2]``."""
    return F.avg_pool2d(x, 2)


# --- Equalised learning rate (section 4.1) ---


class EqualisedConv2d(nn.Module):
    """Convolution whose unit-variance weight is scaled by gain / sqrt(fan-in) at run time; keeps height and width.

    Args:
        in_channels: channels coming in.
        out_channels: channels going out.
        kernel: odd side of the kernel in pixels.
        gain: sqrt(2) before a leaky ReLU, 1 before nothing.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, gain: float = HE_GAIN) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.scale = gain / math.sqrt(in_channels * kernel**2)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``[N, in, H, W]`` to ``[N, out, H, W]``."""
        return convolve(x, self.weight * self.scale, self.bias, padding=self.weight.shape[-1] // 2)


#: element (4i + j, 3k + l) is 1 where entry (k, l) of a 3 x 3 kernel, shifted by up to one pixel, falls on (i, j).
SPREAD = torch.kron(*[torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]])] * 2)


class UpConv2d(EqualisedConv2d):
    """Repeat each pixel 2 x 2 and convolve by 3 x 3, as one transposed convolution of 4 x 4 with stride 2.

    Each output pixel sees at most 2 x 2 different input pixels, so the nine weights fall together into four: less than
    half of the multiplications, and no enlarged copy of the input (the "fused scaling" of the paper's code).

    Args:
        in_channels: channels coming in.
        out_channels: channels going out.
        gain: sqrt(2) before a leaky ReLU, 1 before nothing.
    """

    spread: Tensor

    def __init__(self, in_channels: int, out_channels: int, gain: float = HE_GAIN) -> None:
        super().__init__(in_channels, out_channels, 3, gain)
        # a transposed convolution turns its kernel round
        self.register_buffer("spread", SPREAD.flip(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``[N, in, H, W]`` to ``[N, out, 2H, 2W]``."""
        weight = spread_kernel(self.weight, self.spread * self.scale).transpose(0, 1)  # [in, out, 4, 4]
        return convolve(x, weight, self.bias, stride=2, padding=1, transposed=True)


class DownConv2d(EqualisedConv2d):
    """Convolve by 3 x 3 and average each 2 x 2 square, as one convolution of 4 x 4 with stride 2.

    Args:
        in_channels: channels coming in.
        out_channels: channels going out.
        gain: sqrt(2) before a leaky ReLU, 1 before nothing.
    """

    spread: Tensor

    def __init__(self, in_channels: int, out_channels: int, gain: float = HE_GAIN) -> None:
        super().__init__(in_channels, out_channels, 3, gain)
        self.register_buffer("spread", SPREAD.clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``[N, in, H, W]`` to ``[N, out, H/2, W/2]``."""
        return convolve(x, spread_kernel(self.weight, self.spread * (self.scale / 4.0)), self.bias, stride=2, padding=1)


def spread_kernel(weight: Tensor, matrix: Tensor) -> Tensor:
    """Scaled sum of a 3 x 3 kernel's four copies shifted by one pixel: ``[O, I, 3, 3]`` to ``[O, I, 4, 4]``."""
    # one product in the order of channels last, where nine padded sums would take as long as a small convolution
    rows = weight.permute(0, 2, 3, 1).flatten(1, 2)  # [O, 9, I]
    with full_precision(weight.device):  # gradients of many pixels are summed here
        wide: Tensor = torch.matmul(matrix, rows).unflatten(1, (4, 4))  # [O, 4, 4, I]
    return wide.permute(0, 3, 1, 2)


class EqualisedLinear(nn.Module):
    """Dense layer whose unit-variance weight is scaled by gain / sqrt(fan-in) at run time.

    Args:
        in_features: features coming in.
        out_features: features going out.
        gain: sqrt(2) before a leaky ReLU, 1 before nothing.
    """

    def __init__(self, in_features: int, out_features: int, gain: float = HE_GAIN) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.scale = gain / math.sqrt(in_features)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, in]`` to ``[N, out]``."""
        return F.linear(x, self.weight * self.scale, self.bias)


# --- Pixelwise feature normalisation (section 4.2) ---


class PixelNorm(nn.Module):
    """Divide the feature vector of each pixel by its root mean square over channels."""

    epsilon = 1e-8

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[N, C, H, W]`` over C, in x's type."""
        if not torch.is_grad_enabled():  # the plain operations, which can be exported too
            return x * _reciprocal(x, self.epsilon)
        normalised: Tensor = _pixel_norm(x, self.epsilon)[0]
        return normalised


class _PixelNorm(torch.autograd.Function):
    """Normalised features and the factor, both with derivatives of any order.

    PyTorch spreads the gradient of the mean over channels as an image of the other memory order; to bring both together
    takes five times as long as all else.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
        factor = _reciprocal(x, epsilon)
        normalised = x * factor
        ctx.save_for_backward(normalised, factor)
        ctx.set_materialize_grads(False)
        return normalised, factor

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None]:
        of_normalised, of_factor = grads
        normalised, factor = ctx.saved_tensors
        found = None
        if of_normalised is not None:
            along = (of_normalised * normalised).mean(dim=1, keepdim=True)
            found = torch.addcmul(of_normalised, normalised, along, value=-1.0) * factor
        if of_factor is not None:  # only where this derivative is differentiated
            share = -of_factor * factor.square() / normalised.shape[1] * normalised
            found = share if found is None else found + share
        return found, None


_pixel_norm: Any = _PixelNorm.apply


def _reciprocal(x: Tensor, epsilon: float) -> Tensor:
    """One over the root mean square: ``[N, 1, H, W]``; autocast on CUDA would make it float32."""
    return torch.rsqrt(x.square().mean(dim=1, keepdim=True) + epsilon).to(x.dtype)


# --- Minibatch standard deviation (section 3) ---


class MinibatchStd(nn.Module):
    """Append one channel that holds how much the images of a group differ.

    The batch is cut into ``max(1, N // group)`` runs of consecutive images whose sizes differ by at most one, so no
    image stands alone unless the batch holds a single one (its deviation is then zero).

    Args:
        group: images per group; a remainder is spread over the groups.
    """

    epsilon = 1e-8

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, C, H, W]`` to ``[N, C + 1, H, W]``."""
        n, _, height, width = x.shape
        groups = max(1, n // self.group)
        exact = x.to(torch.promote_types(x.dtype, torch.float32))  # epsilon is zero in float16
        if n % groups == 0:
            grouped = exact.reshape(groups, n // groups, *x.shape[1:])  # [M, G, C, H, W]
            deviation = self._deviation(grouped).repeat_interleave(n // groups)  # [N]
        else:
            parts = exact.tensor_split(groups)
            deviation = torch.cat([self._deviation(part[None]).expand(len(part)) for part in parts])  # [N]
        channel = deviation.to(x.dtype)[:, None, None, None].expand(n, 1, height, width)
        return torch.cat([x, channel], dim=1)

    def _deviation(self, grouped: Tensor) -> Tensor:
        """Mean over features and pixels of the standard deviation within a group: ``[M, G, C, H, W]`` to ``[M]``."""
        variance = (grouped - grouped.mean(dim=1, keepdim=True)).square().mean(dim=1)  # [M, C, H, W]
        return (variance + self.epsilon).sqrt().mean(dim=(1, 2, 3))
