"""From the network's probabilities to an answer that can be acted on: named, calibrated, decided, in a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from monai.deploy.core import Fragment, Operator, OperatorSpec
from monai.deploy.operators.monai_bundle_inference_operator import get_bundle_config
from numpy.typing import NDArray

from monai_cxraug.artifacts import write_json
from monai_cxraug.calibration import Calibration
from monai_cxraug.predictions import Predictions

SCHEMA: Final = "cxraug.deploy/1"
FILE: Final = "findings.json"


@dataclass(frozen=True)
class Facts:
    """What a bundle says about its answers.

    Args:
        findings: names, in the order of the network's outputs.
        calibration: temperatures and thresholds; None of a model that is not calibrated.
    """

    findings: tuple[str, ...]
    calibration: Calibration | None


def read_facts(bundle: Path) -> Facts:
    """Read findings and calibration from a packaged bundle: its folder, or its TorchScript file."""
    parser = get_bundle_config(str(bundle), ["inference"])
    calibrated = parser.get("calibration") is not None
    calibration = parser.get_parsed_content("calibration") if calibrated else None
    return Facts(tuple(parser.get_parsed_content("findings")), calibration)


def describe(facts: Facts, probabilities: NDArray[np.float32]) -> list[dict[str, Any]]:
    """Say of every finding what is known.

    Args:
        facts: of the bundle.
        probabilities: ``[K]``, in the order of the findings.

    Returns:
        For each finding its name, ``probability`` (what the network says) and, of a calibrated model, ``calibrated``,
        ``threshold`` and ``present``; what is not known is None.
    """
    found = [{"finding": name, "probability": float(p)} for name, p in zip(facts.findings, probabilities, strict=True)]
    if facts.calibration is None:
        return found
    row = np.asarray(probabilities, dtype=np.float64)[None]
    table = Predictions(["image"], [""], facts.findings, np.full_like(row, np.nan), row)
    columns, cuts = facts.calibration.columns(table), facts.calibration.thresholds(table)
    decided = zip(found, columns["calibrated"][0], cuts, columns["call"][0], strict=True)
    return [
        {**one, "calibrated": float(p), "threshold": _known(cut), "present": None if np.isnan(call) else bool(call)}
        for one, p, cut, call in decided
    ]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


class FindingsOperator(Operator):
    """Writes ``findings.json``: which series was looked at, and what was found.

    The SDK's inference operator names a class for every number by cutting the number down to an integer; only its
    ``probabilities`` are used here, and names come from the bundle.

    Named inputs: ``pred`` of the inference operator, ``study_selected_series_list`` of the selector.

    Args:
        fragment: the application.
        bundle: packaged bundle: its folder, or its TorchScript file.
        output_folder: where the file goes.
    """

    def __init__(self, fragment: Fragment, *args: Any, bundle: Path, output_folder: Path, **kwargs: Any) -> None:
        self.facts, self.output_folder = read_facts(bundle), output_folder
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("pred")
        spec.input("study_selected_series_list")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Write the file."""
        probabilities = op_input.receive("pred")["probabilities"]
        study = op_input.receive("study_selected_series_list")[0]
        uids = {"study": study.study.StudyInstanceUID, "series": study.selected_series[0].series.SeriesInstanceUID}
        said = {**uids, "findings": describe(self.facts, probabilities)}
        write_json(self.output_folder / FILE, SCHEMA, said)
