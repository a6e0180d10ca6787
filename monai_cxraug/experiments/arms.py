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
        overlay: name of the classifier bundle's overlay that the arm trains with, if any.
        adds_images: whether the number of added images (the ratio) matters.
        uses_generator: whether it needs synthetic sets, and its verdict therefore every control.
    """

    summary: str
    overrides: Callable[[Additions], dict[str, Any]] = lambda additions: {}
    overlay: str | None = None
    adds_images: bool = False
    uses_generator: bool = False


ARMS: dict[str, Arm] = {
    "plain": Arm("real images as they are"),
    "weighted_loss": Arm("cross-entropy that weighs present and absent findings alike", overlay="loss_alpha"),
    "class_balanced_loss": Arm("cross-entropy weighted by effective numbers", overlay="loss_class_balanced"),
    "focal_loss": Arm("focal loss", overlay="loss_focal"),
    "asymmetric_loss": Arm("asymmetric loss", overlay="loss_asymmetric"),
    "ldam_loss": Arm("margins by class size, weighted in the last fifth", overlay="loss_ldam"),
    "auc_loss": Arm("AUC margin loss", overlay="loss_auc_margin"),
    "oversampled": Arm("images of rare classes drawn as often as those of the largest", overlay="sampling_over"),
    "augmented": Arm(
        "as oversampled, repeated images turned, shifted, sheared and cropped", overlay="sampling_augmented"
    ),
    "undersampled": Arm("images of common classes left out, others in every pass", overlay="sampling_under"),
    "balanced_batches": Arm("batches with equally many images of every class", overlay="sampling_balanced"),
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
