"""The phantom in the layout of Kermany's paediatric radiographs: folders of JPEG files, patients in the file names."""

from __future__ import annotations

import os
from typing import Final

import numpy as np
from PIL import Image

from monai_cxraug.data.sources.listing import Progress
from monai_cxraug.data.sources.phantom.canvas import stream
from monai_cxraug.data.sources.phantom.exposure import render
from monai_cxraug.data.sources.phantom.population import Study, sample_population
from monai_cxraug.data.sources.phantom.writers import report_progress, staged_folder

#: share of images with pneumonia, as in the original's training images.
_SICK: Final = 0.74
#: share of them that bacteria caused.
_BACTERIA: Final = 0.65
#: one patient of so many is in test.
_TEST: Final = 9


def write_kermany_layout(
    folder: str | os.PathLike[str], images: int, size: int, seed: int, *, progress: Progress | None = None
) -> None:
    """Write ``chest_xray/{train,test}/{NORMAL,PNEUMONIA}/*.jpeg`` (Kermany et al., Cell, 2018).

    Names are the original's, ``person17_virus_48`` and ``IM-0115-0001``, so a patient who fell ill between two studies
    counts as two. The chests are those of adults.

    Args:
        folder: new or empty folder; it appears only when everything is written.
        images: how many.
        size: pixels a side.
        seed: of everything drawn.
        progress: called with (images done, images in all).

    Raises:
        InputError: the folder holds something already.
        ConfigError: a number is out of range.
    """
    studies = sample_population(images, seed, ("Pneumonia",), {"Pneumonia": _SICK})
    with staged_folder(folder) as stage:
        for number, study in enumerate(report_progress(studies, progress), start=1):
            file = stage / "chest_xray" / _name(study, number, seed)
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.rint(render(study, size, seed) * 255).astype(np.uint8)).save(file, quality=90)


def _name(study: Study, number: int, seed: int) -> str:
    patient = int(study.patient_id[1:])
    split = "test" if patient % _TEST == 0 else "train"
    if not study.findings:
        return f"{split}/NORMAL/IM-{patient:04d}-{study.index + 1:04d}.jpeg"
    cause = "bacteria" if stream(seed, study.study_id, "kermany").random() < _BACTERIA else "virus"
    return f"{split}/PNEUMONIA/person{patient}_{cause}_{number}.jpeg"
