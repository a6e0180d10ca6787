"""Programs that answer a study over HTTP, as browsers do; their rows say ``simulated``."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from monai_cxraug.errors import InputError, StateError
from monai_cxraug.study.files import Study, Trial

_PNG: Final = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Opinion:
    """What a simulated reader answers.

    Args:
        answer: one of the task's choices.
        confidence: 1 to 4, used where it is asked.
        reaction_ms: the time that it claims to have needed.
    """

    answer: str
    confidence: int = 2
    reaction_ms: float = 0.0


#: how a simulated reader decides; a bare answer is an unsure one, given at once.
Policy = Callable[[Trial], "Opinion | str"]


@dataclass
class Attendance:
    """What a simulated reader did.

    Args:
        code: of the reader.
        acknowledged: trial and answer, for each that the server has said is saved.
        seconds: from sending an answer to its acknowledgement, of those that needed no retry.
        retries: requests that were sent again.
    """

    code: str = ""
    acknowledged: list[tuple[str, str]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    retries: int = 0


class PageClient:
    """Speaks to the server as a page does: one connection, cookies, the token against other sites; it is patient.

    Args:
        url: of the server, without a path.
        patience: seconds to go on trying while the server is away or in trouble.
        token: the administrator's, for requests as administrator.
    """

    def __init__(self, url: str, patience: float = 60.0, token: str = "") -> None:  # nosec B107: none, by default
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname or "", parts.port, timeout=30)
        self._patience, self._token = patience, token
        self._cookies: dict[str, str] = {}
        self._csrf, self.retries = "", 0

    def get(self, path: str) -> bytes:
        """Ask for something.

        Raises:
            InputError: the server is away for longer than the patience.
            StateError: it refuses.
        """
        return self._insist("GET", path, None)

    def get_json(self, path: str) -> dict[str, Any]:
        """Ask for JSON."""
        return self._read(self.get(path))

    def post(self, path: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
        """Change something, and return the reply.

        Raises:
            InputError: the server is away for longer than the patience.
            StateError: it refuses.
        """
        return self._read(self._insist("POST", path, json.dumps(content or {}).encode()))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _read(self, body: bytes) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(body)
        self._csrf = content.get("csrf") or self._csrf
        return content

    def _insist(self, method: str, path: str, body: bytes | None) -> bytes:
        give_up = time.monotonic() + self._patience
        while True:
            try:
                status, reply = self._send(method, path, body)
                if status < 500:
                    break
            except (OSError, http.client.HTTPException) as error:
                status, reply = 0, str(error).encode()
            self._connection.close()
            if time.monotonic() > give_up:
                raise InputError(path, "the server must answer", reply.decode(errors="replace"), "is it running?")
            self.retries += 1
            time.sleep(0.1)
        if status != 200:
            raise StateError(path, "the server refuses", f"{status} {reply.decode(errors='replace')}")
        return reply

    def _send(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        self._connection.request(method, path, body, self._headers())
        response = self._connection.getresponse()
        for header in response.headers.get_all("set-cookie") or ():
            name, _, value = header.partition(";")[0].partition("=")
            self._cookies[name] = value
        return response.status, response.read()

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "X-Study-Page": "1", "X-CSRF-Token": self._csrf}
        if self._cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers


@dataclass(frozen=True)
class SimulatedReaders:
    """Programs that answer a running study, each from its first trial to its last.

    Args:
        url: of the server.
        token: the administrator's.
        study: that is served; what its trials show tells the policies what to answer.
        access: the secret for readers, where one is asked.
        patience: seconds to go on trying while the server is away.
    """

    url: str
    token: str
    study: Study
    access: str = ""
    patience: float = 60.0

    def run(self, policies: Sequence[Policy], together: int = 8) -> list[Attendance]:
        """Answer with one reader for each policy, several at a time."""
        with ThreadPoolExecutor(max_workers=together) as threads:
            return list(threads.map(self.answer_all, policies))

    def answer_all(self, policy: Policy) -> Attendance:
        """Enrol one reader, who answers every trial."""
        admin = PageClient(self.url, self.patience, self.token)
        (code,) = admin.post("/api/admin/codes", {"count": 1, "simulated": True})["codes"]
        page, done = PageClient(self.url, self.patience), Attendance(code)
        page.post("/api/enter", {"code": code, "access": self.access})
        state = page.post("/api/start", {"role": "other", "years": -1, "language": "en"})
        trials = {one.trial: one for one in self.study.trials}
        order = [trials[name] for name in admin.get_json(f"/api/admin/order/{code}")["trials"]]
        admin.close()
        for position, trial in enumerate(order):
            self._answer(page, state["tab"], position, trial, policy(trial), done)
        page.close()
        done.retries = page.retries
        return done

    def _answer(
        self, page: PageClient, tab: str, position: int, trial: Trial, opinion: Opinion | str, done: Attendance
    ) -> None:
        opinion = Opinion(opinion) if isinstance(opinion, str) else opinion
        for place in ("reference", "first", "second"):
            if getattr(trial, place) and not page.get(f"/api/image/{position}/{place}").startswith(_PNG):
                raise StateError(trial.trial, "its image must be a PNG", place)
        content = {
            "tab": tab,
            "position": position,
            "answer": opinion.answer,
            "confidence": opinion.confidence if trial.task == "turing" else 0,
            "reaction_ms": opinion.reaction_ms,
            "display": {},
        }
        before, start = page.retries, time.perf_counter()
        page.post("/api/answer", content)
        if page.retries == before:
            done.seconds.append(time.perf_counter() - start)
        done.acknowledged.append((trial.trial, opinion.answer))
