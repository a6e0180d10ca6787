"""A simulated reader in a real browser: it opens the page of a study in Chromium and presses keys, as people do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from monai_cxraug.console import progress_bar
from monai_cxraug.errors import ConfigError
from monai_cxraug.study.files import CHOICES, Trial
from monai_cxraug.study.simulated import Opinion

#: a browser that asks nobody for anything.
_FLAGS: Final = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync"
    " --no-first-run"
)
_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
#: what the page waits for: a choice, a confidence, "next", a button, or nothing more.
_STATUS: Final = """() => {
  const there = (selector) => Boolean(document.querySelector(selector));
  if (there("button.main")) return "main";
  if (there(".stage")) return document.querySelector(".answers").dataset.open || "watch";
  return there("#view h1") ? "end" : "empty";
}"""
_KEYS: Final = {"main": " ", "next": " "}
_ARROWS: Final = ("ArrowLeft", "ArrowRight")


@contextmanager
def chromium() -> Iterator[Any]:
    """Start Chromium; yields the browser.

    Raises:
        ConfigError: Chromium or Playwright is not installed.
    """
    place = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if place is None:
        raise ConfigError("chromium", "must be installed", "none", "on Debian: apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise ConfigError("playwright", "must be installed", "none", "pip install 'monai-cxraug[test]'") from None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=place, args=_FLAGS.split())
        try:
            yield browser
        finally:
            browser.close()


def answer_in_browser(
    browser: Any,
    url: str,
    code: str,
    order: Callable[[], Sequence[Trial]],
    opinions: Mapping[str, Opinion],
    pictures: Path | None,
) -> None:
    """Answer all trials of a reader by the keyboard.

    Args:
        browser: Chromium.
        url: of the server.
        code: of the reader, who has answered nothing yet.
        order: tells the reader's trials in order, once the reader has begun.
        opinions: answer of each trial, by its name.
        pictures: folder for a screenshot of each task; None takes none.
    """
    page = browser.new_page(viewport={"width": 1280, "height": 860}, locale="en-GB")
    page.goto(url)
    page.wait_for_selector("h1")
    page.fill("#code", code)
    page.keyboard.press("Enter")
    page.wait_for_selector("fieldset")
    page.check("[value=other]")
    page.keyboard.press("Enter")
    page.wait_for_selector("dl.keys")
    trials, show, done, seen = order(), progress_bar("browser"), 0, set[str]()
    while (status := _wait(page)) != "end":
        if status in _KEYS:
            _press(page, status, _KEYS[status])
            continue
        trial = trials[done]
        opinion = opinions[trial.trial]
        if status == "choice":
            if pictures is not None and trial.task not in seen:
                seen.add(trial.task)
                page.screenshot(path=pictures / f"{trial.task}.png")
            _press(page, status, _ARROWS[CHOICES[trial.task].index(opinion.answer)])
        else:
            _press(page, status, str(opinion.confidence))
        if status == "confidence" or trial.task != "turing":
            done += 1
            show(done, len(trials))
    page.close()


def _wait(page: Any) -> str:
    wanted = ["main", "next", "choice", "confidence", "end"]
    page.wait_for_function(f"(wanted) => wanted.includes(({_STATUS})())", arg=wanted, polling=20)
    return str(page.evaluate(_STATUS))


def _press(page: Any, status: str, key: str) -> None:
    """Press a key and wait until something came of it."""
    count = page.evaluate("() => document.querySelector('.count')?.textContent")
    page.keyboard.press(key)
    page.wait_for_function(
        f"([was, count]) => ({_STATUS})() !== was || document.querySelector('.count')?.textContent !== count",
        arg=[status, count],
        polling=10,
    )
