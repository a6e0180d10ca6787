"""Drawing a healthy chest: lungs, heart, bones and soft tissue as path lengths along the beam."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monai_cxraug.data.sources.phantom.anatomy import Chest, wall_at
from monai_cxraug.data.sources.phantom.canvas import Array, Frame

Points = npt.NDArray[np.float64]

#: linear attenuation of soft tissue at diagnostic chest voltages, 1/cm (water at about 60 keV effective: 0.2).
SOFT = 0.195
#: attenuation that bone adds to the soft tissue it replaces, 1/cm.
BONE = 0.3


@dataclass
class Scene:
    """A chest being drawn: float32 ``[H, W]`` fields that findings change before the beam passes.

    Args:
        frame: where pixels lie.
        chest: the lengths drawn from.
        lung: 0..1, where lung is seen.
        path: cm of lung along the beam.
        air: 0..1, share of that path which is aerated.
        thin: 0..1, what is left of the aerated lung's own density (0 in a pneumothorax).
        heart: 0..1, share of the lung path that heart and great vessels replace.
        vessels: cm of blood in lung vessels along the beam.
        soft: cm of soft tissue added (or, below zero, replaced by gas).
        bone: cm of bone.
        body: 0..1, where the patient is.
        thickness: cm of patient along the beam.
    """

    frame: Frame
    chest: Chest
    lung: Array
    path: Array
    air: Array
    thin: Array
    heart: Array
    vessels: Array
    soft: Array
    bone: Array
    body: Array
    thickness: Array

    def fill(self, share: Array) -> None:
        """Replace a share (0..1) of the air left in the lungs by fluid or tissue."""
        self.air *= np.clip(1 - share, 0, 1)

    def depth(self) -> Array:
        """Height below the apex as a share of the way to the dome of the same side."""
        chest = self.chest
        span = chest.side(self.frame.x, (chest.domes[0] - chest.apex, chest.domes[1] - chest.apex))
        return (self.frame.y - chest.apex) / span

    def half(self, side: str) -> Array:
        """1 on the given side of the patient (or both), 0 on the other."""
        if side == "both":
            return np.ones_like(self.lung)
        return (self.frame.x > 0 if side == "left" else self.frame.x <= 0).astype(np.float32)

    def attenuation(self) -> Array:
        """Sum attenuation times path length over all structures (Beer-Lambert exponent)."""
        lung_path = self.path * self.lung * (1 - self.heart)
        aerated = lung_path * self.air
        missing = aerated * (1 - self.chest.lung_density * self.thin)
        vessels = self.vessels * self.thin * self.air * (self.lung * (1 - 0.7 * self.heart))
        tissue = self.thickness - missing + vessels + self.soft * self.body
        # added tissue or gas cannot exceed what the patient is thick
        return SOFT * np.maximum(tissue, 0) + BONE * self.bone * self.body


def draw_scene(chest: Chest, frame: Frame) -> Scene:
    """Draw a healthy chest."""
    body, thickness = draw_outline(chest, frame)
    lung, path = draw_lungs(chest, frame)
    ones = np.ones_like(lung)
    return Scene(
        frame=frame,
        chest=chest,
        lung=lung,
        path=path,
        air=ones,
        thin=ones.copy(),
        heart=draw_heart(chest, frame),
        vessels=draw_vessels(chest, frame),
        soft=draw_airways(chest, frame) + draw_breasts(chest, frame) + draw_gas(chest, frame),
        bone=draw_bones(chest, frame, lung),
        body=body,
        thickness=thickness,
    )


def draw_outline(chest: Chest, frame: Frame) -> tuple[Array, Array]:
    """Draw the skin outline (0..1) and the body's thickness (cm): neck, shoulders, chest wall, belly."""
    u, y = np.abs(frame.x), frame.y
    shoulder = chest.apex - 1.2 + chest.body.shoulder
    slope = (shoulder + 1.2) - 9 * np.exp(-np.maximum(u - 4.5, 0) / 2.6) + 0.012 * u * u
    widest = sum(chest.half) / 2 + 0.9 + chest.body.wall * 0.7
    flank = widest + (0.5 * chest.body.wall) * np.clip((y - 4) / 14, 0, 1)
    armpit = 15 * (1 - np.tanh((y - (chest.apex + 9.5)) / 2.2))
    flank = flank + armpit
    mask = frame.edge(y - slope, 0.25) * frame.edge(flank - u, 0.25)
    full = chest.body.depth + 5.0 + 1.1 * chest.body.wall
    rim = np.clip(1 - np.square(np.square(u / np.maximum(flank, 1))), 0.02, 1)
    thickness = full * np.sqrt(rim) * mask
    upper = np.clip((y - slope) / 7.5, 0, 1)
    thickness *= 0.5 + 0.5 * np.sqrt(upper)
    return mask, thickness


