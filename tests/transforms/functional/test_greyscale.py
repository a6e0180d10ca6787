"""Greyscale arithmetic against numpy on the pixels themselves, and its properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from monai_cxraug.errors import InputError
from monai_cxraug.transforms.functional.greyscale import (
    Depth,
    Lut,
    Rules,
    Window,
    count_words,
    percentile,
    render,
    tabulate,
    window,
)

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@given(st.floats(-300, 300), st.floats(1, 500), st.sampled_from(FUNCTIONS))
def test_a_window_rises_from_0_to_1(centre: float, width: float, function: str) -> None:
    values = np.linspace(-4000, 4000, 2001)
    shown = window(values, Window(centre, width, function))
    assert (np.diff(shown) >= 0).all()
    assert shown[0] == pytest.approx(0, abs=1e-6)
    assert shown[-1] == pytest.approx(1, abs=1e-6)


def test_windows_by_their_definition() -> None:
    values = np.array([99.0, 100, 100.5, 101, 102])
    assert_array_equal(window(values, Window(100.5, 1)), [0, 0, 1, 1, 1])
    # PS3.3 C.11.2.1.2.1: c = 2048, w = 4096 spans 0 to 4095
    assert_allclose(window(np.array([-1, 0, 4095, 5000.0]), Window(2048, 4096)), [0, 0, 1, 1])
    assert_allclose(window(np.array([-1, 0, 2048, 4096.0]), Window(2048, 4096, "LINEAR_EXACT")), [0, 0, 0.5, 1])
    assert_allclose(window(np.array([0.0, 100]), Window(0, 400, "SIGMOID")), [0.5, 1 / (1 + np.exp(-1))])


@given(
    st.lists(st.integers(0, 4095), min_size=1, max_size=300),
    st.floats(0, 100),
    st.sampled_from([(1, 0), (-0.5, 7), (1e-3, 2)]),
)
def test_percentiles_are_numpys_own(pixels: list[int], share: float, rescale: tuple[float, float]) -> None:
    values = np.arange(4096) * rescale[0] + rescale[1]
    counts = np.bincount(pixels, minlength=4096)
    assert percentile(values, counts, share) == np.percentile(values[pixels], share)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_words_are_counted(dtype: str) -> None:
    words = np.random.default_rng(1).integers(0, np.iinfo(dtype).max + 1, (300, 701)).astype(dtype)
    assert_array_equal(count_words(words), np.bincount(words.reshape(-1), minlength=np.iinfo(dtype).max + 1))


@st.composite
def rules(draw: st.DrawFn) -> Rules:
    voi = Lut(np.arange(100.0) ** 2 / 39, draw(st.integers(-50, 50)), 8) if draw(st.booleans()) else None
    shape = Window(draw(st.integers(-500, 500)), draw(st.integers(200, 3000)), draw(st.sampled_from(FUNCTIONS)))
    return Rules(
        slope=draw(st.sampled_from([1.0, 0.5, 2.0])),
        intercept=draw(st.sampled_from([0.0, -100.0])),
        voi=voi,
        window=shape if draw(st.booleans()) else None,
        inverted=draw(st.booleans()),
        padding=(0.0, float(draw(st.integers(0, 30)))) if draw(st.booleans()) else None,
    )


@given(rules(), st.booleans(), st.integers(0, 2**32 - 1))
def test_the_table_says_what_the_pixels_say(rules: Rules, signed: bool, seed: int) -> None:
    """By table from the words, from stored values one by one, and from values after rescale: all the same."""
    depth = Depth(10, 11, signed)
    stored = np.random.default_rng(seed).integers(-512 if signed else 0, 512 if signed else 1024, (20, 30))
    noise = np.random.default_rng(seed).integers(0, 4, stored.shape)  # what lies around the stored bits
    words = ((stored & 1023) << 2 | noise | noise << 12).astype(np.uint16)
    try:
        table, choice = tabulate(rules, depth, words)
    except InputError:
        for pixels, is_stored in ((stored, True), (rules.to_modality(stored.astype(float)), False)):
            with pytest.raises(InputError):
                render(rules, pixels, is_stored)
        return
    assert table.dtype == np.float32
    assert 0 <= table.min() <= table.max() <= 1
    for pixels, is_stored in ((stored, True), (rules.to_modality(stored.astype(float)), False)):
        shown, same = render(rules, pixels, is_stored)
        assert same == choice
        assert_array_equal(shown, table[words])


def test_flat_is_found_where_the_sample_sees_nothing() -> None:
    """One pixel of another brightness, which a sample of every 61st misses, saves the picture."""
    words = np.full((50, 50), 100, dtype=np.uint16)
    words[3, 3] = 200
    narrow = Rules(window=Window(150, 20))
    table, _ = tabulate(narrow, Depth(12, 11, False), words)
    assert (table[words] == 1).sum() == 1
    with pytest.raises(InputError, match="flat"):
        tabulate(Rules(window=Window(1500, 20)), Depth(12, 11, False), words)
