"""What a reader's page asks of the server. Nothing here tells what is expected, how an image was made, or its file.

A trial is called by its position in the reader's own order, an image by that position and its place in the trial.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from monai_cxraug.study.files import CHOICES, Trial
from monai_cxraug.study.server.codes import read_code
from monai_cxraug.study.server.sessions import ADMIN, csrf_token
from monai_cxraug.study.server.site import LANGUAGES, Call, RefusalError, Reply, Site
from monai_cxraug.study.server.store import ConflictError, Given, Progress

#: what readers may call themselves; programs are enrolled by the administrator.
ROLES: Final = ("radiologist", "resident", "physician", "radiographer", "student", "other")
PLACES: Final = ("reference", "first", "second")
#: trials of which a page may hold the images before they are shown.
AHEAD: Final = 6
#: what a page may tell of how it showed a trial; all are numbers.
DISPLAY: Final = frozenset(
    "width height ratio scale zoom window level pans window_changes zooms screen_width screen_height"  # noqa: SIM905
    " first_ms gap_ms second_ms interruptions confidence_ms change_ms touch".split()
)
READER: Final = "reader"


def get_session(site: Site, call: Call) -> Reply:
    """Tell whether somebody is signed in, and how one may sign in."""
    code = _signed_in(site, call)
    known = {"signed_in": bool(code), "csrf": csrf_token(call.cookies[site.cookie(READER)]) if code else ""}
    known["admin"] = site.sessions.holder(call.cookies.get(site.cookie("admin"), "")) == ADMIN
    needs_access = bool(site.access_digest)
    title = site.study.info.get("title", "") if code or not needs_access else ""
    return Reply.of({**known, "title": title, "access": needs_access, "enrolment": site.enrolment_open})


def enter(site: Site, call: Call) -> Reply:
    """Sign in by a code."""
    site.check_tries(call.client)
    code = read_code(call.text("code"))
    if not site.may_enter(call.text("access")):
        site.note_failure(call.client)
        raise RefusalError(403, "access")
    if not code or site.store.progress(code) is None:
        site.note_failure(call.client)
        raise RefusalError(403, "code")
    return _sign_in(site, code)


def enrol(site: Site, call: Call) -> Reply:
    """Enrol oneself where that is open, and sign in; the reply tells the code."""
    site.check_tries(call.client)
    if not site.may_enter(call.text("access")):
        site.note_failure(call.client)
        raise RefusalError(403, "access")
    if not site.enrolment_open:
        raise RefusalError(403, "enrolment")
    site.note_failure(call.client)  # enrolling again and again is slowed as guessing is
    (code,) = site.store.create_readers(1, language=call.choice("language", LANGUAGES))
    return _sign_in(site, code)


def leave(site: Site, call: Call) -> Reply:
    """Sign out: a break, or the end."""
    _require_reader(site, call, change=True)
    site.sessions.end(call.cookies[site.cookie(READER)])
    return Reply.of({"left": True}, cookies={site.cookie(READER): ""})


def open_page(site: Site, call: Call) -> Reply:
    """Take the study over into the page that asks; any other page of this reader is refused from now on."""
    code = _require_reader(site, call, change=True)
    return Reply.of({"tab": site.store.open_tab(code), **_state(site, _progress(site, code))})


def set_language(site: Site, call: Call) -> Reply:
    """Remember the language of the page."""
    code = _require_reader(site, call, change=True)
    site.store.set_language(code, call.choice("language", LANGUAGES))
    return Reply.of({"language": call.content["language"]})


def start(site: Site, call: Call) -> Reply:
    """Take the questionnaire, whereupon trials are assigned."""
    code = _require_reader(site, call, change=True)
    role, language = call.choice("role", ROLES), call.choice("language", LANGUAGES)
    years = call.whole("years", -1, 80)
    with suppress(ConflictError):  # sent again, or from another page: what stands, stands
        site.store.start(code, role, years, language)
    return Reply.of({"tab": site.store.open_tab(code), **_state(site, _progress(site, code))})


def answer(site: Site, call: Call) -> Reply:
    """Commit an answer; the reply, which tells what comes next, leaves after it is on the disk."""
    code = _require_reader(site, call, change=True)
    position = call.whole("position", 0, 10**6)
    given = _read_answer(site, call, code, position)
    try:
        trial = site.store.record(code, call.text("tab"), given)
    except ConflictError as conflict:
        raise RefusalError(409, conflict.reason) from None
    return Reply.of({"saved": position, **_feedback(trial, given.answer), **_state(site, _progress(site, code))})


def get_image(site: Site, call: Call) -> Reply:
    """An image of the reader's present or next trials, and of no others."""
    code = _require_reader(site, call)
    text, place = call.path["position"], call.path["place"]
    position = int(text) if text.isascii() and text.isdigit() and len(text) < 7 else -1
    now = _progress(site, code).position
    if place not in PLACES or not now <= position < now + AHEAD:
        raise RefusalError(404, "image")
    trials = site.store.upcoming(code, position, 1)
    name = getattr(trials[0], place) if trials else ""
    if not name:
        raise RefusalError(404, "image")
    return Reply(site.study.image(name).read_bytes(), "image/png")


