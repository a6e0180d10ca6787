"""One sub-folder per class, below ``train``, ``val`` and ``test`` where they are: the layout of many image sets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar

import numpy as np

from monai_cxraug.data.files import Tree
from monai_cxraug.data.readers import IMAGE_SUFFIXES
from monai_cxraug.data.sources.cells import split_named
from monai_cxraug.data.sources.listing import Listing, Progress, depth_of, in_colour, require_images
from monai_cxraug.data.sources.options import Colour
from monai_cxraug.errors import ConfigError, InputError, nearest


@dataclass(frozen=True, kw_only=True)
class Folder:
    """Any set with one sub-folder per class, and train, val or test above the classes if it is split already.

    Every class is a finding; with ``negative``, that class is the absence of the others. Each image is a patient of its
    own unless ``patient_pattern`` says which part of the file name is the patient. Colour becomes grey, unless it is
    asked for.
    """

    examples: ClassVar[tuple[str, ...]] = (
        "--images skin --negative benign --colour --size 112 --out data/skin",
        "--images set.zip --patient-pattern '^(P[0-9]+)_' --out data/set",
    )

    images: Annotated[str, "folder or zip archive", "PATH"]
    negative: Annotated[str | None, "class that is the absence of all others; without it, each class is a finding"] = (
        None
    )
    patient_pattern: Annotated[str | None, "regular expression whose one group finds the patient in a file name"] = None
    colour: Colour = False

    def __post_init__(self) -> None:
        if self.patient_pattern is not None:
            compile_pattern(self.patient_pattern)

    def list(self, out: Path, progress: Progress | None = None) -> Listing:
        """List every image of every class.

        Raises:
            InputError: the path is missing; there are less than two classes; images lie outside of a class; some are
                below train, val or test and others are not; or a file name tells no patient.
            ConfigError: ``negative`` is no class.
        """
        tree = Tree(self.images)
        names = [name for name in tree.names() if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES]
        places = _classify(names, tree.path)
        classes = sorted({kind for _, kind in places})
        findings = self._findings(classes, tree.path)
        rows = [
            {"image": name, "patient_id": self._patient(name), "split": split, "source": "real", "class": kind}
            for name, (split, kind) in zip(names, places, strict=True)
        ]
        labels = np.array([[kind == name for name in findings] for _, kind in places], dtype=np.float32)
        info = {"name": f"images of {len(classes)} classes", "uncertainty": "none: every image has one class"}
        labels = labels.reshape(len(rows), len(findings))
        files = [tree.ref(name) for name in names]
        listing = Listing(rows, files, findings, labels, depth_of(names), info, refused=tree.left_out)
        return require_images(in_colour(listing, self.colour), tree.path)

    def _findings(self, classes: Sequence[str], where: object) -> tuple[str, ...]:
        if self.negative is not None and self.negative not in classes:
            hint = nearest(self.negative, classes)
            raise ConfigError("--negative", f"must be a class of {where}", repr(self.negative), hint)
        if len(classes) < 2:
            found = ", ".join(classes) or "no image below a folder"
            raise InputError(where, "needs one sub-folder for each of two or more classes", found, "check --images")
        return tuple(kind for kind in classes if kind != self.negative)

    def _patient(self, name: str) -> str:
        if self.patient_pattern is None:
            return name
        match = re.search(self.patient_pattern, PurePosixPath(name).name)
        if match is None or not match[1]:
            raise InputError(
                name, "the file name must hold the patient", repr(self.patient_pattern), "mend the pattern"
            )
        return match[1]


def compile_pattern(pattern: str) -> None:
    """Refuse a pattern that is none, or that has another number of groups than one.

    Raises:
        ConfigError: it cannot find a patient.
    """
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ConfigError("--patient-pattern", "must be a regular expression", error, "mend the pattern") from None
    if groups != 1:
        mend = "put brackets around the patient's part, as in '^(P[0-9]+)_'"
        raise ConfigError("--patient-pattern", "needs one group", f"{groups} groups in {pattern!r}", mend)


def _classify(names: Sequence[str], where: object) -> list[tuple[str, str]]:
    """Split and class of every image."""
    folders = [name.split("/")[:-1] for name in names]
    levels = [next((k for k, part in enumerate(parts[:-1]) if split_named(part)), None) for parts in folders]
    if all(level is None for level in levels):
        above = _shared_depth(folders)
        levels = [above - 1] * len(names)
    places = []
    for name, parts, level in zip(names, folders, levels, strict=True):
        if level is None or len(parts) <= level + 1:
            rule = "an image must lie in the folder of a class, and all or none below train, val or test"
            raise InputError(where, rule, repr(name), "move or remove it")
        places.append((split_named(parts[level]) if level >= 0 else "", parts[level + 1]))
    return places


def _shared_depth(folders: Sequence[Sequence[str]]) -> int:
    """Number of folders that all images share, above those that tell them apart."""
    if len({tuple(parts) for parts in folders}) < 2:
        return max(len(folders[0]) - 1, 0) if folders else 0
    depth = 0
    while all(len(parts) > depth and parts[depth] == folders[0][depth] for parts in folders):
        depth += 1
    return depth
