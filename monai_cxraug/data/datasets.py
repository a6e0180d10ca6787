"""Data sets over packs: rows of one manifest as sample dictionaries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import Dataset
from monai.transforms import Randomizable
from numpy.typing import NDArray

from monai_cxraug.data.folds import leave_out_fold
from monai_cxraug.data.manifest import Manifest, Where, read_manifest, refuse_unreal_evaluation
from monai_cxraug.data.pack import Pack, channels_first
from monai_cxraug.data.samplers import Draw
from monai_cxraug.data.splits import choose_fraction, choose_images
from monai_cxraug.errors import ConfigError, InputError, LeakageError, nearest
from monai_cxraug.keys import IMAGE, LABEL, NAME, PATIENT, SOURCE
from monai_cxraug.transforms.functional.contrast import CONTRASTS, change_contrast

Sample = dict[str, Any]


class PackRows:
    """Rows of a manifest with their images: what every data set here is made of.

    Args:
        manifest: path of ``manifest.csv``, the pack beside it.
        split: keep this split; None keeps every row.
        where: keep rows whose columns have these values.
        findings: order of the label vector; default the manifest's.
        size: side of the images in pixels; default the pack's.
        having: keep only images positive for this finding.
        fraction: share of the patients to keep, in (0, 1]; for one seed, a smaller share is part of a larger one.
        fraction_seed: of the choice of patients.
        contrast: change of contrast that every image gets; a key of
            :data:`~monai_cxraug.transforms.functional.contrast.CONTRASTS`, or None.
        left_out_fold: ``[k, K]`` keeps no image of the patients in fold k of K; see
            :func:`~monai_cxraug.data.folds.leave_out_fold`. The folds are those of ``fraction_seed``.
        limit: finding to the number of images that show it, at most: which of them stay is chosen patient by patient
            in an order of ``fraction_seed`` (:func:`~monai_cxraug.data.splits.choose_images`). Every other image stays;
            one that shows several limited findings stays where each of them chose it.

    Attributes:
        origin: what all rows are, where that is not what the manifest's column ``source`` says.

    Raises:
        ConfigError: the change of contrast is unknown, or there is no such fold.
    """

    origin: str | None = None

    def __init__(
        self,
        manifest: str | Path,
        split: str | None = None,
        where: Where | None = None,
        findings: Sequence[str] | None = None,
        size: int | None = None,
        having: str | None = None,
        fraction: float = 1.0,
        fraction_seed: int = 0,
        contrast: str | None = None,
        left_out_fold: Sequence[int] | None = None,
        limit: Mapping[str, int] | None = None,
    ) -> None:
        if contrast is not None and contrast not in CONTRASTS:
            raise ConfigError(
                "contrast", "unknown change of contrast", repr(contrast), nearest(str(contrast), CONTRASTS)
            )
        self.contrast = contrast
        self.manifest: Manifest = read_manifest(manifest)
        self.pack = Pack(self.manifest.path.parent, self.manifest)
        self.findings = tuple(findings) if findings else self.manifest.findings
        self.size = size or self.pack.size
        self.pack.require_size(self.size)
        self.labels = torch.from_numpy(np.ascontiguousarray(self.manifest.label_matrix(self.findings)))
        self.rows = self.manifest.rows(split, where)
        self._by_fold = "fold" in (where or {})
        self._sorted: tuple[NDArray[np.int64], list[str]] | None = None
        self._keep_part(fraction, fraction_seed, limit, left_out_fold)
        if having is not None:
            self.keep(self.manifest.label(having) == 1, f"positive for {having!r}")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def channels(self) -> int:
        """Channels of the images: 1 grey, 3 red, green and blue."""
        return self.pack.channels

    def splits(self) -> frozenset[str]:
        """Splits of the rows. Where they were chosen by fold, which runs over train and val, val counts as train."""
        splits = frozenset(str(split) for split in set(self.manifest["split"][self.rows]))
        return splits - {"val"} | {"train"} if self._by_fold and "val" in splits else splits

    def keep(self, mask: NDArray[np.bool_], rule: str) -> None:
        """Keep the rows that a ``[len(manifest)]`` mask allows."""
        rows = self.rows[mask[self.rows]]
        if not len(rows):
            raise InputError(self.manifest.path, f"at least one image must be {rule}", "none", "check split and labels")
        self.rows = rows

    def part(self, fraction: float = 1.0, fraction_seed: int = 0, limit: Mapping[str, int] | None = None) -> PackRows:
        """Choose among these rows as the constructor does; nothing is read again."""
        if fraction != 1.0:
            self._everyone()  # so that the part knows, and the next one
        part = copy(self)
        part._keep_part(fraction, fraction_seed, limit)
        return part

    def _keep_part(
        self,
        fraction: float,
        seed: int,
        limit: Mapping[str, int] | None,
        left_out_fold: Sequence[int] | None = None,
    ) -> None:
        everyone = self._everyone() if fraction != 1.0 or left_out_fold is not None else ()
        if fraction != 1.0:
            self._keep_patients(choose_fraction(everyone, fraction, seed), f"within the fraction {fraction}")
        if limit:
            self._keep_limited(limit, seed)
        if left_out_fold is not None:
            self._keep_patients(leave_out_fold(everyone, left_out_fold, seed), f"outside fold {[*left_out_fold]}")

    def _everyone(self) -> list[str]:
        """Patients of the kept rows, sorted once for all parts of them."""
        if self._sorted is None or self._sorted[0] is not self.rows:
            self._sorted = self.rows, sorted(self.patients())
        return self._sorted[1]

    def _keep_patients(self, patients: frozenset[str], rule: str) -> None:
        owners = self.manifest["patient_id"][self.rows]
        mask = np.zeros(len(self.manifest), dtype=bool)
        mask[self.rows] = np.fromiter(map(patients.__contains__, owners), bool, len(owners))
        self.keep(mask, rule)

    def _keep_limited(self, limit: Mapping[str, int], seed: int) -> None:
        allowed = np.ones(len(self.manifest), dtype=bool)
        for finding, most in limit.items():
            shown = self.rows[self.manifest.label(finding)[self.rows] == 1]
            images, patients = ([str(name) for name in self.manifest[key][shown]] for key in ("image", "patient_id"))
            try:
                allowed[shown] &= choose_images(images, patients, most, seed)
            except ConfigError as error:
                raise ConfigError(f"limit {finding!r}", error.rule, error.found, error.mend) from None
        self.keep(allowed, f"within the limit {dict(limit)}")

    def patients(self) -> frozenset[str]:
        """Return the patients of the kept rows."""
        return self.manifest.patients(self.rows)

    def origins(self) -> NDArray[np.object_]:
        """Return what each kept row is, ``[N]``: a source, or ``duplicate``."""
        found: NDArray[np.object_] = self.manifest["source"][self.rows]
        return found if self.origin is None else np.full(len(self), self.origin, dtype=object)

    def label_rows(self) -> dict[str, int]:
        """Count the kept rows' label vectors: texts of ``1``, ``0`` and ``?`` (unknown), in the order of findings."""
        texts = [
            "".join("?" if label != label else str(int(label)) for label in row) for row in self.label_matrix().tolist()
        ]
        return dict(sorted(Counter(texts).items()))

    def label_matrix(self) -> NDArray[np.float32]:
        """Return the labels of the kept rows, ``[N, K]`` of 1, 0 and NaN."""
        found: NDArray[np.float32] = self.labels[torch.from_numpy(self.rows)].numpy()
        return found

    def count(self, value: int) -> list[int]:
        """Count the kept rows in which each finding is known to be ``value``: 1 present, 0 absent."""
        return [int(number) for number in (self.label_matrix() == value).sum(axis=0)]

    def prior(self) -> list[float]:
        """Share of each finding's positives among the known labels; half an image is added to both sides."""
        pairs = zip(self.count(1), self.count(0), strict=True)
        return [(present + 0.5) / (present + absent + 1) for present, absent in pairs]

    def picture(self, position: int) -> NDArray[np.float32]:
        """Return the picture of the position-th kept row as it is stored, ``[size, size]`` (``, 3``) in [0, 1]."""
        return self.pack.image(int(self.rows[position]), self.size)

    def sample(self, position: int) -> Sample:
        """Return the sample dictionary of the position-th kept row."""
        row = int(self.rows[position])
        planes = channels_first(self.picture(position)[None])[0]  # [C, H, W]
        image = torch.from_numpy(np.ascontiguousarray(planes))
        return {
            IMAGE: image if self.contrast is None else change_contrast(image, self.contrast),
            LABEL: self.labels[row].clone(),  # a transform may write into it
            NAME: str(self.manifest["image"][row]),
            PATIENT: str(self.manifest["patient_id"][row]),
            SOURCE: str(self.manifest["source"][row]),
        }


