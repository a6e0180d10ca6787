"""Does a generator repeat its training images? Samples beside the training images nearest to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_cxraug.artifacts import atomic_path
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.pack import channels_last, quantise
from monai_cxraug.keys import IMAGE
from monai_cxraug.synthesis.features import ClassifierFeatures

Array = NDArray[np.float64]
Images = NDArray[np.float32]
Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]

#: samples in the picture, and training images beside each.
SHOWN: Final = 16
BESIDE: Final = 3
#: at most so many samples, and held-out images, are compared with the training images.
COMPARED: Final = 256
_BLOCK: Final = 256
#: queries, references and pairs that are compared at once.
_QUERIES, _REFERENCES, _PAIRS = 512, 2048, 256
#: quantile of the held-out images' distances below which a sample counts as close.
_CLOSE: Final = 0.05


class Neighbours(NamedTuple):
    """Row numbers and Euclidean distances ``[N, k]`` of the nearest references, nearest first."""

    rows: NDArray[np.int64]
    distances: Array


def find_nearest(queries: ArrayLike, blocks: Iterable[ArrayLike], k: int) -> Neighbours:
    """Find the k nearest references of each query, exactly, by Euclidean distance.

    Args:
        queries: ``[N, D]``.
        blocks: the references ``[M, D]`` in pieces of rows; all of them need not fit into memory.
        k: how many; all where there are fewer.

    Returns:
        Rows and distances. Of equally near references the earlier comes first.
    """
    wanted = np.asarray(queries, dtype=np.float64)
    rows, squares = np.empty((len(wanted), 0), dtype=np.int64), np.empty((len(wanted), 0))
    seen = 0
    for block in blocks:
        references = np.asarray(block, dtype=np.float64)
        fresh = np.broadcast_to(np.arange(seen, seen + len(references)), (len(wanted), len(references)))
        rows = np.concatenate([rows, fresh], axis=1)
        squares = np.concatenate([squares, _squared_distances(wanted, references)], axis=1)
        best = np.argsort(squares, axis=1, kind="stable")[:, :k]
        rows, squares = np.take_along_axis(rows, best, axis=1), np.take_along_axis(squares, best, axis=1)
        seen += len(references)
    return Neighbours(rows, np.sqrt(squares))


class Twins(NamedTuple):
    """The nearest reference of each query, as it is or mirrored: row, which of both, and distance, ``[N]`` each."""

    rows: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    distances: Array

    def at(self, places: slice | NDArray[Any]) -> Twins:
        """Return those at some places."""
        return Twins(self.rows[places], self.mirrored[places], self.distances[places])

    def joined(self, other: Twins) -> Twins:
        """Return these and then the others."""
        pairs = zip(self, other, strict=True)
        rows, mirrored, distances = (np.concatenate(pair) for pair in pairs)
        return Twins(rows, mirrored, distances)


class TwinSearch:
    """Finds the nearest reference of images or of their mirror images, exactly, by root mean squared difference.

    An image is the sum of a part that its mirror image shares and of one that changes its sign there, so that the
    products of the parts give both distances at the cost of one. They are computed in float32, whose error has a bound
    (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1); every pair that this error may hide is
    measured again in float64. Memory beside images and parts does not depend on their number.

    Args:
        references: float32 ``[M, H, W]``, or ``[M, H, W, C]``, whose channels count alike.
        owners: of references, ``[M]``.
    """

    def __init__(self, references: Images, owners: NDArray[np.int64] | None = None) -> None:
        self.references, self.owners = _one_channel(references), owners
        references = self.references
        centre = references.mean(axis=0)  # distances stay, and rounding errors are those of short vectors
        self._centre = (centre + centre[:, ::-1]) / 2
        self._parts = [self._split(references[at : at + _REFERENCES]) for at in range(0, len(references), _REFERENCES)]

    def __call__(self, queries: Images, owners: NDArray[np.int64] | None = None) -> Twins:
        """Find them.

        Args:
            queries: float32 ``[N, H, W]`` or ``[N, H, W, C]``.
            owners: of queries, ``[N]``: references of the same owner are left out.

        Returns:
            The nearest; of equally near ones the earlier, and the query as it is before its mirror image. Without any
            reference of another owner the distance is infinite.
        """
        queries, n = _one_channel(queries), len(queries)
        found = Twins(np.zeros(n, np.int64), np.zeros(n, np.bool_), np.full(n, np.inf))
        for start in range(0, n, _QUERIES):
            part = slice(start, start + _QUERIES)
            asked, best = self._split(queries[part]), found.at(part)
            for block, given in enumerate(self._parts):
                at = slice(block * _REFERENCES, block * _REFERENCES + _REFERENCES)
                other = None
                if owners is not None and self.owners is not None:
                    other = owners[part, None] != self.owners[None, at]
                near = _candidates(asked, given, other, np.square(best.distances) * self._centre.size)
                _keep_nearest(best, near, queries[part], self.references[at], at.start)
        return found

    def _split(self, images: Images) -> _Parts:
        centred = images - self._centre
        width = centred.shape[2]
        left, right = centred[:, :, : -(-width // 2)], centred[:, :, : width // 2 - 1 if width > 1 else None : -1]
        root = np.float32(np.sqrt(0.5))
        same, turned = (left + right) * root, (left - right) * root
        if width % 2:
            same[:, :, -1] *= root  # the middle column is its own mirror image
        lengths = np.einsum("nhw,nhw->n", centred, centred, dtype=np.float64)
        return _Parts(same.reshape(len(images), -1), turned.reshape(len(images), -1), lengths)


def _one_channel(images: Images) -> Images:
    """Pictures ``[N, H, W]`` as they are; of ``[N, H, W, C]`` the channels below one another, ``[N, C * H, W]``.

    Columns stay columns, so that mirror images stay mirror images, and means over pixels are means over all channels.
    """
    if images.ndim == 3:
        return images
    n, height, width, channels = images.shape
    return np.moveaxis(images, 3, 1).reshape(n, channels * height, width)


class _Parts(NamedTuple):
    """Images ``[N, D / 2]`` twice: what the mirror image shares and what changes sign; and squared lengths ``[N]``."""

    same: Images
    turned: Images
    lengths: Array


def _candidates(queries: _Parts, references: _Parts, other: NDArray[np.bool_] | None, known: Array) -> Pairs:
    """Pairs among which the nearest surely is, if it is nearer than what is known already.

    Args:
        queries: N images.
        references: M images.
        other: ``[N, M]``: pairs that count; all where None.
        known: ``[N]``: squared distances known already.

    Returns:
        Numbers of queries, those of mirrored ones plus N, and of references.
    """
    # each of two distances that are compared is wrong by 2 D u |q| |r| at most, which is D u (|q| + |r|)^2 / 2 at most;
    # 32 is room for centring, parts, lengths and sums
    reach = np.sqrt(queries.lengths) + np.sqrt(references.lengths.max())
    slack = (2 * queries.same.shape[1] + 32) * 2.0**-24 * np.square(reach)
    shared = (-2 * queries.same) @ references.same.T
    shared += references.lengths.astype(np.float32)
    if other is not None:
        shared[~other] = np.inf
    changing = (-2 * queries.turned) @ references.turned.T
    squares = np.concatenate([shared + changing, shared - changing])
    least = squares.min(axis=1).reshape(2, -1).min(axis=0) + queries.lengths
    most = np.where(np.isfinite(least), np.minimum(least, known) - queries.lengths + slack, -np.inf)
    asked, given = np.nonzero(squares <= np.tile(most, 2).astype(np.float32)[:, None])
    return asked, given


def _keep_nearest(best: Twins, near: Pairs, queries: Images, references: Images, offset: int) -> None:
    """Measure pairs in float64 and write what is nearer than before into ``best``."""
    asked, given = near
    query, mirrored = asked % len(queries), asked >= len(queries)
    parts = [slice(start, start + _PAIRS) for start in range(0, len(asked), _PAIRS)]
    measured = [_measure(queries[query[part]], mirrored[part], references[given[part]]) for part in parts]
    distances = np.concatenate([np.empty(0), *measured])
    order = np.lexsort((mirrored, given, distances, query))
    order = order[np.unique(query[order], return_index=True)[1]]  # the first of each query
    order = order[distances[order] < best.distances[query[order]]]
    best.rows[query[order]], best.mirrored[query[order]] = given[order] + offset, mirrored[order]
    best.distances[query[order]] = distances[order]


def _measure(queries: Images, mirrored: NDArray[np.bool_], references: Images) -> Array:
    shown = queries.astype(np.float64)
    shown[mirrored] = shown[mirrored, :, ::-1]
    distances: Array = np.sqrt(np.square(shown - references).mean(axis=(1, 2)))
    return distances


def _squared_distances(a: Array, b: Array) -> Array:
    squares: Array = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
    return np.maximum(squares, 0)


@dataclass(frozen=True)
class NearestTraining:
    """Compares images with the training images of a generator.

    Args:
        training: its training images.
        features: also compare in a classifier's features.
    """

    training: PackRows
    features: ClassifierFeatures | None = None

    def measure(self, samples: Images, held_out: Images, picture: Path) -> dict[str, float]:
        """Compare, and write a picture of the first samples.

        Args:
            samples: float32 ``[N, H, W]`` or ``[N, H, W, 3]`` in [0, 1]; the first 256 are compared.
            held_out: real images of patients that the generator did not see, likewise.
            picture: PNG to write: a sample in each line, and the training images nearest to it.

        Returns:
            For ``pixels`` (root of the mean squared difference) and ``features`` (Euclidean): ``nearest_pixels`` and
            ``nearest_pixels_real``, the median distance of samples and of held-out images to their nearest training
            image, and ``nearest_pixels_close``, the share of samples that are nearer to one than the nearest twentieth
            of the held-out images: 0.05 where samples are as new as these.
        """
        samples, held_out = samples[:COMPARED], held_out[:COMPARED]
        values, found = {}, {}
        for space in ("pixels", "features")[: 1 if self.features is None else 2]:
            queries = self._points(np.concatenate([samples, held_out]), space)
            near = find_nearest(queries, (self._points(block, space) for block in self._blocks()), BESIDE)
            values.update(_summary(f"nearest_{space}", near.distances[:, 0], len(samples)))
            found[space] = Neighbours(near.rows[:SHOWN], near.distances[:SHOWN])
        shown = [
            Beside(f"nearest training images in {space}", self._images(near.rows), _captions(near.distances))
            for space, near in found.items()
        ]
        write_picture(picture, samples[:SHOWN], shown)
        return values

    def _points(self, images: Images, space: str) -> Array:
        if space == "features" and self.features is not None:
            return self.features(images).astype(np.float64)
        flat = images.reshape(len(images), -1).astype(np.float64)
        flat /= np.sqrt(flat.shape[1])  # so that a distance is a root mean square
        return flat

    def _blocks(self) -> Iterator[Images]:
        positions = np.arange(len(self.training))
        for start in range(0, len(positions), _BLOCK):
            yield self._images(positions[start : start + _BLOCK])

    def _images(self, positions: NDArray[np.int64]) -> Images:
        """Training images at positions of any shape ``[...]``, as ``[..., H, W]`` or ``[..., H, W, 3]``."""
        found = np.stack([self.training.sample(int(position))[IMAGE].numpy() for position in positions.ravel()])
        pictures = channels_last(found)
        return pictures.reshape(*positions.shape, *pictures.shape[1:])


def _summary(name: str, distances: Array, samples: int) -> dict[str, float]:
    made, real = distances[:samples], distances[samples:]
    return {
        name: float(np.median(made)),
        f"{name}_real": float(np.median(real)),
        f"{name}_close": float((made < np.quantile(real, _CLOSE)).mean()),
    }


# --- the picture ---

_TILE: Final = 96
_SPACE: Final = 4
_GAP: Final = 20
_CAPTION: Final = 16
_HEAD: Final = 24
_GROUND: Final = 16
_INK: Final = 220


class Beside(NamedTuple):
    """What a picture shows beside each sample: a heading, images ``[N, k, H, W]`` (``, 3``), and as many captions."""

    heading: str
    images: Images
    captions: Sequence[Sequence[str]]


def write_picture(path: Path, samples: Images, shown: Sequence[Beside]) -> None:
    """Lay out lines of a sample and its neighbours, in two columns of lines.

    Args:
        path: PNG to write.
        samples: float32 ``[N, H, W]`` or ``[N, H, W, 3]`` in [0, 1].
        shown: what stands beside each.
    """
    from PIL import Image, ImageDraw

    factor = max(1, round(_TILE / max(samples.shape[1:3])))
    high, wide = (side * factor for side in samples.shape[1:3])
    coloured = samples.ndim == 4
    ground, ink = ((_GROUND,) * 3, (_INK,) * 3) if coloured else (_GROUND, _INK)
    edges = _left_edges([group.images.shape[1] for group in shown], wide)
    lines, width, height = -(-len(samples) // 2), edges[-1][-1] + wide + 2 * _GAP, high + _CAPTION + _SPACE
    sheet = Image.new("RGB" if coloured else "L", (2 * width, _HEAD + lines * height), ground)
    draw = ImageDraw.Draw(sheet)
    for k in range(len(samples)):
        left, top = _GAP + k // lines * width, _HEAD + k % lines * height
        for group, places in zip([Beside("sample", samples[:, None], _numbers(samples)), *shown], edges, strict=True):
            if k % lines == 0:
                draw.text((left + places[0], 6), group.heading, fill=ink)
            for image, caption, place in zip(group.images[k], group.captions[k], places, strict=True):
                tile = quantise(image, 8).repeat(factor, axis=0).repeat(factor, axis=1)
                sheet.paste(Image.fromarray(tile), (left + place, top))
                draw.text((left + place, top + high + 2), caption, fill=ink)
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def _left_edges(counts: Sequence[int], wide: int) -> list[list[int]]:
    """Left edges of the tiles of a line, for the sample and each group of neighbours."""
    edges = [[0]]
    for count in counts:
        start = edges[-1][-1] + wide + _GAP
        edges.append([start + k * (wide + _SPACE) for k in range(count)])
    return edges


def _numbers(samples: Images) -> list[list[str]]:
    return [[str(k)] for k in range(len(samples))]


def _captions(distances: Array) -> list[list[str]]:
    return [[f"{distance:.3g}" for distance in line] for line in distances]
