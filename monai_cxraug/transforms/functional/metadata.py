"""DICOM attributes out of a metadata mapping, however the loader spells them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any


class MetadataAttributes:
    """Values by keyword from a mapping that knows keywords or tags, plain values or DICOM JSON (PS3.18 annex F).

    Args:
        metadata: keys such as ``"WindowCenter"``, ``"00281050"``, ``"0028|1050"`` or ``"(0028,1050)"``.
    """

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata

    def get(self, keyword: str, default: Any = None) -> Any:
        """Return the value of an attribute, or the default."""
        for key in (keyword, *_spellings(keyword)):
            if key in self._metadata:
                return _plain(self._metadata[key])
        return default


def _spellings(keyword: str) -> tuple[str, ...]:
    from pydicom.datadict import tag_for_keyword

    tag = f"{tag_for_keyword(keyword) or 0:08X}"
    group, element = tag[:4], tag[4:]
    spellings = (tag, f"{group}|{element}", f"{group},{element}", f"({group},{element})", f"({group}, {element})")
    return (*spellings, *(spelling.lower() for spelling in spellings))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "InlineBinary" in value:
            return base64.b64decode(value["InlineBinary"])
        value = value.get("Value")
    if isinstance(value, str):
        return value.split("\\") if "\\" in value else value.strip()
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [MetadataAttributes(item) if isinstance(item, Mapping) else item for item in value]
    return value
