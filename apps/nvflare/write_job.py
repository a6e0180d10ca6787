"""Write an NVFlare job: the classification bundle trained at several sites, each on its own prepared data.

    python apps/nvflare/write_job.py --site data/site-1 --site data/site-2 --rounds 2 --out runs/federated/job
    nvflare simulator runs/federated/job -w runs/federated/simulation -n 2 -t 2

A round is one pass of every site over its own training images, and what the sites send is weighted by the steps that
this took. The job names findings and settings; no image, label or patient is in it.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from monai_cxraug.bundle_config import bundle_file, one_line_errors
from monai_cxraug.data.manifest import read_manifest
from monai_cxraug.errors import ConfigError, InputError, nearest
from monai_cxraug.networks.classifiers import Classifier

BUNDLE: Final = "chest_xray_classification"
#: the bundle inside the folder of the server and of every site; NVFlare tells them where that folder is.
_PLACE: Final = "bundle"
_GENERATOR: Final = "full_model_shareable_generator.FullModelShareableGenerator"
_INITIAL, _NETWORK = "models/initial.pt", "configs/network.json"


@dataclass(frozen=True)
class Plan:
    """What all sites agree on.

    Args:
        findings: of the classifier, in its order.
        rounds: of sending the model to the sites and averaging what comes back.
        size: side of the images in pixels.
        architecture: of the network.
        batch_size: images of a step.
        overlays: names of the bundle's overlays, for example ``loss_alpha``.
        device: ``cpu``, ``cuda``, ...; None leaves the choice to each site.
        threads: of a site's process; None leaves the choice to torch.
        seed: of the first weights, and of each site's draws together with its number.
    """

    findings: tuple[str, ...]
    rounds: int = 2
    size: int = 64
    architecture: str = "densenet121"
    batch_size: int = 64
    overlays: tuple[str, ...] = ()
    device: str | None = None
    threads: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Site:
    """One client.

    Args:
        number: from 1; NVFlare's simulator calls it ``site-1`` and so on.
        data: folder with its manifest and pack.
        findings: of its manifest.
        images: in its training split.
    """

    number: int
    data: Path
    findings: tuple[str, ...]
    images: int

    @property
    def name(self) -> str:
        """Name of the client."""
        return f"site-{self.number}"


def read_site(number: int, data: Path) -> Site:
    """Read what a site has.

    Raises:
        CxrAugError: there is no manifest, or no training image in it.
    """
    manifest = read_manifest(data)
    images = len(manifest.rows("train"))
    if not images:
        raise InputError(manifest.path, "a site needs training images", "none", "check the column split")
    return Site(number, data.resolve(), manifest.findings, images)


def shared_findings(sites: Sequence[Site]) -> tuple[str, ...]:
    """Return the findings of all sites, in the first one's order.

    Raises:
        InputError: a site has others.
    """
    for site in sites[1:]:
        if other := sorted(set(site.findings) ^ set(sites[0].findings)):
            rule = f"must have the findings of {sites[0].data}"
            raise InputError(site.data, rule, f"{other[0]!r} in one only", "prepare them alike, or give --findings")
    return sites[0].findings


def write_job(sites: Sequence[Site], plan: Plan, out: Path) -> None:
    """Write the job into a new folder.

    Raises:
        InputError: there is something of that name.
    """
    if out.exists():
        raise InputError(out, "must be a new folder", "something of that name", "remove it or choose another")
    source = bundle_file(BUNDLE, "train").parents[1]
    for site in sites:
        shutil.copytree(source, out / site.name / _PLACE, ignore=shutil.ignore_patterns("models", "output"))
        _write(out / site.name / "config/config_fed_client.json", _client(site, plan))
    _write_network(out / "server" / _PLACE, plan)
    _write(out / "server/config/config_fed_server.json", _server(len(sites), plan.rounds))
    _write(out / "meta.json", _meta(sites))


def _meta(sites: Sequence[Site]) -> dict[str, Any]:
    places = {"server": ["server"], **{site.name: [site.name] for site in sites}}
    return {"name": BUNDLE, "resource_spec": {}, "min_clients": len(sites), "deploy_map": places}


def _server(sites: int, rounds: int) -> dict[str, Any]:
    """Federated averaging, then every site's AUROC of the last model; nothing is chosen by it."""
    averaging = {
        "min_clients": sites,
        "num_rounds": rounds,
        "wait_time_after_min_received": 0,
        "aggregator_id": "aggregator",
        "persistor_id": "persistor",
        "shareable_generator_id": "generator",
        "train_task_name": "train",
    }
    persistor = {"bundle_root": _PLACE, "config_train_filename": _NETWORK, "source_ckpt_filename": _INITIAL}
    common, torch_parts = "nvflare.app_common", "nvflare.app_opt.pt"
    return {
        "format_version": 2,
        "workflows": [
            _part("averaging", f"{common}.workflows.scatter_and_gather.ScatterAndGather", averaging),
            _part(
                "judging",
                f"{common}.workflows.global_model_eval.GlobalModelEval",
                {"model_locator_id": "locator"},
            ),
        ],
        "components": [
            _part("persistor", "monai_nvflare.monai_bundle_persistor.MonaiBundlePersistor", persistor),
            _part(
                "generator", f"{common}.shareablegenerators.full_model_shareable_generator.FullModelShareableGenerator"
            ),
            _part(
                "aggregator",
                f"{common}.aggregators.intime_accumulate_model_aggregator.InTimeAccumulateWeightedAggregator",
                {"expected_data_kind": "WEIGHT_DIFF"},
            ),
            _part("locator", f"{torch_parts}.file_model_locator.PTFileModelLocator", {"pt_persistor_id": "persistor"}),
            _part("scores", f"{common}.widgets.validation_json_generator.ValidationJsonGenerator"),
        ],
        "task_data_filters": [],
        "task_result_filters": [],
    }


