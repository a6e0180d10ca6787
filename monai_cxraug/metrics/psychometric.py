"""The strength of a distortion at which readers begin to see it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_cxraug.errors import InputError

Floats = NDArray[np.float64]
#: share of answers that are slips whatever the strength (Wichmann and Hill, Perception & Psychophysics 63, 2001).
LAPSES = 0.02
_SLOPES = np.geomspace(0.5, 10, 40)
_STEPS = 240


class Threshold(NamedTuple):
    """A fitted curve.

    Args:
        strength: at which a difference is seen in half of the pairs, guesses and slips apart.
        slope: of the Weibull function; large is steep.
        guesses: share of "different" for equal images.
    """

    strength: float
    slope: float
    guesses: float

    def share(self, strengths: ArrayLike) -> Floats:
        """Share of "different" expected at each strength."""
        return _curve(np.asarray(strengths, dtype=np.float64), self.strength, self.slope, self.guesses)


def fit_threshold(
    strengths: ArrayLike, different: ArrayLike, total: ArrayLike, guesses: float = 0.0
) -> Threshold | None:
    """Fit a Weibull function by maximum likelihood over a grid of thresholds and slopes.

    ``g + (1 - g - l) (1 - 2^-((x / t)^b))`` with the share of guesses ``g`` measured on equal images and a fixed share
    of slips ``l`` of 2 % (Wichmann and Hill 2001, equation 1; written so that t is the middle of the curve).

    Args:
        strengths: ``[S]`` above 0.
        different: ``[S]`` answers "different" at each.
        total: ``[S]`` answers at each.
        guesses: share of "different" for equal images, in [0, 1].

    Returns:
        The fit; None with fewer than three strengths, when nothing is left beside guesses and slips, or when the
        threshold is not inside the strengths shown: a curve that only rises beyond them, or is flat, has none.

    Raises:
        InputError: a strength or a count is out of range.
    """
    x, hits, shown = (np.asarray(values, dtype=np.float64) for values in (strengths, different, total))
    if (x <= 0).any() or (hits < 0).any() or (hits > shown).any() or not 0 <= guesses <= 1:
        raise InputError("psychometric", "needs strengths above 0, 0 <= different <= total, guesses in [0, 1]")
    if len(np.unique(x[shown > 0])) < 3 or guesses + LAPSES >= 1:
        return None
    places = np.geomspace(x.min(), x.max(), _STEPS)
    expected = _curve(x, places[:, None, None], _SLOPES[:, None], guesses)  # [places, slopes, S]
    chance = np.clip(expected, 1e-9, 1 - 1e-9)
    likelihood = (hits * np.log(chance) + (shown - hits) * np.log1p(-chance)).sum(axis=-1)
    place, slope = np.unravel_index(int(likelihood.argmax()), likelihood.shape)
    if place in (0, _STEPS - 1):
        return None
    return Threshold(float(places[place]), float(_SLOPES[slope]), guesses)


def _curve(x: Floats, threshold: ArrayLike, slope: ArrayLike, guesses: float) -> Floats:
    rise = 1 - np.exp2(-((x / np.asarray(threshold)) ** np.asarray(slope)))
    return np.asarray(guesses + (1 - guesses - LAPSES) * rise)
