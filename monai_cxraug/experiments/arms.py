"""Arms: the ways to train the classifier that an experiment compares, each as a difference from plain training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from monai_cxraug.errors import ConfigError, nearest

#: how the path of a user's own overlay ends, which is an arm by itself.
OWN: Final = ".json"


@dataclass(frozen=True)
class Additions:
    """What an arm may add to the real training images.

    Args:
        counts: studied finding to the number of images to add.
        synthetic: synthetic sets, one a finding: folders, or mappings of ``folder`` and ``n``, its first images.
        filters: names of the filters that copies are made by.
    """

    counts: Mapping[str, int]
    synthetic: Sequence[str | Mapping[str, Any]]
    filters: Sequence[str] = ()


@dataclass(frozen=True)
class Making:
    """How the synthetic images of an arm are made.

    Args:
        origin: one of :data:`GENERATORS`, a generator for each finding and seed, but :data:`CONDITIONAL`, which is one
            for all findings; ``filtered_gan``: a PGGAN that is trained on the training images and their filtered
            copies; ``external``: images made elsewhere, which the experiment file names.
        screened: whether judges reject some of them; see :class:`~monai_cxraug.experiments.experiment.Screening`.
    """

    origin: str = "gan"
    screened: bool = False

    @property
    def name(self) -> str:
        """The arm that adds these images and changes nothing else."""
        return self.origin + f"{TOGETHER}screened" * self.screened


@dataclass(frozen=True)
class Arm:
    """One way to train the classifier.

    Args:
        summary: one line for reports.
        overrides: additions to settings of the classifier bundle's training.
        overlays: names of the classifier bundle's overlays that the arm trains with, in order, or paths of others.
        adds_images: whether the number of added images (the ratio) matters.
        making: how its synthetic images are made; None without any. With some, its verdict needs every control.
        labels_shuffled: whether it is the placebo, whose synthetic images bear shuffled labels.
        changes: what it changes, where overlays and added images do not say it.
    """

    summary: str
    overrides: Callable[[Additions], dict[str, Any]] = lambda additions: {}
    overlays: tuple[str, ...] = ()
    adds_images: bool = False
    making: Making | None = None
    labels_shuffled: bool = False
    changes: tuple[str, ...] = ()

    @property
    def uses_generator(self) -> bool:
        """Whether it needs synthetic sets."""
        return self.making is not None

    @property
    def kinds(self) -> tuple[str, ...]:
        """What it changes: ``loss``, ``sampling``, ``contrast``, ... of its overlays, ``images`` where it adds some."""
        overlays = (name if name.endswith(OWN) else name.split("_")[0] for name in self.overlays)
        return (*overlays, *["images"] * self.adds_images, *self.changes)


def _synthetic(additions: Additions) -> dict[str, Any]:
    return {"synthetic": list(additions.synthetic)}


#: origin whose one generator learns from every training image and is told what to show.
CONDITIONAL: Final = "conditional_gan"
#: origins whose images a generator of ours makes, trained on the training images alone; the first is the PGGAN.
GENERATORS: Final = ("gan", "infogan", "dcgan", "fastgan", CONDITIONAL)


ARMS: dict[str, Arm] = {
    "plain": Arm("real images as they are"),
    "weighted_loss": Arm("cross-entropy that weighs present and absent findings alike", overlays=("loss_alpha",)),
    "class_balanced_loss": Arm("cross-entropy weighted by effective numbers", overlays=("loss_class_balanced",)),
    "focal_loss": Arm("focal loss", overlays=("loss_focal",)),
    "asymmetric_loss": Arm("asymmetric loss", overlays=("loss_asymmetric",)),
    "ldam_loss": Arm("margins by class size, weighted in the last fifth", overlays=("loss_ldam",)),
    "auc_loss": Arm("AUC margin loss", overlays=("loss_auc_margin",)),
    "retrained": Arm("last layer trained anew on balanced batches in the last fifth", overlays=("schedule_crt",)),
    "oversampled": Arm("images of rare classes drawn as often as those of the largest", overlays=("sampling_over",)),
    "augmented": Arm(
        "as oversampled, repeated images turned, shifted, sheared and cropped", overlays=("sampling_augmented",)
    ),
    "undersampled": Arm("images of common classes left out, others in every pass", overlays=("sampling_under",)),
    "balanced_batches": Arm("batches with equally many images of every class", overlays=("sampling_balanced",)),
    "classic_augmentation": Arm(
        "every image turned, shifted, sheared, blurred and noised", overlays=("augment_classic",)
    ),
    "mixup": Arm("every batch mixed with itself", overlays=("batch_mixup",)),
    "equalised": Arm("histograms equalised", overlays=("contrast_equalise",)),
    "duplicate_real": Arm(
        "as many real positives repeated as the generator adds images",
        lambda additions: {"duplicates": dict(additions.counts)},
        adds_images=True,
    ),
    "filtered_real": Arm(
        "as many filtered copies of real positives as the generator adds images",
        lambda additions: {"filtered": dict(additions.counts), "filters": list(additions.filters)},
        adds_images=True,
    ),
    "gan": Arm("synthetic images of each studied finding", _synthetic, adds_images=True, making=Making()),
    **{
        name: Arm(f"synthetic images of {what}", _synthetic, adds_images=True, making=Making(name))
        for name, what in {
            "infogan": "an InfoGAN, which learns codes for what varies",
            "dcgan": "a DCGAN",
            "fastgan": "a GAN for few images, as FastGAN is",
            CONDITIONAL: "one PGGAN for all findings, trained on every image and told what to show",
        }.items()
    },
    "filtered_gan": Arm(
        "synthetic images of generators that were trained on filtered copies too",
        _synthetic,
        adds_images=True,
        making=Making("filtered_gan"),
    ),
    "external": Arm("images made elsewhere", _synthetic, adds_images=True, making=Making("external")),
}

#: joins the names of arms that are taken together, as in ``weighted_loss+equalised``.
TOGETHER: Final = "+"

#: what may be done with synthetic images; alone it means with those of ``gan``.
MODIFIERS: dict[str, Arm] = {
    "screened": Arm("those kept that judges accept", changes=("screening",)),
    "label_shuffled": Arm(
        "their labels shuffled", lambda additions: {"shuffle_labels": True}, labels_shuffled=True, changes=("labels",)
    ),
    "pretrained": Arm(
        "synthetic positives in the first half of the steps, real images alone in the second",
        overlays=("schedule_synthetic_first",),
        changes=("sampling",),
    ),
    "synthetic_only": Arm(
        "synthetic positives in place of the real ones, as a measure of the generator",
        overlays=("schedule_synthetic_only",),
        changes=("sampling",),
    ),
}


def find_arm(name: str, where: str = "arm") -> Arm:
    """Find an arm, or put one together from several.

    Args:
        name: a key of :data:`ARMS` or :data:`MODIFIERS`, the path of an overlay of one's own, which ends in ``.json``,
            or several with a plus between them.
        where: what to name in an error.

    Returns:
        The arm; of several, all their differences at once.

    Raises:
        ConfigError: a name is unknown, or two change the same: the loss, the sampling, the contrast, what is added.
    """
    parts = name.split(TOGETHER)
    own = {part: Arm(f"as the overlay {part} says", overlays=(part,)) for part in parts if part.endswith(OWN)}
    known = {**ARMS, **MODIFIERS, **own}
    for part in parts:
        if part not in known:
            raise ConfigError(where, "unknown arm", repr(part), nearest(part, known))
    if set(parts) & MODIFIERS.keys() and not any(known[part].making for part in parts):
        parts = ["gan", *parts]
    arms = [known[part] for part in parts]
    kinds = [kind for arm in arms for kind in arm.kinds]
    if len(set(kinds)) < len(kinds):
        rule = "arms that are taken together must change different things"
        raise ConfigError(where, rule, repr(name), f"only one may change the {max(kinds, key=kinds.count)}")
    return arms[0] if len(arms) == 1 else _combine(arms, "screened" in parts)


def _combine(arms: Sequence[Arm], screened: bool) -> Arm:
    made = next((arm.making for arm in arms if arm.making), None)
    return Arm(
        "; ".join(arm.summary for arm in arms),
        lambda additions: {key: value for arm in arms for key, value in arm.overrides(additions).items()},
        tuple(overlay for arm in arms for overlay in arm.overlays),
        any(arm.adds_images for arm in arms),
        made and Making(made.origin, screened),
        any(arm.labels_shuffled for arm in arms),
        tuple(kind for arm in arms for kind in arm.changes),
    )


#: Arms that a verdict on a generator needs (evidence rule 3), at equal optimiser steps, beside the placebo.
CONTROLS: Final = ("plain", "weighted_loss", "oversampled", "duplicate_real")
PLACEBO: Final = "label_shuffled"


def missing_controls(arms: Sequence[str], judged: Sequence[str] | None = None) -> list[str]:
    """Name the controls that a verdict on a generator still needs.

    The placebo must bear the images of the arm in question; filtered copies without a generator must be there where a
    generator learnt from filtered copies.

    Args:
        arms: arms of the experiment.
        judged: those of them in question; default all.

    Returns:
        Names of arms to add; nothing where none of those in question uses synthetic images.
    """
    made = [find_arm(arm).making for arm in judged or arms]
    makings = list(dict.fromkeys(one for one in made if one is not None))
    if not makings:
        return []
    placebos = {find_arm(arm).making for arm in arms if find_arm(arm).labels_shuffled}
    missing = [control for control in CONTROLS if control not in arms]
    if any(one.origin == "filtered_gan" for one in makings) and "filtered_real" not in arms:
        missing.append("filtered_real")
    return missing + [_placebo(one) for one in makings if one not in placebos]


def _placebo(making: Making) -> str:
    return PLACEBO if making == Making() else f"{making.name}{TOGETHER}{PLACEBO}"
