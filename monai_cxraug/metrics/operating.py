"""Where probabilities become yes or no: thresholds by named rules."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from monai_cxraug.errors import ConfigError
from monai_cxraug.metrics.calibration import known_pairs

YOUDEN: Final = "youden"
#: rules that want a number, as in ``sensitivity=0.95``.
_WITH_NUMBER: Final = ("sensitivity", "specificity", "threshold")


@dataclass(frozen=True)
class Rule:
    """How a threshold is chosen.

    Args:
        name: ``youden``, ``sensitivity``, ``specificity`` or ``threshold``.
        value: the number that the last three want, in [0, 1].
    """

    name: str
    value: float = math.nan

    def __str__(self) -> str:
        """The rule as it is written in configurations."""
        return self.name if self.name == YOUDEN else f"{self.name}={self.value:g}"


def parse_rule(text: str, where: str = "rule") -> Rule:
    """Read a rule.

    Args:
        text: ``youden``, ``sensitivity=0.95``, ``specificity=0.9`` or ``threshold=0.5``.
        where: what to name in an error.

    Raises:
        ConfigError: it is none of these, or its number is not from 0 to 1.
    """
    name, sign, number = str(text).partition("=")
    try:
        value = float(number) if sign else math.nan
    except ValueError:
        value = math.inf
    if (name == YOUDEN and not sign) or (name in _WITH_NUMBER and sign and 0 <= value <= 1):
        return Rule(name, value)
    known = ", ".join([YOUDEN, *(f"{name}=NUMBER" for name in _WITH_NUMBER)])
    raise ConfigError(where, "must name a rule for thresholds, numbers from 0 to 1", repr(text), f"one of {known}")


def choose_threshold(probs: ArrayLike, labels: ArrayLike, rule: Rule) -> float:
    """Choose the probability from which the answer is yes, on images that nothing is reported on afterwards.

    A threshold lies halfway between two neighbouring probabilities, so that it does not hang on one image.
    ``youden`` makes sensitivity + specificity - 1 largest (Youden, Cancer 3, 1950), the lower threshold where two do;
    ``sensitivity=s`` is the highest threshold that still finds a share s of the positives; ``specificity=s`` the lowest
    that still clears a share s of the negatives; ``threshold=t`` is t whatever the images say.

    Args:
        probs: ``[n]`` in [0, 1].
        labels: ``[n]`` of 1, 0, NaN (left out).
        rule: how to choose.

    Returns:
        The threshold in [0, 1]; NaN where the rule needs a class that the known labels do not hold.

    Raises:
        InputError: shapes differ or a probability is outside [0, 1].
        LabelError: a label is none of 1, 0 and NaN.
    """
    known, truth = known_pairs(probs, labels)
    if rule.name == "threshold":
        return rule.value
    positives, negatives = np.sort(known[truth == 1]), np.sort(known[truth == 0])
    if not len(positives) or not len(negatives):
        return math.nan
    levels = np.unique(known)
    candidates = np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2, [1.0]])
    found = 1 - np.searchsorted(positives, candidates, side="left") / len(positives)
    cleared = np.searchsorted(negatives, candidates, side="left") / len(negatives)
    if rule.name == YOUDEN:
        return float(candidates[np.argmax(np.round(found + cleared, 12))])
    if rule.name == "sensitivity":
        return float(candidates[np.flatnonzero(found >= rule.value - 1e-12)[-1]])
    enough = np.flatnonzero(cleared >= rule.value - 1e-12)
    return float(candidates[enough[0]]) if len(enough) else 1.0
