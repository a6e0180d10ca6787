"""What the administrator sees and takes home."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from monai_cxraug.study.files import read_answers
from tests.study.server.conftest import TOKEN, Running
from tests.study.server.page import an_answer

PATHS = ["/api/admin/overview", "/api/admin/tables.zip", "/api/admin/order/BBBBBBBB"]


@pytest.mark.parametrize("path", PATHS)
def test_nobody_else_sees_anything(running: Running, path: str) -> None:
    page, _ = running.reader()
    assert page.get(path).status == 401
    page.token = "wrong"
    assert page.get(path).status == 403


def test_overview_counts(running: Running) -> None:
    page, state = running.reader()
    running.reader(start=False)
    tab, right = state["tab"], 0
    for reaction_ms in (500, 700, 1200, 600, 900, 800, 1000):
        state = page.post("/api/answer", an_answer(state, tab, reaction_ms=reaction_ms)).json
    overview = running.admin().get("/api/admin/overview").json
    done, waiting = overview["readers"]
    assert (done["answered"], done["total"], done["role"], done["years"]) == (7, state["total"], "resident", 3)
    assert (waiting["answered"], waiting["started"]) == (0, "")
    answers = list(running.site.store.answers())
    trials = running.site.store.trials
    right = sum(trials[one.trial].expected == one.answer for one in answers if trials[one.trial].role == "sentinel")
    assert (done["sentinels"], done["sentinels_right"]) == (1, right)
    assert list(done["median_ms"].values()) == [800]
    assert overview["coverage"]["fewest"] == 0
    assert overview["coverage"]["most"] == 1


def test_tables_are_what_the_contract_reads(running: Running, tmp_path: Path) -> None:
    page, state = running.reader()
    page.post("/api/answer", an_answer(state, state["tab"]))
    packed = running.admin().get("/api/admin/tables.zip")
    assert packed.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(packed.body)) as archive:
        archive.extractall(tmp_path)
        (folder,) = {Path(name).parent for name in archive.namelist()}
    answers, readers = read_answers(tmp_path / folder)
    assert answers == list(running.site.store.answers())
    assert readers == running.site.store.readers()
    exported = Path(running.admin().post("/api/admin/export").json["folder"])
    assert exported.parent == running.site.exports
    assert read_answers(exported) == (answers, readers)


def test_codes_are_created_and_unlike(running: Running) -> None:
    codes = running.admin().post("/api/admin/codes", {"count": 200}).json["codes"]
    assert len(set(codes)) == 200
    assert all(len(code) == 8 and not set(code) & set("AEIOUL01") for code in codes)


@pytest.mark.parametrize(
    "content", [{"count": 0}, {"count": 201}, {"count": "5"}, {"count": 1, "simulated": "yes"}, {}]
)
def test_wrong_requests_create_nothing(running: Running, content: dict[str, object]) -> None:
    assert running.admin().post("/api/admin/codes", content).status == 400
    assert running.admin().post("/api/admin/enrolment", {"open": "yes"}).status == 400
    assert running.admin().get("/api/admin/overview").json["readers"] == []


def test_sign_in_and_out(running: Running) -> None:
    page = running.page()
    assert page.post("/api/admin/enter", {"token": TOKEN}).status == 200
    assert page.get("/api/session").json["admin"] is True
    assert page.get("/api/admin/overview").status == 200
    assert page.post("/api/admin/leave").status == 200
    assert page.get("/api/admin/overview").status == 401


def test_order_is_told_to_programs(running: Running) -> None:
    _, state = running.reader()
    order = running.admin().get(f"/api/admin/order/{state['code']}").json["trials"]
    assert tuple(order) == running.site.store.order(state["code"])
    assert running.admin().get("/api/admin/order/x").status == 404
