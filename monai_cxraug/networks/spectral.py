"""Spectral normalisation (Miyato et al. 2018, arXiv 1802.05957): layers whose matrix has a largest singular value of 1.

The value is found by the power method, one round a training step, from a direction that is remembered. Only directions
are remembered, never lengths: so the moving average of a network, weights and directions averaged alike, is normalised
by its own largest singular value, and an image made by it is a function of its weights alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (the customary name)

from monai_cxraug.networks.convolution import convolve, full_precision
from monai_cxraug.networks.layers import SPREAD, spread_kernel

#: standard deviation of the weights before training (Radford et al. 2015, arXiv 1511.06434, section 4).
_DEVIATION = 0.02
#: rounds of the power method before training, and the length below which a vector counts as zero.
_ROUNDS, _EPSILON = 15, 1e-12


class _Spectral(nn.Module):
    """A weight ``[out, ...]`` with the direction ``[out]`` in which, as a matrix ``[out, rest]``, it stretches most."""

    direction: Tensor

    def __init__(self, shape: tuple[int, ...], bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(_DEVIATION * torch.randn(shape))
        self.bias = nn.Parameter(torch.zeros(shape[0])) if bias else None
        self.register_buffer("direction", F.normalize(torch.randn(shape[0]), dim=0))
        for _ in range(_ROUNDS):
            self.direction = self._turn()[0]

    def normalised(self) -> Tensor:
        """The weight divided by its largest singular value; in training, where gradients are wanted, one round on."""
        with full_precision(self.weight.device):
            left, right = self._turn()
            if self.training and torch.is_grad_enabled():
                self.direction.copy_(left)
            largest = torch.dot(left, torch.mv(self.weight.flatten(1), right))
            return self.weight / largest.clamp(min=_EPSILON)

    @torch.no_grad()
    def _turn(self) -> tuple[Tensor, Tensor]:
        """One round of the power method: directions ``[out]`` and ``[rest]``."""
        matrix = self.weight.flatten(1)
        right = F.normalize(torch.mv(matrix.T, self.direction), dim=0, eps=_EPSILON)
        return F.normalize(torch.mv(matrix, right), dim=0, eps=_EPSILON), right


class SpectralLinear(_Spectral):
    """Dense layer with spectral normalisation.

    Args:
        in_features: features coming in.
        out_features: features going out.
        bias: whether to add one.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__((out_features, in_features), bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[N, in]`` to ``[N, out]``."""
        return F.linear(x, self.normalised(), self.bias)


class SpectralConv2d(_Spectral):
    """Convolution with spectral normalisation of its kernel as a matrix ``[out, in * kernel * kernel]``.

    Args:
        in_channels: channels coming in.
        out_channels: channels going out.
        kernel: side of the kernel in pixels.
        stride: pixels between the kernel's places.
        padding: pixels of zeros around the image.
        bias: whether to add one.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = True
    ) -> None:
        super().__init__((out_channels, in_channels, kernel, kernel), bias)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``[N, in, H, W]`` to ``[N, out, H', W']``."""
        return convolve(x, self.normalised(), self.bias, self.stride, self.padding)


class SpectralUpConv2d(SpectralConv2d):
    """Repeat each pixel 2 x 2 and convolve by 3 x 3, as one transposed convolution; the 3 x 3 kernel is normalised.

    Args:
        in_channels: channels coming in.
        out_channels: channels going out.
        bias: whether to add one.
    """

    spread: Tensor

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 3, bias=bias)
        self.register_buffer("spread", SPREAD.flip(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``[N, in, H, W]`` to ``[N, out, 2H, 2W]``."""
        weight = spread_kernel(self.normalised(), self.spread).transpose(0, 1)  # [in, out, 4, 4]
        return convolve(x, weight, self.bias, stride=2, padding=1, transposed=True)
