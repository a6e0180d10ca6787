"""DICOMweb on bad days: every answer that is none becomes one line, and no password goes where it should not."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.interop.archive import Instance, RefusedError, UnreachableError, open_archive
from monai_cxraug.interop.dicomweb import WebArchive
from tests.interop.fake_web import JSON, Answer, FakeWeb, matches, multipart
from tests.interop.objects import as_bytes, radiograph

STUDY, SERIES, INSTANCE, CLASS = "0020000D", "0020000E", "00080018", "00080016"
IMAGE = Instance("1.2.3.1", "1.2.3.1.1", "1.2.3.1.1.1")


def always(answer: Answer) -> Callable[..., Answer]:
    return lambda *asked: answer


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        ((401, {}, b""), InputError, "must let us in; found status 401 Unauthorized; set CXRAUG_PACS_USER"),
        ((403, {}, b""), InputError, "must let us in; found status 403 Forbidden"),
        ((404, {}, b""), InputError, "must answer as DICOMweb does; found status 404 Not Found"),
        ((500, {}, b"Traceback of a patient"), InputError, "found status 500 Internal Server Error; check the address"),
        ((503, {}, b""), UnreachableError, "must be a server that answers; found status 503"),
        ((200, {"Content-Type": "text/html"}, b"<html>log in</html>"), InputError, "must answer as DICOMweb does"),
        ((200, JSON, b"[[1]]"), InputError, "must answer as DICOMweb does"),
        ((200, JSON, b'[{"0020000D": "1.2"}]'), InputError, "must answer as DICOMweb does"),
        ((200, JSON, b"\xff\xfe"), InputError, "must answer as DICOMweb does"),
        ((200, {"Content-Length": "900", **JSON}, b"[{"), UnreachableError, "must be a server that answers"),
    ],
)
def test_answers_that_are_none_are_one_line(answer: Answer, kind: type[InputError], message: str) -> None:
    with FakeWeb(always(answer)) as web, pytest.raises(InputError) as caught:
        WebArchive(web.url).find_studies({"StudyDate": "20260101"})
    assert type(caught.value) is kind
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "patient" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"[]"])
def test_no_match_is_no_error(body: bytes) -> None:
    with FakeWeb(always((200 if body else 204, JSON, body))) as web:
        assert WebArchive(web.url).find_studies({}) == []


def test_every_page_is_asked_for() -> None:
    """A server with a ceiling of 100 an answer, and 250 studies."""

    def answer(method: str, path: str, query: dict[str, str], headers: dict[str, str]) -> Answer:
        first = int(query.get("offset", 0))
        return matches(*({STUDY: f"1.2.{number}"} for number in range(first, min(first + 100, 250))))

    with FakeWeb(answer) as web:
        found = WebArchive(web.url).find_studies({"PatientID": "1"})
    assert [one["StudyInstanceUID"] for one in found] == [f"1.2.{number}" for number in range(250)]
    assert all("PatientID=1" in path for _, path in web.asked)


def test_a_server_without_pages_is_not_asked_for_ever() -> None:
    with FakeWeb(always(matches(*({STUDY: f"1.2.{number}"} for number in range(100))))) as web:
        assert len(WebArchive(web.url).find_studies({})) == 100
    assert len(web.asked) == 2


def test_attributes_are_first_values_by_keyword() -> None:
    body = b"""[{"0020000D": {"vr": "UI", "Value": ["1.2"]}, "00080061": {"vr": "CS", "Value": ["CR", "SR"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]}, "00080090": {"vr": "PN"},
        "00201206": {"vr": "IS", "Value": [2]}, "00081199": {"vr": "SQ", "Value": [{}]}}]"""
    with FakeWeb(always((200, JSON, body))) as web:
        (found,) = WebArchive(web.url).find_studies({})
    assert found == {
        **{"StudyInstanceUID": "1.2", "ModalitiesInStudy": "CR", "PatientName": "Doe^Jane"},
        "NumberOfStudyRelatedSeries": "2",
    }


def test_an_object_comes_as_it_is_stored() -> None:
    stored = radiograph()
    with FakeWeb(always(multipart(as_bytes(stored)))) as web:
        found = WebArchive(web.url).fetch(IMAGE)
    assert found.PixelData == stored.PixelData
    assert found.file_meta.TransferSyntaxUID == stored.file_meta.TransferSyntaxUID


@pytest.mark.parametrize(
    "answer",
    [
        (404, {}, b""),
        (500, {}, b""),
        (200, {"Content-Type": "text/html"}, b"<html>"),
        multipart(b"no DICOM at all"),
        multipart(b""),
        (200, {"Content-Type": "multipart/related; boundary=frontier"}, b"--frontier--"),
    ],
)
def test_an_object_that_does_not_come_is_refused_alone(answer: Answer) -> None:
    with FakeWeb(always(answer)) as web, pytest.raises(RefusedError, match=r"1\.2\.3\.1\.1\.1"):
        WebArchive(web.url).fetch(IMAGE)


FAILED = b'{"00081198": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2"]}, "00081197": %s}]}}'


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ((200, JSON, b"{}"), False),
        ((200, JSON, b""), False),
        ((202, JSON, FAILED % b'{"vr": "US", "Value": [273]}'), False),  # 0111H: there already
        ((202, JSON, FAILED % b'{"vr": "US", "Value": [42752]}'), True),  # A700H: out of resources
        ((409, JSON, FAILED % b'{"vr": "US", "Value": [272]}'), True),
        ((413, {}, b""), True),
    ],
)
def test_what_an_archive_says_of_a_stored_object(answer: Answer, refused: bool) -> None:
    with FakeWeb(always(answer)) as web:
        if refused:
            with pytest.raises(RefusedError, match=r"1\.2\.3\.1\.1\.1"):
                WebArchive(web.url).store(radiograph())
        else:
            WebArchive(web.url).store(radiograph())
    assert web.asked == [("POST", "/dicom-web/studies/1.2.3.1")]


def said_by(monkeypatch: pytest.MonkeyPatch, **names: str) -> str:
    """The Authorization header of a request."""
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    said: list[str] = []

    def answer(method: str, path: str, query: dict[str, str], headers: dict[str, str]) -> Answer:
        said.append(headers.get("Authorization", ""))
        return matches()

    with FakeWeb(answer) as web:
        WebArchive(web.url).find_studies({})
    return said[0]


def test_who_asks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert said_by(monkeypatch) == ""
    assert said_by(monkeypatch, CXRAUG_PACS_TOKEN="abc") == "Bearer abc"
    basic = said_by(monkeypatch, CXRAUG_PACS_USER="me", CXRAUG_PACS_PASSWORD="pä:ss")
    assert base64.b64decode(basic.removeprefix("Basic ")).decode() == "me:pä:ss"
    for name in ("CXRAUG_PACS_USER", "CXRAUG_PACS_PASSWORD", "CXRAUG_PACS_TOKEN"):
        monkeypatch.delenv(name)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login us password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    netrc = said_by(monkeypatch, NETRC=str(tmp_path / "netrc"))
    assert base64.b64decode(netrc.removeprefix("Basic ")) == b"us:secret"


def test_half_of_the_credentials_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXRAUG_PACS_USER", "me")
    with pytest.raises(ConfigError, match="CXRAUG_PACS_PASSWORD: must be set beside CXRAUG_PACS_USER"):
        WebArchive("https://localhost/dicom-web")


def test_a_password_over_http_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CXRAUG_PACS_TOKEN", "abc")
    WebArchive("http://pacs.example.org/dicom-web")
    said = capsys.readouterr().err
    assert "readable for all" in said
    assert "abc" not in said
    WebArchive("https://pacs.example.org/dicom-web")
    WebArchive("http://127.0.0.1/dicom-web")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "url",
    [
        *("", "pacs", "ftp://pacs/x", "https://", "http://user:pass@pacs/x", "file:///etc/passwd"),
        *("dicom://pacs", "dicom://pacs/" + "A" * 17, "dicom://pacs:port/A"),
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="--url") as caught:
        open_archive(url)
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize("patience", [-1, float("nan"), 1e9, "long"])
def test_patience_has_bounds(patience: float) -> None:
    with pytest.raises(ConfigError, match="--patience: must be seconds"):
        open_archive("https://pacs/x", patience)
