"""DICOM identifiers that name what they stand for: the same names give the same UID, on every machine, for ever.

An object that is made and stored again therefore carries the UID that it had, and an archive keeps one of it.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import Final

#: of our names among all that UUIDs are made from; changing it changes every UID.
_NAMESPACE: Final = uuid.UUID("5d1f6a52-8f0e-4c3b-9a55-2b8a6f6f0c41")
_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)+", re.ASCII)
_LONGEST: Final = 64


def derive_uid(*names: object) -> str:
    """Derive a UID from names.

    Args:
        names: what the object is, such as a model's hash, the UID of the source image, and a kind.

    Returns:
        A version 5 UUID under the root ``2.25.`` (PS3.5 B.2), at most 44 letters.
    """
    text = json.dumps([str(name) for name in names])  # ("a", "bc") and ("ab", "c") differ
    return f"2.25.{uuid.uuid5(_NAMESPACE, text).int}"


def is_uid(text: str) -> bool:
    """Whether a text is a UID by its letters and length (PS3.5 9.1), and so harmless as the name of a file.

    Leading zeros in a component, which the standard forbids and archives hold, are let through.
    """
    return len(text) <= _LONGEST and _UID.fullmatch(text) is not None
