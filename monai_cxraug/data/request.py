"""What is asked of ``prepare``: a source, its options, and how its images are split, sized and named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, get_args

from monai_cxraug.data.pseudonyms import hide_identities, read_salt, write_key
from monai_cxraug.data.resampling import Fit
from monai_cxraug.data.sources.arrangement import add_folds, arrange_splits
from monai_cxraug.data.sources.chexpert import Chexpert
from monai_cxraug.data.sources.dicom import Dicom
from monai_cxraug.data.sources.external import External
from monai_cxraug.data.sources.folder import Folder
from monai_cxraug.data.sources.images import Images
from monai_cxraug.data.sources.kermany import Kermany
from monai_cxraug.data.sources.listing import Listing, Progress, Source
from monai_cxraug.data.sources.native import Phantom
from monai_cxraug.data.sources.nih import Nih
from monai_cxraug.data.sources.options import Option, options_of
from monai_cxraug.data.sources.table import TableSource
from monai_cxraug.errors import ConfigError, nearest

#: a source's name to its class, whose fields are its options; a new source is one file and one entry here.
SOURCES: Final[Mapping[str, type[Source]]] = {
    "nih": Nih,
    "chexpert": Chexpert,
    "kermany": Kermany,
    "folder": Folder,
    "table": TableSource,
    "dicom": Dicom,
    "external": External,
    "phantom": Phantom,
    "images": Images,
}
#: settings of a request that are an option of some sources.
_SHARED: Final = ("images", "labels", "lists", "count")
#: settings of a request that a source may know although they are none of its options.
_PASSED: Final = ("seed", "size", "salt")
_LEAST: Final = {"size": 4, "seed": 0, "folds": 0}


@dataclass(frozen=True)
class Request:
    """What to prepare.

    Args:
        source: a name in :data:`SOURCES`.
        images: folder, zip archive or file of the images.
        labels: table of labels.
        lists: folder of split lists.
        size: side of the square images in pixels.
        fit: ``pad`` keeps the aspect ratio on a black square, ``squash`` fills the square, ``crop`` keeps its middle.
        count: number of images of a phantom set that is generated.
        seed: of a phantom set, and of the splits and folds that are cut here.
        folds: patient-wise folds over train and val, in the column ``fold``; 0 makes none.
        validation: share of train and val that becomes val; default the source's own val, else a tenth.
        salt: file with the key by which patient, study and image names are hashed; made when missing. Beside it, a
            private table ``<salt>.<out>.csv`` says which file each hashed image name stands for.
        options: what else the source takes, by name; see its class.

    Raises:
        ConfigError: the source or an option is unknown or missing, or a value is out of range.
    """

    source: str
    images: str | None = None
    labels: str | None = None
    lists: str | None = None
    size: int = 64
    fit: Fit = "pad"
    count: int | None = None
    seed: int = 0
    folds: int = 0
    validation: float | None = None
    salt: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.source, str) or self.source not in SOURCES:
            raise ConfigError("source", "unknown source", repr(self.source), nearest(str(self.source), SOURCES))
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ConfigError(name, f"must be a whole number of at least {least}", repr(value), f"mend {name}")
        if self.folds == 1:
            raise ConfigError("folds", "must be 0, or at least 2", "1", "mend folds")
        if self.fit not in get_args(Fit):
            raise ConfigError("fit", "unknown choice", repr(self.fit), nearest(str(self.fit), get_args(Fit)))
        share = self.validation
        if share is not None and not (isinstance(share, int | float) and 0 <= share < 1):
            raise ConfigError("validation", "must be a number from 0 to below 1", repr(share), "0.1 is a tenth")
        if self.salt is not None and not isinstance(self.salt, str):
            raise ConfigError("salt", "must be text", repr(self.salt), "give the path of a file")
        if not isinstance(self.options, Mapping):
            raise ConfigError("options", "must map names to values", repr(self.options), "write name: value")
        self.build()

    def build(self) -> Source:
        """Make the source.

        Raises:
            ConfigError: an option is unknown, missing or of the wrong kind.
        """
        source = SOURCES[self.source]
        known = options_of(source)
        given = {name: value for name in _SHARED if (value := getattr(self, name)) is not None}
        given |= {name: value for name, value in self.options.items() if value is not None}
        for name, value in given.items():
            self._require_known(name, known)
            known[name].check(value)
        for one in known.values():
            if one.required and one.name not in given:
                rule = f"is required for source {self.source!r}"
                raise ConfigError(one.flag, rule, "nothing", f"give {one.flag} {one.metavar}")
        passed = {entry.name for entry in fields(source)} & set(_PASSED)  # type: ignore[arg-type]
        return source(**given, **{name: getattr(self, name) for name in passed})

    def _require_known(self, name: str, known: Mapping[str, Option]) -> None:
        if name not in known:
            flags = [one.flag for one in known.values()]
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(flag, f"source {self.source!r} has no such option", repr(flag), nearest(flag, flags))


def list_source(request: Request, out: Path, progress: Progress | None = None) -> Listing:
    """List the images of a request: as the source knows them, then split, folded and hashed as asked.

    Args:
        request: what to prepare.
        out: folder that is being prepared; phantoms are generated below it.
        progress: called with (done, total) where listing takes long.

    Returns:
        The listing.

    Raises:
        CxrAugError: the source is missing, unreadable or breaks a rule.
    """
    source = request.build()
    salt = read_salt(request.salt) if request.salt is not None else None
    listing = arrange_splits(source.list(out, progress), request.validation, request.seed)
    listing = add_folds(listing, request.folds, request.seed)
    if salt is None:
        return listing
    write_key(listing, salt, Path(f"{request.salt}.{out.name}.csv"))
    return hide_identities(listing, salt)
