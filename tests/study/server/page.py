"""A bare HTTP client for tests: it sends what it is told, however wrong, and keeps cookies."""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Got:
    """A response."""

    status: int
    headers: dict[str, str]
    body: bytes
    set_cookies: list[str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return str(self.json.get("error", ""))


@dataclass
class Page:
    """Somebody's browser."""

    port: int
    cookies: dict[str, str] = field(default_factory=dict)
    csrf: str = ""
    token: str = ""

    def send(self, method: str, path: str, body: bytes | None = None, without: str = "", **headers: str | None) -> Got:
        """Send a request with the headers that our page sends, some changed, one left out."""
        own = {"Content-Type": "application/json", "X-Study-Page": "1", "X-CSRF-Token": self.csrf}
        if self.cookies:
            own["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if self.token:
            own["Authorization"] = f"Bearer {self.token}"
        own |= {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
        own = {name: value for name, value in own.items() if name.lower() != without.lower()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, own)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        set_cookies = response.headers.get_all("set-cookie") or []
        for one in set_cookies:
            name, _, value = one.partition(";")[0].partition("=")
            self.cookies[name] = value
        return Got(response.status, {k.lower(): v for k, v in response.headers.items()}, content, set_cookies)

    def get(self, path: str, **headers: str | None) -> Got:
        got = self.send("GET", path, **headers)
        self._note(got)
        return got

    def post(self, path: str, content: Any = None, **headers: str | None) -> Got:
        got = self.send("POST", path, json.dumps({} if content is None else content).encode(), **headers)
        self._note(got)
        return got

    def raw(self, request: bytes) -> bytes:
        """Send bytes that no HTTP library would."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            reply = b""
            while piece := connection.recv(65536):
                reply += piece
        return reply

    def _note(self, got: Got) -> None:
        if got.status == 200 and got.headers.get("content-type", "").startswith("application/json"):
            self.csrf = got.json.get("csrf") or self.csrf


def an_answer(state: dict[str, Any], tab: str, choice: int = 0, **more: Any) -> dict[str, Any]:
    """A valid answer to the next trial."""
    trial = state["trials"][0]
    choices = {"2afc": ("left", "right"), "jnd": ("same", "different"), "turing": ("real", "synthetic")}
    return {
        "tab": tab,
        "position": trial["position"],
        "answer": choices[trial["task"]][choice],
        "confidence": 3 if trial["task"] == "turing" else 0,
        "reaction_ms": 812.5,
        "display": {"width": 512, "zoom": 1.0},
        **more,
    }
