"""Prepare: from a source to a manifest, a pack, a quarantine list, a summary and a contact sheet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from monai_cxraug.artifacts import atomic_path, content_hash, load_json, write_csv, write_json
from monai_cxraug.data.files import FileRef
from monai_cxraug.data.manifest import Manifest, check_manifest
from monai_cxraug.data.pack import Decoded, Progress, build_pack
from monai_cxraug.data.sources.images import list_images
from monai_cxraug.data.sources.listing import Listing
from monai_cxraug.data.sources.native import list_native
from monai_cxraug.data.sources.nih import list_nih
from monai_cxraug.errors import ConfigError, nearest

SUMMARY_SCHEMA = "cxraug.summary/1"
ARTIFACTS = ("manifest.csv", "manifest.json", "pack.npy", "pack.json", "quarantine.csv", "summary.json")
_SHEET_COLUMNS, _SHEET_ROWS, _SHEET_TILE = 10, 6, 96


@dataclass(frozen=True)
class Request:
    """What to prepare.

    Args:
        source: ``nih``, ``phantom``, or ``images`` for radiographs without labels.
        images: folder or zip archive; a phantom set needs none.
        labels: table of labels, when it lies elsewhere.
        lists: folder of split lists, when it lies elsewhere.
        size: side of the square images in pixels.
        count: number of images of a phantom set that is generated.
        seed: of a phantom set and of splits that are cut here.

    Raises:
        ConfigError: the source is unknown, or a number is out of range.
    """

    source: str
    images: str | None = None
    labels: str | None = None
    lists: str | None = None
    size: int = 64
    count: int = 1200
    seed: int = 0

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise ConfigError("source", "unknown source", repr(self.source), nearest(self.source, SOURCES))
        if self.images is None and self.source != "phantom":
            raise ConfigError("--images", f"is required for source {self.source!r}", "nothing", "give --images PATH")
        for name, least in (("size", 4), ("count", 20), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ConfigError(name, f"must be a whole number of at least {least}", repr(value), f"mend {name}")


def _nih(request: Request, out: Path, progress: Progress | None) -> Listing:
    labels, lists = (Path(path) if path else None for path in (request.labels, request.lists))
    return list_nih(Path(request.images or ""), labels, lists)


def _images(request: Request, out: Path, progress: Progress | None) -> Listing:
    return list_images(Path(request.images or ""))


def _phantom(request: Request, out: Path, progress: Progress | None) -> Listing:
    from monai_cxraug.data.sources.phantom.writers import write_native

    folder = Path(request.images) if request.images else out / "phantom"
    if not request.images and not (folder / "labels.csv").exists():
        write_native(folder, request.count, max(request.size, 128), request.seed, progress=progress)
    return list_native(folder, request.seed)


#: source name to the function that lists it; a new source is one entry here.
SOURCES: dict[str, Callable[[Request, Path, Progress | None], Listing]] = {
    "nih": _nih,
    "images": _images,
    "phantom": _phantom,
}


def prepare(request: Request, out: Path, progress: Progress | None = None) -> Path:
    """Make ``out/{manifest.csv, manifest.json, pack.npy, pack.json, quarantine.csv, summary.json, contact_sheet.png}``.

    A folder that already holds the answer to the same request is left as it is; an interrupted one is continued.

    Args:
        request: what to prepare.
        out: folder to fill; made when missing.
        progress: called with (done, total) while images are generated and decoded.

    Returns:
        Path of the manifest.

    Raises:
        CxrAugError: the source is missing, unreadable or breaks a rule; nothing is left half-written.
    """
    out = Path(out)
    listing = SOURCES[request.source](request, out, progress)
    key = request_key(request, listing)
    if _is_done(out, key):
        return out / "manifest.csv"
    # a leak is refused before hours of decoding
    check_manifest(replace(listing.manifest([{}] * len(listing.rows)), path=Path(request.images or out)))
    names = [row["image"] for row in listing.rows]
    outcomes = build_pack(out, listing.files, names, request.size, listing.depth, progress)
    kept = np.flatnonzero([not outcome.reason for outcome in outcomes])
    manifest = listing.manifest([outcome.tags for outcome in outcomes]).select(kept)
    _write_quarantine(out, listing, outcomes)
    _write_contact_sheet(out, manifest)
    _write_summary(out, manifest, outcomes, listing)
    return manifest.write(out, {"request": key})


def prepare_images(images: str | None, manifest: str | None, size: int, out: str | Path) -> Path:
    """Return a manifest of what is to be looked at: the unlabelled images, prepared into ``out``, else the one given.

    Args:
        images: folder, archive or file of radiographs.
        manifest: manifest to fall back to.
        size: side of the square images in pixels.
        out: folder for the prepared images.

    Raises:
        ConfigError: neither is given.
    """
    if images is None and manifest is None:
        raise ConfigError("images", "a value is required", "none", "give --images PATH or --manifest MANIFEST.csv")
    return Path(str(manifest)) if images is None else prepare(Request("images", str(images), size=size), Path(out))


def request_key(request: Request, listing: Listing) -> str:
    """Hash everything that determines the result: the settings, and name, size and time of every file."""
    settings = {name: value for name, value in vars(request).items() if name not in ("images", "labels", "lists")}
    stamps = {str(path): _stamp(path) for path in {file.path for file in listing.files}}
    names = [_member(file) for file in listing.files]
    labels = ["".join(map(str, row)) for row in listing.labels.astype(str).tolist()]
    rows = [sorted(row.items()) for row in listing.rows]
    return content_hash(
        [settings, sorted(stamps.values()), names, rows, listing.findings, labels, sorted(listing.missing)]
    )


def summarise(manifest: Manifest) -> dict[str, Any]:
    """Count what a reader of the data wants to know first.

    Returns:
        Images and patients in all and per split, positives and unknowns per finding and split, views, sexes.
    """
    splits = sorted(set(manifest["split"]))
    rows_of = {split or "none": np.flatnonzero(manifest["split"] == split) for split in splits}
    return {
        "images": len(manifest),
        "patients": len(manifest.patients()),
        "splits": {
            name: {"images": len(rows), "patients": len(manifest.patients(rows))} for name, rows in rows_of.items()
        },
        "findings": {
            finding: {
                name: {"positives": int((values[rows] == 1).sum()), "unknown": int(np.isnan(values[rows]).sum())}
                for name, rows in rows_of.items()
            }
            for finding, values in zip(manifest.findings, manifest.labels.T, strict=True)
        },
        "views": dict(Counter(manifest["view"])),
        "sexes": dict(Counter(manifest["sex"])),
    }


def _is_done(out: Path, key: str) -> bool:
    if not all((out / name).exists() for name in ARTIFACTS):
        return False
    return bool(load_json(out / "manifest.json").get("inputs", {}).get("request") == key)


def _stamp(path: Path) -> list[int]:
    if not path.exists():
        return []
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _member(file: FileRef) -> str:
    return file.member or file.path.name


def _write_quarantine(out: Path, listing: Listing, outcomes: list[Decoded]) -> None:
    unread = [
        (_member(file), outcome.reason) for file, outcome in zip(listing.files, outcomes, strict=True) if outcome.reason
    ]
    write_csv(out / "quarantine.csv", ("file", "reason"), [*unread, *listing.missing.items()])


def _write_summary(out: Path, manifest: Manifest, outcomes: list[Decoded], listing: Listing) -> None:
    unread = sum(bool(outcome.reason) for outcome in outcomes)
    counts = {"quarantined": unread, "missing": len(listing.missing)}
    greyscale = Counter(outcome.tags["greyscale"].split(" ")[0] for outcome in outcomes if not outcome.reason)
    content = {**listing.info, **summarise(manifest), **counts, "greyscale": dict(greyscale)}
    write_json(out / "summary.json", SUMMARY_SCHEMA, content)


def _write_contact_sheet(out: Path, manifest: Manifest) -> None:
    """Sixty images, evenly spread over the manifest, the right way up."""
    from PIL import Image

    pack = np.load(out / "pack.npy", mmap_mode="r")
    rows = np.linspace(0, len(manifest) - 1, min(len(manifest), _SHEET_COLUMNS * _SHEET_ROWS)).astype(int)
    tile, high = _SHEET_TILE, -(-len(rows) // _SHEET_COLUMNS)
    sheet = Image.new("L", (_SHEET_COLUMNS * tile, high * tile))
    for place, row in enumerate(rows):
        grey = (pack[row] // (257 if pack.dtype == np.uint16 else 1)).astype(np.uint8)
        picture = Image.fromarray(grey).resize((tile, tile), Image.Resampling.BILINEAR)
        sheet.paste(picture, (place % _SHEET_COLUMNS * tile, place // _SHEET_COLUMNS * tile))
    with atomic_path(out / "contact_sheet.png") as temporary:
        sheet.save(temporary, format="PNG", optimize=True)
