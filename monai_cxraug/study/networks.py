"""Many different networks that distort images, each trained briefly: what ``cxraug study networks`` runs.

Task, architecture, corruption, losses and learning rate of each are drawn from the space that Zhang et al. 2018
(arXiv 1801.03924, table 2 and appendix) describe, its ranges fitted to small grey images and short trainings.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from monai_cxraug.artifacts import content_hash, file_hash, load_json, locked, read_json, write_json
from monai_cxraug.bundle_config import bundle_file, run_stage
from monai_cxraug.console import announce, deliver, progress_bar
from monai_cxraug.data.manifest import Where, read_manifest
from monai_cxraug.errors import ConfigError, InputError, StateError
from monai_cxraug.networks.corruption import CORRUPTIONS
from monai_cxraug.networks.encoder_decoder import NORMALISATIONS, UPSAMPLINGS
from monai_cxraug.networks.feature_layers import load_features
from monai_cxraug.networks.weights import load_model
from monai_cxraug.synthesis.distorters import NETWORKS, SCHEMA
from monai_cxraug.transforms.functional.distortions.catalogue import Step, apply_steps, draw_steps

DRAWN, DRAWN_SCHEMA = "drawn.json", "cxraug.drawn_network/1"
_BUNDLE: Final = "chest_xray_distortion"
#: tasks: of four networks, one imitates a distortion of the catalogue and the others restore.
_TASKS: Final = ("restore", "restore", "restore", "distort")
_WIDTHS: Final = (8, 16, 32)
_WIDEST: Final = (64, 128, 256)
_FACTORS: Final = (2, 4, 8)
_MOST_LAYERS: Final = 5
#: steps between checkpoints, at most.
_BEAT: Final = 100


def draw_network(seed: int, number: int, size: int, colour: bool = False, features: bool = False) -> dict[str, Any]:
    """Draw one network: a pure function of its arguments.

    Args:
        seed: of the whole collection, at least 0.
        number: of the network, from 0.
        size: side of the images in pixels; the network is no deeper than they allow.
        colour: whether the images have colour; else ``colour_removal`` is not drawn.
        features: whether there is a network to compare features in; else their weight is 0.

    Returns:
        ``task``, ``restore`` or ``distort``, and settings of the bundle's training by name.

    Raises:
        ConfigError: the images are too small for any network.
    """
    if size < 8 or size % 8:
        raise ConfigError("size", "must be a multiple of 8", size, "give 64")
    rng = np.random.default_rng([seed, number])
    task = _pick(rng, _TASKS)
    drawn = {**_draw_network(rng, size), **_draw_losses(rng, features, task)}
    kinds = [kind for kind in CORRUPTIONS if colour or kind != "colour_removal"]
    kind, noise, factor = _pick(rng, kinds), _spread(rng, 0.05, 0.4), _pick(rng, [f for f in _FACTORS if 4 * f <= size])
    steps = _draw_fitting(rng, size, colour)
    if task == "distort":
        return {
            "task": task,
            "imitated": _without_seeds(steps),
            "corruption": "null",
            "corruption_strength": None,
            **drawn,
        }
    strength = noise if kind.endswith("noise") else factor if kind == "downsampling" else None
    return {"task": task, "imitated": None, "corruption": kind, "corruption_strength": strength, **drawn}


def _draw_fitting(rng: np.random.Generator, size: int, colour: bool) -> tuple[Step, ...]:
    """One or two distortions that images of this size are large enough for."""
    while True:
        steps = draw_steps(rng, int(rng.integers(1, 3)), colour)
        with suppress(InputError):
            apply_steps(torch.zeros(3 if colour else 1, size, size), steps)
            return steps


def _without_seeds(steps: Sequence[Step]) -> str:
    """Distortions as text; each image has a seed of its own (and MONAI reads ``#`` in a setting as part of an id)."""
    return " + ".join(f"{step.name} {step.strength:g}" for step in steps)


def _draw_network(rng: np.random.Generator, size: int) -> dict[str, Any]:
    """Architecture of the generator."""
    stride = _pick(rng, [stride for stride in (1, 2, 4) if 8 * stride <= size])
    layers = int(rng.integers(2, min(_MOST_LAYERS, int(math.log2(size / stride))) + 1))
    while size % (stride * 2 ** (layers - 1)):
        layers -= 1
    return {
        "layers": layers,
        "width": _pick(rng, _WIDTHS),
        "widest": _pick(rng, _WIDEST),
        "first_stride": stride,
        "skips": int(rng.integers(0, layers)),
        "top_skip": bool(rng.integers(2)),
        "dropout_layers": int(rng.integers(0, layers)),
        "upsampling": _pick(rng, UPSAMPLINGS),
        "normalisation": _pick(rng, NORMALISATIONS),
    }


def _draw_losses(rng: np.random.Generator, features: bool, task: str) -> dict[str, Any]:
    """Discriminator, weights and learning rate; who imitates a distortion has a discriminator in any case."""
    judged, compared = bool(rng.integers(2)) or task == "distort", bool(rng.integers(2))
    weights = _spread(rng, 0.1, 1.0), _spread(rng, 0.1, 2.0), _spread(rng, 0.005, 0.2)
    return {
        "pixel_weight": weights[0],
        "feature_weight": weights[1] if features and compared else 0.0,
        "adversarial_weight": weights[2] if judged else 0.0,
        "discriminator_layers": int(rng.integers(1, 4)),
        "discriminator_width": 16,
        "learning_rate": _spread(rng, 3e-4, 3e-3),
    }


def _pick(rng: np.random.Generator, choices: Sequence[Any]) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _spread(rng: np.random.Generator, low: float, high: float) -> float:
    """A number whose logarithm is uniform, to three digits."""
    return float(f"{low * (high / low) ** rng.random():.3g}")


@dataclass(frozen=True)
class DrawNetworks:
    """``cxraug study networks``: networks 0 to ``count - 1`` of a seed, trained on training images, into a folder.

    What is finished stays: the same command goes on where it was stopped, and with a larger ``count`` adds networks.

    Args:
        manifest: of the images, or its folder.
        out: folder to fill: ``<k>/model.pt`` and ``networks.json``.
        count: networks.
        seed: of the draws.
        steps: updates of each network.
        size: side of the images in pixels.
        batch_size: images in an update.
        where: keep rows of the training split whose columns have these values.
        feature_network: classifier or weights whose features the losses compare; None for pixels alone.
        feature_source: the package that made the weights, for a file that no training here wrote.
        device: where to train.
        threads: of the processor.
    """

    manifest: str | Path
    out: str | Path
    count: int = 24
    seed: int = 0
    steps: int = 400
    size: int = 64
    batch_size: int = 16
    where: Where | None = None
    feature_network: str | Path | None = None
    feature_source: str | None = None
    device: str = "cpu"
    threads: int = 1

    def run(self) -> Path:
        """Train what is missing, show progress and write ``networks.json``; return that file.

        Raises:
            ConfigError: a number is out of range.
            InputError: the images or the feature network cannot be read.
            StateError: the folder holds other networks, or another process fills it.
        """
        for name, least in (("count", 1), ("seed", 0), ("steps", 1), ("size", 8), ("batch_size", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(name, f"must be a whole number of at least {least}", repr(value), f"mend {name}")
        features = load_features(self.feature_network, self.feature_source)
        inputs = {"manifest": read_manifest(self.manifest).hash()}
        inputs |= {} if features is None else {"feature_network": features.sha256}
        out, show = Path(self.out), progress_bar("networks")
        out.mkdir(parents=True, exist_ok=True)
        with locked(out / ".lock"):
            for number in range(self.count):
                self._train(number, out / str(number), inputs)
                show(number + 1, self.count)
            return self._write_list(out, inputs)

    def _train(self, number: int, folder: Path, inputs: Mapping[str, str]) -> None:
        """Train one network unless its model is there."""
        drawn = draw_network(self.seed, number, self.size, features=self.feature_network is not None)
        request = {
            "number": number,
            "seed": self.seed,
            "steps": self.steps,
            "size": self.size,
            "batch_size": self.batch_size,
            "where": dict(self.where or {}),
            "drawn": drawn,
            "inputs": dict(inputs),
        }
        if (folder / DRAWN).exists():
            before = read_json(folder / DRAWN, DRAWN_SCHEMA)
            if content_hash({key: before.get(key) for key in request}) != content_hash(request):
                rule, mend = "must be the network that these settings draw", "choose another folder, or remove this one"
                raise StateError(folder / DRAWN, rule, "other settings", mend)
        else:
            folder.mkdir(exist_ok=True)
            write_json(folder / DRAWN, DRAWN_SCHEMA, request)
        if not (folder / "model.pt").exists():
            announce(f"network {number + 1} of {self.count}: {describe(drawn)}")
            run_stage(self._files(drawn), self._settings(drawn, folder, number))
        for leftover in folder.glob("checkpoint*.pt"):
            leftover.unlink()
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)

    def _files(self, drawn: Mapping[str, Any]) -> list[Path]:
        overlay = ["conditional_gan"] if drawn["task"] == "distort" else []
        return [bundle_file(_BUNDLE, stage) for stage in ("train", *overlay)]

    def _settings(self, drawn: Mapping[str, Any], folder: Path, number: int) -> dict[str, Any]:
        epoch = max(length for length in range(1, min(_BEAT, self.steps) + 1) if self.steps % length == 0)
        return {
            **{key: value for key, value in drawn.items() if key != "task"},
            "bundle_root": str(bundle_file(_BUNDLE, "train").parents[1]),
            "output_dir": str(folder),
            "manifest": str(self.manifest),
            "where": dict(self.where or {}),
            "size": self.size,
            "steps": self.steps,
            "epoch_length": epoch,
            "batch_size": self.batch_size,
            "seed": int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0]),
            "feature_network": None if self.feature_network is None else str(self.feature_network),
            "feature_source": self.feature_source,
            "grid_images": self.steps * self.batch_size,
            "device": self.device,
            "threads": self.threads,
        }

    def _write_list(self, out: Path, inputs: Mapping[str, str]) -> Path:
        entries, seen = [], set()
        for number in range(self.count):
            model = load_model(out / str(number), "distortion")
            seen.update(model.about["patients_seen"])
            entries.append(
                {
                    "folder": str(number),
                    "sha256": file_hash(model.path),
                    "drawn": load_json(out / str(number) / DRAWN)["drawn"],
                    "images_seen": model.about["images_seen"],
                }
            )
        content = {
            "seed": self.seed,
            "count": self.count,
            "steps": self.steps,
            "size": self.size,
            "inputs": dict(inputs),
            "patients_seen": sorted(seen),
            "networks": entries,
        }
        write_json(out / NETWORKS, SCHEMA, content)
        deliver(out / NETWORKS)
        return out / NETWORKS


def describe(drawn: Mapping[str, Any]) -> str:
    """What :func:`draw_network` drew, in one line."""
    strength = drawn["corruption_strength"]
    task = drawn["imitated"] or f"{drawn['corruption']}{'' if strength is None else f' {strength:g}'}"
    shape = f"{drawn['layers']} layers, {drawn['skips']} skips, {drawn['upsampling']}, {drawn['normalisation']}"
    weights = [drawn[f"{name}_weight"] for name in ("pixel", "feature", "adversarial")]
    return f"{drawn['task']} {task}; {shape}; weights {' '.join(f'{weight:g}' for weight in weights)}"
