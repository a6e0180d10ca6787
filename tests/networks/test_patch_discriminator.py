from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.networks.patch_discriminator import PatchDiscriminator


@pytest.mark.parametrize("layers", range(5))
@pytest.mark.parametrize("channels", [1, 3])
def test_one_score_for_each_patch(layers: int, channels: int) -> None:
    network = PatchDiscriminator(channels, layers, width=2)
    given, images = torch.rand(2, 3, channels, 32, 64).unbind()
    assert network(given, images).shape == (3, 32 // 2**layers, 64 // 2**layers)
    strided = [module for module in network.modules() if isinstance(module, nn.Conv2d) and module.stride == (2, 2)]
    assert len(strided) == layers


@pytest.mark.parametrize(("layers", "patch"), [(0, 5), (1, 12), (2, 26), (3, 54)])
def test_a_score_sees_the_patch_that_the_docstring_says(layers: int, patch: int) -> None:
    network = PatchDiscriminator(1, layers, width=2, normalisation="none").double()
    images = torch.rand(1, 1, 128, 128, dtype=torch.float64, requires_grad=True)
    scores = network(torch.rand_like(images), images)
    middle = scores.shape[-1] // 2
    scores[0, middle, middle].backward()
    assert images.grad is not None
    touched = images.grad[0, 0].abs().sum(dim=0).nonzero().flatten()
    assert int(touched[-1] - touched[0]) + 1 == patch


def test_the_score_depends_on_what_was_given() -> None:
    network = PatchDiscriminator(1, 2, width=4)
    given, other, images = torch.rand(3, 1, 1, 16, 16).unbind()
    assert not torch.allclose(network(given, images), network(other, images))


def test_images_of_a_batch_do_not_meet() -> None:
    network = PatchDiscriminator(1, 2, width=4)
    given, images = torch.rand(2, 5, 1, 16, 16).unbind()
    torch.testing.assert_close(network(given, images)[3:4], network(given[3:4], images[3:4]), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 7}, r"PatchDiscriminator\(layers\): must be a whole number from 0 to 6; found 7"),
        ({"layers": 1.5}, "found 1.5"),
        ({"width": 0}, r"\(width\)"),
        ({"channels": 4}, r"\(channels\): must be a whole number from 1 to 3"),
        ({"normalisation": "batch"}, "unknown normalisation; found 'batch'"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PatchDiscriminator(**settings)


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 1, 20, 16), (1, 3, 16, 16)])
def test_images_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"must be two of \[N, 1, H, W\], sides multiples of 8, 16 up"):
        PatchDiscriminator(1, 3, width=2)(torch.rand(shape), torch.rand(shape))


def test_pairs_of_different_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="images to judge"):
        PatchDiscriminator(1, 1, width=2)(torch.rand(1, 1, 8, 8), torch.rand(2, 1, 8, 8))
