"""Half the bytes in the file, full precision in the network: what is rounded, what is kept, and what it changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from monai_cxraug.networks.classifiers import Classifier
from monai_cxraug.networks.half_precision import halve
from monai_cxraug.networks.pggan import ProgressiveGenerator
from monai_cxraug.networks.weights import load_model, save_model


def test_matrices_are_rounded_to_the_nearest_half_and_the_rest_stays() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {
        "matrix": torch.randn(64, 64, generator=generator),
        "filter": torch.randn(4, 4, 3, 3, generator=generator) * 1e-3,
        "bias": torch.randn(64, generator=generator),
        "running_var": torch.full((4,), 1e-9),
        "num_batches_tracked": torch.tensor(7),
        "exact": torch.randn(3, 3, generator=generator, dtype=torch.float64),
    }
    halved = halve(weights)
    assert {name: one.dtype for name, one in halved.items()} == {
        "matrix": torch.float16,
        "filter": torch.float16,
        "bias": torch.float32,
        "running_var": torch.float32,
        "num_batches_tracked": torch.int64,
        "exact": torch.float64,
    }
    assert all(torch.equal(halved[name], weights[name]) for name in weights.keys() - {"matrix", "filter"})
    for name in ("matrix", "filter"):  # half the distance of two neighbours: 2^-11 of a number, 2^-25 near zero
        error = (halved[name].double() - weights[name].double()).abs()
        assert bool((error <= (weights[name].double().abs() * 2**-11).clamp_min(2**-25)).all())


@pytest.mark.parametrize("value", [1e6, float("inf"), float("nan")])
def test_what_half_precision_does_not_hold_stays_whole(value: float) -> None:
    matrix = torch.ones(2, 2)
    matrix[0, 0] = value
    assert halve({"a": matrix})["a"].dtype == torch.float32


def _classifier() -> tuple[Classifier, Tensor]:
    network = Classifier(outputs=3, architecture="small_cnn")
    images = torch.rand(4, 1, 32, 32)
    network.train()(images)  # running statistics that are not those of the beginning
    return network, images


def _generator() -> tuple[ProgressiveGenerator, Tensor]:
    return ProgressiveGenerator(resolution=32, latent_size=16, fmap_base=128, fmap_max=64), torch.randn(4, 16)


@pytest.mark.parametrize(
    ("kind", "make", "tolerance"),
    [("classifier", _classifier, 3e-4), ("pggan", _generator, 2e-2)],  # over five seeds at most 3e-5 and 5.1e-3
)
def test_a_rounded_model_is_half_as_large_and_answers_alike(tmp_path: Path, kind: str, make, tolerance: float) -> None:
    torch.manual_seed(0)
    network, inputs = make()
    about = {"findings": ["a", "b", "c"], "patients_seen": ["P1"]}
    save_model(tmp_path / "whole.pt", kind, network, about)
    save_model(tmp_path / "half.pt", kind, network, about, half=True)
    whole, half = load_model(tmp_path / "whole.pt"), load_model(tmp_path / "half.pt", kind)
    assert half.about == whole.about
    assert half.settings == whole.settings
    assert (tmp_path / "half.pt").stat().st_size < 0.62 * (tmp_path / "whole.pt").stat().st_size
    parameters, rounded = half.network.state_dict(), halve(network.state_dict())
    assert {one.dtype for one in parameters.values()} <= {torch.float32, torch.int64}  # computed with in full
    assert all(torch.equal(one, rounded[name].to(one.dtype)) for name, one in parameters.items())
    with torch.inference_mode():
        change = (half.network(inputs) - whole.network(inputs)).abs().max()
    assert 0 < float(change) < tolerance
    again = halve(half.network.state_dict())  # rounding twice is rounding once
    assert all(torch.equal(one, rounded[name]) for name, one in again.items())
