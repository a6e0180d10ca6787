"""Warps beside SciPy, OpenCV, and cubic convolution written out in NumPy; ghosts and colours in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.transforms.functional.distortions import spatial
from monai_cxraug.transforms.functional.distortions.spatial import (
    affine_warp,
    chromatic_aberration,
    cubic_warp,
    draw_displacement,
    find_homography,
    ghosting,
    homography,
    linear_warp,
    resample,
    shift,
)

Array = NDArray[np.float64]


def picture(*size: int, smooth: float = 0.0) -> Array:
    image = np.random.default_rng(0).random(size)
    image = ndimage.gaussian_filter(image, smooth, axes=(-2, -1)) if smooth else image
    return (image - image.min()) / np.ptp(image)


def keys(distance: Array) -> Array:
    """Keys' kernel, equation 15 of his paper with a = -3/4."""
    a, s = -0.75, np.abs(distance)
    near = (a + 2) * s**3 - (a + 3) * s**2 + 1
    far = a * s**3 - 5 * a * s**2 + 8 * a * s - 4 * a
    return np.where(s <= 1, near, np.where(s < 2, far, 0))


def fold(places: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """Mirror without repeating the outermost pixel, as often as needed."""
    places = np.abs(places) % max(1, 2 * (side - 1))
    return np.where(places >= side, 2 * (side - 1) - places, places)


def cubic_convolution(image: Array, rows: Array, columns: Array) -> Array:
    total = np.zeros(rows.shape)
    for down in range(-1, 3):
        for right in range(-1, 3):
            row, column = (np.floor(place).astype(int) + step for place, step in ((rows, down), (columns, right)))
            weight = keys(rows - row) * keys(columns - column)
            total += weight * image[fold(row, image.shape[0]), fold(column, image.shape[1])]
    return np.clip(total, 0, 1)


# --- values ---


@pytest.mark.parametrize("size", [(20, 20), (9, 31), (2, 5), (1, 7)])
def test_values_as_keys_wherever_they_are_taken(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    image = picture(*size)
    rows, columns = (rng.uniform(-side, 2 * side, size) for side in size)
    found = resample(torch.from_numpy(image), rows, columns)
    assert_allclose(found, cubic_convolution(image, rows, columns), rtol=0, atol=1e-10)
    single = resample(torch.from_numpy(image).float(), rows, columns)
    assert_allclose(single, found, rtol=0, atol=2e-4)


def test_smooth_pictures_as_scipys_splines() -> None:
    image = picture(64, 48, smooth=4)
    rng = np.random.default_rng(1)
    rows, columns = (np.indices((64, 48)) + 3 * rng.standard_normal((2, 64, 48))).astype(np.float64)
    found = resample(torch.from_numpy(image), rows, columns).numpy()
    assert_allclose(found, ndimage.map_coordinates(image, [rows, columns], order=3, mode="mirror"), rtol=0, atol=0.01)


# --- shift, matrices ---


@pytest.mark.parametrize(("angle", "step"), [(0.0, (0, 3)), (90.0, (-3, 0)), (180.0, (0, -3)), (270.0, (3, 0))])
def test_whole_shifts_copy_pixels(angle: float, step: tuple[int, int]) -> None:
    image = picture(12, 15)
    mirrored = np.pad(image, 3, mode="reflect")
    down, right = step
    expected = mirrored[3 - down : 15 - down, 3 - right : 18 - right]
    assert_allclose(shift(torch.from_numpy(image), 3.0, angle), expected, rtol=0, atol=1e-12)


@given(distance=st.floats(0.01, 10), angle=st.floats(0, 360))
def test_shifts_as_keys(distance: float, angle: float) -> None:
    image = picture(14, 12)
    rows, columns = np.indices((14, 12), dtype=float)
    x, y = distance * math.cos(math.radians(angle)), -distance * math.sin(math.radians(angle))
    expected = cubic_convolution(image, rows - y, columns - x)
    assert_allclose(shift(torch.from_numpy(image), distance, angle), expected, rtol=0, atol=1e-10)


def places_of(apply: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> tuple[Array, Array]:
    """Where a warp takes its pixels from."""
    seen: list[tuple[Array, Array]] = []

    def look(unit: Tensor, rows: Array, columns: Array) -> Tensor:
        seen.append((rows, columns))
        return unit

    monkeypatch.setattr(spatial, "resample", look)
    apply()
    return seen[0]


CORNERS = ([0, 0, -1, -1], [0, -1, -1, 0])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [(64, 64), (40, 90)])
def test_an_affine_warp_is_affine_and_its_largest_corner_moves_as_told(
    seed: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, columns = places_of(lambda: affine_warp(torch.zeros(size), 5.0, seed), monkeypatch)
    y, x = np.indices(size)
    for field in (rows, columns):
        plane = np.column_stack([x.ravel(), y.ravel(), np.ones(x.size)])
        residual = field.ravel() - plane @ np.linalg.lstsq(plane, field.ravel(), rcond=None)[0]
        assert np.abs(residual).max() < 1e-10
    moved = np.hypot(rows - y, columns - x)
    assert moved.max() == pytest.approx(5.0, rel=1e-12)
    assert moved[CORNERS].max() == moved.max()
    assert [rows.mean(), columns.mean()] == pytest.approx([y.mean(), x.mean()])  # the centre stays


@pytest.mark.parametrize("seed", range(6))
def test_every_corner_of_a_homography_moves_as_told(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, columns = places_of(lambda: homography(torch.zeros(50, 70), 6.0, seed), monkeypatch)
    y, x = np.indices((50, 70))
    assert_allclose(np.hypot(rows - y, columns - x)[CORNERS], 6.0, rtol=1e-10)


@given(points=st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=4, max_size=4))
def test_homographies_as_opencv(points: list[tuple[float, float]]) -> None:
    cv2 = pytest.importorskip("cv2")
    start = np.array([[0, 0], [63, 0], [63, 47], [0, 47]], dtype=np.float64)
    end = (start + np.array(points)).astype(np.float32)  # OpenCV takes points in single precision
    expected = cv2.getPerspectiveTransform(start.astype(np.float32), end)
    found = find_homography(start, end.astype(np.float64))
    assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    there = np.column_stack([start, np.ones(4)]) @ found.T
    assert_allclose(there[:, :2] / there[:, 2:], end, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_homography_as_warp_perspective(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2 = pytest.importorskip("cv2")
    image = picture(64, 80, smooth=2).astype(np.float32)  # OpenCV 5.0 leaves the border of doubles black
    found = homography(torch.from_numpy(image), 7.0, seed).numpy()
    rows, columns = places_of(lambda: homography(torch.from_numpy(image), 7.0, seed), monkeypatch)
    start = np.array([[0, 0], [79, 0], [79, 63], [0, 63]], dtype=np.float32)
    end = np.stack([columns[CORNERS], rows[CORNERS]], 1).astype(np.float32)
    options = {"flags": cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_REFLECT_101}
    expected = cv2.warpPerspective(image, cv2.getPerspectiveTransform(start, end), (80, 64), **options)
    # OpenCV rounds places to 1/32 pixel
    assert_allclose(found, np.clip(expected, 0, 1), rtol=0, atol=float(np.abs(np.gradient(image)).max()) / 32)


# --- a random field ---


@pytest.mark.parametrize("size", [(64, 64), (40, 97), (8, 30)])
def test_a_linear_field_as_scipy_interpolates_its_nodes(size: tuple[int, int]) -> None:
    field = draw_displacement(size, 16.0, np.random.default_rng(3), "bilinear")
    nodes = [max(2, round((side - 1) / 16) + 1) for side in size]
    coarse = np.random.default_rng(3).uniform(-1, 1, (1, 2, *nodes))[0]
    at = np.meshgrid(*(np.linspace(0, count - 1, side) for count, side in zip(nodes, size, strict=True)), indexing="ij")
    for found, plane in zip(field, coarse, strict=True):
        assert_allclose(found, ndimage.map_coordinates(plane, at, order=1, mode="nearest"), rtol=0, atol=1e-12)


def test_a_cubic_field_as_keys_interpolates_its_nodes() -> None:
    size = (49, 65)
    field = draw_displacement(size, 16.0, np.random.default_rng(3), "bicubic")
    coarse = np.random.default_rng(3).uniform(-1, 1, (1, 2, 4, 5))[0]
    at = [np.linspace(0, count - 1, side) for count, side in ((4, 49), (5, 65))]
    for found, plane in zip(field, coarse, strict=True):
        padded = np.pad(plane, 2, mode="edge")
        rows, columns = (
            keys(place[:, None] + 2 - np.arange(count + 4)) for place, count in zip(at, (4, 5), strict=True)
        )
        assert_allclose(found, rows @ padded @ columns.T, rtol=0, atol=1e-12)
        assert_allclose(found[::16, ::16], plane, rtol=0, atol=1e-12)  # it passes through its nodes


@pytest.mark.parametrize(("warp", "mode"), [(linear_warp, "bilinear"), (cubic_warp, "bicubic")])
def test_fields_move_the_picture(warp: Callable[..., Tensor], mode: Any) -> None:
    image = picture(40, 48)
    down, right = 3.0 * draw_displacement((40, 48), 12.0, np.random.default_rng(9), mode)
    rows, columns = np.indices((40, 48), dtype=float)
    expected = cubic_convolution(image, rows + down, columns + right)
    assert_allclose(warp(torch.from_numpy(image), 3.0, 12.0, 9), expected, rtol=0, atol=1e-10)


def test_the_strongest_linear_field_does_not_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes 15.75 pixels apart move by 8 at most: along each axis places may meet, but hardly pass each other."""
    for seed in range(20):
        rows, columns = places_of(partial(linear_warp, torch.zeros(64, 64), 8.0, 16.0, seed), monkeypatch)
        assert np.diff(rows, axis=0).min() >= 1 - 16 / 15.75 - 1e-12
        assert np.diff(columns, axis=1).min() >= 1 - 16 / 15.75 - 1e-12


# --- second images ---


@given(opacity=st.floats(0, 1))
def test_a_ghost_in_closed_form(opacity: float) -> None:
    image = picture(3, 12, 15)
    mirrored = np.pad(image, ((0, 0), (0, 0), (4, 4)), mode="reflect")[:, :, :15]
    found = ghosting(torch.from_numpy(image), opacity, 4.0, 0.0)
    assert_allclose(found, (1 - opacity) * image + opacity * mirrored, rtol=0, atol=1e-12)


def test_chromatic_aberration_scales_red_and_blue_and_leaves_green() -> None:
    image = picture(3, 31, 41, smooth=3)
    found = chromatic_aberration(torch.from_numpy(image), 2.0).numpy()
    rows, columns = np.indices((31, 41), dtype=float)
    for channel, sign in ((0, -1), (2, 1)):
        scale = 1 + sign * 2.0 / math.hypot(15, 20)
        expected = cubic_convolution(image[channel], 15 + scale * (rows - 15), 20 + scale * (columns - 20))
        assert_allclose(found[channel], expected, rtol=0, atol=1e-10)
    assert np.array_equal(found[1], image[1])


# --- what is refused ---


@pytest.mark.parametrize(
    ("name", "settings", "found"),
    [
        ("shift", {"distance": -1.0}, "distance"),
        ("shift", {"distance": float("inf")}, "distance"),
        ("shift", {"seed": "1"}, "seed"),
        ("affine_warp", {"amplitude": float("nan")}, "amplitude"),
        ("homography", {"amplitude": -0.1}, "amplitude"),
        ("linear_warp", {"amplitude": 8.1}, "amplitude"),
        ("cubic_warp", {"spacing": 1.0, "amplitude": 0.1}, "spacing"),
        ("ghosting", {"opacity": 1.1}, "opacity"),
        ("ghosting", {"distance": -2.0}, "distance"),
        ("chromatic_aberration", {"displacement": -1.0}, "displacement"),
    ],
)
def test_bad_settings_are_one_line(name: str, settings: dict[str, Any], found: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}\({found}\)") as caught:
        getattr(spatial, name)(torch.zeros(3, 40, 40), **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "apply",
    [
        lambda image: shift(image, 12.0),
        lambda image: affine_warp(image, 3.0),
        lambda image: homography(image, 3.0),
        lambda image: linear_warp(image, 12.0, 30.0),
        lambda image: ghosting(image, 0.1, 12.0),
        lambda image: chromatic_aberration(image.expand(3, 12, 20), 3.0),
    ],
)
def test_pictures_that_are_too_small(apply: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(InputError, match="must be at least 13 × 13 pixels"):
        apply(torch.zeros(1, 12, 20))
