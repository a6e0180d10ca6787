from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.networks.corruption import CORRUPTIONS, Corruption

GREY = [kind for kind in CORRUPTIONS if kind != "colour_removal"]


@hypothesis_settings(max_examples=40)
@given(st.sampled_from(sorted(CORRUPTIONS)), st.integers(0, 2**32), st.integers(1, 4))
def test_shape_range_and_seeds(kind: str, seed: int, n: int) -> None:
    corrupt, images = Corruption(kind), torch.rand(n, 3, 16, 8)
    seeds = [seed + number for number in range(n)]
    made = corrupt(images, seeds)
    assert made.shape == images.shape
    assert ((made >= 0) & (made <= 1)).all()
    assert torch.equal(made, corrupt(images, seeds))
    assert torch.equal(made[-1:], corrupt(images[-1:], seeds[-1:])), "an image's batch does not matter"


@pytest.mark.parametrize("kind", ["white_noise", "pink_noise"])
def test_noise_is_of_its_seed_and_strength(kind: str) -> None:
    images = torch.full((2, 1, 64, 64), 0.5)
    made = Corruption(kind, 0.05)(images, [1, 2])
    assert not torch.equal(made[0], made[1])
    noise = made - images
    torch.testing.assert_close(noise.std(), torch.tensor(0.05), atol=0.002, rtol=0)
    torch.testing.assert_close(noise.mean(), torch.tensor(0.0), atol=0.002, rtol=0)
    assert torch.equal(Corruption(kind, 0.0)(images, [1, 2]), images)


def test_no_global_random_state_is_touched() -> None:
    before = torch.get_rng_state()
    for kind in GREY:
        Corruption(kind)(torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)), [3])
    assert torch.equal(torch.get_rng_state(), before)


def test_pink_noise_has_as_much_power_in_every_octave() -> None:
    images = torch.full((64, 1, 128, 128), 0.5)
    noise = (Corruption("pink_noise", 0.02)(images, range(64)) - images)[:, 0].double().numpy()
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean(axis=0)
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(128)] * 2))
    octaves = [power[(low <= frequency) & (frequency < 2 * low)].sum() for low in (1 / 32, 1 / 16, 1 / 8)]
    np.testing.assert_allclose(octaves, np.mean(octaves), rtol=0.12)


def test_downsampling_averages_and_enlarges() -> None:
    image = torch.arange(64.0).reshape(1, 1, 8, 8) / 64
    made = Corruption("downsampling", 4)(image, [0])
    small = image[0, 0].reshape(2, 4, 2, 4).mean(dim=(1, 3))
    corners = torch.stack([made[0, 0, 0, 0], made[0, 0, 0, -1], made[0, 0, -1, 0], made[0, 0, -1, -1]])
    torch.testing.assert_close(corners, small.flatten())
    torch.testing.assert_close(made.mean(), image.mean())
    between = made[0, 0, 0]  # bilinear: an eighth, three, five, seven eighths of the way between two centres
    expected = small[0, 0] + (small[0, 1] - small[0, 0]) * torch.tensor([0, 0, 1, 3, 5, 7, 8, 8]) / 8
    torch.testing.assert_close(between, expected)


def test_colour_removal_keeps_brightness() -> None:
    image = torch.rand(2, 3, 4, 4)
    made = Corruption("colour_removal")(image, [0, 1])
    luma = (image.double() * torch.tensor([0.299, 0.587, 0.114]).double()[:, None, None]).sum(dim=1)
    for channel in range(3):
        torch.testing.assert_close(made[:, channel].double(), luma, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("kind", "strength", "message"),
    [
        ("whit_noise", None, "unknown corruption; found 'whit_noise'; did you mean 'white_noise'"),
        ("white_noise", -0.1, r"corruption_strength: must be in \[0, 1\]; found -0.1"),
        ("pink_noise", 2, r"must be in \[0, 1\]; found 2"),
        ("pink_noise", float("nan"), "found nan"),
        ("white_noise", "strong", "found 'strong'"),
        ("downsampling", 1, "must be a whole factor of at least 2; found 1"),
        ("downsampling", 2.5, "found 2.5"),
        ("downsampling", True, "found True"),
    ],
)
def test_hostile_settings_are_refused(kind: str, strength: float | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Corruption(kind, strength)


@pytest.mark.parametrize(
    ("corruption", "message"),
    [
        (Corruption("colour_removal"), "corruption 'colour_removal': needs colour images; found 1 channel"),
        (Corruption("downsampling", 3), "needs sides that are multiples of 3"),
    ],
)
def test_images_that_do_not_fit_are_refused(corruption: Corruption, message: str) -> None:
    with pytest.raises(InputError, match=message):
        corruption(torch.rand(1, 1, 8, 8), [0])
