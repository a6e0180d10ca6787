"""The mixing data set: real training images, duplicates of real ones, and synthetic sets, under the evidence rules."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_cxraug.artifacts import read_json
from monai_cxraug.data.additions import (
    ORIGINS,
    UNREAL,
    DuplicateRows,
    FilteredRows,
    fill_up,
    keep_first,
    parse_set,
    shuffle_labels,
)
from monai_cxraug.data.copies import Admission, admit
from monai_cxraug.data.datasets import PackDataset, PackRows, Sample
from monai_cxraug.data.duplicates import CONTENT
from monai_cxraug.data.manifest import Where, read_manifest
from monai_cxraug.data.pseudonyms import refuse_different_salts
from monai_cxraug.errors import ConfigError, InputError, LeakageError, nearest
from monai_cxraug.keys import SOURCES
from monai_cxraug.transforms.functional.filters import SYSTEM_B

PROVENANCE_SCHEMA = "cxraug.synthetic/1"
_HELD_OUT_KEYS = frozenset({"manifest", "split", "where"})


class MixedDataset(PackDataset):
    """Training images of an arm.

    Args:
        manifest: the real manifest.
        split: training split of it.
        where: keep rows whose columns have these values.
        findings: order of the label vector; default the manifest's.
        size: side of the images in pixels; default the pack's.
        transform: MONAI transform of the sample dictionary.
        seed: of duplicates and random transforms.
        fraction: share of the training patients to use.
        fraction_seed: of the choice of patients.
        synthetic: synthetic sets, made here or elsewhere: folders, or ``{"folder": ..., "n": ...}`` for the first n
            images of one.
        duplicates: finding to the number of real positive images to repeat.
        filtered: finding to the number of filtered copies of real positive images
            (:class:`~monai_cxraug.data.additions.FilteredRows`).
        filters: by which filters those copies are made.
        held_out: evaluation images, ``{manifest, split, where}`` each, whose patients nothing may have seen. The other
            patients of ``manifest`` are held out in any case.
        allow_synthetic_majority: permit more synthetic than real images (evidence rule 2).
        allow_copies: permit synthetic sets whose audit found copies of training images; see
            :func:`~monai_cxraug.data.copies.admit`. One without an audit passes in any case, and that is said.
        repeat_transform: done first to samples that were drawn before in the same pass.
        contrast: change of contrast that every image gets, real and synthetic alike.
        left_out_fold: ``[k, K]``: train without the patients of fold k of K; see
            :func:`~monai_cxraug.data.folds.leave_out_fold`.
        shuffle_labels: deal the labels of the synthetic images anew, as a placebo
            (:func:`~monai_cxraug.data.additions.shuffle_labels`).
        limit: finding to the number of real images that show it, at most; every other image stays. Patients none of
            whose images stay are held out: no generator may have seen them.
        top_up: finding to a total: of the synthetic images that show it the first ones are taken, in the order of the
            sets, until real and synthetic ones are that many (:func:`~monai_cxraug.data.additions.fill_up`).

    Raises:
        LeakageError: a generator saw a patient outside the training images, or an evaluation patient is among them.
        ConfigError: images of nobody (synthetic and external) are the majority without leave, or a count or key is not
            what it should be. Filtered copies and duplicates count as real: each shows a patient of the training
            images.
        InputError: a synthetic set is missing, or there is no positive image to add again.
        StateError: the audit of a synthetic set found copies of training images.
    """

    def __init__(
        self,
        manifest: str | Path,
        split: str = "train",
        where: Where | None = None,
        findings: Sequence[str] | None = None,
        size: int | None = None,
        transform: Callable[[Sample], Sample] | None = None,
        seed: int = 0,
        fraction: float = 1.0,
        fraction_seed: int = 0,
        synthetic: Sequence[str | Path | Mapping[str, Any]] = (),
        duplicates: Mapping[str, int] | None = None,
        held_out: Sequence[Mapping[str, Any]] = (),
        allow_synthetic_majority: bool = False,
        repeat_transform: Callable[[Sample], Sample] | None = None,
        contrast: str | None = None,
        filtered: Mapping[str, int] | None = None,
        filters: Sequence[str] = SYSTEM_B,
        left_out_fold: Sequence[int] | None = None,
        shuffle_labels: bool = False,
        limit: Mapping[str, int] | None = None,
        top_up: Mapping[str, int] | None = None,
        allow_copies: bool = False,
    ) -> None:
        super().__init__(
            manifest,
            split,
            where,
            findings,
            size,
            fraction=fraction,
            fraction_seed=fraction_seed,
            transform=transform,
            seed=seed,
            repeat_transform=repeat_transform,
            contrast=contrast,
            left_out_fold=left_out_fold,
            limit=limit,
        )
        outside = self._held_out_patients(held_out)
        self._seen = self.real.patients()
        self._admitted: list[Admission] = []
        for entry in synthetic:
            self.parts.append(self._admit(*parse_set(entry), outside, allow_copies))
        if top_up:
            fill_up(self.real, self.parts[1:], top_up)
        if shuffle_labels:
            self._shuffle_labels()
        for finding, count in (duplicates or {}).items():
            self.parts.append(DuplicateRows(self.real, finding, count, self.seed))
        for finding, count in (filtered or {}).items():
            self.parts.append(FilteredRows(self.real, finding, count, self.seed, filters))
        self._refuse_majority(allow_synthetic_majority)
        self._ends = list(np.cumsum([len(part) for part in self.parts]))
        self.data = list(range(self._ends[-1]))
        for admission in self._admitted:  # what is refused is refused in one line, and nothing else said
            admission.tell()

    def locate(self, index: int) -> tuple[PackRows, int]:
        """Return the part that holds the index-th sample, and the position in it."""
        if not 0 <= index < self._ends[-1]:
            raise IndexError(index)
        part = bisect.bisect_right(self._ends, index)
        return self.parts[part], index - (self._ends[part - 1] if part else 0)

    def composition(self) -> dict[str, dict[str, int]]:
        """Count positives per finding by origin, as the classifier is told (with shuffled labels, those).

        Returns:
            Finding to ``{"real", "duplicate", "filtered", "synthetic", "external"}`` counts of positive images.
        """
        positive, origins = self.label_matrix() == 1, self.origins()
        return {
            name: {origin: int(positive[origins == origin, column].sum()) for origin in ORIGINS}
            for column, name in enumerate(self.findings)
        }

    def patients_seen(self) -> list[str]:
        """Return who must not judge a model trained on this: the patients shown, and those that generators saw."""
        return sorted(self._seen)

    def audits(self) -> list[dict[str, Any]]:
        """Return what is known of copies of training images in each synthetic set, and whether they were allowed."""
        return [one.record() for one in self._admitted]

    def _held_out_patients(self, held_out: Sequence[Mapping[str, Any]]) -> frozenset[str]:
        outside = self.real.manifest.patients() - self.real.patients()
        for spec in held_out:
            if unknown := sorted(set(spec) - _HELD_OUT_KEYS):
                raise ConfigError("held_out", "unknown key", repr(unknown[0]), nearest(unknown[0], _HELD_OUT_KEYS))
            refuse_shared_content(self.real, spec["manifest"], spec.get("split"), spec.get("where"))
            judged = evaluation_patients(**spec)
            if shared := sorted(judged & self.real.patients()):
                found = f"{len(shared)} shared, for example {shared[0]!r}"
                rule = "no training patient may be in the evaluation images"
                raise LeakageError(spec["manifest"], rule, found, "split by patient")
            outside |= judged
        return outside

    def _admit(self, folder: Path, count: int | None, outside: frozenset[str], allow_copies: bool) -> PackRows:
        provenance = read_json(folder / "provenance.json", PROVENANCE_SCHEMA)
        if "salt" in provenance:  # images made elsewhere; our own generators name patients as their manifest does
            refuse_different_salts({str(self.real.manifest.path): self.real.manifest.info, str(folder): provenance})
        seen = declared_patients(provenance, folder / "provenance.json")
        refuse_seen(seen, outside, folder)
        part = PackRows(folder, findings=self.findings, size=self.real.size, contrast=self.real.contrast)
        if (part.manifest["source"] == "real").any():
            raise InputError(folder, f"a synthetic set has source {' or '.join(SOURCES[1:])}", "real", "make it again")
        part.pack.require_channels(self.real.channels)
        keep_first(part, count, folder)
        self._admitted.append(admit(part.manifest.path.parent, provenance, allow_copies, unaudited=True))
        self._seen |= seen
        return part

    def _shuffle_labels(self) -> None:
        sets = self.parts[1:]
        if not sets:
            return
        labels = np.concatenate([part.label_matrix() for part in sets])
        dealt = shuffle_labels(labels, self.seed, self.real.prior())
        ends = np.cumsum([len(part) for part in sets])[:-1]
        for part, labels in zip(sets, np.split(dealt, ends), strict=True):
            part.labels[torch.from_numpy(part.rows)] = torch.from_numpy(labels)

    def _refuse_majority(self, allowed: bool) -> None:
        synthetic = int(np.isin(self.origins().astype(str), UNREAL).sum())
        real = len(self.origins()) - synthetic
        if synthetic > real and not allowed:
            raise ConfigError(
                "allow_synthetic_majority",
                "synthetic images may not be the majority of the training set",
                f"{synthetic} synthetic, {real} real",
                "lower the ratio, or declare allow_synthetic_majority: true",
            )


def declared_patients(provenance: Mapping[str, Any], path: Path) -> frozenset[str]:
    """Return whose images trained what made a synthetic set, as its provenance declares.

    Args:
        provenance: content of ``provenance.json``.
        path: of it, for the message.

    Raises:
        LeakageError: they are not declared.
    """
    seen = provenance.get("patients_seen")
    # a text would fall apart into letters, and numbers would never equal a manifest's texts: both would hide a leak
    if not isinstance(seen, list) or not all(isinstance(patient, str) for patient in seen):
        rule = "'patients_seen' must list the patients whose images trained the generator, as text"
        raise LeakageError(path, rule, repr(seen)[:60], "declare them; [] where none was seen")
    return frozenset(seen)


def refuse_seen(seen: frozenset[str], outside: frozenset[str], where: object) -> None:
    """Refuse a generator that saw a patient it must not know (evidence rule 1).

    Args:
        seen: patients whose images trained the generator.
        outside: patients of evaluation images, and training patients outside the fraction.
        where: the synthetic set or generator, for the message.

    Raises:
        LeakageError: the two share a patient.
    """
    if shared := sorted(seen & outside):
        raise LeakageError(
            where,
            "a generator may only have seen training patients of this experiment",
            f"{len(shared)} others, for example {shared[0]!r}",
            "train the generator on the training patients only",
        )


def refuse_shared_content(
    training: PackRows, manifest: str | Path, split: str | None = None, where: Where | None = None
) -> None:
    """Refuse a picture of the training images that is, maybe under another name, among those that judge them.

    Pictures are compared by the column ``content``, where both manifests have it: sets of another size or depth have
    other pictures. Within one manifest, equal pictures are reported when it is prepared.

    Args:
        training: the training images.
        manifest: of the evaluation images.
        split: keep this split; None keeps every row.
        where: keep rows whose columns have these values.

    Raises:
        LeakageError: the two share a picture.
    """
    judged = read_manifest(manifest)
    if judged.path.resolve() == training.manifest.path.resolve():
        return
    if CONTENT not in judged.columns.keys() & training.manifest.columns.keys():
        return
    known = dict(zip(training.manifest[CONTENT][training.rows], training.rows, strict=True))
    rows = judged.rows(split, where)
    for row in rows[[bool(content) and content in known for content in judged[CONTENT][rows]]]:
        image = training.manifest["image"][known[judged[CONTENT][row]]]
        raise LeakageError(
            judged.path,
            "no training picture may be among the evaluation images",
            f"{judged['image'][row]!r} has the same picture as {image!r}",
            "leave it out of one of them; duplicates.csv lists what one set holds twice",
        )


def held_out_patients(manifest: str | Path) -> frozenset[str]:
    """Return the patients of a manifest's val and test splits."""
    table = read_manifest(manifest)
    return table.patients(np.flatnonzero(np.isin(table["split"].astype(str), ("val", "test"))))


def evaluation_patients(manifest: str | Path, split: str | None = None, where: Where | None = None) -> frozenset[str]:
    """Return the patients of the images that a specification names."""
    table = read_manifest(manifest)
    return table.patients(table.rows(split, where))
