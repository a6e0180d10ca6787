"""The augmentations against NumPy and SciPy, the statistics of what they draw, and the ways of p."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage, stats
from torch import Tensor

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.losses.adversarial import NonSaturatingLoss
from monai_cxraug.networks.augmentation import (
    POLICIES,
    AdaptiveAugmentation,
    Augmentation,
    DiffAugment,
    RadiographAugmentation,
)
from monai_cxraug.networks.changes import Frame

Array = NDArray[np.float64]
OFF = dict.fromkeys(("translation", "zoom", "rotation", "stretch", "contrast", "brightness", "noise", "cutout"), 0.0)
DEFAULTS = {**vars(RadiographAugmentation())}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rand(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(*shape, generator=seeded(seed), dtype=dtype)


def drawn(family: RadiographAugmentation, n: int, p: float = 1.0, side: int = 64) -> dict[str, Array]:
    """The numbers of n images, by name."""
    change = family._draw(n, Frame(side, side), seeded(), p, torch.device("cpu"))
    return {name: value.double().numpy() for name, value in change._asdict().items()}


# --- What happens to an image ---


def reference(image: Array, change: dict[str, float]) -> Array:
    """One grey image by homogeneous matrices in (x, y, 1), SciPy's resampling and loops; the noise aside."""
    height, width = image.shape

    def diagonal(x: float, y: float) -> Array:
        return np.diag([x, y, 1.0])

    def shift(x: float, y: float) -> Array:
        return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])

    cos, sin = math.cos(change["turn"]), math.sin(change["turn"])
    matrices = [
        shift((width - 1) / 2, (height - 1) / 2),
        shift(change["jump_x"], change["jump_y"]),
        shift(change["slide_x"], change["slide_y"]),
        np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]),
        diagonal(2 ** change["zoom"], 2 ** change["zoom"]),
        diagonal(2 ** (change["stretch"] / 2), 2 ** (-change["stretch"] / 2)),
        diagonal(1 - 2 * change["mirror"], 1),
        shift(-(width - 1) / 2, -(height - 1) / 2),
    ]
    back = np.linalg.inv(np.linalg.multi_dot(matrices))[[1, 0]][:, [1, 0, 2]]  # SciPy counts in (row, column)
    moved = ndimage.affine_transform(image, back[:, :2], back[:, 2], order=1, mode="reflect")
    changed = (moved - 0.5) * 2 ** change["contrast"] + 0.5 + change["brightness"]
    for row in range(height):
        for column in range(width):
            off_x = abs((column + 0.5) / width - change["hole_x"])
            off_y = abs((row + 0.5) / height - change["hole_y"])
            if max(off_x, off_y) < change["hole"] / 2:
                changed[row, column] = 0.5
    return changed


@pytest.mark.parametrize("size", [(16, 16), (12, 20)])
@pytest.mark.parametrize("p", [0.5, 1.0])
def test_images_are_changed_as_the_reference_changes_them(size: tuple[int, int], p: float) -> None:
    family = RadiographAugmentation(noise=0, mirror=True)
    images = rand(12, 1, *size, seed=1)
    change = family._draw(12, Frame(*size), seeded(5), p, torch.device("cpu"))
    changed = family(images, seeded(5), p)
    for n in range(12):
        numbers = {name: float(value[n]) for name, value in change._asdict().items()}
        expected = torch.from_numpy(reference(images[n, 0].numpy(), numbers))
        torch.testing.assert_close(changed[n, 0], expected, rtol=0, atol=1e-5)  # the numbers are float32


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_p_zero_leaves_every_bit(dtype: torch.dtype) -> None:
    images = (rand(7, 2, 30, 23) * 3 - 1).to(dtype)  # at powers of two, resampling in place happens to be exact
    for p in (0.0, torch.zeros(())):
        same = RadiographAugmentation(mirror=True)(images, seeded(), p)
        assert same.dtype == dtype
        assert torch.equal(same, images)


