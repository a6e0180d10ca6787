"""Both languages say everything, and nothing of the page is written in neither."""

from __future__ import annotations

import html
import json
import re
import string
from pathlib import Path

import pytest

from monai_cxraug.errors import ConfigError
from monai_cxraug.reporting import english, korean, language
from monai_cxraug.reporting.language import ENGLISH, KOREAN, Language, find_language
from monai_cxraug.reporting.report import Report, write_report

SOURCES = Path(language.__file__).parent


def fields(text: str) -> list[str]:
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name)


def test_both_languages_have_the_same_texts() -> None:
    assert list(english.WORDS) == list(korean.WORDS)
    for key, text in english.WORDS.items():
        assert fields(text) == fields(korean.WORDS[key]), key
        assert text, key
        assert korean.WORDS[key], key


def test_korean_is_korean() -> None:
    shared = {key for key, text in english.WORDS.items() if korean.WORDS[key] == text}
    for key in set(korean.WORDS) - shared:
        assert re.search("[가-힣]", korean.WORDS[key]) or key == "control.joint", key
    assert all(len(english.WORDS[key]) < 26 for key in shared)  # names of measures and plain formats


def test_every_text_that_is_asked_for_exists_and_every_text_is_asked_for() -> None:
    code = "\n".join(path.read_text() for path in SOURCES.glob("*.py") if path.stem not in ("english", "korean"))
    for key in re.findall(r'\bsay\(\s*"([^"]+)"', code):
        assert ENGLISH.has(key), key
    patterns = [
        re.sub(r"\\\{.*?\\\}", ".+", re.escape(text)) for text in re.findall(r'f"([a-z_.{}]+)"', code) if "." in text
    ]
    written = set(re.findall(r'"([a-z_.]+)"', code))
    for key in english.WORDS:
        assert key in written or any(re.fullmatch(pattern, key) for pattern in patterns), key


@pytest.mark.parametrize("kind", ["newer", "topped"])
def test_no_word_of_the_page_is_outside_the_languages(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: Path = request.getfixturevalue(kind)
    silent = Language(
        "xx", {key: " ".join(f"{{{name}}}" for name in fields(text)) for key, text in english.WORDS.items()}
    )
    monkeypatch.setattr(language, "LANGUAGES", {"xx": silent})
    page = write_report(run, "xx").read_text()
    body = re.sub(r"<(?:style|code|desc)[^>]*>.*?</(?:style|code|desc)>", " ", page, flags=re.DOTALL)
    seen = " ".join([*re.findall(r">([^<]+)<", body), *re.findall(r'(?:alt|aria-label|title)="([^"]*)"', body)])
    own = " ".join(json.dumps(json.loads((run / f"{name}.json").read_text())) for name in ("results", "plan"))
    own += " ".join(path.read_text() for path in run.glob("data/aaaa/[qd]*.csv"))
    known = set(re.findall(r"[A-Za-z]+", own)) | {"AUROC", "n", "a", "s", "min", "h"}
    outside = set(re.findall(r"[A-Za-z]+", html.unescape(seen))) - known
    assert outside == set()


def test_a_korean_page_of_a_grid_has_the_same_numbers(topped: Path) -> None:
    def numbers(page: str) -> list[str]:
        return sorted(re.findall(r"[+−-]?\d+\.\d{3}|[≤≥<>] \d+|\d+–\d+", re.sub("<style>.*?</style>", "", page)))

    first, page = write_report(topped).read_text(), write_report(topped, "ko").read_text()
    assert numbers(page) == numbers(first)
    assert "영상 10개" in page
    for key, text in english.WORDS.items():
        if len(text) > 30 and not fields(text):
            assert html.escape(text) not in page, key


def test_a_korean_page_is_korean_and_has_the_same_numbers(newer: Path) -> None:
    def numbers(page: str) -> list[str]:
        return re.findall(r"[+−-]?\d+\.\d{3}", re.sub("<style>.*?</style>", "", page, flags=re.DOTALL))

    first = write_report(newer).read_text()
    assert '<html lang="en">' in first
    page = write_report(newer, "ko").read_text()
    assert '<html lang="ko">' in page
    assert "민감도" in page
    assert "폐부종 (Edema)" in page
    assert sorted(numbers(page)) == sorted(numbers(first))
    for key, text in english.WORDS.items():
        if len(text) > 30 and not fields(text):
            assert html.escape(text) not in page, key


def test_words_of_a_run_are_known_by_what_runs_write() -> None:
    assert KOREAN.known("no evidence") == "근거 없음"
    assert KOREAN.known("something else") == "something else"
    assert set(korean.GIVEN) >= {"helps", "harms", "no evidence", "comparison incomplete", "no sign of copies"}


def test_another_language_is_refused_before_anything_is_written(run: Path) -> None:
    with pytest.raises(ConfigError, match="must be one of en, ko"):
        find_language("kr")
    with pytest.raises(ConfigError, match="ko"):
        Report(run, "kr")
    assert not (run / "report").exists()
