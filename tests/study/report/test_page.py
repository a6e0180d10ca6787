"""The page says what the results say, in both languages, and nothing of it is in neither."""

from __future__ import annotations

import html
import json
import re
import string
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from monai_cxraug.artifacts import read_json, write_json
from monai_cxraug.bundle_config import run_stage
from monai_cxraug.errors import ConfigError, InputError, StateError
from monai_cxraug.study.files import Reader, Study, write_answers
from monai_cxraug.study.observers import Observer
from monai_cxraug.study.report import english, korean, language
from monai_cxraug.study.report.language import ENGLISH, KOREAN, find_language
from monai_cxraug.study.report.page import RESULTS, SCHEMA, page, write_page
from monai_cxraug.study.report_command import ReportStudy
from tests.study.report.studies import answer, known_distance, make_study

ROOT = Path(__file__).resolve().parents[3]
SOURCES = Path(language.__file__).parent
VOID = {"meta", "img", "br"}


@pytest.fixture(scope="module")
def reported(study: Study, answers: Path, classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that the command filled."""
    out = tmp_path_factory.mktemp("report")
    ReportStudy(study.folder, answers, out, [f"net={classifier}"], replicates=100).run()
    return out


@pytest.fixture
def results(reported: Path) -> dict[str, Any]:
    return read_json(reported / RESULTS, SCHEMA)


class Balance(HTMLParser):
    """Fails where a tag is not closed by its own."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href") and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def fields(text: str) -> list[str]:
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name)


# --- the command ---


def test_the_command_leaves_results_distances_and_page(reported: Path, results: dict[str, Any], study: Study) -> None:
    assert {path.name for path in reported.iterdir()} == {"results.json", "distances.csv", "index.html"}
    assert results["study"] == study.identity
    assert [one["name"] for one in results["distances"]] == [
        "L1", "L2", "PSNR", "SSIM", "MS-SSIM", "FSIM", "net", "net, linear",
    ]  # fmt: skip
    assert set(results["answers"]) == {"0 answers.csv", "0 readers.csv"}
    rows = (reported / "distances.csv").read_text().splitlines()
    assert rows[0] == "trial,distance,first,second"
    assert len(rows) == 1 + 8 * (24 + 12)
    said = {one["what"]: one["values"] for one in results["warnings"]}
    assert said["seen"] == {"name": "net", "count": 1}
    assert said["size"] == {"name": "net", "size": 16, "shown": "32"}
    assert said["few_readers"] == {"count": 3}


def test_equal_inputs_make_equal_files(
    reported: Path, study: Study, answers: Path, classifier: Path, tmp_path: Path
) -> None:
    ReportStudy(study.folder, str(answers), tmp_path, f"net={classifier}", replicates=100).run()
    for name in ("results.json", "distances.csv", "index.html"):
        assert (tmp_path / name).read_bytes() == (reported / name).read_bytes(), name


def test_little_is_not_learnt_from(observers: list[Observer], classifier: Path, tmp_path: Path) -> None:
    small = make_study(tmp_path / "study", choices=6, pairs=2, singles=0)
    readers = [Observer("a", known_distance(small))]
    ReportStudy(
        small.folder, answer(tmp_path, small, readers), tmp_path / "out", f"n={classifier}", replicates=50
    ).run()
    results = read_json(tmp_path / "out" / RESULTS, SCHEMA)
    assert {"what": "not_learnt", "values": {"name": "n", "reason": "trials", "least": 20}} in results["warnings"]
    assert "fewer than 20 forced choices" in (tmp_path / "out" / "index.html").read_text()
    assert "One reader" in (tmp_path / "out" / "index.html").read_text()


def test_tuning_is_one_more_distance(study: Study, answers: Path, classifier: Path, tmp_path: Path) -> None:
    ReportStudy(study.folder, answers, tmp_path, f"n={classifier}", replicates=50, tuned_epochs=1).run()
    assert read_json(tmp_path / RESULTS, SCHEMA)["distances"][-1]["name"] == "n, tuned"


