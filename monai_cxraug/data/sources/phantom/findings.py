"""Fourteen findings, each drawn by its cause.

A finding may first *reshape* the chest (its lengths: a larger heart, a lower diaphragm) and then *fill* the scene (air
replaced by fluid, lines, lost vessels). Both depend on the cause alone, so a lesion keeps its place between studies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from monai_cxraug.data.sources.phantom.anatomy import Chest, wall_at
from monai_cxraug.data.sources.phantom.population import Cause
from monai_cxraug.data.sources.phantom.scene import Scene, diaphragm_at


def reshape(chest: Chest, cause: Cause) -> Chest:
    """Change the chest's lengths as the cause does; most causes leave them alone."""
    change = _RESHAPES.get(cause.finding)
    return change(chest, cause) if change else chest


def fill(scene: Scene, cause: Cause) -> None:
    """Draw the cause into the scene."""
    _FILLS[cause.finding](scene, cause, np.random.default_rng(cause.key))


def _signs(cause: Cause) -> tuple[int, ...]:
    return {"right": (-1,), "left": (1,), "both": (-1, 1)}[cause.side]


def _raise_domes(chest: Chest, cause: Cause, by: float) -> tuple[float, float]:
    right, left = chest.domes
    return right - (by if -1 in _signs(cause) else 0.0), left - (by if 1 in _signs(cause) else 0.0)


# --- reshaping


def _enlarge_heart(chest: Chest, cause: Cause) -> Chest:
    """Cardiomegaly: a cardiothoracic ratio of 0.52 to 0.66."""
    magnified = 1.05 if chest.ap else 1.0
    width = sum(chest.half) * (0.52 + 0.14 * cause.severity) * magnified
    return dataclasses.replace(chest, heart_width=max(chest.heart_width, width))


def _hyperinflate(chest: Chest, cause: Cause) -> Chest:
    """Emphysema: long dark lungs over a low flat diaphragm, a narrow heart, few vessels."""
    grade = 0.35 + 0.65 * cause.severity
    return dataclasses.replace(
        chest,
        domes=(chest.domes[0] + 2.6 * grade, chest.domes[1] + 2.4 * grade),
        arch=chest.arch * (1 - 0.72 * grade),
        half=(chest.half[0] * (1 + 0.04 * grade), chest.half[1] * (1 + 0.04 * grade)),
        heart_width=chest.heart_width * (1 - 0.16 * grade),
        lung_density=chest.lung_density * (1 - 0.42 * grade),
        vessels=chest.vessels * (1 - 0.45 * grade),
    )


def _shrink_lungs(chest: Chest, cause: Cause) -> Chest:
    """Fibrosis: stiff lungs pull the diaphragm up."""
    return dataclasses.replace(chest, domes=_raise_domes(chest, cause, 0.6 + 1.8 * cause.severity))


def _collapse(chest: Chest, cause: Cause) -> Chest:
    """Atelectasis: lost volume raises the hemidiaphragm and pulls the mediastinum to its side."""
    pull = sum(_signs(cause)) * (0.2 + 0.9 * cause.severity)
    return dataclasses.replace(
        chest, domes=_raise_domes(chest, cause, 0.7 + 2.2 * cause.severity), pull=chest.pull + pull
    )


def _push(chest: Chest, cause: Cause) -> Chest:
    """Pneumothorax, large effusion: what fills the pleural space pushes the mediastinum away."""
    return dataclasses.replace(chest, pull=chest.pull - sum(_signs(cause)) * 0.7 * max(cause.severity - 0.4, 0))


# --- filling


def _fill_nothing(scene: Scene, cause: Cause, rng: np.random.Generator) -> None:
    """Cardiomegaly shows by its width alone."""


def _fill_bullae(scene: Scene, cause: Cause, rng: np.random.Generator) -> None:
    """Emphysema: upper zones lose even more tissue, in round patches."""
    for side in (-1, 1):
        x, y = scene.chest.place(side, rng.uniform(0.3, 0.8), rng.uniform(0.12, 0.4))
        scene.thin *= 1 - (0.35 + 0.4 * cause.severity) * scene.frame.spot(x, y, 2.4, 2.8)


