"""The classification bundle as a client of federated learning: MONAI's own ``MonaiAlgo``, two sites, two rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems, FlStatistics, WeightType
from monai.fl.utils.exchange_object import ExchangeObject
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2] / "bundles" / "chest_xray_classification"
Weights = dict[str, Tensor]


def client(name: str, manifest: Path, folder: Path, seed: int) -> MonaiAlgo:
    """A site; both have the same tiny data set here, and draw other images of it."""
    settings = {"dataset_dir": str(manifest.parent), "size": 32, "architecture": "small_cnn", "device": "cpu"}
    settings |= {"steps": 8, "epoch_length": 2, "batch_size": 8, "mixed": False, "threads": 1, "seed": seed}
    files = [f"configs/{name}.json" for name in ("train", "validate", "federated")]
    algorithm = MonaiAlgo(
        str(ROOT),
        config_train_filename=files,
        train_kwargs={**settings, "output_dir": str(folder / name)},
        config_evaluate_filename=files,
        eval_kwargs={**settings, "output_dir": str(folder / f"{name}-judge")},
    )
    algorithm.initialize({ExtraItems.CLIENT_NAME: name})
    return algorithm


def average(parts: list[Weights]) -> Weights:
    return {name: torch.stack([part[name].float() for part in parts]).mean(0) for name in parts[0]}


@pytest.mark.e2e
def test_two_sites_average_their_differences(manifest: Path, tmp_path: Path) -> None:
    sites = [client(f"site{k}", manifest, tmp_path, seed=k) for k in range(2)]
    shared: Weights = {name: value.clone() for name, value in sites[0].trainer.network.state_dict().items()}
    seen: list[dict[str, Any]] = []
    for rounds in (1, 2):
        differences = []
        for site in sites:
            site.train(ExchangeObject(weights=shared))
            sent = site.get_weights()
            assert sent.weight_type == WeightType.WEIGHT_DIFF
            assert sent.statistics[FlStatistics.NUM_EXECUTED_ITERATIONS] == 2
            assert site.trainer.state.iteration == 2 * rounds
            trained = site.trainer.network.state_dict()
            for name, value in shared.items():
                torch.testing.assert_close(trained[name].float(), value + torch.as_tensor(sent.weights[name]).float())
            differences.append({name: torch.as_tensor(value) for name, value in sent.weights.items()})
        assert any(not torch.equal(differences[0][name], differences[1][name]) for name in shared), "other images"
        mean = average(differences)
        shared = {name: value + mean[name] for name, value in shared.items()}
        seen.append(sites[0].evaluate(ExchangeObject(weights=shared)).metrics)
        for name, value in sites[0].evaluator.network.state_dict().items():
            torch.testing.assert_close(value.float(), shared[name].float())
    assert all(0 <= float(metrics["auroc"]) <= 1 for metrics in seen)
    assert not list(tmp_path.rglob("checkpoint.pt")), "a checkpoint would replace the weights that arrive"
    for site in sites:
        site.finalize()