def test_names_must_differ_and_settings_must_fit(study: Study, answers: Path, classifier: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names must differ"):
        ReportStudy(study.folder, answers, tmp_path, [str(classifier)] * 2, learn=False).run()
    with pytest.raises(ConfigError, match="names must differ"):
        ReportStudy(study.folder, answers, tmp_path, [f"SSIM={classifier}"], learn=False).run()
    with pytest.raises(ConfigError, match="one of en, ko"):
        ReportStudy(study.folder, answers, tmp_path, language="kr")
    with pytest.raises(ConfigError, match="at least 1"):
        ReportStudy(study.folder, answers, tmp_path, replicates=0)


def test_a_changed_study_is_refused(answers: Path, tmp_path: Path) -> None:
    other = make_study(tmp_path / "study", choices=2, pairs=0, singles=0, repeats=0)
    with pytest.raises(StateError, match="must answer this study"):
        ReportStudy(other.folder, answers, tmp_path / "out").run()
    image = next((other.folder / "images").iterdir())
    image.write_bytes(b"another")
    with pytest.raises(StateError, match="must be the file that was built"):
        ReportStudy(other.folder, answers, tmp_path / "out").run()
    assert not (tmp_path / "out").exists()


@pytest.mark.e2e
def test_plain_monai_runs_the_configuration_and_refuses_what_it_does_not_know(
    study: Study, answers: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "monai.bundle",
        "run",
        "--config_file",
        str(ROOT / "configs" / "study_report.json"),
    ]
    asked = ["--study", str(study.folder), "--answers", f"['{answers}']", "--replicates", "50"]
    done = subprocess.run(
        [*command, *asked, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "index.html").is_file()
    with pytest.raises(ConfigError, match="anwsers"):
        run_stage(ROOT / "configs" / "study_report.json", {"study": str(study.folder), "out": "x", "anwsers": "y"})


# --- the page ---


@pytest.mark.parametrize("code", ["en", "ko"])
def test_the_page_is_whole_and_needs_nothing_else(code: str, results: dict[str, Any], study: Study) -> None:
    text = page(results, study.folder, find_language(code))
    balance = Balance()
    balance.feed(text)
    assert balance.open == []
    assert all(one.startswith(("#", "data:image/")) for one in balance.addresses)
    ids = set(re.findall(r'id="([^"]+)"', text))
    assert {one[1:] for one in balance.addresses if one.startswith("#")} <= ids
    assert "<script" not in text
    assert "url(" not in text
    for drawing in re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL):
        ElementTree.fromstring(drawing)


def test_the_numbers_are_those_of_the_results(results: dict[str, Any], study: Study) -> None:
    text = page(results, study.folder, ENGLISH)
    for family in results["forced_choice"]:
        for row in family["scores"]:
            assert f"{row['score']:.3f}" in text
            assert f"[{row['interval'][0]:.3f}, {row['interval'][1]:.3f}]" in text
        assert f"{family['oracle']:.3f}" in text
        assert f"{family['majority_of_others']:.3f}" in text
    assert f"{results['turing']['mean']['d_prime']['value']:+.2f}".replace("-", "−") in text
    assert "Left out: 1 of 4" in text


def test_the_answer_follows_the_verdict(results: dict[str, Any], study: Study) -> None:
    for verdict, words in (("closer", "Yes: the"), ("farther", "No: the"), ("no evidence", "There is no evidence")):
        results["primary"]["verdict"] = verdict
        assert words in page(results, study.folder, ENGLISH)
    results["primary"] = None
    assert "describes and does not answer" in page(results, study.folder, ENGLISH)


def test_simulated_readers_are_called_so_in_large_letters(results: dict[str, Any], study: Study) -> None:
    banner = "Simulated readers: these answers were made by a program"
    text = page(results, study.folder, ENGLISH)
    assert text.count(banner) == 1
    assert "No person answered: 4 of 4" in text
    assert text.index(banner) < text.index('id="answer"')
    results["simulated"] = ["sim-0"]
    assert "1 of 4 readers are programs" in page(results, study.folder, ENGLISH)
    results["simulated"] = []
    assert banner not in page(results, study.folder, ENGLISH)


def test_one_simulated_reader_among_people_is_enough(study: Study, observers: list[Observer], tmp_path: Path) -> None:
    person = [replace(one, reader="anna") for one in observers[1].answer(study)]
    answer(tmp_path, study, observers[:1], [(Reader("anna", "radiologist", 9), person)])
    ReportStudy(study.folder, tmp_path, tmp_path / "out", replicates=50).run()
    assert "1 of 2 readers are programs that follow a rule: sim-0" in (tmp_path / "out" / "index.html").read_text()


def test_a_study_nobody_answered_has_a_page(study: Study, tmp_path: Path) -> None:
    write_answers(tmp_path, [], [Reader("<b>anna</b>")])
    ReportStudy(study.folder, tmp_path, tmp_path / "out").run()
    text = (tmp_path / "out" / "index.html").read_text()
    assert "No forced choice was answered" in text
    assert "<b>anna" not in text
    assert "&lt;b&gt;anna" in text


def test_damaged_files_are_refused_in_one_line(results: dict[str, Any], study: Study, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must exist"):
        write_page(tmp_path, study.folder)
    write_json(tmp_path / RESULTS, "cxraug.other/1", {})
    with pytest.raises(StateError, match="schema"):
        write_page(tmp_path, study.folder)
    assert results["disagreements"]
    with pytest.raises(InputError, match="readable picture"):
        page(results, tmp_path, ENGLISH)


# --- languages ---


def test_both_languages_have_the_same_texts() -> None:
    assert list(english.WORDS) == list(korean.WORDS)
    for key, text in english.WORDS.items():
        assert fields(text) == fields(korean.WORDS[key]), key
        assert text, key


def test_korean_is_korean() -> None:
    shared = {key for key, text in english.WORDS.items() if korean.WORDS[key] == text}
    for key in set(korean.WORDS) - shared:
        assert re.search("[가-힣]", korean.WORDS[key]), key
    assert shared <= {"head.d_prime", "disagreement.made", "none"}


def test_every_text_that_is_asked_for_exists_and_every_text_is_asked_for() -> None:
    code = "\n".join(path.read_text() for path in SOURCES.glob("*.py") if path.stem not in ("english", "korean"))
    for key in re.findall(r'\bsay\(\s*"([^"]+)"', code):
        assert ENGLISH.has(key), key
    patterns = [re.sub(r"\\\{.*?\\\}", ".+", re.escape(text)) for text in re.findall(r'f"([a-z_.{}\[\]\']+)"', code)]
    patterns += [
        r"limit\..+",
        r"head\..+",
        r"section\..+",
        r"choice\.(others|majority|oracle)",
        r"answer\..+",
        r"role\..+",
    ]
    written = set(re.findall(r'"([a-z_.]+)"', code))
    for key in english.WORDS:
        assert key in written or any(re.fullmatch(pattern, key) for pattern in patterns), key


def test_a_korean_page_has_the_same_numbers_and_no_english_sentence(results: dict[str, Any], study: Study) -> None:
    def numbers(text: str) -> list[str]:
        return sorted(re.findall(r"[+−-]?\d+\.\d{3}", re.sub("<style>.*?</style>", "", text, flags=re.DOTALL)))

    first, second = (page(results, study.folder, say) for say in (ENGLISH, KOREAN))
    assert '<html lang="ko">' in second
    assert "모의 판독자" in second
    assert numbers(first) == numbers(second)
    for key, text in english.WORDS.items():
        if len(text) > 30 and not fields(text):
            assert html.escape(text) not in second, key
    assert json.dumps(results)  # the page changed nothing in them
