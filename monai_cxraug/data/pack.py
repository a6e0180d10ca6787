"""The pack: the images of a manifest, decoded once, memory-mapped. Row k of the pack is row k of the manifest."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_cxraug import __version__
from monai_cxraug.artifacts import atomic_path, content_hash, read_json, write_json, write_text
from monai_cxraug.data.files import FileRef
from monai_cxraug.data.manifest import Manifest
from monai_cxraug.data.readers import read_radiograph
from monai_cxraug.data.resampling import fit_square, resize_area
from monai_cxraug.errors import ConfigError, CxrAugError, InputError, StateError

SCHEMA = "cxraug.pack/1"
_CHUNK = 256
_WORTH_A_POOL = 2_000

Progress = Callable[[int, int], None]
Image = NDArray[np.float32]


@dataclass(frozen=True)
class Decoded:
    """Outcome of one file: tags of the image, or the reason it went to quarantine."""

    tags: dict[str, str]
    reason: str = ""


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

    def image(self, row: int, size: int | None = None) -> Image:
        """Return float32 ``[size, size]`` in [0, 1].

        Args:
            row: row of the manifest.
            size: side wanted; default the pack's own. A smaller one is area-averaged.

        Raises:
            ConfigError: the size is larger than the pack's.
        """
        top = np.float32(np.iinfo(self.array.dtype).max)
        image: Image = self.array[row].astype(np.float32) / top
        if size is None or size == self.size:
            return image
        self.require_size(size)
        return resize_area(image, size, size)

    def require_size(self, size: int) -> None:
        """Refuse to enlarge images."""
        if size > self.size:
            raise ConfigError(
                self.folder / "pack.npy",
                f"images must have at least {size} px",
                f"{self.size} px",
                f"prepare them with --size {size} or larger",
            )


def images_hash(images: Iterable[str]) -> str:
    """Hash of the image names in order; ties a pack to its manifest."""
    return content_hash(list(images))


def write_pack(folder: Path, images: NDArray[Any], names: Sequence[str]) -> None:
    """Write images that are in memory already, for example samples of a generator.

    Args:
        folder: where ``pack.npy`` and ``pack.json`` go.
        images: uint8 or uint16 ``[N, H, W]``.
        names: the manifest's ``image`` column, in order.
    """
    with atomic_path(folder / "pack.npy") as temporary, temporary.open("wb") as stream:
        np.save(stream, images)
    _write_info(folder, images, names, {})


def build_pack(
    folder: Path,
    files: Sequence[FileRef],
    names: Sequence[str],
    size: int,
    depth: int,
    progress: Progress | None = None,
    workers: int | None = None,
) -> list[Decoded]:
    """Decode files into a pack, skipping what cannot be read; continues after an interruption.

    Finished chunks are journalled in ``.pack.progress``, so that a killed run goes on where it stopped. The pack takes
    its name only when every file has an outcome.

    Args:
        folder: where ``pack.npy`` and ``pack.json`` go.
        files: where the images lie.
        names: the manifest's ``image`` column, one name a file.
        size: side of the square images in pixels.
        depth: 8 or 16 bits per pixel.
        progress: called with (done, total).
        workers: processes; default one per core for thousands of files, else none.

    Returns:
        One outcome per file. The pack holds the readable ones, in order.

    Raises:
        InputError: no file could be read; nothing is left behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    job = _Job.start(folder, files, size, depth)
    pending = [chunk for chunk in range(0, len(files), _CHUNK) if chunk not in job.done]
    done = len(files) - sum(min(_CHUNK, len(files) - chunk) for chunk in pending)
    for chunk, images, outcomes in _decode(files, pending, size, depth, _worker_count(len(files), workers)):
        job.record(chunk, images, outcomes)
        done += len(outcomes)
        if progress:
            progress(done, len(files))
    return job.finish(names)


