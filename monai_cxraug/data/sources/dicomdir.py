"""DICOMDIR: the table of contents of DICOM media (PS3.10 clause 8, PS3.3 annex F)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from monai_cxraug.errors import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: records that point to images (PS3.3 F.5).
_IMAGE_RECORD: Final = "IMAGE"
#: a directory lists thousands of images in a few megabytes.
_MOST_BYTES: Final = 2**28
#: where the next records lie, counted in bytes from the beginning of the file: none is there if its end was cut off.
_OFFSETS: Final = (
    "OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity",
    "OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity",
    "OffsetOfTheNextDirectoryRecord",
    "OffsetOfReferencedLowerLevelDirectoryEntity",
)
_MEND: Final = "point --images at the folder instead"


def referenced_files(path: Path) -> list[str]:
    """Return the files of all image records, as paths relative to the DICOMDIR, in its order.

    Args:
        path: the DICOMDIR.

    Returns:
        Relative paths with forward slashes, as the records write them; never one that leads out of the folder.

    Raises:
        InputError: the file cannot be read, is no DICOMDIR, or a record points out of its folder.
    """
    files = [_join(record, path) for record in _records(path) if record.get("DirectoryRecordType") == _IMAGE_RECORD]
    return list(dict.fromkeys(files))


def _records(path: Path) -> Iterator[Dataset]:
    from pydicom import dcmread

    from monai_cxraug.data.readers.parsing import silenced

    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise InputError(path, f"a DICOMDIR has at most {_MOST_BYTES} bytes", size, "check the path")
    try:
        with silenced():
            dataset = dcmread(path)
            records = list(dataset.get("DirectoryRecordSequence") or ())
            places = [int(one.get(name) or 0) for one in (dataset, *records) for name in _OFFSETS]
            _ = [(record.get("DirectoryRecordType"), record.get("ReferencedFileID")) for record in records]
    except Exception as error:  # a hostile file makes a parser fail in any way
        raise InputError(path, "must be a readable DICOMDIR", error, _MEND) from None
    if max(places) >= size:
        raise InputError(path, "records must point into the DICOMDIR", f"{max(places)} of {size} bytes", _MEND)
    if not records:
        raise InputError(path, "a DICOMDIR lists at least one record", "none", _MEND)
    yield from records


def _join(record: Dataset, path: Path) -> str:
    """Path of a record's file: components of at most eight characters (PS3.10 8.2), one or several."""
    value = record.get("ReferencedFileID")
    parts = [value] if isinstance(value, str) else [str(part) for part in value or ()]
    name = "/".join(parts).replace("\\", "/")
    inside = PurePosixPath(name)
    if not name or inside.is_absolute() or ".." in inside.parts:
        raise InputError(path, "an image record must point to a file beside it", repr(name), "mend the DICOMDIR")
    return name
