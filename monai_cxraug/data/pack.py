"""The pack: the images of a manifest, decoded once, memory-mapped. Row k of the pack is row k of the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.artifacts import atomic_path, content_hash, read_json, write_json
from monai_cxraug.data.manifest import Manifest
from monai_cxraug.data.resampling import resize_area
from monai_cxraug.errors import ConfigError, InputError, StateError

SCHEMA = "cxraug.pack/1"

Progress = Callable[[int, int], None]
Image = NDArray[np.float32]


class Pack:
    """Read-only images of one manifest.

    Args:
        folder: holds ``pack.npy`` and ``pack.json``.
        manifest: the manifest of the same folder; its images must be the pack's, in the same order.

    Raises:
        InputError: the pack is missing.
        StateError: the pack was made for other images.
    """

    def __init__(self, folder: str | Path, manifest: Manifest) -> None:
        self.folder = Path(folder)
        info = read_json(self.folder / "pack.json", SCHEMA)
        self.array: NDArray[Any] = _open_array(self.folder / "pack.npy")
        self._stored = self.array.view(np.ndarray)
        if info.get("images") != images_hash(manifest["image"]) or len(self.array) != len(manifest):
            raise StateError(
                self.folder / "pack.npy",
                "row k of the pack must be row k of the manifest",
                "images listed in another order or number",
                "run 'cxraug prepare' again, or restore the order of manifest.csv",
            )

    @property
    def size(self) -> int:
        """Side of the square images in pixels."""
        return int(self.array.shape[1])

    @property
    def channels(self) -> int:
        """1 for grey pictures, 3 for red, green and blue."""
        return channels_of(self.array.shape)

    def image(self, row: int, size: int | None = None) -> Image:
        """Return float32 ``[size, size]`` in [0, 1], or ``[size, size, 3]`` in colour.

        Args:
            row: row of the manifest.
            size: side wanted; default the pack's own. A smaller one is area-averaged.

        Raises:
            ConfigError: the size is larger than the pack's.
        """
        image = to_unit(self.array[row])
        if size is None or size == self.size:
            return image
        self.require_size(size)
        return resize_area(image, size, size)

    def batch(self, rows: Sequence[int] | NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the stored pictures of many rows at about the speed of copying memory.

        :func:`to_unit` turns them into float32 in [0, 1].

        Args:
            rows: rows of the manifest, in any order, repetitions allowed.
            out: array of the result's shape and type to fill, for a caller that uses it again and again.

        Returns:
            uint8 or uint16 ``[len(rows), size, size]``, in colour ``[len(rows), size, size, 3]``; ``out`` where it is
            given.

        Raises:
            IndexError: a row is negative or beyond the last.
        """
        wanted = np.ascontiguousarray(rows, dtype=np.int64)
        if len(wanted) and wanted.view(np.uint64).max() >= len(self._stored):  # a negative one is a huge one
            raise IndexError(f"rows must be from 0 to {len(self._stored) - 1}")
        # "clip" only because numpy copies twice otherwise: nothing is out of range any more
        return np.asarray(self._stored.take(wanted, axis=0, out=out, mode="clip"))

    def require_size(self, size: int) -> None:
        """Refuse to enlarge images."""
        if size > self.size:
            raise ConfigError(
                self.folder / "pack.npy",
                f"images must have at least {size} px",
                f"{self.size} px",
                f"prepare them with --size {size} or larger",
            )

    def require_channels(self, channels: int) -> None:
        """Refuse images of another number of channels: 1 grey, 3 red, green and blue."""
        if channels != self.channels:
            mend = f"prepare them {'with' if channels == 3 else 'without'} --colour"
            raise ConfigError(
                self.folder / "pack.npy", f"images must have {count_channels(channels)}", str(self.channels), mend
            )


def count_channels(channels: int) -> str:
    """``1 channel (grey)``, ``3 channels (colour)``."""
    return f"{channels} channel{'s' * (channels != 1)} ({'grey' if channels == 1 else 'colour'})"


def channels_of(shape: Sequence[int]) -> int:
    """Channels of pictures of which there are several: 1 for ``[N, H, W]``, C for ``[N, H, W, C]``."""
    return 1 if len(shape) == 3 else int(shape[3])