def _fill_effusion(scene: Scene, cause: Cause, rng: np.random.Generator) -> None:
    """Effusion: fluid blunts the costophrenic angle, its upper edge a meniscus that climbs the chest wall."""
    frame, chest = scene.frame, scene.chest
    height = 1.6 + 8.0 * cause.severity**1.3 * rng.uniform(0.75, 1.1)
    share = np.clip(np.abs(frame.x) / np.maximum(wall_at(chest, frame.x, frame.y), 1), 0, 1)
    climb = (0.55 * height + 0.9) * share**5
    surface = chest.base - height + 0.9 - climb
    scene.fill(0.96 * frame.edge(frame.y - surface, 0.45) * scene.half(cause.side))
    if cause.severity > 0.5:
        scene.fill(0.25 * frame.edge(frame.y - surface + 2, 2.0) * scene.half(cause.side))


def _fill_patches(scene: Scene, cause: Cause, rng: np.random.Generator) -> None:
    """Infiltration: soft, patchy, ill-defined shadows."""
    mottle = np.clip(0.9 + 0.3 * scene.frame.texture(rng, 1.5), 0.2, 1.6)
    for side in _signs(cause):
        for _ in range(int(rng.integers(2, 5))):
            x, y = scene.chest.place(side, rng.uniform(0.15, 0.8), rng.uniform(0.3, 0.9))
            spot = scene.frame.spot(x, y, rng.uniform(1.4, 2.8), rng.uniform(1.4, 2.8))
            scene.fill((0.16 + 0.3 * cause.severity) * spot * mottle)


def _add_ball(scene: Scene, x: float, y: float, radius: float, squeeze: float, density: float = 1.25) -> None:
    """Put a ball of tissue (density 1: water) into the lung; it can take no more than the lung's own path."""
    chord = (2 * radius) * scene.frame.ball(x, y, radius, radius * squeeze)
    scene.fill(np.minimum(chord * density / np.maximum(scene.path, 1), 0.95))


def _fill_mass(scene: Scene, cause: Cause, rng: np.random.Generator) -> None:
    """Mass: a round, slightly lobed shadow of more than 3 cm."""
    radius = 1.6 + 1.7 * cause.severity
    x, y = scene.chest.place(_signs(cause)[0], rng.uniform(0.3, 0.75), rng.uniform(0.22, 0.78))
    _add_ball(scene, x, y, radius, rng.uniform(0.85, 1.1))
    turn = rng.uniform(0, 2 * np.pi)
    _add_ball(scene, x + 0.55 * radius * np.cos(turn), y + 0.55 * radius * np.sin(turn), 0.6 * radius, 1.0)


def _fill_nodules(scene: Scene, cause: Cause, rng: np.random.Generator) -> None:
    """Nodule: one to four round shadows of less than 3 cm, dense as old granulomas are."""
    for _ in range(1 + int(rng.integers(0, 3)) + int(cause.severity > 0.6)):
        x, y = scene.chest.place(_signs(cause)[0], rng.uniform(0.3, 0.85), rng.uniform(0.2, 0.85))
        _add_ball(scene, x, y, (0.6 + 0.8 * cause.severity) * rng.uniform(0.85, 1.05), rng.uniform(0.9, 1.1), 2.2)


#: lobes by side: highest and lowest depth (0 apex, 1 dome).
_LOBES: Final[Mapping[int, tuple[tuple[float, float], ...]]] = {
    -1: ((0.12, 0.45), (0.48, 0.72), (0.62, 1.15)),
    1: ((0.15, 0.6), (0.58, 1.15)),
}


def _fill_lobe(scene: Scene, cause: Cause, rng: np.random.Generator) -> None:
    """Pneumonia: one lobe is hazy and dense, sharp at the fissure, soft elsewhere."""
    side = _signs(cause)[0]
    top, bottom = _LOBES[side][int(rng.integers(len(_LOBES[side])))]
    depth, span = scene.depth(), scene.chest.height
    mottle = np.clip(0.85 + 0.25 * scene.frame.texture(rng, 1.8), 0.2, 1.4)
    band = scene.frame.edge((depth - top) * span, 1.1)
    band *= scene.frame.edge((bottom - depth) * span, 0.3)
    scene.fill((0.3 + 0.5 * cause.severity) * band * mottle * scene.half(cause.side))


