"""Images of a set in the making, on the disk as they are made: a sampling that was killed makes none of them again."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.artifacts import content_hash

_PREFIX: Final = ".draft."
_CHECKSUM: Final = 4


class Draft:
    """A file of images in the order in which they are made.

    A record is an image as it will be stored and its CRC-32: a kill cuts records, and disks err. What is cut or wrong
    ends the draft, and is made again with all that comes after it.

    Args:
        folder: of the set. A draft of other images that lies there is thrown away.
        what: all that decides the images, as JSON values.
        shape: of one image.
        dtype: of its pixels.
    """

    def __init__(self, folder: Path, what: dict[str, Any], shape: tuple[int, ...], dtype: str) -> None:
        self._path = folder / f"{_PREFIX}{content_hash(what)[:16]}"
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._record = int(np.prod(shape)) * self._dtype.itemsize + _CHECKSUM
        for other in folder.glob(f"{_PREFIX}*"):
            if other != self._path:
                other.unlink()
        self._path.touch()

    def read(self, place: int, count: int) -> NDArray[Any] | None:
        """Return ``count`` images from a place on, ``[count, ...]``; None where they are not all there."""
        with self._path.open("rb") as stream:
            stream.seek(place * self._record)
            records = [stream.read(self._record) for _ in range(count)]
        if any(len(one) < self._record or _seal(one[:-_CHECKSUM]) != one[-_CHECKSUM:] for one in records):
            return None
        pixels = b"".join(one[:-_CHECKSUM] for one in records)
        return np.frombuffer(pixels, self._dtype).reshape(count, *self._shape)

    def write(self, place: int, images: NDArray[Any]) -> None:
        """Keep images from a place on, ``[N, ...]``; what lay there and behind is given up."""
        pixels = [image.tobytes() for image in images]
        with self._path.open("r+b") as stream:
            stream.truncate(place * self._record)
            stream.seek(place * self._record)
            stream.write(b"".join(part for one in pixels for part in (one, _seal(one))))

    def remove(self) -> None:
        """Take the file away: the set is there, or will never be."""
        self._path.unlink(missing_ok=True)


def _seal(pixels: bytes) -> bytes:
    return zlib.crc32(pixels).to_bytes(_CHECKSUM, "little")
