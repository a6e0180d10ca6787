"""The three filters beside SciPy, OpenCV and sums in double precision, and what must hold for any image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.transforms.functional import neighbourhood
from monai_cxraug.transforms.functional.filters import (
    FILTERS,
    bilateral_filter,
    gaussian_blur,
    gaussian_weights,
    maximum_filter,
    median_filter,
    minimum_filter,
    percentile_filter,
    unsharp_mask,
)

Image = NDArray[np.float64]
SIZES = [(9, 9), (9, 31), (64, 64), (33, 10), (101, 64)]
REACH = {"gaussian": 2, "unsharp": 8, "minimum": 1, "maximum": 1, "median": 1, "bilateral": 2}
EACH = pytest.mark.parametrize("name", FILTERS)
#: a sum of 17 × 17 weighted values below 1 in float32, and in float64.
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-13}


def picture(size: tuple[int, ...], seed: int = 0) -> Image:
    return np.random.default_rng(seed).random(size)


def by_scipy(name: str, image: Image) -> Image:
    if name in ("minimum", "maximum", "median"):
        return np.asarray(getattr(ndimage, f"{name}_filter")(image, 3, mode="mirror"))
    if name == "bilateral":
        return np.asarray(ndimage.generic_filter(image, weigh_disc, 5, mode="mirror"))
    if name == "gaussian":
        return np.asarray(ndimage.gaussian_filter(image, 1.1, mode="mirror", radius=2))
    return np.asarray(np.clip(2 * image - ndimage.gaussian_filter(image, 2.0, mode="mirror", truncate=4), 0, 1))


def weigh_disc(values: Image) -> float:
    """The bilateral filter of a 5 × 5 square in reading order, its corners left out."""
    y, x = np.divmod(np.arange(25), 5) - np.array([[2], [2]])
    weights = np.exp(-(y**2 + x**2) / (2 * 2.0**2)) * np.exp(-((values - values[12]) ** 2) / (2 * 0.1**2))
    weights[y**2 + x**2 > 4] = 0
    return float((weights * values).sum() / weights.sum())


def by_hand(name: str, image: Image) -> Image:
    """Every pixel from its own neighbourhood, the mirror spelt out."""
    reach = REACH[name]
    sigma = {"gaussian": 1.1, "unsharp": 2.0}.get(name, 1.0)
    steps = np.arange(-reach, reach + 1)
    weights = np.exp(-(steps[:, None] ** 2 + steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    high, wide = image.shape
    result = np.empty_like(image)
    for y in range(high):
        for x in range(wide):
            rows = [mirrored(y + step, high) for step in steps]
            columns = [mirrored(x + step, wide) for step in steps]
            around = image[np.ix_(rows, columns)]
            choose = {"minimum": np.min, "maximum": np.max, "median": np.median}
            if name == "bilateral":
                result[y, x] = weigh_disc(around.ravel())
            else:
                result[y, x] = choose[name](around) if name in choose else (around * weights).sum()
    return np.clip(2 * image - result, 0, 1) if name == "unsharp" else result


def mirrored(place: int, side: int) -> int:
    place = abs(place)
    return place if place < side else 2 * (side - 1) - place


@EACH
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_as_scipy_borders_included(name: str, size: tuple[int, int], dtype: torch.dtype) -> None:
    image = picture(size)
    filtered = FILTERS[name](torch.from_numpy(image).to(dtype))
    assert filtered.dtype == dtype
    assert_allclose(filtered, by_scipy(name, image), rtol=0, atol=TOLERANCE[dtype])


@EACH
@pytest.mark.parametrize("side", [0, 1])
def test_as_by_hand_on_the_smallest_images(name: str, side: int) -> None:
    smallest = REACH[name] + 1
    image = picture((smallest, smallest + 3)[:: 1 - 2 * side])
    assert_allclose(FILTERS[name](torch.from_numpy(image)), by_hand(name, image), rtol=0, atol=1e-14)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_as_opencv(size: tuple[int, int], dtype: type) -> None:
    cv2 = pytest.importorskip("cv2")
    image = picture(size).astype(dtype)
    tensor, atol = torch.from_numpy(image), TOLERANCE[torch.from_numpy(image).dtype]
    assert_allclose(gaussian_blur(tensor), cv2.GaussianBlur(image, (5, 5), 1.1), rtol=0, atol=atol)
    sharp = np.clip(cv2.addWeighted(image, 2, cv2.GaussianBlur(image, (0, 0), 2.0), -1, 0), 0, 1)
    assert_allclose(unsharp_mask(tensor), sharp, rtol=0, atol=2 * atol)
    square = np.ones((3, 3), np.uint8)
    assert_array_equal(minimum_filter(tensor), cv2.erode(image, square))
    assert_array_equal(minimum_filter(tensor), cv2.erode(image, square, borderType=cv2.BORDER_DEFAULT))


def test_as_opencv_on_eight_bits_within_a_level() -> None:
    """OpenCV calculates 8-bit images in fixed point, and cuts the larger Gaussian to 13 × 13 pixels."""
    cv2 = pytest.importorskip("cv2")
    stored = ndimage.gaussian_filter(picture((128, 96)), 3)
    stored = np.rint((stored - stored.min()) / np.ptp(stored) * 255).astype(np.uint8)
    tensor = torch.from_numpy(stored / 255)

    def levels(images: Tensor) -> Image:
        return np.rint(images.numpy() * 255)

    assert np.abs(levels(gaussian_blur(tensor)) - cv2.GaussianBlur(stored, (5, 5), 1.1)).max() <= 1
    sharp = cv2.addWeighted(stored, 2, cv2.GaussianBlur(stored, (0, 0), 2.0), -1, 0)
    assert np.abs(levels(unsharp_mask(tensor)) - sharp).max() <= 1
    assert_array_equal(levels(minimum_filter(tensor)), cv2.erode(stored, np.ones((3, 3), np.uint8)))


@pytest.mark.parametrize(("sigma", "reach"), [(1.1, 2), (2.0, 8), (0.5, 1)])
def test_weights_of_a_gaussian(sigma: float, reach: int) -> None:
    half = np.array(gaussian_weights(sigma, reach))
    assert half[0] + 2 * half[1:].sum() == pytest.approx(1, abs=1e-15)
    assert_allclose(np.log(half / half[0]), -(np.arange(reach + 1) ** 2) / (2 * sigma**2), rtol=1e-12, atol=1e-15)


def test_more_filters_as_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    image = ndimage.gaussian_filter(picture((65, 48)), 1).astype(np.float32)
    tensor = torch.from_numpy(image)
    for size in (3, 7):
        assert_array_equal(maximum_filter(tensor, size), cv2.dilate(image, np.ones((size, size), np.uint8)))
    for size in (3, 5):
        inner = np.s_[size:-size, size:-size]  # OpenCV repeats the outermost pixel here
        assert_array_equal(median_filter(tensor, size)[inner], cv2.medianBlur(image, size)[inner])
    for size, value, space in ((5, 0.1, 2.0), (9, 0.05, 3.0)):
        # OpenCV looks the exponential up in a table
        expected = cv2.bilateralFilter(image, size, value, space)
        assert_allclose(bilateral_filter(tensor, size, value, space), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [3, 5, 7])
@pytest.mark.parametrize("percentile", [0.0, 10.0, 33.3, 50.0, 90.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_percentiles_as_scipy(size: int, percentile: float, dtype: torch.dtype) -> None:
    image = torch.from_numpy(picture((21, 18))).to(dtype)
    expected = ndimage.percentile_filter(image.numpy(), percentile, size, mode="mirror")
    assert_array_equal(percentile_filter(image, percentile, size), expected)


@pytest.mark.parametrize("wanted", range(9))
def test_a_network_selects_its_rank_of_every_order_of_zeros_and_ones(wanted: int) -> None:
    """By the zero-one principle (Knuth, section 5.3.4) it then does so for any values."""
    values = (np.arange(2**9)[:, None] >> np.arange(9)) & 1
    columns = list(values.T.copy())
    for low, high in neighbourhood.selection_network(9, wanted):
        pair = np.minimum(columns[low], columns[high]), np.maximum(columns[low], columns[high])
        columns[low], columns[high] = pair
    assert_array_equal(columns[wanted], np.sort(values, axis=1)[:, wanted])


#: settings that the named filters do not have.
MORE: dict[str, Callable[[Tensor], Tensor]] = {
    **FILTERS,
    "minimum 5": lambda image: minimum_filter(image, 5),
    "maximum 7": lambda image: maximum_filter(image, 7),
    "median 5": lambda image: median_filter(image, 5),
    "percentile": lambda image: percentile_filter(image, 80, 5),
    "gaussian 3": lambda image: gaussian_blur(image, 0.8, 3),
    "gaussian, any size": lambda image: gaussian_blur(image, 1.5, None),
}


@pytest.mark.skipif(bool(neighbourhood.LOOPS.absence), reason=f"no compiled loops: {neighbourhood.LOOPS.absence}")
@pytest.mark.parametrize("name", MORE)
@pytest.mark.parametrize("shape", [(9, 9), (3, 37, 64), (2, 5, 40, 95), (1, 130, 17), (70, 40, 33)])
def test_compiled_loops_give_the_bits_of_torch(
    name: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = torch.from_numpy(picture(shape)).float()
    compiled = MORE[name](image)
    monkeypatch.setenv("CXRAUG_KERNELS", "off")
    if name == "bilateral":
        assert_allclose(compiled, MORE[name](image), rtol=0, atol=1e-6)
    else:
        assert torch.equal(compiled, MORE[name](image))


@EACH
def test_eight_bits_are_rounded(name: str) -> None:
    levels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 20, 24), dtype=np.uint8))
    filtered = FILTERS[name](levels)
    assert filtered.dtype == torch.uint8
    exact = FILTERS[name](levels.double() / 255) * 255
    assert (filtered.double() - exact).abs().max() <= 0.5 + 1e-4


BAD: list[Callable[[Tensor], Tensor]] = [
    lambda image: gaussian_blur(image, 0.0),
    lambda image: gaussian_blur(image, float("nan")),
    lambda image: gaussian_blur(image, 1.0, 4),
    lambda image: unsharp_mask(image, -1.0),
    lambda image: minimum_filter(image, 2),
    lambda image: maximum_filter(image, -3),
    lambda image: median_filter(image, 17),
    lambda image: percentile_filter(image, 101.0),
    lambda image: percentile_filter(image, float("nan")),
    lambda image: bilateral_filter(image, 4),
    lambda image: bilateral_filter(image, 5, 0.0),
    lambda image: bilateral_filter(image, 5, 0.1, -1.0),
]


@pytest.mark.parametrize("apply", BAD)
def test_bad_settings_are_one_line(apply: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ConfigError) as caught:
        apply(torch.zeros(40, 40))
    assert "\n" not in str(caught.value)


# --- properties ---

PICTURES = arrays.arrays(
    np.float64, arrays.array_shapes(min_dims=2, max_dims=2, min_side=9, max_side=20), elements=st.floats(0, 1, width=32)
)


@EACH
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_plain_image_stays_as_it_is(name: str, value: float) -> None:
    image = torch.full((17, 12), value, dtype=torch.float64)
    assert_allclose(FILTERS[name](image), image, rtol=0, atol=1e-15)


@EACH
@given(image=PICTURES)
def test_flips_commute_to_the_bit(name: str, image: Image) -> None:
    tensor, apply = torch.from_numpy(image), FILTERS[name]
    for axes in ((-1,), (-2,), (-2, -1)):
        # the bilateral filter adds twins in another order
        rounding = 1e-14 if name == "bilateral" else 0.0
        assert_allclose(apply(tensor.flip(axes)), apply(tensor).flip(axes), rtol=0, atol=rounding)
    assert_allclose(apply(tensor.T), apply(tensor).T, rtol=0, atol=1e-13)


@given(image=PICTURES)
def test_the_minimum_is_an_erosion(image: Image) -> None:
    tensor = torch.from_numpy(image)
    eroded = minimum_filter(tensor)
    assert (eroded <= tensor).all()
    assert torch.isin(eroded, tensor).all()
    assert torch.equal(minimum_filter(tensor**2), eroded**2)  # it commutes with every rising function


@given(image=PICTURES, share=st.floats(0, 1))
def test_the_blur_is_linear_and_stays_within_the_range(image: Image, share: float) -> None:
    one, two = torch.from_numpy(image), torch.from_numpy(image[::-1] ** 2)
    mixed = gaussian_blur(share * one + (1 - share) * two)
    assert_allclose(mixed, share * gaussian_blur(one) + (1 - share) * gaussian_blur(two), rtol=0, atol=1e-14)
    blurred = gaussian_blur(one)
    assert one.min() - 1e-15 <= blurred.min()
    assert blurred.max() <= one.max() + 1e-15


@given(image=PICTURES)
def test_the_mask_sharpens_within_the_range(image: Image) -> None:
    sharp = unsharp_mask(torch.from_numpy(image))
    assert sharp.min() >= 0
    assert sharp.max() <= 1


def test_each_does_what_its_name_says() -> None:
    edge = torch.zeros(20, 20)
    edge[:, 10:] = 0.5
    gradient: Callable[[Tensor], float] = lambda image: float(image.diff(dim=-1).abs().max())  # noqa: E731
    assert gradient(gaussian_blur(edge)) < 0.5 < gradient(unsharp_mask(edge + 0.25))
    assert minimum_filter(edge)[0].tolist() == [0.0] * 11 + [0.5] * 9


# --- shapes, types, places ---


@EACH
@pytest.mark.parametrize("shape", [(5, 12, 11), (3, 1, 12, 11), (2, 2, 2, 12, 11), (0, 12, 11)])
def test_images_of_a_batch_do_not_know_each_other(name: str, shape: tuple[int, ...]) -> None:
    batch = torch.from_numpy(picture(shape)).float()
    filtered = FILTERS[name](batch)
    assert filtered.shape == batch.shape
    for one, image in zip(filtered.reshape(-1, 12, 11), batch.reshape(-1, 12, 11), strict=True):
        assert torch.equal(one, FILTERS[name](image))


@EACH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_calculated_in_float32_and_kept(name: str, dtype: torch.dtype) -> None:
    image = torch.from_numpy(picture((20, 20))).to(dtype)
    filtered = FILTERS[name](image)
    assert filtered.dtype == dtype
    assert torch.equal(filtered, FILTERS[name](image.float()).to(dtype))


@EACH
def test_autocast_changes_nothing(name: str) -> None:
    image = torch.from_numpy(picture((20, 20))).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = FILTERS[name](image)
    assert torch.equal(inside, FILTERS[name](image))


@EACH
def test_the_image_itself_is_not_changed(name: str) -> None:
    image = torch.from_numpy(picture((12, 12)))
    before = image.clone()
    filtered = FILTERS[name](image)
    filtered += 1
    assert torch.equal(image, before)


@EACH
def test_views_with_any_strides(name: str) -> None:
    whole = torch.from_numpy(picture((24, 30, 2)))
    part = whole[::2, 3:, 1].T
    assert not part.is_contiguous()
    assert torch.equal(FILTERS[name](part), FILTERS[name](part.contiguous()))


@EACH
def test_gradients(name: str) -> None:
    image = torch.from_numpy(0.3 + 0.4 * picture((10, 9))).requires_grad_()
    assert torch.autograd.gradcheck(FILTERS[name], (image,))


@EACH
def test_a_pixel_that_is_no_number_stays_visible(name: str) -> None:
    image = torch.zeros(30, 30)
    image[15, 15] = torch.nan
    unknown, reach = FILTERS[name](image).isnan(), REACH[name]
    if name == "bilateral":  # a disc
        assert unknown[15, 13:18].all()
        assert unknown[13:18, 15].all()
        assert unknown.sum() == 13
        return
    assert unknown[15 - reach : 16 + reach, 15 - reach : 16 + reach].all()
    assert unknown.sum() == (2 * reach + 1) ** 2


@EACH
@pytest.mark.parametrize("shape", ["row", "column", "both", (), (12,), (0, 12)])
def test_an_image_smaller_than_the_reach_is_refused(name: str, shape: str | tuple[int, ...]) -> None:
    least = REACH[name]
    sides = {"row": (least, 20), "column": (20, least), "both": (least, least)}
    size = sides[shape] if isinstance(shape, str) else shape
    with pytest.raises(
        InputError, match=rf"image: must be at least {least + 1} × {least + 1} pixels .*found "
    ) as caught:
        FILTERS[name](torch.zeros(size))
    assert "\n" not in str(caught.value)


@EACH
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_whole_numbers_are_refused(name: str, dtype: torch.dtype) -> None:
    with pytest.raises(InputError, match=r"image: must be floating point in \[0, 1\], or uint8; found "):
        FILTERS[name](torch.zeros(12, 12, dtype=dtype))


@pytest.mark.gpu
@EACH
def test_an_accelerator_gives_the_same_within_rounding(name: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no accelerator here")
    image = torch.from_numpy(picture((4, 1, 65, 64))).float()
    there = image.cuda()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        filtered = FILTERS[name](there)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert filtered.device == there.device
    assert_allclose(filtered.cpu(), FILTERS[name](image), rtol=0, atol=1e-6)
