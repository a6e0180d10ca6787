"""Pages of the site: every page has a place, links lead where their targets lie, every module has a page."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import site_pages
from scripts.site_pages import ELSEWHERE, completed, linked_files, mend_links, modules, place_of, summary, target_of

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


@pytest.fixture(scope="module")
def nav() -> list[Any]:
    """What ``mkdocs.yml`` says, without its Python tags."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    loaded: list[Any] = yaml.safe_load(text)["nav"]
    return loaded


def named(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for entry in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from named(entry)


def test_every_page_has_one_place(nav: list[Any]) -> None:
    pages = list(named(completed(nav)))
    assert len(pages) == len(set(pages))
    assert {page for page in PAGES if page != site_pages.TEMPLATE} <= set(pages)


def test_the_navigation_names_what_is_there(nav: list[Any]) -> None:
    made = {*ELSEWHERE.values(), *site_pages.settings_pages(), *(place for place, _ in site_pages._api_pages())}
    made |= {f"{notebook.stem}.md" for notebook in DOCS.glob("*.ipynb")}
    assert set(named(completed(nav))) <= {*PAGES, *made}


def test_a_page_that_is_not_named_is_added(nav: list[Any]) -> None:
    def without(entry: Any) -> Any:
        if isinstance(entry, dict):
            return {name: without(inside) for name, inside in entry.items()}
        return [without(one) for one in entry if one != "x"] if isinstance(entry, list) else entry

    fewer = yaml.safe_load(yaml.safe_dump(nav).replace("results/system-a.md", "x").replace("privacy.md", "x"))
    whole = completed(without(fewer))
    (results,) = [entry["Results"] for entry in whole if "Results" in entry]
    assert "results/system-a.md" in results
    assert whole[-1] == {"More": ["privacy.md"]}


def test_every_public_module_has_a_page() -> None:
    found = {name for names in modules().values() for name in names}
    paths = {path.relative_to(ROOT) for path in (ROOT / "monai_cxraug").rglob("*.py")}
    public = {path for path in paths if not any(part.startswith("_") for part in path.with_suffix("").parts)}
    assert found == {".".join(path.with_suffix("").parts) for path in public}
    assert len(found) > 200
    assert "monai_cxraug.data.manifest" in modules()["data"]
    assert "monai_cxraug.errors" in modules()[site_pages.LEAVES]


def test_every_module_says_what_it_is() -> None:
    for names in modules().values():
        for name in names:
            line = summary(ROOT / (name.replace(".", "/") + ".py"))
            assert line, name
            assert "\n" not in line, name
            assert not re.search(r":\w+:`", line), name


# --- links ---

BROKEN = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)")


@pytest.mark.parametrize("document", [*(f"docs/{page}" for page in PAGES), *ELSEWHERE])
def test_links_work_where_pages_are_read_as_files(document: str) -> None:
    text = re.sub(r"^```.*?^```", "", (ROOT / document).read_text(encoding="utf-8"), flags=re.M | re.S)
    text = re.sub(r"`[^`\n]*`", "", text)
    for link in BROKEN.findall(text):
        assert target_of(link, document), f"{document}: {link}"


@pytest.mark.parametrize(
    ("link", "document", "place", "wanted"),
    [
        ("[a](reading.md#png)", "docs/sources.md", "sources.md", "[a](reading.md#png)"),
        ("[a](../SECURITY.md)", "docs/reliability.md", "reliability.md", "[a](project/security.md)"),
        ("[a](../pyproject.toml)", "docs/report.md", "report.md", "[a](source/pyproject.toml)"),
        ("[a](../../pyproject.toml)", "docs/guide/start.md", "guide/start.md", "[a](../source/pyproject.toml)"),
        ("[apps](../apps)", "docs/report.md", "report.md", "apps"),
        ("[a](https://x.org/y.md)", "docs/report.md", "report.md", "[a](https://x.org/y.md)"),
        ("[a](#here)", "docs/report.md", "report.md", "[a](#here)"),
        ("[a](nowhere.md)", "docs/report.md", "report.md", "[a](nowhere.md)"),
        ("![a](docs/report/wide.png)", "README.md", "project/readme.md", "![a](../report/wide.png)"),
        ("[a](docs/report.md)", "README.md", "project/readme.md", "[a](../report.md)"),
        ("```\n[a](../SECURITY.md)\n```", "docs/report.md", "report.md", "```\n[a](../SECURITY.md)\n```"),
    ],
)
def test_mended_links(link: str, document: str, place: str, wanted: str) -> None:
    assert mend_links(link, document, place)[0] == wanted


def test_nothing_outside_of_the_repository_is_linked_to() -> None:
    assert target_of("../../../etc/passwd", "docs/report.md") is None


def test_copies_are_files_that_git_keeps() -> None:
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not kept:
        pytest.skip("no git here")
    assert linked_files() <= set(kept)
    assert all(place_of(path) == f"source/{path}" for path in linked_files())
