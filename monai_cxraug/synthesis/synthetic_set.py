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

from monai_cxraug import __version__
from monai_cxraug.artifacts import atomic_path, locked, write_json
from monai_cxraug.data.copies import AUDIT_FILE
from monai_cxraug.data.manifest import Manifest, make_columns
from monai_cxraug.data.mixing import PROVENANCE_SCHEMA, held_out_patients, refuse_seen
from monai_cxraug.data.pack import quantise, to_unit, write_info
from monai_cxraug.errors import ConfigError, CxrAugError
from monai_cxraug.networks.weights import Model, find_model, load_model
from monai_cxraug.synthesis.audit import NO_MANIFEST, MemorisationAudit
from monai_cxraug.synthesis.draft import Draft
from monai_cxraug.synthesis.generators import Generator, Images, make_generator, ranges, require_whole
from monai_cxraug.synthesis.samples import Samples
from monai_cxraug.synthesis.screening import Panel, Screening, Selection

_SHEET_COLUMNS, _SHEET_ROWS = 10, 6
_PNG, _PARTIAL = "png", ".png.partial"
_NEAREST = ("nearest.csv", "nearest.png", AUDIT_FILE)
_FILES = ("pack.npy", "pack.json", "provenance.json", "contact_sheet.png", "manifest.csv", "manifest.json", *_NEAREST)
#: pixels of the images that are judged at once.
_JUDGED = 2**21

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
        float32 ``[n, H, W]``, in colour ``[n, H, W, 3]``, in [0, 1].
    """
    return make_generator(model).sample(n, model.about["finding"] if finding is None else finding, seed, start)


@dataclass(frozen=True)
class SyntheticSet:
    """Writes samples: ``manifest.csv``, ``manifest.json``, ``pack.npy``, ``pack.json`` and ``provenance.json``.

    With a manifest that holds the generator's training images, the memorisation audit tells in ``provenance.json`` how
    near the images are to these, ``nearest.csv`` lists the nearest one of each and ``nearest.png`` shows ten; otherwise
    the provenance says why it was not run. With a screening, or with ``drop_memorised``, the generator's sequence goes
    on until n images are accepted. They keep their numbers, so that names have gaps.

    Images go to the disk as they are made, so that memory does not grow with their number. The set appears only when
    all its pictures are there: one that was killed leaves what lay in the folder before, or nothing that can be read,
    and a draft, from which the same call goes on.

    Args:
        samples: what is drawn; its n is the number of images that are kept.
        output_dir: folder to write.
        manifest: real manifest; the generator's training images in it serve the audit and the cross-fitted rule.
        progress: called with (done, n).
        depth: bits of the stored pictures, 8 or 16.
        crop: height and width of the centred part to keep; default everything.
        png: write each picture as ``png/<image>.png`` too, with 8 bits.
        screening: judges and their rules; None accepts every image.
        drop_memorised: reject images that the memorisation audit counts as near a training image.
        cap: give up when ``cap`` times n images have been drawn.
        held_out: patients that generator and judges must not have seen; default the val and test patients of
            ``manifest``. Where folds are trained on, whatever the splits, the experiment says who they are.
    """

    samples: Samples
    output_dir: str | Path
    manifest: str | Path | None = None
    progress: Progress | None = None
    depth: int = 8
    crop: Sequence[int] | None = None
    png: bool = False
    screening: Screening | None = None
    drop_memorised: bool = False
    cap: int = 20
    held_out: frozenset[str] | None = None

    def run(self) -> Path:
        """Sample and write.

        Returns:
            Path of the manifest.

        Raises:
            LabelError: the generator does not make this finding, or a judge does not know one.
            LeakageError: generator or judge saw a patient who is held out, or no judge is out of fold for a patient.
            ConfigError: a number is out of range, or something needs a manifest.
            StateError: no generator, another process writes into the folder, or too few images are accepted.
        """
        if self.depth not in (8, 16):
            raise ConfigError("depth", "must be 8 or 16", repr(self.depth), "give --depth 8")
        require_whole("cap", self.cap, 1)
        generator = self.samples.generator
        self.samples.labels(self.samples.n)  # refuses what cannot be made
        part, origin = self._kept_part(generator), generator.provenance()
        selection, not_audited = self._selection(generator, frozenset(origin["patients_seen"]))
        out = Path(self.output_dir)
        out.mkdir(parents=True, exist_ok=True)
        try:
            with locked(out / ".lock"):
                return self._write(out, generator, selection, part, (origin, not_audited))
        finally:
            with suppress(OSError):  # it holds something: the set, in most cases
                out.rmdir()

    def _selection(self, generator: Generator, seen: frozenset[str]) -> tuple[Selection, str]:
        """What accepts images, and why there is no audit, if there is none."""
        audit, panel = self._audit(generator, seen)
        if self.drop_memorised and isinstance(audit, str):
            raise ConfigError("drop_memorised", "needs the memorisation audit", audit, "give the training manifest")
        if isinstance(audit, str):
            return Selection(panel), audit
        return Selection(panel, audit, self.drop_memorised), ""

    def _audit(self, generator: Generator, seen: frozenset[str]) -> tuple[MemorisationAudit | str, Panel | None]:
        size, channels, finding = min(generator.size), generator.channels, str(self.samples.finding)
        if self.manifest is None:
            judged = None if self.screening is None else self.screening.prepare(finding, size, channels=channels)
            return NO_MANIFEST, judged
        held_out = held_out_patients(self.manifest) if self.held_out is None else self.held_out
        refuse_seen(seen, held_out, find_model(self.samples.where))
        panel, about = None, load_model(self.samples.where).about
        if self.screening is not None:
            panel = self.screening.prepare(finding, size, held_out, self.manifest, about, channels)
        return MemorisationAudit.of(about, self.manifest, size, channels), panel

    def _write(
        self,
        out: Path,
        generator: Generator,
        selection: Selection,
        part: tuple[slice, slice],
        origin: tuple[dict[str, Any], str],
    ) -> Path:
        _sweep(out)
        draft = self._draft(out, generator, origin[0])
        coloured = [generator.channels] if generator.channels != 1 else []
        shape = (self.samples.n, *(side.stop - side.start for side in part), *coloured)
        sheet = np.empty((min(self.samples.n, _SHEET_COLUMNS * _SHEET_ROWS), *shape[1:]), dtype=np.uint8)
        try:
            with atomic_path(out / "pack.npy") as temporary, temporary.open("wb") as stream:
                descr = np.lib.format.dtype_to_descr(np.dtype(f"uint{self.depth}"))
                header = {"descr": descr, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(stream, header)
                for first, images in self._accepted(generator, selection, draft):
                    kept = images[:, part[0], part[1]]
                    stream.write(kept.tobytes())
                    shown = kept if self.depth == 8 else quantise(to_unit(kept), 8)
                    sheet[first : first + len(shown)] = shown[: max(0, len(sheet) - first)]
                    if self.png:
                        _write_pngs(out / _PARTIAL, shown, self._names(selection.numbers[first:]))
                _withdraw(out)
        except BaseException as error:
            _sweep(out)
            if isinstance(error, CxrAugError):  # too few were accepted, and would be again
                draft.remove()
            raise
        if self.png:
            (out / _PARTIAL).rename(out / _PNG)
        names = self._names(selection.numbers)
        write_info(out, shape, f"uint{self.depth}", names)
        provenance = self._provenance(selection, names, shape, *origin)
        if selection.audit is not None and selection.shown is not None:
            selection.audit.write_table(out / "nearest.csv", names, selection.found)
            selection.audit.draw(out / "nearest.png", np.stack(selection.shown[0]), selection.shown[1])
        write_json(out / "provenance.json", PROVENANCE_SCHEMA, provenance)
        _write_contact_sheet(out, sheet)
        table = self._table(generator, selection.numbers, names)
        written = table.write(out, {"generator": provenance["generator"]["sha256"]})
        draft.remove()
        return written

    def _draft(self, out: Path, generator: Generator, origin: dict[str, Any]) -> Draft:
        samples = self.samples
        what = {
            "version": __version__,
            "origin": origin,
            "finding": samples.finding,
            "seed": samples.seed,
            "start": samples.start,
            "made": [str(samples.device), type(samples.inferer).__name__, generator.chunk],
            "depth": self.depth,
        }
        coloured = () if generator.channels == 1 else (generator.channels,)
        return Draft(out, what, (*generator.size, *coloured), f"uint{self.depth}")

    def _stored(self, draft: Draft, first: int, count: int) -> NDArray[Any]:
        """Images as they will be stored, but whole; those that a killed run has made are not made again."""
        place = first - self.samples.start
        stored = draft.read(place, count)
        if stored is None:
            stored = quantise(self.samples.images(first, count), self.depth)
            draft.write(place, stored)
        return stored

    def _accepted(self, generator: Generator, selection: Selection, draft: Draft) -> Iterator[tuple[int, NDArray[Any]]]:
        """Rows of the set and their images, some at a time; they are judged as they will be stored, but whole."""
        done = 0
        for first, count in self._ranges(generator, selection):
            images = self._stored(draft, first, count)
            if selection.judging or selection.audit is not None:
                images = images[selection.choose(first, to_unit(images), self.samples.n - done)]
            else:
                selection.accept_all(first, count)
            yield done, images
            done += len(images)
            if self.progress:
                self.progress(done, self.samples.n)
        if done < self.samples.n:
            raise selection.refusal(self.output_dir, self.samples.n)

    def _ranges(self, generator: Generator, selection: Selection) -> Iterator[tuple[int, int]]:
        """Images to make at once (first, count): as many as the generator does, or as are judged at once."""
        if not selection.judging and selection.audit is None:
            yield from ranges(generator, self.samples.n, self.samples.start)
            return
        chunks = max(1, _JUDGED // (generator.chunk * generator.channels * generator.size[0] * generator.size[1]))
        first = self.samples.start
        end = first + (self.cap if selection.judging else 1) * self.samples.n
        while first < end and (left := self.samples.n - len(selection.numbers)):
            wanted = min(chunks, -(-left // generator.chunk) * (2 if selection.judging else 1))
            count = min(end - first, wanted * generator.chunk - first % generator.chunk)
            yield first, count
            first += count

    def _names(self, numbers: Sequence[int]) -> list[str]:
        stem = re.sub(r"[^\w.-]+", "_", str(self.samples.finding))  # it becomes part of a file's name
        return [f"{stem}-{self.samples.seed}-{number:06d}" for number in numbers]

    def _table(self, generator: Generator, numbers: Sequence[int], names: Sequence[str]) -> Manifest:
        drawn = self.samples.labels(numbers[-1] - self.samples.start + 1)
        labels = drawn[np.array(numbers) - self.samples.start]
        rows = [{"image": name, "split": "train", "source": "synthetic"} for name in names]
        return Manifest(make_columns(rows), generator.findings, labels, {"name": f"synthetic {self.samples.finding}"})

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

    def _provenance(
        self, selection: Selection, names: Sequence[str], shape: tuple[int, ...], origin: dict[str, Any], reason: str
    ) -> dict[str, Any]:
        if selection.panel is not None:  # what its judges let through carries what they learnt
            seen = frozenset(origin["patients_seen"]) | selection.panel.patients_seen
            origin = {**origin, "patients_seen": sorted(seen)}
        return {
            **origin,
            "seed": self.samples.seed,
            "start": self.samples.start,
            "finding": self.samples.finding,
            "n": self.samples.n,
            "crop": None if self.crop is None else list(shape[1:3]),
            **selection.record(names, reason),
        }


def _sweep(out: Path) -> None:
    """Remove what a killed run left half-written."""
    shutil.rmtree(out / _PARTIAL, ignore_errors=True)
    for name in _FILES:
        for file in out.glob(f".{name}.*"):
            file.unlink()


def _withdraw(out: Path) -> None:
    """Take away what makes a set of the files that lie here: images of one never stand beside another's papers."""
    for name in ("provenance.json", "manifest.json", *_NEAREST):
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

    height, width, *coloured = shown.shape[1:]
    high, wide = -(-len(shown) // _SHEET_COLUMNS) * height, _SHEET_COLUMNS * width
    sheet = np.zeros((high, wide, *coloured), dtype=np.uint8)
    for place, image in enumerate(shown):
        top, left = place // _SHEET_COLUMNS * height, place % _SHEET_COLUMNS * width
        sheet[top : top + height, left : left + width] = image
    scale = max(1, 96 // max(height, width))
    with atomic_path(out / "contact_sheet.png") as temporary:
        Image.fromarray(sheet.repeat(scale, 0).repeat(scale, 1)).save(temporary, format="PNG")
