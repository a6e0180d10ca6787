"""Changes of images against SciPy, Python's own integers and loops, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torch import Tensor

from monai_cxraug.networks.changes import Frame, cut_out, gaussian_field, warp

SIZES = [(8, 8), (6, 11), (16, 5), (4, 4)]


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scipy_warp(image: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    """One channel; SciPy counts in (row, column) from the corner."""
    swapped = matrix.numpy()[::-1, ::-1]
    centre = (np.array(image.shape) - 1) / 2
    offset = centre - swapped @ (centre + shift.numpy()[::-1])
    return torch.from_numpy(ndimage.affine_transform(image.numpy(), swapped, offset, order=1, mode="reflect"))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("wildness", [0.1, 1.0])
def test_warp_equals_scipy(size: tuple[int, int], wildness: float) -> None:
    images = rand(5, 2, *size, seed=1)
    matrix = torch.eye(2).double() + wildness * (rand(5, 2, 2, seed=2) - 0.5)
    shift = wildness * 20 * (rand(5, 2, seed=3) - 0.5)
    warped = warp(images, Frame(*size), matrix, shift)
    for n in range(5):
        for c in range(2):
            torch.testing.assert_close(warped[n, c], scipy_warp(images[n, c], matrix[n], shift[n]), rtol=0, atol=1e-11)


@pytest.mark.parametrize("shift", [(0, 0), (3, 0), (0, -2), (-5, 4), (7, -7)])
def test_whole_pixels_are_moved_right_and_down_with_mirrored_edges(shift: tuple[int, int]) -> None:
    image = rand(1, 1, 8, 8, seed=4)
    right, down = shift
    wide = np.pad(image[0, 0].numpy(), 8, mode="symmetric")
    expected = torch.from_numpy(wide[8 - down : 16 - down, 8 - right : 16 - right].copy())
    moved = warp(image, Frame(8, 8), torch.eye(2)[None], torch.tensor([shift]))
    torch.testing.assert_close(moved[0, 0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [64, 1024])
def test_float32_misplaces_no_pixel(size: int) -> None:
    ramp = torch.arange(float(size)).expand(1, 1, size, size)
    moved = warp(ramp, Frame(size, size), torch.eye(2)[None], torch.tensor([[3.25, 0.0]]))
    torch.testing.assert_close(moved[..., 8:], ramp[..., 8:] - 3.25, rtol=0, atol=1e-6 * size)


def test_autocast_misplaces_no_pixel() -> None:
    images, matrix = rand(2, 1, 16, 16).float(), (torch.eye(2) + 0.1).expand(2, 2, 2)
    plain = warp(images, Frame(16, 16), matrix, torch.ones(2, 2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(warp(images, Frame(16, 16), matrix, torch.ones(2, 2)), plain, rtol=0, atol=0)


def some_warp(size: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    matrix, shift = torch.eye(2).double() + 0.4 * (rand(2, 2, 2, seed=5) - 0.5), 6 * (rand(2, 2, seed=6) - 0.5)
    return lambda images: warp(images, Frame(*size), matrix, shift)


def test_warp_has_first_and_second_derivatives() -> None:
    images = rand(2, 2, 4, 5, seed=7).requires_grad_()
    assert torch.autograd.gradcheck(some_warp((4, 5)), (images,))
    assert torch.autograd.gradgradcheck(some_warp((4, 5)), (images,))


def test_a_squared_slope_through_warp_agrees_with_finite_differences() -> None:
    images, weight = rand(2, 1, 4, 5, seed=8), rand(20, 3, seed=9).requires_grad_()

    def squared_slope(weight: Tensor) -> Tensor:
        x = images.clone().requires_grad_()
        scores = torch.tanh(some_warp((4, 5))(x).flatten(1) @ weight).sum()
        return torch.autograd.grad(scores, x, create_graph=True)[0].square().sum()

    assert torch.autograd.gradcheck(squared_slope, (weight,))


def test_the_slope_of_warp_is_its_transpose() -> None:
    size = (6, 7)
    columns = torch.stack(
        [some_warp(size)(basis.expand(2, 1, 6, 7)) for basis in torch.eye(42).double().reshape(42, 1, 6, 7)]
    )
    images, slope = rand(2, 1, *size, seed=10).requires_grad_(), rand(2, 1, *size, seed=11)
    (spread,) = torch.autograd.grad(some_warp(size)(images), images, slope)
    expected = torch.einsum("knchw,nchw->nk", columns, slope)
    torch.testing.assert_close(spread.flatten(1), expected, rtol=1e-12, atol=1e-12)


# --- The hole ---


@pytest.mark.parametrize("size", SIZES)
def test_cut_out_equals_a_loop_over_pixels(size: tuple[int, int]) -> None:
    images, side, x, y = rand(9, 2, *size, seed=12), rand(9, seed=13), rand(9, seed=14), rand(9, seed=15)
    expected = images.clone()
    for n in range(9):
        for row in range(size[0]):
            for column in range(size[1]):
                off_x, off_y = abs((column + 0.5) / size[1] - x[n]), abs((row + 0.5) / size[0] - y[n])
                if max(off_x, off_y) < side[n] / 2:
                    expected[n, :, row, column] = 0.5
    assert torch.equal(cut_out(images, Frame(*size), side, x, y), expected)
    assert not torch.equal(expected, images)


def test_a_hole_of_no_size_leaves_every_bit() -> None:
    images, nothing = rand(3, 1, 5, 5), torch.zeros(3)
    assert torch.equal(cut_out(images, Frame(5, 5), nothing, nothing + 0.5, nothing + 0.5), images)


# --- Noise ---


def split_mix(seed: int, count: int) -> list[int]:
    """SplitMix64 in Python's own integers."""
    outputs = []
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) % 2**64
        z = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        outputs.append(z ^ (z >> 31))
    return outputs


