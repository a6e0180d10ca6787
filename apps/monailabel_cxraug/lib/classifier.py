"""The classification bundle as a service: one radiograph in; probabilities, decisions and a map out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from numpy.typing import NDArray

from monai_cxraug.artifacts import file_hash
from monai_cxraug.bundle_config import bundle_file, refuse_active
from monai_cxraug.calibration import Calibration
from monai_cxraug.data.as_packed import round_as_packed
from monai_cxraug.data.readers import Radiograph
from monai_cxraug.errors import StateError, find_cause
from monai_cxraug.handlers.activation_maps import ActivationMapper
from monai_cxraug.labels import require_findings
from monai_cxraug.networks.weights import Model
from monai_cxraug.predictions import Predictions

BUNDLE = "chest_xray_classification"


@dataclass(frozen=True)
class Finding:
    """What is said of one finding.

    Attributes:
        idx: number of the logit.
        label: name of the finding.
        score: the probability to act on: ``calibrated`` where there is one, else ``probability``.
        probability: what the network says, in [0, 1].
        calibrated: the same at the finding's temperature; None where the model is not calibrated.
        threshold: of the calibrated probability; None where there is none.
        present: whether ``calibrated`` reaches the threshold; None where there is none.
    """

    idx: int
    label: str
    score: float
    probability: float
    calibrated: float | None
    threshold: float | None
    present: bool | None


class ChestClassifier:
    """A trained classifier as the bundle's ``inference.json`` sets it up: device, flip averaging and calibration.

    Args:
        checkpoint: model file, or a folder that holds one.
        device: ``"cpu"``, ``"cuda"``, ...; default the bundle's choice.

    Raises:
        CxrAugError: there is no such model, it is no classifier of grey images, or the calibration beside it is
            another model's.
    """

    def __init__(self, checkpoint: str | Path, device: str | None = None) -> None:
        build = _Bundle(checkpoint, device)
        self.model: Model = build("model")
        if (channels := self.model.settings["channels"]) != 1:
            mend = "serve a classifier of radiographs"
            raise StateError(self.model.path, "must look at grey images", f"{channels} channels", mend)
        self.calibration: Calibration | None = build("calibration")
        self.network, self.inferer, self.device = build("network"), build("inferer"), str(build("device"))
        self.findings: tuple[str, ...] = tuple(self.model.about["findings"])
        self.size: int = self.model.about["size"]
        self.sha256 = file_hash(self.model.path)
        self.mapper = ActivationMapper(self.network, self.size)
        # the mapper's hooks remember the last image, so requests take turns
        self._turn = Lock()

    def describe(self) -> dict[str, Any]:
        """Return what identifies the model; patients it has seen are left out."""
        return {
            "file": self.model.path.name,
            "sha256": self.sha256,
            "architecture": self.model.settings["architecture"],
            "size": self.size,
            "flip_averaging": self.inferer.flips,
            "calibration": self.calibration.rule if self.calibration else None,
        }

    def prepare(self, radiograph: Radiograph) -> torch.Tensor:
        """Return what the network sees of a radiograph, float32 ``[1, 1, size, size]`` in [0, 1]."""
        return round_as_packed(radiograph.resized(self.size), self.model.about.get("contrast"))[None]

    def answer(self, image: torch.Tensor) -> list[Finding]:
        """Return what is said of every finding, in the model's order."""
        with self._turn, torch.no_grad():
            logits = self.inferer(image.to(self.device), self.network)
        probs = torch.sigmoid(logits.float()).double().cpu().numpy()
        table = Predictions(["image"], [""], self.findings, np.full_like(probs, np.nan), probs)
        return [self._say(table, idx) for idx in range(len(self.findings))]

    def map(self, image: torch.Tensor, finding: str) -> NDArray[np.float32]:
        """Return where the evidence for a finding came from, ``[size, size]`` in [0, 1]; 0 where there is none.

        Raises:
            LabelError: the model does not know the finding.
        """
        require_findings([finding], self.findings, "finding")
        with self._turn:
            heat: NDArray[np.float32] = self.mapper(image, self.findings.index(finding))[0]
        return heat

    def _say(self, table: Predictions, idx: int) -> Finding:
        label, probability = self.findings[idx], float(table.probs[0, idx])
        if self.calibration is None:
            return Finding(idx, label, probability, probability, None, None, None)
        columns = self.calibration.columns(table)
        calibrated, call = (float(columns[name][0, idx]) for name in ("calibrated", "call"))
        threshold = self.calibration.findings[label].threshold
        present = None if np.isnan(call) else bool(call)
        return Finding(idx, label, calibrated, probability, calibrated, threshold, present)


def likeliest(said: list[Finding]) -> str:
    """Return the finding with the highest score; of equal ones the first."""
    return max(said, key=lambda one: one.score).label


class _Bundle:
    """The bundle's inference for this model and device; nothing is built before it is asked for."""

    def __init__(self, checkpoint: str | Path, device: str | None) -> None:
        given = {"checkpoint": str(checkpoint), **({"device": device} if device else {})}
        refuse_active(given, "app")
        file = bundle_file(BUNDLE, "inference")
        self._parser = ConfigParser()
        self._parser.read_config(str(file))
        self._parser.update({"bundle_root": str(file.parents[1]), **given})

    def __call__(self, component: str) -> Any:
        """Build a component; MONAI wraps whatever goes wrong, and what the user can mend is taken out again."""
        try:
            return self._parser.get_parsed_content(component)
        except Exception as error:
            raise find_cause(error) or error from None
