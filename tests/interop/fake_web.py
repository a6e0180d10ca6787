"""A web server on loopback that answers as it is told: for what a real archive does on bad days only."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

#: status, headers and body of an answer.
Answer = tuple[int, dict[str, str], bytes]
JSON = {"Content-Type": "application/dicom+json"}


def matches(*texts: dict[str, str]) -> Answer:
    """An answer to a query, in DICOM JSON (PS3.18 F.2)."""
    found = [{tag: {"vr": "UI", "Value": [value]} for tag, value in one.items()} for one in texts]
    return 200, JSON, json.dumps(found).encode()


def multipart(part: bytes) -> Answer:
    body = b"\r\n--frontier\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n--frontier--"
    return 200, {"Content-Type": 'multipart/related; type="application/dicom"; boundary=frontier'}, body


class FakeWeb:
    """Answers ``answer(method, path, query, headers)``; remembers what it was asked.

    Args:
        answer: what to say.
    """

    def __init__(self, answer: Callable[[str, str, dict[str, str], dict[str, str]], Answer]) -> None:
        asked: list[tuple[str, str]] = []

        class Handler(BaseHTTPRequestHandler):
            def _reply(self) -> None:
                parts = urlsplit(self.path)
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                asked.append((self.command, self.path))
                status, headers, body = answer(self.command, parts.path, query, dict(self.headers))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _reply  # noqa: N815 - http.server's names

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
                """Say nothing."""

        self.asked = asked
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/dicom-web"

    def __enter__(self) -> FakeWeb:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
