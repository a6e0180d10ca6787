"""The synthetic set: images of a generator with their manifest, pack and provenance."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.artifacts import atomic_path, locked, write_json
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.mixing import PROVENANCE_SCHEMA, held_out_patients, refuse_seen
from monai_cxraug.data.pack import quantise, write_info
from monai_cxraug.errors import ConfigError
from monai_cxraug.networks.weights import Model, find_model
from monai_cxraug.synthesis.generators import Generator, Images, load_generator, make_generator, ranges

_SHEET_COLUMNS, _SHEET_ROWS = 10, 6
_PNG, _PARTIAL = "png", ".png.partial"
_FILES = ("pack.npy", "pack.json", "provenance.json", "contact_sheet.png", "manifest.csv", "manifest.json")

Progress = Callable[[int, int], None]


def sample_images(model: Model, n: int, seed: int, start: int = 0, finding: str | None = None) -> Images:
    """Sample a generator on the device of its network.

    Args:
        model: a generator.
        n: number of images.
        seed: of the latents.
        start: number of the first image; image k depends on the seed and k alone.
        finding: what to show; default the one it was trained on.

    Returns:
        float32 ``[n, H, W]`` in [0, 1].
    """
    return make_generator(model).sample(n, model.about["finding"] if finding is None else finding, seed, start)


@dataclass(frozen=True)
class SyntheticSet:
    """Samples one generator into ``manifest.csv``, ``manifest.json``, ``pack.npy``, ``pack.json``, ``provenance.json``.

    Images go to the disk as they are made, so that memory does not grow with their number. The set appears only when
    all its pictures are there: one that was killed leaves what lay in the folder before, or nothing that can be read,
    and the same call makes it anew.

    Args:
        generator: model file, generator folder of a run, or bundle folder.
        finding: the finding to show: the one it was trained on, or any that a conditional generator has learnt.
        n: number of images.
        seed: of the latents.
        output_dir: folder to write.
        manifest: real manifest whose val and test patients the generator must not have seen.
        progress: called with (done, n).
        start: number of the first image; sets of one seed and other ranges share no image.
        truncation: from 0 (all images equal) to 1 (full variety); see the generator.
        depth: bits of the stored pictures, 8 or 16.
        crop: height and width of the centred part to keep; default everything.
        png: write each picture as ``png/<image>.png`` too, with 8 bits.
        device: where the images are made; default a GPU where there is one.
    """

    generator: str | Path
    finding: str | None
    n: int
    seed: int
    output_dir: str | Path
    manifest: str | Path | None = None
    progress: Progress | None = None
    start: int = 0
    truncation: float = 1.0
    depth: int = 8
    crop: Sequence[int] | None = None
    png: bool = False
    device: str | None = None

    def run(self) -> Path:
        """Sample and write.

        Returns:
            Path of the manifest.

        Raises:
            LabelError: the generator does not make this finding.
            LeakageError: the generator saw a val or test patient of ``manifest``.
            ConfigError: a number is out of range.
            StateError: no generator, or another process writes into the folder.
        """
        if self.depth not in (8, 16):
            raise ConfigError("depth", "must be 8 or 16", repr(self.depth), "give --depth 8")
        generator = load_generator(self.generator, self.truncation, self.device)
        manifest, origin = self._table(generator), generator.provenance()
        if self.manifest is not None:
            refuse_seen(
                frozenset(origin["patients_seen"]), held_out_patients(self.manifest), find_model(self.generator)
            )
        part = self._kept_part(generator)
        out = Path(self.output_dir)
        out.mkdir(parents=True, exist_ok=True)
        with locked(out / ".lock"):
            return self._write(out, generator, manifest, origin, part)

    def _write(
        self, out: Path, generator: Generator, manifest: Manifest, origin: dict[str, Any], part: tuple[slice, slice]
    ) -> Path:
        _sweep(out)
        names = list(manifest["image"])
        shape = (self.n, *(side.stop - side.start for side in part))
        sheet = np.empty((min(self.n, _SHEET_COLUMNS * _SHEET_ROWS), *shape[1:]), dtype=np.uint8)
        with atomic_path(out / "pack.npy") as temporary, temporary.open("wb") as stream:
            descr = np.lib.format.dtype_to_descr(np.dtype(f"uint{self.depth}"))
            header = {"descr": descr, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(stream, header)
            for first, images in self._images(generator, part):
                stream.write(quantise(images, self.depth).tobytes())
                shown = quantise(images, 8)
                sheet[first : first + len(shown)] = shown[: max(0, len(sheet) - first)]
                if self.png:
                    _write_pngs(out / _PARTIAL, shown, names[first : first + len(shown)])
            _withdraw(out)
        if self.png:
            (out / _PARTIAL).rename(out / _PNG)
        write_info(out, shape, f"uint{self.depth}", names)
        write_json(out / "provenance.json", PROVENANCE_SCHEMA, {**origin, **self._about(shape)})
        _write_contact_sheet(out, sheet)
        return manifest.write(out, {"generator": origin["generator"]["sha256"]})

    def _images(self, generator: Generator, part: tuple[slice, slice]) -> Iterator[tuple[int, Images]]:
        """Rows of the set and their images, as many at once as the generator makes."""
        done = 0
        for first, count in ranges(generator, self.n, self.start):
            yield done, generator.sample(count, str(self.finding), self.seed, first)[:, part[0], part[1]]
            done += count
            if self.progress:
                self.progress(done, self.n)

    def _table(self, generator: Generator) -> Manifest:
        labels = generator.labels(self.n, str(self.finding), self.seed, self.start)
        stem = re.sub(r"[^\w.-]+", "_", str(self.finding))  # it becomes part of a file's name
        names = [f"{stem}-{self.seed}-{number:06d}" for number in range(self.start, self.start + self.n)]
        rows = [{"image": name, "split": "train", "source": "synthetic"} for name in names]
        return Manifest(make_columns(rows), generator.findings, labels, {"name": f"synthetic {self.finding}"})

    def _kept_part(self, generator: Generator) -> tuple[slice, slice]:
        """Rows and columns of the pictures that the crop leaves."""
        sides = generator.size
        if self.crop is None:
            return slice(0, sides[0]), slice(0, sides[1])
        kept = tuple(self.crop) if isinstance(self.crop, Sequence) else ()
        whole = all(isinstance(side, int) and not isinstance(side, bool) for side in kept)
        if len(kept) != 2 or not whole or not all(1 <= one <= full for one, full in zip(kept, sides, strict=True)):
            rule = f"must be height and width, from 1 to {sides[0]} and {sides[1]} pixels"
            raise ConfigError("crop", rule, repr(self.crop), "give --crop H W")
        top, left = ((full - one) // 2 for one, full in zip(kept, sides, strict=True))
        return slice(top, top + kept[0]), slice(left, left + kept[1])

    def _about(self, shape: tuple[int, ...]) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "start": self.start,
            "finding": self.finding,
            "n": self.n,
            "crop": None if self.crop is None else list(shape[1:]),
            "filters": [],
            "acceptance_rate": 1.0,
            "memorisation_audit": None,
        }


def _sweep(out: Path) -> None:
    """Remove what a killed run left half-written."""
    shutil.rmtree(out / _PARTIAL, ignore_errors=True)
    for name in _FILES:
        for file in out.glob(f".{name}.*"):
            file.unlink()


def _withdraw(out: Path) -> None:
    """Take away what makes a set of the files that lie here: images of one never stand beside another's papers."""
    for name in ("provenance.json", "manifest.json"):
        (out / name).unlink(missing_ok=True)
    for picture in (out / _PNG).glob("*.png"):
        picture.unlink()
    with suppress(OSError):  # there is none, or it holds something else
        (out / _PNG).rmdir()


def _write_pngs(folder: Path, images: NDArray[np.uint8], names: Sequence[str]) -> None:
    from PIL import Image

    folder.mkdir(exist_ok=True)
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(folder / f"{name}.png")


def _write_contact_sheet(out: Path, shown: NDArray[np.uint8]) -> None:
    from PIL import Image

    height, width = shown.shape[1:]
    sheet = np.zeros((-(-len(shown) // _SHEET_COLUMNS) * height, _SHEET_COLUMNS * width), dtype=np.uint8)
    for place, image in enumerate(shown):
        top, left = place // _SHEET_COLUMNS * height, place % _SHEET_COLUMNS * width
        sheet[top : top + height, left : left + width] = image
    scale = max(1, 96 // max(height, width))
    with atomic_path(out / "contact_sheet.png") as temporary:
        Image.fromarray(sheet.repeat(scale, 0).repeat(scale, 1)).save(temporary, format="PNG")
