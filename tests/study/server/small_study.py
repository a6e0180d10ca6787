"""A small study for tests: its images are noise and shapes, its trials of every task and role."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from monai_cxraug.study.files import IMAGES, Study, Trial

CHOICES = {"2afc": ("left", "right"), "jnd": ("same", "different"), "turing": ("real", "synthetic")}
PLACES = {"2afc": ("reference", "first", "second"), "jnd": ("first", "second"), "turing": ("first",)}


def write_study(
    folder: Path,
    judged: int = 4,
    training: int = 1,
    repeats: int = 1,
    sentinels: int = 1,
    size: int = 32,
    tasks: tuple[str, ...] = ("2afc", "jnd", "turing"),
    **info: Any,
) -> Study:
    """Write a study with as many trials of each role for each task."""
    (folder / IMAGES).mkdir(parents=True)
    trials = [one for task in tasks for one in _block(task, judged, training, repeats, sentinels)]
    rng = np.random.default_rng(0)
    for name in sorted({name for trial in trials for name in trial.shown}):
        _draw(rng, size).save(folder / IMAGES / f"{name}.png")
    document: Mapping[str, Any] = {
        "title": "A small study",
        "seed": 7,
        "tasks": list(tasks),
        "size": size,
        "display_ms": 100,
        "gap_ms": 50,
        **info,
    }
    return Study.write(folder, document, trials)


def _block(task: str, judged: int, training: int, repeats: int, sentinels: int) -> list[Trial]:
    names = [("training", k) for k in range(training)] + [("judged", k) for k in range(judged)]
    names += [("repeat", k) for k in range(repeats)] + [("sentinel", k) for k in range(sentinels)]
    return [_trial(task, role, number) for role, number in names]


def _trial(task: str, role: str, number: int) -> Trial:
    name = f"{task}-{role}-{number}"
    images = {place: f"i{abs(hash_name(name + place)):012d}" for place in PLACES[task]}
    known = role in {"training", "sentinel"} or task == "turing"
    return Trial(
        trial=name,
        task=task,
        role=role,
        expected=CHOICES[task][number % 2] if known else "",
        repeat_of=f"{task}-judged-{number}" if role == "repeat" else "",
        family="traditional",
        distortion_first="gaussian_blur 1.5",
        source="patient-secret.png",
        patient_id="P001",
        **images,
    )


def hash_name(name: str) -> int:
    """A number for a name that tells nothing of it."""
    import hashlib

    return int(hashlib.sha256(name.encode()).hexdigest()[:10], 16)


def _draw(rng: np.random.Generator, size: int) -> Image.Image:
    """A picture that looks a little like a chest: two dark fields, ribs, noise."""
    y, x = np.mgrid[0:size, 0:size] / size
    lungs = sum(np.exp(-((((x - c) / 0.13) ** 2 + ((y - 0.48) / 0.28) ** 2) ** 2)) for c in (0.31, 0.69))
    ribs = 0.06 * np.sin(38 * (y + 0.5 * (x - 0.5) ** 2)) * lungs
    picture = 0.78 - 0.55 * lungs + ribs + rng.normal(0, 0.02, (size, size)) + 0.1 * np.exp(-(((x - 0.5) / 0.06) ** 2))
    return Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
