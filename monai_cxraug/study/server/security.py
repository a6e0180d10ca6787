"""What every request must pass before anything looks at it, and what every reply carries."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: bytes of a request; an answer has some hundred.
LARGEST_BODY: Final = 16 * 1024
#: seconds in which a request must have arrived.
SLOWEST_BODY: Final = 15.0
#: a header that no form and no link of another site can send without asking first, which we never allow.
OWN_HEADER: Final = "x-study-page"
HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


@dataclass
class Limiter:
    """Counts failures, and refuses whoever has too many.

    Args:
        most: failures within the time.
        seconds: the time.
        clock: tells seconds; tests give their own.
    """

    most: int
    seconds: float
    clock: Callable[[], float] = time.monotonic
    _failures: dict[str, deque[float]] = field(default_factory=dict)

    def is_refused(self, who: str) -> bool:
        """Whether somebody has to wait."""
        return len(self._recent(who)) >= self.most

    def note_failure(self, who: str) -> None:
        """Count one failure."""
        if len(self._failures) > 10_000:  # as many addresses come only from somebody who wants our memory
            self._failures = {name: times for name in self._failures if (times := self._recent(name))}
        self._failures.setdefault(who, deque()).append(self.clock())

    def _recent(self, who: str) -> deque[float]:
        times = self._failures.get(who, deque())
        while times and times[0] < self.clock() - self.seconds:
            times.popleft()
        return times


@dataclass(frozen=True)
class HostRule:
    """Names under which the server may be called: a page of another name that resolves to us is not ours.

    Args:
        names: lower case, without port.
        addresses: whether any numeric address will do; nobody can rebind one.
    """

    names: frozenset[str]
    addresses: bool

    def allows(self, host: str) -> bool:
        """Whether a ``Host`` header names us."""
        name = _host_name(host)
        return name in self.names or (self.addresses and _is_address(name))


@dataclass(frozen=True)
class Guard:
    """The outermost layer: host, method, size, type and origin of a request; headers of the reply.

    Args:
        app: what is guarded.
        hosts: names under which we may be called.
    """

    app: App
    hosts: HostRule

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return None  # the server closes what is not accepted
        send = _with_headers(send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if refusal := self._find_fault(scope["method"], headers):
            return await refuse(send, *refusal)
        if scope["method"] == "POST":
            body, refusal = await _read_body(receive)
            if refusal:
                return await refuse(send, *refusal)
            receive = _replay(body)
        return await self.app(scope, receive, send)

    def _find_fault(self, method: str, headers: dict[str, str]) -> tuple[int, str] | None:
        if not self.hosts.allows(headers.get("host", "")):
            return 421, "host"
        if method in {"GET", "HEAD"}:
            return None
        if method != "POST":
            return 405, "method"
        if headers.get("origin") and urlsplit(headers["origin"]).netloc.lower() != headers["host"].lower():
            return 403, "origin"
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return 415, "type"
        if OWN_HEADER not in headers:
            return 403, "page"
        length = headers.get("content-length", "0")
        return (413, "size") if not length.isdigit() or int(length[:12]) > LARGEST_BODY else None


def read_object(body: bytes) -> dict[str, Any] | None:
    """Read a JSON object as browsers write them; None where it is anything else, NaN, infinity or too deep."""
    try:
        content = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


async def refuse(send: Send, status: int, reason: str) -> None:
    """Send an error as JSON."""
    body = json.dumps({"error": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _with_headers(send: Send) -> Send:
    async def send_more(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = {name for name, _ in message.get("headers", ())}
            more = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in own]
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return send_more


async def _read_body(receive: Receive) -> tuple[bytes, tuple[int, str] | None]:
    body = b""
    try:
        async with asyncio.timeout(SLOWEST_BODY):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return b"", (400, "cut")
                body += message.get("body", b"")
                if len(body) > LARGEST_BODY:
                    return b"", (413, "size")
                if not message.get("more_body"):
                    return body, None
    except TimeoutError:
        return b"", (408, "slow")


def _replay(body: bytes) -> Receive:
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    return receive


def _host_name(host: str) -> str:
    """The name in a ``Host`` header, lower case, without port and brackets; "" where it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return ""
    return (parts.hostname or "") if parts.netloc == host and "@" not in host else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
