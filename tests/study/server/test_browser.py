"""The page in a real browser: by keyboard, by touch, in Korean, interrupted, and as assistive programs see it."""

from __future__ import annotations

import itertools
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import pytest

from monai_cxraug.study.files import Answer, Study, read_answers
from monai_cxraug.study.server.database import DATABASE, Database
from monai_cxraug.study.server.store import Store
from monai_cxraug.study.serving import export_answers
from tests.study.server.conftest import TOKEN, Running
from tests.study.server.process import ServerProcess
from tests.study.server.small_study import write_study

pytestmark = pytest.mark.service
CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync"
    " --no-first-run"
)
DESKTOP: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}, "locale": "en-GB"}
TABLET: dict[str, Any] = {"viewport": {"width": 820, "height": 1180}, "has_touch": True, "device_scale_factor": 2}
#: what the first canvas shows.
PIXELS = (
    """((c) => [...c.getContext("2d").getImageData(0, 0, c.width, c.height).data])(document.querySelector("canvas"))"""
)
#: what the page waits for.
STATUS = """() => {
  const there = (selector) => Boolean(document.querySelector(selector));
  if (there("button.main")) return "main";
  if (there(".stage")) return document.querySelector(".answers").dataset.open || "watch";
  return there("#view h1") ? "end" : "empty";
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open pages that may complain about nothing and ask nobody else for anything."""
    contexts, faults = [], []

    def start(url: str, path: str = "/", faultless: bool = True, **options: Any) -> Any:
        context = browser.new_context(**(options or DESKTOP))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        if faultless:
            page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
        page.on(
            "request", lambda request: None if request.url.startswith((url, "blob:")) else faults.append(request.url)
        )
        page.goto(url + path)
        page.wait_for_selector("h1")
        return page

    yield start
    for context in contexts:
        context.close()
    assert faults == []


def url_of(running: Running) -> str:
    return f"http://127.0.0.1:{running.port}"


def sign_in(page: Any, store: Store, role: str = "resident") -> str:
    """A new reader types a code and fills in the questionnaire."""
    (code,) = store.create_readers(1)
    page.fill("#code", f"{code[:4]}-{code[4:]}".lower())
    page.keyboard.press("Enter")
    page.wait_for_selector("fieldset")
    page.check(f"[value={role}]")
    page.fill("#years", "7")
    page.keyboard.press("Enter")
    page.wait_for_selector("dl.keys")
    return code


def wait_for(page: Any, *wanted: str) -> str:
    """Wait until the page waits for one of these, and tell which."""
    page.wait_for_function(f"(wanted) => wanted.includes(({STATUS})())", arg=list(wanted), polling=20)
    return str(page.evaluate(STATUS))


def go_to_trial(page: Any, task: str = "", judged: bool = False) -> None:
    """Press on until a trial of a task, beyond its training if wished, asks for an answer; answer the others."""
    for _ in range(400):
        status = wait_for(page, "main", "choice", "confidence", "next")
        there = page.locator(f".stage.task-{task}" if task else ".stage").count()
        if status == "choice" and there and not (judged and page.locator(".badge").is_visible()):
            return
        press(page, status, "ArrowLeft")
    raise AssertionError("no such trial")


def press(page: Any, status: str, choice: str) -> None:
    """Press the key that is due, and wait until something came of it."""
    count = page.evaluate("() => document.querySelector('.count')?.textContent")
    page.keyboard.press({"main": " ", "next": " ", "choice": choice, "confidence": "3"}[status])
    page.wait_for_function(
        f"([was, count]) => ({STATUS})() !== was || document.querySelector('.count')?.textContent !== count",
        arg=[status, count],
        polling=10,
    )


def answer_by_keyboard(page: Any, choose: Callable[[], str], think_ms: int = 0) -> None:
    """Answer everything that is left."""
    while (status := wait_for(page, "main", "choice", "confidence", "next", "end")) != "end":
        page.wait_for_timeout(think_ms)
        press(page, status, choose())


def displays(answers: list[Answer]) -> list[dict[str, float]]:
    return [json.loads(one.display) for one in answers]


