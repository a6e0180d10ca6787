"""InfoGAN's networks: a DCGAN's layers, codes beside noise, and Q on the discriminator's convolutions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from monai_cxraug.errors import ConfigError
from monai_cxraug.networks.infogan import InfoDiscriminator, InfoGenerator
from monai_cxraug.networks.latents import Layout
from tests.networks.test_dcgan import EXACT, SMALL, plain_features, plain_images, plain_norm, shake

CODES = {"categories": (3, 2), "continuous": 2}


@pytest.mark.parametrize("training", [True, False])
def test_generator_equals_a_plain_one(training: bool) -> None:
    network = shake(InfoGenerator(28, 6, **CODES, **SMALL)).train(training)
    assert network.layout == Layout(6, (3, 2), 2)
    assert network.latent_size == 13
    z = network.layout.sample(4, torch.Generator().manual_seed(1)).double()
    w = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.testing.assert_close(network(z), plain_images(w, z, 6, 7, 2, training), **EXACT)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("learned", [True, False])
def test_discriminator_equals_a_plain_one(training: bool, learned: bool) -> None:
    network = shake(InfoDiscriminator(28, **CODES, channels=3, **SMALL, learned_deviation=learned)).train(training)
    images = torch.rand(4, 3, 28, 28, dtype=torch.float64)
    w = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    features = plain_features(w, images, 2, training)
    hidden = plain_norm(w, "norm", features @ w["hidden.weight"].T, training)
    read = torch.where(hidden > 0, hidden, 0.2 * hidden) @ w["read.weight"].T + w["read.bias"]
    if learned:
        read[:, -2:] = -2.3 + (1 + (read[:, -2:] + 2.3).exp()).log()
    scores, told = network.judge(images)
    torch.testing.assert_close(scores, (features @ w["score.weight"].T + w["score.bias"])[:, 0], **EXACT)
    torch.testing.assert_close(told, read, **EXACT)
    assert told.shape == (4, 9 if learned else 7)


def test_q_costs_nearly_nothing_and_shares_all_convolutions() -> None:
    network = InfoDiscriminator(64, width=32, most=256)
    own = sum(weight.numel() for name, weight in network.named_parameters() if not name.startswith("encoder"))
    assert own < sum(weight.numel() for weight in network.parameters()) / 2
    for part in (0, 1):
        network.zero_grad()
        network.judge(torch.rand(3, 1, 64, 64))[part].square().sum().backward()
        assert all(weight.grad.abs().sum() > 0 for weight in network.encoder.parameters() if weight.ndim > 1)


def test_a_claimed_deviation_has_a_floor_from_which_it_can_rise() -> None:
    network = InfoDiscriminator(8, (), 1, **SMALL)
    with torch.no_grad():
        network.read.bias.fill_(-8.0)
    told = network.judge(torch.rand(4, 1, 8, 8))[1]
    assert (told[:, 1].exp() > 0.1).all()
    assert told[:, 1].exp().max() < 0.11
    told[:, 1].sum().backward()
    assert network.read.bias.grad[1].item() > 0
    assert math.isfinite(told.sum().item())


def test_settings_rebuild_the_generator() -> None:
    network = InfoGenerator(16, 5, [4], 1, 3, 2, 4)
    again = InfoGenerator(**network.settings)
    again.load_state_dict(network.state_dict())
    z = network.layout.draw(0, 0, 2)
    torch.testing.assert_close(again(z), network(z))
    assert all(isinstance(value, int | list) for value in network.settings.values())  # as a model file keeps them


@pytest.mark.parametrize(
    "changes", [{"noise": 0}, {"categories": [1]}, {"categories": [2.5]}, {"continuous": -1}, {"resolution": 30}]
)
def test_bad_settings_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        InfoGenerator(**{"resolution": 8, **changes})


def test_a_discriminator_without_codes_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        InfoDiscriminator(8, (), 0)


def test_codes_are_not_normalised() -> None:
    network = shake(InfoGenerator(8, 4, (2,), 1, **SMALL)).eval()
    z = network.layout.draw(0, 0, 3).double()
    moved = z.clone()
    moved[:, -1] += 0.3
    assert (network(moved) - network(z)).abs().amax() > 1e-4
    scaled = torch.cat([5 * z[:, :4], z[:, 4:]], dim=1)
    torch.testing.assert_close(network(scaled), network(z), atol=1e-6, rtol=0)
