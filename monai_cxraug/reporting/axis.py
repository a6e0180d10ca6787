"""A linear axis: from values to pixels, with round ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """Linear map of ``[low, high]`` to the pixels ``[left, right]``."""

    low: float
    high: float
    left: float
    right: float

    def __call__(self, value: float) -> float:
        """Pixel of a value."""
        return self.left + (value - self.low) / (self.high - self.low) * (self.right - self.left)

    @property
    def step(self) -> float:
        """Distance of ticks: 1, 2 or 5 times a power of ten, giving four to nine of them."""
        raw = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(raw))
        return power * min((1, 2, 5, 10), key=lambda factor: abs(math.log(factor * power / raw)))

    def ticks(self) -> list[float]:
        """Multiples of the step inside the domain."""
        first, last = math.ceil(self.low / self.step - 1e-9), math.floor(self.high / self.step + 1e-9)
        return [round(k * self.step, 10) for k in range(first, last + 1)]

    @property
    def decimals(self) -> int:
        """Decimals that tell ticks apart."""
        return max(0, -math.floor(math.log10(self.step) + 1e-9))


def span(values: Iterable[float], least: float, margin: float = 0.06) -> tuple[float, float]:
    """Range of the values, at least ``least`` wide about its middle, with a margin as a share of its width."""
    known = list(values)
    low, high = min(known), max(known)
    short = max(0.0, least - (high - low)) / 2
    pad = margin * (high - low + 2 * short)
    return low - short - pad, high + short + pad
