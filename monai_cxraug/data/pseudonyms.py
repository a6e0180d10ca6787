"""Pseudonyms: patient, study and image names replaced by a keyed hash whose key, the salt, stays on site."""

from __future__ import annotations

import csv
import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from monai_cxraug.artifacts import atomic_path
from monai_cxraug.data.sources.listing import Listing
from monai_cxraug.errors import InputError, LeakageError

_BYTES = 32
_SHORTEST = 16
_DIGITS = 16


@dataclass(frozen=True)
class Salt:
    """The key of the hash: HMAC-SHA-256 (RFC 2104), of which the first 64 bits are kept.

    Without the key nobody can try all patient numbers of a hospital until one fits, as with a plain hash.

    Args:
        key: at least 16 random bytes.
    """

    key: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that are equal for equal salts and say nothing about the salt."""
        return self._digest("fingerprint", "monai_cxraug")

    def patient(self, name: str) -> str:
        """Return the pseudonym of a patient; of none, none."""
        return self._digest("patient", name)

    def study(self, name: str) -> str:
        """Return the pseudonym of a study; of none, none."""
        return self._digest("study", name)

    def image(self, name: str) -> str:
        """Return the pseudonym of an image's name, which keeps its suffix."""
        suffix = PurePosixPath(name).suffix.lower()
        return self._digest("image", name) + (suffix if suffix[1:].isalpha() else "")

    def _digest(self, kind: str, text: str) -> str:
        if not text:
            return ""
        return hmac.new(self.key, f"{kind}\0{text}".encode(), hashlib.sha256).hexdigest()[:_DIGITS]


def read_salt(path: str | Path) -> Salt:
    """Read a salt file; make it of 32 random bytes, for its owner's eyes only, where there is none.

    Args:
        path: text file with one line of hexadecimal digits, or any other secret of at least 16 characters.

    Returns:
        The salt.

    Raises:
        InputError: the file cannot be read or made, or is too short.
    """
    path = Path(path)
    try:
        if not path.exists():
            _make(path)
        key = path.read_bytes().strip()
    except OSError as error:
        reason = error.strerror or error
        raise InputError(path, "salt file must be readable, or possible to make", reason, "check the path") from None
    if len(key) < _SHORTEST:
        mend = "remove the file to have one made, or write a longer secret"
        raise InputError(path, f"a salt needs at least {_SHORTEST} characters", len(key), mend)
    return Salt(key)


def hide_identities(listing: Listing, salt: Salt) -> Listing:
    """Replace every name of patients, studies and images in a listing; the files behind it stay the same.

    Args:
        listing: the images, split already: a split does not depend on the salt.
        salt: the key.

    Returns:
        The listing, with the salt's fingerprint as ``info["salt"]``.
    """
    rows = [_hide(row, salt) for row in listing.rows]
    info = {**listing.info, "salt": salt.fingerprint}
    return replace(
        listing,
        rows=rows,
        info=info,
        missing=_hide_names(listing.missing, salt),
        dropped=_hide_names(listing.dropped, salt),
        refused=_hide_names(listing.refused, salt),
    )


def write_key(listing: Listing, salt: Salt, path: Path) -> None:
    """Write which file each pseudonym of an image stands for, so that a quarantined file can be found again.

    Args:
        listing: the images, by their own names.
        salt: the key.
        path: the table to write, for its owner's eyes only; it belongs beside the salt, not beside the data.

    Raises:
        InputError: the table cannot be written.
    """
    left_out = (listing.missing, listing.dropped, listing.refused)
    names = [*(row["image"] for row in listing.rows), *(name for reasons in left_out for name in reasons)]
    try:
        with atomic_path(path, private=True) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows([("image", "file"), *((salt.image(n), n) for n in names)])
    except OSError as error:
        raise InputError(
            path, "table of pseudonyms must be writable", error.strerror or error, "move the salt"
        ) from None


def refuse_different_salts(infos: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse manifests whose patients were hashed with different salts, or hashed in one and not in another.

    The same patient would bear two names, and no check could see that training and evaluation share images.

    Args:
        infos: what the JSON beside each manifest says, by the manifest's path.

    Raises:
        LeakageError: the salts differ.
    """
    salts = {where: info.get("salt") for where, info in infos.items()}
    first = next(iter(salts.items()), ("", None))
    for where, salt in salts.items():
        if salt != first[1]:
            found = f"{salt or 'none'} beside {first[1] or 'none'} of {first[0]}"
            rule = "patient names of one experiment must be hashed with one salt"
            raise LeakageError(where, rule, f"salt {found}", "prepare all images with the same --salt FILE")


def _hide(row: Mapping[str, str], salt: Salt) -> dict[str, str]:
    hidden = {"image": salt.image(row["image"]), "patient_id": salt.patient(row.get("patient_id", ""))}
    return {**row, **hidden, "study_id": salt.study(row.get("study_id", ""))}


def _hide_names(reasons: Mapping[str, str], salt: Salt) -> dict[str, str]:
    return {salt.image(name): reason for name, reason in reasons.items()}


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(secrets.token_hex(_BYTES).encode() + b"\n")
