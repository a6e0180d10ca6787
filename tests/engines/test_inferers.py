"""The autocasting inferer: bfloat16 inside, plain tensors at every layer."""

from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from monai_cxraug.engines import inferers
from monai_cxraug.engines.inferers import AutocastInferer, FlipAveraging


def test_the_network_runs_in_bfloat16_on_plain_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inferers, "pays", lambda device: True)
    seen: list[tuple[type, torch.dtype]] = []
    network = nn.Linear(4, 2)
    network.register_forward_hook(lambda module, inputs, output: seen.append((type(inputs[0]), output.dtype)))
    images = MetaTensor(torch.rand(3, 4))
    result = AutocastInferer()(images, network)
    assert seen == [(torch.Tensor, torch.bfloat16)]
    assert torch.allclose(result.float(), network(images.as_tensor()), atol=0.02)
    assert not torch.is_autocast_enabled("cpu")


def test_without_units_for_16_bits_it_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inferers, "pays", lambda device: False)
    assert AutocastInferer()(torch.rand(3, 4), nn.Linear(4, 2)).dtype == torch.float32


def test_without_mixing_it_is_the_network_itself() -> None:
    network, images = nn.Linear(4, 2), MetaTensor(torch.rand(3, 4))
    result = AutocastInferer(mixed=False)(images, network)
    assert result.dtype == torch.float32
    assert torch.equal(result, network(images.as_tensor()))


def test_further_arguments_and_gradients_pass() -> None:
    weight = torch.ones(2, requires_grad=True)
    result = AutocastInferer()(torch.ones(2), lambda x, factor, offset: x * factor + offset, weight, offset=3)
    result.sum().backward()
    assert result.tolist() == [4, 4]
    assert weight.grad.tolist() == [1, 1]


def test_flip_averaging_is_the_mean_of_both_logits_and_blind_to_mirroring() -> None:
    images = torch.rand(3, 1, 4, 6, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Flatten(), nn.Linear(24, 2))
    result = FlipAveraging()(images, network)
    assert torch.equal(result, (network(images) + network(torch.flip(images, [3]))) / 2)
    assert torch.equal(FlipAveraging()(images.flip(-1), network), result)
    assert torch.equal(FlipAveraging(flips=False)(images, network), network(images))