def _signed_in(site: Site, call: Call) -> str:
    holder = site.sessions.holder(call.cookies.get(site.cookie(READER), ""))
    return "" if holder == ADMIN else holder


def _require_reader(site: Site, call: Call, change: bool = False) -> str:
    code = _signed_in(site, call)
    if not code:
        raise RefusalError(401, "signed_out")
    if change:
        call.check_csrf(call.cookies[site.cookie(READER)])
    return code


def _sign_in(site: Site, code: str) -> Reply:
    session = site.sessions.begin(code)
    return Reply.of({"code": code, "csrf": csrf_token(session)}, cookies={site.cookie(READER): session})


def _progress(site: Site, code: str) -> Progress:
    progress = site.store.progress(code)
    if progress is None:
        raise RefusalError(401, "signed_out")
    return progress


def _state(site: Site, progress: Progress) -> dict[str, Any]:
    reader, info = progress.reader, site.study.info
    upcoming = site.store.upcoming(reader.reader, progress.position, AHEAD)
    return {
        "code": reader.reader,
        "language": reader.language,
        "title": info.get("title", ""),
        "started": progress.started,
        "finished": progress.finished,
        "position": progress.position,
        "total": progress.total,
        **_part(site, progress),
        "display_ms": info.get("display_ms", 500),
        "gap_ms": info.get("gap_ms", 500),
        "trials": [_describe(one, progress.position + index) for index, one in enumerate(upcoming)],
    }


def _part(site: Site, progress: Progress) -> dict[str, int]:
    """Which block of trials of one task comes next, of how many, and how many training trials it begins with."""
    order = site.store.upcoming(progress.reader.reader, 0, progress.total)
    tasks = list(dict.fromkeys(one.task for one in order))
    ahead = order[progress.position :]
    training = [one.role == "training" and one.task == ahead[0].task for one in ahead]
    return {
        "part": tasks.index(ahead[0].task) + 1 if ahead else len(tasks),
        "parts": len(tasks),
        "training_left": training.index(False) if False in training else len(training),
    }


def _describe(trial: Trial, position: int) -> dict[str, Any]:
    """What a page learns of a trial: whether it is a training round is all it may know of its role."""
    places = [place for place in PLACES if getattr(trial, place)]
    return {"position": position, "task": trial.task, "training": trial.role == "training", "images": places}


def _feedback(trial: Trial, given: str) -> dict[str, Any]:
    if trial.role != "training" or not trial.expected:
        return {}
    return {"feedback": {"expected": trial.expected, "right": given == trial.expected}}


def _read_answer(site: Site, call: Call, code: str, position: int) -> Given:
    trials = site.store.upcoming(code, position, 1)
    if not trials:
        raise RefusalError(409, "out_of_order")
    task = trials[0].task
    confidence = call.whole("confidence", 1, 4) if task == "turing" else call.whole("confidence", 0, 0)
    return Given(
        position=position,
        answer=call.choice("answer", CHOICES[task]),
        confidence=confidence,
        reaction_ms=call.number("reaction_ms", 0, 1e8),
        display=_read_display(call.content.get("display", {})),
    )


def _read_display(content: object) -> Mapping[str, float]:
    if not isinstance(content, dict) or not content.keys() <= DISPLAY:
        raise RefusalError(400, "display")
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in content.values()):
        raise RefusalError(400, "display")
    if len(json.dumps(content)) > 1000 or any(abs(value) > 1e9 for value in content.values()):
        raise RefusalError(400, "display")
    return content
