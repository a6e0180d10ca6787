"""The gate before synthetic images are mixed or exported: are they copies of training images, and who knows?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from monai_cxraug.artifacts import file_hash, read_json
from monai_cxraug.console import announce
from monai_cxraug.errors import StateError

AUDIT_SCHEMA: Final = "cxraug.audit/1"
AUDIT_FILE: Final = "audit.json"
#: the verdict that shuts the gate.
COPIES: Final = "copies of training images"

_MEND: Final = (
    "cxraug audit says which (nearest.csv); make the set anew with --drop_memorised, or say allow_copies: true"
)
_AUDIT: Final = "run cxraug audit SET --manifest TRAINING.csv, or say allow_copies: true"


@dataclass(frozen=True)
class Admission:
    """What is known of copies in a set that was let through.

    Args:
        folder: of the set.
        verdict: of its audit; None where there is none.
        why: why there is none, in words.
        allowed: whether it was let through only because that was asked for in so many words.
    """

    folder: Path
    verdict: str | None
    why: str | None
    allowed: bool

    def tell(self) -> None:
        """Say on standard error where nobody knows of copies."""
        if self.verdict is None:
            announce(f"{self.folder}: not audited for copies of training images ({self.why}); cxraug audit does it")

    def record(self) -> dict[str, Any]:
        """Return it as plain values, without this machine's folders."""
        audited = {"verdict": self.verdict} if self.why is None else {"not run": self.why}
        return {"set": self.folder.name, **audited, "allow_copies": self.allowed}


def find_audit(folder: Path, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the memorisation audit of a set: of ``audit.json`` where that is about these very images, or its own.

    Args:
        folder: of the set.
        provenance: content of its ``provenance.json``.

    Returns:
        The audit, or ``{"not run": why}``.
    """
    if (folder / AUDIT_FILE).is_file():
        later = read_json(folder / AUDIT_FILE, AUDIT_SCHEMA)
        if later.get("pack") == file_hash(folder / "pack.npy") and isinstance(later.get("memorisation_audit"), dict):
            return dict(later["memorisation_audit"])
    own = provenance.get("memorisation_audit")
    return dict(own) if isinstance(own, dict) and own else {"not run": "there is none"}


def admit(folder: Path, provenance: Mapping[str, Any], allow_copies: bool, unaudited: bool) -> Admission:
    """Refuse a set that holds copies of training images, unless that is asked for.

    Args:
        folder: of the set.
        provenance: content of its ``provenance.json``.
        allow_copies: let it through in any case, and record that.
        unaudited: whether a set without an audit may pass; :meth:`Admission.tell` then says it.

    Raises:
        StateError: the audit found copies, or there is no audit and there must be one.
    """
    audit = find_audit(folder, provenance)
    verdict, why = audit.get("verdict"), audit.get("not run")
    if verdict is None and why is None:
        why = "there is none"
    refused = verdict == COPIES or (verdict is None and not unaudited)
    if refused and not allow_copies:
        rule = "synthetic images may not be copies of training images"
        if verdict is None:
            raise StateError(folder, f"{rule}; its audit must say so", f"no audit ({why})", _AUDIT)
        found = f"{audit.get('near')} of {audit.get('images')} near one, {audit.get('copies')} of them surely copies"
        raise StateError(folder, rule, found, _MEND)
    return Admission(folder, verdict, None if verdict is not None else str(why), refused)
