"""An archive that speaks DIMSE: C-FIND, C-GET and C-STORE (PS3.4 annexes B and C, PS3.7), by pynetdicom.

The address is ``dicom://[CALLING@]host[:port]/CALLED``; the archive must know our calling title where it asks for one.
Each request has an association of its own: nothing is open while nobody asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.interop.archive import IMAGE_CLASSES, Instance, RefusedError, UnreachableError
from monai_cxraug.interop.queries import Attributes

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

CALLING: Final = "CXRAUG"
#: Study Root Query/Retrieve Information Model, FIND and GET (PS3.4 C.6.2).
_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
_GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
_PORT: Final = 104
_SECONDS: Final = 60.0
#: what an answer about a study, a series and an object is to hold.
_WANTED: Final = {
    "STUDY": ("StudyInstanceUID", "StudyDate", "PatientID", "AccessionNumber"),
    "SERIES": ("SeriesInstanceUID", "Modality"),
    "IMAGE": ("SOPInstanceUID", "SOPClassUID"),
}
_SUCCESS: Final = 0x0000
#: there already (PS3.7 annex C).
_THERE_ALREADY: Final = 0x0111
_LEVEL: Final = "QueryRetrieveLevel"


class DimseArchive:
    """A DICOM node.

    Args:
        url: its address and titles.

    Raises:
        ConfigError: a title or port is missing or wrong.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.url, self._host = url, str(parts.hostname)
        self._called, self._calling = _title(parts.path.strip("/"), url), _title(parts.username or CALLING, url)
        try:
            self._port = parts.port or _PORT
        except ValueError as error:
            raise ConfigError("--url", "must name a port", error, "for example dicom://host:104/ARCHIVE") from None

    def find_studies(self, filters: Mapping[str, str]) -> list[Attributes]:
        """Return the studies that meet all conditions."""
        return self._find("STUDY", filters)

    def find_series(self, study: str) -> list[Attributes]:
        """Return the series of a study."""
        return self._find("SERIES", {"StudyInstanceUID": study})

    def find_instances(self, study: str, series: str) -> list[Attributes]:
        """Return the objects of a series."""
        return self._find("IMAGE", {"StudyInstanceUID": study, "SeriesInstanceUID": series})

    def fetch(self, instance: Instance) -> Dataset:
        """Return one object, by C-GET (PS3.4 C.4.3).

        Raises:
            RefusedError: the archive does not send it.
        """
        from pynetdicom import build_role, evt

        received: list[Dataset] = []

        def take(event: Any) -> int:
            received.append(event.dataset)
            received[-1].file_meta = event.file_meta
            return _SUCCESS

        classes = [instance.sop_class] if instance.sop_class else sorted(IMAGE_CLASSES)
        contexts = [(_GET, None), *((uid, _syntaxes()) for uid in classes)]
        roles = [build_role(uid, scp_role=True) for uid in classes]
        wanted = _identifier(
            "IMAGE",
            {
                "StudyInstanceUID": instance.study,
                "SeriesInstanceUID": instance.series,
                "SOPInstanceUID": instance.uid,
            },
        )
        with self._association(contexts, ext_neg=roles, evt_handlers=[(evt.EVT_C_STORE, take)]) as association:
            statuses = [self._status(status) for status, _ in association.send_c_get(wanted, _GET)]
        if not received:
            found = f"{instance.uid}: status {statuses[-1]:04X}H" if statuses else instance.uid
            raise RefusedError(self.url, "must do what is asked with this object", found, "ask who runs it")
        return received[0]

    def store(self, dataset: Dataset) -> None:
        """Store one object, by C-STORE (PS3.4 B.2).

        Raises:
            RefusedError: the archive does not take it.
        """
        uid, syntax = str(dataset.SOPInstanceUID), str(dataset.file_meta.TransferSyntaxUID)
        with self._association([(str(dataset.SOPClassUID), [syntax])]) as association:
            try:
                status = self._status(association.send_c_store(dataset))
            except ValueError as error:  # no context was accepted
                raise RefusedError(self.url, "must store the object", f"{uid}: {error}", "ask who runs it") from None
        if status not in (_SUCCESS, _THERE_ALREADY) and status >> 12 != 0xB:  # B000H and on are warnings
            raise RefusedError(self.url, "must store the object", f"{uid}: status {status:04X}H", "ask who runs it")

    def _find(self, level: str, filters: Mapping[str, str]) -> list[Attributes]:
        found: list[Attributes] = []
        with self._association([(_FIND, None)]) as association:
            for answer, identifier in association.send_c_find(_identifier(level, filters), _FIND):
                status = self._status(answer)
                if status in (0xFF00, 0xFF01) and identifier is not None:
                    found.append(_texts(identifier))
                elif status != _SUCCESS:
                    raise InputError(self.url, "must answer a query", f"status {status:04X}H", "ask who runs it")
        return found

    @contextmanager
    def _association(self, contexts: Sequence[tuple[Any, Any]], **more: Any) -> Iterator[Any]:
        from pynetdicom import AE

        node = AE(ae_title=self._calling)
        node.acse_timeout = node.dimse_timeout = node.network_timeout = _SECONDS
        node.connection_timeout = 10.0
        for abstract, syntaxes in contexts:
            node.add_requested_context(abstract, *([syntaxes] if syntaxes else []))
        association = node.associate(self._host, self._port, ae_title=self._called, **more)
        if not association.is_established:
            if association.is_rejected:
                mend = f"let it know the calling title {self._calling}, and check the called one"
                raise InputError(self.url, "must let us in", "a rejected association", mend)
            mend = "check address and network; the same command continues"
            raise UnreachableError(self.url, "must be a DICOM node that answers", "no association", mend)
        try:
            yield association
        finally:
            association.release()

    def _status(self, status: Dataset) -> int:
        """Return the status of an answer; an empty one means that the connection broke."""
        if "Status" not in status:
            mend = "check address and network; the same command continues"
            raise UnreachableError(self.url, "must be a DICOM node that answers", "a broken association", mend)
        return int(status.Status)


def _title(text: str, url: str) -> str:
    """An application entity title (AE, PS3.5 6.2)."""
    title = unquote(text).strip()
    if not 1 <= len(title) <= 16 or "\\" in title or not title.isprintable() or not title.isascii():
        mend = "for example dicom://CXRAUG@pacs.example.org:104/ARCHIVE"
        raise ConfigError("--url", "titles must have 1 to 16 letters", repr(url), mend)
    return title


def _identifier(level: str, filters: Mapping[str, str]) -> Dataset:
    from pydicom.dataset import Dataset

    wanted = Dataset()
    wanted.QueryRetrieveLevel = level
    for keyword in _WANTED[level]:
        setattr(wanted, keyword, "")
    for keyword, value in filters.items():
        setattr(wanted, keyword, value)
    return wanted


def _texts(identifier: Dataset) -> Attributes:
    found = {}
    for element in identifier:
        if element.keyword and element.keyword != _LEVEL and element.VR != "SQ" and element.value not in (None, ""):
            value = element.value if isinstance(element.value, str) or element.VM <= 1 else element.value[0]
            found[element.keyword] = str(value)
    return found


def _syntaxes() -> list[str]:
    """Transfer syntaxes that an object may come in: as it is stored, whatever that is."""
    from pynetdicom import ALL_TRANSFER_SYNTAXES

    return list(ALL_TRANSFER_SYNTAXES)