def channels_first(pictures: NDArray[Any]) -> NDArray[Any]:
    """Return pictures ``[N, H, W]`` or ``[N, H, W, C]`` as networks take them: a view ``[N, C, H, W]``."""
    return pictures[:, None] if pictures.ndim == 3 else np.moveaxis(pictures, 3, 1)


def channels_last(pictures: NDArray[Any]) -> NDArray[Any]:
    """Undo :func:`channels_first`: a view ``[N, H, W]`` where there is one channel, else ``[N, H, W, C]``."""
    return pictures[:, 0] if pictures.shape[1] == 1 else np.moveaxis(pictures, 1, 3)


def stored_size(manifest: str | Path) -> int | None:
    """Side of the pictures beside a manifest in pixels, read from ``pack.json`` alone; None where there is none.

    Args:
        manifest: the file, or the folder that holds it.
    """
    path = Path(manifest)
    info = (path if path.is_dir() else path.parent) / "pack.json"
    return int(read_json(info, SCHEMA)["size"]) if info.is_file() else None


def images_hash(images: Iterable[str]) -> str:
    """Hash of the image names in order; ties a pack to its manifest."""
    return content_hash(list(images))


def write_pack(folder: Path, images: NDArray[Any], names: Sequence[str]) -> None:
    """Write images that are in memory already, for example samples of a generator.

    Args:
        folder: where ``pack.npy`` and ``pack.json`` go.
        images: uint8 or uint16 ``[N, H, W]``, or ``[N, H, W, 3]`` in colour.
        names: the manifest's ``image`` column, in order.
    """
    with atomic_path(folder / "pack.npy") as temporary, temporary.open("wb") as stream:
        np.save(stream, images)
    write_info(folder, images.shape, str(images.dtype), names)


def write_info(
    folder: Path, shape: Sequence[int], dtype: str, names: Iterable[str], about: Mapping[str, Any] | None = None
) -> None:
    """Write ``pack.json``.

    Args:
        folder: where the pack is.
        shape: of ``pack.npy``.
        dtype: of ``pack.npy``.
        names: the manifest's ``image`` column, in order.
        about: what else is known: how and from what the pack was made.
    """
    info = {"rows": shape[0], "size": int(shape[1]), "dtype": dtype, "images": images_hash(names)}
    if channels_of(shape) != 1:
        info["channels"] = channels_of(shape)
    write_json(folder / "pack.json", SCHEMA, {**info, **(about or {"inputs": {}})})


def picture_hash(picture: NDArray[Any]) -> str:
    """Sixteen hexadecimal digits that equal pictures share: of the SHA-256 of the stored pixels."""
    return hashlib.sha256(picture.tobytes()).hexdigest()[:16]


def to_unit(stored: NDArray[Any]) -> Image:
    """Return stored uint8 or uint16 pictures as float32 in [0, 1], any shape: :func:`quantise` turned back."""
    unit: Image = np.divide(stored, np.float32(np.iinfo(stored.dtype).max), dtype=np.float32)
    return unit


def quantise(images: Image, depth: int) -> NDArray[Any]:
    """Round [0, 1] to unsigned integers of 8 or 16 bits, any shape."""
    top = 2**depth - 1
    whole: NDArray[Any] = np.rint(np.clip(images, 0, 1) * top).astype(f"uint{depth}")
    return whole


def _open_array(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(path, "pack must exist", "nothing there", "run 'cxraug prepare'") from None
    except (ValueError, OSError, EOFError) as error:
        raise InputError(path, "must be a pack", error, "run 'cxraug prepare' again") from None
    if not isinstance(array, np.ndarray):  # an archive of arrays under the name of one
        raise InputError(path, "must be a pack", type(array).__name__, "run 'cxraug prepare' again")
    shaped = array.ndim == 3 or (array.ndim == 4 and array.shape[3] == 3)
    if not shaped or array.dtype not in (np.uint8, np.uint16):
        found, rule = f"{array.dtype} {array.shape}", "must hold uint8 or uint16 images [N, H, W] or [N, H, W, 3]"
        raise InputError(path, rule, found, "run 'cxraug prepare' again")
    return array