def _client(site: Site, plan: Plan) -> dict[str, Any]:
    settings = _settings(site, plan)
    files = [f"configs/{name}.json" for name in ("train", *plan.overlays, "validate", "federated")]
    algorithm = {
        "bundle_root": _PLACE,
        "config_train_filename": files,
        "train_kwargs": settings,
        "config_evaluate_filename": files,
        "eval_kwargs": {**settings, "output_dir": "$@bundle_root + '/judging'"},
    }
    executor = _part(
        "executor",
        "monai_nvflare.client_algo_executor.ClientAlgoExecutor",
        {"client_algo_id": "algorithm", "key_metric": "auroc"},
    )
    return {
        "format_version": 2,
        "executors": [{"tasks": ["train", "validate"], "executor": executor}],
        "components": [_part("algorithm", "monai.fl.client.MonaiAlgo", algorithm)],
        "task_data_filters": [],
        "task_result_filters": [],
    }


def _settings(site: Site, plan: Plan) -> dict[str, Any]:
    """Settings of the bundle at a site; its learning rate goes through one cycle in all rounds together."""
    a_pass = -(-site.images // plan.batch_size)
    machine = {"device": plan.device, "threads": plan.threads}
    return {
        "dataset_dir": str(site.data),
        "findings": list(plan.findings),
        "size": plan.size,
        "architecture": plan.architecture,
        "batch_size": plan.batch_size,
        "epoch_length": a_pass,
        "steps": plan.rounds * a_pass,
        "seed": plan.seed + site.number,
        **{name: value for name, value in machine.items() if value is not None},
    }


def _write_network(bundle: Path, plan: Plan) -> None:
    """Tell the server the network, which has no data to count findings in, and give it the first weights."""
    arguments = {"outputs": len(plan.findings), "architecture": plan.architecture}
    target = f"{Classifier.__module__}.{Classifier.__name__}"
    _write(bundle / _NETWORK, {"network_def": {"_target_": target, **arguments}})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        network = Classifier(len(plan.findings), plan.architecture)
    (bundle / _INITIAL).parent.mkdir()
    torch.save(network.state_dict(), bundle / _INITIAL)


def _part(name: str, path: str, args: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"id": name, "path": path, "args": args or {}}


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def check_overlays(names: Sequence[str]) -> None:
    """Refuse an overlay that the bundle does not have."""
    known = sorted(file.stem for file in bundle_file(BUNDLE, "train").parent.glob("*.json"))
    for name in names:
        if name not in known:
            raise ConfigError("--overlay", "must be an overlay of the bundle", repr(name), nearest(name, known))


def build_parser() -> argparse.ArgumentParser:
    """Return the command line; defaults are those of :class:`Plan`."""
    parser = argparse.ArgumentParser(description="Write an NVFlare job for the classification bundle.")
    parser.add_argument(
        "--site", type=Path, action="append", required=True, help="prepared data of a site; once a site"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the job")
    parser.add_argument("--findings", type=lambda text: tuple(text.split(",")), help="F,G; default the sites'")
    parser.add_argument("--overlay", action="append", default=[], help="overlay of the bundle, such as loss_alpha")
    for name in ("rounds", "size", "batch_size", "seed"):
        default = getattr(Plan, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help=f"({default})")
    parser.add_argument("--architecture", default=Plan.architecture, help=f"of the network ({Plan.architecture})")
    parser.add_argument("--device", help="cpu, cuda, ...; default each site's choice")
    parser.add_argument("--threads", type=int, help="of each site's process; default torch's choice")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the sites, write the job, and say what to run."""
    given = vars(build_parser().parse_args(arguments))
    with one_line_errors():
        sites = [read_site(number, data) for number, data in enumerate(given.pop("site"), start=1)]
        out, overlays, findings = given.pop("out"), tuple(given.pop("overlay")), given.pop("findings")
        check_overlays(overlays)
        plan = Plan(**{**given, "findings": findings or shared_findings(sites), "overlays": overlays})
        write_job(sites, plan, out)
    print(f"nvflare simulator {out} -w {out.parent / 'simulation'} -n {len(sites)} -t {len(sites)}")


if __name__ == "__main__":
    main()
