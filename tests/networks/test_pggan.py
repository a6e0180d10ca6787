from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from monai_cxraug.errors import ConfigError
from monai_cxraug.losses.adversarial import auxiliary_loss
from monai_cxraug.networks.layers import double, halve
from monai_cxraug.networks.pggan import ProgressiveDiscriminator, ProgressiveGenerator
from monai_cxraug.networks.weights import load_model, save_model

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


def border_widths(**settings: int) -> list[list[int]]:
    """Channels at 4, 8, ... px of the generator and of the discriminator."""
    with torch.device("meta"):
        generator, critic = ProgressiveGenerator(**settings), ProgressiveDiscriminator(**settings)
    return [[layer.weight.shape[1] for layer in generator.to_image], [net.weight.shape[0] for net in critic.from_image]]


@pytest.mark.parametrize(
    ("settings", "widths"),
    [
        ({}, [512, 512, 512, 512, 256, 128, 64, 32, 16]),  # Karras et al. 2017, table 2
        ({"fmap_base": 2048, "fmap_max": 128}, [128, 128, 128, 128, 64, 32, 16, 8, 4]),
        ({"fmap_base": 4096, "fmap_max": 4096}, [2048, 1024, 512, 256, 128, 64, 32, 16, 8]),
        ({"fmap_base": 8, "fmap_max": 512}, [4, 2, 1, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_widths_of_all_nine_stages(settings: dict[str, int], widths: list[int]) -> None:
    assert border_widths(resolution=1024, **settings) == [widths, widths]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resolution", [4, 1024])
def test_paper_sized_networks_have_a_shape_without_numbers(channels: int, resolution: int) -> None:
    with torch.device("meta"):
        generator = ProgressiveGenerator(1024, channels=channels, findings=14)
        critic = ProgressiveDiscriminator(1024, channels=channels, findings=14, condition="projection")
        labels = torch.zeros(2, 14)
        images = generator(torch.zeros(2, 512), resolution, 0.5, labels)
        assert images.shape == (2, channels, resolution, resolution)
        assert critic(images, 0.5, labels).shape == (2,)


def test_a_model_file_from_before_there_were_findings_loads(tmp_path: Path, generator: ProgressiveGenerator) -> None:
    z = torch.randn(2, 8)
    images = generator(z)
    del generator.settings["findings"]
    save_model(tmp_path / "model.pt", "pggan", generator, {})
    model = load_model(tmp_path / "model.pt")
    assert model.network.findings == 0
    torch.testing.assert_close(model.network(z), images)


# --- findings ---

CONDITIONS = ["auxiliary", "projection"]


def make_conditional(condition: str = "auxiliary") -> tuple[ProgressiveGenerator, ProgressiveDiscriminator]:
    torch.manual_seed(3)
    critic = ProgressiveDiscriminator(**SMALL, findings=3, condition=condition)  # type: ignore[arg-type]
    for parameter in critic.parameters():
        nn.init.normal_(parameter)
    return ProgressiveGenerator(**SMALL, latent_size=8, findings=3), critic


LABELS = torch.tensor([[1.0, 0.0, torch.nan], [0.0, 1.0, 1.0]])


def test_each_finding_changes_the_image_and_unknown_lies_between() -> None:
    generator, _ = make_conditional()
    z = torch.randn(1, 8)
    for finding in range(3):
        images = []
        for value in (1.0, 0.0, torch.nan):
            labels = torch.zeros(1, 3)
            labels[0, finding] = value
            images.append(generator(z, labels=labels))
        assert torch.isfinite(torch.stack(images)).all()
        assert min((a - b).abs().max() for a, b in zip(images, images[1:] + images[:1], strict=True)) > 1e-3
    stem = generator.blocks[0].dense
    seen: list[Tensor] = []
    stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, 8:]))
    generator(torch.randn(2, 8), labels=LABELS)
    assert seen[0].tolist() == [[1.0, -1.0, 0.0], [-1.0, 1.0, 1.0]]


def test_an_image_depends_on_its_own_labels_alone() -> None:
    generator, _ = make_conditional()
    z = torch.randn(2, 8)
    torch.testing.assert_close(generator(z, labels=LABELS)[1:], generator(z[1:], labels=LABELS[1:]))


@pytest.mark.parametrize("condition", CONDITIONS)
def test_labels_change_the_score_of_a_projection_and_not_of_a_classifier(condition: str) -> None:
    _, critic = make_conditional(condition)
    images = torch.rand(2, 1, 32, 32)
    first, logits = critic.judge(images, labels=LABELS)
    second, _ = critic.judge(images, labels=1 - LABELS)
    assert torch.equal(first, second) == (condition == "auxiliary")
    assert (logits is None) == (condition == "projection")
    assert logits is None or logits.shape == (2, 3)
    if condition == "auxiliary":
        assert torch.equal(critic(images), first)


def test_a_projection_is_the_product_of_embedding_and_features_at_unit_variance() -> None:
    _, critic = make_conditional("projection")
    features: list[Tensor] = []
    critic.score.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    images = torch.rand(2, 1, 32, 32)
    scores = critic(images, labels=LABELS)
    code = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 1.0]])
    embedding = code @ critic.embed.weight.T / 3**0.5 + critic.embed.bias
    plain = (features[0] @ critic.score.weight.T / 16**0.5 + critic.score.bias)[:, 0]
    expected = plain + (embedding * features[0]).sum(dim=1) / 16**0.5
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("labels", "found"),
    [(None, "none"), (torch.zeros(2, 2), "2, 2"), (torch.zeros(3, 3), "3, 3"), (torch.zeros(3), r"\[3\]")],
)
def test_labels_of_another_shape_are_refused_in_one_line(labels: Tensor | None, found: str) -> None:
    generator, critic = make_conditional("projection")
    for call in (
        lambda: generator(torch.randn(2, 8), labels=labels),
        lambda: critic(torch.rand(2, 1, 8, 8), 1, labels),
    ):
        with pytest.raises(ConfigError, match=rf"labels\): must be \[2, 3\]; found .*{found}") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_unconditional_networks_refuse_labels(
    generator: ProgressiveGenerator, discriminator: ProgressiveDiscriminator
) -> None:
    for labels in (torch.zeros(2, 3), torch.zeros(2, 0)):
        with pytest.raises(ConfigError, match=r"not used.*build the network with findings"):
            generator(torch.randn(2, 8), labels=labels)
        with pytest.raises(ConfigError, match=r"not used.*build the network with findings"):
            discriminator(torch.rand(2, 1, 8, 8), labels=labels)


