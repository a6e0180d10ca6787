"""Any distortion of any strength on any image: range, shape, type, repetition, neighbours in a batch, and sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from monai_cxraug.errors import InputError
from monai_cxraug.transforms.functional.distortions.catalogue import (
    CATALOGUE,
    Distortion,
    apply_steps,
    draw_steps,
    parse_steps,
    write_steps,
)

#: large enough for each of them at its strongest.
LEAST = 50
DISTORTIONS = st.sampled_from([*CATALOGUE.values()])
DTYPES = st.sampled_from([torch.uint8, torch.float16, torch.float32, torch.float64])
SEEDS = st.integers(0, 2**40)
#: gentler ones than the mildest, and both directions of those that have two.
SHARES = st.floats(-0.5, 1)


@st.composite
def images(draw: st.DrawFn) -> Tensor:
    """Colour images with up to two dimensions before, of grey noise, black and white, or one value."""
    shape = (*draw(st.lists(st.integers(1, 2), max_size=2)), 3, LEAST + draw(st.integers(0, 7)), LEAST)
    rng = np.random.default_rng(draw(SEEDS))
    kind = draw(st.sampled_from(["noise", "extremes", "flat"]))
    values = {"noise": rng.random(shape), "extremes": rng.integers(0, 2, shape), "flat": np.full(shape, rng.random())}
    unit = torch.from_numpy(np.asarray(values[kind], dtype=np.float64))
    dtype = draw(DTYPES)
    return (unit * 255).round().to(dtype) if dtype == torch.uint8 else unit.to(dtype)


@st.composite
def strengths(draw: st.DrawFn, distortion: Distortion) -> float:
    strength = distortion.at(draw(st.floats(0, 1) if distortion.whole else SHARES))
    return distortion.opposite(strength) if draw(st.booleans()) else strength


@given(DISTORTIONS, images(), SEEDS, st.data())
@settings(max_examples=150)
def test_the_image_stays_an_image_and_its_neighbours_mean_nothing(
    distortion: Distortion, image: Tensor, seed: int, data: st.DataObject
) -> None:
    strength, before = data.draw(strengths(distortion)), image.clone()
    changed = distortion.apply(image, strength, seed)
    assert (changed.shape, changed.dtype) == (image.shape, image.dtype)
    assert changed.isfinite().all()
    assert changed.min() >= 0
    assert changed.max() <= (255 if image.dtype == torch.uint8 else 1)
    assert torch.equal(image, before)
    assert torch.equal(changed, distortion.apply(image, strength, seed))
    alone = image.reshape(-1, *image.shape[-3:])[-1]
    assert torch.equal(changed.reshape(-1, *image.shape[-3:])[-1], distortion.apply(alone, strength, seed))


@given(st.data(), SEEDS)
@settings(max_examples=60)
def test_stronger_is_further_away(data: st.DataObject, seed: int) -> None:
    """With the same seed, a distortion at twice the strength of another is no nearer to what the image was.

    Not for warps that draw many points, for ghosts and for codecs: a longer way may lead back to what is alike.
    """
    steady = [one for one in CATALOGUE.values() if one.group in ("photometric", "noise", "blur")]
    distortion = data.draw(st.sampled_from(steady))
    mild = data.draw(st.floats(0, 0.6))
    strong = data.draw(st.floats(mild + 0.4, 1))
    rng = np.random.default_rng(seed)
    smooth = np.kron(rng.random((3, 5, 5)), np.ones((12, 12)))
    image = torch.from_numpy(0.3 + 0.4 * smooth)
    near, far = (
        float((distortion.apply(image, distortion.at(s), seed) - image).square().mean()) for s in (mild, strong)
    )
    assert 0 < near < far


@given(SEEDS, st.integers(1, 2), st.booleans(), images())
@settings(max_examples=60)
def test_a_drawn_sequence_is_its_text_and_its_steps(seed: int, count: int, colour: bool, image: Tensor) -> None:
    drawn = draw_steps(np.random.default_rng(seed), count, colour)
    assert drawn == draw_steps(np.random.default_rng(seed), count, colour)
    expected = image
    for step in drawn:
        expected = CATALOGUE[step.name].apply(expected, step.strength, step.seed)
    assert torch.equal(apply_steps(image, parse_steps(write_steps(drawn))), expected)
    for step in drawn:
        distortion = CATALOGUE[step.name]
        ends = sorted((distortion.mildest, distortion.strongest))
        assert any(ends[0] <= one <= ends[1] for one in (step.strength, distortion.opposite(step.strength)))
        assert colour or not distortion.colour_only


@given(DISTORTIONS, st.lists(st.integers(0, 4), max_size=5), SEEDS)
@settings(max_examples=60)
def test_any_shape_is_changed_or_refused(distortion: Distortion, shape: list[int], seed: int) -> None:
    image: Any = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    try:
        changed = distortion.apply(image, distortion.at(0.5), seed)
    except InputError:
        return
    assert changed.shape == image.shape
    assert changed.isfinite().all()


def test_every_distortion_takes_the_least_image_here() -> None:
    for distortion in CATALOGUE.values():
        distortion.apply(torch.rand(3, LEAST, LEAST), distortion.strongest, 0)
        with pytest.raises(InputError):
            distortion.apply(torch.rand(3, 0, LEAST), distortion.strongest, 0)
