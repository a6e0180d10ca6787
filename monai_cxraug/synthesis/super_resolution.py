"""Enlarged images: a synthetic set as a network enlarges it, with its papers; or pictures of a folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.artifacts import atomic_path, file_hash, locked, read_json, write_csv, write_json
from monai_cxraug.data.additions import UNREAL
from monai_cxraug.data.contact_sheet import write_contact_sheet
from monai_cxraug.data.copies import AUDIT_FILE, find_audit
from monai_cxraug.data.duplicates import CONTENT
from monai_cxraug.data.files import FileRef, Tree
from monai_cxraug.data.manifest import Manifest, read_manifest
from monai_cxraug.data.mixing import PROVENANCE_SCHEMA, declared_patients, held_out_patients, refuse_seen
from monai_cxraug.data.pack import Pack, picture_hash, quantise, to_unit, write_info
from monai_cxraug.data.pseudonyms import refuse_different_salts
from monai_cxraug.data.readers import IMAGE_SUFFIXES, read_colour, read_radiograph
from monai_cxraug.errors import ConfigError, CxrAugError, InputError, StateError
from monai_cxraug.synthesis.resolvers import Resolver

PICTURES_SCHEMA: Final = "cxraug.enlarged_pictures/1"
PROVENANCE: Final = "provenance.json"
#: where the pictures of a folder go.
PICTURES: Final = "enlarged"
#: what the memorisation audit of the set left beside it.
_AUDIT: Final = ("nearest.csv", "nearest.png")
_OLD: Final = ("manifest.json", PROVENANCE, AUDIT_FILE, *_AUDIT)
_BLOCK: Final = 64

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Given:
    """What is enlarged: a synthetic set, or pictures.

    Args:
        synthetic: the set: its folder or ``manifest.csv``.
        images: folder, zip archive or file of pictures.

    Raises:
        ConfigError: both are given, or neither.
    """

    synthetic: str | Path | None = None
    images: str | Path | None = None

    def __post_init__(self) -> None:
        if (self.synthetic is None) == (self.images is None):
            found = "neither" if self.images is None else "both"
            raise ConfigError("synthetic_set, images", "one of them must be given", found, "give one")


@dataclass(frozen=True)
class EnlargedSet:
    """Writes a synthetic set anew, each image enlarged: manifest, pack, contact sheet and provenance.

    Names, labels and the order of the images stay. ``provenance.json`` carries all that the generator's did, the
    network that enlarged (``resolver``) and what was enlarged (``enlarged``); ``patients_seen`` is the union of both
    networks' patients, so that whatever refuses a generator refuses the enlarged set too.

    Args:
        synthetic: the set: its folder or ``manifest.csv``.
        resolver: the network.
        output_dir: folder to write; empty, or an enlarged set of before.
        manifest: real manifest whose val and test patients neither network must have seen.
        depth: bits of the stored pictures, 8 or 16; default those of the set.
        png: write each picture as ``png/<image>.png`` too, with 8 bits.
        progress: called with (done, n).
    """

    synthetic: str | Path
    resolver: Resolver
    output_dir: str | Path
    manifest: str | Path | None = None
    depth: int | None = None
    png: bool = False
    progress: Progress | None = None

    def run(self) -> Path:
        """Enlarge and write; return the path of the manifest.

        Raises:
            InputError: there is no synthetic set, or an image of it is real.
            LeakageError: generator or network saw a val or test patient of ``manifest``, or the salts of their
                patients' names differ.
            ConfigError: the network takes other images.
            StateError: the folder holds other data, or another process writes there.
        """
        table = read_manifest(self.synthetic)
        pack, out = Pack(table.path.parent, table), Path(self.output_dir)
        provenance = self._provenance(table, pack)
        _require_free(out, table.path.parent)
        out.mkdir(parents=True, exist_ok=True)
        try:
            with locked(out / ".lock"):
                return self._write(out, table, pack, provenance)
        finally:
            with suppress(OSError):  # it holds something: the set, in most cases
                out.rmdir()

    def _provenance(self, table: Manifest, pack: Pack) -> dict[str, Any]:
        """What will lie beside the set, once everything that is refused has been."""
        folder, resolver = table.path.parent, self.resolver
        path = folder / PROVENANCE
        before = read_json(path, PROVENANCE_SCHEMA)
        if not np.isin(table["source"].astype(str), UNREAL).all():
            found, mend = "others", "real images are trained on as they are"
            raise InputError(table.path, f"every image of a synthetic set must be {' or '.join(UNREAL)}", found, mend)
        resolver.require_channels(pack.channels, folder / "pack.npy")
        seen = declared_patients(before, path)
        salts = {str(path): before} if "salt" in before else {}
        if resolver.patients_seen:
            salts[str(resolver.model.path)] = {"salt": resolver.salt}
        if self.manifest is not None:
            salts[str(self.manifest)] = dict(read_manifest(self.manifest).info)
            held_out = held_out_patients(self.manifest)
            refuse_seen(seen, held_out, folder)
            refuse_seen(resolver.patients_seen, held_out, resolver.model.path)
        refuse_different_salts(salts)
        salt = resolver.salt if "salt" not in before and resolver.patients_seen else before.get("salt")
        enlarged = {
            "provenance": file_hash(path),
            "manifest": table.hash(),
            "size": list(pack.array.shape[1:3]),
            "scale": resolver.scale,
            "patients_seen": sorted(seen),
        }
        return {
            **{name: value for name, value in before.items() if name not in ("schema", "version")},
            **({} if salt is None else {"salt": salt}),
            "memorisation_audit": find_audit(folder, before),  # enlarging makes nothing new of a copy
            "patients_seen": sorted(seen | resolver.patients_seen),
            "resolver": resolver.provenance(),
            "enlarged": enlarged,
        }

    def _write(self, out: Path, table: Manifest, pack: Pack, provenance: dict[str, Any]) -> Path:
        for name in _OLD:  # images of one set never stand beside another's papers
            (out / name).unlink(missing_ok=True)
        shutil.rmtree(out / "png", ignore_errors=True)
        names, scale = table["image"].tolist(), self.resolver.scale
        depth = self.depth or pack.array.dtype.itemsize * 8
        contents: list[str] = []
        shape = (len(pack.array), *(side * scale for side in pack.array.shape[1:3]), *pack.array.shape[3:])
        with atomic_path(out / "pack.npy") as temporary, temporary.open("wb") as stream:
            descr = np.lib.format.dtype_to_descr(np.dtype(f"uint{depth}"))
            np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
            for first, pictures in self._enlarged(pack):
                stored = quantise(pictures, depth)
                stream.write(stored.tobytes())
                contents += [picture_hash(picture) for picture in stored]
                if self.png:
                    _write_pngs(out / "png", pictures, names[first : first + len(pictures)])
        write_info(out, shape, f"uint{depth}", names)
        for name in _AUDIT:  # of the images as they were generated; provenance says when
            if (table.path.parent / name).is_file():
                shutil.copyfile(table.path.parent / name, out / name)
        title = f"{table.info.get('name', 'synthetic')}, enlarged {scale} times"
        renewed = {CONTENT: np.array(contents, dtype=object)} if CONTENT in table.columns else {}
        enlarged = replace(table, columns={**table.columns, **renewed}, info={**table.info, "name": title})
        write_contact_sheet(out, enlarged)
        write_json(out / PROVENANCE, PROVENANCE_SCHEMA, provenance)
        inputs = {"set": provenance["enlarged"]["provenance"], "resolver": self.resolver.hash}
        return enlarged.write(out, inputs)

    def _enlarged(self, pack: Pack) -> Iterator[tuple[int, NDArray[np.float32]]]:
        done = 0
        for start in range(0, len(pack.array), _BLOCK):
            for pictures in self.resolver.enlarge(to_unit(pack.batch(_rows(start, pack)))):
                yield done, pictures
                done += len(pictures)
                if self.progress:
                    self.progress(done, len(pack.array))


@dataclass(frozen=True)
class EnlargedPictures:
    """Enlarges the pictures of a folder, an archive or a file, of any size, into PNG files in ``enlarged/``.

    There is no manifest, so that neither training nor evaluation takes these images for radiographs. What cannot be
    read is listed in ``quarantine.csv``. ``provenance.json`` comes last.

    Args:
        images: folder (searched to any depth), zip archive, or one image file.
        resolver: the network.
        output_dir: folder to write; empty, or one of these of before.
        depth: bits of grey PNG files, 8 or 16; default those of each picture, and 8 in colour.
        progress: called with (done, n).
    """

    images: str | Path
    resolver: Resolver
    output_dir: str | Path
    depth: int | None = None
    progress: Progress | None = None

    def run(self) -> Path:
        """Enlarge and write; return the folder of the pictures.

        Raises:
            InputError: there is no picture, or none that can be read.
            StateError: the folder holds other data, or another process writes there.
        """
        files, out = _pictures(Path(self.images)), Path(self.output_dir)
        _require_free(out, Path(self.images), PICTURES_SCHEMA)
        out.mkdir(parents=True, exist_ok=True)
        with locked(out / ".lock"):
            (out / PROVENANCE).unlink(missing_ok=True)
            refused: list[tuple[str, str]] = []
            for number, (name, file) in enumerate(files.items(), start=1):
                try:
                    self._one(file, out / PICTURES / f"{name}.png")  # two names may differ in their suffix alone
                except InputError as error:
                    refused.append((name, str(error)))
                if self.progress:
                    self.progress(number, len(files))
            write_csv(out / "quarantine.csv", ("file", "reason"), refused)
            if len(refused) == len(files):
                raise InputError(self.images, "at least one picture must be readable", refused[0][1], "")
            provenance = {"resolver": self.resolver.provenance(), "pictures": len(files) - len(refused)}
            write_json(out / PROVENANCE, PICTURES_SCHEMA, provenance)
        return out / PICTURES

    def _one(self, file: FileRef, target: Path) -> None:
        from PIL import Image

        read = read_radiograph if self.resolver.channels == 1 else read_colour
        radiograph = read(file.read(), file)
        (made,) = self.resolver.enlarge(radiograph.pixels[None])
        deep = (self.depth or (16 if radiograph.bits > 8 else 8)) == 16 and made.ndim == 3
        with atomic_path(target) as temporary:
            Image.fromarray(quantise(made[0], 16 if deep else 8)).save(temporary, format="PNG")


def enlarge(
    given: Given,
    resolver: Resolver,
    output_dir: str | Path,
    manifest: str | Path | None = None,
    depth: int | None = None,
    png: bool = False,
    progress: Progress | None = None,
) -> EnlargedSet | EnlargedPictures:
    """Return what enlarges a set, or pictures; arguments as of :class:`EnlargedSet` and :class:`EnlargedPictures`.

    Raises:
        ConfigError: the depth is none.
    """
    if depth not in (None, 8, 16) or isinstance(depth, bool):
        raise ConfigError("depth", "must be 8 or 16", repr(depth), "leave it out to keep that of the images")
    if given.synthetic is not None:
        return EnlargedSet(given.synthetic, resolver, output_dir, manifest, depth, png, progress)
    return EnlargedPictures(str(given.images), resolver, output_dir, depth, progress)


def _rows(start: int, pack: Pack) -> NDArray[np.int64]:
    return np.arange(start, min(start + _BLOCK, len(pack.array)))


def _pictures(path: Path) -> dict[str, FileRef]:
    """Every image file by its name within the folder or archive."""
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        return {path.name: FileRef(path)}
    tree = Tree(path)
    found = {name: tree.ref(name) for name in tree.names() if Path(name).suffix.lower() in IMAGE_SUFFIXES}
    if not found:
        rule = f"must hold images ({', '.join(sorted(IMAGE_SUFFIXES))})"
        raise InputError(path, rule, "none", "check the path")
    return found


def _require_free(out: Path, source: Path, schema: str = PROVENANCE_SCHEMA) -> None:
    """Refuse to write over what was given, and over data that are no enlarged images."""
    if out.resolve() == source.resolve():
        raise StateError(out, "must be another folder than the one that is enlarged", "the same", "choose a new folder")
    if any((out / name).exists() for name in ("manifest.json", PROVENANCE, "pack.json")):
        with suppress(CxrAugError):
            if "resolver" in read_json(out / PROVENANCE, schema):
                return
        raise StateError(out, "must hold nothing, or enlarged images", "other data", "choose a new folder")


def _write_pngs(folder: Path, pictures: NDArray[np.float32], names: list[str]) -> None:
    from PIL import Image

    folder.mkdir(exist_ok=True)
    for picture, name in zip(pictures, names, strict=True):
        with atomic_path(folder / f"{name.replace('/', '_')}.png") as temporary:
            Image.fromarray(quantise(picture, 8)).save(temporary, format="PNG")
