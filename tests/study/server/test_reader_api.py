"""What a reader's page can do, and what it never learns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from monai_cxraug.study.files import CHOICES
from monai_cxraug.study.server.database import DATABASE, Database
from monai_cxraug.study.server.store import Store
from tests.study.server.conftest import TOKEN, Running
from tests.study.server.page import Page, an_answer
from tests.study.server.small_study import write_study


def test_a_reader_goes_from_code_to_end(running: Running) -> None:
    page, state = running.reader()
    tab, total = state["tab"], state["total"]
    parts = []
    while not state["finished"]:
        assert state["position"] == len(list(running.site.store.answers()))
        parts.append(state["part"])
        for place in state["trials"][0]["images"]:
            image = page.get(f"/api/image/{state['position']}/{place}")
            assert (image.status, image.headers["content-type"], image.body[:4]) == (200, "image/png", b"\x89PNG")
        got = page.post("/api/answer", an_answer(state, tab))
        assert (got.status, got.json["saved"]) == (200, state["position"])
        state = got.json
    assert state["position"] == total == len(list(running.site.store.answers()))
    assert parts == sorted(parts)
    assert set(parts) == {1, 2, 3}
    assert state["language"] == "ko"


def test_images_are_those_of_the_trial(running: Running) -> None:
    page, _ = running.reader()
    (code,) = [one.reader for one in running.site.store.readers()]
    for position, trial in enumerate(running.site.store.upcoming(code, 0, 6)):
        for place in ("reference", "first", "second"):
            got = page.get(f"/api/image/{position}/{place}")
            if name := getattr(trial, place):
                assert got.body == running.site.study.image(name).read_bytes()
            else:
                assert got.status == 404


def test_nothing_tells_what_a_trial_is(running: Running) -> None:
    """All that a page gets during a whole study, searched for whatever would give an answer away."""
    page, state = running.reader()
    tab, heard = state["tab"], [page.get("/api/session").body, json.dumps(state).encode()]
    while not state["finished"]:
        training = state["trials"][0]["training"]
        got = page.post("/api/answer", an_answer(state, tab))
        state = got.json
        assert ("feedback" in state) == training  # the training round, after its answer, is the only exception
        state.pop("feedback", None)
        heard.append(json.dumps(state).encode() + json.dumps(got.headers).encode())
    text = b"".join(heard).decode()
    secrets = {"expected", "sentinel", "repeat", "judged", "gaussian", "blur", "secret.png", "P001", "traditional"}
    secrets |= {one.trial for one in running.site.study.trials}
    secrets |= {image for one in running.site.study.trials for image in one.shown}
    assert [word for word in secrets if word in text] == []
    keys = {
        key
        for one in heard[1:]
        for trial in json.loads(one.split(b"}{")[0] + b"}" * (b"}{" in one)).get("trials", [])
        for key in trial
    }
    assert keys == {"position", "task", "training", "images"}


def test_training_is_corrected_after_the_answer(running: Running) -> None:
    page, state = running.reader()
    assert state["trials"][0]["training"]
    task = state["trials"][0]["task"]
    (code,) = [one.reader for one in running.site.store.readers()]
    expected = running.site.store.upcoming(code, 0, 1)[0].expected
    wrong = next(index for index, choice in enumerate(CHOICES[task]) if choice != expected)
    got = page.post("/api/answer", an_answer(state, state["tab"], wrong))
    assert got.json["feedback"] == {"expected": expected, "right": False}


def test_only_near_images_of_the_own_trials(running: Running) -> None:
    page, state = running.reader()
    assert page.get(f"/api/image/{len(state['trials']) - 1}/first").status == 200
    for position in ("6", "100", "-1", "1.0", "٣", "0x1", "9" * 40, "NaN"):
        assert (
            page.get(f"/api/image/{position.encode().hex() if not position.isascii() else position}/first").status
            == 404
        )
    page.post("/api/answer", an_answer(state, state["tab"]))
    assert page.get("/api/image/0/first").status == 404  # no second look
    assert running.page().get("/api/image/0/first").status == 401


def test_a_reader_comes_back_another_day(running: Running) -> None:
    page, state = running.reader()
    state = page.post("/api/answer", an_answer(state, state["tab"])).json
    code, old = state["code"], dict(page.cookies)
    assert page.post("/api/leave").status == 200
    page.cookies = old
    assert page.post("/api/open").status == 401
    again = running.page()
    assert again.post("/api/enter", {"code": f"{code[:4].lower()}-{code[4:]} "}).status == 200
    resumed = again.post("/api/open").json
    assert (resumed["position"], resumed["trials"]) == (1, state["trials"])


def test_two_pages_of_one_reader(running: Running) -> None:
    page, state = running.reader()
    later = page.post("/api/open").json
    got = page.post("/api/answer", an_answer(state, state["tab"]))
    assert (got.status, got.error) == (409, "other_tab")
    assert page.post("/api/answer", an_answer(later, later["tab"])).status == 200


def test_a_resent_answer_is_acknowledged_again(running: Running) -> None:
    page, state = running.reader()
    content = an_answer(state, state["tab"])
    first, second = page.post("/api/answer", content), page.post("/api/answer", content)
    assert first.status == second.status == 200
    assert first.json == second.json
    got = page.post(
        "/api/answer",
        {**content, "answer": "right" if content["answer"] == "left" else content["answer"], "reaction_ms": 1},
    )
    assert (got.status, got.error) == (409, "already_answered")
    assert len(list(running.site.store.answers())) == 1


def test_a_second_sign_in_ends_the_first(running: Running) -> None:
    page, state = running.reader()
    running.page().post("/api/enter", {"code": state["code"]})
    assert page.post("/api/answer", an_answer(state, state["tab"])).status == 401


WRONG = {
    "no task's word": {"answer": "both"},
    "another task's word": {"answer": "yes'); DROP TABLE answers; --"},
    "no text": {"answer": 1},
    "confidence": {"confidence": 5},
    "confidence as text": {"confidence": "3"},
    "true is no number": {"confidence": True},
    "negative time": {"reaction_ms": -1},
    "huge time": {"reaction_ms": 1e300},
    "text as time": {"reaction_ms": "fast"},
    "no position": {"position": None},
    "negative position": {"position": -1},
    "half a position": {"position": 0.5},
    "display as text": {"display": "<script>"},
    "unknown display": {"display": {"note": 1}},
    "text in display": {"display": {"zoom": "=1+1"}},
    "nested display": {"display": {"zoom": {"zoom": 1}}},
    "huge number in display": {"display": {"zoom": 10**400}},
    "tab": {"tab": ["x"]},
    "long tab": {"tab": "x" * 300},
    "lone surrogate": {"tab": "\ud800"},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_wrong_answers_are_refused_and_leave_nothing(running: Running, change: dict[str, object]) -> None:
    page, state = running.reader()
    got = page.post("/api/answer", {**an_answer(state, state["tab"]), **change})
    assert got.status == 400, got.body
    assert list(running.site.store.answers()) == []
    assert page.post("/api/answer", an_answer(state, state["tab"])).status == 200


@pytest.mark.parametrize("role", ["simulated", "<img src=x onerror=alert(1)>", "", None, "=cmd|'/c calc'!A1"])
def test_roles_are_those_of_people(running: Running, role: object) -> None:
    page, _ = running.reader(start=False)
    got = page.post("/api/start", {"role": role, "years": 3, "language": "en"})
    assert (got.status, got.error) == (400, "role")
    assert running.site.store.readers() == []


def test_the_questionnaire_is_taken_once(running: Running) -> None:
    page, state = running.reader()
    again = page.post("/api/start", {"role": "student", "years": 0, "language": "en"})
    assert (again.status, again.json["trials"]) == (200, state["trials"])
    assert running.site.store.readers()[0].role == "resident"


def test_nobody_answers_before_the_questionnaire(running: Running) -> None:
    page, state = running.reader(start=False)
    got = page.post("/api/answer", {"tab": state["tab"], "position": 0, "answer": "left", "confidence": 0})
    assert (got.status, got.error) == (409, "out_of_order")


def test_enrolment_is_closed_until_opened(running: Running) -> None:
    page = running.page()
    assert (page.post("/api/enrol", {"language": "en"}).error, page.get("/api/session").json["enrolment"]) == (
        "enrolment",
        False,
    )
    assert running.admin().post("/api/admin/enrolment", {"open": True}).status == 200
    code = page.post("/api/enrol", {"language": "ko"}).json["code"]
    assert len(code) == 8
    assert page.post("/api/open").json["code"] == code


def test_access_is_asked_where_others_can_come(store: Store, serve: Callable[..., Running]) -> None:
    from monai_cxraug.study.server.sessions import digest

    running = serve(store, access_digest=digest("an access secret"))
    (code,) = store.create_readers(1)
    page = running.page()
    assert page.get("/api/session").json["title"] == ""
    assert (
        page.post("/api/enter", {"code": code}).error,
        page.post("/api/enter", {"code": code, "access": "x"}).error,
    ) == (
        "access",
        "access",
    )
    assert page.post("/api/enter", {"code": code, "access": "an access secret"}).status == 200


def test_codes_cannot_be_guessed_quickly(running: Running) -> None:
    (code,) = running.site.store.create_readers(1)
    page = running.page()
    for _ in range(10):
        assert page.post("/api/enter", {"code": "BBBBBBBB"}).error == "code"
    got = page.post("/api/enter", {"code": code})
    assert (got.status, got.error) == (429, "tries")


def test_simulated_readers_are_marked(running: Running) -> None:
    admin = running.admin()
    (code,) = admin.post("/api/admin/codes", {"count": 1, "simulated": True}).json["codes"]
    page = running.page()
    page.post("/api/enter", {"code": code})
    page.post("/api/start", {"role": "radiologist", "years": 40, "language": "en"})
    (reader,) = running.site.store.readers()
    assert (reader.simulated, reader.role) == (1, "simulated")


def test_a_full_disk_loses_nothing(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    page, state = running.reader()

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "record", fail)
        assert page.post("/api/answer", an_answer(state, state["tab"])).status == 503
    assert page.post("/api/answer", an_answer(state, state["tab"])).status == 200


def test_sessions_and_tabs_survive_a_restart(tmp_path: Path, serve: Callable[..., Running]) -> None:
    study = write_study(tmp_path / "s")
    first = serve(Store(Database(tmp_path / DATABASE, study.identity), study))
    page, state = first.reader()
    first.site.store.database.close()
    second = serve(Store(Database(tmp_path / DATABASE, study.identity), study))
    page.port = second.port
    assert page.post("/api/answer", an_answer(state, state["tab"])).status == 200


def test_the_administrator_is_no_reader(running: Running) -> None:
    page = running.page()
    page.post("/api/admin/enter", {"token": TOKEN})
    page.cookies["reader"] = page.cookies["admin"]
    assert page.post("/api/open").status == 401
    reader, _ = running.reader()
    assert Page(running.port, cookies={"admin": reader.cookies["reader"]}).get("/api/admin/overview").status == 401