def test_the_classifier_learns_nothing_from_unknown_labels() -> None:
    _, critic = make_conditional()
    labels = torch.tensor([[1.0, torch.nan, 0.0], [torch.nan, torch.nan, 1.0]])
    logits = critic.judge(torch.rand(2, 1, 32, 32))[1]
    auxiliary_loss(logits, labels).backward()
    assert critic.classify.weight.grad[1].abs().sum() == 0
    assert critic.classify.bias.grad[[0, 2]].abs().min() > 0
    assert all(p.grad.isfinite().all() for p in critic.parameters() if p.grad is not None)


@pytest.mark.parametrize("arguments", [{"findings": -1}, {"condition": "embedding"}, {"group": 0}])
def test_bad_conditions_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        ProgressiveDiscriminator(**SMALL, **arguments)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_conditional_settings_rebuild_both_networks(condition: str) -> None:
    for net in make_conditional(condition):
        twin = type(net)(**net.settings)
        twin.load_state_dict(net.state_dict())
        assert twin.settings == net.settings


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_both_networks_fade_under_autocast(dtype: torch.dtype, alpha: float) -> None:
    generator, critic = make_conditional("projection")
    z = torch.randn(2, 8)
    exact = generator(z, 16, alpha, LABELS)
    with torch.autocast("cpu", dtype):
        images = generator(z, 16, alpha, LABELS)
        scores = critic(images.float(), alpha, LABELS)
    assert images.dtype == scores.dtype == dtype
    torch.testing.assert_close(images.float(), exact, rtol=0, atol=0.1)
