"""Likeness that changed copies keep: correlation, structural similarity, and correlation after a small warp."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.data.resampling import resize_area
from monai_cxraug.synthesis.alignment import aligned_distances
from monai_cxraug.synthesis.features import ClassifierFeatures

Array = NDArray[np.float64]
Images = NDArray[np.float32]
Owners = NDArray[np.int64]

#: side in pixels at which correlation is computed, and pictures are aligned, at most.
SIDE: Final = 32
#: training images that are looked at closely: those that correlate best.
SHORTLIST: Final = 16
#: of these, how many SSIM is computed for.
_SSIM: Final = 8
#: queries, references and pairs that are compared at once.
_QUERIES, _REFERENCES, _PAIRS = 256, 2048, 1024
#: SSIM's window: deviation and reach in pixels, and its constants (Wang et al. 2004).
_SIGMA, _WINDOW, _K1, _K2 = 1.5, 5, 0.01, 0.03


class Match(NamedTuple):
    """The training image that is most like each image, ``[N]`` each.

    Args:
        rows: of the training images.
        mirrored: whether the image's mirror image is meant.
        distances: what is compared with a threshold: less is more alike.
        values: the likeness as people know it: a difference, a correlation or an SSIM.
    """

    rows: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    distances: Array
    values: Array

    def at(self, places: slice | NDArray[Any]) -> Match:
        """Return those at some places."""
        return Match(self.rows[places], self.mirrored[places], self.distances[places], self.values[places])

    @classmethod
    def of(cls, parts: Sequence[Match]) -> Match:
        """Return all parts, one after another; at least one."""
        return cls(*(_stacked(columns) for columns in zip(*parts, strict=True)))


class Candidates(NamedTuple):
    """Training images for each query, ``[N, K]`` each, nearest first; a distance is infinite where there is none."""

    rows: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    distances: Array


class LikenessSearch:
    """Finds the training image of which an image may be a changed copy.

    For each measure the answer is a *ratio*: the distance to the most alike training image over the mean distance to
    the other patients' images of the shortlist (Carlini et al., Extracting Training Data from Diffusion Models, USENIX
    Security 2023, section 4.2). A blurred or common picture is near to many, and its ratio stays near one; a copy is
    near to one alone. The shortlist holds the 16 training images that correlate best with the image or its mirror
    image; SSIM (for the best eight) and the aligned correlation are computed for these alone, being too dear for all.

    - ``correlation``: of pixels, in grey, at 32 px at most; distance sqrt(2 (1 - r)).
    - ``ssim``: structural similarity (Wang et al., 2004) at the same side, where sharpness counts less; distance
      sqrt(1 - SSIM).
    - ``aligned``: correlation of the pictures' ranks of brightness after the best small affine warp; see
      :func:`~monai_cxraug.synthesis.alignment.aligned_distances`.
    - ``features``, where a classifier is given: root mean squared difference of its features,
      among all training images.

    Args:
        references: training images, float32 ``[M, S, S]`` or ``[M, S, S, 3]`` in [0, 1].
        owners: of references, ``[M]``: their patients.
        features: a classifier, trained on images of at most S px.
    """

    def __init__(self, references: Images, owners: Owners, features: ClassifierFeatures | None = None) -> None:
        self.owners, self.features = owners, features
        self._side = min(SIDE, references.shape[1])
        self._grey = _in_blocks(references, lambda block: self._shrink(in_grey(block)))
        self._small = _in_blocks(self._grey, standardise)
        self._ranks = _in_blocks(references, lambda block: self._shrink(rank_levels(in_grey(block))))
        self._seen = None if features is None else _in_blocks(references, features)

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures."""
        return ("correlation", "ssim", "aligned", *(() if self.features is None else ("features",)))

    def __call__(self, queries: Images, owners: Owners | None = None) -> dict[str, Match]:
        """Find them.

        Args:
            queries: like the references, ``[N, S, S]`` or ``[N, S, S, 3]``.
            owners: of queries, ``[N]``: references of the same owner are left out.

        Returns:
            Measure to the match of each query.
        """
        starts = range(0, len(queries), _QUERIES)
        parts = [self._block(queries[k : k + _QUERIES], owners, slice(k, k + _QUERIES)) for k in starts]
        if not parts:
            return dict.fromkeys(self.measures, Match(*_empty((0,))))
        return {name: Match.of([part[name] for part in parts]) for name in self.measures}

    def _block(self, queries: Images, owners: Owners | None, part: slice) -> dict[str, Match]:
        asked = None if owners is None else owners[part]
        full = in_grey(queries)
        grey = self._shrink(full)
        small = standardise(grey)
        listed = self._shortlist(small, _turned(small), self._small, asked)
        best = Candidates(listed.rows[:, :_SSIM], listed.mirrored[:, :_SSIM], listed.distances[:, :_SSIM])
        found = {
            "correlation": self._match(listed, 1 - listed.distances**2 / 2),
            "ssim": self._ssim(grey, best),
            "aligned": self._aligned(self._shrink(rank_levels(full)), listed),
        }
        if self.features is not None and self._seen is not None:
            looks = [self.features(images) for images in (queries, np.ascontiguousarray(_turned(queries)))]
            near = self._shortlist(looks[0], looks[1], self._seen, asked)
            found["features"] = self._match(near, near.distances)
        return found

    def _shrink(self, images: Images) -> Images:
        if images.shape[1] == self._side:
            return images
        return np.stack([resize_area(np.ascontiguousarray(image), self._side, self._side) for image in images])

    def _shortlist(
        self,
        plain: NDArray[np.float32],
        turned: NDArray[np.float32],
        references: NDArray[np.float32],
        asked: Owners | None,
    ) -> Candidates:
        """The nearest references of each query or its mirror image, by root mean square for pictures."""
        best = Candidates(*_empty((len(plain), 0))[:3])
        for start in range(0, len(references), _REFERENCES):
            block = references[start : start + _REFERENCES]
            pair = [_squares(queries, block) for queries in (plain, turned)]
            squares = np.minimum(*pair)
            if asked is not None:
                squares[asked[:, None] == self.owners[None, start : start + _REFERENCES]] = np.inf
            rows = _smallest(squares, SHORTLIST)
            mirrored = np.take_along_axis(pair[1], rows, 1) < np.take_along_axis(pair[0], rows, 1)
            best = _merge(best, Candidates(rows + start, mirrored, np.take_along_axis(squares, rows, 1)))
        return _measured(best, plain, turned, references)

    def _ssim(self, grey: Images, listed: Candidates) -> Match:
        """Structural similarity of the candidates."""
        likeness = np.empty(listed.rows.shape)
        for rows, asked in _pairs(listed):
            theirs = self._grey[listed.rows.ravel()[rows]]
            likeness.ravel()[rows] = ssim(_oriented(grey, listed, rows, asked), theirs)
        distances = np.sqrt(np.maximum(1 - likeness, 0))
        distances[np.isinf(listed.distances)] = np.inf
        return self._match(Candidates(listed.rows, listed.mirrored, distances), likeness)

    def _aligned(self, ranks: Images, listed: Candidates) -> Match:
        distances = np.empty(listed.rows.shape)
        for rows, asked in _pairs(listed):
            theirs = self._ranks[listed.rows.ravel()[rows]]
            distances.ravel()[rows] = aligned_distances(_oriented(ranks, listed, rows, asked), theirs)
        distances[np.isinf(listed.distances)] = np.inf
        return self._match(Candidates(listed.rows, listed.mirrored, distances), 1 - distances**2 / 2)

    def _match(self, listed: Candidates, values: Array) -> Match:
        """The nearest candidate of each query, and its distance over the mean of those of other patients."""
        there = np.isfinite(listed.distances)
        first = np.argmin(listed.distances, axis=1)[:, None]
        rows, mirrored, nearest, value = (
            _taken(column, first)[:, 0] for column in (listed.rows, listed.mirrored, listed.distances, values)
        )
        others = there & (self.owners[listed.rows] != self.owners[rows][:, None])
        alone = ~others.any(axis=1)  # a patient fills the list: its other images then stand for others
        others[alone] = there[alone]
        counts = np.maximum(others.sum(axis=1), 1)
        mean = np.where(others, listed.distances, 0).sum(axis=1) / counts
        ratios = np.divide(nearest, mean, out=np.full(len(mean), np.inf), where=there.any(axis=1) & (mean > 0))
        return Match(rows, mirrored, np.where(there.any(axis=1) & (mean == 0), 1.0, ratios), value)


