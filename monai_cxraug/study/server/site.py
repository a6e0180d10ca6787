"""What the handlers of requests share: the site they serve, a request as they see it, and their replies."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from monai_cxraug.study.files import Study
from monai_cxraug.study.server.security import Limiter
from monai_cxraug.study.server.sessions import Sessions, csrf_token, same_secret
from monai_cxraug.study.server.store import Store

#: languages of the page.
LANGUAGES: Final = ("en", "ko")


@dataclass(frozen=True)
class Site:
    """One study as it is served.

    Args:
        study: what is asked.
        store: readers and answers.
        sessions: who is signed in.
        admin_digest: SHA-256 of the administrator's token.
        access_digest: SHA-256 of the secret without which nobody may try a code; "" where none is asked.
        secure: whether browsers reach us by TLS alone.
        exports: folder that takes exported tables.
    """

    study: Study
    store: Store
    sessions: Sessions
    admin_digest: str
    access_digest: str
    secure: bool
    exports: Path
    tries: Limiter = field(default_factory=lambda: Limiter(10, 60.0))
    tries_of_all: Limiter = field(default_factory=lambda: Limiter(200, 60.0))

    @property
    def enrolment_open(self) -> bool:
        """Whether readers may enrol themselves."""
        return self.store.database.fact("enrolment") == "open"

    def cookie(self, kind: str) -> str:
        """Name of a cookie; under TLS one that no other host or plain page can set."""
        return f"__Host-{kind}" if self.secure else kind

    def check_tries(self, client: str) -> None:
        """Refuse who has guessed too often.

        Raises:
            RefusalError: too many failures of this client, or of all together.
        """
        if self.tries.is_refused(client) or self.tries_of_all.is_refused("all"):
            raise RefusalError(429, "tries")

    def note_failure(self, client: str) -> None:
        """Count a wrong code, secret or token."""
        self.tries.note_failure(client)
        self.tries_of_all.note_failure("all")

    def is_admin_token(self, token: str) -> bool:
        """Whether this is the administrator's token."""
        return same_secret(token, self.admin_digest)

    def may_enter(self, access: str) -> bool:
        """Whether this is the secret for all readers, where one is asked."""
        return not self.access_digest or same_secret(access, self.access_digest)


@dataclass(frozen=True)
class Call:
    """A request.

    Args:
        path: values in the path.
        cookies: as sent.
        headers: lower-case names.
        content: the JSON object of a POST, else empty.
        client: address.
    """

    path: Mapping[str, str]
    cookies: Mapping[str, str]
    headers: Mapping[str, str]
    content: Mapping[str, Any]
    client: str

    def text(self, name: str, longest: int = 200) -> str:
        """A string of the content; "" where it is missing.

        Raises:
            RefusalError: it is no string, too long, or holds what nobody types.
        """
        value = self.content.get(name, "")
        if not isinstance(value, str) or len(value) > longest or not value.isprintable():
            raise RefusalError(400, name)
        return value

    def whole(self, name: str, low: int, high: int) -> int:
        """A whole number of the content.

        Raises:
            RefusalError: it is missing, something else, or out of range.
        """
        value = self.content.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise RefusalError(400, name)
        return value

    def number(self, name: str, low: float, high: float) -> float:
        """A number of the content.

        Raises:
            RefusalError: it is missing, something else, or out of range.
        """
        value = self.content.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise RefusalError(400, name)
        return float(value)

    def choice(self, name: str, known: tuple[str, ...]) -> str:
        """One of some words.

        Raises:
            RefusalError: it is none of them.
        """
        if (value := self.text(name)) not in known:
            raise RefusalError(400, name)
        return value

    def check_csrf(self, session: str) -> None:
        """Refuse a change that no page of ours asked for.

        Raises:
            RefusalError: the token is not the session's.
        """
        if not hmac.compare_digest(self.headers.get("x-csrf-token", "").encode(), csrf_token(session).encode()):
            raise RefusalError(403, "csrf")


@dataclass(frozen=True)
class Reply:
    """What goes back.

    Args:
        content: bytes.
        kind: media type.
        status: of HTTP.
        headers: more of them.
        cookies: to set; "" removes one.
    """

    content: bytes
    kind: str = "application/json"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, content: Mapping[str, Any], status: int = 200, cookies: Mapping[str, str] | None = None) -> Reply:
        """Make a reply of JSON."""
        body = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        return cls(body, status=status, cookies=cookies or {})


class RefusalError(Exception):
    """A request that is not granted.

    Args:
        status: of HTTP.
        reason: one word, which the page turns into a sentence.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason
