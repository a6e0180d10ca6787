"""Attacks, as they would be sent."""

from __future__ import annotations

import http.cookies
import json
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_cxraug.study.server.security import HostRule, Limiter, read_object
from monai_cxraug.study.server.store import Store
from tests.study.server.conftest import TOKEN, Running
from tests.study.server.page import an_answer

TRAVERSAL = [
    "/static/../serving.py",
    "/static/..%2f..%2f..%2fetc%2fpasswd",
    "/static/%2e%2e/%2e%2e/app.py",
    "/static//etc/passwd",
    "/static/....//....//etc/passwd",
    "/static/..\\..\\app.py",
    "/static/index.html%00.png",
    "/../../../../etc/passwd",
    "//etc/passwd",
    "/api/image/0/..%2f..%2fstudy.json",
    "/api/image/..%2f..%2fanswers.sqlite/first",
    "/api/image/0/__class__",
    "/api/image/0/distortion_first",
    "/api/image/0/expected",
    "/answers.sqlite",
    "/study.json",
    "/trials.csv",
]


@pytest.mark.parametrize("path", TRAVERSAL)
def test_no_path_leads_out(running: Running, path: str) -> None:
    page, _ = running.reader()
    got = page.get(path)
    assert got.status in {400, 404}, got.body[:200]
    assert b"root:" not in got.body
    assert b"import" not in got.body


INJECTIONS = [
    "' OR '1'='1",
    "'; DROP TABLE readers; --",
    "BBBBBBBB' UNION SELECT value FROM facts --",
    '" OR ""="',
    "BBBB\x00BBB",
    "%' --",
    "<script>alert(1)</script>",
    "{{7*7}}",
    "$(touch /tmp/pwned)",
    "*admin",
]


@pytest.mark.parametrize("text", INJECTIONS)
def test_codes_and_tokens_are_never_code(running: Running, text: str) -> None:
    running.site.store.create_readers(3)
    page = running.page()
    assert page.post("/api/enter", {"code": text}).status in {400, 403}
    assert page.post("/api/admin/enter", {"token": text}).status in {400, 403}
    page.cookies = (
        {"reader": "x"} if not text.isascii() or not text.isprintable() else {"reader": text.replace(";", "")}
    )
    assert page.post("/api/open").status == 401
    assert len(running.admin().get("/api/admin/overview").json["readers"]) == 3


BODIES = {
    "cut": b'{"code": "BBB',
    "an array": b"[]",
    "null": b"null",
    "nothing": b"",
    "not UTF-8": b'{"code": "\xff\xfe"}',
    "NaN": b'{"reaction_ms": NaN}',
    "infinity": b'{"reaction_ms": -Infinity}',
    "deep": b"[" * 16_000,
    "pickle": b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93\x8c\x06whoami\x85R.",
    "xml": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "long number": b'{"position": ' + b"9" * 6000 + b"}",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("path", ["/api/enter", "/api/answer"])
def test_malformed_bodies_are_refused(running: Running, path: str, body: bytes) -> None:
    page, _ = running.reader()
    assert page.send("POST", path, body).status == 400


@given(st.binary(max_size=200))
def test_no_body_crashes_the_reader_of_bodies(body: bytes) -> None:
    content = read_object(body)
    assert content is None or isinstance(content, dict)


@pytest.mark.parametrize("claimed", [None, "100000000", "-1", "1e9", "٣"])
def test_oversized_bodies_are_refused(running: Running, claimed: str | None) -> None:
    page = running.page()
    if claimed is None:
        assert page.send("POST", "/api/enter", b'{"code": "' + b"B" * 20_000 + b'"}').status == 413
    else:
        request = "POST /api/enter HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nX-Study-Page: 1\r\n"
        reply = page.raw(f"{request}Content-Length: {claimed}\r\n\r\n{{}}".encode())
        assert re.match(rb"HTTP/1.1 4(00|13)", reply), reply


def test_a_body_in_endless_pieces_is_cut(running: Running) -> None:
    head = b"POST /api/enter HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nX-Study-Page: 1\r\n"
    pieces = b"400\r\n" + b"x" * 1024 + b"\r\n"
    assert b" 413 " in running.page().raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + pieces * 40)[:40]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_other_content_types_are_refused(running: Running, kind: str) -> None:
    page, state = running.reader()
    got = page.post("/api/answer", an_answer(state, state["tab"]), Content_Type=kind)
    assert (got.status, got.error) == (415, "type")


CHANGES = ["/api/leave", "/api/open", "/api/language", "/api/start", "/api/answer"]
ADMIN_CHANGES = ["/api/admin/leave", "/api/admin/codes", "/api/admin/enrolment", "/api/admin/export"]


@pytest.mark.parametrize("path", CHANGES + ADMIN_CHANGES)
def test_changes_need_the_token_of_the_session(running: Running, path: str) -> None:
    page, _ = running.reader()
    page.post("/api/admin/enter", {"token": TOKEN})
    other, _ = running.reader()
    for wrong in ("", "0" * 64, "x", "\xe9", other.csrf):
        page.csrf = wrong
        got = page.post(path, {"count": 1, "open": True, "language": "en"})
        assert (got.status, got.error) == (403, "csrf")


@pytest.mark.parametrize("path", ["/api/enter", "/api/enrol", "/api/admin/enter", *CHANGES, *ADMIN_CHANGES])
def test_other_sites_cannot_ask_for_changes(running: Running, path: str) -> None:
    page, _ = running.reader()
    for origin in (
        "http://evil.example",
        "null",
        "http://127.0.0.1.evil.example",
        f"http://127.0.0.1:{running.port + 1}",
    ):
        assert page.post(path, {}, Origin=origin).status == 403
    assert page.send("POST", path, b"{}", without="X-Study-Page").status == 403
    assert page.get(path).status == 405
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        got = page.send(method, path, b"{}")
        assert got.status == 405
        assert "access-control-allow-origin" not in got.headers


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "evil.example:80",
        "127.0.0.1@evil.example",
        "",
        "[::1",
        "a b",
        "10.0.0.1",
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/session", "/static/main.js"])
def test_other_host_names_are_refused(running: Running, host: str, path: str) -> None:
    reply = running.page().raw(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert re.match(rb"HTTP/1.1 4(00|21) ", reply), reply[:100]
    assert b"A small study" not in reply


def test_two_hosts_or_none_are_refused(running: Running) -> None:
    for hosts in ("", "Host: 127.0.0.1\r\nHost: evil.example\r\n"):
        reply = running.page().raw(f"GET /api/session HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n".encode())
        assert re.match(rb"HTTP/1.1 4(00|21) ", reply), reply[:100]


@pytest.mark.parametrize(
    ("host", "allowed"),
    [("study.hospital.kr", True), ("STUDY.hospital.kr:8443", True), ("10.1.2.3:8000", True), ("[::1]:8000", True),
     ("hospital.kr", False), ("study.hospital.kr.evil.example", False), ("", False), ("x@10.1.2.3", False)],
)  # fmt: skip
def test_host_rule(host: str, allowed: bool) -> None:
    assert HostRule(frozenset({"study.hospital.kr"}), addresses=True).allows(host) is allowed


def test_every_reply_carries_the_headers(running: Running) -> None:
    page, _ = running.reader()
    replies = [
        page.get(path) for path in ("/", "/admin", "/static/main.js", "/api/session", "/nowhere", "/api/image/0/first")
    ]
    replies.append(page.send("POST", "/api/enter", b"x", Content_Type="text/plain"))
    for got in replies:
        policy = got.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "*" not in policy
        assert "frame-ancestors 'none'" in policy
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["x-frame-options"] == "DENY"
        assert got.headers["referrer-policy"] == "no-referrer"
        assert got.headers["cache-control"] == "no-store"
        assert "server" not in got.headers


@pytest.mark.parametrize("secure", [False, True])
def test_cookies_are_closed(store: Store, serve: Callable[..., Running], secure: bool) -> None:
    running = serve(store, secure=secure)
    (code,) = store.create_readers(1)
    page = running.page()
    set_cookies = (
        page.post("/api/enter", {"code": code}).set_cookies
        + page.post("/api/admin/enter", {"token": TOKEN}).set_cookies
    )
    assert len(set_cookies) == 2
    for text in set_cookies:
        ((name, morsel),) = http.cookies.SimpleCookie(text).items()
        assert name.startswith("__Host-") is secure
        assert morsel["httponly"] is True
        assert morsel["samesite"].lower() == "strict"
        assert bool(morsel["secure"]) is secure
        assert (morsel["path"], morsel["domain"]) == ("/", "")
        assert len(morsel.value) >= 43  # 256 bits


def test_secrets_are_stored_as_hashes(running: Running) -> None:
    page, _ = running.reader()
    page.post("/api/admin/enter", {"token": TOKEN})
    running.site.store.database.set_fact("admin_token_sha256", running.site.admin_digest)
    with running.site.store.database.reading() as connection:
        text = "\n".join(connection.iterdump())
    assert page.cookies["reader"] not in text
    assert page.cookies["admin"] not in text
    assert TOKEN not in text


def test_the_token_cannot_be_guessed_quickly(running: Running) -> None:
    page = running.page()
    for number in range(10):
        page.token = f"guess {number}"
        assert page.get("/api/admin/overview").status == 403
    page.token = TOKEN
    assert page.get("/api/admin/overview").status == 429
    page.token = ""
    assert page.post("/api/admin/enter", {"token": TOKEN}).status == 429


def test_the_limiter_forgets() -> None:
    now = [0.0]
    limiter = Limiter(2, 60, clock=lambda: now[0])
    limiter.note_failure("a")
    now[0] = 30
    limiter.note_failure("a")
    assert limiter.is_refused("a")
    assert not limiter.is_refused("b")
    now[0] = 61
    assert not limiter.is_refused("a")


def test_the_limiter_keeps_little() -> None:
    now = [0.0]
    limiter = Limiter(2, 60, clock=lambda: now[0])
    for number in range(25_000):
        now[0] += 0.1
        limiter.note_failure(str(number))
    assert len(limiter._failures) <= 10_001


def test_pages_hold_no_inline_code() -> None:
    folder = Path(__file__).parents[3] / "monai_cxraug" / "study" / "server" / "static"
    for file in folder.iterdir():
        text = file.read_text(encoding="utf-8")
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", ""), file.name
        assert "https://" not in text, file.name
        if file.suffix == ".html":
            assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*\bsrc=)", text), file.name
        if file.suffix == ".js":
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
            ), file.name