def draw_lungs(chest: Chest, frame: Frame) -> tuple[Array, Array]:
    """Draw where lung is seen (0..1) and how much of it the beam crosses (cm)."""
    u, y, x = np.abs(frame.x), frame.y, frame.x
    wall = wall_at(chest, x, y)
    lung = frame.edge(wall - u, 0.14) * frame.edge(u - mediastinum_at(chest, frame), 0.22)
    lung *= frame.edge(diaphragm_at(chest, frame) - y, 0.12)
    across = np.clip(u / np.maximum(wall, 0.1), 0, 1)
    rise = np.clip((y - (chest.apex - 0.5)) / (0.55 * chest.height), 0, 1)
    path = (chest.body.depth * 0.9) * np.sqrt(1.02 - across**3)
    return lung, path * (0.55 + 0.45 * np.sqrt(rise))


def mediastinum_at(chest: Chest, frame: Frame) -> Array:
    """Half width of the mediastinum without heart and arch, wider at the thoracic inlet, cm."""
    high = np.exp(-np.maximum(frame.y - chest.apex, 0) / 1.5)
    width: Array = 1.9 + 3.2 * high + chest.pull * np.sign(frame.x)
    return width


def diaphragm_at(chest: Chest, frame: Frame) -> Array:
    """Height of the diaphragm over each ``x``: shallow towards the heart, steep into the costophrenic angle."""
    dome, half = chest.side(frame.x, chest.domes), chest.side(frame.x, chest.half)
    top = 0.47 * half
    offset = np.abs(frame.x) - top
    outer = np.clip(offset / (half - top), 0, 1.3)
    inner = np.clip(-offset / top, 0, 1)
    # the dome is a flat cap whose rim falls off quickly
    fall = outer * outer * (0.45 + 0.55 * outer * outer)
    height: Array = dome + chest.arch * fall + (0.25 * chest.arch) * inner * inner
    return height


def draw_heart(chest: Chest, frame: Frame) -> Array:
    """Draw heart, aortic arch and great vessels as the share of lung they replace (0..1).

    The heart spans exactly ``chest.heart_width``: a third to the right of the midline, two thirds to the left.
    """
    knob_y, knob = chest.apex + 0.33 * chest.height, chest.body.knob
    heart, centre_y, drop = _heart_distance(chest, frame)
    atrium = _ellipse_distance(frame, chest.pull - 0.13 * chest.heart_width, centre_y, 0.2 * chest.heart_width, drop)
    arch = _ellipse_distance(frame, chest.pull + 1.5, knob_y, knob + 0.2, knob + 0.3)
    # the vascular pedicle: from the arch down into the heart, wider below
    run = np.clip((frame.y - knob_y) / max(centre_y - knob_y, 1.0), -0.6, 1)
    pedicle = 2.35 + 1.25 * np.maximum(run, 0) ** 2 - np.abs(frame.x - chest.pull)
    pedicle = np.minimum(pedicle, centre_y - frame.y)
    pedicle = np.minimum(pedicle, frame.y - (knob_y - 5))
    surface = _join(_join(heart, atrium), _join(arch, pedicle))
    bulk = np.sqrt(np.clip(surface / 4.5, 0, 1))
    share: Array = frame.edge(surface, 0.2) * (0.6 + 0.3 * bulk)
    return share


