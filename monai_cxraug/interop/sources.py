"""What goes from a radiograph's header into an object that is made of it: its patient, its study, and where it lies.

Texts are to be written anew in UTF-8 (ISO_IR 192), and a value that breaks its own rule is left empty, so that one bad
header does not keep a report out of the archive.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1), as far as they must agree throughout a study.
_TEXTS: Final = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyID", "StudyDescription"),
    *("ReferringPhysicianName",),
)
_SHAPED: Final = {
    "PatientBirthDate": r"\d{8}",
    "PatientSex": r"[MFO]",
    "StudyDate": r"\d{8}",
    "StudyTime": r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?",
}
_MAY_BE_ABSENT: Final = frozenset({"IssuerOfPatientID", "StudyDescription"})
_IDENTIFIERS: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
UTF8: Final = "ISO_IR 192"


def describe_source(dataset: Dataset) -> Dataset:
    """Return the part of a radiograph's header that objects made of it carry.

    Args:
        dataset: the radiograph; it stays as it is.
    """
    from pydicom.dataset import Dataset

    source = Dataset()
    for keyword in _IDENTIFIERS:
        setattr(source, keyword, str(dataset[keyword].value))
    for keyword in _TEXTS:
        text = _text(dataset, keyword)
        if text or keyword not in _MAY_BE_ABSENT:
            setattr(source, keyword, text)
    for keyword, shape in _SHAPED.items():
        text = _text(dataset, keyword)
        setattr(source, keyword, text if re.fullmatch(shape, text, re.ASCII) else "")
    return source


def _text(dataset: Dataset, keyword: str) -> str:
    """A value as text; of several, and where it cannot be read, nothing."""
    try:
        value = dataset.get(keyword, "")
        text = "" if value is None or isinstance(value, list | tuple) else str(value)
    except (ValueError, TypeError, LookupError, UnicodeError):
        return ""
    return "".join(letter for letter in text if letter.isprintable()).strip()
