"""Are samples real-looking, and do they cover what is real? By balls around images in feature space, in float64."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_cxraug.errors import ConfigError
from monai_cxraug.metrics.fidelity import feature_pair

Array = NDArray[np.float64]

#: neighbours that Kynkäänniemi et al. (2019, section 3.1) and Naeem et al. (2020, section 3.2) take.
NEIGHBOURS: Final = 3
DENSE_NEIGHBOURS: Final = 5
#: distances in one block (64 MB).
_BLOCK: Final = 8_000_000
#: squared distances below this share of both squared lengths are 0, and radii as much longer: so much may be rounding.
_ROUNDING: Final = 1e-12


class Manifold(NamedTuple):
    """How two sets lie in each other.

    Args:
        precision: share of generated images inside a ball around a real one: do they look real?
        recall: share of real images inside a ball around a generated one: could all of them have been generated?
        density: balls around real images that a generated one lies in, over k: 1 is expected of real ones, and more is
            possible where samples crowd.
        coverage: share of real images with a generated one in their ball.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifold(
    real: ArrayLike, generated: ArrayLike, neighbours: int = NEIGHBOURS, dense_neighbours: int = DENSE_NEIGHBOURS
) -> Manifold:
    """Improved precision and recall, density and coverage.

    An image's ball reaches to its k-th nearest neighbour in its own set, itself not counted. Precision and recall:
    Kynkäänniemi et al., NeurIPS 2019, eq. 1 and 2. Density and coverage: Naeem et al., ICML 2020, eq. 3 and 4. All
    pairs are compared, a block at a time. Precision and recall grow with one far outlier; density and coverage, whose
    balls are around real images only, less so. All depend on n and k.

    Args:
        real: ``[n, D]`` features, finite.
        generated: ``[m, D]``, of the same network.
        neighbours: k of precision and recall.
        dense_neighbours: k of density and coverage.

    Returns:
        The four; all but density in [0, 1]. Of two sets of one distribution, density is 1 and coverage
        :func:`expected_coverage` on average, whatever the distribution.

    Raises:
        InputError: the arrays are not what they should be.
        ConfigError: a k is below 1, or a set has not more images than that.
    """
    there, made = feature_pair(real, generated)
    _check(neighbours, "neighbours", len(there), len(made))
    _check(dense_neighbours, "dense_neighbours", len(there))
    centre = there.mean(axis=0)  # short vectors, so that products round less
    there, made = there - centre, made - centre
    radius, dense_radius = _radii(there, (neighbours, dense_neighbours))
    (made_radius,) = _radii(made, (neighbours,))
    inside, hit = np.zeros(len(made), dtype=bool), np.zeros(len(there), dtype=bool)
    reached, pairs = np.zeros(len(there), dtype=bool), 0
    for part in _parts(len(there), len(made)):
        squares = squared_distances(there[part], made)
        inside |= (squares <= radius[part, None]).any(axis=0)
        reached[part] = (squares <= made_radius).any(axis=1)
        within = squares <= dense_radius[part, None]
        hit[part] = within.any(axis=1)
        pairs += int(within.sum())
    density = pairs / (dense_neighbours * len(made))
    return Manifold(float(inside.mean()), float(reached.mean()), density, float(hit.mean()))


def expected_coverage(real: int, generated: int, neighbours: int = DENSE_NEIGHBOURS) -> float:
    """Coverage to expect of two sets of one distribution without ties (Naeem et al. 2020, appendix, lemma 2).

    The k nearest of an image's fellows are all real in a share ``prod_i (n - i) / (n + m - i)`` of cases, i from 1 to
    k: the image is covered otherwise.

    Args:
        real: number of real images n.
        generated: number of generated images m.
        neighbours: k.
    """
    place = np.arange(1, neighbours + 1)
    return 1 - float(np.prod((real - place) / (real + generated - place)))


def squared_distances(a: Array, b: Array) -> Array:
    """Squared Euclidean distances ``[n_a, n_b]``; what may be rounding only is 0."""
    lengths = np.einsum("ij,ij->i", a, a)[:, None] + np.einsum("ij,ij->i", b, b)
    squares: Array = a @ b.T
    squares *= -2
    squares += lengths
    lengths *= _ROUNDING
    squares[squares <= lengths] = 0
    return squares


def _radii(features: Array, neighbours: tuple[int, ...]) -> list[Array]:
    """Squared distances to the k-th nearest other image, for each k; ``[n]`` each."""
    found = [np.empty(len(features)) for _ in neighbours]
    for part in _parts(len(features), len(features)):
        squares = squared_distances(features[part], features)
        places = np.arange(len(features))[part]
        squares[np.arange(len(places)), places] = 0  # the image itself comes first
        squares.partition(sorted({*neighbours}), axis=1)
        for radius, k in zip(found, neighbours, strict=True):
            radius[part] = squares[:, k] * (1 + _ROUNDING)
    return found


def _parts(rows: int, columns: int) -> list[slice]:
    step = max(1, _BLOCK // columns)
    return [slice(start, start + step) for start in range(0, rows, step)]


def _check(neighbours: int, name: str, *images: int) -> None:
    if not 1 <= neighbours < min(images):
        rule = f"must be at least 1 and below the number of images ({min(images)})"
        raise ConfigError(f"manifold({name})", rule, neighbours, "use more images or fewer neighbours")
