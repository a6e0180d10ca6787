"""Small studies, and readers for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, shift

from monai_cxraug.study.distances import PIXEL_DISTANCES, Distance, Pictures, measure
from monai_cxraug.study.files import Answer, Reader, Study, Trial, write_answers
from monai_cxraug.study.observers import Observer

Picture = NDArray[np.float64]
#: what makes an image worse, by name: a picture, a strength and random numbers to a picture.
BLUR, NOISE, SHIFT, DARK = "gaussian_blur", "gaussian_noise", "shift", "gamma"


def chest(rng: np.random.Generator, side: int) -> Picture:
    """A patch with edges and texture, in [0, 1]."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    ribs = 0.12 * np.cos(25 * (y + rng.uniform(0.3, 0.8) * np.abs(x)) + rng.uniform(0, 6))
    lung = 0.35 * np.exp(-(((x - rng.normal(0, 0.1)) / 0.25) ** 2 + ((y - rng.normal(0, 0.1)) / 0.4) ** 4))
    return np.clip(0.6 + ribs - lung + rng.normal(scale=0.02, size=(side, side)), 0, 1)


def distort(picture: Picture, made: str, rng: np.random.Generator) -> Picture:
    """Make an image worse as the text says; "" leaves it."""
    if not made:
        return picture
    name, strength = made.split(" ")
    amount = float(strength)
    if name == BLUR:
        changed = gaussian_filter(picture, amount)
    elif name == NOISE:
        changed = picture + rng.normal(scale=amount, size=picture.shape)
    elif name == SHIFT:
        changed = shift(picture, amount, order=1, mode="nearest")
    else:
        changed = picture**amount
    return np.clip(changed, 0, 1)


STRENGTHS = {
    BLUR: (0.4, 0.7, 1.0, 1.6, 2.4),
    NOISE: (0.01, 0.02, 0.04, 0.08),
    SHIFT: (0.3, 0.8, 1.5),
    DARK: (1.05, 1.2, 1.5),
}


class Builder:
    """Writes images and trials into a folder."""

    def __init__(self, folder: Path, side: int = 32, seed: int = 0) -> None:
        self.folder, self.side, self.rng = folder, side, np.random.default_rng(seed)
        self.trials: list[Trial] = []
        (folder / "images").mkdir(parents=True)
        self.count = 0

    def image(self, picture: Picture) -> str:
        self.count += 1
        name = f"i{self.count:05d}"
        Image.fromarray(np.round(255 * picture).astype(np.uint8)).save(self.folder / "images" / f"{name}.png")
        return name

    def any(self) -> str:
        name = str(self.rng.choice(list(STRENGTHS)))
        return f"{name} {self.rng.choice(STRENGTHS[name])}"

    def choice(self, patient: str, family: str, role: str = "judged", **more: Any) -> Trial:
        base = chest(self.rng, self.side)
        first, second = self.any(), self.any()
        if role == "sentinel":
            first, second = (f"{BLUR} 6", "") if self.rng.random() < 0.5 else ("", f"{BLUR} 6")
            more["expected"] = "left" if first == "" else "right"
        names = [self.image(distort(base, made, self.rng)) for made in ("", first, second)]
        one = Trial(
            f"t{len(self.trials):04d}", "2afc", role, *names, family=family, distortion_first=first,
            distortion_second=second, patient_id=patient, **more,
        )  # fmt: skip
        self.trials.append(one)
        return one

    def repeat(self, of: Trial) -> None:
        self.trials.append(
            Trial(
                f"t{len(self.trials):04d}", "2afc", "repeat", of.reference, of.second, of.first, repeat_of=of.trial,
                family=of.family, distortion_first=of.distortion_second, distortion_second=of.distortion_first,
                patient_id=of.patient_id,
            )
        )  # fmt: skip

    def pair(self, patient: str, made: str) -> None:
        base = chest(self.rng, self.side)
        names = [self.image(base), self.image(distort(base, made, self.rng))]
        self.trials.append(
            Trial(
                f"t{len(self.trials):04d}", "jnd", "judged", "", *names, family="traditional", distortion_second=made,
                patient_id=patient,
            )
        )  # fmt: skip

    def single(self, patient: str, kind: str) -> None:
        about = {"expected": kind, "family": "turing", "patient_id": patient}
        name = self.image(chest(self.rng, self.side))
        self.trials.append(Trial(f"t{len(self.trials):04d}", "turing", "judged", first=name, **about))

    def done(self, **info: Any) -> Study:
        document = {"title": "A made study", "seed": 1, "tasks": ["2afc", "jnd", "turing"], "size": self.side, **info}
        return Study.write(self.folder, document, self.trials)


def make_study(
    folder: Path, choices: int = 24, pairs: int = 12, singles: int = 8, side: int = 32, seed: int = 0,
    patients: int = 8, sentinels: int = 5, repeats: int = 4, **info: Any,
) -> Study:  # fmt: skip
    """A study of all three tasks."""
    build = Builder(folder, side, seed)
    asked = [build.choice(f"p{k % patients}", ("traditional", "cnn", "mixed")[k % 3]) for k in range(choices)]
    for one in asked[:repeats]:
        build.repeat(one)
    for k in range(sentinels):
        build.choice(f"p{k % patients}", "sentinel", "sentinel")
    for k in range(pairs):
        name = list(STRENGTHS)[k % 2]
        made = "" if k % 4 == 3 else f"{name} {STRENGTHS[name][k // 2 % len(STRENGTHS[name])]}"
        build.pair(f"p{k % patients}", made)
    for k in range(singles):
        build.single(f"p{k % patients}", ("real", "synthetic")[k % 2])
    return build.done(**info)


def known_distance(study: Study, name: str = "L2") -> Distance:
    """A distance of every trial, sentinels and repeats too."""
    return measure(name, "pixels", PIXEL_DISTANCES[name][1], Pictures(study), study.trials)


def answer(
    folder: Path, study: Study, observers: Sequence[Observer], more: Sequence[tuple[Reader, list[Answer]]] = ()
) -> Path:
    """Have observers answer, and write the tables."""
    readers = [one.row for one in observers] + [reader for reader, _ in more]
    answers = [one for observer in observers for one in observer.answer(study)]
    folder.mkdir(parents=True, exist_ok=True)
    write_answers(folder, [*answers, *(one for _, some in more for one in some)], readers)
    return folder
