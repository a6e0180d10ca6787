"""Pages of the site that are no files of ``docs/``: reference, and what pages link to elsewhere in the repository.

MkDocs calls the functions ``on_...`` (``hooks`` of ``mkdocs.yml``). Nothing of the package is imported.
"""

from __future__ import annotations

import ast
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scripts.site_notebooks import notebook_files
from scripts.site_reference import bundle_page, bundles, cell, experiment_page, plain

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGE: Final = "monai_cxraug"
#: heading of the API reference in ``nav``.
API: Final = "API reference"
#: heading of the pages of settings in ``nav``.
SETTINGS: Final = "Settings"
#: headings in ``nav`` to the folder of ``docs/`` whose pages they hold.
FOLDERS: Final = {"Results": "results", "Decisions": "decisions"}
TEMPLATE: Final = "decisions/0000-template.md"
#: where a page wants the pages of settings listed.
LIST_OF_SETTINGS: Final = "<!-- pages of settings -->"
#: modules of the package itself, which belong to no box.
LEAVES: Final = "leaves"
#: documents outside of ``docs/`` that become pages, to their place in the site.
ELSEWHERE: Final = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "README.md": "project/readme.md",
    "README.ko.md": "project/readme.ko.md",
    "SECURITY.md": "project/security.md",
    **{
        path.relative_to(ROOT).as_posix(): f"bundles/{path.parts[-3]}.md"
        for path in sorted(ROOT.glob("bundles/*/docs/README.md"))
    },
}
_PLACES: Final = {place: document for document, place in ELSEWHERE.items()}
_LINK: Final = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)(#[^)\s]+)?(?=\))")
_FENCE: Final = re.compile(r"(^```.*?^```)", flags=re.M | re.S)


# --- the API reference: a page a module, a page a box ---


def modules() -> dict[str, list[str]]:
    """Return the dotted names of public modules by box, both in alphabetical order."""
    boxes: dict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if not any(part.startswith("_") for part in parts):
            boxes[parts[1] if len(parts) > 2 else LEAVES].append(".".join(parts))
    return {box: boxes[box] for box in sorted(boxes, key=lambda box: (box == LEAVES, box))}


def summary(path: Path) -> str:
    """Return the first sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return cell(plain(text.split("\n\n")[0]))


def _about(box: str) -> str:
    if box == LEAVES:
        return "Errors, files, names, configurations: what every other module may import."
    return summary(ROOT / PACKAGE / box / "__init__.py")


def _short(box: str, module: str) -> str:
    return module.removeprefix(f"{PACKAGE}.").removeprefix(f"{box}.")


def _page_of(box: str, module: str) -> str:
    return f"api/{box}/{_short(box, module)}.md"


def _box_page(box: str, names: list[str]) -> str:
    about = _about(box)
    rows = [
        f"| [`{_short(box, name)}`]({_short(box, name)}.md) | {summary(ROOT / (name.replace('.', '/') + '.py'))} |"
        for name in names
    ]
    title = "Leaves" if box == LEAVES else f"`{PACKAGE}.{box}`"
    return "\n".join([f"# {title}", "", about, "", "| Module | What it is |", "|---|---|", *rows, ""])


def _api_page(boxes: dict[str, list[str]]) -> str:
    rows = [f"| [`{box}`]({box}/index.md) | {len(names)} | {_about(box)} |" for box, names in boxes.items()]
    return API_INTRODUCTION + "\n".join(["| Box | Modules | What it is |", "|---|---|---|", *rows, ""])


API_INTRODUCTION: Final = f"""# {API}

Every public name of `{PACKAGE}`, from the docstrings. Small typed modules, each named after its idea, in boxes; which
box may import which is checked by a test (`pytest -s tests/test_imports.py` prints the arrows). Where to begin:

- from a folder to a manifest and a pack: [`data.prepare`](data/prepare.md), with a [`Request`](data/request.md);
- any stage as MONAI runs it, from Python: [`bundle_config.run_stage`](leaves/bundle_config.md);
- an experiment: [`experiments.experiment`](experiments/experiment.md), [`experiments.runner`](experiments/runner.md);
- numbers from arrays: [`metrics.auroc`](metrics/auroc.md), [`metrics.comparison`](metrics/comparison.md).

The version is 0.x: names may change with a minor version, and the changelog says so.

"""


def _api_pages() -> Iterator[tuple[str, str]]:
    boxes = modules()
    yield "api/index.md", _api_page(boxes)
    for box, names in boxes.items():
        yield f"api/{box}/index.md", _box_page(box, names)
        for name in names:
            yield _page_of(box, name), f"::: {name}\n"


def _api_nav() -> list[Any]:
    boxes = modules().items()
    pages = {box: [{_short(box, name): _page_of(box, name)} for name in names] for box, names in boxes}
    return ["api/index.md", *({box: [f"api/{box}/index.md", *inside]} for box, inside in pages.items())]


# --- pages of settings ---


def settings_pages() -> dict[str, str]:
    """Return the pages about keys of experiment files and of bundles: place in the site to text."""
    return {"reference/experiment.md": experiment_page()} | {
        f"reference/{bundle}.md": bundle_page(bundle) for bundle in bundles()
    }


def _settings_nav() -> list[Any]:
    return [{"Experiment files": "reference/experiment.md"}, *({one: f"reference/{one}.md"} for one in bundles())]


# --- links that lead out of docs/ ---


def target_of(link: str, document: str) -> str | None:
    """Return the path of what a link leads to, from the repository's root; None where nothing is there.

    Args:
        link: relative, without its fragment.
        document: the file that it stands in, from the repository's root.
    """
    path = os.path.normpath(os.path.join(os.path.dirname(document), link))
    return path if not path.startswith("..") and (ROOT / path).exists() else None


def place_of(path: str) -> str:
    """Return where a file of the repository lies in the site, as the source of a page or as a copy of itself."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return ELSEWHERE.get(path, f"source/{path}")


def mend_links(markdown: str, document: str, place: str) -> tuple[str, set[str]]:
    """Let links of a document lead to where their targets lie in the site.

    Args:
        markdown: the document's text; fenced code is left alone.
        document: its file, from the repository's root.
        place: where it lies in the site.

    Returns:
        The text, and the files of the repository that it links to. A link to a folder becomes plain text.
    """
    wanted: set[str] = set()

    def mended(match: re.Match[str]) -> str:
        path = target_of(match[1], document)
        if path is None:
            return match[0]
        wanted.add(path)
        return os.path.relpath(place_of(path), os.path.dirname(place) or ".") + (match[2] or "")

    parts = _FENCE.split(markdown)
    parts[::2] = [_LINK.sub(mended, _without_folders(part, document)) for part in parts[::2]]
    return "".join(parts), wanted


def _without_folders(markdown: str, document: str) -> str:
    def plain(match: re.Match[str]) -> str:
        path = target_of(match[2], document)
        return match[1] if path and (ROOT / path).is_dir() else match[0]

    return re.sub(r"(?<!!)\[([^\]\[]+)\]\((?![a-z]+:|#)([^)#\s]+)\)", plain, markdown)


# --- a place for every page ---


def completed(nav: list[Any]) -> list[Any]:
    """Return the navigation with what is made here and with the pages that it does not name.

    Args:
        nav: that of ``mkdocs.yml``.
    """
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in sorted((ROOT / "docs").rglob("*.md"))]
    left = [page for page in pages if page not in set(_named(nav)) and page != TEMPLATE]
    of = {folder: [page for page in left if page.startswith(f"{folder}/")] for folder in FOLDERS.values()}
    added = {API: _api_nav(), SETTINGS: _settings_nav()} | {name: of[folder] for name, folder in FOLDERS.items()}
    more = [page for page in left if not page.startswith(tuple(f"{folder}/" for folder in of))]
    return [_extended(entry, added) for entry in nav] + ([{"More": more}] if more else [])


