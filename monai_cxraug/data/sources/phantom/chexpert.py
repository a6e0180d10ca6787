"""The phantom in CheXpert's own layout: ``train.csv``, ``valid.csv``, JPEG files, uncertain and unmentioned labels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from monai_cxraug.artifacts import write_csv
from monai_cxraug.data.sources.listing import Progress
from monai_cxraug.data.sources.phantom.canvas import Array, Frame, stream
from monai_cxraug.data.sources.phantom.exposure import render
from monai_cxraug.data.sources.phantom.population import Study, sample_population
from monai_cxraug.data.sources.phantom.writers import report_progress, staged_folder
from monai_cxraug.labels import CHEXPERT_FINDINGS

ROOT: Final = "CheXpert-v1.0-small"
#: what of CheXpert's observations a finding of ChestX-ray14 counts as.
_OBSERVATIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "Cardiomegaly": ("Enlarged Cardiomediastinum", "Cardiomegaly"),
    "Infiltration": ("Lung Opacity",),
    "Mass": ("Lung Opacity", "Lung Lesion"),
    "Nodule": ("Lung Opacity", "Lung Lesion"),
    "Edema": ("Lung Opacity", "Edema"),
    "Consolidation": ("Lung Opacity", "Consolidation"),
    "Pneumonia": ("Lung Opacity", "Pneumonia"),
    "Atelectasis": ("Lung Opacity", "Atelectasis"),
    "Pneumothorax": ("Pneumothorax",),
    "Effusion": ("Pleural Effusion",),
    "Pleural_Thickening": ("Pleural Other",),
}
_FRACTURE: Final = 0.04
_LATERAL: Final = 0.25
#: one patient of so many is read by eye.
_VALID: Final = 10
#: share of positives that a report calls uncertain; shares of absent observations that it denies, or calls uncertain.
_UNCERTAIN, _DENIED, _WRONGLY_UNCERTAIN = 0.15, 0.3, 0.02
_SEX: Final = {"M": "Male", "F": "Female"}
_COLUMNS: Final = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT_FINDINGS)


def write_chexpert_layout(
    folder: str | os.PathLike[str], images: int, size: int, seed: int, *, progress: Progress | None = None
) -> None:
    """Write a data set in the layout of CheXpert-v1.0-small (Irvin et al., AAAI 2019).

    ``train.csv`` has labels as text mining leaves them: 1.0, 0.0, -1.0 (uncertain) and nothing (not mentioned);
    ``valid.csv``, a tenth of the patients, is read by eye: 1.0 and 0.0 only. A quarter of the studies has a lateral
    view as well, which is a caricature: the frontal one folded.

    Args:
        folder: new or empty folder; it appears only when everything is written.
        images: how many frontal images.
        size: pixels a side.
        seed: of everything drawn.
        progress: called with (frontal images done, in all).

    Raises:
        InputError: the folder holds something already.
        ConfigError: a number is out of range.
    """
    studies = sample_population(images, seed)
    tables: dict[str, list[Sequence[object]]] = {"train": [], "valid": []}
    with staged_folder(folder) as stage:
        for study in report_progress(studies, progress):
            split = "valid" if int(study.patient_id[1:]) % _VALID == 1 else "train"
            tables[split] += _write_study(stage, study, split, size, seed)
        for split, rows in tables.items():
            write_csv(stage / f"{split}.csv", _COLUMNS, rows)


def _write_study(stage: Path, study: Study, split: str, size: int, seed: int) -> list[Sequence[object]]:
    """Write the images of a study and return their rows."""
    rng = stream(seed, study.study_id, "chexpert")
    fractured, lateral = rng.random() < _FRACTURE, rng.random() < _LATERAL
    picture = render(study, size, seed)
    picture = _break_rib(picture, rng) if fractured else picture
    present = _present(study, fractured)
    labels = _mine(present, rng) if split == "train" else [f"{float(name in present)}" for name in CHEXPERT_FINDINGS]
    name = f"{split}/patient{int(study.patient_id[1:]):05d}/study{study.index + 1}"
    (stage / name).mkdir(parents=True)
    views: list[tuple[str, str, str, Array]] = [("view1_frontal.jpg", "Frontal", study.view, picture)]
    if lateral:
        views.append(("view2_lateral.jpg", "Lateral", "", _fold(picture)))
    rows: list[Sequence[object]] = []
    for file, side, view, shown in views:
        Image.fromarray(np.rint(shown * 255).astype(np.uint8)).save(stage / name / file, quality=90)
        rows.append([f"{ROOT}/{name}/{file}", _SEX[study.sex], study.age, side, view, *labels])
    return rows


def _present(study: Study, fractured: bool) -> frozenset[str]:
    named = {name for finding in study.findings for name in _OBSERVATIONS.get(finding, ())}
    named |= {"Fracture"} if fractured else set()
    named |= {"Support Devices"} if study.view == "AP" else set()  # the leads of bedside views
    healthy = not study.findings and not fractured
    return frozenset(named | ({"No Finding"} if healthy else set()))


def _mine(present: frozenset[str], rng: np.random.Generator) -> list[str]:
    """Labels as a report gives them: what is absent is mostly not mentioned, and some of all is left open."""
    labels = []
    for name, draw in zip(CHEXPERT_FINDINGS, rng.random(len(CHEXPERT_FINDINGS)), strict=True):
        if name == "No Finding":
            labels.append("1.0" if name in present else "")
        elif name in present:
            labels.append("-1.0" if draw < _UNCERTAIN else "1.0")
        else:
            labels.append("-1.0" if draw < _WRONGLY_UNCERTAIN else "0.0" if draw < _DENIED else "")
    return labels


def _break_rib(picture: Array, rng: np.random.Generator) -> Array:
    """A dark gap with a bright step on either side, where the ribs bend: a caricature of a fracture."""
    frame = Frame(picture.shape[0])
    x, y = rng.choice([-1, 1]) * rng.uniform(10.5, 12.5), rng.uniform(-4, 7)
    slope = rng.uniform(-0.6, 0.6)
    across = frame.x - x - slope * (frame.y - y)
    near = np.exp(-0.5 * np.square((frame.y - y) / 0.7))
    gap = frame.line(across, 0.3) - 0.8 * frame.line(across - 0.45, 0.35) - 0.8 * frame.line(across + 0.45, 0.35)
    result: Array = np.clip(picture - 0.35 * near * gap, 0, 1)
    return result


def _fold(picture: Array) -> Array:
    """Fold the chest along its middle and narrow it: both lungs on top of each other, as a lateral view has them."""
    folded = np.asarray((picture + picture[:, ::-1]) / 2, dtype=np.float32)
    size, narrow = picture.shape[0], max(1, round(picture.shape[0] * 0.7))
    thin = Image.fromarray(folded).resize((narrow, size), Image.Resampling.BOX)
    canvas = np.zeros_like(folded)
    start = (size - narrow) // 2
    canvas[:, start : start + narrow] = np.asarray(thin)
    return canvas
