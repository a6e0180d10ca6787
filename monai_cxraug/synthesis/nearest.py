"""Does a generator repeat its training images? Samples beside the training images nearest to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_cxraug.artifacts import atomic_path
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.pack import quantise
from monai_cxraug.keys import IMAGE
from monai_cxraug.synthesis.features import ClassifierFeatures

Array = NDArray[np.float64]
Images = NDArray[np.float32]

#: samples in the picture, and training images beside each.
SHOWN: Final = 16
BESIDE: Final = 3
#: at most so many samples, and held-out images, are compared with the training images.
COMPARED: Final = 256
_BLOCK: Final = 256
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
            samples: float32 ``[N, H, W]`` in [0, 1]; the first 256 are compared.
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
        shown = {space: (self._images(near.rows), near.distances) for space, near in found.items()}
        _write_picture(picture, samples[:SHOWN], shown)
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
        """Training images at positions of any shape ``[...]``, as ``[..., H, W]``."""
        found = [self.training.sample(int(position))[IMAGE][0].numpy() for position in positions.ravel()]
        return np.stack(found).reshape(*positions.shape, *found[0].shape)


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


def _write_picture(path: Path, samples: Images, shown: Mapping[str, tuple[Images, Array]]) -> None:
    """Lay out lines of a sample and its neighbours, in two columns of lines."""
    from PIL import Image, ImageDraw

    factor = max(1, round(_TILE / max(samples.shape[1:])))
    high, wide = (side * factor for side in samples.shape[1:])
    edges = _left_edges([images.shape[1] for images, _ in shown.values()], wide)
    lines, width, height = -(-len(samples) // 2), edges[-1][-1] + wide + 2 * _GAP, high + _CAPTION + _SPACE
    sheet = Image.new("L", (2 * width, _HEAD + lines * height), _GROUND)
    draw = ImageDraw.Draw(sheet)
    for k in range(len(samples)):
        left, top = _GAP + k // lines * width, _HEAD + k % lines * height
        for (heading, images, captions), places in zip(_groups(k, samples, shown), edges, strict=True):
            if k % lines == 0:
                draw.text((left + places[0], 6), heading, fill=_INK)
            for image, caption, place in zip(images, captions, places, strict=True):
                tile = quantise(image, 8).repeat(factor, axis=0).repeat(factor, axis=1)
                sheet.paste(Image.fromarray(tile), (left + place, top))
                draw.text((left + place, top + high + 2), caption, fill=_INK)
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def _left_edges(counts: Sequence[int], wide: int) -> list[list[int]]:
    """Left edges of the tiles of a line, for the sample and each group of neighbours."""
    edges = [[0]]
    for count in counts:
        start = edges[-1][-1] + wide + _GAP
        edges.append([start + k * (wide + _SPACE) for k in range(count)])
    return edges


def _groups(
    k: int, samples: Images, shown: Mapping[str, tuple[Images, Array]]
) -> Iterator[tuple[str, Images, list[str]]]:
    """Heading, images and captions of the k-th sample and of its neighbours in each space."""
    yield "sample", samples[k : k + 1], [str(k)]
    for space, (images, distances) in shown.items():
        yield f"nearest training images in {space}", images[k], [f"{distance:.3g}" for distance in distances[k]]