def test_all_tasks_by_keyboard(running: Running, open_page: Callable[..., Any]) -> None:
    page, store = open_page(url_of(running)), running.site.store
    code = sign_in(page, store)
    keys = itertools.cycle(["ArrowLeft", "ArrowRight", "ArrowRight"])
    pressed: list[str] = []

    def choose() -> str:
        if page.evaluate(STATUS) == "choice":
            pressed.append(next(keys))
            return pressed[-1]
        return "ArrowLeft"

    answer_by_keyboard(page, choose)
    answers = list(store.answers())
    assert len(answers) == len(store.order(code)) == len(pressed)
    sides = ["ArrowLeft" if one.answer in {"left", "same", "real"} else "ArrowRight" for one in answers]
    assert sides == pressed
    assert all(0 < one.reaction_ms < 20_000 for one in answers)
    assert {one.confidence for one in answers if one.trial.startswith("turing")} == {3}
    assert store.readers()[0].finished_utc
    assert page.inner_text("h1") == "Thank you, you are done"
    page.click("text=Another reader")  # at the same screen, where nobody is signed in any more
    page.wait_for_selector("#code")
    page.reload()
    page.wait_for_selector("#code")


def test_a_pause_without_connection_signs_out_later(running: Running, open_page: Callable[..., Any]) -> None:
    page, store = open_page(url_of(running), faultless=False), running.site.store
    sign_in(page, store)
    go_to_trial(page)
    page.context.set_offline(True)
    page.keyboard.press("p")
    page.wait_for_selector(".big.code")
    page.wait_for_selector("#notice p")
    page.context.set_offline(False)
    page.wait_for_selector("#notice p", state="detached")
    page.reload()
    page.wait_for_selector("#code")


def test_letters_and_digits_answer_too(running: Running, open_page: Callable[..., Any]) -> None:
    page, store = open_page(url_of(running)), running.site.store
    sign_in(page, store)
    meant = {"1": "left", "2": "right", "s": "same", "d": "different", "r": "real"}
    for task, keys in (("2afc", "12"), ("jnd", "sd"), ("turing", "r")):
        for key in keys:
            if page.evaluate(STATUS) == "end" or not any(
                trial.task == task
                for trial in store.upcoming(store.readers()[0].reader, len(list(store.answers())), 99)
            ):
                continue
            go_to_trial(page, task)
            position = len(list(store.answers()))
            press(page, "choice", key)
            if wait_for(page, "main", "choice", "confidence", "next", "end", "watch") == "confidence":
                press(page, "confidence", "")
            page.wait_for_timeout(100)
            assert list(store.answers())[position].answer == meant[key]


@pytest.mark.slow  # not for its length: a clock says nothing where other tests run beside it
def test_a_change_of_trials_takes_less_than_a_tenth_of_a_second(tmp_path: Path, open_page: Callable[..., Any]) -> None:
    """From the key to the picture on the screen, with the answer on the disk in between."""
    study = write_study(tmp_path / "study", judged=20, training=2, repeats=3, sentinels=2, size=256)
    with ServerProcess(study.folder, tmp_path / "a") as server:
        page = open_page(server.url)
        page.click("button.link")
        page.wait_for_selector(".big.code")  # the way in has such a button too
        page.click("button.main")
        page.check("[value=radiologist]")
        page.keyboard.press("Enter")
        page.wait_for_selector("dl.keys")
        answer_by_keyboard(page, lambda: "ArrowRight", think_ms=200)
        changes = page.evaluate("performance.getEntriesByName('trial-change').map((one) => [one.detail, one.duration])")
    times = [duration for _, duration in changes]
    cuts = quantiles(times, n=20)
    print(
        f"\n{len(times)} trial changes: median {median(times):.0f} ms, 95 % below {cuts[-1]:.0f} ms, slowest"
        f" {max(times):.0f} ms; "
        + "; ".join(
            f"{task} {median(v for t, v in changes if t == task):.0f} ms" for task in sorted({t for t, _ in changes})
        )
    )
    assert len(times) > 70
    assert cuts[-1] < 100


def test_touch_on_a_tablet(running: Running, open_page: Callable[..., Any]) -> None:
    page, store = open_page(url_of(running), **TABLET, locale="en-GB"), running.site.store
    (code,) = store.create_readers(1)
    page.fill("#code", code)
    page.tap("button.main")
    page.tap(".choice >> nth=1")
    page.tap("button.main")
    page.wait_for_selector("dl.keys")
    targets = {"main": "button.main", "next": ".answers button", "choice": "[data-choice] >> nth=1",
               "confidence": "[data-confidence='4']"}  # fmt: skip
    while (status := wait_for(page, *targets, "end")) != "end":
        box = page.locator(targets[status]).bounding_box()
        assert box["height"] >= 44  # a finger
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 820
        assert box["y"] + box["height"] <= 1180
        count = page.evaluate("() => document.querySelector('.count')?.textContent")
        page.tap(targets[status])
        page.wait_for_function(
            f"([was, count]) => ({STATUS})() !== was || document.querySelector('.count')?.textContent !== count",
            arg=[status, count],
        )
    answers = list(store.answers())
    assert len(answers) == len(store.order(code))
    assert {one.answer for one in answers} == {"right", "different", "synthetic"}
    assert {one.confidence for one in answers} == {0, 4}


