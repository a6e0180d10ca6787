"""Answers on radiographs that lie in files: the classifier's bundle is run on them; what it cannot read is told."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monai_cxraug.bundle_config import bundle_file, run_stage
from monai_cxraug.data.datasets import PackDataset
from monai_cxraug.errors import InputError
from monai_cxraug.interop.device import NAME, Device
from monai_cxraug.interop.reports import Answer
from monai_cxraug.predictions import Predictions, read_predictions

#: what ``prepare`` says where not a single image can be read.
_NONE_READABLE = "at least one image must be readable"


@dataclass(frozen=True)
class Answers:
    """What a classifier says about some files.

    Args:
        by_name: name of the file to its answers, one a finding.
        rows: name of the file to its row in ``dataset``.
        dataset: the images as the classifier saw them; None where it saw none.
        left_out: name of the file to the reason why there is no answer.
    """

    by_name: Mapping[str, Sequence[Answer]]
    rows: Mapping[str, int]
    dataset: PackDataset | None
    left_out: Mapping[str, str]


def answer_files(files: Sequence[Path], device: Device, work: Path) -> Answers:
    """Ask a classifier about files.

    Args:
        files: with names of their own each.
        device: the classifier.
        work: folder to work in; what lies there goes.

    Raises:
        CxrAugError: the classifier or the folder cannot be used.
    """
    shutil.rmtree(work, ignore_errors=True)
    images = work / "images"
    images.mkdir(parents=True)
    for file in files:
        _bring(file, images / file.name)
    bundle = bundle_file(NAME, "inference")
    settings = {"bundle_root": str(bundle.parents[1]), "checkpoint": str(device.path), "images": str(images)}
    try:
        run_stage(bundle, {**settings, "output_dir": str(work)})
    except InputError as error:
        if error.rule != _NONE_READABLE:
            raise
        reason = error.found.partition(": ")[2] if len(files) == 1 else "no image of the batch can be read"
        return Answers({}, {}, None, {file.name: reason for file in files})
    table = read_predictions(work / "predictions.csv")
    dataset = PackDataset(work / "manifest.csv", size=device.size, contrast=device.contrast)
    rows = {name: row for row, name in enumerate(dataset.real.manifest["image"].tolist())}
    return Answers(_by_name(table, device), rows, dataset, _read_left_out(work))


def _bring(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(file, target)


def _by_name(table: Predictions, device: Device) -> dict[str, list[Answer]]:
    raw, calibration = table.probs, device.calibration
    probs = raw if calibration is None else calibration.probabilities(table)
    cuts = np.full(len(table.findings), np.nan) if calibration is None else calibration.thresholds(table)
    thresholds = [None if np.isnan(cut) else float(cut) for cut in cuts]
    return {
        name: [
            Answer(finding, float(probs[row, column]), float(raw[row, column]), thresholds[column])
            for column, finding in enumerate(table.findings)
        ]
        for row, name in enumerate(table.images)
    }


def _read_left_out(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in ("dropped.csv", "quarantine.csv"):
        with (folder / name).open(encoding="utf-8", newline="") as stream:
            found |= {row["file"]: row["reason"] for row in csv.DictReader(stream)}
    return found
