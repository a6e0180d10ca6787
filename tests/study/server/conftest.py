"""A running server for tests."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from monai_cxraug.study.files import Study
from monai_cxraug.study.server.database import DATABASE, Database
from monai_cxraug.study.server.security import App, HostRule
from monai_cxraug.study.server.sessions import Sessions, digest
from monai_cxraug.study.server.site import Site
from monai_cxraug.study.server.store import Store
from tests.study.server.page import Page
from tests.study.server.small_study import write_study

TOKEN = "the token of the administrator"


class OneServer:
    """One uvicorn in a thread for all tests, which each put their own application into it."""

    def __init__(self) -> None:
        import uvicorn

        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        self.app: App | None = None
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._pass_on,
                interface="asgi3",
                log_level="warning",
                lifespan="off",
                access_log=False,
                server_header=False,
            )
        )
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)

    async def _pass_on(self, scope: Any, receive: Any, send: Any) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)


@dataclass
class Running:
    """A site that is being served."""

    site: Site
    port: int

    def page(self) -> Page:
        """A browser of somebody who is not known yet."""
        return Page(self.port)

    def admin(self) -> Page:
        """A program with the administrator's token."""
        return Page(self.port, token=TOKEN)

    def reader(self, start: bool = True) -> tuple[Page, dict[str, Any]]:
        """A browser of a new reader, who has filled in the questionnaire, and what its page was told."""
        page = self.page()
        (code,) = self.site.store.create_readers(1)
        assert page.post("/api/enter", {"code": code}).status == 200
        if not start:
            return page, page.post("/api/open").json
        return page, page.post("/api/start", {"role": "resident", "years": 3, "language": "ko"}).json


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A small study of all tasks and roles; nothing changes it."""
    return write_study(tmp_path_factory.mktemp("study") / "study")


@pytest.fixture
def store(study: Study, tmp_path: Path) -> Iterator[Store]:
    """Its empty database."""
    database = Database(tmp_path / "answers" / DATABASE, study.identity)
    yield Store(database, study)
    database.close()


def site_of(store: Store, **more: Any) -> Site:
    """Serve a store as on one's own machine."""
    settings: dict[str, Any] = {"admin_digest": digest(TOKEN), "access_digest": "", "secure": False}
    return Site(store.study, store, Sessions(store.database), exports=store.database.path.parent, **settings | more)


@pytest.fixture(scope="session")
def one_server() -> Iterator[OneServer]:
    """The server of all tests."""
    pytest.importorskip("starlette", reason="starlette is not installed")
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    server = OneServer()
    yield server
    server.stop()


@pytest.fixture
def serve(one_server: OneServer) -> Callable[..., Running]:
    """Put a store into the server; what was there before is gone."""
    from monai_cxraug.study.server.app import build_app

    def start(store: Store, **more: Any) -> Running:
        site = site_of(store, **more)
        hosts = HostRule(frozenset({"127.0.0.1", "localhost"}), addresses=False)
        one_server.app = build_app(site, hosts)
        return Running(site, one_server.port)

    return start


@pytest.fixture
def running(store: Store, serve: Callable[..., Running]) -> Running:
    """The small study, served."""
    return serve(store)
