from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from monai_cxraug.errors import ConfigError
from monai_cxraug.networks.layers import double, halve
from monai_cxraug.networks.pggan import ProgressiveDiscriminator, ProgressiveGenerator

SMALL = {"resolution": 32, "fmap_base": 64, "fmap_max": 16}


@pytest.fixture
def generator() -> ProgressiveGenerator:
    torch.manual_seed(0)
    return ProgressiveGenerator(**SMALL, latent_size=8)


@pytest.fixture
def discriminator() -> ProgressiveDiscriminator:
    torch.manual_seed(1)
    return ProgressiveDiscriminator(**SMALL)


@pytest.mark.parametrize("resolution", [4, 8, 16, 32])
@pytest.mark.parametrize("n", [1, 5])
def test_shapes(
    generator: ProgressiveGenerator, discriminator: ProgressiveDiscriminator, resolution: int, n: int
) -> None:
    images = generator(torch.randn(n, 8), resolution, 0.3)
    assert images.shape == (n, 1, resolution, resolution)
    assert discriminator(images, 0.3).shape == (n,)


def test_the_default_is_the_full_resolution(generator: ProgressiveGenerator) -> None:
    z = torch.randn(1, 8)
    assert torch.equal(generator(z), generator(z, 32, 1.0))


@pytest.mark.parametrize("resolution", [8, 16, 32])
def test_alpha_zero_is_the_previous_stage_doubled(generator: ProgressiveGenerator, resolution: int) -> None:
    z = torch.randn(3, 8)
    torch.testing.assert_close(generator(z, resolution, 0.0), double(generator(z, resolution // 2)))


@pytest.mark.parametrize("resolution", [8, 16, 32])
def test_discriminator_alpha_zero_is_the_previous_stage_on_averaged_images(
    discriminator: ProgressiveDiscriminator, resolution: int
) -> None:
    images = torch.rand(5, 1, resolution, resolution)
    torch.testing.assert_close(discriminator(images, 0.0), discriminator(halve(images)))
    assert not torch.allclose(discriminator(images, 1.0), discriminator(halve(images)))


@settings(max_examples=15, deadline=None)
@given(alpha=st.floats(0, 1), resolution=st.sampled_from([8, 16]))
def test_the_fade_is_the_straight_line_between_the_stages(alpha: float, resolution: int) -> None:
    torch.manual_seed(0)
    net, z = ProgressiveGenerator(16, 4, fmap_base=32, fmap_max=8), torch.randn(2, 4)
    previous, unblended = double(net(z, resolution // 2)), net(z, resolution, 1.0)
    torch.testing.assert_close(net(z, resolution, alpha), (1 - alpha) * previous + alpha * unblended)


@pytest.mark.parametrize("resolution", [8, 16, 32])
def test_the_discriminator_s_fade_is_the_straight_line_between_its_features(
    discriminator: ProgressiveDiscriminator, resolution: int
) -> None:
    seen: list[Tensor] = []
    next_block = discriminator.blocks[resolution.bit_length() - 4]
    next_block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.rand(3, 1, resolution, resolution)
    for alpha in (0.0, 1.0, 0.3):
        discriminator(images, alpha)
    torch.testing.assert_close(seen[2], 0.7 * seen[0] + 0.3 * seen[1])


def test_alpha_one_does_not_involve_the_previous_stage(
    generator: ProgressiveGenerator, discriminator: ProgressiveDiscriminator
) -> None:
    discriminator(generator(torch.randn(2, 8), 16, 1.0), 1.0).sum().backward()
    for borders in (generator.to_image, discriminator.from_image):
        used = [stage for stage, layer in enumerate(borders) if next(layer.parameters()).grad is not None]
        assert used == [2]


def test_images_do_not_depend_on_the_rest_of_the_batch(generator: ProgressiveGenerator) -> None:
    z = torch.randn(6, 8, dtype=torch.float64)
    torch.testing.assert_close(generator.double()(z)[2:4], generator(z[2:4]))


def test_latent_length_does_not_matter(generator: ProgressiveGenerator) -> None:
    z = torch.randn(2, 8)
    torch.testing.assert_close(generator(z), generator(5 * z), rtol=0, atol=1e-3)


def test_borders_map_between_zero_one_and_minus_one_one(
    generator: ProgressiveGenerator, discriminator: ProgressiveDiscriminator
) -> None:
    for parameter in generator.to_image.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(generator(torch.randn(2, 8)), torch.full((2, 1, 32, 32), 0.5))
    # mid grey is zero inside, so that the first layer's weights cannot matter
    grey = torch.full((2, 1, 32, 32), 0.5)
    before = discriminator(grey)
    nn.init.ones_(discriminator.from_image[3].weight)
    assert torch.equal(discriminator(grey), before)


def test_channels_follow_the_paper() -> None:
    net = ProgressiveGenerator(64, fmap_base=1024, fmap_max=128)
    widths = [layer.weight.shape[1] for layer in net.to_image]
    assert widths == [128, 128, 128, 64, 32]  # 4, 8, 16, 32 and 64 px: min(1024 / 2^stage, 128), stage 1 at 4 px
    critic = ProgressiveDiscriminator(64, fmap_base=1024, fmap_max=128)
    assert [layer.weight.shape[0] for layer in critic.from_image] == widths


def test_paper_sized_networks_have_the_paper_s_number_of_weights() -> None:
    # Karras et al. 2017, table 2: 23.1 million each at 1024 px
    with torch.device("meta"):
        generator, critic = ProgressiveGenerator(1024, channels=3), ProgressiveDiscriminator(1024, channels=3)
    # table 2 counts only the last to-image and first from-image layer
    extra_g = sum(p.numel() for layer in list(generator.to_image)[:-1] for p in layer.parameters())
    extra_d = sum(p.numel() for layer in list(critic.from_image)[:-1] for p in layer.parameters())
    assert sum(p.numel() for p in generator.parameters()) - extra_g == pytest.approx(23.1e6, rel=0.003)
    assert sum(p.numel() for p in critic.parameters()) - extra_d == pytest.approx(23.1e6, rel=0.003)


def test_settings_rebuild_the_network(generator: ProgressiveGenerator, discriminator: ProgressiveDiscriminator) -> None:
    twin = ProgressiveGenerator(**generator.settings)
    twin.load_state_dict(generator.state_dict())
    z = torch.randn(2, 8)
    assert torch.equal(twin(z), generator(z))
    critic = ProgressiveDiscriminator(**discriminator.settings)
    critic.load_state_dict(discriminator.state_dict())
    assert torch.equal(critic(twin(z)), discriminator(twin(z)))


@pytest.mark.parametrize(
    "arguments", [{"resolution": 48}, {"resolution": 2}, {"resolution": 0}, {"fmap_max": 0}, {"channels": 0}]
)
@pytest.mark.parametrize("network", [ProgressiveGenerator, ProgressiveDiscriminator])
def test_bad_settings_are_refused(network: type[nn.Module], arguments: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        network(**arguments)


@pytest.mark.parametrize(("resolution", "alpha"), [(64, 1.0), (12, 1.0), (16, 1.5), (16, -0.1), (16, float("nan"))])
def test_bad_calls_are_refused(generator: ProgressiveGenerator, resolution: int, alpha: float) -> None:
    with pytest.raises(ConfigError):
        generator(torch.randn(1, 8), resolution, alpha)
