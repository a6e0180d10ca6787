"""What ``cxraug study serve`` and ``cxraug study export`` run."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import socket
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from monai_cxraug.artifacts import locked
from monai_cxraug.console import announce, deliver
from monai_cxraug.errors import ConfigError, InputError, StateError
from monai_cxraug.study.files import Study, write_answers
from monai_cxraug.study.server.database import DATABASE, Database, check_identity
from monai_cxraug.study.server.security import HostRule
from monai_cxraug.study.server.sessions import ADMIN, Sessions, digest
from monai_cxraug.study.server.site import Site
from monai_cxraug.study.server.store import Store, read_answers, read_readers

if TYPE_CHECKING:
    from monai_cxraug.study.server.security import App

#: secrets may come from here, where other users of the machine do not see them.
TOKEN_VARIABLE: Final = "CXRAUG_STUDY_TOKEN"
ACCESS_VARIABLE: Final = "CXRAUG_STUDY_ACCESS"
#: letters of a secret that somebody chose.
SHORTEST_SECRET: Final = 12
_IMAGE_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")


@dataclass(frozen=True)
class ServeStudy:
    """``cxraug study serve``: ask readers, in a browser, and keep their answers.

    Args:
        study: folder that ``cxraug study build`` wrote; nothing in it is changed.
        answers: folder outside of it, for ``answers.sqlite`` and exported tables.
        host: address to listen at; ``127.0.0.1`` is this machine alone.
        port: to listen at; 0 takes a free one.
        hosts: further names by which browsers call this machine.
        access: secret that readers need besides their code; required when others can reach the page. Also read from
            ``CXRAUG_STUDY_ACCESS``.
        token: the administrator's; drawn and printed at each start unless given here or in ``CXRAUG_STUDY_TOKEN``.
        certificate: TLS certificate, PEM.
        key: its private key, PEM.
        behind_tls_proxy: a proxy on this machine speaks TLS with the browsers.
        open_enrolment: let readers enrol themselves; the administrator's page can change it.
    """

    study: str | Path
    answers: str | Path
    host: str = "127.0.0.1"
    port: int = 8000
    hosts: Sequence[str] | str = ()
    access: str | None = None
    token: str | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None
    behind_tls_proxy: bool = False
    open_enrolment: bool = False

    def run(self) -> Path:
        """Serve until interrupted; return the database."""
        require_server()
        self._check()
        study = load_served_study(self.study)
        folder = _outside(Path(self.answers), Path(self.study))
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock"):
            database = Database(folder / DATABASE, study.identity)
            try:
                self._serve(study, database)
            finally:
                database.close()
        return folder / DATABASE

    @property
    def is_exposed(self) -> bool:
        """Whether others than this machine's users can reach the page."""
        return self.behind_tls_proxy or not _is_loopback(self.host)

    def _check(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError("--port", "must be 0 to 65535", self.port)
        if bool(self.certificate) != bool(self.key):
            raise ConfigError("--certificate", "goes with --key", "one of the two", "give both")
        for file in (self.certificate, self.key):
            if file and not Path(file).is_file():
                raise InputError(file, "file must exist", "nothing there", "check the path")
        if self.is_exposed and not (self.certificate or self.behind_tls_proxy):
            raise ConfigError(
                f"--host {self.host}",
                "others can reach this address, hence it needs TLS",
                "none",
                "give --certificate and --key, or --behind-tls-proxy where a proxy speaks TLS",
            )
        for option, secret in (("--access", self._access()), ("--token", self._given_token())):
            if secret and len(secret) < SHORTEST_SECRET:
                raise ConfigError(option, f"must have {SHORTEST_SECRET} letters or more", f"{len(secret)}")
        if self.is_exposed and not self._access():
            raise ConfigError(
                "--access", "is required where others can reach the page", "none", f"give it, or set {ACCESS_VARIABLE}"
            )

    def _access(self) -> str:
        return self.access or os.environ.get(ACCESS_VARIABLE, "")

    def _given_token(self) -> str:
        return self.token or os.environ.get(TOKEN_VARIABLE, "")

    def _serve(self, study: Study, database: Database) -> None:
        given = self._given_token()
        token = given or secrets.token_urlsafe(18)
        database.set_fact("admin_token_sha256", digest(token))
        site = self._site(study, database)
        site.sessions.end_all(ADMIN)
        if self.open_enrolment:
            database.set_fact("enrolment", "open")
        with _listen(self.host, self.port) as listener:
            url = self._url(listener.getsockname()[1])
            deliver(f"readers:       {url}/{'#access=…' if site.access_digest else ''}")
            deliver(f"administrator: {url}/admin")
            deliver(f"token:         {'as given' if given else token}")
            announce(f"study {study.identity[:12]}, answers in {database.path}; stop with Ctrl-C")
            from monai_cxraug.study.server.app import build_app

            self._run(build_app(site, self._host_rule()), listener)

    def _site(self, study: Study, database: Database) -> Site:
        return Site(
            study=study,
            store=Store(database, study),
            sessions=Sessions(database),
            admin_digest=database.fact("admin_token_sha256"),
            access_digest=digest(self._access()) if self._access() else "",
            secure=bool(self.certificate or self.behind_tls_proxy),
            exports=database.path.parent,
        )

    def _host_rule(self) -> HostRule:
        names = {self.hosts} if isinstance(self.hosts, str) else set(self.hosts)
        local = {"localhost", "127.0.0.1", "::1"} | ({self.host} if self.host else set())
        return HostRule(frozenset(name.lower() for name in names | local if name), addresses=self.is_exposed)

    def _url(self, port: int) -> str:
        """The address that browsers open, as far as we know it."""
        names = [self.hosts] if isinstance(self.hosts, str) else list(self.hosts)
        if self.behind_tls_proxy and names:
            return f"https://{names[0]}"
        name = names[0] if names else f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.certificate else 'http'}://{name}:{port}"

    def _run(self, app: App, listener: socket.socket) -> None:
        import uvicorn

        config = uvicorn.Config(
            app,
            interface="asgi3",
            access_log=False,  # addresses of readers are nobody's business
            log_level="warning",
            server_header=False,
            date_header=False,
            lifespan="off",
            ws="none",
            limit_concurrency=512,
            backlog=512,
            h11_max_incomplete_event_size=16 * 1024,
            proxy_headers=self.behind_tls_proxy,
            forwarded_allow_ips="127.0.0.1,::1",
            ssl_certfile=str(self.certificate) if self.certificate else None,
            ssl_keyfile=str(self.key) if self.key else None,
            timeout_graceful_shutdown=5,
        )
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:  # uvicorn passes it on once everything is closed
            announce("stopped")


