"""The guide's page on one's own arms, transforms and generators shows files that lie there, and its commands run."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from monai_cxraug.artifacts import load_json
from monai_cxraug.cli import main
from monai_cxraug.errors import ConfigError, InputError
from monai_cxraug.experiments.arms import find_arm
from monai_cxraug.experiments.experiment import make_experiment
from monai_cxraug.experiments.work import check_overlays
from tests.experiments.conftest import document

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "guide"
PAGE = (GUIDE / "extending.md").read_text(encoding="utf-8")
OWN = sorted((GUIDE / "own").glob("*.*"))
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with the files of the page, in which one works."""
    for file in OWN:
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("file", OWN, ids=lambda file: file.name)
def test_the_page_shows_the_files_as_they_are(file: Path) -> None:
    assert file.read_text(encoding="utf-8") in [text for _, text in BLOCKS]


@pytest.mark.e2e
def test_the_commands_of_the_page_run_as_they_stand(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = "".join(text for language, text in BLOCKS if language == "sh").replace("\\\n", "")
    lines = [line for line in commands.splitlines() if line.strip()]
    whole = [line for line in lines if "cxraug run own.yaml" in line and "--smoke" not in line]
    assert len(whole) == 1  # takes minutes: it is planned, not run
    monkeypatch.syspath_prepend(str(project))  # PYTHONPATH=.
    for line in lines:
        command = line.replace("cxraug run", "cxraug run --dry-run") if line in whole else line
        words = shlex.split(command.removeprefix("PYTHONPATH=. "), comments=True)
        if words[0] == "cxraug":  # in this process, which has imported everything
            assert main(words[1:]) == 0, line
            continue
        assert words[0] == "python"
        done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
    records = [load_json(path) for path in (project / "runs" / "smoke" / "cells").glob("*/run.json")]
    assert "window.json" in {overlay for record in records for overlay in record["overlays"]}
    assert len(list((project / "synthetic" / "effusion").glob("pack.npy"))) == 1


def test_the_transform_is_a_window_and_repeats(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(project))
    from windows import RandWindowd  # type: ignore[import-not-found]

    image = torch.linspace(0, 1, 64).reshape(1, 8, 8)
    window = RandWindowd("image", prob=1.0, most=0.2).set_random_state(seed=3)
    one, other = (window({"image": image})["image"] for _ in range(2))
    again = window.set_random_state(seed=3)({"image": image})["image"]
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert (one.min(), one.max()) == (0, 1)
    assert (one.diff() >= 0).all()


# --- overlays of one's own as arms ---


def test_an_overlay_is_an_arm_by_its_path_and_goes_with_others() -> None:
    arm = find_arm("weighted_loss+window.json")
    assert arm.overlays == ("loss_alpha", "window.json")
    assert not arm.adds_images
    assert find_arm("own_a.json+own_b.json").overlays == (
        "own_a.json",
        "own_b.json",
    )  # equal beginnings are no conflict
    with pytest.raises(ConfigError, match=r"only one may change the a\.json"):
        find_arm("a.json+a.json")


def test_what_is_equal_for_every_arm_an_overlay_may_not_change(project: Path) -> None:
    experiment = make_experiment(document(arms=["plain", "gan", "duplicate_real", "window.json"]), "x")
    check_overlays(experiment)
    deep = ("train", "train#dataset", "train::dataset::held_out", "+train#sampler", "train#trainer#max_epochs", "run")
    for key in ("steps", "manifest", "batch_size", "synthetic", "network_def#channels", *deep):
        (project / "window.json").write_text(json.dumps({key: 3}))
        with pytest.raises(ConfigError, match=rf"window.json key '{re.escape(key)}'.*equal for every arm"):
            check_overlays(experiment)
    for content in ("[1]", "{"):
        (project / "window.json").write_text(content)
        with pytest.raises(InputError, match=r"window\.json: must be a (readable )?configuration"):
            check_overlays(experiment)
    (project / "window.json").unlink()
    with pytest.raises(InputError, match=r"window\.json"):
        check_overlays(experiment)


def test_an_overlay_of_somebody_else_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = project / "mine"
    mine.mkdir()
    monkeypatch.chdir(mine)
    (mine / "link.json").symlink_to(project / "window.json")
    for name in ("../window.json", str(project / "window.json"), "link.json"):
        experiment = make_experiment(document(arms=["plain", "gan", "duplicate_real", name]), "x")
        with pytest.raises(ConfigError, match="lies outside of the package and of the working folder"):
            check_overlays(experiment)
