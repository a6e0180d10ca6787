"""Arms: the ways to train the classifier that an experiment compares, each as a difference from plain training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from monai_cxraug.errors import ConfigError, nearest


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
        overlays: names of the classifier bundle's overlays that the arm trains with, in order.
        adds_images: whether the number of added images (the ratio) matters.
        uses_generator: whether it needs synthetic sets, and its verdict therefore every control.
    """

    summary: str
    overrides: Callable[[Additions], dict[str, Any]] = lambda additions: {}
    overlays: tuple[str, ...] = ()
    adds_images: bool = False
    uses_generator: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """What it changes: ``loss``, ``sampling`` or ``contrast`` of its overlays, ``images`` where it adds some."""
        return tuple(name.split("_")[0] for name in self.overlays) + ("images",) * self.adds_images


ARMS: dict[str, Arm] = {
    "plain": Arm("real images as they are"),
    "weighted_loss": Arm("cross-entropy that weighs present and absent findings alike", overlays=("loss_alpha",)),
    "class_balanced_loss": Arm("cross-entropy weighted by effective numbers", overlays=("loss_class_balanced",)),
    "focal_loss": Arm("focal loss", overlays=("loss_focal",)),
    "asymmetric_loss": Arm("asymmetric loss", overlays=("loss_asymmetric",)),
    "ldam_loss": Arm("margins by class size, weighted in the last fifth", overlays=("loss_ldam",)),
    "auc_loss": Arm("AUC margin loss", overlays=("loss_auc_margin",)),
    "oversampled": Arm("images of rare classes drawn as often as those of the largest", overlays=("sampling_over",)),
    "augmented": Arm(
        "as oversampled, repeated images turned, shifted, sheared and cropped", overlays=("sampling_augmented",)
    ),
    "undersampled": Arm("images of common classes left out, others in every pass", overlays=("sampling_under",)),
    "equalised": Arm("histograms equalised", overlays=("contrast_equalise",)),
    "balanced_batches": Arm("batches with equally many images of every class", overlays=("sampling_balanced",)),
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

#: joins the names of arms that are taken together, as in ``weighted_loss+equalised``.
TOGETHER: Final = "+"


def find_arm(name: str, where: str = "arm") -> Arm:
    """Find an arm, or put one together from several.

    Args:
        name: a key of :data:`ARMS`, or several with a plus between them.
        where: what to name in an error.

    Returns:
        The arm; of several, all their differences at once.

    Raises:
        ConfigError: a name is unknown, or two change the same: the loss, the sampling, the contrast, what is added.
    """
    arms = []
    for part in name.split(TOGETHER):
        if part not in ARMS:
            raise ConfigError(where, "unknown arm", repr(part), nearest(part, ARMS))
        arms.append(ARMS[part])
    kinds = [kind for arm in arms for kind in arm.kinds]
    if len(set(kinds)) < len(kinds):
        rule = "arms that are taken together must change different things"
        raise ConfigError(where, rule, repr(name), f"only one may change the {max(kinds, key=kinds.count)}")
    if len(arms) == 1:
        return arms[0]
    return Arm(
        "; ".join(arm.summary for arm in arms),
        lambda additions: {key: value for arm in arms for key, value in arm.overrides(additions).items()},
        tuple(overlay for arm in arms for overlay in arm.overlays),
        any(arm.adds_images for arm in arms),
        any(arm.uses_generator for arm in arms),
    )


#: Arms that a verdict on a generator needs (evidence rule 3), at equal optimiser steps.
CONTROLS = ("plain", "weighted_loss", "oversampled", "duplicate_real", "label_shuffled")


def missing_controls(arms: Sequence[str]) -> list[str]:
    """Name the controls that a verdict on a generator still needs."""
    return [control for control in CONTROLS if control not in arms]
