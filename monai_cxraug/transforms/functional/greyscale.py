"""The greyscale pipeline of DICOM as one table: from each value that may be stored to its brightness in [0, 1].

Every step depends on the value alone (PS3.4 N.2): modality LUT or rescale, VOI LUT or window, inversion, padding. So
the steps are computed once for all values there can be, and an image is looked up in the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.errors import InputError

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]

#: Where neither a VOI LUT nor a window is present, these percentiles of the pixels become 0 and 1.
PERCENTILES: Final = (0.5, 99.5)
_SAMPLE: Final = 61  # every 61st pixel: prime, so that no stripe of a picture hides from it
_BLOCK: Final = 1 << 16


@dataclass(frozen=True)
class Lut:
    """A look-up table of DICOM (PS3.3 C.11.1.1 and C.11.2.1.1).

    Args:
        entries: outputs, ``[N]``.
        first: input that maps to the first entry; smaller ones do too.
        bits: bits of an entry, 8 to 16.
    """

    entries: NDArray[Any]
    first: int
    bits: int

    def __call__(self, values: Values) -> Values:
        """Look values up; those beside the table take its first or last entry."""
        index = np.clip(np.rint(values).astype(np.int64) - self.first, 0, len(self.entries) - 1)
        return self.entries[index].astype(np.float64)


@dataclass(frozen=True)
class Window:
    """A window (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Args:
        centre: Window Center (0028,1050).
        width: Window Width (0028,1051).
        function: ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID``.
    """

    centre: float
    width: float
    function: str = "LINEAR"

    def __str__(self) -> str:
        return f"window {self.centre:g}/{self.width:g} {self.function}"


@dataclass(frozen=True)
class Rules:
    """What a header says about greyscale.

    Args:
        slope: Rescale Slope (0028,1053).
        intercept: Rescale Intercept (0028,1052).
        modality: Modality LUT; comes before the rescale.
        voi: VOI LUT; comes before the window.
        window: the first window.
        inverted: whether the lowest value is white (MONOCHROME1).
        padding: first and last stored value of pixels outside the picture.
    """

    slope: float = 1.0
    intercept: float = 0.0
    modality: Lut | None = None
    voi: Lut | None = None
    window: Window | None = None
    inverted: bool = False
    padding: tuple[float, float] | None = None

    def to_modality(self, stored: Values) -> Values:
        """Apply the Modality LUT or the rescale (PS3.3 C.11.1)."""
        if self.modality is not None:
            return self.modality(stored)
        return stored * self.slope + self.intercept

    def after_modality(self) -> Rules:
        """Return the rules with the padding of values that the Modality LUT or the rescale was applied to already."""
        padding = None if self.padding is None else tuple(self.to_modality(np.asarray(self.padding)).tolist())
        return replace(self, padding=padding)

    def is_padding(self, stored: Values) -> Flags:
        """Tell which stored values lie outside the picture (PS3.3 C.7.5.1.1.2)."""
        if self.padding is None:
            return np.zeros(stored.shape, dtype=bool)
        return np.asarray((stored >= min(self.padding)) & (stored <= max(self.padding)))


@dataclass(frozen=True)
class Depth:
    """How a value lies in a word of 8 or 16 bits (PS3.5 8.1.1).

    Args:
        bits: Bits Stored (0028,0101).
        high_bit: High Bit (0028,0102); what lies above or below the stored bits means nothing.
        signed: whether values are in two's complement.
    """

    bits: int
    high_bit: int
    signed: bool

    def values(self) -> Values:
        """Value of each pattern of the stored bits, ``[2**bits]``."""
        patterns = np.arange(1 << self.bits, dtype=np.float64)
        return np.where(patterns < len(patterns) // 2, patterns, patterns - len(patterns)) if self.signed else patterns

    def patterns(self, words: int) -> NDArray[np.int64]:
        """Pattern of the stored bits in each of ``words`` words, ``[words]``."""
        return np.arange(words) >> (self.high_bit + 1 - self.bits) & ((1 << self.bits) - 1)


def tabulate(rules: Rules, depth: Depth, words: NDArray[Any]) -> tuple[NDArray[np.float32], str]:
    """Compute the brightness of every word that a pixel can be.

    Args:
        rules: what the header says.
        depth: how values lie in a word.
        words: the pixels, uint8 or uint16 ``[H, W]``. They are looked at only where the rules leave the choice to them.

    Returns:
        float32 ``[256]`` or ``[65536]`` in [0, 1], and a description of the choice.

    Raises:
        InputError: the window is not allowed, or shows one grey value of an image that has several.
    """
    stored = depth.values()
    patterns = depth.patterns(1 << 8 * words.itemsize)
    padding = rules.is_padding(stored)

    @cache
    def counts() -> Counts:
        found = np.bincount(patterns, count_words(words), len(stored)).astype(np.int64)
        found[padding] = 0
        return found

    values = rules.to_modality(stored)
    shown, choice = show(rules, values, counts)
    sample = patterns[words.reshape(-1)[::_SAMPLE]]
    if _is_flat(shown[sample[~padding[sample]]]):
        refuse_flat(shown, values, counts() > 0, choice)
    shown[padding] = 0
    return shown.astype(np.float32)[patterns], choice


def render(rules: Rules, pixels: NDArray[Any], is_stored: bool) -> tuple[NDArray[np.float32], str]:
    """Map pixels of any range to [0, 1], where the loader has thrown away how they were stored.

    Args:
        rules: what the header says.
        pixels: stored values, or values after the modality LUT; any shape.
        is_stored: which of the two.

    Returns:
        float32 in [0, 1], same shape, and a description of the choice.

    Raises:
        InputError: the window is not allowed, or shows one grey value of an image that has several.
    """
    found, place, counts = np.unique(np.asarray(pixels, dtype=np.float64), return_inverse=True, return_counts=True)
    values, limits = (rules.to_modality(found), rules) if is_stored else (found, rules.after_modality())
    padding = limits.is_padding(found)
    counts[padding] = 0
    shown, choice = show(rules, values, lambda: counts)
    refuse_flat(shown, values, counts > 0, choice)
    shown[padding] = 0
    return shown.astype(np.float32)[place].reshape(pixels.shape), choice


def show(rules: Rules, values: Values, counts: Callable[[], Counts]) -> tuple[Values, str]:
    """Map modality values to [0, 1]: VOI LUT, else window, else percentiles; then inversion.

    Args:
        rules: what the header says.
        values: modality values, ``[U]``.
        counts: gives how many pixels of the picture have each value, ``[U]``, padding left out.

    Returns:
        float64 ``[U]`` in [0, 1], and a description of the choice.

    Raises:
        InputError: the window is not allowed.
    """
    if rules.voi is not None:
        shown, choice = np.clip(rules.voi(values) / (2**rules.voi.bits - 1), 0, 1), "VOI LUT"
    elif rules.window is not None:
        shown, choice = window(values, rules.window), str(rules.window)
    else:
        low, high = (percentile(values, counts(), share) for share in PERCENTILES)
        shown = np.clip((values - low) / max(high - low, 1e-6), 0, 1)
        choice = f"percentiles {low:g}..{high:g}"
    return (1 - shown, f"{choice}, inverted") if rules.inverted else (shown, choice)


def refuse_flat(shown: Values, values: Values, present: Flags, choice: str) -> None:
    """Refuse a choice that makes one grey of an image that has several values.

    Args:
        shown: brightness of each value, ``[U]``.
        values: the values, ``[U]``.
        present: which of them the picture has, ``[U]``.
        choice: description of the choice, for the message.

    Raises:
        InputError: the picture would be flat.
    """
    if _is_flat(shown[present]) and not _is_flat(values[present]):
        mend = "mend the header; without a window the percentiles decide"
        raise InputError(choice, "must show more than one grey value of the image", "a flat picture", mend)


def window(values: Values, shape: Window) -> Values:
    """Apply a window to [0, 1] (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Args:
        values: modality values, any shape.
        shape: the window; the width is at least 1 for LINEAR, above 0 otherwise.

    Returns:
        Values in [0, 1], same shape.

    Raises:
        InputError: the width or the function is not allowed.
    """
    centre, width, function = shape.centre, shape.width, shape.function
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise InputError("VOILUTFunction", "must be LINEAR, LINEAR_EXACT or SIGMOID", "another", "mend the header")
    if not (width >= 1 if function == "LINEAR" else width > 0) or not np.isfinite([centre, width]).all():
        raise InputError("WindowWidth", f"must be positive for {function}", f"{width:g}", "mend the header")
    scaled: NDArray[Any]
    if function == "LINEAR" and width == 1:
        scaled = values > centre - 0.5
    elif function == "LINEAR":
        scaled = (values - (centre - 0.5)) / (width - 1) + 0.5
    elif function == "LINEAR_EXACT":
        scaled = (values - centre) / width + 0.5
    else:
        scaled = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    return np.clip(scaled.astype(np.float64), 0, 1)


def percentile(values: Values, counts: Counts, share: float) -> float:
    """Percentile of pixels that are given as a histogram: exactly what :func:`numpy.percentile` finds on the pixels.

    Args:
        values: values, ``[U]``, in any order.
        counts: pixels of each value, ``[U]``; where all are 0, each value counts once.
        share: in [0, 100].
    """
    order = np.argsort(values, kind="stable")
    ranks = np.cumsum((counts if counts.any() else np.ones_like(counts))[order])
    place = (ranks[-1] - 1) * (share / 100)
    left = int(place)
    below, above = values[order[np.searchsorted(ranks, [left, min(left + 1, ranks[-1] - 1)], side="right")]]
    part = place - left
    return float(below + (above - below) * part if part < 0.5 else above - (above - below) * (1 - part))


def count_words(words: NDArray[Any]) -> Counts:
    """Count each word: uint8 or uint16 of any shape to int64 ``[256]`` or ``[65536]``."""
    size = 1 << 8 * words.itemsize
    flat, counts = words.reshape(-1), np.zeros(size, dtype=np.int64)
    for start in range(0, len(flat), _BLOCK):  # bincount widens its input to 8 bytes: a block stays in the cache
        counts += np.bincount(flat[start : start + _BLOCK], minlength=size)
    return counts


def _is_flat(shown: Values) -> bool:
    return len(shown) == 0 or bool((shown == shown[0]).all())