def _empty(shape: tuple[int, ...]) -> list[NDArray[Any]]:
    """Columns of rows, flags, distances and values."""
    return [np.empty(shape, kind) for kind in (np.int64, np.bool_, np.float64, np.float64)]


def _stacked(columns: Sequence[NDArray[Any]], axis: int = 0) -> NDArray[Any]:
    whole: NDArray[Any] = np.concatenate(columns, axis=axis)
    return whole


def _taken(column: NDArray[Any], places: NDArray[np.int64]) -> NDArray[Any]:
    taken: NDArray[Any] = np.take_along_axis(column, places, axis=1)
    return taken


def _in_blocks(images: Images, compute: Any) -> NDArray[np.float32]:
    parts = [compute(images[start : start + _REFERENCES]) for start in range(0, len(images), _REFERENCES)]
    return np.concatenate(parts).astype(np.float32, copy=False)


def _turned(images: Images) -> Images:
    return images[:, :, ::-1]


def _squares(queries: NDArray[np.float32], references: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean squared differences ``[N, M]``, to within float32's rounding."""
    a, b = (np.ascontiguousarray(one).reshape(len(one), -1) for one in (queries, references))
    squares = (-2 * a) @ b.T
    squares += np.square(b).sum(axis=1)
    squares += np.square(a).sum(axis=1)[:, None]
    squares /= a.shape[1]
    return squares


def _smallest(squares: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    count = min(count, squares.shape[1])
    return np.argpartition(squares, count - 1, axis=1)[:, :count].astype(np.int64)


def _merge(best: Candidates, more: Candidates) -> Candidates:
    both = Candidates(*(_stacked(pair, 1) for pair in zip(best, more, strict=True)))
    kept = np.argsort(both.distances, axis=1, kind="stable")[:, :SHORTLIST]
    return Candidates(*(_taken(column, kept) for column in both))


def _measured(
    listed: Candidates, plain: NDArray[np.float32], turned: NDArray[np.float32], references: NDArray[np.float32]
) -> Candidates:
    """The same candidates with distances in double precision, nearest first; of equal ones the earlier."""
    distances = np.empty(listed.rows.shape)
    for column in range(listed.rows.shape[1]):
        mirrored = listed.mirrored[:, column].reshape(-1, *[1] * (plain.ndim - 1))
        asked = np.where(mirrored, turned, plain).astype(np.float64)
        left = (asked - references[listed.rows[:, column]]).reshape(len(asked), -1)
        distances[:, column] = np.sqrt(np.square(left).mean(axis=1))
    distances[np.isinf(listed.distances)] = np.inf
    order = np.lexsort((listed.rows, distances), axis=1)
    return Candidates(*(_taken(column, order) for column in (listed.rows, listed.mirrored, distances)))


def _pairs(listed: Candidates) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Places of pairs in the flattened list, some at a time, and the query of each."""
    for start in range(0, listed.rows.size, _PAIRS):
        rows = np.arange(start, min(start + _PAIRS, listed.rows.size))
        yield rows, rows // listed.rows.shape[1]


def _oriented(images: Images, listed: Candidates, rows: NDArray[np.int64], asked: NDArray[np.int64]) -> Images:
    shown = images[asked]
    mirrored = listed.mirrored.ravel()[rows]
    shown[mirrored] = shown[mirrored, :, ::-1]
    return shown


# --- pictures ---


def in_grey(images: Images) -> Images:
    """Pictures ``[N, H, W]`` as they are, the mean over the channels of ``[N, H, W, 3]``."""
    return images if images.ndim == 3 else images.mean(axis=3, dtype=np.float32)


def standardise(images: Images) -> Images:
    """Take away each picture's mean, and divide by its root mean square, ``[N, H, W]``; without contrast it is 0.

    The mean product of two such pictures is the correlation of their pixels, and their mean squared difference is
    2 (1 - r).
    """
    centred = images - images.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
    spread = np.sqrt(np.square(centred).mean(axis=(1, 2), keepdims=True))
    scaled: Images = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-6).astype(np.float32)
    return scaled


def rank_levels(images: Images) -> Images:
    """Give each pixel its rank among the picture's pixels, in [0, 1], the same for any increasing change of contrast.

    Args:
        images: float32 ``[N, H, W]`` in [0, 1], seen in 256 levels.

    Returns:
        The share of pixels that are darker, and half of those as dark.
    """
    n = len(images)
    levels = np.rint(np.clip(images, 0, 1) * 255).astype(np.int64).reshape(n, -1)
    counts = np.bincount((levels + 256 * np.arange(n)[:, None]).ravel(), minlength=256 * n).reshape(n, 256)
    ranks = ((np.cumsum(counts, axis=1) - counts / 2) / levels.shape[1]).astype(np.float32)
    found: Images = np.take_along_axis(ranks, levels, axis=1).reshape(images.shape)
    return found


def ssim(a: Images, b: Images) -> Array:
    """Structural similarity of pairs (Wang, Bovik, Sheikh and Simoncelli, IEEE TIP 2004, equation 13, its mean).

    Gaussian window of deviation 1.5 and 11 px, where it fits, smaller in smaller pictures; K1 = 0.01, K2 = 0.03.

    Args:
        a: float32 ``[P, H, W]`` in [0, 1].
        b: likewise.

    Returns:
        ``[P]``, in [-1, 1].
    """
    down, across = (_windows(side) for side in a.shape[1:3])

    def blurred(images: Images) -> Images:
        smooth: Images = np.matmul(np.matmul(down, images), across.T)
        return smooth

    mean_a, mean_b = blurred(a), blurred(b)
    spread = blurred(a * a + b * b) - mean_a**2 - mean_b**2
    both = blurred(a * b) - mean_a * mean_b
    alike = (2 * mean_a * mean_b + _K1**2) / (mean_a**2 + mean_b**2 + _K1**2) * (2 * both + _K2**2) / (spread + _K2**2)
    found: Array = alike.mean(axis=(1, 2), dtype=np.float64)
    return found


def _windows(side: int) -> Images:
    """The window at every place where it fits, ``[side - 2 reach, side]``."""
    reach = min(_WINDOW, (side - 1) // 2)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _SIGMA) ** 2)
    places = np.arange(side - 2 * reach)[:, None] + np.arange(2 * reach + 1)
    windows = np.zeros((side - 2 * reach, side), dtype=np.float32)
    np.put_along_axis(windows, places, (taps / taps.sum()).astype(np.float32)[None], axis=1)
    return windows


def describe(side: int) -> Mapping[str, str]:
    """Say in words what each measure is, for pictures of a side in pixels."""
    small = min(side, SIDE)
    shared = "over its mean for the shortlist's other patients"
    return {
        "correlation": f"correlation of pixels in grey at {small} px: sqrt(2 (1 - r)) {shared}",
        "ssim": f"SSIM in grey at {small} px of the {_SSIM} that correlate best: sqrt(1 - SSIM) {shared}",
        "aligned": f"correlation of ranks of brightness at {small} px, best small warp: sqrt(2 (1 - r)) {shared}",
        "features": f"root mean squared difference of a classifier's features {shared}",
    }
