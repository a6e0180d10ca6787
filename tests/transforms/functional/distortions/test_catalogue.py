"""Every distortion of the catalogue by its properties; sequences as text; draws."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, stats
from torch import Tensor

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.transforms.functional import distortions
from monai_cxraug.transforms.functional.distortions.catalogue import (
    CATALOGUE,
    GROUPS,
    Distortion,
    Step,
    apply_steps,
    draw_steps,
    find_distortion,
    parse_steps,
    write_steps,
)

EACH = pytest.mark.parametrize("distortion", CATALOGUE.values(), ids=CATALOGUE.keys())
#: where each changes nothing; JPEG rounds at any quality.
NEUTRAL = {"contrast": 1.0, "gamma": 1.0, "saturation": 1.0, "poisson_noise": float("inf"), "jpeg2000": 1.0}
SEEDED = [one for one in CATALOGUE.values() if one.seeded]


def picture(*size: int, seed: int = 0) -> Tensor:
    """Smooth shapes and some noise, as in a radiograph."""
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.random(size), 3, axes=(-2, -1))
    image = (image - image.min()) / np.ptp(image)
    return torch.from_numpy(0.1 + 0.7 * image + 0.1 * rng.random(size)).float()


def middling(distortion: Distortion) -> float:
    return distortion.at(0.5)


# --- the table ---


def test_the_groups_have_these_members() -> None:
    members = {group: {name for name, one in CATALOGUE.items() if one.group == group} for group in GROUPS}
    assert members == {
        "photometric": {"lightness", "contrast", "gamma", "colour_shift", "saturation"},
        "noise": {
            "uniform_noise",
            "gaussian_noise",
            "pink_noise",
            "blue_noise",
            "coloured_noise",
            "poisson_noise",
            "checkerboard",
        },
        "blur": {"gaussian_blur", "bilateral_blur", "motion_blur"},
        "spatial": {
            "shift",
            "affine_warp",
            "homography",
            "linear_warp",
            "cubic_warp",
            "ghosting",
            "chromatic_aberration",
        },
        "compression": {"jpeg", "jpeg2000"},
    }


@EACH
def test_an_entry_names_its_function_and_its_strength(distortion: Distortion) -> None:
    settings = list(inspect.signature(distortion.function).parameters)
    assert distortion.function.__name__ == distortion.name
    assert settings[:2] == ["images", distortion.strength]
    assert distortion.seeded == ("seed" in settings)
    assert distortion.colour_only == (distortion.name in {"colour_shift", "saturation", "chromatic_aberration"})


def test_every_function_of_a_group_is_in_the_table() -> None:
    """A public function whose first argument is ``images`` is a distortion."""
    found = {
        name
        for group in GROUPS
        for name, made in vars(getattr(distortions, group)).items()
        if inspect.isfunction(made) and made.__module__.endswith(f"distortions.{group}") and not name.startswith("_")
        if next(iter(inspect.signature(made).parameters)) == "images"
    }
    assert found == CATALOGUE.keys()


@EACH
def test_a_range_goes_from_mild_to_strong(distortion: Distortion) -> None:
    """On average over pictures and seeds the squared change grows; at the ends it is visible and not all there is."""
    images = picture(4, 3, 64, 64)
    shares = np.linspace(0, 1, 6)
    errors = [
        np.mean(
            [float((distortion.apply(images, distortion.at(s), seed) - images).square().mean()) for seed in range(4)]
        )
        for s in shares
    ]
    assert errors == sorted(errors)
    assert errors[0] > 0
    assert errors[-1] > 2 * errors[0]


@EACH
def test_strengths_lie_between_the_ends_and_are_short(distortion: Distortion) -> None:
    low, high = sorted((distortion.mildest, distortion.strongest))
    strengths = [distortion.at(share) for share in np.linspace(0, 1, 50)]
    assert (strengths[0], strengths[-1]) == (distortion.mildest, distortion.strongest)
    assert all(low <= one <= high and float(f"{one:.3g}") == one for one in strengths)
    assert all(one == int(one) for one in strengths if distortion.whole)
    assert strengths in (sorted(strengths), sorted(strengths, reverse=True))


@pytest.mark.parametrize("name", ["lightness", "contrast", "gamma", "saturation"])
def test_opposites_change_as_much_the_other_way(name: str) -> None:
    distortion, image = CATALOGUE[name], picture(3, 32, 32)
    there = distortion.apply(image, distortion.at(0.3)) - image
    back = distortion.apply(image, distortion.opposite(distortion.at(0.3))) - image
    assert float((there * back).sum()) < 0
    assert 0.5 < float(back.norm() / there.norm()) < 2
    assert CATALOGUE["jpeg"].opposite(30) == 30


# --- properties of every one ---


@EACH
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_shape_type_and_range(distortion: Distortion, dtype: torch.dtype, share: float) -> None:
    image = torch.rand(2, 3, 57, 50, generator=torch.Generator().manual_seed(0))
    image = (image * 255).round().to(dtype) if dtype == torch.uint8 else image.to(dtype)
    before = image.clone()
    changed = distortion.apply(image, distortion.at(share), 3)
    assert changed.dtype == dtype
    assert changed.shape == image.shape
    assert changed.isfinite().all()
    assert changed.min() >= 0
    assert changed.max() <= (255 if dtype == torch.uint8 else 1)
    assert torch.equal(image, before)
    assert not torch.equal(changed, image)


@EACH
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_does_not_leave_the_range(distortion: Distortion, value: float, dtype: torch.dtype) -> None:
    for share in np.linspace(0, 1, 7):
        changed = distortion.apply(torch.full((3, 50, 53), value, dtype=dtype), distortion.at(share), 4)
        assert 0 <= changed.min() <= changed.max() <= 1


@EACH
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_eight_bits_are_the_nearest_levels(distortion: Distortion, share: float) -> None:
    levels = (picture(2, 3, 50, 53) * 255).round().to(torch.uint8)
    changed = distortion.apply(levels, distortion.at(share), 4).double()
    exact = distortion.apply(levels.double() / 255, distortion.at(share), 4) * 255
    # places of pixels are in single precision there
    assert (changed - exact).abs().max() <= 0.5 + (0.02 if distortion.group == "spatial" else 1e-3)


@EACH
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64])
def test_a_neutral_strength_changes_nothing(distortion: Distortion, dtype: torch.dtype) -> None:
    if distortion.name == "jpeg":
        pytest.skip("rounds coefficients at any quality")
    image = torch.rand(2, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    image = (image * 255).round().to(dtype) if dtype == torch.uint8 else image.to(dtype)
    unchanged = distortion.apply(image, NEUTRAL.get(distortion.name, 0.0), 3)
    assert torch.equal(unchanged, image)
    assert unchanged.dtype == dtype
    assert unchanged.data_ptr() != image.data_ptr()


@EACH
def test_a_batch_is_its_images(distortion: Distortion) -> None:
    for dtype in (torch.float32, torch.uint8):
        batch = picture(2, 4, 3, 50, 53)
        batch = (batch * 255).round().to(dtype) if dtype == torch.uint8 else batch
        changed = distortion.apply(batch, middling(distortion), 5)
        flat, images = changed.reshape(-1, 3, 50, 53), batch.reshape(-1, 3, 50, 53)
        for one, image in zip(flat, images, strict=True):
            assert torch.equal(one, distortion.apply(image, middling(distortion), 5))
            if not distortion.colour_only:
                assert torch.equal(one[1], distortion.apply(image[1], middling(distortion), 5))
        assert distortion.apply(batch[:, :0], middling(distortion), 5).shape == (2, 0, 3, 50, 53)


@EACH
def test_alike_images_are_changed_alike(distortion: Distortion) -> None:
    image = picture(1, 3, 50, 53)
    changed = distortion.apply(image.repeat(3, 1, 1, 1), middling(distortion), 5)
    assert torch.equal(changed[0], changed[2])


@EACH
def test_views_with_any_strides(distortion: Distortion) -> None:
    part = picture(50, 3, 2, 52)[:, :, 1].permute(1, 2, 0)
    assert not part.is_contiguous()
    found, expected = (distortion.apply(one, middling(distortion), 2) for one in (part, part.contiguous()))
    assert torch.allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("distortion", SEEDED, ids=lambda one: one.name)
def test_a_seed_decides_and_nothing_else_does(distortion: Distortion) -> None:
    image = picture(3, 50, 53)
    torch.manual_seed(0)
    np.random.seed(0)
    first = distortion.apply(image, middling(distortion), 11)
    drawn = torch.rand(1), np.random.random()
    torch.manual_seed(0)
    np.random.seed(0)
    assert drawn == (torch.rand(1), np.random.random())  # global states were not touched
    assert torch.equal(first, distortion.apply(image, middling(distortion), 11))
    assert not torch.equal(first, distortion.apply(image, middling(distortion), 12))
    for seed in (-1, 1.5):
        with pytest.raises(ConfigError, match="seed"):
            distortion.apply(image, middling(distortion), seed)  # type: ignore[arg-type]


@EACH
@given(size=st.tuples(st.integers(1, 5), st.integers(1, 5)), share=st.floats(0, 1))
def test_tiny_images_are_changed_or_refused(distortion: Distortion, size: tuple[int, int], share: float) -> None:
    image = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    try:
        changed = distortion.apply(image, distortion.at(share), 1)
    except InputError as error:
        refused = re.search(r"must be at least (\d+) × \1 pixels", str(error))
    else:
        refused = None
    if refused:
        assert int(refused[1]) > min(size)
        return
    assert changed.shape == image.shape
    assert changed.isfinite().all()
    assert 0 <= changed.min() <= changed.max() <= 1


@EACH
@pytest.mark.parametrize("dtype", [torch.int16, torch.int64, torch.bool, torch.complex64])
def test_other_types_are_refused(distortion: Distortion, dtype: torch.dtype) -> None:
    for strength in (middling(distortion), NEUTRAL.get(distortion.name, 0.0) if distortion.name != "jpeg" else 50):
        with pytest.raises(InputError, match=r"image: must be floating point in \[0, 1\], or uint8; found"):
            distortion.apply(torch.zeros(3, 60, 60, dtype=dtype), strength)


@EACH
@pytest.mark.parametrize("shape", [(), (9,), (3, 0, 9), (3, 9, 0)])
def test_what_is_no_picture_is_refused(distortion: Distortion, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError):
        distortion.apply(torch.zeros(shape), middling(distortion))


@EACH
@pytest.mark.parametrize("strength", [float("nan"), float("-inf"), -1e9])
def test_no_strength_at_all_is_refused_in_one_line(distortion: Distortion, strength: float) -> None:
    with pytest.raises(ConfigError, match=distortion.name) as caught:
        distortion.apply(torch.zeros(3, 60, 60), strength)
    assert "\n" not in str(caught.value)


@EACH
def test_autocast_changes_nothing(distortion: Distortion) -> None:
    image = picture(3, 50, 53)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = distortion.apply(image, middling(distortion), 3)
    assert torch.equal(inside, distortion.apply(image, middling(distortion), 3))


@EACH
def test_images_that_want_gradients(distortion: Distortion) -> None:
    image = picture(3, 50, 53).requires_grad_()
    changed = distortion.apply(image, middling(distortion), 3)
    assert changed.requires_grad == (distortion.name not in {"poisson_noise", "jpeg", "jpeg2000"})
    if changed.requires_grad:
        changed.sum().backward()
        assert image.grad is not None
        assert image.grad.isfinite().all()


@pytest.mark.gpu
@EACH
def test_an_accelerator_gives_the_same_within_rounding(distortion: Distortion) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no accelerator here")
    image = picture(2, 3, 50, 53)
    there = distortion.apply(image.cuda(), middling(distortion), 3)
    assert there.device.type == "cuda"
    assert torch.allclose(there.cpu(), distortion.apply(image, middling(distortion), 3), rtol=0, atol=1e-4)


# --- as text ---


@st.composite
def sequences(draw: st.DrawFn) -> tuple[Step, ...]:
    return draw_steps(np.random.default_rng(draw(st.integers(0, 2**32))), draw(st.integers(1, 2)), draw(st.booleans()))


@given(steps=sequences())
def test_text_and_steps_are_the_same(steps: tuple[Step, ...]) -> None:
    text = write_steps(steps)
    assert parse_steps(text) == steps
    assert write_steps(parse_steps(text)) == text
    assert len(text) <= 70


@given(strength=st.floats(0, 1, exclude_min=True), seed=st.integers(0, 2**64))
def test_any_strength_survives(strength: float, seed: int) -> None:
    steps = (Step("pink_noise", strength, seed), Step("lightness", -strength))
    assert parse_steps(write_steps(steps)) == steps


def test_how_a_sequence_looks() -> None:
    steps = (Step("pink_noise", 0.08, 17), Step("jpeg", 30.0))
    assert write_steps(steps) == "pink_noise 0.08 #17 + jpeg 30"
    assert write_steps([Step("lightness", -0.1)]) == "lightness -0.1"
    assert write_steps([Step("poisson_noise", 1e6, 3)]) == "poisson_noise 1e+06 #3"
    assert parse_steps("poisson_noise 1e+06 #3 + gaussian_blur 1.5") == (
        Step("poisson_noise", 1e6, 3),
        Step("gaussian_blur", 1.5),
    )
    assert parse_steps("  shift 2   +  jpeg 30 ") == (Step("shift", 2.0, 0), Step("jpeg", 30.0))
    assert parse_steps("saturation 0.5") == (Step("saturation", 0.5),)
    assert write_steps(()) == ""
    assert parse_steps("") == parse_steps("  ") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pink_nois 0.1", "must be in the catalogue; found 'pink_nois'; did you mean 'pink_noise'?"),
        ("qqq 0.1", "known: affine_warp, "),
        ("pink_noise 1.5", r"pink_noise(std): must be in [0, 1]; found 1.5"),
        ("gaussian_blur -1", "gaussian_blur(sigma): must be finite, from 0; found -1.0"),
        ("gaussian_blur nan", "gaussian_blur(sigma): must be finite; found nan"),
        ("poisson_noise inf", "poisson_noise(photons): must be finite; found inf"),
        ("saturation -2", "saturation(factor)"),
        ("jpeg 30.5", "jpeg(quality): must be a whole number; found 30.5; use 30"),
        ("jpeg thirty", "the strength must be a number"),
        ("jpeg 30 #3", "jpeg draws nothing and takes no seed"),
        ("pink_noise 0.1 #-3", "must be a name, a strength and perhaps #seed"),
        ("pink_noise 0.1 17", "must be a name, a strength and perhaps #seed"),
        ("pink_noise", "must be a name, a strength and perhaps #seed"),
        ("pink_noise 0.1 #1 +", "must be a name, a strength and perhaps #seed"),
        ("+ jpeg 30", "must be a name, a strength and perhaps #seed"),
        ("pink_noise 0.1 + + jpeg 30", "must be a name, a strength and perhaps #seed"),
        ("jpeg\n30", "must be a name, a strength and perhaps #seed"),
        ("jpeg 30+jpeg 20", "must be a name, a strength and perhaps #seed"),
    ],
)
def test_text_that_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_steps(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@given(text=st.text(alphabet=st.sampled_from("jpegshift 0123.#+-enaif_\n"), max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        steps = parse_steps(text)
    except ConfigError:
        return
    assert parse_steps(write_steps(steps)) == steps


def test_a_wrong_step_is_not_written() -> None:
    for step in (Step("jpg", 30), Step("jpeg", 300), Step("pink_noise", 0.1, -1), Step("shift", float("inf"))):
        with pytest.raises(ConfigError):
            write_steps([step])


# --- applied ---


def test_steps_are_applied_in_order() -> None:
    image = picture(3, 40, 40)
    steps = parse_steps("gaussian_noise 0.1 #4 + gaussian_blur 1.5")
    first, second = CATALOGUE["gaussian_noise"], CATALOGUE["gaussian_blur"]
    expected = second.apply(first.apply(image, 0.1, 4), 1.5)
    assert torch.equal(apply_steps(image, steps), expected)
    assert not torch.equal(apply_steps(image, steps[::-1]), expected)
    assert torch.equal(apply_steps(image, ()), image)
    with pytest.raises(ConfigError, match="did you mean 'jpeg'"):
        apply_steps(image, [Step("jpg", 30)])
    with pytest.raises(InputError, match="three channels"):
        apply_steps(image[:1], parse_steps("saturation 0.5"))


def test_unknown_names() -> None:
    assert find_distortion("jpeg") is CATALOGUE["jpeg"]
    with pytest.raises(ConfigError, match="did you mean 'jpeg2000'"):
        find_distortion("jpeg200")


# --- drawn ---


def draw_many(count: int, colour: bool) -> list[tuple[Step, ...]]:
    rng = np.random.default_rng(0)
    return [draw_steps(rng, count, colour) for _ in range(3000)]


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_draws_are_even_over_groups_and_within_them(count: int, colour: bool) -> None:
    drawn = draw_many(count, colour)
    assert {len(steps) for steps in drawn} == {count}
    groups = [[CATALOGUE[step.name].group for step in steps] for steps in drawn]
    assert all(len(set(of)) == count for of in groups)
    for place in range(count):  # no group comes first more often
        assert stats.chisquare(list(Counter(of[place] for of in groups).values())).pvalue > 0.001
    names = Counter(step.name for steps in drawn for step in steps)
    assert names.keys() == {name for name, one in CATALOGUE.items() if colour or not one.colour_only}
    for group in GROUPS:
        assert stats.chisquare([n for name, n in names.items() if CATALOGUE[name].group == group]).pvalue > 0.001


def test_drawn_strengths_fill_the_range_in_both_directions() -> None:
    strengths: dict[str, list[float]] = {}
    for (step,) in draw_many(1, True):
        strengths.setdefault(step.name, []).append(step.strength)
    for name, values in strengths.items():
        distortion = CATALOGUE[name]
        other = {"sign": lambda v: v < 0, "reciprocal": lambda v: v < 1, "": lambda v: False}[distortion.both_ways]
        turned = np.array([other(value) for value in values])
        assert (0.3 < turned.mean() < 0.7) if distortion.both_ways else not turned.any()
        straight = [distortion.opposite(v) if other(v) else v for v in values]
        shares = np.log(np.array(straight) / distortion.mildest) / np.log(distortion.strongest / distortion.mildest)
        assert -0.01 < shares.min() < 0.15
        assert 0.85 < shares.max() < 1.01
        assert shares.mean() == pytest.approx(0.5, abs=0.12)


def test_seeds_are_drawn_where_they_are_needed() -> None:
    steps = [step for drawn in draw_many(2, True) for step in drawn]
    assert all(step.seed == 0 for step in steps if not CATALOGUE[step.name].seeded)
    seeds = [step.seed for step in steps if CATALOGUE[step.name].seeded]
    assert len(set(seeds)) > 0.99 * len(seeds)
    assert max(seeds) < 1_000_000


def test_the_same_generator_draws_the_same() -> None:
    assert draw_many(2, False) == draw_many(2, False)
    for count in (0, 3, -1):
        with pytest.raises(ConfigError, match=r"draw_steps\(count\): must be 1 or 2; found"):
            draw_steps(np.random.default_rng(0), count)


@given(steps=sequences())
def test_whatever_is_drawn_can_be_applied_to_a_patch(steps: tuple[Step, ...]) -> None:
    image = (picture(3, 64, 64) * 255).to(torch.uint8)
    changed: Any = apply_steps(image, steps)
    assert changed.shape == image.shape
    assert torch.equal(changed, apply_steps(image, parse_steps(write_steps(steps))))


# --- the page ---


def test_the_page_tells_what_the_catalogue_says() -> None:
    page = (Path(__file__).parents[4] / "docs" / "distortions.md").read_text(encoding="utf-8")
    rows = {cells[1].strip("` "): cells for line in page.splitlines() if len(cells := line.split("|")) > 7}
    for name, one in CATALOGUE.items():
        _, _, group, strength, unit, ends, *_ = (cell.strip() for cell in rows[name])
        assert (group, strength, unit) == (one.group, f"`{one.strength}`", one.unit)
        assert ends.startswith(f"{one.mildest:g} – {one.strongest:g}")
