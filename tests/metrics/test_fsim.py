"""FSIM beside a reference written straight from the formulae, loop by loop."""

from __future__ import annotations

import importlib
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from monai_cxraug.errors import InputError
from monai_cxraug.metrics.fsim import fsim, phase_congruency

Floats = NDArray[np.float64]


def picture(shape: tuple[int, int], seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    texture = gaussian_filter(rng.random(shape), 1.5)
    texture = (texture - texture.min()) / np.ptp(texture)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    disc = ((rows - shape[0] / 2) ** 2 + (columns - shape[1] / 2) ** 2) < (min(shape) / 4) ** 2
    return np.clip(0.6 * texture + 0.35 * disc, 0, 1)


# --- the reference: phase congruency of one orientation after another, sums written out ---


def grid(shape: tuple[int, int]) -> tuple[Floats, Floats]:
    def line(n: int) -> Floats:
        return np.arange(-(n - 1) / 2, (n - 1) / 2 + 1) / (n - 1) if n % 2 else np.arange(-n / 2, n / 2) / n

    across, down = np.meshgrid(line(shape[1]), line(shape[0]))
    return np.fft.ifftshift(across), np.fft.ifftshift(down)


def reference_congruency(image: Floats) -> Floats:
    across, down = grid(image.shape)  # type: ignore[arg-type]
    radius, theta = np.sqrt(across**2 + down**2), np.arctan2(-down, across)
    radius[0, 0] = 1
    corners = 1 / (1 + (np.sqrt(across**2 + down**2) / 0.45) ** (2 * 15))
    spectrum = np.fft.fft2(image)
    all_energy, all_amplitude = 0.0, 0.0
    for o in range(4):
        angle = o * math.pi / 4
        sine = np.sin(theta) * math.cos(angle) - np.cos(theta) * math.sin(angle)
        cosine = np.cos(theta) * math.cos(angle) + np.sin(theta) * math.sin(angle)
        spread = np.exp(-(np.abs(np.arctan2(sine, cosine)) ** 2) / (2 * (math.pi / 4 / 1.2) ** 2))
        responses, impulses, filters = [], [], []
        for s in range(4):
            centre = 1 / (6 * 2**s)
            radial = np.exp(-(np.log(radius / centre) ** 2) / (2 * math.log(0.55) ** 2)) * corners
            radial[0, 0] = 0
            filters.append(radial * spread)
            impulses.append(np.real(np.fft.ifft2(filters[-1])) * math.sqrt(image.size))
            responses.append(np.fft.ifft2(spectrum * filters[-1]))
        even, odd = sum(r.real for r in responses), sum(r.imag for r in responses)
        length = np.sqrt(even**2 + odd**2) + 1e-4
        energy = 0.0
        for r in responses:
            energy = energy + r.real * even / length + r.imag * odd / length
            energy = energy - np.abs(r.real * odd / length - r.imag * even / length)
        noise_power = np.median(np.abs(responses[0]) ** 2) / -math.log(0.5) / np.sum(filters[0] ** 2)
        squares = sum(np.sum(one**2) for one in impulses)
        products = sum(np.sum(impulses[i] * impulses[j]) for i in range(3) for j in range(i + 1, 4))
        tau = math.sqrt((2 * noise_power * squares + 4 * noise_power * products) / 2)
        threshold = (tau * math.sqrt(math.pi / 2) + 2 * math.sqrt((2 - math.pi / 2) * tau**2)) / 1.7
        all_energy = all_energy + np.maximum(energy - threshold, 0)
        all_amplitude = all_amplitude + sum(np.abs(r) for r in responses)
    return np.asarray(all_energy / all_amplitude)


def thin(image: Floats, viewed: int = 256) -> Floats:
    """Average over squares of F pixels and take every F-th, F = round(min side / 256); places as MATLAB's "same"."""
    f = max(1, int(min(image.shape) / viewed + 0.5))
    rows, columns = image.shape
    out = np.zeros((-(-rows // f), -(-columns // f)))
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            total = 0.0
            for k in range(-((f - 1) // 2), f // 2 + 1):
                for m in range(-((f - 1) // 2), f // 2 + 1):
                    r, c = i * f + k, j * f + m
                    total += image[r, c] if 0 <= r < rows and 0 <= c < columns else 0.0
            out[i, j] = total / f**2
    return out


def slopes(image: Floats) -> Floats:
    padded = np.pad(image, 1)
    kernel = np.array([[3, 0, -3], [10, 0, -10], [3, 0, -3]]) / 16
    rows, columns = image.shape
    across, down = np.zeros(image.shape), np.zeros(image.shape)
    for i in range(3):
        for j in range(3):
            part = padded[i : i + rows, j : j + columns]
            across += kernel[i, j] * part
            down += kernel.T[i, j] * part
    return np.sqrt(across**2 + down**2)


def reference_fsim(first: Floats, second: Floats) -> float:
    one, two = thin(255 * first), thin(255 * second)
    p1, p2 = reference_congruency(one), reference_congruency(two)
    g1, g2 = slopes(one), slopes(two)
    phase = (2 * p1 * p2 + 0.85) / (p1**2 + p2**2 + 0.85)
    gradient = (2 * g1 * g2 + 160) / (g1**2 + g2**2 + 160)
    weight = np.maximum(p1, p2)
    return float(np.sum(phase * gradient * weight) / np.sum(weight))


@pytest.mark.parametrize("shape", [(64, 64), (65, 48), (33, 71), (400, 390), (640, 650)])
def test_equals_the_formulae(shape: tuple[int, int]) -> None:
    one = picture(shape)
    rng = np.random.default_rng(1)
    for two in (gaussian_filter(one, 1.2), np.clip(one + rng.normal(scale=0.1, size=shape), 0, 1), one**1.6):
        assert fsim(one, two) == pytest.approx(reference_fsim(one, two), abs=1e-12)


@pytest.mark.parametrize("shape", [(20, 20), (29, 50), (30, 31), (49, 38), (50, 51), (70, 76), (75, 110)])
def test_large_pictures_are_thinned_as_the_authors_do(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]) -> None:
    """With 20 px in the place of 256: steps of 1 to 4, halves rounded up, sides that the step does not divide."""
    module = importlib.import_module("monai_cxraug.metrics.fsim")
    assert module._VIEWED == 256
    monkeypatch.setattr(module, "_VIEWED", 20)
    image = np.random.default_rng(0).random(shape)
    np.testing.assert_allclose(module._thin(image), thin(image, 20), atol=1e-15)
    np.testing.assert_allclose(module._thin(image.T), thin(image.T, 20), atol=1e-15)


def test_faint_pictures_are_pictures_and_nothing_is_warned_of() -> None:
    faint = 2e-3 * picture((32, 40))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module = importlib.import_module("monai_cxraug.metrics.fsim")
        module._banks.cache_clear()
        found = phase_congruency(faint)
        np.testing.assert_allclose(found, reference_congruency(faint), atol=1e-12)
        assert found.max() > 0.05
        assert (phase_congruency(np.zeros((32, 40))) == 0).all()
        fsim(np.zeros((32, 40)), np.zeros((32, 40)))


def test_phase_congruency_is_a_share_and_finds_an_edge() -> None:
    step = np.full((64, 64), 40.0)
    step[:, 32:] = 200
    found = phase_congruency(step)
    assert found.min() >= 0
    assert found.max() <= 1
    assert found[32].argmax() in (31, 32) or found[32, 31:33].max() > 0.9 * found[32].max()
    np.testing.assert_allclose(found, reference_congruency(step), atol=1e-12)


@given(st.integers(0, 50), st.floats(0.5, 3))
def test_properties(seed: int, strength: float) -> None:
    one = picture((32, 40), seed)
    two = gaussian_filter(one, strength)
    assert fsim(one, one) == pytest.approx(1, abs=1e-12)
    assert fsim(one, two) == pytest.approx(fsim(two, one), abs=1e-12)
    assert 0 < fsim(one, two) < 1
    assert fsim(one.T, two.T) == pytest.approx(fsim(one, two), abs=0.02)  # orientations are a finite set


def test_more_blur_is_farther() -> None:
    one = picture((64, 64))
    likeness = [fsim(one, gaussian_filter(one, sigma)) for sigma in (0.3, 0.6, 1.0, 2.0, 4.0)]
    assert likeness == sorted(likeness, reverse=True)


def test_flat_pictures_have_a_likeness() -> None:
    flat = np.full((32, 32), 0.5)
    assert fsim(flat, flat) == pytest.approx(1)
    assert 0 < fsim(flat, picture((32, 32))) < 1


@pytest.mark.parametrize(
    ("one", "two", "message"),
    [
        (np.zeros((32, 32)), np.zeros((32, 31)), "must both be"),
        (np.zeros((8, 32)), np.zeros((8, 32)), "at least 16 px"),
        (np.zeros((32, 15)), np.zeros((32, 15)), "at least 16 px"),
        (np.zeros((32, 32, 32)), np.zeros((32, 32, 32)), "must both be"),
        (np.zeros(32), np.zeros(32), "must both be"),
        (np.eye(32) - 0.01, np.zeros((32, 32)), r"in \[0, 1\]"),
        (np.zeros((32, 32)), np.eye(32) + 0.01, r"in \[0, 1\]"),
        (np.zeros((32, 32)), np.eye(32) - 0.5, r"in \[0, 1\]"),
        (np.full((32, 32), 255.0), np.zeros((32, 32)), r"in \[0, 1\]"),
        (np.full((32, 32), np.nan), np.zeros((32, 32)), r"in \[0, 1\]"),
        (np.zeros((3, 32, 32)), np.zeros((3, 32, 32)), "must both be"),
    ],
)
def test_other_pictures_are_refused(one: Floats, two: Floats, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fsim(one, two)


def test_sixteen_pixels_are_enough_and_numbers_of_any_kind_are_taken() -> None:
    one, two = picture((16, 17)) > 0.5, picture((16, 17), 1) > 0.4
    expected = fsim(one.astype(float), two.astype(float))
    assert 0 < expected < 1
    for kind in (object, bool, np.uint8, np.float32):
        assert fsim(one.astype(kind), two.astype(kind)) == expected
