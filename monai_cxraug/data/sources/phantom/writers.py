"""Write a phantom population to disk: in the demonstration's own layout or in ChestX-ray14's."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from PIL import Image

from monai_cxraug.artifacts import write_csv, write_text
from monai_cxraug.data.sources.listing import Progress
from monai_cxraug.data.sources.phantom.canvas import FIELD_CM, Array, stream
from monai_cxraug.data.sources.phantom.dicom import write_dicom
from monai_cxraug.data.sources.phantom.exposure import render
from monai_cxraug.data.sources.phantom.population import Study, make_cause, sample_population, with_cause
from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.labels import NIH_FINDINGS, NIH_NO_FINDING

T = TypeVar("T")

#: NIH's own header; its brackets hold commas, so it has 11 columns.
_NIH_COLUMNS: Final = (
    *("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender", "View Position"),
    *("OriginalImage[Width", "Height]", "OriginalImagePixelSpacing[x", "y]"),
)
_SPLIT_SHARES: Final = {"train": 0.7, "val": 0.15, "test": 0.15}
#: positives of every finding that each NIH list holds at least, in sets large enough to allow it.
_LEAST_POSITIVES: Final = {"train": 2, "val": 1, "test": 1}
_LARGE_ENOUGH: Final = 120


def write_native(
    folder: str | os.PathLike[str],
    images: int,
    size: int,
    seed: int,
    findings: Sequence[str] = NIH_FINDINGS,
    dicom_share: float = 0.5,
    *,
    prevalence: Mapping[str, float] | None = None,
    label_noise: float = 0.0,
    progress: Progress | None = None,
) -> None:
    """Write a data set in the demonstration's own layout.

    ``images/*.dcm`` (12 bits stored) and ``images/*.png`` (8 bits), and ``labels.csv``: ``image`` (path below
    ``folder``), ``patient_id``, ``study_id``, ``view``, ``sex``, ``age``, then 1 or 0 for each finding by name.

    Args:
        folder: new or empty folder; it appears only when everything is written.
        images: how many.
        size: pixels a side.
        seed: of everything drawn.
        findings: findings that occur and are labelled, in column order.
        dicom_share: share of studies written as DICOM, in [0, 1].
        prevalence: shares that differ from the population's own, by finding.
        label_noise: see :func:`sample_population`.
        progress: called with (images done, images in all).

    Raises:
        InputError: the folder holds something already.
        ConfigError: a number is out of range.
        LabelError: a finding is unknown.
    """
    if not 0 <= dicom_share <= 1:
        raise ConfigError("dicom_share", "must lie in [0, 1]", dicom_share, "0.5 writes half as DICOM")
    studies = sample_population(images, seed, findings, prevalence, label_noise)
    with staged_folder(folder) as stage:
        (stage / "images").mkdir()
        names = [
            _write_native_image(stage, study, size, seed, dicom_share) for study in report_progress(studies, progress)
        ]
        rows = [
            [name, study.patient_id, study.study_id, study.view, study.sex, study.age]
            + [int(finding in study.findings) for finding in findings]
            for name, study in zip(names, studies, strict=True)
        ]
        columns = ["image", "patient_id", "study_id", "view", "sex", "age", *findings]
        write_csv(stage / "labels.csv", columns, rows)


def _write_native_image(stage: Path, study: Study, size: int, seed: int, dicom_share: float) -> str:
    picture = render(study, size, seed)
    as_dicom = stream(seed, study.study_id, "format").random() < dicom_share
    name = f"images/{study.study_id}.{'dcm' if as_dicom else 'png'}"
    if as_dicom:
        write_dicom(stage / name, study, picture, seed)
    else:
        _write_png(stage / name, picture)
    return name


def write_nih_layout(
    folder: str | os.PathLike[str],
    images: int,
    size: int,
    seed: int,
    *,
    label_noise: float = 0.0,
    progress: Progress | None = None,
) -> None:
    """Write a data set in the layout of ChestX-ray14 (Wang et al., CVPR 2017).

    ``images/*.png``, ``Data_Entry_2017_v2020.csv``, the patient-wise lists ``train_list.txt``, ``val_list.txt`` and
    ``test_list.txt`` (about 70, 15 and 15 % of the images) and ``resample.csv``. From 120 images on, every finding has
    at least two positives in the training list and one in each other; where chance gave fewer, some are added.

    Args:
        folder: new or empty folder; it appears only when everything is written.
        images: how many.
        size: pixels a side.
        seed: of everything drawn.
        label_noise: see :func:`sample_population`.
        progress: called with (images done, images in all).

    Raises:
        InputError: the folder holds something already.
        ConfigError: a number is out of range.
    """
    population = sample_population(images, seed, label_noise=label_noise)
    splits = split_patients(population, seed)
    if images >= _LARGE_ENOUGH:
        splits = {name: _ensure_positives(name, studies, seed) for name, studies in splits.items()}
    studies = sorted(itertools.chain(*splits.values()), key=_nih_name)
    with staged_folder(folder) as stage:
        (stage / "images").mkdir()
        for study in report_progress(studies, progress):
            _write_png(stage / "images" / _nih_name(study), render(study, size, seed))
        write_csv(stage / "Data_Entry_2017_v2020.csv", _NIH_COLUMNS, [_nih_row(study, size) for study in studies])
        for name, members in splits.items():
            write_text(stage / f"{name}_list.txt", "".join(f"{_nih_name(study)}\n" for study in members))
        tested = {_nih_name(study) for study in splits["test"]}
        rows = [(name, "area", "test" if name in tested else "train_val") for name in map(_nih_name, studies)]
        write_csv(stage / "resample.csv", ["file", "resample", "split_nih"], rows)


def split_patients(studies: Sequence[Study], seed: int) -> dict[str, list[Study]]:
    """Deal whole patients, in random order, to train, val and test until each has its share of the images."""
    patients: dict[str, list[Study]] = {}
    for study in studies:
        patients.setdefault(study.patient_id, []).append(study)
    splits: dict[str, list[Study]] = {name: [] for name in _SPLIT_SHARES}
    for patient in stream(seed, "lists").permutation(sorted(patients)):
        name = min(splits, key=lambda split: len(splits[split]) / _SPLIT_SHARES[split])
        splits[name] += patients[str(patient)]
    return {name: sorted(members, key=_nih_name) for name, members in splits.items()}


def _ensure_positives(split: str, studies: Sequence[Study], seed: int) -> list[Study]:
    """Give rare findings to some studies, healthy ones while there are enough, until each has its least positives."""
    rng, studies = stream(seed, split, "positives"), list(studies)
    for finding in NIH_FINDINGS:
        while sum(finding in study.findings for study in studies) < _LEAST_POSITIVES[split]:
            healthy = [k for k, study in enumerate(studies) if not study.findings]
            other = [k for k, study in enumerate(studies) if study.findings and finding not in study.findings]
            chosen = int(rng.choice(healthy if len(healthy) > len(studies) / 4 else other or healthy))
            studies[chosen] = with_cause(studies[chosen], make_cause(finding, rng))
    return studies


def _nih_name(study: Study) -> str:
    return f"{int(study.patient_id[1:]):08d}_{study.index:03d}.png"


def _nih_row(study: Study, size: int) -> list[object]:
    labels = "|".join(finding for finding in NIH_FINDINGS if finding in study.findings) or NIH_NO_FINDING
    patient, spacing = int(study.patient_id[1:]), round(10 * FIELD_CM / size, 4)
    about: list[object] = [_nih_name(study), labels, study.index, patient, study.age, study.sex, study.view]
    return [*about, size, size, spacing, spacing]


def _write_png(path: Path, picture: Array) -> None:
    Image.fromarray(np.round(picture * 255).astype(np.uint8)).save(path)


def report_progress(todo: Sequence[T], progress: Progress | None) -> Iterator[T]:
    """Yield what is to be done and tell after each how many are done."""
    for done, one in enumerate(todo, start=1):
        yield one
        if progress:
            progress(done, len(todo))


@contextmanager
def staged_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside the target; rename it to the target on success, remove it on failure.

    Raises:
        InputError: the target is a file, holds something already, or cannot be made.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(target, "must be a new or empty folder", "something is there", "choose another or remove it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise InputError(target, "must be a folder that can be made", error.strerror, "check the path") from None
    with draft as temporary:
        stage = Path(temporary) / "stage"
        stage.mkdir()
        yield stage
        if target.exists():
            target.rmdir()
        shutil.move(stage, target)