def _fill_pneumothorax(scene: Scene, cause: Cause, rng: np.random.Generator) -> None:
    """Pneumothorax: a fine pleural line; beyond it no vessels and only air, inside it a denser, smaller lung."""
    frame, chest = scene.frame, scene.chest
    gap = 1.0 + 4.6 * cause.severity
    y = frame.y - (gap * 0.9)
    depth = np.clip(scene.depth(), 0, 1)
    pleura = wall_at(chest, frame.x, y) - gap * (1 - 0.6 * depth)
    inward = np.minimum(pleura - np.abs(frame.x), y - chest.apex)
    side = scene.half(cause.side)
    outside = (1 - frame.edge(inward, 0.1)) * side
    scene.thin *= 1 - 0.97 * outside
    scene.fill((0.06 + 0.3 * cause.severity**2) * (side - outside))
    scene.soft += 1.5 * frame.line(inward, 0.14) * side * scene.lung


def _fill_consolidation(scene: Scene, cause: Cause, rng: np.random.Generator) -> None:
    """Consolidation: a segment full of fluid, its bronchi still filled with air (dark branches)."""
    frame, side = scene.frame, _signs(cause)[0]
    x, y = scene.chest.place(side, rng.uniform(0.3, 0.65), rng.uniform(0.35, 0.85))
    reach = 2.3 + 2.3 * cause.severity
    rough = 0.13 * frame.texture(rng, 2.0)
    radius = np.hypot((frame.x - x) / reach, (frame.y - y) / reach)
    dense = frame.edge((1 - radius + rough) * reach, 1.1)
    scene.fill((0.5 + 0.3 * cause.severity) * dense * scene.half(cause.side))
    hilum, turns = np.array(scene.chest.hilum(side)), rng.uniform(-0.7, 0.7, 4)
    middle = np.array([x, y])
    ends = [middle + 0.7 * reach * np.array([side * np.cos(turn), np.sin(turn)]) for turn in turns]
    bronchi = frame.strokes([[hilum, 0.5 * (hilum + middle), end] for end in ends], [0.5] * 4)
    scene.soft -= 2.2 * bronchi * dense * scene.lung


def _fill_edema(scene: Scene, cause: Cause, rng: np.random.Generator) -> None:
    """Edema: haze around both hila (bat wings), full upper vessels, Kerley B lines at the bases' rims."""
    frame, chest, grade = scene.frame, scene.chest, 0.3 + 0.7 * cause.severity
    mottle = np.clip(0.9 + 0.2 * frame.texture(rng, 2.0), 0.3, 1.5)
    for side in (-1, 1):
        x, y = chest.hilum(side)
        scene.fill((0.55 * grade) * frame.spot(x + side * 2.2, y + 0.8, 3.2, 4.4) * mottle)
    scene.fill(np.full_like(scene.air, 0.1 * grade))
    scene.vessels *= 1 + (0.5 * grade) * (scene.depth() < 0.5)
    lines = []
    for side in (-1, 1):
        for down in rng.uniform(0.66, 1.0, 9):
            x, y = chest.place(side, 1.0, float(down))
            lines.append([(x, y), (x - side * rng.uniform(1.0, 2.0), y + rng.uniform(-0.1, 0.1))])
    scene.soft += (5.0 * grade) * frame.strokes(lines, [0.14] * len(lines)) * scene.lung


def _fill_reticulum(scene: Scene, cause: Cause, rng: np.random.Generator) -> None:
    """Fibrosis: a net of fine lines and small cysts, densest at the bases and rims."""
    frame, chest, grade = scene.frame, scene.chest, 0.3 + 0.7 * cause.severity
    lines, widths = [], []
    for _ in range(170):
        side = int(rng.choice((-1, 1)))
        x, y = chest.place(side, float(rng.beta(2.2, 1.0)), float(1.08 - 0.6 * rng.beta(1.0, 2.0)))
        turn, length = rng.uniform(0, np.pi), rng.uniform(0.6, 1.6)
        step = 0.5 * length * np.array([np.cos(turn), np.sin(turn)])
        lines.append([(x - step[0], y - step[1]), (x, y), (x + step[0], y + 0.5 * step[1])])
        widths.append(float(rng.uniform(0.1, 0.24)))
    low = np.clip((scene.depth() - 0.45) * 2, 0, 1)
    net = frame.strokes(lines, widths)
    scene.soft += (5.5 * grade) * net * scene.lung
    grain = np.clip(0.7 + 0.6 * frame.texture(rng, 0.8), 0, 2)
    scene.fill((0.36 * grade) * low * grain)


