"""Contrast against NumPy's double precision and OpenCV; compiled loops against torch; and at the edges."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.transforms.functional import levels
from monai_cxraug.transforms.functional.contrast import clahe, equalise, gamma, histogram, match, stretch
from monai_cxraug.transforms.functional.levels import count_levels, look_up, to_levels

SIZES = [(64, 64), (65, 40), (100, 128), (31, 97)]
EACH: dict[str, Callable[[Tensor], Tensor]] = {
    "stretch": lambda image: stretch(image, 2, 90),
    "gamma": lambda image: gamma(image, 0.6),
    "equalise": equalise,
    "match": lambda image: match(image, picture((50, 30), 9)),
    "clahe": lambda image: clahe(image, 3.0, 4),
}
each = pytest.mark.parametrize("name", EACH)


def stored(size: tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    """Smooth, like a radiograph, with a histogram that is not even."""
    image = ndimage.gaussian_filter(np.random.default_rng(seed).random(size), 2)
    image = ((image - image.min()) / np.ptp(image)) ** 1.5
    return np.rint(image * 255).astype(np.uint8)


def picture(size: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.from_numpy(stored(size, seed)) / 255


# --- references ---


@pytest.mark.parametrize("size", SIZES)
def test_eight_bits_as_opencv_to_the_level(size: tuple[int, int]) -> None:
    cv2 = pytest.importorskip("cv2")
    image = stored(size)
    assert_array_equal(equalise(torch.from_numpy(image)), cv2.equalizeHist(image))
    for clip, tiles in ((2.0, 8), (4.0, 4), (0.5, 8), (40.0, 2)):
        expected = cv2.createCLAHE(clip, (tiles, tiles)).apply(image)
        assert_array_equal(clahe(torch.from_numpy(image), clip, tiles), expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_floats_are_as_eight_bits_but_not_rounded(size: tuple[int, int], dtype: torch.dtype) -> None:
    image = torch.from_numpy(stored(size))
    for name in ("equalise", "clahe", "match"):
        exact = EACH[name](image.to(dtype) / 255)
        assert exact.dtype == dtype
        assert (exact.double() * 255 - EACH[name](image).double()).abs().max() <= 0.5 + (
            0.2 if dtype.itemsize == 2 else 1e-3
        )


@pytest.mark.parametrize(("low", "high"), [(0, 100), (0.5, 99.5), (10, 60)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stretching_between_numpys_percentiles(low: float, high: float, dtype: torch.dtype) -> None:
    images = torch.rand(3, 2, 17, 23, generator=torch.Generator().manual_seed(0)).to(dtype)
    plain = images.double().numpy()
    dark, bright = np.percentile(plain, [low, high], axis=(2, 3), keepdims=True)
    expected = np.clip((plain - dark) / (bright - dark), 0, 1)
    assert_allclose(stretch(images, low, high), expected, atol=1e-6 if dtype == torch.float32 else 1e-14)


def test_stretching_is_differentiable_and_the_same_then() -> None:
    image = torch.rand(9, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(stretch(image, 5, 95), stretch(image.clone().requires_grad_(), 5, 95))
    assert torch.autograd.gradcheck(lambda x: stretch(x, 5, 95), image.requires_grad_())


def test_gamma_is_a_power() -> None:
    image = picture((20, 30)).double()
    assert_allclose(gamma(image, 0.7), image.numpy() ** 0.7)
    assert torch.equal(gamma(image, 1.0), image)


def test_matching_is_interpolation_between_quantiles() -> None:
    image, reference = stored((40, 50), 1), stored((33, 21), 2)
    _, places, counts = np.unique(image, return_inverse=True, return_counts=True)
    known, wanted = np.unique(reference, return_counts=True)
    found = np.interp(np.cumsum(counts) / image.size, np.cumsum(wanted) / reference.size, known)
    expected = found[places.ravel()].reshape(image.shape) / 255
    result = match(torch.from_numpy(image).double() / 255, torch.from_numpy(reference))
    assert_allclose(result, expected, atol=1e-12)
    again = match(torch.from_numpy(image), torch.from_numpy(image))
    assert_array_equal(again, image)


def test_histograms_count_levels() -> None:
    images = np.stack([stored((16, 21), seed) for seed in range(6)]).reshape(2, 3, 16, 21)
    expected = np.stack([np.bincount(image.ravel(), minlength=256) for image in images.reshape(6, 16, 21)])
    assert_array_equal(histogram(torch.from_numpy(images)), expected.reshape(2, 3, 256))
    assert_array_equal(histogram(torch.from_numpy(images).float() / 255), expected.reshape(2, 3, 256))


# --- two ways ---


@pytest.mark.skipif(bool(levels.LOOPS.absence), reason=f"no compiled loops: {levels.LOOPS.absence}")
@each
@pytest.mark.parametrize("shape", [(16, 16), (3, 33, 47), (2, 5, 64, 64), (1, 130, 17), (40, 40, 40)])
@pytest.mark.parametrize("eight", [False, True])
def test_compiled_loops_give_the_bits_of_torch(
    name: str, shape: tuple[int, ...], eight: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = torch.from_numpy(stored(shape)) if eight else torch.rand(shape, generator=torch.Generator().manual_seed(2))
    compiled = EACH[name](image)
    monkeypatch.setenv("CXRAUG_KERNELS", "off")
    assert torch.equal(compiled, EACH[name](image))


def test_half_way_values_go_to_the_even_level_in_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.cat([torch.arange(0, 256) / 255, (torch.arange(0, 255) + 0.5) / 255, torch.tensor([-1.0, 2.0])])
    compiled = to_levels(values)
    assert_array_equal(compiled, np.rint(np.clip(values.numpy(), 0, 1) * np.float32(255)).astype(np.uint8))
    monkeypatch.setenv("CXRAUG_KERNELS", "off")
    assert torch.equal(compiled, to_levels(values))


def test_levels_of_tiles() -> None:
    image = stored((12, 20))
    counts = count_levels(torch.from_numpy(image)[None], 4)
    for y in range(4):
        for x in range(4):
            tile = image[3 * y : 3 * y + 3, 5 * x : 5 * x + 5]
            assert_array_equal(counts[0, y, x], np.bincount(tile.ravel(), minlength=256))
    table = torch.rand(1, 256)
    assert_array_equal(look_up(torch.from_numpy(image)[None], table)[0], table.numpy()[0][image])


# --- properties ---


@each
@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_a_plain_image_stays_plain_and_finite(name: str, value: float) -> None:
    image = torch.full((32, 32), value)
    result = EACH[name](image)
    assert torch.isfinite(result).all()
    assert result.unique().numel() == 1
    if name in ("stretch", "equalise"):
        assert torch.allclose(result, image, atol=0.5 / 255)


@each
def test_images_of_a_batch_do_not_know_each_other(name: str) -> None:
    batch = torch.from_numpy(stored((6, 32, 24))).reshape(2, 3, 32, 24)
    result = EACH[name](batch)
    assert result.shape == batch.shape
    for one, image in zip(result.reshape(6, 32, 24), batch.reshape(6, 32, 24), strict=True):
        assert torch.equal(one, EACH[name](image))


@each
def test_order_of_brightness_is_kept_where_it_is_global(name: str) -> None:
    image = picture((48, 48))
    result = EACH[name](image)
    assert 0 <= result.min() <= result.max() <= 1
    if name != "clahe":
        order = image.flatten().argsort()
        assert (result.flatten()[order].diff() >= 0).all()


@each
def test_what_is_no_image_is_refused(name: str) -> None:
    for wrong in (torch.zeros(12, 12, dtype=torch.int64), torch.zeros(12), torch.zeros(0, 12)):
        with pytest.raises(InputError, match="image: must be") as caught:
            EACH[name](wrong)
        assert "\n" not in str(caught.value)


BAD: list[Callable[[Tensor], Tensor]] = [
    lambda image: stretch(image, 60, 40),
    lambda image: stretch(image, -1, 40),
    lambda image: stretch(image, 0, float("nan")),
    lambda image: gamma(image, 0.0),
    lambda image: gamma(image, float("nan")),
    lambda image: clahe(image, 0.0),
    lambda image: clahe(image, 2.0, 0),
]


@pytest.mark.parametrize("apply", BAD)
def test_bad_settings_are_one_line(apply: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ConfigError) as caught:
        apply(torch.zeros(40, 40))
    assert "\n" not in str(caught.value)


def test_several_references_are_refused() -> None:
    with pytest.raises(InputError, match="reference: must be one image"):
        match(picture((8, 8)), picture((2, 8, 8)))