def test_both_languages_say_the_same_things() -> None:
    folder = Path(__file__).parents[3] / "monai_cxraug" / "study" / "server" / "static"
    words = {}
    for name in ("english", "korean"):
        text = (folder / f"{name}.js").read_text(encoding="utf-8")
        pairs = re.findall(r'^  (\w+): ("(?:[^"\\]|\\.)*"),$', text, re.MULTILINE)
        words[name] = {key: sorted(re.findall(r"\{(\w+)\}", json.loads(value))) for key, value in pairs}
        assert len(pairs) == text.count('",\n')
    assert words["english"] == words["korean"]


def test_a_slow_body_does_not_hold_others(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.port)) as slow:
        slow.sendall(
            b"POST /api/enter HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"X-Study-Page: 1\r\nContent-Length: 100\r\n\r\n{"
        )
        start = time.monotonic()
        assert running.page().get("/api/session").status == 200
        assert time.monotonic() - start < 5


def test_a_request_that_comes_too_slowly_ends(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai_cxraug.study.server.security.SLOWEST_BODY", 0.05)
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as slow:
        slow.sendall(
            b"POST /api/enter HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"X-Study-Page: 1\r\nContent-Length: 100\r\n\r\n{"
        )
        assert b" 408 " in slow.recv(1000)
