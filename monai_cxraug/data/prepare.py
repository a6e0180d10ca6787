"""Prepare: from a source to a manifest, a pack, lists of what was left out, a summary and a contact sheet."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from monai_cxraug import __version__
from monai_cxraug.artifacts import content_hash, load_json, locked, write_csv, write_json
from monai_cxraug.data.contact_sheet import write_contact_sheet
from monai_cxraug.data.decoding import Outcome, Recipe
from monai_cxraug.data.duplicates import COLUMNS as DUPLICATE_COLUMNS
from monai_cxraug.data.duplicates import CONTENT, find_duplicates
from monai_cxraug.data.manifest import Manifest, check_manifest
from monai_cxraug.data.pack import Progress
from monai_cxraug.data.packing import FILES_TABLE, build_pack, is_current
from monai_cxraug.data.readers import read_colour, read_radiograph
from monai_cxraug.data.request import Request, list_source
from monai_cxraug.data.sources.listing import Listing
from monai_cxraug.data.summary import SCHEMA as SUMMARY_SCHEMA
from monai_cxraug.data.summary import summarise
from monai_cxraug.errors import ConfigError, InputError

ARTIFACTS = (
    *("manifest.csv", "manifest.json", "pack.npy", "pack.json", FILES_TABLE, "quarantine.csv", "dropped.csv"),
    *("duplicates.csv", "summary.json", "contact_sheet.png"),
)
_PROVENANCE = "provenance.json"
#: folder of a run in the making, and the lock that it holds, inside the folder that is prepared.
_WORK, _LOCK = ".prepare", ".prepare.lock"


def prepare(request: Request, out: Path, progress: Progress | None = None) -> Path:
    """Make ``out`` hold a manifest, its pack and what there is to know about them; see :data:`ARTIFACTS`.

    A folder that already holds the answer to the same request is left as it is. An interrupted run is continued, and of
    a changed source only what changed is decoded. What the folder held before stays usable until the new files are
    complete and take their names.

    Args:
        request: what to prepare.
        out: folder to fill; made when missing.
        progress: called with (done, total) while images are generated and decoded.

    Returns:
        Path of the manifest.

    Raises:
        CxrAugError: the source is missing, unreadable or breaks a rule, or the folder cannot be written or is being
            written by another process; nothing is left half-written.
    """
    out = Path(out)
    try:
        with _alone_in(out):
            return _prepare(request, out, progress)
    except OSError as error:
        mend = "free some space or choose another folder; the same command goes on where it stopped"
        raise InputError(out, "must be a folder that can be written", error.strerror or error, mend) from None


def prepare_images(images: str | None, manifest: str | None, size: int, out: str | Path, channels: int = 1) -> Path:
    """Return a manifest of what is to be looked at: the unlabelled images, prepared into ``out``, else the one given.

    Args:
        images: folder, archive or file of radiographs.
        manifest: manifest to fall back to.
        size: side of the square images in pixels.
        out: folder for the prepared images.
        channels: that they are prepared with: 1 grey, 3 red, green and blue.

    Raises:
        ConfigError: neither is given.
    """
    if images is None and manifest is None:
        raise ConfigError("images", "a value is required", "none", "give --images PATH or --manifest MANIFEST.csv")
    if images is None:
        return Path(str(manifest))
    return prepare(Request("images", str(images), size=size, options={"colour": channels == 3}), Path(out))


def _prepare(request: Request, out: Path, progress: Progress | None) -> Path:
    work = out / _WORK
    listing = list_source(request, out, progress)
    # a leak is refused before hours of decoding
    planned = replace(listing.manifest([{}] * len(listing.rows)), path=Path(request.images or out))
    check_manifest(planned)
    read = read_radiograph if listing.channels == 1 else read_colour
    recipe = Recipe(request.size, listing.depth, request.fit, listing.policy, read, channels=listing.channels)
    key = _request_key(request, listing, planned, recipe)
    names = planned["image"].tolist()
    if not _is_done(out, key, listing, names):
        try:
            outcomes = build_pack(work, listing.files, names, recipe, progress, previous=out)
        except InputError:
            shutil.rmtree(work)
            raise
        _write_products(work, listing, outcomes, recipe, key)
        if not listing.provenance:
            (out / _PROVENANCE).unlink(missing_ok=True)
        _take_names(work, out)
    with suppress(OSError):
        work.rmdir()  # all that a run may leave that was killed at its very end
    return out / "manifest.csv"


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, and remove it where nothing has come into it."""
    folder.mkdir(parents=True, exist_ok=True)
    # finished data may lie where nobody can write
    lock = locked(folder / _LOCK) if os.access(folder, os.W_OK) else nullcontext()
    try:
        with lock:
            yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def _request_key(request: Request, listing: Listing, planned: Manifest, recipe: Recipe) -> str:
    """Hash of everything that determines the result beside the files themselves."""
    left_out = [sorted(reasons.items()) for reasons in (listing.missing, listing.dropped, listing.refused)]
    about = [listing.findings, dict(listing.info), dict(listing.provenance), left_out]
    return content_hash([request.source, recipe.key(), planned.hash(), about, __version__])


def _is_done(out: Path, key: str, listing: Listing, names: Sequence[str]) -> bool:
    if not all((out / name).exists() for name in ARTIFACTS):
        return False
    done = load_json(out / "manifest.json").get("inputs", {}).get("request") == key
    return done and is_current(out, listing.files, names)


def _write_products(work: Path, listing: Listing, outcomes: Sequence[Outcome], recipe: Recipe, key: str) -> None:
    """Write everything that lies beside the pack; ``manifest.json`` comes last and says that all is complete."""
    kept = [row for row, outcome in enumerate(outcomes) if outcome.state == "packed"]
    tags = [{**outcome.tags, CONTENT: outcome.content} for outcome in outcomes]
    manifest = listing.manifest(tags).select(np.array(kept))
    names = [row["image"] for row in listing.rows]
    for file, state, others in (
        ("quarantine.csv", "quarantined", {**listing.refused, **listing.missing}),
        ("dropped.csv", "dropped", listing.dropped),
    ):
        reasons = [(name, one.reason) for name, one in zip(names, outcomes, strict=True) if one.state == state]
        write_csv(work / file, ("file", "reason"), [*reasons, *others.items()])
    duplicates = find_duplicates(manifest, [outcomes[row].sha256 for row in kept])
    write_csv(work / "duplicates.csv", DUPLICATE_COLUMNS, (duplicate.cells() for duplicate in duplicates))
    write_contact_sheet(work, manifest)
    write_json(work / "summary.json", SUMMARY_SCHEMA, summarise(manifest, outcomes, listing, recipe))
    if listing.provenance:
        from monai_cxraug.data.mixing import PROVENANCE_SCHEMA

        write_json(work / _PROVENANCE, PROVENANCE_SCHEMA, listing.provenance)
    manifest.write(work, {"request": key, "files": content_hash([one.sha256 for one in outcomes])})


def _take_names(work: Path, out: Path) -> None:
    """Move finished files into place.

    The old ``manifest.json`` goes first and the new one comes last, so that no mixture is taken for prepared data. The
    run after one that was killed in between finds every picture in the journal or in the new pack.
    """
    (out / "manifest.json").unlink(missing_ok=True)
    for name in (*ARTIFACTS, _PROVENANCE):
        if name != "manifest.json" and (work / name).exists():
            (work / name).replace(out / name)
    for rest in work.iterdir():
        if rest.name != "manifest.json":
            rest.unlink()
    (work / "manifest.json").replace(out / "manifest.json")
    work.rmdir()