def test_p_one_changes_every_image_and_an_image_without_a_change_keeps_its_bits() -> None:
    images = rand(200, 1, 15, 17)
    family = RadiographAugmentation()
    assert (family(images, seeded(), 1.0) != images).flatten(1).any(1).all()
    change = family._draw(200, Frame(15, 17), seeded(), 0.1, torch.device("cpu"))
    untouched = (torch.stack(change) == 0).all(0)
    assert 0.2 < untouched.double().mean() < 0.6
    assert torch.equal(family(images, seeded(), 0.1)[untouched], images[untouched])


def test_what_is_changed_at_a_small_p_is_changed_alike_at_a_larger_one() -> None:
    family = RadiographAugmentation()
    small, large = drawn(family, 500, 0.2), drawn(family, 500, 0.7)
    assert not small.pop("mirror").any()
    for name, values in small.items():
        applied = values != 0
        assert applied.sum() < (large[name] != 0).sum()
        assert (values[applied] == large[name][applied]).all()


def test_without_settings_nothing_happens() -> None:
    images = rand(5, 1, 8, 8)
    assert torch.equal(RadiographAugmentation(**OFF)(images, seeded(), 1.0), images)


@pytest.mark.parametrize("name", OFF)
def test_each_setting_alone_does_something(name: str) -> None:
    images = rand(5, 1, 16, 16)
    changed = RadiographAugmentation(**{**OFF, name: DEFAULTS[name]})(images, seeded(), 1.0)
    assert not torch.allclose(changed, images)


def test_left_and_right_are_swapped_only_on_request_and_half_of_the_times() -> None:
    images = rand(400, 1, 8, 8)
    changed = RadiographAugmentation(**OFF, mirror=True)(images, seeded(), 1.0)
    swapped = torch.isclose(changed, images.flip(3)).flatten(1).all(1)
    assert torch.equal(changed[~swapped], images[~swapped])
    assert 0.4 < swapped.double().mean() < 0.6
    assert not drawn(RadiographAugmentation(), 400)["mirror"].any()


def test_no_border_appears() -> None:
    places = {**OFF, **{name: DEFAULTS[name] for name in ("translation", "zoom", "rotation", "stretch")}}
    white = torch.ones(300, 1, 16, 16)
    torch.testing.assert_close(RadiographAugmentation(**places)(white, seeded(), 1.0), white, rtol=0, atol=1e-5)
    torch.testing.assert_close(DiffAugment(("translation",))(white, seeded()), white, rtol=0, atol=1e-5)


def test_images_stay_in_a_sane_range() -> None:
    images = (rand(5000, 1, 8, 8) > 0.5).float()
    changed = RadiographAugmentation()(images, seeded(), 1.0)
    assert torch.isfinite(changed).all()
    # contrast at most 2^1.5, brightness 0.3, noise 0.15 of at most 5.9 deviations
    assert (changed - 0.5).abs().max() < 0.5 * 2**1.5 + 0.3 + 0.15 * 5.9
    assert (changed - 0.5).abs().mean() < 1


def test_noise_has_the_deviation_that_was_drawn() -> None:
    family = RadiographAugmentation(**{**OFF, "noise": 0.05})
    images = rand(40, 1, 64, 64)
    added = family(images, seeded(), 0.5) - images
    deviation = drawn(family, 40, 0.5)["noise"]
    assert (deviation == 0).any()
    np.testing.assert_allclose(added.flatten(1).std(1).numpy(), deviation, rtol=0.06)
    noisy = torch.from_numpy(deviation > 0)
    correlation = np.corrcoef(added[noisy].flatten(1).numpy())
    assert np.abs(correlation - np.eye(len(correlation))).max() < 5 / 64


# --- Draws ---


def binomial_range(p: float, n: int) -> tuple[float, float]:
    spread = 5 * math.sqrt(p * (1 - p) / n)
    return p - spread, p + spread


