"""Which radiograph a request means: a file, or the one frontal image of a downloaded DICOM series."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from monai_cxraug.data.files import FileRef
from monai_cxraug.data.readers import Radiograph, read_radiograph
from monai_cxraug.errors import CxrAugError, InputError


@dataclass(frozen=True)
class Chosen:
    """A radiograph that was read.

    Attributes:
        name: of the file, without its folder.
        sha256: of the file.
        radiograph: its pixels.
    """

    name: str
    sha256: str
    radiograph: Radiograph


def read_image(place: Path, instance: str | None = None) -> Chosen:
    """Read the radiograph at a place.

    Args:
        place: file, or folder with the files of one DICOM series.
        instance: SOP Instance UID of the one meant, where a series holds several.

    Returns:
        The file, or the only image of the series that the reader does not leave out (laterals are left out).

    Raises:
        CxrAugError: the file cannot be read or is left out; or a series holds none or several that are not.
    """
    if not place.is_dir():
        return _read(place)
    files = sorted(place.glob("*.dcm" if instance is None else f"{Path(instance).name}.dcm"))
    found = [_try(file) for file in files]
    readable = [one for one in found if isinstance(one, Chosen)]
    if len(readable) == 1:
        return readable[0]
    if readable:
        names = ", ".join(Path(one.name).stem for one in readable)
        mend = "name one as 'instance' in params"
        raise InputError(place.name, "a series must hold one frontal radiograph", names, mend)
    for error in found:
        if isinstance(error, CxrAugError):
            raise error
    raise InputError(place.name, "a series must hold a radiograph", "none of that name", "check series and instance")


def _read(path: Path) -> Chosen:
    content = FileRef(path).read()
    return Chosen(path.name, hashlib.sha256(content).hexdigest(), read_radiograph(content, path.name))


def _try(path: Path) -> Chosen | CxrAugError:
    try:
        return _read(path)
    except CxrAugError as error:
        return error
