"""What the administrator's page, and programs with its token, ask of the server."""

from __future__ import annotations

import io
import tempfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from monai_cxraug.study.files import ANSWERS, READERS, write_answers
from monai_cxraug.study.server.codes import read_code
from monai_cxraug.study.server.overview import summarise
from monai_cxraug.study.server.sessions import ADMIN, csrf_token
from monai_cxraug.study.server.site import LANGUAGES, Call, RefusalError, Reply, Site

COOKIE: Final = "admin"
_BEARER: Final = "Bearer "


def admin_enter(site: Site, call: Call) -> Reply:
    """Sign in by the token."""
    site.check_tries(call.client)
    if not site.is_admin_token(call.text("token")):
        site.note_failure(call.client)
        raise RefusalError(403, "token")
    session = site.sessions.begin(ADMIN)
    return Reply.of({"csrf": csrf_token(session)}, cookies={site.cookie(COOKIE): session})


def admin_leave(site: Site, call: Call) -> Reply:
    """Sign out."""
    _require_admin(site, call, change=True)
    site.sessions.end(call.cookies.get(site.cookie(COOKIE), ""))
    return Reply.of({"left": True}, cookies={site.cookie(COOKIE): ""})


def get_overview(site: Site, call: Call) -> Reply:
    """Progress of every reader."""
    session = _require_admin(site, call)
    overview = summarise(site.store)
    return Reply.of({**overview, "enrolment": site.enrolment_open, "csrf": csrf_token(session) if session else ""})


def create_codes(site: Site, call: Call) -> Reply:
    """Enrol readers and tell their codes."""
    _require_admin(site, call, change=True)
    simulated = call.content.get("simulated", False)
    if not isinstance(simulated, bool):
        raise RefusalError(400, "simulated")
    language = call.choice("language", LANGUAGES) if "language" in call.content else "en"
    return Reply.of({"codes": site.store.create_readers(call.whole("count", 1, 200), simulated, language)})


def set_enrolment(site: Site, call: Call) -> Reply:
    """Open or close self-enrolment."""
    _require_admin(site, call, change=True)
    opened = call.content.get("open")
    if not isinstance(opened, bool):
        raise RefusalError(400, "open")
    site.store.database.set_fact("enrolment", "open" if opened else "closed")
    return Reply.of({"enrolment": opened})


def get_order(site: Site, call: Call) -> Reply:
    """Names of a reader's trials, in order: for simulated readers, who look the answer up."""
    _require_admin(site, call)
    code = read_code(call.path["code"])
    if not code or site.store.progress(code) is None:
        raise RefusalError(404, "code")
    return Reply.of({"trials": list(site.store.order(code))})


def get_tables(site: Site, call: Call) -> Reply:
    """``answers.csv`` and ``readers.csv``, zipped."""
    _require_admin(site, call)
    name = f"answers-{_stamp()}"
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        write_answers(Path(folder), site.store.answers(), site.store.readers())
        for table in (ANSWERS, READERS):
            archive.write(Path(folder) / table, f"{name}/{table}")
    disposition = {"content-disposition": f'attachment; filename="{name}.zip"'}
    return Reply(packed.getvalue(), "application/zip", headers=disposition)


def export(site: Site, call: Call) -> Reply:
    """Write the tables into a new folder beside the database."""
    _require_admin(site, call, change=True)
    folder = site.exports / f"export-{_stamp()}"
    folder.mkdir(parents=True, exist_ok=True)
    write_answers(folder, site.store.answers(), site.store.readers())
    return Reply.of({"folder": str(folder)})


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def _require_admin(site: Site, call: Call, change: bool = False) -> str:
    """Return the session; "" for a program, which sends the token itself and needs no proof against other sites."""
    header = call.headers.get("authorization", "")
    if header.startswith(_BEARER):
        site.check_tries(call.client)
        if not site.is_admin_token(header.removeprefix(_BEARER)):
            site.note_failure(call.client)
            raise RefusalError(403, "token")
        return ""
    session = call.cookies.get(site.cookie(COOKIE), "")
    if site.sessions.holder(session) != ADMIN:
        raise RefusalError(401, "signed_out")
    if change:
        call.check_csrf(session)
    return session
