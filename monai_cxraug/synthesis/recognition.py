"""Recognising patients by their radiographs: how alike two images are, and how well that tells patients apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F  # noqa: N812  (the customary name)

from monai_cxraug.artifacts import file_hash
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.manifest import Where
from monai_cxraug.data.pack import channels_first, channels_of
from monai_cxraug.errors import ConfigError, InputError, StateError
from monai_cxraug.metrics.comparison import estimate
from monai_cxraug.metrics.ranks import Ladder
from monai_cxraug.networks.weights import load_model
from monai_cxraug.synthesis.audit import fit_all
from monai_cxraug.synthesis.nearest import Images

Vectors = NDArray[np.float32]

#: share of pairs of strangers that may pass for one patient where "few false recognitions" is meant.
FALSE_RECOGNITIONS: Final = 0.01
_BATCH: Final = 128
_LEAST_PATIENTS: Final = 3


def embed(network: nn.Module, images: Images) -> Vectors:
    """Vectors of images: of each and of its mirror image together, so that mirroring hides nobody.

    Args:
        network: a :class:`~monai_cxraug.networks.reidentifier.Reidentifier`; it is left in evaluation mode.
        images: float32 ``[N, S, S]`` or ``[N, S, S, 3]`` in [0, 1].

    Returns:
        Unit vectors, ``[N, D]``.
    """
    device = next(network.parameters()).device
    network.eval()
    parts = [np.empty((0, int(cast(Any, network).settings["features"])), dtype=np.float32)]
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            block = np.ascontiguousarray(channels_first(images[start : start + _BATCH]))
            planes = torch.from_numpy(block).to(device)
            both = network(planes) + network(planes.flip(-1))
            parts.append(F.normalize(both, dim=1).cpu().numpy())
    return np.concatenate(parts)


class Recogniser:
    """A trained re-identifier, ready to look at images of any size of at least its own.

    Args:
        model: its file, or a folder that holds one.
        device: where to compute.
        channels: of the images.

    Attributes:
        size: side of the images that it was trained on, in pixels.
        patients_seen: patients that it was trained on.

    Raises:
        InputError: the file is missing or unreadable.
        StateError: it is no re-identifier.
        ConfigError: it was trained on images of other channels.
    """

    def __init__(self, model: str | Path, device: str = "cpu", channels: int = 1) -> None:
        found = load_model(model, "reidentifier")
        if missing := sorted({"size", "patients_seen"} - set(found.about)):
            raise StateError(found.path, "a re-identifier must name size and patients_seen", f"no {missing[0]}")
        if found.settings["channels"] != channels:
            mend = "train one on images like these"
            raise ConfigError(found.path, f"must look at {channels} channels", found.settings["channels"], mend)
        self.path, self.about, self.size = found.path, found.about, int(found.about["size"])
        self.patients_seen = frozenset(found.about["patients_seen"])
        self.network = found.network.to(device)

    def __call__(self, images: Images) -> Vectors:
        """Return the vectors of images; those larger than its own are averaged over areas.

        Args:
            images: float32 ``[N, H, W]`` or ``[N, H, W, 3]`` in [0, 1].

        Returns:
            Unit vectors, ``[N, D]``.

        Raises:
            ConfigError: the images are smaller than those it was trained on.
        """
        side = min(images.shape[1:3])
        if side < self.size:
            mend = f"train one with --size {side}"
            raise ConfigError(self.path, f"images must have at least its {self.size} px", f"{side} px", mend)
        return embed(self.network, fit_all(images, self.size, len(images), channels_of(images.shape)))

    def record(self) -> dict[str, Any]:
        """Say which network it is, and how well it tells patients apart, as plain values."""
        return {
            "sha256": file_hash(self.path),
            "size": self.size,
            "patients_seen": len(self.patients_seen),
            "verification": self.about.get("verification"),
        }


@dataclass(frozen=True)
class Verification:
    """Asks a re-identifier about training patients that it was not trained on: are these two images of one patient?

    Each image of a patient with several gives one pair with another image of the patient and one with an image of
    somebody else, both drawn once.

    Args:
        manifest: the images.
        patients_seen: whom the network was trained on.
        split: whose images are asked about; ``train``, so that no evaluation patient is touched.
        where: keep rows whose columns have these values.
        size: side of the images in pixels.
        seed: of the pairs.
    """

    manifest: str | Path
    patients_seen: Sequence[str]
    split: str = "train"
    where: Where | None = None
    size: int = 64
    seed: int = 0

    def report(self, network: nn.Module) -> dict[str, Any]:
        """Measure, as plain values.

        Args:
            network: a :class:`~monai_cxraug.networks.reidentifier.Reidentifier`.

        Returns:
            ``auroc`` of the cosine, with a 95 % ``interval`` over patients; ``found``: share of pairs of one patient
            recognised where one in a hundred pairs of strangers would be too; how many ``pairs`` of each kind, of how
            many ``patients``.

        Raises:
            InputError: fewer than three patients with two images are left.
        """
        rows = PackRows(self.manifest, self.split, self.where, size=self.size)
        owners = rows.manifest["patient_id"].astype(str)[rows.rows]
        new = np.flatnonzero(~np.isin(owners, sorted({*self.patients_seen, ""})))
        anchors, mates, others = draw_pairs(owners[new], np.random.default_rng(self.seed))
        patients = owners[new][anchors].tolist()
        if len(set(patients)) < _LEAST_PATIENTS:
            rule = f"verification needs {_LEAST_PATIENTS} patients with two images that the network did not see"
            raise InputError(rows.manifest.path, rule, len(set(patients)), "leave out a larger fold")
        vectors = embed(network, np.stack([rows.picture(int(position)) for position in new]))
        alike = [np.einsum("nd,nd->n", vectors[anchors], vectors[ends]) for ends in (mates, others)]
        scores, truth = np.concatenate(alike).astype(np.float64), np.repeat([1.0, 0.0], len(anchors))
        found = estimate(scores[None], truth, [*patients, *patients], replicates=0)
        caught = Ladder(scores, truth).weigh(np.ones((len(truth), 1))).sensitivities(1 - FALSE_RECOGNITIONS)
        return {
            "auroc": found.auroc,
            "interval": None if found.interval is None else list(found.interval),
            "found": float(caught[0]),
            "false_recognitions": FALSE_RECOGNITIONS,
            "pairs": len(anchors),
            "patients": len(set(patients)),
        }


def describe(report: Mapping[str, Any]) -> str:
    """Say in one line what :meth:`Verification.report` found."""
    spread = "" if report["interval"] is None else " (95 % interval {:.3f} to {:.3f})".format(*report["interval"])
    asked = f"{report['pairs']} pairs of {report['patients']} patients that were left out"
    return f"same patient or not: AUROC {report['auroc']:.3f}{spread}, {asked}"


def draw_pairs(
    owners: NDArray[np.str_], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Draw, for each image whose patient has others, another one of the patient and one of somebody else.

    Args:
        owners: ``[N]``.
        rng: source of randomness.

    Returns:
        Positions of these images, of their mates and of the others, ``[n]`` each; none where there is one patient.
    """
    groups = {name: np.flatnonzero(owners == name) for name in np.unique(owners)}
    chosen: list[tuple[int, int, int]] = []
    for name, group in groups.items():
        strangers = np.flatnonzero(owners != name)
        if len(group) < 2 or not len(strangers):
            continue
        chosen += [
            (int(one), int(rng.choice(group[group != one])), int(rng.choice(strangers))) for one in group.tolist()
        ]
    table = np.array(chosen, dtype=np.int64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]