def _fill_plates(scene: Scene, cause: Cause, rng: np.random.Generator) -> None:
    """Atelectasis: bands of collapsed lung, nearly level, above a raised diaphragm; the rest of the base is dense."""
    frame = scene.frame
    for side in _signs(cause):
        for _ in range(1 + int(rng.integers(0, 2)) + int(cause.severity > 0.5)):
            x, y = scene.chest.place(side, rng.uniform(0.35, 0.65), rng.uniform(0.7, 0.92))
            slope = side * rng.uniform(-0.1, 0.45)
            offset = frame.y - y - slope * (frame.x - x)
            reach = frame.edge(rng.uniform(2.2, 3.8) - np.abs(frame.x - x), 0.8)
            band = frame.line(offset, 0.35 + 0.75 * cause.severity)
            scene.fill((0.4 + 0.35 * cause.severity) * band * reach)
    low = np.clip((scene.depth() - 0.7) * 3, 0, 1)
    scene.fill((0.1 + 0.3 * cause.severity) * low * scene.half(cause.side))


def _fill_rim(scene: Scene, cause: Cause, rng: np.random.Generator) -> None:
    """Pleural thickening: an uneven rim of tissue along the wall, thickest as a cap over the apex."""
    frame, chest = scene.frame, scene.chest
    uneven = np.clip(1 + 0.4 * frame.texture(rng, 2.5), 0.3, 2)
    cap = np.exp(-np.maximum(frame.y - chest.apex, 0) / 3.5)
    thick = (0.45 + 0.95 * cause.severity) * uneven * (0.8 + 1.3 * cap)
    inward = wall_at(chest, frame.x, frame.y) - np.abs(frame.x)
    scene.fill(0.75 * frame.edge(thick - inward, 0.2) * scene.half(cause.side))
    angle = frame.edge(frame.y - diaphragm_at(chest, frame) + thick, 0.3) * frame.edge(4.5 - inward, 1.0)
    scene.fill(0.6 * angle * scene.half(cause.side))


def _fill_hernia(scene: Scene, cause: Cause, rng: np.random.Generator) -> None:
    """Hernia: stomach behind the heart, round, gas above a level of fluid."""
    frame, chest = scene.frame, scene.chest
    radius = 2.3 + 1.7 * cause.severity
    x, y = chest.pull + rng.uniform(0.3, 2.4), max(chest.domes) - 0.75 * radius
    ball = frame.ball(x, y, radius, radius * 0.9)
    level = frame.edge(frame.y - (y + rng.uniform(-0.2, 0.5)), 0.12)
    rim = frame.line(np.hypot(frame.x - x, (frame.y - y) / 0.9) - radius, 0.3)
    scene.soft += radius * ball * (1.1 * level - 1.5 * (1 - level))
    scene.soft += 1.2 * rim


_RESHAPES: Final[Mapping[str, Callable[[Chest, Cause], Chest]]] = {
    "Atelectasis": _collapse,
    "Cardiomegaly": _enlarge_heart,
    "Effusion": _push,
    "Emphysema": _hyperinflate,
    "Fibrosis": _shrink_lungs,
    "Pneumothorax": _push,
}
_FILLS: Final[Mapping[str, Callable[[Scene, Cause, np.random.Generator], None]]] = {
    "Atelectasis": _fill_plates,
    "Cardiomegaly": _fill_nothing,
    "Effusion": _fill_effusion,
    "Infiltration": _fill_patches,
    "Mass": _fill_mass,
    "Nodule": _fill_nodules,
    "Pneumonia": _fill_lobe,
    "Pneumothorax": _fill_pneumothorax,
    "Consolidation": _fill_consolidation,
    "Edema": _fill_edema,
    "Emphysema": _fill_bullae,
    "Fibrosis": _fill_reticulum,
    "Pleural_Thickening": _fill_rim,
    "Hernia": _fill_hernia,
}
