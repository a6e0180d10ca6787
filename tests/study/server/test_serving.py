"""Starting, stopping and refusing to start; tables from a database."""

from __future__ import annotations

import dataclasses
import json
import os
import ssl
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from monai_cxraug.errors import ConfigError, CxrAugError, InputError, StateError
from monai_cxraug.resources import resource_root
from monai_cxraug.study.files import Study, read_answers
from monai_cxraug.study.server.codes import read_code
from monai_cxraug.study.server.database import DATABASE
from monai_cxraug.study.server.store import Given, Store
from monai_cxraug.study.serving import ExportAnswers, ServeStudy, export_answers
from tests.study.server.page import Page, an_answer
from tests.study.server.process import ServerProcess, free_port
from tests.study.server.small_study import write_study

SECRET = "long enough a secret"
REFUSED = {
    "another machine could come, no TLS": ({"host": "0.0.0.0", "access": SECRET}, "needs TLS"),
    "IPv6, no TLS": ({"host": "::", "access": SECRET}, "needs TLS"),
    "a name, no TLS": ({"host": "study.hospital.kr", "access": SECRET}, "needs TLS"),
    "proxy, no access secret": ({"behind_tls_proxy": True}, "--access: is required"),
    "outside, no access secret": ({"host": "0.0.0.0", "behind_tls_proxy": True}, "--access: is required"),
    "short secret": ({"access": "short"}, "must have 12 letters"),
    "short token": ({"token": "short"}, "must have 12 letters"),
    "certificate alone": ({"certificate": "a.pem"}, "goes with --key"),
    "no certificate there": ({"certificate": "a.pem", "key": "b.pem"}, "file must exist"),
    "port": ({"port": 70000}, "0 to 65535"),
}