def _heart_distance(chest: Chest, frame: Frame) -> tuple[Array, float, float]:
    """Distance inwards from the ventricles' oblique ellipse (cm), the height of its middle and its half height."""
    width, cos, sin = chest.heart_width, math.cos(chest.body.heart_angle), math.sin(chest.body.heart_angle)
    long = 0.5 * width / math.hypot(cos, 0.72 * sin)
    drop = long * math.hypot(sin, 0.72 * cos)
    # a large heart grows sideways: its height is bounded by the room above the diaphragm
    squash = min(1.0, 0.27 * chest.height / drop)
    centre_y = chest.domes[1] + 0.8 - 0.92 * drop * squash
    dx = frame.x - (chest.pull + 0.17 * width)
    dy = (frame.y - centre_y) / squash
    along, across = cos * dx + sin * dy, cos * dy - sin * dx
    radius = np.hypot(along / long, across / (0.72 * long))
    return (1 - radius) * (0.8 * long), centre_y, drop * squash


def _ellipse_distance(frame: Frame, x: float, y: float, rx: float, ry: float) -> Array:
    radius = np.hypot((frame.x - x) / rx, (frame.y - y) / ry)
    distance: Array = (1 - radius) * min(rx, ry)
    return distance


def _join(first: Array, second: Array, blend: float = 0.9) -> Array:
    """Union of two shapes given by their inward distances, rounded where they meet (polynomial smooth maximum)."""
    near = np.maximum(blend - np.abs(first - second), 0)
    return np.maximum(first, second) + near * near * (0.25 / blend)


def draw_airways(chest: Chest, frame: Frame) -> Array:
    """Draw trachea and main bronchi: cm of soft tissue that air replaces, below zero."""
    carina = chest.apex + 0.40 * chest.height
    lean = (chest.pull * 0.8 + 0.25) * np.clip((frame.y - (chest.apex - 4)) / 12, 0, 1)
    chord = np.sqrt(np.maximum(0.85**2 - np.square(frame.x - lean), 0)) * 2
    trachea = chord * frame.edge(carina - frame.y, 0.5) * frame.edge(frame.y + 17, 0.5)
    top = (chest.pull * 0.8 + 0.2, carina - 0.4)
    bronchi = frame.strokes([[top, chest.hilum(-1)], [top, chest.hilum(1)]], [0.9, 0.8])
    return -1.6 * trachea - 0.8 * bronchi


def draw_breasts(chest: Chest, frame: Frame) -> Array:
    """Draw breast shadows: cm of soft tissue added over the lower lungs."""
    size, y = chest.body.breast, chest.domes[0] - 1.6 + 0.5 * chest.body.breast
    reach = 4.6 + 0.55 * size
    pair = frame.ball(-7.6, y, reach, reach * 0.82) + frame.ball(7.6, y, reach, reach * 0.82)
    return (size * 0.85) * pair * frame.edge(frame.y - (y - reach), 2.0)


def draw_gas(chest: Chest, frame: Frame) -> Array:
    """Draw the stomach bubble under the left dome and some gas in the bowel: below zero."""
    gas = chest.body.gas
    top, x = chest.domes[1] + 1.1, 5.2
    bubble = frame.ball(x, top + 1.5, 2.6 + gas, 1.5 + 0.4 * gas)
    bubble *= frame.edge((top + 1.9 + 0.8 * gas) - frame.y, 0.15)
    rng = np.random.default_rng(chest.body.tree)
    bowel = np.maximum(frame.texture(rng, 3.0), 0) * frame.edge(frame.y - (chest.base + 1.0), 1.5)
    return (-6.0 * gas) * bubble - (1.2 * gas) * bowel


