"""The distance of edges against loops in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from monai_cxraug.losses.edges import edge_distance


def by_loops(images: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    n, channels, height, width = images.shape
    down, along = [], []
    for k in range(n):
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    if i:
                        pair = [abs(x[k, c, i, j] - x[k, c, i - 1, j]) for x in (images, wanted)]
                        down.append(abs(pair[0] - pair[1]))
                    if j:
                        pair = [abs(x[k, c, i, j] - x[k, c, i, j - 1]) for x in (images, wanted)]
                        along.append(abs(pair[0] - pair[1]))
    return float(np.mean(down) + np.mean(along))


@pytest.mark.parametrize("shape", [(2, 1, 4, 5), (1, 3, 2, 2)])
def test_it_is_what_loops_say(shape: tuple[int, ...]) -> None:
    images, wanted = np.random.default_rng(0).random((2, *shape))
    found = edge_distance(torch.from_numpy(images), torch.from_numpy(wanted))
    assert found.item() == pytest.approx(by_loops(images, wanted), rel=1e-12)


def test_brightness_and_the_direction_of_an_edge_do_not_matter() -> None:
    images = torch.rand(2, 1, 6, 6, dtype=torch.float64)
    for same in (images, images + 0.3, 1 - images, images.clone()):
        assert edge_distance(same, images).item() == pytest.approx(0, abs=1e-12)
    assert edge_distance(images / 2, images) > 0.01


def test_it_is_exact_for_what_comes_in_half_precision() -> None:
    images = torch.rand(1, 1, 4, 4)
    assert edge_distance(images.half(), images).dtype == torch.float32