def test_the_reference_is_split_mix() -> None:
    assert split_mix(0, 2) == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]  # published first outputs of seed 0


@pytest.mark.parametrize(("high", "low"), [(0, 0), (0, 1), (1, 0), (2**24 - 1, 2**24 - 1), (123456, 7654321)])
def test_noise_is_box_muller_of_split_mix(high: int, low: int) -> None:
    expected = []
    for bits in split_mix(high * 2**24 + low, 30):
        first, second = bits >> 40, bits & 0xFFFFFF
        radius = math.sqrt(-2 * math.log((first + 0.5) / 2**24))
        expected.append(radius * math.cos(2 * math.pi * second / 2**24))
    field = gaussian_field(torch.tensor([float(high)]), torch.tensor([float(low)]), rand(1, 2, 3, 5))
    torch.testing.assert_close(field.flatten(), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_noise_is_white_and_normal() -> None:
    keys = (rand(64, seed=16) * 2**24).floor()
    field = gaussian_field(keys, keys.flip(0), rand(64, 1, 32, 32))
    assert stats.kstest(field.flatten().numpy(), "norm").pvalue > 1e-3
    values = field.reshape(64, -1)
    limit = 5 / math.sqrt(values.numel())
    for other in (values.roll(1, 1), values.roll(32, 1), values.roll(1, 0), values.abs().roll(1, 1)):
        assert abs((values * other).mean()) < limit
    assert abs(((values**2 - 1) * (values.roll(1, 1) ** 2 - 1)).mean()) < 2 * limit


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_is_finite_and_of_the_images_type(dtype: torch.dtype) -> None:
    keys = torch.arange(200.0)
    field = gaussian_field(keys, keys, torch.empty(200, 1, 32, 32, dtype=dtype))
    assert field.dtype == dtype
    assert field.abs().max() < 5.9  # the radius of the smallest number that 24 bits hold