@pytest.fixture(autouse=True)
def needs_server() -> None:
    """These tests start servers."""
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment holds is not meant for tests."""
    for name in ("CXRAUG_STUDY_ACCESS", "CXRAUG_STUDY_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What would have been served, had it not been refused."""
    started: list[object] = []
    monkeypatch.setattr(ServeStudy, "_run", lambda _self, app, _listener: started.append(app))
    return started


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_safe_is_refused(study: Study, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(CxrAugError, match=message) as refused:
        ServeStudy(study.folder, tmp_path / "answers", **options).run()
    assert "\n" not in str(refused.value)
    assert refused.value.exit_status == 2
    assert not (tmp_path / "answers").exists()


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("inside", ["", "answers", "images/../answers"])
def test_answers_lie_outside_of_the_study(study: Study, inside: str) -> None:
    with pytest.raises(ConfigError, match="outside"):
        ServeStudy(study.folder, study.folder / inside).run()


@pytest.mark.usefixtures("served")
def test_a_changed_study_is_refused(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study")
    image = next((study.folder / "images").iterdir())
    image.write_bytes(image.read_bytes() + b"x")
    with pytest.raises(StateError, match="must be the file that was built"):
        ServeStudy(study.folder, tmp_path / "answers").run()


@pytest.mark.usefixtures("served")
def test_a_study_that_names_files_elsewhere_is_refused(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study")
    (tmp_path / "secret.png").write_bytes(b"secret")
    trials = [dataclasses.replace(study.trials[0], first="../../secret"), *study.trials[1:]]
    info = {name: study.info[name] for name in ("title", "seed", "tasks", "size", "display_ms", "gap_ms")}
    Study.write(study.folder, info, trials)
    with pytest.raises(InputError, match="must lead below the folder"):
        ServeStudy(study.folder, tmp_path / "answers").run()


@pytest.mark.e2e
def test_a_port_in_use_is_said_in_one_line(study: Study, tmp_path: Path) -> None:
    with ServerProcess(study.folder, tmp_path / "one") as first, pytest.raises(ConfigError, match="must be free"):
        ServeStudy(study.folder, tmp_path / "two", port=first.port).run()


@pytest.mark.e2e
def test_one_server_a_database(study: Study, tmp_path: Path) -> None:
    with ServerProcess(study.folder, tmp_path / "one"), pytest.raises(StateError, match="only one process"):
        ServeStudy(study.folder, tmp_path / "one", port=free_port()).run()


@pytest.mark.e2e
def test_it_tells_where_it_is_and_stops_when_told(study: Study, tmp_path: Path) -> None:
    code = "import sys; from monai_cxraug.study.serving import ServeStudy; ServeStudy(*sys.argv[1:], port=0).run()"
    server = subprocess.Popen(
        [sys.executable, "-c", code, str(study.folder), str(tmp_path / "a")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    readers, admin, token = (server.stdout.readline().split()[1] for _ in range(3))
    for _ in range(100):
        try:
            page = Page(int(readers.rstrip("/").rpartition(":")[2]))
            assert page.get("/").status == 200
            break
        except OSError:
            time.sleep(0.05)
    assert admin.endswith("/admin")
    assert page.post("/api/admin/enter", {"token": token}).status == 200
    server.send_signal(2)
    _, err = server.communicate(timeout=20)
    assert server.returncode == 0, err
    assert "stop with Ctrl-C" in err
    assert token.encode() not in (tmp_path / "a" / DATABASE).read_bytes()
    assert stat.S_IMODE((tmp_path / "a" / DATABASE).stat().st_mode) == 0o600


@pytest.mark.e2e
def test_a_killed_server_has_every_acknowledged_answer(study: Study, tmp_path: Path) -> None:
    with ServerProcess(study.folder, tmp_path / "a") as server:
        page = Page(server.port)
        page.post("/api/enrol", {"language": "en"})
        state = page.post("/api/start", {"role": "student", "years": 1, "language": "en"}).json
        tab = state["tab"]
        for _ in range(3):
            for _ in range(3):
                content = an_answer(state, tab)
                state = page.post("/api/answer", content).json
            server.kill()
            export_answers(tmp_path / "a" / DATABASE, tmp_path / "out")
            answers, _ = read_answers(tmp_path / "out")
            assert [one.position for one in answers] == list(range(state["position"]))
            server.start()
            assert page.post("/api/answer", content).json["saved"] == content["position"]


def test_tables_from_a_database_in_use(store: Store, tmp_path: Path) -> None:
    (code,) = store.create_readers(1)
    store.create_readers(1)
    store.start(code, "other", -1, "en")
    task = store.upcoming(code, 0, 1)[0].task
    answer = {"2afc": "left", "jnd": "same", "turing": "real"}[task]
    store.record(code, store.open_tab(code), Given(0, answer, 0, 1.5, {}))
    assert ExportAnswers(store.database.path.parent, tmp_path / "out").run() == tmp_path / "out"
    answers, readers = read_answers(tmp_path / "out")
    assert answers == list(store.answers())
    assert [one.reader for one in readers] == [code]


def test_what_is_no_database_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must exist"):
        export_answers(tmp_path / DATABASE, tmp_path / "out")
    (tmp_path / DATABASE).write_bytes(b"x" * 5000)
    with pytest.raises(InputError, match="must be a database"):
        export_answers(tmp_path / DATABASE, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_configuration_says_all_that_the_class_takes() -> None:
    config = json.loads((resource_root() / "configs" / "study_serve.json").read_text(encoding="utf-8"))
    defaults = {one.name: one.default for one in dataclasses.fields(ServeStudy)}
    assert set(config["job"]) - {"_target_"} == set(defaults)
    for name, default in defaults.items():
        assert config["job"][name] == f"@{name}"
        wanted = None if default is dataclasses.MISSING else default
        assert config[name] == (list(wanted) if isinstance(wanted, tuple) else wanted)


def test_serving_needs_neither_torch_nor_monai() -> None:
    code = (
        "import sys, monai_cxraug.study.serving, monai_cxraug.study.simulated, monai_cxraug.study.server.app;"
        " print(*({'torch', 'monai', 'numpy', 'starlette', 'uvicorn'} & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("bcdf-ghjk", "BCDFGHJK"),
        (" BCDF GHJK\t", "BCDFGHJK"),
        ("BCDFGHJ", ""),
        ("BCDFGHJ1", ""),
        ("", ""),
        ("\uff22CDFGHJK", ""),
    ],
)
def test_codes_are_read_as_people_type_them(typed: str, code: str) -> None:
    assert read_code(typed) == code


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "http://127.0.0.1:80"),
        ({"host": "::1"}, "http://[::1]:80"),
        ({"host": "0.0.0.0", "certificate": "c", "hosts": "study.example"}, "https://study.example:80"),
        ({"hosts": ["study.example", "other"], "behind_tls_proxy": True}, "https://study.example"),
    ],
)
def test_the_address_is_one_that_browsers_open(options: dict[str, Any], url: str) -> None:
    assert ServeStudy("s", "a", **options)._url(80) == url


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for localhost that nobody signed."""
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    more = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", str(files[0]), "-keyout", str(files[1])]
    try:
        subprocess.run([*command, *more], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("openssl cannot make a certificate here")
    return files


def first_reply(url: str, context: ssl.SSLContext) -> Any:
    """What a server says once it listens."""
    for _ in range(100):
        try:
            with urllib.request.urlopen(url, context=context) as reply:
                return json.loads(reply.read())
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError):
                raise
            time.sleep(0.05)
    pytest.fail("the server did not answer")


@pytest.mark.e2e
def test_tls(study: Study, tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    port = free_port()
    code = (
        "import sys; from monai_cxraug.study.serving import ServeStudy; s, a, p, c, k = sys.argv[1:];"
        " ServeStudy(s, a, host='0.0.0.0', port=int(p), certificate=c, key=k).run()"
    )
    command = [sys.executable, "-c", code, str(study.folder), str(tmp_path / "a"), str(port), *map(str, certificate)]
    environment = os.environ | {"CXRAUG_STUDY_ACCESS": SECRET}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    watchdog = threading.Timer(60, server.kill)
    watchdog.start()
    try:
        assert server.stdout is not None
        assert server.stdout.readline().split()[1] == f"https://0.0.0.0:{port}/#access=…"
        context = ssl.create_default_context(cafile=str(certificate[0]))
        assert first_reply(f"https://127.0.0.1:{port}/api/session", context)["access"] is True
    finally:
        watchdog.cancel()
        server.kill()
        server.communicate()
