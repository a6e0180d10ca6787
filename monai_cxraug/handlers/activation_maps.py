"""Where a classifier looks: class activation maps of telling images, after an evaluation."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol, cast

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.visualize import GradCAM
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from monai_cxraug.artifacts import atomic_path, write_json
from monai_cxraug.keys import IMAGE
from monai_cxraug.labels import require_findings
from monai_cxraug.predictions import Predictions, read_predictions

SCHEMA: Final = "cxraug.maps/1"
#: what images are telling: (kind, whether the label is known to be 1 or 0, whether the surest come first).
KINDS: Final[tuple[tuple[str, float | None, bool], ...]] = (
    ("present, thought likely", 1.0, True),
    ("present, thought unlikely", 1.0, False),
    ("absent, thought likely", 0.0, True),
)
LIKELIEST: Final = "thought likeliest"
_TINT: Final = np.array([255.0, 122.0, 0.0])
_STRENGTH: Final = 0.6
_SIDE: Final = 224


class LooksAt(Protocol):
    """A classifier that knows which of its layers to look at."""

    def activation_layer(self, size: int) -> tuple[str, int]:
        """Name of the layer, and its places a side."""


@dataclass(frozen=True)
class MapEntry:
    """One picture: a radiograph, and beside it the same with its map.

    Attributes:
        file: PNG below the folder of the maps.
        finding: that the map is of.
        image: name of the image.
        kind: why it was chosen.
        prob: what the network says, uncalibrated.
        label: 1, 0, or None unknown.
    """

    file: str
    finding: str
    image: str
    kind: str
    prob: float
    label: float | None


class ActivationMapper:
    """Makes class activation maps: Grad-CAM (Selvaraju et al., ICCV 2017; MONAI's).

    It leaves hooks in the network, so one mapper is made for a network and kept.

    Args:
        network: ``[N, C, H, W]`` to logits ``[N, K]``, and ``activation_layer``.
        size: side of the images in pixels.

    Attributes:
        layer: that is looked at: the deepest stage with at least 4 places a side.
        places: its places a side.
    """

    def __init__(self, network: nn.Module, size: int) -> None:
        self.network = network
        self.layer, self.places = cast(LooksAt, network).activation_layer(size)
        # MONAI's own scaling maps the largest to 0 and the smallest to 1
        self._look = GradCAM(nn_module=network, target_layers=self.layer, postprocessing=lambda heat: heat)

    def __call__(self, images: torch.Tensor, column: int) -> NDArray[np.float32]:
        """Return the maps of one finding, ``[N, H, W]`` in [0, 1]; the strongest place of each is 1, if it has any.

        Args:
            images: ``[N, C, H, W]`` in [0, 1].
            column: of the finding among the logits.
        """
        device = next(self.network.parameters()).device
        with torch.enable_grad():
            heats = self._look(images.to(device), class_idx=column)[:, 0].detach().cpu().numpy()
        strongest = heats.max(axis=(1, 2), keepdims=True)
        scaled: NDArray[np.float32] = heats / np.maximum(strongest, np.finfo(np.float32).tiny)
        return scaled


class ActivationMaps:
    """Writes class activation maps when an evaluation completes; it comes after the handler that writes predictions.

    Of each finding: the images with it that were thought likeliest to have it, those with it thought least likely, and
    those without it thought likeliest; where no label is known, those thought likeliest. A map shows where evidence
    came from, not where the finding is, and its scale is its own: the strongest place of every map is drawn alike.

    Args:
        folder: to write into, emptied before: ``<finding>/*.png`` and ``maps.json``.
        network: ``[N, C, H, W]`` to logits ``[N, K]``, and ``activation_layer``.
        dataset: images in the order of the table.
        predictions: table that the evaluation wrote.
        count: images of each kind.
        findings: to show; default every finding of the table.
    """

    def __init__(
        self,
        folder: str | Path,
        network: nn.Module,
        dataset: Any,
        predictions: str | Path,
        count: int = 3,
        findings: Sequence[str] | None = None,
    ) -> None:
        self.folder, self.predictions = Path(folder), Path(predictions)
        self.network, self.dataset, self.count, self.findings = network, dataset, count, findings

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator."""
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _write(self) -> None:
        table = read_predictions(self.predictions)
        shutil.rmtree(self.folder, ignore_errors=True)
        if not table.images:
            return
        look = ActivationMapper(self.network, self.dataset[0][IMAGE].shape[-1])
        shown = table.findings if self.findings is None else self.findings
        require_findings(shown, table.findings, "maps_of")
        entries = [
            entry for finding in shown for entry in self._draw_finding(look, table, table.findings.index(finding))
        ]
        document = {"layer": look.layer, "places": look.places, "maps": [asdict(entry) for entry in entries]}
        write_json(self.folder / "maps.json", SCHEMA, document)

    def _draw_finding(self, look: ActivationMapper, table: Predictions, column: int) -> list[MapEntry]:
        """Draw all maps of a finding, in one pass through the network."""
        telling = choose_telling(table, column, self.count)
        chosen = [(row, kind, number) for kind, rows in telling.items() for number, row in enumerate(rows, start=1)]
        if not chosen:
            return []
        images = torch.stack(
            [torch.as_tensor(self.dataset[row][IMAGE]).as_subclass(torch.Tensor) for row, *_ in chosen]
        )
        drawn = zip(chosen, images.float().numpy(), look(images, column), strict=True)
        return [self._draw(table, column, *place, image, heat) for place, image, heat in drawn]

    def _draw(
        self,
        table: Predictions,
        column: int,
        row: int,
        kind: str,
        number: int,
        image: NDArray[np.float32],
        heat: NDArray[np.float32],
    ) -> MapEntry:
        finding = table.findings[column]
        file = f"{_safe(finding)}/{_safe(kind)}_{number}.png"
        picture = beside(image, heat)
        with atomic_path(self.folder / file) as temporary:
            picture.save(temporary, format="PNG", optimize=True)
        label = table.labels[row, column]
        known = None if np.isnan(label) else float(label)
        return MapEntry(file, finding, table.images[row], kind, float(table.probs[row, column]), known)


def choose_telling(table: Predictions, column: int, count: int) -> Mapping[str, Sequence[int]]:
    """Choose the images of one finding to show.

    Args:
        table: answers.
        column: of the finding.
        count: images of each kind, at most.

    Returns:
        Kind to row numbers, the most telling first; of equal ones the earlier.
    """
    probs, labels = table.probs[:, column], table.labels[:, column]
    if np.isnan(labels).all():
        return {LIKELIEST: np.argsort(-probs, kind="stable")[:count].tolist()}
    chosen = {}
    for kind, label, surest in KINDS:
        rows = np.flatnonzero(labels == label)
        chosen[kind] = rows[np.argsort(-probs[rows] if surest else probs[rows], kind="stable")[:count]].tolist()
    return chosen


def tint(image: NDArray[np.float32], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay a map over an image.

    Args:
        image: ``[C, H, W]`` in [0, 1].
        heat: ``[H, W]`` in [0, 1]; where it is 0, the image stays as it is.

    Returns:
        RGB, ``[H, W, 3]``.
    """
    grey = np.broadcast_to(image.transpose(1, 2, 0), (*image.shape[1:], 3)) * 255.0
    cover = _STRENGTH * np.clip(heat, 0, 1)[..., None]
    pixels: NDArray[np.uint8] = np.clip(np.rint(grey + (_TINT - grey) * cover), 0, 255).astype(np.uint8)
    return pixels


def beside(image: NDArray[np.float32], heat: NDArray[np.float32]) -> Image.Image:
    """Draw an image, and to its right the same under its map.

    Args:
        image: ``[C, H, W]`` in [0, 1].
        heat: ``[H, W]`` in [0, 1].

    Returns:
        RGB picture, enlarged by a whole factor to about 224 px a side.
    """
    plain = tint(image, np.zeros_like(heat))
    pixels = np.concatenate([plain, np.zeros_like(plain[:, :1]), tint(image, heat)], axis=1)
    factor = max(1, round(_SIDE / image.shape[-1]))
    return Image.fromarray(pixels.repeat(factor, axis=0).repeat(factor, axis=1))


def _safe(name: str) -> str:
    return re.sub(r"\W+", "_", name)
