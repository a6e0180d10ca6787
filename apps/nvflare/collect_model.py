"""Make the global model of a federation a model file, which ``cxraug predict`` and ``cxraug calibrate`` take.

    python apps/nvflare/collect_model.py runs/federated/job runs/federated/simulation --out runs/federated/model.pt

It is for a simulation, where one machine sees all data: the file names every site's training patients, and so keeps
them out of the images it is later judged by. Where the sites are real, each knows its own patients only.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from monai.bundle import ConfigParser

from monai_cxraug.bundle_config import one_line_errors
from monai_cxraug.config_audit import audit, require_trust
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.errors import InputError
from monai_cxraug.networks.plain_tensors import read_plain
from monai_cxraug.networks.weights import save_model

_NETWORK: Final = "server/bundle/configs/network.json"
_GLOBAL: Final = "server/simulate_job/app_server/FL_global_model.pt"


def collect(job: Path, workspace: Path, out: Path) -> None:
    """Write the model file.

    Args:
        job: folder that ``write_job.py`` wrote.
        workspace: folder that the simulator wrote.
        out: file to write.

    Raises:
        CxrAugError: one of them is not that, or a site's data are gone.
    """
    weights = _read_weights(workspace / _GLOBAL)
    network = _build(job / _NETWORK)
    # counters of batches were averaged to fractions
    network.load_state_dict({name: weights[name].to(own.dtype) for name, own in network.state_dict().items()})
    sites = [_read_settings(file) for file in sorted(job.glob("site-*/config/config_fed_client.json"))]
    save_model(out, "classifier", network.eval(), _about(sites))


def _about(sites: Sequence[dict[str, Any]]) -> dict[str, Any]:
    seen: set[str] = set()
    for settings in sites:
        manifest = read_manifest(settings["dataset_dir"])
        seen |= manifest.patients(manifest.rows("train"))
    facts = {name: sites[0][name] for name in ("findings", "size", "contrast", "flip_averaging")}
    return {**facts, "patients_seen": sorted(seen), "steps": sum(settings["steps"] for settings in sites)}


def _read_settings(config: Path) -> dict[str, Any]:
    """Settings of a site: the bundle's, changed by overlays and by the job."""
    (algorithm,) = json.loads(config.read_text(encoding="utf-8"))["components"]
    given, bundle = algorithm["args"], config.parents[1] / algorithm["args"]["bundle_root"]
    files = [str(bundle / file) for file in given["config_train_filename"]]
    return {**ConfigParser.load_config_files(files), **given["train_kwargs"]}


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise InputError(path, "must be the simulator's global model", "nothing there", "run the simulator first")
    document = read_plain(path, "must be the simulator's global model", "run the simulator again")
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise InputError(path, "must hold the global model under 'model'", type(document).__name__, "run it again")
    weights: dict[str, torch.Tensor] = document["model"]
    return weights


def _build(config: Path) -> torch.nn.Module:
    if not config.is_file():
        raise InputError(config, "must be a job of write_job.py", "nothing there", "give the folder of the job")
    parser = ConfigParser(json.loads(config.read_text(encoding="utf-8")))
    network: torch.nn.Module = parser.get_parsed_content("network_def")
    return network


def main(arguments: Sequence[str] | None = None) -> None:
    """Read job and simulation, write the model, print its path."""
    parser = argparse.ArgumentParser(description="Make the global model of a federation a model file.")
    parser.add_argument("job", type=Path, help="folder that write_job.py wrote")
    parser.add_argument("workspace", type=Path, help="folder that the simulator wrote")
    parser.add_argument("--out", type=Path, required=True, help="model file to write")
    parser.add_argument("--trust", action="store_true", help="take a job from outside of the working folder")
    given = parser.parse_args(arguments)
    with one_line_errors():
        require_trust(audit([given.job / _NETWORK]), given.trust)  # the job's network is built: its file is a program
        collect(given.job, given.workspace, given.out)
    print(given.out)


if __name__ == "__main__":
    main()