class PackDataset(Dataset):
    """Images of one manifest as sample dictionaries.

    Args:
        manifest: path of ``manifest.csv``, the pack beside it.
        split: keep this split; None keeps every row. Outside training only real images are allowed.
        where: keep rows whose columns have these values.
        findings: order of the label vector; default the manifest's.
        size: side of the images in pixels; default the pack's.
        having: keep only images positive for this finding.
        fraction: share of the patients to keep, in (0, 1].
        fraction_seed: of the choice of patients.
        transform: MONAI transform of the sample dictionary; a random one is seeded by the draw.
        seed: of the random transforms.
        repeat_transform: another one, done first to samples that were drawn before in the same pass.
        contrast: change of contrast that every image gets, before any transform; see :class:`PackRows`.
        left_out_fold: ``[k, K]`` keeps no image of the patients in fold k of K; see :class:`PackRows`.
        limit: finding to the number of images that show it, at most; see :class:`PackRows`.
        trained_on: patients that a model was trained on, where its answers on these images are to be judged.
        channels: that the images must have, because a model does: 1 grey, 3 red, green and blue; None takes any.

    Raises:
        ConfigError: the images have another number of channels.
        LeakageError: an image is of a patient that the model was trained on, or is not real outside of training.
    """

    def __init__(
        self,
        manifest: str | Path,
        split: str | None = None,
        where: Where | None = None,
        findings: Sequence[str] | None = None,
        size: int | None = None,
        having: str | None = None,
        fraction: float = 1.0,
        fraction_seed: int = 0,
        transform: Callable[[Sample], Sample] | None = None,
        seed: int = 0,
        repeat_transform: Callable[[Sample], Sample] | None = None,
        contrast: str | None = None,
        left_out_fold: Sequence[int] | None = None,
        trained_on: Collection[str] = (),
        limit: Mapping[str, int] | None = None,
        channels: int | None = None,
    ) -> None:
        chosen = PackRows(
            manifest, split, where, findings, size, having, fraction, fraction_seed, contrast, left_out_fold, limit
        )
        if channels is not None:
            chosen.pack.require_channels(channels)
        self.parts = [chosen]
        self.seed, self.repeat_transform = seed, repeat_transform
        refuse_unreal_evaluation(self.real.manifest, self.real.rows)
        refuse_trained_on(self.real, trained_on)
        super().__init__(list(range(len(self.real))), transform)

    @property
    def real(self) -> PackRows:
        """The rows of the manifest itself."""
        return self.parts[0]

    @property
    def findings(self) -> tuple[str, ...]:
        """Names behind the label vector, in order."""
        return self.real.findings

    def label_matrix(self) -> NDArray[np.float32]:
        """Return the labels of all samples in order, ``[N, K]`` of 1, 0 and NaN."""
        return np.concatenate([part.label_matrix() for part in self.parts])

    def origins(self) -> NDArray[np.object_]:
        """Return what each sample is, ``[N]``: a source, or ``duplicate``."""
        return np.concatenate([part.origins() for part in self.parts])

    def splits(self) -> frozenset[str]:
        """Return the splits of the samples, as :meth:`PackRows.splits` names them."""
        return frozenset(split for part in self.parts for split in part.splits())

    def locate(self, index: int) -> tuple[PackRows, int]:
        """Return the part that holds the index-th sample, and the position in it."""
        return self.real, index

    def __getitem__(self, index: Draw | int | slice | Sequence[int]) -> Any:
        """Return one sample, or a subset as MONAI's data sets do; a :class:`Draw` fixes the random transforms."""
        if isinstance(index, slice | Sequence):
            return super().__getitem__(index)
        draw = index if isinstance(index, Draw) else Draw(int(index), int(index))
        part, position = self.locate(draw.index)
        sample = part.sample(position)
        if draw.again and self.repeat_transform is not None:
            sample = self._seeded(self.repeat_transform, draw.number, 1)(sample)
        return sample if self.transform is None else self._seeded(self.transform, draw.number)(sample)

    def _seeded(self, transform: Callable[[Sample], Sample], *number: int) -> Callable[[Sample], Sample]:
        if isinstance(transform, Randomizable):
            seed = np.random.SeedSequence([self.seed, *number]).generate_state(1)[0]
            transform.set_random_state(seed=int(seed))
        return transform


def refuse_trained_on(rows: PackRows, trained_on: Collection[str]) -> None:
    """Refuse to judge a model by patients that it has seen (evidence rule 1).

    Args:
        rows: the images to judge by.
        trained_on: patients that the model was trained on.

    Raises:
        LeakageError: the two share a patient.
    """
    if shared := sorted(rows.patients() & frozenset(trained_on)):
        rule = "images must be of patients that the model was not trained on"
        found = f"{len(shared)} others, for example {shared[0]!r}"
        raise LeakageError(rows.manifest.path, rule, found, "choose with --split and --where")
