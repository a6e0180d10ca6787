"""The numbers of a chest: what belongs to a patient, what to one exposure, and the chest that results."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monai_cxraug.data.sources.phantom.canvas import Array, Frame, stream
from monai_cxraug.data.sources.phantom.population import Study

#: no healthy heart is drawn wider than this share of the chest on a PA view (the clinical limit is 0.5).
HEALTHY_RATIO = 0.485


@dataclass(frozen=True)
class Body:
    """What stays with a patient; lengths in cm."""

    half_width: float
    lung_height: float
    depth: float
    wall: float
    heart_ratio: float
    heart_angle: float
    knob: float
    spine_bend: float
    rib_phase: float
    rib_spacing: float
    rib_bone: float
    dome_gap: float
    breast: float
    shoulder: float
    lung_density: float
    gas: float
    tree: int


@dataclass(frozen=True)
class Pose:
    """What changes from exposure to exposure; lengths in cm."""

    inspiration: float
    rotation: float
    tilt: float
    zoom: float
    shift: tuple[float, float]
    latitude: float
    brightness: float
    dose: float
    scatter: float
    border: tuple[float, float, float, float]
    leads: bool
    marker: bool


@dataclass(frozen=True)
class Chest:
    """A patient as posed: the lengths (cm, in the patient's frame) from which everything is drawn.

    Args:
        body: the patient.
        apex: height of the lung apices.
        domes: heights of the right and left hemidiaphragm.
        arch: how far the diaphragm falls from its dome to the costophrenic angle.
        half: inner half width of the right and left half of the rib cage.
        heart_width: largest width of the heart.
        pull: mediastinal shift, positive to the patient's left.
        lung_density: attenuation of aerated lung relative to soft tissue.
        vessels: strength of the vessel tree.
        ap: whether the beam came from the front.
        rotation: of the patient, -1 to 1.
        clavicle: how far the clavicles stand above their usual place.
    """

    body: Body
    apex: float
    domes: tuple[float, float]
    arch: float
    half: tuple[float, float]
    heart_width: float
    pull: float
    lung_density: float
    vessels: float
    ap: bool
    rotation: float
    clavicle: float

    def side(self, x: Array, pair: tuple[float, float]) -> Array:
        """Pick the right or the left number by the sign of ``x``."""
        return np.where(x > 0, pair[1], pair[0]).astype(x.dtype)

    @property
    def base(self) -> float:
        """Height of the costophrenic angles."""
        return max(self.domes) + self.arch

    @property
    def height(self) -> float:
        """From the apices to the mean dome."""
        return sum(self.domes) / 2 - self.apex

    def hilum(self, side: int) -> tuple[float, float]:
        """Middle of a hilum; ``side`` is -1 for the patient's right, 1 for the left, whose hilum is higher."""
        return side * 3.6 + self.pull, self.apex + 0.50 * self.height - (0.5 if side > 0 else -0.4)

    def place(self, side: int, lateral: float, down: float) -> tuple[float, float]:
        """Point in a lung.

        Args:
            side: -1 for the patient's right, 1 for the left.
            lateral: 0 at the mediastinum to 1 at the chest wall.
            down: 0 at the apex to 1 at the dome.
        """
        dome = self.domes[0 if side < 0 else 1]
        y = self.apex + down * (dome - self.apex)
        wall = float(wall_at(self, np.array(float(side)), np.array(y)))
        return side * (2.8 + lateral * max(wall - 2.8, 0.5)), y


def wall_at(chest: Chest, x: Array, y: Array) -> Array:
    """Inner half width of the rib cage at a height, cm: a superellipse that is widest below."""
    depth = (y - chest.apex) / (0.72 * (chest.base - chest.apex))
    rest = np.clip(1 - depth, 0, 1)
    profile: Array = np.sqrt(1 - rest * rest * np.sqrt(rest))
    return chest.side(x, chest.half) * profile


def draw_body(study: Study, seed: int) -> Body:
    """Draw a patient's build; it depends on the seed, the patient, the sex and the age, never on findings."""
    rng = stream(seed, study.patient_id, "body")
    woman, old = study.sex == "F", (study.age - 50) / 40
    scale = (0.93 if woman else 1.0) * rng.normal(1, 0.035)
    return Body(
        half_width=12.9 * scale,
        lung_height=21.5 * scale * rng.normal(1, 0.035),
        depth=15.0 * scale * rng.normal(1, 0.05),
        wall=float(np.clip(rng.gamma(5, 0.5), 0.8, 5.5)),
        heart_ratio=float(np.clip(rng.normal(0.435 + 0.012 * old, 0.03), 0.36, HEALTHY_RATIO)),
        heart_angle=float(rng.normal(0.66, 0.09)),
        knob=float(np.clip(rng.normal(1.75 + 0.35 * old, 0.2), 1.2, 2.7)),
        spine_bend=float(rng.normal(0, 0.35)),
        rib_phase=float(rng.random()),
        rib_spacing=2.35 * scale * float(rng.normal(1, 0.04)),
        rib_bone=float(np.clip(rng.normal(1 - 0.15 * old - 0.1 * woman, 0.12), 0.5, 1.4)),
        dome_gap=float(np.clip(rng.normal(1.2, 0.4), 0.2, 2.2)),
        breast=float(np.clip(rng.gamma(4, 0.55), 0.5, 4.5)) if woman else float(rng.uniform(0, 0.35)),
        shoulder=float(rng.normal(0, 0.8)),
        lung_density=float(np.clip(rng.normal(0.27, 0.022), 0.21, 0.34)),
        gas=float(rng.uniform(0.2, 1.0)),
        tree=int(rng.integers(2**31)),
    )


def draw_pose(study: Study, seed: int) -> Pose:
    """Draw one exposure. AP ones are taken in bed: less air, more scatter, less dose, often leads on the chest."""
    rng = stream(seed, study.patient_id, study.study_id, "pose")
    ap = study.view == "AP"
    inspiration = float(np.clip(rng.normal(0.35 if ap else 0.8, 0.25), 0, 1))
    border = np.where(rng.random(4) < 0.18, rng.uniform(0.2, 1.6, 4), 0.0)
    return Pose(
        inspiration=inspiration,
        rotation=float(np.clip(rng.normal(0, 0.5 if ap else 0.25), -1, 1)),
        tilt=float(rng.normal(0, 0.035 if ap else 0.015)),
        zoom=float(np.clip(rng.normal(0.93 if ap else 0.97, 0.035), 0.84, 1.08)),
        shift=(float(rng.normal(0, 0.7)), float(rng.normal(-0.3, 0.8))),
        latitude=float(np.clip(rng.normal(1.0 if ap else 0.9, 0.09), 0.65, 1.3)),
        brightness=float(rng.normal(0.15 if ap else 0.0, 0.16)),
        dose=float(np.exp(rng.normal(11.4 if ap else 12.3, 0.5))),
        scatter=float(np.clip(rng.normal(0.75 if ap else 0.4, 0.12), 0.1, 1.2)),
        border=(float(border[0]), float(border[1]), float(border[2]), float(border[3])),
        leads=bool(rng.random() < (0.45 if ap else 0.02)),
        marker=bool(rng.random() < 0.7),
    )


def stand(body: Body, pose: Pose, ap: bool) -> Chest:
    """Put a body in front of the detector: inspiration sets the diaphragm, an AP beam magnifies the heart."""
    apex = -13.2 + 0.25 * (21.5 - body.lung_height)
    sink = 0.86 + 0.14 * pose.inspiration - (0.05 if ap else 0.0)
    right = apex + body.lung_height * sink
    spread = 0.97 + 0.03 * pose.inspiration
    return Chest(
        body=body,
        apex=apex,
        domes=(right, right + body.dome_gap),
        arch=3.0,
        half=(
            body.half_width * spread * (1 - 0.03 * pose.rotation),
            body.half_width * spread * (1 + 0.03 * pose.rotation),
        ),
        heart_width=2 * body.half_width * spread * body.heart_ratio * (1.09 if ap else 1.0),
        pull=0.45 * pose.rotation,
        lung_density=body.lung_density + 0.05 * (1 - pose.inspiration),
        vessels=1.0,
        ap=ap,
        rotation=pose.rotation,
        clavicle=1.3 if ap else 0.0,
    )


def frame_of(pose: Pose, size: int) -> Frame:
    """Make the picture's frame for an exposure."""
    return Frame(size, pose.zoom, pose.tilt, pose.shift)
