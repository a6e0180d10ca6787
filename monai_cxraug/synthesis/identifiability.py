"""Identifiability: does a network that knows patients by their radiographs recognise one in a synthetic image?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.manifest import Where
from monai_cxraug.data.mixing import held_out_patients, refuse_seen
from monai_cxraug.data.pack import channels_first, channels_last
from monai_cxraug.errors import InputError
from monai_cxraug.networks.augmentation import RadiographAugmentation
from monai_cxraug.synthesis.audit import binomial_interval, choose_training
from monai_cxraug.synthesis.nearest import Images
from monai_cxraug.synthesis.recognition import Recogniser, Vectors

Array = NDArray[np.float64]

#: shares of real images of other patients that may be recognised by mistake.
RATES: Final = (0.01, 0.05)
#: images that must set a threshold at least; where the finding has fewer, others set it too.
_LEAST: Final = 100
#: images that are read of each kind at most.
_MOST: Final = 5000
_LISTED: Final = 10
_BLOCK: Final = 512
#: changes that a copied image may have gone through, as strong as those the network was trained with.
_CHANGES: Final[dict[str, Any]] = {"translation": 0.0625, "zoom": 0.1, "noise": 0.02, "cutout": 0.0, "mirror": True}


class Known(NamedTuple):
    """Real images as vectors ``[N, D]``, with the patient of each."""

    vectors: Vectors
    patients: Sequence[str]


class Match(NamedTuple):
    """The most alike training image of each image: row and similarity, ``[N]`` each."""

    rows: NDArray[np.int64]
    similarities: Array


@dataclass(frozen=True)
class Identifiability:
    """Looks for training patients in synthetic images.

    For each image the most alike training image of the generator is found, alike by the cosine of a re-identifier's
    vectors (Packhaeuser et al., Scientific Reports 12, 2022; Fernandez et al., 2023, ask the same of diffusion models).
    A patient counts as recognised above the similarity that a small share of real images of *other* patients reaches:
    the k-th largest of n, for k = rate (n + 1), rounded down but at least 1, so that a fresh real image is recognised
    by mistake with probability k / (n + 1), the expected share; about, as the images of a patient resemble each other.
    The threshold is set by training patients that the re-identifier did not see (it has pushed those that it saw apart)
    compared with the generator's training images of others: no evaluation patient sets it.

    Three figures tell what a share means. *Strangers*, real images of patients that neither network saw, show what it
    is where there is nothing to recognise. *Other images* of the same patient show how often the network recognises
    anybody, and *changed copies*, training images that were shifted, zoomed, turned, mirrored and re-contrasted, how
    often it would see through a plain copy. A network that recognises nobody finds nothing.

    Args:
        training: the generator's training images.
        names: of the training images.
        others: real images that set the threshold.
        mates: similarity of real images to the most alike other image of their patient.
        copies: similarity of changed copies of training images to the most alike training image of the same patient.
        strangers: real images of patients that neither network saw; may be none.
        about: of manifest and network, for the record.

    Raises:
        InputError: there is no training image, or nothing to set a threshold.
    """

    training: Known
    names: Sequence[str]
    others: Known
    mates: Array
    copies: Array
    strangers: Known
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.names) or not len(self.levels):
            found = f"{len(self.names)} training images, {len(self.others.patients)} of others"
            raise InputError("identifiability", "needs training images and real images of other patients", found)

    @classmethod
    def of(
        cls,
        about: Mapping[str, Any],
        manifest: str | Path,
        recogniser: Recogniser,
        where: Where | None = None,
    ) -> Identifiability | str:
        """Read what is needed.

        Args:
            about: what the generator's model file says: ``patients_seen`` and ``finding``.
            manifest: its training images, training patients that the re-identifier did not see, and perhaps real images
                of val and test patients.
            recogniser: the re-identifier.
            where: of real images other than the generator's, keep rows whose columns have these values.

        Returns:
            The audit, or in words why there can be none.

        Raises:
            LeakageError: the re-identifier saw a val or test patient.
            ConfigError: the images are smaller than those of the re-identifier, or have other channels.
        """
        source = PackRows(manifest, where=where)
        table = source.manifest
        refuse_seen(recogniser.patients_seen, held_out_patients(manifest), recogniser.path)
        if about.get("finding") not in (None, *table.findings):
            return f"the manifest does not know the generator's finding {about['finding']!r}"
        rows = _Rows(source, about, recogniser)
        if not len(rows.training):
            return "the manifest has no training image of the generator"
        if len(table.patients(rows.others)) < 2:
            return "the manifest has not two training patients that the re-identifier did not see"
        training, others, strangers = (rows.read(chosen) for chosen in (rows.training, rows.others, rows.strangers))
        everybody = rows.read(rows.unseen)
        mates = most_alike(everybody, everybody, of_same=True).similarities
        found = {
            "manifest": table.hash(),
            "recogniser": recogniser.record(),
            "threshold_from": "training patients that the re-identifier did not see, "
            + ("the generator's finding" if rows.narrow else "any finding"),
        }
        names = table["image"][rows.training].astype(str).tolist()
        copies = rows.read_changed(rows.training)
        seen_through = most_alike(copies, training, of_same=True).similarities
        return cls(training, names, others, mates[np.isfinite(mates)], seen_through, strangers, found)

    @cached_property
    def levels(self) -> Array:
        """Similarities that real images reach with training images of other patients, ascending."""
        reached = most_alike(self.others, self.training, of_same=False).similarities
        return np.sort(reached[np.isfinite(reached)])

    def threshold(self, rate: float) -> tuple[float, float]:
        """Similarity above which a patient counts as recognised, and the expected share of mistakes."""
        n = len(self.levels)
        rank = max(1, int(rate * (n + 1) + 1e-9))
        return float(self.levels[n - rank]), rank / (n + 1)

    def find(self, vectors: Vectors) -> Match:
        """Find the most alike training image of each image, by vectors ``[N, D]``."""
        return most_alike(Known(vectors, [""] * len(vectors)), self.training, of_same=None)

    def report(self, names: Sequence[str], found: Match) -> dict[str, Any]:
        """Sum up what was found, as plain values.

        Args:
            names: of the images, ``[N]``.
            found: by :meth:`find`, ``[N]``.

        Returns:
            Who was compared; for each rate of false recognitions the ``threshold``, ``expected_share``, how many
            synthetic images are ``recognised``, their ``share`` with its exact 95 % ``interval`` (Clopper and Pearson
            1934), and the shares of ``strangers``, ``other_images`` and ``changed_copies``; a ``verdict``; the ten most
            alike pairs.
        """
        rates = [self._at(rate, found) for rate in RATES]
        order = np.argsort(-found.similarities, kind="stable")[:_LISTED]
        return {
            **self.about,
            "measure": "cosine of the re-identifier's vectors, image and mirror image together",
            "training_images": len(self.names),
            "training_patients": len(set(self.training.patients)),
            "threshold_images": len(self.levels),
            "strangers": len(self.strangers.patients),
            "images": len(names),
            "median": float(np.median(found.similarities)),
            "rates": rates,
            "verdict": judge(rates),
            "most_alike": [
                {
                    "image": names[k],
                    "training_image": self.names[found.rows[k]],
                    "similarity": float(found.similarities[k]),
                }
                for k in order
            ],
        }

    def _at(self, rate: float, found: Match) -> dict[str, Any]:
        threshold, expected = self.threshold(rate)
        recognised = int((found.similarities > threshold).sum())
        beside = {"strangers": self.find(self.strangers.vectors).similarities}
        beside |= {"other_images": self.mates, "changed_copies": self.copies}
        return {
            "false_recognitions": rate,
            "threshold": threshold,
            "expected_share": expected,
            "recognised": recognised,
            "share": recognised / len(found.rows),
            "interval": list(binomial_interval(recognised, len(found.rows))),
            **{name: _share(values > threshold) for name, values in beside.items()},
        }


class _Rows:
    """Which rows of a manifest serve for what, and their pictures as vectors."""

    def __init__(self, source: PackRows, about: Mapping[str, Any], recogniser: Recogniser) -> None:
        self.source, self.recogniser, table = source, recogniser, source.manifest
        self.patients = table["patient_id"].astype(str)
        chosen = np.isin(np.arange(len(table)), source.rows) & (table["source"] == "real") & (self.patients != "")
        new = chosen & ~np.isin(self.patients, sorted(recogniser.patients_seen))
        shows = np.ones(len(table), bool) if about.get("finding") is None else table.label(about["finding"]) == 1
        training = table["split"] == "train"
        self.training = choose_training(table, about)
        #: real images of training patients that the re-identifier did not see.
        self.unseen = _draw(np.flatnonzero(new & training))
        narrow = np.flatnonzero(new & training & shows)
        #: whether the finding alone has enough images to set a threshold.
        self.narrow = about.get("finding") is not None and len(narrow) >= _LEAST
        self.others = _draw(narrow) if self.narrow else self.unseen
        strange = ~np.isin(self.patients, sorted(about["patients_seen"]))
        self.strangers = _draw(np.flatnonzero(new & strange & shows & ~training))

    def read(self, rows: NDArray[np.int64]) -> Known:
        return self._known(rows, self._pictures(rows))

    def read_changed(self, rows: NDArray[np.int64]) -> Known:
        """The same, shifted, zoomed, turned, mirrored and re-contrasted."""
        planes = torch.from_numpy(np.ascontiguousarray(channels_first(self._pictures(rows))))
        with torch.inference_mode():
            changed = RadiographAugmentation(**_CHANGES)(planes, torch.Generator().manual_seed(0)).clamp(0, 1)
        return self._known(rows, channels_last(changed.numpy()))

    def _pictures(self, rows: NDArray[np.int64]) -> Images:
        size, pack = self.recogniser.size, self.source.pack
        if not len(rows):
            return np.empty((0, size, size, *([pack.channels] if pack.channels > 1 else [])), np.float32)
        return np.stack([pack.image(int(row), size) for row in rows])

    def _known(self, rows: NDArray[np.int64], pictures: Images) -> Known:
        return Known(self.recogniser(pictures), self.patients[rows].tolist())


def most_alike(asked: Known, given: Known, of_same: bool | None) -> Match:
    """Find the most alike of some images for each of others.

    Args:
        asked: N images.
        given: M images.
        of_same: among images of the same patient but for the image itself (an equal vector in the same place of an
            equal list), of other patients, or of anybody where None.

    Returns:
        Rows and cosines; minus infinity where there is none.
    """
    rows, best = np.zeros(len(asked.patients), np.int64), np.full(len(asked.patients), -np.inf)
    mine, theirs = np.asarray(asked.patients, dtype=str), np.asarray(given.patients, dtype=str)
    for start in range(0, len(mine), _BLOCK) if len(theirs) else ():
        part = slice(start, start + _BLOCK)
        table = (asked.vectors[part].astype(np.float64)) @ given.vectors.T.astype(np.float64)
        if of_same is not None:
            table[(mine[part, None] == theirs[None]) != of_same] = -np.inf
        if asked is given:
            table[np.arange(len(table)), np.arange(start, start + len(table))] = -np.inf
        rows[part] = table.argmax(axis=1)
        best[part] = table.max(axis=1)
    return Match(rows, best)


def judge(rates: Sequence[Mapping[str, Any]]) -> str:
    """Say in words what the shares come to."""
    blind = all(one["changed_copies"]["share"] < 2 * one["expected_share"] for one in rates)
    if blind:
        return "the re-identifier would not recognise a copy: nothing can be said"
    if any(one["interval"][0] > one["expected_share"] for one in rates):
        return "training patients are recognised more often than by mistake"
    return "no more recognised than by mistake, as far as this network sees"


def _share(hits: NDArray[np.bool_]) -> dict[str, Any]:
    """Images, share and exact interval; the share is None without images."""
    count, n = int(hits.sum()), len(hits)
    if not n:
        return {"images": 0, "share": None, "interval": None}
    return {"images": n, "share": count / n, "interval": list(binomial_interval(count, n))}


def _draw(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(rows) <= _MOST:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, _MOST, replace=False))