#: one number of each of the independent changes, all but the mirror with no chance of being zero when applied.
INDEPENDENT = ("slide_x", "zoom", "stretch", "turn", "contrast", "brightness", "noise", "hole")


@pytest.mark.parametrize("p", [0.1, 0.6])
def test_each_change_is_applied_with_probability_p_independently(p: float) -> None:
    n = 20_000
    changes = drawn(RadiographAugmentation(), n, p)
    low, high = binomial_range(p, n)
    applied = {name: changes[name] != 0 for name in INDEPENDENT}
    for name, chosen in applied.items():
        assert low < chosen.mean() < high, name
    correlation = np.corrcoef([chosen.astype(float) for chosen in applied.values()])
    assert np.abs(correlation - np.eye(len(applied))).max() < 5 / math.sqrt(n)
    for one, other in (("slide_x", "slide_y"), ("hole", "hole_x"), ("noise", "key_high")):
        assert ((changes[one] != 0) == (changes[other] != 0)).mean() > 0.999
    jumped = (changes["jump_x"] != 0) | (changes["jump_y"] != 0)  # both are zero by chance once in 289
    assert low - 0.01 < jumped.mean() < high


def cut_normal(values: Array, deviation: float) -> float:
    """How probable it is that the values are normal, cut at three deviations (to which the tails are moved)."""
    assert np.abs(values).max() <= 3.0001 * deviation
    inner = values[np.abs(values) < 2.9999 * deviation]
    assert 0 < len(values) - len(inner) < 0.01 * len(values)
    return float(stats.kstest(inner / deviation, stats.truncnorm(-3, 3).cdf).pvalue)


def test_draws_have_the_distributions_that_are_documented() -> None:
    n = 20_000
    changes = drawn(RadiographAugmentation(), n)
    for name, deviation in {"zoom": 0.2, "stretch": 0.1, "contrast": 0.5, "brightness": 0.1}.items():
        assert cut_normal(changes[name], deviation) > 1e-3, name
    for name in ("slide_x", "slide_y"):
        assert cut_normal(changes[name], 0.0625 * 64) > 1e-3
    signs = rand(n, seed=9).numpy() < 0.5
    assert (changes["noise"] >= 0).all()
    assert cut_normal(np.where(signs, changes["noise"], -changes["noise"]), 0.05) > 1e-3
    ten_degrees = stats.uniform(-math.pi / 18, math.pi / 9)
    assert stats.kstest(changes["turn"], ten_degrees.cdf).pvalue > 1e-3
    for name in ("hole_x", "hole_y"):
        assert stats.kstest(changes[name], "uniform").pvalue > 1e-3
    assert (changes["hole"] == 0.5).all()
    for name in ("jump_x", "jump_y"):
        values, counts = np.unique(changes[name], return_counts=True)
        assert values.tolist() == list(range(-8, 9))
        shares = np.array([0.5, *[1] * 15, 0.5]) / 16  # rounding gives the ends half of a pixel
        assert stats.chisquare(counts, shares * n).pvalue > 1e-3
    numbers = [values for name, values in changes.items() if name not in ("mirror", "hole")]
    assert np.abs(np.corrcoef(numbers) - np.eye(len(numbers))).max() < 5.5 / math.sqrt(n)


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "radiograph": lambda images, draws: RadiographAugmentation(mirror=True)(images, draws, 0.6),
    "DiffAugment": DiffAugment(),
}


@pytest.mark.parametrize("augment", AUGMENTATIONS.values(), ids=AUGMENTATIONS.keys())
def test_an_image_s_change_depends_on_neither_batch_nor_neighbours(augment: Callable[..., Tensor]) -> None:
    images = rand(11, 1, 16, 16, dtype=torch.float32)
    whole = augment(images, seeded(3))
    draws = seeded(3)
    parts = torch.cat([augment(part, draws) for part in images.split([1, 4, 6])])
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)
    others = torch.cat([images[:5] * 0.1, images[5:6], images[6:].flip(0)])
    torch.testing.assert_close(augment(others, seeded(3))[5], whole[5], rtol=0, atol=0)


