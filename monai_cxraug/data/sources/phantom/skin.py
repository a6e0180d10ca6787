"""Skin lesions on skin, in colour: a caricature of dermoscopy in which malignant ones break the ABCD rule more often.

A lesion is drawn from four signs (Friedman et al., CA Cancer J Clin 1985): asymmetry, border, colour and diameter. Each
malignant lesion shows most of them, each benign one few, so that the classes overlap and no sign alone decides.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from monai_cxraug.data.sources.listing import Progress
from monai_cxraug.data.sources.phantom.canvas import stream
from monai_cxraug.data.sources.phantom.writers import report_progress, staged_folder
from monai_cxraug.errors import ConfigError

Picture = npt.NDArray[np.float64]

#: share of lesions of a class that show each sign.
_SIGNS: Final[Mapping[str, tuple[float, float, float, float]]] = {
    "benign": (0.15, 0.15, 0.1, 0.2),
    "malignant": (0.85, 0.8, 0.85, 0.75),
}
_TEST_SHARE: Final = 0.2
_SMALLEST: Final = 16
_SKIN: Final = np.array([[236, 188, 160], [224, 172, 138], [198, 142, 108], [150, 100, 74]]) / 255
#: browns, from light to dark.
_BROWNS: Final = np.array([[176, 120, 84], [134, 84, 56], [96, 58, 40]]) / 255
#: what malignant lesions add: black, red, blue-grey, white.
_OTHERS: Final = np.array([[38, 26, 26], [168, 66, 60], [96, 104, 122], [214, 186, 178]]) / 255


@dataclass(frozen=True)
class Lesion:
    """The four signs.

    Args:
        asymmetric: its halves differ.
        ragged: its border is notched, sharp here and washed out there.
        colourful: it has several colours in patches.
        large: it takes much of the picture.
    """

    asymmetric: bool
    ragged: bool
    colourful: bool
    large: bool


def write_skin_layout(
    folder: str | os.PathLike[str],
    images: int,
    size: int,
    seed: int,
    malignant: float = 0.4,
    *,
    progress: Progress | None = None,
) -> None:
    """Write ``{train,test}/{benign,malignant}/*.jpg``, 80 % of each class in train.

    Args:
        folder: new or empty folder; it appears only when everything is written.
        images: how many, at least 10.
        size: pixels a side, at least 16.
        seed: of everything drawn.
        malignant: share of malignant lesions, in (0, 1).
        progress: called with (images done, images in all).

    Raises:
        InputError: the folder holds something already.
        ConfigError: a number is out of range.
    """
    for name, value, least in (("images", images, 10), ("size", size, _SMALLEST)):
        if value < least:
            raise ConfigError(name, f"must be at least {least}", value, f"give {least} or more")
    if not 0 < malignant < 1:
        raise ConfigError("malignant", "must lie between 0 and 1", malignant, "0.4 is a usual share")
    counts = {"malignant": max(2, round(images * malignant))}
    counts["benign"] = images - counts["malignant"]
    todo = [(kind, number) for kind in sorted(counts) for number in range(counts[kind])]
    with staged_folder(folder) as stage:
        for kind, number in report_progress(todo, progress):
            split = "test" if number < max(1, round(counts[kind] * _TEST_SHARE)) else "train"
            (stage / split / kind).mkdir(parents=True, exist_ok=True)
            picture = render_lesion(kind, size, stream(seed, "skin", kind, str(number)))
            picture.save(stage / split / kind / f"{kind}_{number:05d}.jpg", quality=92)


def render_lesion(kind: str, size: int, rng: np.random.Generator) -> Image.Image:
    """Draw one lesion.

    Args:
        kind: ``"benign"`` or ``"malignant"``.
        size: pixels a side.
        rng: of everything drawn.

    Returns:
        RGB picture.
    """
    lesion = Lesion(*(bool(rng.random() < share) for share in _SIGNS[kind]))
    skin = _draw_skin(size, rng)
    cover, depth = _draw_shape(lesion, size, rng)
    colours = _draw_colours(lesion, depth, size, rng)
    picture = skin + (colours - skin) * cover[..., None]
    picture += rng.normal(0, 0.012, (size, size, 1))
    shown = Image.fromarray(np.clip(np.rint(picture * 255), 0, 255).astype(np.uint8))
    return _draw_hairs(shown, rng).filter(ImageFilter.GaussianBlur(size / 450))


def _noise(size: int, cells: int, rng: np.random.Generator) -> Picture:
    """Smooth noise, mean near 0 and deviation near 1, with ``cells`` structures a side."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64) * 1.3


def _draw_skin(size: int, rng: np.random.Generator) -> Picture:
    tone = _SKIN[rng.integers(len(_SKIN))] * rng.uniform(0.94, 1.05)
    relief = 0.016 * _noise(size, 4, rng) + 0.014 * _noise(size, max(8, size // 5), rng)
    axis = np.linspace(-1, 1, size)
    shade = 1 - 0.16 * np.clip(np.hypot(*np.meshgrid(axis, axis)) - 0.6, 0, None)
    redness = 0.007 * _noise(size, 5, rng)[..., None] * np.array([1.0, -0.4, -0.4])
    picture: Picture = (tone + relief[..., None] + redness) * shade[..., None]
    return picture


def _draw_shape(lesion: Lesion, size: int, rng: np.random.Generator) -> tuple[Picture, Picture]:
    """How much of the skin the lesion covers, in [0, 1], and how close a pixel is to its middle, which is 1."""
    axis = np.linspace(-1, 1, size)
    x, y = np.meshgrid(axis - rng.uniform(-0.12, 0.12), axis - rng.uniform(-0.12, 0.12))
    angle, turn = np.arctan2(y, x), rng.uniform(0, 2 * np.pi)
    radius = rng.uniform(0.5, 0.66) if lesion.large else rng.uniform(0.28, 0.42)
    outline = np.full_like(angle, radius) * (1 + rng.uniform(0.02, 0.12) * np.cos(2 * (angle - turn)))
    if lesion.asymmetric:
        for waves in (1, 2, 3):
            outline *= 1 + rng.uniform(0.1, 0.2) * np.cos(waves * angle + rng.uniform(0, 2 * np.pi))
    soft = np.full_like(angle, 0.05)
    if lesion.ragged:
        for waves in range(4, 22):
            outline *= 1 + rng.uniform(0.0, 0.16 / waves**0.6) * np.cos(waves * angle + rng.uniform(0, 2 * np.pi))
        soft *= 1.1 + 0.9 * np.cos(rng.integers(1, 3) * angle + rng.uniform(0, 2 * np.pi))
    away = np.hypot(x, y)
    cover: Picture = 0.5 + 0.5 * np.tanh((outline - away) / radius / np.maximum(soft, 2 / size))
    return cover, np.clip(1 - away / radius, 0, 1)


def _draw_colours(lesion: Lesion, depth: Picture, size: int, rng: np.random.Generator) -> Picture:
    """Brown, darker towards the middle; with patches of other colours where it is colourful."""
    light, dark = _BROWNS[rng.integers(2)] * 0.92, _BROWNS[2] * rng.uniform(0.7, 1.2)
    weight = np.clip(0.15 + 0.9 * depth + 0.12 * _noise(size, 7, rng), 0, 1)
    colours = light + (dark - light) * weight[..., None]
    colours *= 1 + 0.05 * _noise(size, max(8, size // 8), rng)[..., None]  # the net of pigment
    if lesion.colourful:
        for colour in rng.permutation(_OTHERS)[: rng.integers(2, 4)]:
            patch = 0.5 + 0.5 * np.tanh((_noise(size, 6, rng) - rng.uniform(0.4, 0.9)) / 0.5)
            colours += (colour - colours) * (0.75 * patch)[..., None]
    result: Picture = colours
    return result


def _draw_hairs(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Some pictures have a few dark hairs across."""
    if rng.random() < 0.35:
        pen, size = ImageDraw.Draw(picture), picture.width
        for _ in range(int(rng.integers(2, 7))):
            start, end = rng.uniform(-0.1, 1.1, (2, 2))
            bend = (start + end) / 2 + rng.normal(0, 0.15, 2)
            along = np.linspace(0, 1, 24)[:, None]
            curve = (1 - along) ** 2 * start + 2 * along * (1 - along) * bend + along**2 * end
            pen.line([(float(x), float(y)) for x, y in curve * size], fill=(52, 36, 30), width=max(1, size // 150))
    return picture