def _named(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for entry in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _named(entry)


def _extended(entry: Any, added: Mapping[str, list[Any]]) -> Any:
    if not isinstance(entry, dict):
        return entry
    return {
        name: [_extended(one, added) for one in inside] + added.get(name, []) if isinstance(inside, list) else inside
        for name, inside in entry.items()
    }


# --- what MkDocs calls ---


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Complete the navigation."""
    config.nav = completed(config.nav or [])
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here, the documents elsewhere, and copies of what is linked to."""
    from mkdocs.structure.files import File

    for place, text in (*_api_pages(), *settings_pages().items()):
        files.append(File.generated(config, place, content=text))
    for notebook in sorted((ROOT / "docs").glob("*.ipynb")):
        for name, content in notebook_files(notebook).items():
            files.append(File.generated(config, name, content=content))
    for document, place in ELSEWHERE.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / document)))
    for path in sorted(linked_files()):
        files.append(File.generated(config, f"source/{path}", abs_src_path=str(ROOT / path)))
    return files


def linked_files() -> set[str]:
    """Return the files that are no pages and lie outside of ``docs/``, and that a page links to."""
    documents = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")]
    linked: set[str] = set()
    for document in (*documents, *ELSEWHERE):
        place = place_of(document)
        linked |= mend_links((ROOT / document).read_text(encoding="utf-8"), document, place)[1]
    return {path for path in linked if place_of(path).startswith("source/")}


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Mend the links of a page, and list the pages of settings where it asks for them."""
    place = page.file.src_uri
    text = mend_links(markdown, _PLACES.get(place, f"docs/{place}"), place)[0]
    return text.replace(LIST_OF_SETTINGS, _settings_list()) if LIST_OF_SETTINGS in text else text


def _settings_list() -> str:
    titles = {place: text.splitlines()[0].removeprefix("# ") for place, text in settings_pages().items()}
    return "\n".join(f"- [{title}](../{place})" for place, title in titles.items())