@pytest.mark.parametrize("augment", AUGMENTATIONS.values(), ids=AUGMENTATIONS.keys())
def test_draws_come_from_the_generator_alone(augment: Callable[..., Tensor]) -> None:
    images = rand(4, 1, 8, 8)
    before = torch.get_rng_state()
    first, second, other = (augment(images, seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_no_number_is_ever_fetched_from_the_device() -> None:
    # a meta tensor has no values: reading one would raise
    with torch.device("meta"):
        images = torch.rand(4, 1, 8, 8, requires_grad=True)
        adaptive = AdaptiveAugmentation(RadiographAugmentation(mirror=True))
    for augment in (adaptive, DiffAugment()):
        changed = augment(images, seeded())
        changed.square().sum().backward()
        augment.update(changed.mean((1, 2, 3)), changed.mean((1, 2, 3)))
        assert (changed.device.type, changed.shape) == ("meta", images.shape)


# --- Derivatives ---


@pytest.mark.parametrize("augment", AUGMENTATIONS.values(), ids=AUGMENTATIONS.keys())
def test_first_and_second_derivatives_agree_with_finite_differences(augment: Callable[..., Tensor]) -> None:
    images = rand(3, 1, 5, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: augment(x, seeded(1)), (images,))
    assert torch.autograd.gradgradcheck(lambda x: augment(x, seeded(1)), (images,))


@pytest.mark.parametrize("augment", AUGMENTATIONS.values(), ids=AUGMENTATIONS.keys())
def test_a_penalty_can_look_through_the_changes(augment: Callable[..., Tensor]) -> None:
    images, weight = rand(3, 1, 5, 4, seed=1), (rand(20, 2, seed=2) - 0.5).requires_grad_()

    def penalty(weight: Tensor) -> Tensor:
        critic = lambda x: torch.tanh(augment(x, seeded(1)).flatten(1) @ weight).sum(1)  # noqa: E731
        return NonSaturatingLoss().regulariser(critic, images, images, images)

    assert torch.autograd.gradcheck(penalty, (weight,))


# --- The ways of p ---


def scores(positive: float, n: int = 20) -> Tensor:
    """n scores of which a part is positive: r = 2 * positive - 1."""
    return torch.where(torch.arange(n) < round(positive * n), 1.0, -1.0)


def test_p_rises_by_the_images_seen_every_fourth_step_up_to_its_ceiling() -> None:
    adaptive = AdaptiveAugmentation(images=400)
    history = []
    for _ in range(40):
        adaptive.update(scores(1.0))
        history.append(float(adaptive.p))
    assert history == pytest.approx([min(0.8, (k // 4) * 80 / 400) for k in range(1, 41)])
    assert float(adaptive.r) == 1


def test_p_takes_as_many_images_as_it_says_whatever_the_batch() -> None:
    for n in (4, 10, 50):
        adaptive = AdaptiveAugmentation(images=1000, ceiling=1.0)
        for _ in range(600 // n):
            adaptive.update(scores(1.0, n))
        assert float(adaptive.p) == pytest.approx(0.6, abs=4 * n / 1000)


@pytest.mark.parametrize(("positive", "expected"), [(0.75, 0.2), (0.8, 0.3), (0.85, 0.4), (0.0, 0.2)])
def test_p_moves_towards_the_target(positive: float, expected: float) -> None:
    adaptive = AdaptiveAugmentation(images=800)
    adaptive.p.fill_(0.3)
    for _ in range(4):
        adaptive.update(scores(positive, 20))
    assert float(adaptive.r) == pytest.approx(2 * positive - 1)
    assert float(adaptive.p) == pytest.approx(expected)


def test_p_never_falls_below_zero() -> None:
    adaptive = AdaptiveAugmentation(images=10)
    for _ in range(8):
        adaptive.update(scores(0.0))
    assert float(adaptive.p) == 0


def test_the_mean_runs_over_all_images_of_the_steps() -> None:
    adaptive = AdaptiveAugmentation(images=1000)
    for part, n in ((1.0, 30), (0.0, 10), (0.5, 20), (1.0, 20)):
        adaptive.update(scores(part, n))
    assert float(adaptive.r) == pytest.approx((30 - 10 + 0 + 20) / 80)


def test_p_settles_where_r_is_the_target() -> None:
    # a discriminator whose certainty falls with p: r = 1 - p, hence p = 0.4
    adaptive, draws = AdaptiveAugmentation(images=20_000), seeded()
    history = []
    for _ in range(2000):
        positive = (2 - adaptive.p) / 2
        adaptive.update((torch.rand(32, generator=draws) < positive).float() * 2 - 1)
        history.append(float(adaptive.p))
    assert np.mean(history[1000:]) == pytest.approx(0.4, abs=0.03)
    assert np.std(history[1000:]) < 0.05


def test_scores_without_a_natural_zero_are_compared_with_the_middle() -> None:
    real, fake = torch.randn(4, 64, generator=seeded()) + 1.5, torch.randn(4, 64, generator=seeded(1)) - 0.5
    plain, shifted, blind = (AdaptiveAugmentation(images=1000) for _ in range(3))
    for step in range(4):
        plain.update(real[step], fake[step])
        shifted.update(real[step] + 100, fake[step] + 100)
        blind.update(real[step] - 100)
    assert float(plain.r) == float(shifted.r)
    # normal scores one deviation above the middle: r = 2 * cdf(1) - 1
    assert float(plain.r) == pytest.approx(2 * stats.norm.cdf(1) - 1, abs=0.12)
    assert float(blind.r) == -1


def test_a_score_that_is_no_number_spoils_nothing() -> None:
    adaptive = AdaptiveAugmentation(images=1000)
    for _ in range(4):
        adaptive.update(torch.tensor([1.0, 1.0, 1.0, torch.nan, torch.inf]))
        adaptive.update(torch.full((5,), torch.nan), torch.full((5,), torch.nan))
    assert torch.isfinite(torch.stack(list(adaptive.state_dict().values())[:2])).all()
    assert float(adaptive.r) == pytest.approx(0.4)


def test_state_saved_between_two_moves_goes_on_alike() -> None:
    through, before, after = (AdaptiveAugmentation(images=300) for _ in range(3))
    for _ in range(6):
        through.update(scores(0.95))
        before.update(scores(0.95))
    file = io.BytesIO()
    torch.save(before.state_dict(), file)
    file.seek(0)
    after.load_state_dict(torch.load(file, weights_only=True))
    for _ in range(6):
        through.update(scores(0.85))
        after.update(scores(0.85))
    assert {name: value.tolist() for name, value in after.state_dict().items()} == {
        name: value.tolist() for name, value in through.state_dict().items()
    }
    assert float(through.p) > 0


def test_updating_keeps_no_graph() -> None:
    adaptive, real = AdaptiveAugmentation(), torch.ones(4, requires_grad=True)
    for _ in range(4):
        adaptive.update(real * 2)
    assert not adaptive.p.requires_grad


def test_adaptive_changes_are_the_family_s_at_the_present_p() -> None:
    family, images = RadiographAugmentation(mirror=True), rand(6, 1, 8, 8)
    adaptive = AdaptiveAugmentation(family)
    assert torch.equal(adaptive(images, seeded()), images)
    adaptive.p.fill_(0.7)
    assert torch.equal(adaptive(images, seeded()), family(images, seeded(), 0.7))
    assert not torch.equal(adaptive(images, seeded()), images)


# --- DiffAugment ---


def diff_reference(image: Array, numbers: Array, policy: tuple[str, ...]) -> Array:
    """One grey image, in NumPy."""
    brightness, contrast, right, down, x, y = numbers
    height, width = image.shape
    if "brightness-contrast" in policy:
        image = (image - image.mean()) * (0.5 + contrast) + image.mean() + 0.5 * brightness - 0.25
    if "translation" in policy:
        rows, columns = round((2 * down - 1) * height / 8), round((2 * right - 1) * width / 8)
        wide = np.pad(image, ((height, height), (width, width)), mode="symmetric")
        image = wide[height - rows : 2 * height - rows, width - columns : 2 * width - columns]
    if "cutout" in policy:
        image = image.copy()
        inside_y = np.abs((np.arange(height) + 0.5) / height - y) < 0.25
        inside_x = np.abs((np.arange(width) + 0.5) / width - x) < 0.25
        image[np.ix_(inside_y, inside_x)] = 0.5
    return image


@pytest.mark.parametrize("policy", [POLICIES, POLICIES[:1], POLICIES[1:2], POLICIES[2:], ("cutout", "translation"), ()])
@pytest.mark.parametrize("size", [(16, 16), (12, 24)])
def test_diff_augment_equals_numpy(policy: tuple[str, ...], size: tuple[int, int]) -> None:
    images = rand(10, 1, *size, seed=1)
    numbers = torch.rand(10, 6, generator=seeded(7)).double().numpy()
    changed = DiffAugment(policy)(images, seeded(7))
    for image, result, row in zip(images, changed, numbers, strict=True):
        expected = torch.from_numpy(diff_reference(image[0].numpy(), row, policy))
        torch.testing.assert_close(result[0], expected, rtol=0, atol=1e-6)


def test_colour_channels_are_changed_alike() -> None:
    grey = rand(6, 1, 16, 16, seed=1)
    for augment in (DiffAugment(), lambda images, draws: RadiographAugmentation(noise=0)(images, draws, 1.0)):
        changed = augment(grey.expand(6, 3, 16, 16), seeded())
        torch.testing.assert_close(changed, augment(grey, seeded()).expand(6, 3, 16, 16))


# --- Bad input ---


@pytest.mark.parametrize(
    ("make", "message"),
    [
        *[(lambda name=name: RadiographAugmentation(**{name: -0.1}), rf"\({name}\): must be in \[0, ") for name in OFF],
        (lambda: RadiographAugmentation(rotation=90), r"\(rotation\): must be in \[0, 15.0\]; found 90"),
        (lambda: RadiographAugmentation(contrast=float("nan")), r"\(contrast\): must be in"),
        (lambda: AdaptiveAugmentation(target=1.0), r"\(target\): must be in \(-1, 1\); found 1.0"),
        (lambda: AdaptiveAugmentation(images=0), "images and interval must be at least 1; found 0, 4"),
        (lambda: AdaptiveAugmentation(interval=0), "images and interval must be at least 1; found 500000, 0"),
        (lambda: AdaptiveAugmentation(ceiling=1.1), r"\(ceiling\): must be in \[0, 1\]; found 1.1"),
        (lambda: DiffAugment(("translation", "cutuot")), r"found cutuot; did you mean 'cutout'\?"),
        (lambda: DiffAugment("colour"), "found colour; known: "),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("augment", [AdaptiveAugmentation(), DiffAugment()], ids=["adaptive", "DiffAugment"])
@pytest.mark.parametrize("images", [torch.rand(1, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)])
def test_what_is_no_batch_of_images_is_refused(augment: Augmentation, images: Tensor) -> None:
    with pytest.raises(
        InputError, match=r"images to augment: must be \[N, C, H, W\] of a floating type; found torch\."
    ):
        augment(images, seeded())


def test_a_batch_of_none_comes_back() -> None:
    for augment in (AdaptiveAugmentation(), DiffAugment()):
        assert augment(torch.rand(0, 1, 8, 8), seeded()).shape == (0, 1, 8, 8)