@dataclass(frozen=True)
class ExportAnswers:
    """``cxraug study export``: the answers as tables, while the server runs or afterwards.

    Args:
        answers: folder that the server keeps, or the database in it.
        out: folder for ``answers.csv`` and ``readers.csv``.
    """

    answers: str | Path
    out: str | Path

    def run(self) -> Path:
        """Export and return the folder."""
        path = Path(self.answers)
        export_answers(path / DATABASE if path.is_dir() else path, Path(self.out))
        deliver(self.out)
        return Path(self.out)


def export_answers(database: str | Path, folder: str | Path) -> None:
    """Write ``answers.csv`` and ``readers.csv`` from a database, which may be in use.

    Args:
        database: ``answers.sqlite``.
        folder: to write into; made when missing.

    Raises:
        InputError: there is no such database.
        StateError: it is of another layout.
    """
    path = Path(database)
    if not path.is_file():
        raise InputError(path, "file must exist", "nothing there", "name the folder that the server keeps")
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30)
        try:
            connection.execute("BEGIN")  # one moment of a study that goes on
            facts = dict(connection.execute("SELECT name, value FROM facts").fetchall())
            check_identity(path, facts.get("schema", ""), facts.get("study", ""), facts.get("study", ""))
            answers = list(read_answers(connection, facts["study"]))
            readers = read_readers(connection)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise InputError(path, "must be a database of answers", error, "restore it from a copy") from None
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_answers(Path(folder), answers, readers)


def require_server() -> None:
    """Refuse in one line where the optional packages are missing.

    Raises:
        ConfigError: they are.
    """
    for name in ("starlette", "uvicorn"):
        if find_spec(name) is None:
            raise ConfigError(
                f"package {name}", "is needed to serve a study", "missing", "pip install 'monai-cxraug[study]'"
            )


def load_served_study(folder: str | Path) -> Study:
    """Load a study and check that it can be served.

    Raises:
        StateError: it has no trials, or names an image as no study names it.
    """
    study = Study.load(folder)
    if not study.trials:
        raise StateError(folder, "must have trials", "none", "build it again")
    for trial in study.trials:
        for name in trial.shown:
            if not _IMAGE_NAME.fullmatch(name) or name not in study.info["images"]:
                raise StateError(folder, "images are named by letters and digits", repr(name), "build it again")
    return study


def _outside(answers: Path, study: Path) -> Path:
    if answers.resolve().is_relative_to(study.resolve()):
        raise ConfigError("--answers", "must lie outside of the study's folder", answers, "choose another folder")
    return answers


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"--host {host} --port {port}", "must be free to listen at", error, "choose another"
        ) from None
    return listener
