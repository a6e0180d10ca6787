"""An archive that speaks DICOMweb: QIDO-RS, WADO-RS and STOW-RS (PS3.18 chapter 10), by dicomweb-client.

Who asks is said by ``CXRAUG_PACS_USER`` and ``CXRAUG_PACS_PASSWORD``, by ``CXRAUG_PACS_TOKEN`` (OAuth 2), or by
``~/.netrc``. Certificates are always checked; ``REQUESTS_CA_BUNDLE`` names those of a hospital's own authority.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from monai_cxraug.errors import ConfigError, CxrAugError, InputError
from monai_cxraug.interop.archive import Instance, RefusedError, UnreachableError
from monai_cxraug.interop.queries import Attributes

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

T = TypeVar("T")
USER, PASSWORD, TOKEN = "CXRAUG_PACS_USER", "CXRAUG_PACS_PASSWORD", "CXRAUG_PACS_TOKEN"
#: studies, series or objects asked for at a time (PS3.18 8.3.4.4); archives cut longer answers off without a word.
_PAGE: Final = 100
#: seconds to connect, and seconds without a byte.
_TIMEOUT: Final = (10.0, 120.0)
#: answers that mean: not now (RFC 9110 15, RFC 6585 4).
_LATER: Final = frozenset({408, 425, 429, 502, 503, 504})
_LOGIN: Final = f"set {USER} and {PASSWORD}, or {TOKEN}, or write them into ~/.netrc"
#: Failure Reason (0008,1197): there already, as some archives say it (PS3.4 CC.2.3, PS3.7 C).
_THERE_ALREADY: Final = frozenset({0x0111})


class WebArchive:
    """A DICOMweb service.

    Args:
        url: its root, below which ``/studies`` lies.

    Raises:
        ConfigError: not an address, or half of the credentials.
    """

    def __init__(self, url: str) -> None:
        from dicomweb_client.api import DICOMwebClient

        self.url = url.rstrip("/")
        try:
            # one piece up to this size: not every server takes the chunked transfer of a larger one
            self._client = DICOMwebClient(self.url, session=_open_session(url), chunk_size=2**30, timeout=_TIMEOUT)
        except ValueError as error:
            raise ConfigError("--url", "must be the address of a DICOMweb service", error, "check it") from None
        self._client.set_http_retry_params(retry=False)  # who calls waits, and says so

    def find_studies(self, filters: Mapping[str, str]) -> list[Attributes]:
        """Return the studies that meet all conditions (PS3.18 10.6)."""
        return self._find(
            lambda limit, offset: self._client.search_for_studies(
                limit=limit, offset=offset, search_filters=dict(filters)
            ),
            "StudyInstanceUID",
        )

    def find_series(self, study: str) -> list[Attributes]:
        """Return the series of a study."""
        return self._find(
            lambda limit, offset: self._client.search_for_series(study, limit=limit, offset=offset), "SeriesInstanceUID"
        )

    def find_instances(self, study: str, series: str) -> list[Attributes]:
        """Return the objects of a series."""
        return self._find(
            lambda limit, offset: self._client.search_for_instances(study, series, limit=limit, offset=offset),
            "SOPInstanceUID",
        )

    def fetch(self, instance: Instance) -> Dataset:
        """Return one object in the transfer syntax that it is stored in (PS3.18 10.4).

        Raises:
            RefusedError: the archive does not hold it, or sends something else.
        """
        anything: Any = (("application/dicom", "*"),)

        def retrieve() -> Dataset:
            with warnings.catch_warnings():  # an answer in one part is understood as well
                warnings.simplefilter("ignore")
                place = (instance.study, instance.series, instance.uid)
                dataset: Dataset = self._client.retrieve_instance(*place, media_types=anything)
                return dataset

        return self._ask(retrieve, instance.uid)

    def store(self, dataset: Dataset) -> None:
        """Store one object (PS3.18 10.5).

        Raises:
            RefusedError: the archive does not take it.
        """
        uid = str(dataset.SOPInstanceUID)
        answer = self._ask(lambda: self._client.store_instances([dataset], str(dataset.StudyInstanceUID)), uid)
        for failed in answer.get("FailedSOPSequence", None) or ():
            reason = int(failed.get("FailureReason", 0) or 0)
            if reason not in _THERE_ALREADY:
                raise RefusedError(self.url, "must store the object", f"{uid}: failure reason {reason:04X}H", "ask it")

    def _find(self, search: Callable[[int, int], Sequence[Mapping[str, Any]]], key: str) -> list[Attributes]:
        """Ask page after page, until a page brings nothing new: not every server knows pages."""
        found: dict[str, Attributes] = {}
        offset = 0
        while True:
            page = self._ask(lambda: [_texts(match) for match in search(_PAGE, offset)])  # noqa: B023 - called at once
            fresh = {match[key]: match for match in page if match.get(key) and match[key] not in found}
            found |= fresh
            offset += len(page)
            if not fresh or len(page) < _PAGE:
                return list(found.values())

    def _ask(self, request: Callable[[], T], about: str = "") -> T:
        """Make a request; whatever comes back that is no answer is one line."""
        import requests

        try:
            return request()
        except requests.HTTPError as error:
            raise self._fault(error, about) from None
        except (requests.exceptions.SSLError, requests.exceptions.InvalidURL) as error:
            mend = "check the address; REQUESTS_CA_BUNDLE names the certificates of your own authority"
            raise InputError(self.url, "must show a certificate that holds", _reason(error), mend) from None
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            mend = "check address and network; the same command continues"
            raise UnreachableError(self.url, "must be a server that answers", _reason(error), mend) from None
        except CxrAugError:
            raise
        except Exception as error:  # what a server sends may break any parser
            kind = RefusedError if about else InputError
            rule = "must answer as DICOMweb does"
            raise kind(self.url, rule, f"{about} {type(error).__name__}".strip(), "check the address") from None

    def _fault(self, error: Any, about: str) -> InputError:
        status = int(error.response.status_code)
        found = f"status {status} {error.response.reason or ''} {about}".strip()
        if status in (401, 403):
            return InputError(self.url, "must let us in", found, _LOGIN)
        if status in _LATER:
            return UnreachableError(self.url, "must be a server that answers", found, "try again later")
        if about:
            return RefusedError(self.url, "must do what is asked with this object", found, "ask who runs it")
        mend = "check the address: the root of DICOMweb is wanted, such as …/dicom-web"
        return InputError(self.url, "must answer as DICOMweb does", found, mend)


def _open_session(url: str) -> Any:
    import requests

    session: Any = requests.Session()
    user, password, token = (os.environ.get(name) for name in (USER, PASSWORD, TOKEN))
    if (user is None) != (password is None):
        there, missing = (USER, PASSWORD) if password is None else (PASSWORD, USER)
        raise ConfigError(missing, "must be set beside " + there, "nothing", _LOGIN)
    if user is not None and password is not None:
        session.auth = (user.encode(), password.encode())
    elif token:
        session.auth = _Bearer(token)
    parts = urlsplit(url)
    if session.auth and parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        print(f"{url}: http sends the password and the images readable for all; use https", file=sys.stderr)
    return session


class _Bearer:
    """Says a token with every request (RFC 6750 2.1)."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _texts(match: Mapping[str, Any]) -> Attributes:
    """First values of DICOM JSON (PS3.18 F.2) as texts by keyword; sequences and binary values are left out."""
    from pydicom.datadict import keyword_for_tag

    found = {}
    for tag, element in match.items():
        values = element.get("Value") or [None]
        value = values[0].get("Alphabetic") if element.get("vr") == "PN" and values[0] else values[0]
        keyword = keyword_for_tag(tag)
        if keyword and isinstance(value, str | int | float):
            found[keyword] = str(value)
    return found


def _reason(error: BaseException) -> str:
    """The innermost reason in a few words; messages of libraries hold the address of objects in memory."""
    while error.__context__ is not None:
        error = error.__context__
    text = getattr(error, "strerror", None) or str(error)
    return str(text).splitlines()[0][:120] if text else type(error).__name__
