"""From path lengths to a picture: the beam, scatter, quantum noise, the display curve, and :func:`render`."""

from __future__ import annotations

import numpy as np

from monai_cxraug.data.sources.phantom.anatomy import Chest, Pose, draw_body, draw_pose, frame_of, stand
from monai_cxraug.data.sources.phantom.canvas import FIELD_CM, Array, Frame, diffuse, stream
from monai_cxraug.data.sources.phantom.findings import fill, reshape
from monai_cxraug.data.sources.phantom.population import Study
from monai_cxraug.data.sources.phantom.scene import Scene, draw_scene
from monai_cxraug.errors import ConfigError

#: attenuation exponent that metal adds: clips, wires.
_METAL = 1.3


def render(study: Study, size: int, seed: int) -> Array:
    """Draw a study's frontal radiograph; a pure function of its arguments.

    Args:
        study: who, how and what.
        size: pixels a side, 16 to 2048.
        seed: the seed its population was sampled with.

    Returns:
        float32 ``[size, size]`` in [0, 1]; row 0 is the top, the patient's left is on the right, bone is bright.

    Raises:
        ConfigError: the size or the seed is out of range.
    """
    if not 16 <= size <= 2048:
        raise ConfigError("size", "must lie between 16 and 2048 pixels", size, "64 to 256 is usual")
    if seed < 0:
        raise ConfigError("seed", "must not be negative", seed, "use 0 or a positive whole number")
    pose = draw_pose(study, seed)
    scene = compose(study, pose, seed, size)
    rng = stream(seed, study.patient_id, study.study_id, "exposure")
    return expose(scene, pose, rng)


def compose(study: Study, pose: Pose, seed: int, size: int) -> Scene:
    """Draw a study's anatomy and findings, before the beam."""
    chest: Chest = stand(draw_body(study, seed), pose, study.view == "AP")
    for cause in study.causes:
        chest = reshape(chest, cause)
    scene = draw_scene(chest, frame_of(pose, size))
    for cause in study.causes:
        fill(scene, cause)
    return scene


def expose(scene: Scene, pose: Pose, rng: np.random.Generator) -> Array:
    """Expose the detector: Beer-Lambert, scatter, quantum noise, logarithm, display curve, collimation.

    Scatter grows with the tissue it comes from and veils contrast; the noise follows the photons counted in a pixel.
    """
    across, down = rng.normal(0, 0.06 / 18, 2).tolist()
    heel = across * scene.frame.x + down * scene.frame.y
    exponent = scene.attenuation() + scene.body * _grain(scene.frame, rng)
    if pose.leads:
        exponent += _METAL * _draw_leads(scene, rng)
    primary = np.exp(-exponent)
    signal = primary + pose.scatter * diffuse(primary * scene.body, 9)
    photons = pose.dose * np.maximum(signal, 1e-4) * ((scene.frame.pitch / 0.28) ** 2)
    noise = rng.standard_normal(signal.shape, dtype=np.float32) / np.sqrt(photons)
    density = -np.log(np.maximum(signal, 1e-4)) + noise + heel
    return _finish(_display(density, scene.body, pose), scene.frame, pose)


def _grain(frame: Frame, rng: np.random.Generator) -> Array:
    """Fine unevenness of skin, fat and muscle, as an attenuation exponent."""
    return 0.02 * frame.texture(rng, 1.0) + 0.03 * frame.texture(rng, 5.0)


def _display(density: Array, body: Array, pose: Pose) -> Array:
    """Apply the display curve: a sigmoid set on the mean density of the body, as automatic exposure does."""
    centre = float((density * body).sum() / max(float(body.sum()), 1.0))
    level = (density - centre) / pose.latitude + (2 * pose.brightness + 0.25)
    shown: Array = 0.5 + 0.5 * np.tanh(level * 0.72)
    return shown


def _draw_leads(scene: Scene, rng: np.random.Generator) -> Array:
    """Draw monitoring electrodes with their wires; they are no finding, only a companion of bedside views."""
    frame = scene.frame
    spots = [scene.chest.place(side, rng.uniform(0.3, 0.95), rng.uniform(0.1, 0.9)) for side in (-1, 1, 1)]
    leads = np.zeros_like(scene.lung)
    for x, y in spots:
        leads += 0.55 * frame.edge(frame.ball(x, y, 0.55) - 0.3, 0.25)
    wires = [[(x, y), (x * 0.7, y + rng.uniform(3, 7)), (x * 1.1 + rng.uniform(-2, 2), 20)] for x, y in spots]
    return leads + 4.0 * frame.strokes(wires, [0.16] * len(wires))


def _finish(picture: Array, frame: Frame, pose: Pose) -> Array:
    """Close the collimator's blades over the border and set the side marker."""
    cut = [round(width / FIELD_CM * frame.size) for width in pose.border]
    rows, columns = slice(cut[0], frame.size - cut[1]), slice(cut[2], frame.size - cut[3])
    if pose.marker:
        ell = [(15.2, -16.0), (15.2, -14.6), (16.0, -14.6)]
        flat = Frame(frame.size)
        picture = np.maximum(picture, np.clip(flat.strokes([ell], [0.34]) * 4, 0, 1))
    framed = np.zeros_like(picture)
    framed[rows, columns] = picture[rows, columns]
    return np.clip(framed, 0, 1)