class _Job:
    """A pack in the making: the growing array and the journal of its finished chunks."""

    def __init__(self, folder: Path, shape: tuple[int, int, int], depth: int, key: str) -> None:
        self.folder, self.shape, self.dtype, self.key = folder, shape, np.dtype(f"uint{depth}"), key
        self.data, self.journal = folder / ".pack.partial", folder / ".pack.progress"
        self.done: dict[int, list[Decoded]] = {}

    @classmethod
    def start(cls, folder: Path, files: Sequence[FileRef], size: int, depth: int) -> _Job:
        stamps = [[str(file), file.path.stat().st_mtime_ns if file.path.exists() else 0] for file in files]
        key = content_hash([stamps, size, depth, _CHUNK, __version__])
        job = cls(folder, (len(files), size, size), depth, key)
        if job.data.exists() and job.journal.exists():
            job._load()
        job._write_journal()
        if not job.done:
            np.memmap(job.data, job.dtype, "w+", shape=job.shape).flush()
        return job

    def _load(self) -> None:
        # a line without its end was cut off by the interruption
        lines = [line for line in self.journal.read_text().splitlines(keepends=True) if line.endswith("\n")]
        if lines and json.loads(lines[0]) == {"key": self.key}:
            for chunk, outcomes in map(json.loads, lines[1:]):
                self.done[chunk] = [Decoded(*outcome) for outcome in outcomes]

    def _write_journal(self) -> None:
        lines = [json.dumps({"key": self.key}), *(self._line(chunk) for chunk in sorted(self.done))]
        write_text(self.journal, "".join(f"{line}\n" for line in lines))

    def _line(self, chunk: int) -> str:
        return json.dumps([chunk, [[one.tags, one.reason] for one in self.done[chunk]]])

    def record(self, chunk: int, images: NDArray[Any], outcomes: list[Decoded]) -> None:
        array = np.memmap(self.data, self.dtype, "r+", shape=self.shape)
        array[chunk : chunk + len(images)] = images
        array.flush()
        self.done[chunk] = outcomes
        with self.journal.open("a") as stream:
            stream.write(self._line(chunk) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def finish(self, names: Sequence[str]) -> list[Decoded]:
        outcomes = [outcome for chunk in sorted(self.done) for outcome in self.done[chunk]]
        kept = [row for row, outcome in enumerate(outcomes) if not outcome.reason]
        if not kept:
            self._clear()
            with contextlib.suppress(OSError):
                self.folder.rmdir()  # unless it holds something else
            found = f"none of {len(outcomes)}; the first is {outcomes[0].reason}"
            raise InputError(self.folder, "at least one image must be readable", found, "check --images")
        array = np.memmap(self.data, self.dtype, "r", shape=self.shape)
        # the manifest of what this folder held before; the new one comes last and says that the folder is complete
        (self.folder / "manifest.json").unlink(missing_ok=True)
        write_pack(self.folder, array if len(kept) == len(outcomes) else array[kept], [names[row] for row in kept])
        self._clear()
        return outcomes

    def _clear(self) -> None:
        self.data.unlink()
        self.journal.unlink()


def _decode(
    files: Sequence[FileRef], chunks: list[int], size: int, depth: int, workers: int
) -> Iterator[tuple[int, NDArray[Any], list[Decoded]]]:
    jobs = [(chunk, files[chunk : chunk + _CHUNK], size, depth) for chunk in chunks]
    if workers <= 1:
        yield from map(_decode_chunk, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_decode_chunk, jobs)


def _decode_chunk(job: tuple[int, Sequence[FileRef], int, int]) -> tuple[int, NDArray[Any], list[Decoded]]:
    chunk, files, size, depth = job
    images = np.zeros((len(files), size, size), dtype=f"uint{depth}")
    outcomes = []
    for row, file in enumerate(files):
        try:
            radiograph = read_radiograph(file.read(), file)
        except CxrAugError as error:
            outcomes.append(Decoded({}, str(error)))
            continue
        images[row] = quantise(fit_square(radiograph.pixels, size), depth)
        outcomes.append(Decoded({**radiograph.tags, "greyscale": radiograph.greyscale}))
    return chunk, images, outcomes


def quantise(images: Image, depth: int) -> NDArray[Any]:
    """Round [0, 1] to unsigned integers of 8 or 16 bits, any shape."""
    top = 2**depth - 1
    whole: NDArray[Any] = np.rint(np.clip(images, 0, 1) * top).astype(f"uint{depth}")
    return whole


def _worker_count(files: int, workers: int | None) -> int:
    if workers is not None:
        return workers
    return (os.cpu_count() or 1) if files >= _WORTH_A_POOL else 1


def _write_info(folder: Path, images: NDArray[Any], names: Sequence[str], inputs: dict[str, str]) -> None:
    info = {"rows": len(images), "size": int(images.shape[1]), "dtype": str(images.dtype), "images": images_hash(names)}
    write_json(folder / "pack.json", SCHEMA, {**info, "inputs": inputs})


def _open_array(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(path, "pack must exist", "nothing there", "run 'cxraug prepare'") from None
    except (ValueError, OSError) as error:
        raise InputError(path, "must be a pack", error, "run 'cxraug prepare' again") from None
    if array.ndim != 3 or array.dtype not in (np.uint8, np.uint16):
        found = f"{array.dtype} {array.shape}"
        raise InputError(path, "must hold uint8 or uint16 images [N, H, W]", found, "run 'cxraug prepare' again")
    return array
