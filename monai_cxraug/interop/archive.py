"""An archive of images: what is asked of it, whichever protocol it speaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import urlsplit

from monai_cxraug.console import announce
from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.interop.identifiers import is_uid
from monai_cxraug.interop.queries import Attributes, Query

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

T = TypeVar("T")
Progress = Callable[[int, int], None]


class UnreachableError(InputError):
    """The archive does not answer, or not now; asking again may help."""


class RefusedError(InputError):
    """The archive answers, and does not do what is asked with this one object."""


@dataclass(frozen=True)
class Instance:
    """Where one object lies in an archive.

    Args:
        study: Study Instance UID.
        series: Series Instance UID.
        uid: SOP Instance UID.
        sop_class: SOP Class UID; empty where the archive does not tell.
    """

    study: str
    series: str
    uid: str
    sop_class: str = ""


@dataclass(frozen=True)
class Study:
    """A study that was asked for.

    Args:
        uid: Study Instance UID.
        series: every series of it, asked for or not.
        images: those of its objects that were asked for.
    """

    uid: str
    series: frozenset[str]
    images: tuple[Instance, ...]


class Archive(Protocol):
    """What both protocols do. Attributes are texts by keyword; what the archive leaves out is absent."""

    url: str

    def find_studies(self, filters: Mapping[str, str]) -> list[Attributes]:
        """Return the studies that meet all conditions."""

    def find_series(self, study: str) -> list[Attributes]:
        """Return the series of a study."""

    def find_instances(self, study: str, series: str) -> list[Attributes]:
        """Return the objects of a series."""

    def fetch(self, instance: Instance) -> Dataset:
        """Return one object, as it is stored."""

    def store(self, dataset: Dataset) -> None:
        """Store one object; one that is there already stays as it is."""


class PersistentArchive:
    """An archive that is waited for when it goes away in the middle of the work.

    Every request can be repeated without harm: objects keep their identifiers.

    Args:
        archive: the one that is asked.
        patience: seconds to wait for it. Before its first answer nobody waits: the address may be wrong.
        say: told once when the waiting begins.
    """

    def __init__(self, archive: Archive, patience: float, say: Callable[[str], None] | None = None) -> None:
        self._archive, self._patience, self._answered = archive, patience, False
        self._say = say or announce
        self.url = archive.url

    def find_studies(self, filters: Mapping[str, str]) -> list[Attributes]:
        """Return the studies that meet all conditions."""
        return self._ask(lambda: self._archive.find_studies(filters))

    def find_series(self, study: str) -> list[Attributes]:
        """Return the series of a study."""
        return self._ask(lambda: self._archive.find_series(study))

    def find_instances(self, study: str, series: str) -> list[Attributes]:
        """Return the objects of a series."""
        return self._ask(lambda: self._archive.find_instances(study, series))

    def fetch(self, instance: Instance) -> Dataset:
        """Return one object."""
        return self._ask(lambda: self._archive.fetch(instance))

    def store(self, dataset: Dataset) -> None:
        """Store one object."""
        self._ask(lambda: self._archive.store(dataset))

    def _ask(self, request: Callable[[], T]) -> T:
        until, pause = time.monotonic() + self._patience, 0.25
        while True:
            try:
                answer = request()
            except UnreachableError as error:
                if not self._answered or time.monotonic() + pause > until:
                    raise
                if pause == 0.25:
                    self._say(f"{self.url} does not answer; waiting up to {self._patience:g} s ({error.found})")
                time.sleep(pause)
                pause = min(2 * pause, 5.0)
            except RefusedError:
                self._answered = True
                raise
            else:
                self._answered = True
                return answer


def open_archive(url: str, patience: float = 60.0) -> Archive:
    """Return the archive at an address; nothing is asked of it yet.

    Args:
        url: ``https://host/dicom-web`` for DICOMweb, ``dicom://host:104/CALLED_AET`` for DIMSE.
        patience: seconds to wait when it goes away in the middle of the work.

    Raises:
        ConfigError: not such an address, or one that carries a password.
    """
    parts = urlsplit(str(url))
    if parts.password is not None:
        mend = "set CXRAUG_PACS_USER and CXRAUG_PACS_PASSWORD, or write them into ~/.netrc"
        raise ConfigError("--url", "may not carry a password, which others would see", "one", mend)
    if not (isinstance(patience, int | float) and 0 <= patience <= 86400):
        raise ConfigError("--patience", "must be seconds from 0 to 86400", repr(patience), "give --patience 60")
    if parts.scheme in ("http", "https") and parts.hostname:
        from monai_cxraug.interop.dicomweb import WebArchive

        return PersistentArchive(WebArchive(str(url)), patience)
    if parts.scheme == "dicom" and parts.hostname:
        from monai_cxraug.interop.dimse import DimseArchive

        return PersistentArchive(DimseArchive(str(url)), patience)
    mend = "for example https://pacs.example.org/dicom-web or dicom://pacs.example.org:104/ARCHIVE"
    raise ConfigError("--url", "must be the address of a DICOMweb service or of a DICOM node", repr(url), mend)


def list_studies(archive: Archive, query: Query, progress: Progress | None = None) -> list[Study]:
    """Ask for studies and look through their series.

    Args:
        archive: to ask.
        query: the conditions.
        progress: called with (done, total) studies.

    Returns:
        Studies that have an image asked for, each once, in the order of their identifiers.

    Raises:
        InputError: the archive does not answer, or with something else than was asked for.
    """
    found: set[str] = set()
    for filters in query.filters():
        for study in archive.find_studies(filters):
            query.refuse_unasked(study, archive.url)
            found.add(study.get("StudyInstanceUID", ""))
    studies = []
    for number, uid in enumerate(sorted(uid for uid in found if is_uid(uid)), start=1):
        studies.append(_list_study(archive, query, uid))
        if progress:
            progress(number, len(found))
    return [study for study in studies if study.images]


def _list_study(archive: Archive, query: Query, study: str) -> Study:
    series = [one for one in archive.find_series(study) if is_uid(one.get("SeriesInstanceUID", ""))]
    wanted = sorted({one["SeriesInstanceUID"] for one in series if query.wants_series(one)})
    images = {
        one["SOPInstanceUID"]: Instance(study, uid, one["SOPInstanceUID"], one.get("SOPClassUID", ""))
        for uid in wanted
        for one in archive.find_instances(study, uid)
        if is_uid(one.get("SOPInstanceUID", "")) and may_be_radiograph(one.get("SOPClassUID", ""))
    }
    ordered = tuple(images[uid] for uid in sorted(images))
    return Study(study, frozenset(one["SeriesInstanceUID"] for one in series), ordered)


#: CR, DX for presentation and for processing, and Secondary Capture, as which films are scanned (PS3.4 B.5).
IMAGE_CLASSES = frozenset(f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("1", "1.1", "1.1.1", "7", "7.2", "7.3"))


def may_be_radiograph(sop_class: str) -> bool:
    """Whether objects of a class may be radiographs; an archive need not tell the class."""
    return not sop_class or sop_class in IMAGE_CLASSES


def present(archive: Archive, study: str, series: Sequence[str]) -> frozenset[str]:
    """Return the SOP Instance UIDs that an archive holds in some series of a study."""
    return frozenset(
        one["SOPInstanceUID"] for uid in series for one in archive.find_instances(study, uid) if "SOPInstanceUID" in one
    )