def test_two_fingers_change_window_and_zoom(running: Running, open_page: Callable[..., Any]) -> None:
    page, store = open_page(url_of(running), **TABLET, locale="en-GB"), running.site.store
    sign_in(page, store)
    go_to_trial(page, "2afc")
    position = len(list(store.answers()))
    session = page.context.new_cdp_session(page)
    box = page.locator("canvas >> nth=1").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def touch(kind: str, *points: tuple[float, float]) -> None:
        touches = [{"x": px, "y": py, "id": number} for number, (px, py) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    touch("touchStart", (x - 40, y), (x + 40, y))
    for step in range(1, 11):
        touch("touchMove", (x - 40 + 8 * step, y), (x + 40 + 8 * step, y))
    touch("touchEnd")
    touch("touchStart", (x - 20, y), (x + 20, y))
    for step in range(1, 11):
        touch("touchMove", (x - 20 - 6 * step, y), (x + 20 + 6 * step, y))
    touch("touchEnd")
    press(page, "choice", "ArrowLeft")
    page.wait_for_timeout(100)
    shown = displays(list(store.answers()))[position]
    assert shown["window"] > 270
    assert shown["zoom"] > 1.5
    assert (shown["touch"], shown["ratio"]) == (1, 2)


def test_window_and_zoom_by_mouse_and_keys(running: Running, open_page: Callable[..., Any]) -> None:
    page, store = open_page(url_of(running)), running.site.store
    sign_in(page, store)
    go_to_trial(page, "2afc", judged=True)
    position = len(list(store.answers()))
    canvas = page.locator("canvas >> nth=0")
    before = [page.locator(f"canvas >> nth={k}").evaluate("(one) => one.toDataURL()") for k in range(3)]
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down(button="right")
    page.mouse.move(x - 100, y + 30, steps=5)
    page.mouse.up(button="right")
    after = [page.locator(f"canvas >> nth={k}").evaluate("(one) => one.toDataURL()") for k in range(3)]
    assert all(one != other for one, other in zip(before, after, strict=True))  # all images together
    page.keyboard.down("w")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 20, y, steps=3)
    page.mouse.up()
    page.keyboard.up("w")
    page.mouse.wheel(0, -400)
    page.keyboard.press("Shift+ArrowUp")
    press(page, "choice", "ArrowLeft")
    page.wait_for_timeout(100)
    shown = displays(list(store.answers()))[position]
    assert (shown["window"], shown["level"]) == (255 - 120, 127.5 + 30 - 8)
    assert shown["zoom"] == pytest.approx(1.15**4, abs=0.01)
    assert shown["window_changes"] == 3
    for _ in range(2):
        go_to_trial(page, "2afc")
        position = len(list(store.answers()))
        press(page, "choice", "ArrowLeft")
        page.wait_for_timeout(100)
        shown = displays(list(store.answers()))[position]  # the next trial begins as it is
        assert (shown["window"], shown["level"], shown["zoom"], shown["zooms"]) == (255, 127.5, 1, 0)
    go_to_trial(page, "2afc")
    position = len(list(store.answers()))
    page.keyboard.press("+")
    page.keyboard.press("0")
    press(page, "choice", "ArrowLeft")
    page.wait_for_timeout(100)
    shown = displays(list(store.answers()))[position]
    assert (shown["window"], shown["level"], shown["zoom"], shown["zooms"]) == (255, 127.5, 1, 1)


def test_a_window_shows_what_it_should(running: Running, open_page: Callable[..., Any]) -> None:
    """Pixels on the screen against the linear window of the DICOM kind, computed here."""
    page, store = open_page(url_of(running)), running.site.store
    code = sign_in(page, store)
    go_to_trial(page, "turing")
    import numpy as np
    from PIL import Image

    trial = store.upcoming(code, len(list(store.answers())), 1)[0]
    original = np.asarray(Image.open(store.study.image(trial.first)), dtype=float)
    for _ in range(4):
        page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    window, level = 255 - 4 * 16, 127.5 + 8
    seen = page.evaluate(
        "() => { const c = document.querySelector('canvas');"
        " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height);"
        " return [c.width, Array.from(d.data).filter((_, k) => k % 4 === 0)]; }"
    )
    width, values = seen
    scale = width // original.shape[1]
    assert width == scale * original.shape[1]
    assert scale > 1
    shown = np.array(values, dtype=float).reshape(width, width)
    expected = np.clip((original - level + window / 2) / window * 255, 0, 255)
    assert np.abs(shown - np.kron(expected, np.ones((scale, scale)))).max() <= 0.51