def draw_vessels(chest: Chest, frame: Frame) -> Array:
    """Draw the vessel trees of both lungs: cm of blood along the beam, thick at the hila, fading outwards."""
    rng = np.random.default_rng(chest.body.tree)
    grown = [grow_tree(rng, chest, side) for side in (-1, 1)]
    paths, widths = (np.concatenate(parts) for parts in zip(*grown, strict=True))
    order = np.argsort(widths)
    tree = frame.strokes(paths[order], widths[order].tolist())
    hila = sum((frame.spot(*chest.hilum(side), 1.0, 1.7) for side in (-1, 1)), np.zeros_like(tree))
    return chest.vessels * (2.2 * tree + 2.0 * hila)


def grow_tree(rng: np.random.Generator, chest: Chest, side: int) -> tuple[Points, Points]:
    """Grow one lung's vessels from its hilum by repeated forking.

    Returns:
        Polylines ``[n, 3, 2]`` in cm and their widths ``[n]`` in cm; a fork's widths obey Murray's law, w^3 = w1^3 +
        w2^3 (Murray, 1926).
    """
    angle = np.array([-1.35, -0.85, -0.35, 0.15, 0.6, 1.0, 1.4])
    start, width = np.zeros((7, 2)), np.full(7, 0.62)
    paths, widths = [], []
    for level in range(5):
        length = (2.6 - 0.28 * level) * rng.uniform(0.75, 1.25, angle.size)
        bend = angle + rng.normal(0, 0.18, angle.size)
        middle = start + 0.5 * length[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        end = middle + 0.5 * length[:, None] * np.stack([np.cos(bend), np.sin(bend)], axis=1)
        paths.append(np.stack([start, middle, end], axis=1))
        widths.append(width)
        fork = rng.uniform(0.25, 0.55, angle.size)
        share = rng.uniform(0.35, 0.65, angle.size)
        angle = np.concatenate([bend + fork * (1 - share), bend - fork * share * 1.4])
        start = np.concatenate([end, end])
        width = np.concatenate([width * np.cbrt(share), width * np.cbrt(1 - share)])
    stretch = np.array([np.mean(chest.half) / 12.9 * side, chest.height / 20.5])
    return np.concatenate(paths) * stretch + chest.hilum(side), np.concatenate(widths)


def draw_bones(chest: Chest, frame: Frame, lung: Array) -> Array:
    """Draw spine, ribs, clavicles and scapulae: cm of bone along the beam."""
    bone = draw_spine(chest, frame) + draw_ribs(chest, frame) + draw_clavicles(chest, frame)
    return chest.body.rib_bone * (bone + draw_scapulae(chest, frame) + draw_arms(chest, frame))


def draw_spine(chest: Chest, frame: Frame) -> Array:
    """Draw vertebral bodies with discs between them, and the spinous processes."""
    bend = chest.body.spine_bend * np.sin(frame.y / 5.5)
    u = np.abs(frame.x - bend)
    spacing = 2.35
    phase = (frame.y / spacing + chest.body.rib_phase) * (2 * np.pi)
    beat = np.cos(phase)
    width = 1.7 - 0.15 * beat
    column = frame.edge(width - u, 0.15) * (1.45 - 0.45 * np.maximum(beat, 0) ** 4)
    process = np.exp(-np.square(u / 0.35)) * np.maximum(-beat, 0) * 0.9
    pedicle = np.exp(-np.square((u - 1.15) / 0.3)) * np.maximum(-beat, 0) * 0.7
    spine: Array = column + process + pedicle
    return spine


def draw_ribs(chest: Chest, frame: Frame) -> Array:
    """Draw posterior arcs (from the spine outwards, nearly level) and anterior ones (falling towards the middle)."""
    u = np.abs(frame.x)
    cage = wall_at(chest, frame.x, frame.y) + 0.35
    share = np.clip(u / np.maximum(cage, 1), 0, 1.05)
    inside = frame.edge(cage - u, 0.2)
    spacing = chest.body.rib_spacing * chest.height / 20.5
    level = (frame.y - (chest.apex + 0.4)) / spacing
    fall = 0.25 + np.clip(level, 0, 9) / 9
    sweep = (3.9 * share**3 * fall - 0.9 * np.sin(np.pi * share)) / spacing
    back = _rib(frame, level - sweep, spacing, 0.46, 11)
    drop = 5.8 * np.sqrt(np.maximum(1.03 - share, 0)) / spacing
    front = _rib(frame, level - sweep - drop + 0.35, spacing, 0.55, 7)
    front *= frame.edge(u - 5.0, 1.4)
    rim = frame.line(cage - u - 0.25, 0.5) * frame.edge(frame.y - (chest.apex + 1), 1.0)
    ribs = 0.9 * back * frame.edge(u - 1.9, 0.5) + 0.55 * front
    return ribs * inside + 0.35 * rim


def _rib(frame: Frame, phase: Array, spacing: float, half: float, count: int) -> Array:
    """Draw bands around whole phases 0..count-1, brighter at the cortex, cm of bone."""
    offset = (phase - np.round(phase)) * spacing
    shell = 0.55 + 0.45 * np.minimum(np.square(offset / half), 1)
    valid = frame.edge((phase + 0.5) * 2, 0.1) * frame.edge(((count - 0.5) - phase) * 2, 0.1)
    return frame.edge(half - np.abs(offset), 0.12) * shell * valid


def draw_clavicles(chest: Chest, frame: Frame) -> Array:
    """Draw the clavicles: S-shaped, from beside the spine up and out; rotation moves their inner ends."""
    inner = 1.7 + (0.9 * chest.rotation) * np.sign(frame.x)
    run = np.clip((np.abs(frame.x) - inner) / 13.5, 0, 1.2)
    height = (chest.apex + 4.0 - chest.clavicle) - 3.6 * run
    height += 0.5 * np.sin(run * (2 * np.pi)) + (0.4 * chest.body.shoulder) * run
    half = 0.62 + 0.3 * np.exp(-run * 9)
    offset = np.abs(frame.y - height)
    shell = 0.6 + 0.4 * np.minimum(np.square(offset / half), 1)
    shaft = frame.edge(half - offset, 0.12) * shell
    return 1.6 * shaft * frame.edge(np.abs(frame.x) - inner, 0.25)


def draw_scapulae(chest: Chest, frame: Frame) -> Array:
    """Draw the shoulder blades: over the lungs on AP views, rolled outwards on PA views."""
    out = 8.3 if chest.ap else 11.6
    u, top = np.abs(frame.x), chest.apex + 1.6
    border = out + 0.22 * (frame.y - top)
    below = (top + 11.5) - frame.y - 0.9 * np.maximum(u - border, 0)
    plate = frame.edge(u - border, 0.2) * frame.edge(below, 0.3) * frame.edge(frame.y - top, 0.4)
    rim = frame.line(u - border - 0.15, 0.45) * frame.edge(below, 0.3)
    rim *= frame.edge(frame.y - top, 0.4)
    spine = frame.line(frame.y - (top + 2.2) + 0.35 * (u - border), 0.7) * plate
    return 0.32 * plate + 0.5 * rim + 0.5 * spine


def draw_arms(chest: Chest, frame: Frame) -> Array:
    """Draw the heads of the upper arm bones at the picture's upper corners."""
    y = chest.apex + 2.6 + chest.body.shoulder * 0.5
    heads = frame.ball(-17.2, y, 2.6) + frame.ball(17.2, y, 2.6)
    return 2.0 * heads
