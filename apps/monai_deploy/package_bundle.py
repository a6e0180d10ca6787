"""Make a trained classifier a bundle that describes itself, for servers such as MONAI Deploy.

    python apps/monai_deploy/package_bundle.py runs/demo/cells/plain-f1-s0 --out served/chest_xray_classification

The folder is the bundle with ``models/model.ts`` in it. What ``inference.json`` otherwise reads from ``model.pt`` —
findings, size, contrast, flip averaging, network, calibration — stands in it as plain values, and the same file lies
inside of ``model.ts``, so that either is enough. The patients that the model has seen are not in it.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from monai.bundle import ckpt_export

from monai_cxraug.bundle_config import bundle_file, one_line_errors
from monai_cxraug.calibration import Calibration, FindingCalibration, find_calibration
from monai_cxraug.errors import InputError
from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.weights import Model, load_model

BUNDLE: Final = "chest_xray_classification"
_INFERENCE, _METADATA = "configs/inference.json", "configs/metadata.json"


def package(model: Model, out: Path) -> None:
    """Write the bundle into a new folder.

    Args:
        model: trained classifier; a calibration beside its file is taken along.
        out: the folder.

    Raises:
        CxrAugError: there is something of that name, or the calibration is another model's.
    """
    if out.exists():
        raise InputError(out, "must be a new folder", "something of that name", "remove it or choose another")
    calibration = find_calibration(model.path, model.about, bool(model.about.get("flip_averaging", False)))
    source = bundle_file(BUNDLE, "inference").parents[1]
    shutil.copytree(source, out, ignore=shutil.ignore_patterns("models", "output"))
    _rewrite(out / _INFERENCE, _facts(model, calibration))
    _describe(out / _METADATA, model)
    (out / "models").mkdir()
    _export(model, out)


def _facts(model: Model, calibration: Calibration | None) -> dict[str, Any]:
    """Keys of ``inference.json`` to what the model file says."""
    return {
        "findings": list(model.about["findings"]),
        "size": model.about["size"],
        "contrast": model.about.get("contrast"),
        "channels": model.settings["channels"],
        "flip_averaging": bool(model.about.get("flip_averaging", False)),
        "network_def": _component(Classifier, model.settings),
        "calibration": None if calibration is None else _calibration(calibration),
    }


def _calibration(calibration: Calibration) -> dict[str, Any]:
    found = {name: _component(FindingCalibration, asdict(one)) for name, one in calibration.findings.items()}
    return _component(Calibration, {**asdict(calibration), "findings": found})


def _component(made: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"_target_": f"{made.__module__}.{made.__name__}", **arguments}


def _describe(metadata: Path, model: Model) -> None:
    """Say in the metadata what this network takes and gives."""
    document = json.loads(metadata.read_text(encoding="utf-8"))
    form, findings = document["network_data_format"], model.about["findings"]
    form["inputs"]["image"]["spatial_shape"] = [model.about["size"]] * 2
    if model.settings["channels"] == 3:
        form["inputs"]["image"]["num_channels"] = 3
        form["inputs"]["image"]["channel_def"] = {"0": "red", "1": "green", "2": "blue"}
    form["outputs"]["pred"]["num_channels"] = len(findings)
    form["outputs"]["pred"]["channel_def"] = {str(number): name for number, name in enumerate(findings)}
    document["label_classes"] = f"{len(findings)} findings, each 1 present, 0 absent or unknown"
    _write(metadata, document)


def _rewrite(config: Path, facts: Mapping[str, Any]) -> None:
    _write(config, {**json.loads(config.read_text(encoding="utf-8")), **facts})


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")


def _export(model: Model, out: Path) -> None:
    """Let MONAI trace the network, and put configuration and metadata into the archive."""
    ckpt_export(
        net_id="network_def",
        filepath=str(out / "models" / "model.ts"),
        ckpt_file=str(model.path),
        meta_file=str(out / _METADATA),
        config_file=str(out / _INFERENCE),
        key_in_ckpt="weights",
        use_trace=True,
        input_shape=[1, model.settings["channels"], model.about["size"], model.about["size"]],
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the model, write the bundle, print its folder."""
    parser = argparse.ArgumentParser(description="Make a trained classifier a bundle that describes itself.")
    parser.add_argument("model", type=Path, help="model file, or a folder that holds one")
    parser.add_argument("--out", type=Path, required=True, help="new folder")
    given = parser.parse_args(arguments)
    with one_line_errors():
        package(load_model(given.model, "classifier"), given.out)
    print(given.out)


if __name__ == "__main__":
    main()