def test_two_images_flash_as_long_as_the_study_says_and_cannot_be_seen_again(
    tmp_path: Path, serve: Callable[..., Running], open_page: Callable[..., Any]
) -> None:
    study = write_study(tmp_path / "s", tasks=("jnd",), display_ms=250, gap_ms=150, judged=3, training=0)
    store = Store(Database(tmp_path / DATABASE, study.identity), study)
    page = open_page(url_of(serve(store)))
    sign_in(page, store)
    go_to_trial(page, "jnd")
    drawn = f"() => {PIXELS}.some(Boolean)"
    assert page.evaluate(drawn) is False
    page.set_viewport_size({"width": 1300, "height": 800})  # a new size draws images anew, but not these
    page.wait_for_timeout(200)
    assert page.evaluate(drawn) is False
    answer_by_keyboard(page, lambda: "d")
    for shown in displays(list(store.answers())):
        assert shown["first_ms"] == pytest.approx(250, abs=34)  # two frames, on a machine that does other things too
        assert shown["gap_ms"] == pytest.approx(150, abs=34)
        assert shown["second_ms"] == pytest.approx(250, abs=34)
        assert shown["interruptions"] == 0
    store.database.close()


def test_a_covered_page_shows_the_pair_again(running: Running, open_page: Callable[..., Any]) -> None:
    page, store = open_page(url_of(running)), running.site.store
    sign_in(page, store)
    for _ in range(200):
        if page.locator(".stage.task-jnd").count() and wait_for(page, "next", "choice", "watch", "main") == "next":
            break
        press(page, wait_for(page, "main", "choice", "confidence", "next"), "ArrowLeft")
    position = len(list(store.answers()))
    page.evaluate("() => Object.defineProperty(document, 'hidden', { configurable: true, get: () => true })")
    page.keyboard.press(" ")
    page.wait_for_selector(".message >> text=covered")
    page.evaluate("() => delete document.hidden")
    page.keyboard.press(" ")
    wait_for(page, "choice")
    press(page, "choice", "ArrowLeft")
    page.wait_for_timeout(100)
    assert displays(list(store.answers()))[position]["interruptions"] == 1


def test_korean(running: Running, open_page: Callable[..., Any]) -> None:
    page, store = open_page(url_of(running), **DESKTOP | {"locale": "ko-KR"}), running.site.store
    assert page.inner_text("h1") == "판독자 코드를 입력해 주세요"
    code = sign_in(page, store)
    for task in ("2afc", "jnd", "turing"):
        if any(one.task == task for one in store.upcoming(code, len(list(store.answers())), 99)):
            go_to_trial(page, task)
            words = page.evaluate(
                "() => [...document.querySelectorAll('[data-text]')].map((one) => one.textContent).join(' ')"
            )
            assert not any("a" <= letter <= "z" for letter in words), words
    assert page.evaluate("document.documentElement.lang") == "ko"
    position = len(list(store.answers()))
    page.click("text=English")  # in the middle of a trial, which stays
    assert page.inner_text("h1").endswith("?")
    assert page.locator("[data-choice]").count() == 2
    press(page, "choice", "ArrowLeft")
    page.wait_for_timeout(200)
    assert len(list(store.answers())) in {position, position + 1}
    assert store.readers()[0].language == "en"


def test_pause_and_resume(running: Running, open_page: Callable[..., Any]) -> None:
    page, store = open_page(url_of(running)), running.site.store
    code = sign_in(page, store)
    for _ in range(3):
        go_to_trial(page)
        press(page, "choice", "ArrowLeft")
        if page.evaluate(STATUS) == "confidence":
            press(page, "confidence", "")
    go_to_trial(page)
    done = len(list(store.answers()))
    assert done >= 3
    page.keyboard.press("p")
    page.wait_for_selector(".big.code")
    assert page.inner_text(".big.code") == f"{code[:4]}-{code[4:]}"
    page.keyboard.press("ArrowLeft")  # nothing listens any more
    page.wait_for_timeout(1500)
    assert len(list(store.answers())) == done
    other_day = open_page(url_of(running))
    other_day.fill("#code", code)
    other_day.keyboard.press("Enter")
    other_day.wait_for_selector("dl.keys")
    assert f"You have answered {done} of" in other_day.inner_text("main")
    answer_by_keyboard(other_day, lambda: "ArrowRight")
    assert [one.position for one in store.answers()] == list(range(len(store.order(code))))


