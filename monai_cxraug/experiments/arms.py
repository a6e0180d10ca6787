"""Arms: the ways to train the classifier that an experiment compares, each as a difference from plain training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Additions:
    """What an arm may add to the real training images.

    Args:
        counts: studied finding to the number of images to add.
        synthetic: folders of the synthetic sets, one a finding.
    """

    counts: Mapping[str, int]
    synthetic: Sequence[str]


@dataclass(frozen=True)
class Arm:
    """One way to train the classifier.

    Args:
        summary: one line for reports.
        overrides: additions to settings of the classifier bundle's training.
        adds_images: whether the number of added images (the ratio) matters.
        uses_generator: whether it needs synthetic sets, and its verdict therefore every control.
    """

    summary: str
    overrides: Callable[[Additions], dict[str, Any]]
    adds_images: bool = False
    uses_generator: bool = False


ARMS: dict[str, Arm] = {
    "plain": Arm("real images as they are", lambda additions: {}),
    "duplicate_real": Arm(
        "as many real positives repeated as the generator adds images",
        lambda additions: {"duplicates": dict(additions.counts)},
        adds_images=True,
    ),
    "gan": Arm(
        "synthetic images of each studied finding",
        lambda additions: {"synthetic": list(additions.synthetic)},
        adds_images=True,
        uses_generator=True,
    ),
}

#: Arms that a verdict on a generator needs (evidence rule 3), at equal optimiser steps.
CONTROLS = ("plain", "weighted_loss", "oversampled", "duplicate_real", "label_shuffled")


def missing_controls(arms: Sequence[str]) -> list[str]:
    """Name the controls that a verdict on a generator still needs."""
    return [control for control in CONTROLS if control not in arms]
