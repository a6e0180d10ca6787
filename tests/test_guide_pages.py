"""What the guide tells newcomers to type and to write is accepted: commands by the parser, files by the experiment."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from monai_cxraug.cli import build_parser
from monai_cxraug.experiments.arms import missing_controls
from monai_cxraug.experiments.declaration import load_experiment

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "guide"
PAGES = sorted(path.name for path in GUIDE.glob("*.md"))


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in a language."""
    text = (GUIDE / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.M | re.S)


def commands(page: str) -> list[str]:
    """The lines of ``cxraug`` in a page's shell blocks and in its code, without settings of the environment."""
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    text = (GUIDE / page).read_text(encoding="utf-8")
    inline = re.findall(r"`(cxraug (?!COMMAND)[a-z]+ [^`]*(?:--out|--manifest) [^`]+)`", text)
    lines = [re.sub(r"^(?:[A-Z_]+=\S+ +)+", "", line.strip()) for line in (*lines, *inline)]
    return [line for line in lines if line.startswith("cxraug ")]


COMMANDS = [(page, command) for page in PAGES if page != "commands.md" for command in commands(page)]


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 25


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_commands_are_accepted(page: str, command: str) -> None:
    words = shlex.split(command, comments=True)[1:]
    build_parser(words[0]).parse_args(words)


# --- the files that pages show ---


def shown(page: str, name: str) -> str:
    """The block of a page that begins by naming its file."""
    (block,) = [block for block in blocks(page, "yaml") if re.match(rf"# {re.escape(name)}\b", block)]
    return block


def write(folder: Path, page: str, *names: str) -> list[Path]:
    for name in names:
        (folder / name).write_text(shown(page, name), encoding="utf-8")
    return [folder / name for name in names]


@pytest.mark.parametrize(("page", "name"), [("hospital.md", "ours.yaml"), ("external.md", "external.yaml")])
def test_experiments_are_whole_and_need_no_further_control(page: str, name: str, tmp_path: Path) -> None:
    experiment = load_experiment(write(tmp_path, page, name), [])
    assert experiment.data.test is not None
    assert missing_controls(experiment.arms, [experiment.endpoint.arm]) == []
    assert len(experiment.seeds) >= 3  # two are not enough, says docs/instrument.md


def test_the_rehearsal_is_small(tmp_path: Path) -> None:
    experiment = load_experiment(write(tmp_path, "hospital.md", "ours.yaml", "tiny.yaml"), [])
    assert experiment.seeds == [0]
    assert experiment.budget.classifier["steps"] == 8
    assert {spec.size for spec in experiment.data.roles().values()} == {32}


def test_folds_never_touch_test_images(tmp_path: Path) -> None:
    experiment = load_experiment(write(tmp_path, "hospital.md", "ours.yaml", "folds.yaml"), [])
    assert experiment.data.test is None
    assert experiment.data.validation is not None
    folds = [experiment.data.train.where["fold"], [experiment.data.validation.where["fold"]]]
    assert sorted(fold for group in folds for fold in group) == list("01234")
    assert {spec.split for spec in experiment.data.roles().values()} == {None}  # test images have no fold