def test_a_pause_while_images_flash(running: Running, open_page: Callable[..., Any]) -> None:
    page, store = open_page(url_of(running)), running.site.store
    sign_in(page, store)
    go_to_trial(page, "jnd", judged=True)
    press(page, "choice", "ArrowLeft")
    wait_for(page, "watch")
    done = len(list(store.answers()))
    page.keyboard.press("p")
    page.wait_for_selector(".big.code")
    page.wait_for_timeout(1500)  # by now the question would have come
    page.keyboard.press("ArrowLeft")
    page.keyboard.press(" ")
    page.wait_for_selector("#code")
    assert len(list(store.answers())) == done


def test_an_answer_without_connection_is_kept_and_sent(running: Running, open_page: Callable[..., Any]) -> None:
    page, store = open_page(url_of(running), faultless=False), running.site.store
    sign_in(page, store)
    go_to_trial(page)
    done = len(list(store.answers()))
    page.context.set_offline(True)
    page.keyboard.press("ArrowLeft")
    if page.evaluate(STATUS) == "confidence":
        page.keyboard.press("2")
    page.wait_for_selector("#notice >> text=Your answer is kept here")
    page.keyboard.press("ArrowRight")
    page.context.set_offline(False)
    page.wait_for_selector("#notice p", state="detached")
    go_to_trial(page)
    assert len(list(store.answers())) == done + 1
    answer_by_keyboard(page, lambda: "ArrowLeft")
    assert store.readers()[0].finished_utc


def test_a_killed_server_is_waited_for(study: Study, tmp_path: Path, open_page: Callable[..., Any]) -> None:
    with ServerProcess(study.folder, tmp_path / "a") as server:
        page = open_page(server.url, faultless=False)
        page.click("button.link")
        page.wait_for_selector(".big.code")  # the way in has such a button too
        page.click("button.main")
        page.check("[value=student]")
        page.keyboard.press("Enter")
        page.wait_for_selector("dl.keys")
        for _ in range(2):
            go_to_trial(page)
            server.kill()
            page.keyboard.press("ArrowLeft")
            if page.evaluate(STATUS) == "confidence":
                page.keyboard.press("2")
            page.wait_for_selector("#notice >> text=sent again")
            server.start()
            page.wait_for_selector("#notice p", state="detached")
        answer_by_keyboard(page, lambda: "ArrowRight")
        export_answers(tmp_path / "a" / DATABASE, tmp_path / "out")
    answers, (reader,) = read_answers(tmp_path / "out")
    assert [one.position for one in answers] == list(range(len(study.trials)))
    assert reader.finished_utc


def test_a_held_key_answers_once(running: Running, open_page: Callable[..., Any]) -> None:
    page, store = open_page(url_of(running)), running.site.store
    sign_in(page, store)
    go_to_trial(page, "2afc", judged=True)
    done = len(list(store.answers()))
    for _ in range(12):
        page.keyboard.down("ArrowLeft")  # without letting go: repeats
        page.wait_for_timeout(30)
    page.keyboard.up("ArrowLeft")
    assert len(list(store.answers())) == done + 1


def test_another_window_takes_over(running: Running, open_page: Callable[..., Any]) -> None:
    page, store = open_page(url_of(running), faultless=False), running.site.store
    sign_in(page, store)
    go_to_trial(page)
    done = len(list(store.answers()))
    other = page.context.new_page()
    other.goto(url_of(running))
    other.wait_for_selector("dl.keys")
    page.bring_to_front()
    page.keyboard.press("ArrowLeft")
    if page.evaluate(STATUS) == "confidence":
        page.keyboard.press("2")
    page.wait_for_selector("text=The study is open in another window")
    assert len(list(store.answers())) == done
    page.keyboard.press(" ")
    page.wait_for_selector("dl.keys")
    answer_by_keyboard(page, lambda: "ArrowLeft")
    assert store.readers()[0].finished_utc


def test_a_title_is_text(tmp_path: Path, serve: Callable[..., Running], open_page: Callable[..., Any]) -> None:
    title = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    study = write_study(tmp_path / "s", title=title)
    store = Store(Database(tmp_path / DATABASE, study.identity), study)
    running = serve(store)
    page = open_page(url_of(running))
    assert page.inner_text(".title") == title
    sign_in(page, store)
    admin = open_page(url_of(running), "/admin")
    admin.fill("#token", TOKEN)
    admin.keyboard.press("Enter")
    admin.wait_for_selector("table")
    assert admin.inner_text("h1") == title
    assert admin.locator("#view img").count() == 0
    store.database.close()


def test_the_administrator(running: Running, open_page: Callable[..., Any], tmp_path: Path) -> None:
    page = open_page(url_of(running))
    sign_in(page, running.site.store)
    go_to_trial(page)
    press(page, "choice", "ArrowLeft")
    admin = open_page(url_of(running), "/admin", faultless=False)
    admin.fill("#token", "wrong")
    admin.keyboard.press("Enter")
    admin.wait_for_selector(".problem >> text=not right")
    admin.fill("#token", TOKEN)
    admin.keyboard.press("Enter")
    admin.wait_for_selector("table")
    assert admin.locator("tbody tr").count() == 1
    admin.fill("#count", "3")
    admin.click("text=Create codes")
    admin.wait_for_selector(".codes")
    codes = admin.locator(".codes li").all_inner_texts()
    assert len(set(codes)) == 3
    assert all(running.site.store.progress(code.replace("-", "")) for code in codes)
    admin.click("text=Let readers enrol themselves")
    admin.wait_for_selector("text=Stop self-enrolment")
    assert running.site.enrolment_open
    with admin.expect_download() as download:
        admin.click("text=Download")
    download.value.save_as(tmp_path / "tables.zip")
    with zipfile.ZipFile(tmp_path / "tables.zip") as archive:
        assert sorted(Path(name).name for name in archive.namelist()) == ["answers.csv", "readers.csv"]
    admin.click("text=Write them")
    admin.wait_for_selector("text=Written to")
    admin.click("text=Sign out")
    admin.wait_for_selector("#token")
    admin.reload()
    admin.wait_for_selector("#token")


@pytest.mark.parametrize("language", ["en-GB", "ko-KR"])
def test_assistive_programs_find_nothing_wrong(running: Running, open_page: Callable[..., Any], language: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    page, store = open_page(url_of(running), **DESKTOP | {"locale": language}), running.site.store
    found: dict[str, list[str]] = {}

    def look(name: str, at: Any = page) -> None:
        violations = axe.run(at).response["violations"]
        found[name] = [f"{one['id']} ({one['impact']}): {one['nodes'][0]['html']}" for one in violations]

    look("entry")
    (code,) = store.create_readers(1)
    page.fill("#code", code)
    page.keyboard.press("Enter")
    page.wait_for_selector("fieldset")
    look("questionnaire")
    page.check("[value=other]")
    page.keyboard.press("Enter")
    seen = set()
    while (status := wait_for(page, "main", "choice", "confidence", "next", "end")) != "end":
        name = f"{status} {page.locator('.stage').get_attribute('class') if page.locator('.stage').count() else ''}"
        if name not in seen:
            look(name)
            seen.add(name)
        press(page, status, "ArrowLeft")
    look("end")
    other = open_page(url_of(running), **DESKTOP | {"locale": language})
    other.fill("#code", store.create_readers(1)[0])
    other.keyboard.press("Enter")
    other.wait_for_selector("fieldset")
    admin = open_page(url_of(running), "/admin", **DESKTOP | {"locale": language})
    look("administrator's entry", admin)
    admin.fill("#token", TOKEN)
    admin.keyboard.press("Enter")
    admin.wait_for_selector("table")
    look("administrator", admin)
    assert len(found) > 12
    assert {name: faults for name, faults in found.items() if faults} == {}


def test_nothing_is_wider_than_the_screen(running: Running, open_page: Callable[..., Any]) -> None:
    sizes = [(1440, 900), (1024, 768), (820, 1180), (768, 1024), (1180, 820), (390, 844)]
    page, store = open_page(url_of(running)), running.site.store
    sign_in(page, store)
    for task in ("2afc", "turing"):
        if not any(
            one.task == task for one in store.upcoming(store.readers()[0].reader, len(list(store.answers())), 99)
        ):
            continue
        go_to_trial(page, task)
        for width, height in sizes:
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(120)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            for box in (one.bounding_box() for one in page.locator("canvas, .answers button").all()):
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= width + 0.5
                assert box["y"] + box["height"] <= height + 0.5
